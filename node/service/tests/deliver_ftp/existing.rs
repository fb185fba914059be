//! What happens where another file with the same name is there.

use holdfast::config::{Existing, FtpDestination};
use holdfast::deliver::Destination;
use holdfast_core::attempts::Fault;

use super::server::{BOTH, Kind, Server, Setup};
use super::{bytes, fails, file, quick};

#[tokio::test]
async fn a_file_that_is_there_is_replaced_or_kept_as_the_setting_says() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(300_000);
    let file = file(dir.path(), "demo/a.mp4", &content);
    for kind in BOTH {
        let server = Server::of(kind).await;
        let ftp_with =
            |existing| server.at(&FtpDestination { existing, ..server.settings() }, quick());
        ftp_with(Existing::Refuse).push(&file).await.unwrap();
        // The same again is no other file.
        ftp_with(Existing::Refuse).push(&file).await.unwrap();
        ftp_with(Existing::Rename).push(&file).await.unwrap();
        assert_eq!(server.names("demo"), ["a.mp4"]);

        let older = bytes(300_001);
        server.put("demo/a.mp4", &older);
        let error = fails(&ftp_with(Existing::Refuse), &file).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("another file is called \"/up/demo/a.mp4\""), "{error}");
        assert!(server.read("demo/a.mp4").unwrap() == older);

        for _ in 0..2 {
            let location = ftp_with(Existing::Rename).push(&file).await.unwrap();
            assert!(location.ends_with("/up/demo/a (2).mp4"), "{location}");
            assert_eq!(server.names("demo"), ["a (2).mp4", "a.mp4"]);
            assert!(server.read("demo/a.mp4").unwrap() == older);
            assert!(server.read("demo/a (2).mp4").unwrap() == content);
            assert!(super::read(&server.ftp(), &location, None).await == content);
        }

        ftp_with(Existing::Overwrite).push(&file).await.unwrap();
        assert!(server.read("demo/a.mp4").unwrap() == content);
        assert_eq!(server.names("demo"), ["a (2).mp4", "a.mp4"]);
    }
}

#[tokio::test]
async fn a_file_that_nobody_may_read_is_still_not_replaced_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(300_000);
    let file = file(dir.path(), "a.mp4", &content);
    let more = "cmds_denied=SIZE\ndownload_enable=NO\n";
    let server = Server::start(Setup { more, ..Setup::of(Kind::Vsftpd) }).await;
    server.put("a.mp4", b"older");
    let refusing = FtpDestination { existing: Existing::Refuse, ..server.settings() };
    fails(&server.at(&refusing, quick()), &file).await;
    let renaming = FtpDestination { existing: Existing::Rename, ..server.settings() };
    server.at(&renaming, quick()).push(&file).await.unwrap();
    assert_eq!(server.read("a.mp4").unwrap(), b"older");
    assert!(server.read("a (2).mp4").unwrap() == content);
}

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

#[tokio::test]
async fn at_a_server_that_renames_onto_nothing_the_older_file_steps_aside() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(300_000);
    let file = file(dir.path(), "demo/a.mp4", &content);
    let more = "AllowOverwrite off\n";
    let server = Server::start(Setup { more, ..Setup::of(Kind::Proftpd) }).await;
    server.ftp().push(&file).await.unwrap();
    let older = bytes(300_001);
    server.put("demo/a.mp4", &older);
    // What an earlier push left, which ended before it took it away.
    server.put("demo/.a.mp4.old", b"older still");
    let overwriting = FtpDestination { existing: Existing::Overwrite, ..server.settings() };
    server.at(&overwriting, quick()).push(&file).await.unwrap();
    assert!(server.read("demo/a.mp4").unwrap() == content);
    assert_eq!(server.names("demo"), ["a.mp4"]);
    let log = std::fs::read_to_string(server.file("commands")).unwrap();
    let renames: Vec<_> = log.lines().filter(|line| line.contains("\"RNTO ")).collect();
    let renames = &renames[renames.len() - 3..];
    for (line, (to, answer)) in renames.iter().zip([
        ("/up/demo/a.mp4", "550"),
        ("/up/demo/.a.mp4.old", "250"),
        ("/up/demo/a.mp4", "250"),
    ]) {
        assert!(line.contains(&format!("RNTO {to}\" {answer}")), "{renames:#?}");
    }
}

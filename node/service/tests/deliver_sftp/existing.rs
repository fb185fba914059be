//! Where another file has the name already.

use holdfast::config::{Existing, SftpDestination};
use holdfast::deliver::Destination;
use holdfast_core::attempts::Fault;

use super::deliver_common::{MIB, bytes, file};
use super::fails;
use super::server::Server;

#[tokio::test]
async fn another_file_is_replaced_numbered_or_kept_as_the_settings_say() {
    // A server that notes what it is asked to do.
    let notes = "Match all\nForceCommand /usr/lib/openssh/sftp-server -e -l VERBOSE 2>>DIR/notes";
    let server = Server::start(notes).await;
    let dir = tempfile::tempdir().unwrap();
    let with = |existing| server.sftp(&SftpDestination { existing, ..server.settings() });
    let (one, other, third) = (bytes(6 * MIB), bytes(6 * MIB + 1), bytes(70_000));
    let (one_file, other_file) =
        (file(dir.path(), "d/a.mp4", &one), file(dir.path(), "d/a.mp4", &other));
    with(Existing::Refuse).push(&one_file).await.unwrap();
    with(Existing::Refuse).push(&one_file).await.unwrap();
    let error = fails(&with(Existing::Refuse), &other_file).await;
    assert_eq!(error.fault, Fault::Customers);
    assert!(error.sentence.contains("existing = \"refuse\""), "{error}");
    assert!(server.content("d/a.mp4").unwrap() == one);

    for _ in 0..2 {
        let location = with(Existing::Rename).push(&other_file).await.unwrap();
        assert!(location.ends_with("/d/a (2).mp4"), "{location}");
    }
    let third_file = file(dir.path(), "d/a.mp4", &third);
    let location = with(Existing::Rename).push(&third_file).await.unwrap();
    assert!(location.ends_with("/d/a (3).mp4"), "{location}");
    assert!(server.content("d/a.mp4").unwrap() == one);
    assert!(server.content("d/a (2).mp4").unwrap() == other);
    assert!(server.content("d/a (3).mp4").unwrap() == third);

    with(Existing::Overwrite).push(&other_file).await.unwrap();
    let notes = std::fs::read_to_string(server.dir.join("notes")).unwrap();
    assert!(notes.contains("posix-rename old"), "it was not replaced in one step");
    assert!(server.content("d/a.mp4").unwrap() == other);
    assert_eq!(server.names("d"), ["a (2).mp4", "a (3).mp4", "a.mp4"]);
}

#[tokio::test]
async fn a_server_that_cannot_replace_in_one_step_keeps_either_file() {
    let server = Server::with_password(&["password", "plain"]).await;
    let dir = tempfile::tempdir().unwrap();
    let sftp = server.sftp(&server.password_settings());
    let (old, new) = (bytes(1_000), bytes(2_000));
    let new_file = file(dir.path(), "a.mp4", &new);
    sftp.push(&file(dir.path(), "a.mp4", &old)).await.unwrap();
    sftp.push(&new_file).await.unwrap();
    assert!(server.content("a.mp4").unwrap() == new);
    assert_eq!(server.names(""), ["a.mp4"]);

    // As if the line had broken between the steps.
    let at = |name: &str| server.files().join(name);
    std::fs::write(at(".a.mp4.part"), &new).unwrap();
    std::fs::write(at(".a.mp4.part.old"), &old).unwrap();
    std::process::Command::new("rm").arg(at("a.mp4")).status().unwrap();
    sftp.push(&new_file).await.unwrap();
    assert!(server.content("a.mp4").unwrap() == new);
    assert_eq!(server.names(""), ["a.mp4"]);
}

#[tokio::test]
async fn what_is_no_file_is_not_replaced() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let sftp = server.sftp(&server.settings());
    std::fs::create_dir(server.files().join("a.mp4")).unwrap();
    std::fs::write(server.files().join("b"), "no folder").unwrap();
    for (name, problem) in [("a.mp4", "it is no file"), ("b/c.mp4", "on the server")] {
        let error = fails(&sftp, &file(dir.path(), name, &bytes(10))).await;
        assert_eq!(error.fault, Fault::Customers, "{error}");
        assert!(error.sentence.contains(problem), "{error}");
    }
    assert_eq!(server.names(""), ["a.mp4", "b"]);
}

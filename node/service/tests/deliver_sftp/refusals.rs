//! What servers refuse, and what makes no sense: who is to mend it, and what they are told.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use holdfast::config::SftpDestination;
use holdfast::deliver::sftp::Sftp;
use holdfast::deliver::{Destination, FileToPush};
use holdfast_core::attempts::Fault;

use super::deliver_common::{MIB, bytes, file};
use super::fails;
use super::server::{SECRET, Server};

/// A file system in memory, 8 MiB large, unmounted at the end. Needs root, as all mounts do.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn new(path: PathBuf) -> Self {
        std::fs::create_dir(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(&path);
        assert!(mount.status().unwrap().success(), "mounting needs root");
        Self(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_the_customers_and_the_push_goes_on_once_there_is_room() {
    let server = Server::start("").await;
    let disk = Tmpfs::new(server.files().join("disk"));
    let dir = tempfile::tempdir().unwrap();
    let sftp = server.sftp(&server.settings());
    let content = bytes(6 * MIB);
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![0; 5 * MIB]).unwrap();
    let file = file(dir.path(), "disk/a.mp4", &content);
    let error = fails(&sftp, &file).await;
    assert_eq!(error.fault, Fault::Customers);
    assert!(error.sentence.contains("full (0 bytes are free); make room"), "{error}");
    assert_eq!(server.names("disk"), [".a.mp4.part", "filler"]);
    std::process::Command::new("rm").arg(filler).status().unwrap();
    sftp.push(&file).await.unwrap();
    assert!(server.content("disk/a.mp4").unwrap() == content);
}

#[tokio::test]
async fn a_user_without_rights_is_the_customers() {
    let server = Server::start("Match User nobody\nForceCommand internal-sftp").await;
    let dir = tempfile::tempdir().unwrap();
    let is_root = nix::unistd::getuid().is_root();
    // Another user than the superuser, who may do everything.
    let user = if is_root { "nobody".to_owned() } else { server.user.clone() };
    let sftp = server.sftp(&SftpDestination { user, ..server.settings() });
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(server.files(), mode(0o555)).unwrap();
    for name in ["a.mp4", "demo/a.mp4"] {
        let error = fails(&sftp, &file(dir.path(), name, &bytes(10))).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("permission denied; let the user write"), "{error}");
    }
    std::fs::set_permissions(server.files(), mode(0o777)).unwrap();
    sftp.push(&file(dir.path(), "demo/a.mp4", &bytes(10))).await.unwrap();
}

#[tokio::test]
async fn a_server_that_only_reads_or_has_no_sftp_is_the_customers() {
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a.mp4", &bytes(10));
    for (more, problem) in [
        ("Match all\nForceCommand internal-sftp -R", "permission denied"),
        ("Match all\nForceCommand /bin/false", "no SFTP for this user"),
    ] {
        let server = Server::start(more).await;
        let error = fails(&server.sftp(&server.settings()), &file).await;
        assert_eq!(error.fault, Fault::Customers, "{error}");
        assert!(error.sentence.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn a_missing_folder_is_not_made_by_the_node() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let path = server.files().join("missing").display().to_string();
    let sftp = server.sftp(&SftpDestination { path: path.clone(), ..server.settings() });
    for name in ["a.mp4", "demo/a.mp4"] {
        let error = fails(&sftp, &file(dir.path(), name, &bytes(10))).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains(&format!("there is no folder {path:?}")), "{error}");
    }
    assert!(server.names("").is_empty());
}

#[tokio::test]
async fn awkward_names_go_as_they_are_or_not_at_all() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let sftp = server.sftp(&server.settings());
    let content = bytes(70_000);
    let good = |name: &str| file(dir.path(), name, &content);
    for name in [
        "🎬🎬.mp4".to_owned(),
        "-rf *?[a] $HOME `id` \"q\" 'q' ;&|.mp4".to_owned(),
        " .mp4".to_owned(),
        "ț".repeat(125) + ".mp4",
        "x".repeat(255),
    ] {
        sftp.push(&good(&name)).await.unwrap();
        assert!(server.content(&name).unwrap() == content, "{name}");
    }
    let there = server.names("").len();
    assert_eq!(there, 5, "something was left behind");
    for name in [
        "../a.mp4".to_owned(),
        "demo/../../a.mp4".to_owned(),
        "/etc/a.mp4".to_owned(),
        "a\\b.mp4".to_owned(),
        "a\0b.mp4".to_owned(),
        "a\nb.mp4".to_owned(),
        "ț".repeat(150),
        String::new(),
    ] {
        let error = fails(&sftp, &good(&name)).await;
        assert_eq!(error.fault, Fault::Ours, "{error}");
        assert!(error.sentence.contains("cannot use the name"), "{error}");
    }
    assert_eq!(server.names("").len(), there);
}

#[tokio::test]
async fn what_is_wrong_with_the_file_is_ours() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let sftp = server.sftp(&server.settings());
    let good = file(dir.path(), "a.mp4", b"content");
    for bad in [
        file(dir.path(), "a.mp4", b""),
        FileToPush { bytes: 8, ..good.clone() },
        FileToPush { path: dir.path().join("missing"), ..good.clone() },
    ] {
        let error = fails(&sftp, &bad).await;
        assert_eq!(error.fault, Fault::Ours, "{error}");
    }
    assert!(server.names("").is_empty());
    let location = sftp.push(&good).await.unwrap();
    for elsewhere in ["sftp://127.0.0.1:1/a.mp4", "/etc/passwd", "sftp://../a.mp4"] {
        sftp.withdraw("a.mp4", Some(elsewhere)).await.unwrap_err();
        assert_eq!(server.names(""), ["a.mp4"]);
    }
    sftp.withdraw("../a.mp4", None).await.unwrap_err();
    for _ in 0..2 {
        sftp.withdraw("a.mp4", Some(&location)).await.unwrap();
        assert!(server.names("").is_empty(), "again is harmless");
    }
}

#[tokio::test]
async fn what_answers_but_is_no_ssh_server_is_the_customers() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            use std::io::Write;
            let _ = stream.unwrap().write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let sftp = server.sftp(&SftpDestination { port, ..server.settings() });
    let error = fails(&sftp, &file(dir.path(), "a.mp4", &bytes(10))).await;
    assert_eq!(error.fault, Fault::Customers);
    assert!(error.sentence.contains("no SSH session comes about"), "{error}");
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let good = || SftpDestination {
        private_key_file: Some("/key".into()),
        ..serde_json::from_value(serde_json::json!({
            "name": "films", "host": "h.example", "user": "u", "password": SECRET,
        }))
        .unwrap()
    };
    Sftp::new(&good(), dir.path()).unwrap();
    for (settings, problem) in [
        (SftpDestination { host: String::new(), ..good() }, "host"),
        (SftpDestination { host: "sftp://h".into(), ..good() }, "host"),
        (SftpDestination { host: "../h".into(), ..good() }, "host"),
        (SftpDestination { port: 0, ..good() }, "port"),
        (SftpDestination { user: String::new(), ..good() }, "user"),
        (SftpDestination { path: "a/../b".into(), ..good() }, "path"),
        (SftpDestination { path: "/~/b".into(), ..good() }, "path"),
        (SftpDestination { host_key: Some("MD5:ab".into()), ..good() }, "host_key"),
        (SftpDestination { file_mode: Some("rw".into()), ..good() }, "file_mode"),
        (SftpDestination { file_mode: Some("4755".into()), ..good() }, "file_mode"),
        (SftpDestination { folder_mode: Some("0888".into()), ..good() }, "folder_mode"),
        (SftpDestination { password: None, private_key_file: None, ..good() }, "no password"),
    ] {
        let error = Sftp::new(&settings, dir.path()).expect_err(problem);
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains(problem), "{error}");
        assert!(!error.sentence.contains(SECRET), "{error}");
    }
    let sftp = Sftp::new(&good(), dir.path()).unwrap();
    for location in ["sftp://other:22/~/a", "sftp://h.example:22/~/../a", "/a", ""] {
        let error = sftp.read(location, None).await.unwrap_err();
        assert_eq!(error.fault, Fault::Customers, "{location}");
    }
}

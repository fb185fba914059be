//! Knowing the server, and being let in.

use holdfast::config::SftpDestination;
use holdfast::deliver::Destination;
use holdfast_core::attempts::Fault;

use super::deliver_common::{bytes, file};
use super::fails;
use super::operate_node::Home;
use super::server::{SECRET, Server, keygen};

#[tokio::test]
async fn every_kind_of_key_logs_in_with_and_without_a_passphrase() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let passphrase_file = Some(server.secret("passphrase", SECRET));
    for (number, (kind, passphrase)) in
        ["ed25519", "ecdsa", "rsa"].iter().flat_map(|kind| [(kind, ""), (kind, SECRET)]).enumerate()
    {
        keygen(&server.dir.join("id"), kind, passphrase);
        std::fs::copy(server.dir.join("id.pub"), server.dir.join("authorized")).unwrap();
        let passphrase_file = passphrase_file.clone().filter(|_| !passphrase.is_empty());
        let sftp = server.sftp(&SftpDestination { passphrase_file, ..server.settings() });
        let name = format!("{kind}-{number}.mp4");
        sftp.push(&file(dir.path(), &name, &bytes(10))).await.unwrap();
        assert!(server.content(&name).is_some());
    }
}

#[tokio::test]
async fn keys_in_older_formats_log_in() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    for (kind, format) in [("rsa", "PEM"), ("rsa", "PKCS8"), ("ecdsa", "PEM"), ("ecdsa", "PKCS8")] {
        keygen(&server.dir.join("id"), kind, "");
        std::fs::copy(server.dir.join("id.pub"), server.dir.join("authorized")).unwrap();
        let output = std::process::Command::new("ssh-keygen")
            .args(["-q", "-p", "-N", "", "-m", format, "-f"])
            .arg(server.dir.join("id"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let sftp = server.sftp(&server.settings());
        sftp.push(&file(dir.path(), &format!("{kind} {format}"), &bytes(10))).await.unwrap();
    }
}

#[tokio::test]
async fn a_password_logs_in_in_either_way() {
    let dir = tempfile::tempdir().unwrap();
    for way in ["password", "keyboard-interactive"] {
        let server = Server::with_password(&[way]).await;
        let settings = server.password_settings();
        let content = bytes(300_000);
        let file = file(dir.path(), "a.mp4", &content);
        std::fs::write(settings.password_file.as_ref().unwrap(), "wrong").unwrap();
        let sftp = server.sftp(&settings);
        let error = fails(&sftp, &file).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("the server refused to log in"), "{error}");
        assert!(error.sentence.contains(&format!("with the password (it takes: {way}")), "{error}");
        // It is read anew at each login.
        std::fs::write(settings.password_file.as_ref().unwrap(), SECRET).unwrap();
        sftp.push(&file).await.unwrap();
        assert!(server.content("a.mp4").unwrap() == content);
    }
}

#[tokio::test]
async fn a_key_that_is_not_let_in_or_not_read_is_the_customers_to_mend() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a.mp4", &bytes(10));
    let path = server.dir.join("other");
    keygen(&path, "ed25519", SECRET);
    let with = |passphrase: Option<&str>| {
        let passphrase_file = passphrase.map(|passphrase| server.secret("passphrase", passphrase));
        let private_key_file = Some(path.clone());
        server.sftp(&SftpDestination { private_key_file, passphrase_file, ..server.settings() })
    };
    let error = fails(&with(Some(SECRET)), &file).await;
    assert_eq!(error.fault, Fault::Customers);
    assert!(error.sentence.contains("refused to log in the user with the private key"), "{error}");
    for passphrase in [None, Some("wrong")] {
        let error = fails(&with(passphrase), &file).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("the private key cannot be used"), "{error}");
    }
    std::fs::write(&path, "no key at all").unwrap();
    let error = fails(&with(None), &file).await;
    assert!(error.sentence.contains("the private key cannot be used"), "{error}");
    std::fs::write(&path, " \n").unwrap();
    let error = fails(&with(None), &file).await;
    assert!(error.sentence.contains("named by private_key_file: it is empty"), "{error}");
}

#[tokio::test]
async fn the_first_key_is_remembered_and_a_changed_one_refused() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a.mp4", &bytes(10));
    server.sftp(&server.settings()).push(&file).await.unwrap();
    // As after a restart of the node.
    server.sftp(&server.settings()).push(&file).await.unwrap();

    let other = Server::start("").await;
    let settings = SftpDestination { port: server.port, ..other.settings() };
    let remembered = server.state().join(format!("sftp-hosts/127.0.0.1_{}", server.port));
    let at_other = other.state().join(format!("sftp-hosts/127.0.0.1_{}", other.port));
    std::fs::create_dir_all(at_other.parent().unwrap()).unwrap();
    std::fs::copy(&remembered, &at_other).unwrap();
    let settings = SftpDestination { port: other.port, ..settings };
    let error = fails(&other.sftp(&settings), &file).await;
    assert_eq!(error.fault, Fault::Customers);
    let (was, is) = (server.fingerprint("ed25519"), other.fingerprint("ed25519"));
    for part in [&was, &is, "remembered from the first time", "Nothing was sent", "host_key"] {
        assert!(error.sentence.contains(part), "{part}: {error}");
    }
    assert!(other.names("").is_empty() && !other.log().contains("Accepted"), "{}", other.log());

    // Its admin says that this is right.
    let given = SftpDestination { host_key: Some(is), ..settings.clone() };
    other.sftp(&given).push(&file).await.unwrap();
    other.sftp(&settings).push(&file).await.unwrap();
}

#[tokio::test]
async fn any_of_a_servers_keys_may_be_given() {
    let server = Server::start("").await;
    let dir = tempfile::tempdir().unwrap();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let host_key = Some(server.fingerprint(kind));
        let sftp = server.sftp(&SftpDestination { host_key, ..server.settings() });
        sftp.push(&file(dir.path(), &format!("{kind}.mp4"), &bytes(10))).await.unwrap();
    }
    let stranger = format!("SHA256:{}", "A".repeat(43));
    let host_key = Some(stranger.clone());
    let sftp = server.sftp(&SftpDestination { host_key, ..server.settings() });
    let error = fails(&sftp, &file(dir.path(), "a.mp4", &bytes(10))).await;
    assert_eq!(error.fault, Fault::Customers);
    assert!(error.sentence.contains(&format!("{stranger} was given in host_key")), "{error}");
}

#[tokio::test]
async fn secrets_given_over_the_api_log_in_and_are_never_shown() {
    let server = Server::start("").await;
    keygen(&server.dir.join("id"), "ed25519", SECRET);
    std::fs::copy(server.dir.join("id.pub"), server.dir.join("authorized")).unwrap();
    let home = Home::new();
    let key = std::fs::read_to_string(server.dir.join("id")).unwrap();
    let made = serde_json::json!({
        "kind": "sftp", "name": "films", "host": "127.0.0.1", "port": server.port,
        "user": server.user, "path": server.files(), "private_key": key, "passphrase": SECRET,
    });
    let at = "/api/v1/destinations";
    let answer = home.tell("POST", at, &made.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let shown = home.ask("GET", "/api/v1/destinations/films").await.text();
    for text in [answer.text(), shown] {
        assert!(!text.contains(SECRET) && !text.contains("OPENSSH") && !text.contains("_file"));
    }
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(70_000);
    let films = home.node.settings.destination("films").unwrap();
    films.push(&file(dir.path(), "demo/a.mp4", &content)).await.unwrap();
    assert!(server.content("demo/a.mp4").unwrap() == content);

    // Nobody can have them sent elsewhere.
    let patch = serde_json::json!({ "host": "elsewhere.example" }).to_string();
    let problem = home.tell("PATCH", "/api/v1/destinations/films", &patch).await.is_problem(422);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("private_key, passphrase: give them anew"), "{detail}");
    for (member, value, said) in [
        ("private_key_file", serde_json::json!("/etc/shadow"), "only the configuration file"),
        ("host_key", serde_json::json!("x"), "host_key"),
        ("existing", serde_json::json!("append"), "existing"),
    ] {
        let patch = serde_json::json!({ member: value }).to_string();
        let answer = home.tell("PATCH", "/api/v1/destinations/films", &patch).await;
        assert!(
            answer.status.is_client_error() && answer.text().contains(said),
            "{}",
            answer.text()
        );
    }
}

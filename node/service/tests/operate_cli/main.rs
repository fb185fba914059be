//! The command line, as people call it: the built program against a node's socket.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../operate_node/mod.rs"]
mod operate_node;
#[path = "../webhooks/receiver.rs"]
mod receiver;

mod keys;
mod policy;
mod recordings;
mod webhooks;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use holdfast::node::Node;
use holdfast::operate::api::openapi;
use holdfast::operate::socket;
use operate_node::{Home, MP4, RAW};
use serde_json::{Value, json};

struct Said {
    code: i32,
    out: String,
    err: String,
}

/// Calls the program with the node's configuration.
async fn call(home: &Home, arguments: &[&str]) -> Said {
    call_with(&home.config_file(), arguments).await
}

async fn call_with(config: &Path, arguments: &[&str]) -> Said {
    said(command(config, arguments)).await
}

/// Calls the program from within a folder.
async fn call_in(folder: &Path, home: &Home, arguments: &[&str]) -> Said {
    let mut command = command(&home.config_file(), arguments);
    command.current_dir(folder);
    said(command).await
}

fn command(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.args(arguments).arg("--config").arg(config).stdin(Stdio::null());
    command
}

async fn said(mut command: Command) -> Said {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// Calls the program as a person at a terminal of so many columns does, who types something.
async fn call_at_terminal(home: &Home, columns: u16, arguments: &str, typed: &'static str) -> Said {
    let program = env!("CARGO_BIN_EXE_holdfast");
    let config = home.config_file();
    let line = format!("stty cols {columns}; {program} {arguments} --config {}", config.display());
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let called = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        // Ends of input are a character at a terminal; what is typed early waits to be read.
        child.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let output = called.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// Serves the node's socket, as the service does.
async fn serve(home: &Home) -> tokio::task::JoinHandle<std::io::Result<()>> {
    let path = Node::socket_path(&home.node.config);
    let serving = tokio::spawn(socket::serve(Arc::clone(&home.node)));
    while !path.exists() {
        assert!(!serving.is_finished(), "the socket is not served");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Bound and listening are two steps.
    while tokio::net::UnixStream::connect(&path).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    serving
}

#[tokio::test]
async fn status_in_words_and_in_json() {
    let home = Home::new();
    home.saved(1, "demo").await;
    let _serving = serve(&home).await;
    let said = call(&home, &["status"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let vault = home.dir.path().join("vault");
    let start = format!("{}, unencrypted (plain directory), ", vault.display());
    let line = said.out.lines().find(|line| line.starts_with("vault:")).unwrap();
    assert!(line.contains(&start) && line.contains("iB free"), "{line}");
    assert!(said.out.contains("1 saved"), "{}", said.out);
    let json: Value = serde_json::from_str(&call(&home, &["status", "--json"]).await.out).unwrap();
    assert_eq!(json["vault"][0]["encrypted"], false);
}

#[tokio::test]
async fn the_apis_description_is_printed_as_the_node_serves_it() {
    let home = Home::new();
    let _serving = serve(&home).await;
    let said = call(&home, &["openapi"]).await;
    let printed: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    assert_eq!(printed, serde_json::to_value(openapi()).unwrap());
}

#[tokio::test]
async fn recordings_are_listed_shown_and_deleted() {
    let home = Home::new();
    let id = home.saved(1, "demo").await.to_string();
    let other = home.delivered(2, "shelf").await;
    home.retain(other).await;
    let _serving = serve(&home).await;

    let said = call(&home, &["recordings", "list"]).await;
    assert_eq!(said.out.lines().count(), 3, "{}", said.out);
    assert!(said.out.lines().nth(2).unwrap().starts_with(&id), "{}", said.out);
    let said = call(&home, &["recordings", "list", "--env", "shelf", "--json"]).await;
    let list: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(list["recordings"].as_array().unwrap().len(), 1);
    let said = call(&home, &["recordings", "list", "--limit", "1"]).await;
    assert!(said.out.contains("There are more"), "{}", said.out);

    let said = call(&home, &["recordings", "show", &id]).await;
    assert!(said.out.contains("Saved; waiting to be processed."), "{}", said.out);
    assert!(!said.out.contains('\u{1b}'), "{:?}", said.out);
    let said = call(&home, &["recordings", "show", &other.to_string()]).await;
    assert!(
        said.out.contains("by rule 3.1") && said.out.contains("pushed to shelf"),
        "{}",
        said.out
    );

    let said = call(&home, &["recordings", "delete", &id]).await;
    assert!(said.code == 2 && said.err.contains("--yes"), "{}", said.err);
    assert_eq!(call(&home, &["recordings", "delete", &id, "--yes"]).await.out, "deleted\n");
    assert_eq!(call(&home, &["recordings", "delete", &id, "--yes"]).await.out, "already gone\n");
}

#[tokio::test]
async fn a_person_is_asked_and_sees_no_more_than_fits() {
    let home = Home::new();
    let id = home.saved(1, "demo").await;
    let _serving = serve(&home).await;
    let said = call_at_terminal(&home, 90, "recordings list", "").await;
    let row = said.out.lines().nth(1).unwrap().trim_end();
    assert!(row.starts_with(&id.to_string()) && row.ends_with("demo"), "{}", said.out);
    assert!(said.out.lines().all(|line| line.trim_end().chars().count() <= 90), "{}", said.out);

    let delete = format!("recordings delete {id}");
    let said = call_at_terminal(&home, 80, &delete, "n\n").await;
    assert!(said.out.contains("Delete recording") && said.out.contains("[y/N]"), "{}", said.out);
    assert!(said.code == 1 && said.out.contains("nothing was changed"), "{}", said.out);
    assert_ne!(home.node.ledger.get(id).unwrap().unwrap().state.as_str(), "deleted");
    let said = call_at_terminal(&home, 80, &delete, "y\n").await;
    assert!(said.code == 0 && said.out.contains("deleted\r\n"), "{}", said.out);
    assert_eq!(home.node.ledger.get(id).unwrap().unwrap().state.as_str(), "deleted");
}

#[tokio::test]
async fn a_file_is_fetched_and_checked() {
    let home = Home::new();
    let id = home.delivered(1, "demo").await.to_string();
    let _serving = serve(&home).await;
    let to = home.dir.path().join("fetched.mp4");
    let get = ["recordings", "get", &id, "--to", to.to_str().unwrap()];
    let said = call(&home, &get).await;
    assert!(said.code == 0 && said.err.contains("digest is right"), "{}", said.err);
    assert_eq!(std::fs::read(&to).unwrap(), MP4);
    assert_eq!(std::fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
    let said = call(&home, &get).await;
    assert!(said.code == 1 && said.err.contains("is there already"), "{}", said.err);
    let said = call(&home, &["recordings", "get", &id, "--kind", "raw", "--to", "-"]).await;
    assert_eq!(said.out.as_bytes(), RAW, "{}", said.err);
    let said = call(&home, &["recordings", "get", &id, "--kind", "snapshot", "--to", "-"]).await;
    assert!(said.code == 3 && said.out.is_empty(), "{}{}", said.code, said.err);

    // The disk turns a bit: what comes is not what was noted, and no half truth stays behind.
    let vault = home.dir.path().join("vault");
    let find = Command::new("find").arg(vault).args(["-name", "main.mp4"]).output().unwrap();
    std::fs::write(String::from_utf8(find.stdout).unwrap().trim(), "an mp4, or so it sayz")
        .unwrap();
    let other = home.dir.path().join("other.mp4");
    let said = call(&home, &["recordings", "get", &id, "--to", other.to_str().unwrap()]).await;
    assert!(said.code == 1 && said.err.contains("has the digest"), "{}{}", said.code, said.err);
    assert!(!other.exists());
}

#[tokio::test]
async fn settings_are_made_changed_and_deleted() {
    let home = Home::new();
    let _serving = serve(&home).await;
    let said = call(&home, &["accounts", "create", "acme", "--plan", "trial"]).await;
    assert!(said.code == 0 && said.out.contains("trial"), "{}{}", said.out, said.err);
    // A secret comes from a file, never from an argument.
    let secret = home.dir.path().join("of-the-bucket");
    std::fs::write(&secret, "s3cr3t-0f-the-bucket\n").unwrap();
    let secret = secret.to_str().unwrap();
    let bucket = ["destinations", "create", "films", "--kind", "s3", "--endpoint"];
    let more = ["https://s3.example", "--region", "x", "--bucket", "films", "--access-key-from"];
    let keys = [secret, "--secret-key-from", secret];
    let said = call(&home, &[&bucket[..], &more[..], &keys[..]].concat()).await;
    assert!(said.code == 0 && !said.out.contains("s3cr3t"), "{}{}", said.out, said.err);
    let set = ["destinations", "set", "films", "--json", "--preset", "aws", "--kms-key", "alias/a"];
    let more = ["--storage-class-of", "main=GLACIER_IR", "--storage-class-of", "raw=GLACIER"];
    let rest = ["--tag", "team=films", "--tag", "of={env}", "--parts-at-once", "8"];
    let said = call(&home, &[&set[..], &more[..], &rest[..]].concat()).await;
    let made: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    assert_eq!(made["storage_classes"], json!({ "main": "GLACIER_IR", "raw": "GLACIER" }));
    assert_eq!(made["sse"], json!({ "kms_key": "alias/a" }));
    assert_eq!(made["tags"], json!({ "team": "films", "of": "{env}" }));
    assert_eq!((&made["preset"], &made["parts_at_once"]), (&"aws".into(), &8.into()));
    let said = call(&home, &["destinations", "set", "films", "--tag", "team"]).await;
    assert!(said.code == 2 && said.err.contains("NAME=VALUE"), "{}", said.err);
    let by_key = ["destinations", "create", "tapes", "--kind", "sftp", "--host", "sftp.example"];
    let more = ["--user", "recorder", "--existing", "refuse", "--password-from", secret];
    let said = call(&home, &[&by_key[..], &more[..]].concat()).await;
    assert!(said.code == 0 && !said.out.contains("s3cr3t"), "{}{}", said.out, said.err);
    assert!(said.out.contains("sftp.example") && said.out.contains("refuse"), "{}", said.out);
    let shop = ["environments", "create", "shop", "--account", "acme", "--destination", "films"];
    let days = ["--lifecycle-days", "30", "--personal-data", "ip=false", "--json"];
    let said = call(&home, &[&shop[..], &days[..]].concat()).await;
    let made: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&made["lifecycle_days"], &made["personal_data"]["ip"]),
        (&30.into(), &false.into())
    );
    let said = call(&home, &["environments", "set", "shop", "--lifecycle-days", "never"]).await;
    assert!(said.code == 0 && said.out.contains("shop"), "{}{}", said.out, said.err);
    let logo = home.dir.path().join("logo.png");
    std::fs::write(&logo, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10").unwrap();
    let wanted = home.dir.path().join("wanted.json");
    std::fs::write(&wanted, r#"{"video":{"rotate":90},"watermark":{"opacity":0.5}}"#).unwrap();
    let (logo, wanted) = (logo.to_str().unwrap(), wanted.to_str().unwrap());
    let set = ["environments", "set", "shop", "--transcoding", wanted, "--json"];
    let said = call(&home, &[&set[..], &["--watermark", logo]].concat()).await;
    let made: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    let made = &made["transcoding"];
    assert_eq!(
        (&made["video"]["rotate"], &made["watermark"]["opacity"]),
        (&90.into(), &0.5.into())
    );
    assert!(made["watermark"]["image"].as_str().unwrap().starts_with("data:image/png"), "{made}");
    let said = call(&home, &["environments", "set", "shop", "--watermark", wanted]).await;
    assert!(said.code == 1 && said.err.contains("is no PNG"), "{}", said.err);
    let said = call(&home, &["environments", "list"]).await;
    let row = said.out.lines().find(|line| line.starts_with("shop")).unwrap();
    assert!(row.contains("acme") && row.contains("films") && row.ends_with("api"), "{row}");
    let said = call(&home, &["accounts", "delete", "acme", "--yes"]).await;
    assert!(said.code == 1 && said.err.contains("environment \"shop\""), "{}", said.err);
    let said = call(&home, &["environments", "set", "demo", "--mp4", "false"]).await;
    assert!(said.code == 1 && said.err.contains("configuration file"), "{}", said.err);
    let said = call(&home, &["environments", "show", "nowhere"]).await;
    assert!(said.code == 3 && said.err.contains("nowhere"), "{}", said.err);
    for (kind, name) in [("environments", "shop"), ("accounts", "acme"), ("destinations", "films")]
    {
        assert_eq!(call(&home, &[kind, "delete", name, "--yes"]).await.out, "deleted\n", "{name}");
    }
}

#[tokio::test]
async fn what_is_called_wrongly_is_said_so() {
    let home = Home::new();
    let _serving = serve(&home).await;
    for (arguments, code, words) in [
        (&["recordings", "show", "x"][..], 2, "not a recording id"),
        (&["recordings", "list", "--state", "lost"], 2, "possible values"),
        (&["recordings", "lsit"], 2, "list"),
        (&["recordings", "list", "--limit", "0"], 2, "1..="),
        (&["statsu"], 2, "status"),
        (
            &["recordings", "show", "0193a7b2-6c1e-7d7e-8a3f-0123456789ab"],
            3,
            "no recording 0193a7b2",
        ),
        (&["recordings", "list", "--socket", "/nowhere.sock"], 4, "/nowhere.sock"),
    ] {
        let said = call(&home, arguments).await;
        assert_eq!(said.code, code, "{arguments:?}: {}", said.err);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
}

#[tokio::test]
async fn without_a_node_it_says_so() {
    let home = Home::new();
    let said = call(&home, &["status"]).await;
    assert_eq!(said.code, 4);
    assert!(said.err.contains("no node is running"), "{}", said.err);
    assert!(said.err.contains("state/holdfast.sock"), "{}", said.err);
}

#[tokio::test]
async fn the_socket_is_private_replaced_when_stale_and_goes_with_the_node() {
    let home = Home::new();
    let path = Node::socket_path(&home.node.config);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let serving = serve(&home).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let second = socket::serve(Arc::clone(&home.node)).await.unwrap_err();
    assert!(second.to_string().contains("another node"), "{second}");
    assert!(path.exists(), "a node that lost takes nobody's socket away");
    home.node.stop.cancel();
    serving.await.unwrap().unwrap();
    assert!(!path.exists());
    std::fs::write(&path, "no socket").unwrap();
    let error = socket::serve(Arc::clone(&home.node)).await.unwrap_err();
    assert!(error.to_string().contains("holdfast.sock"), "{error}");
}

#[tokio::test]
async fn a_configuration_is_checked_to_the_line() {
    let home = Home::new();
    let said = call(&home, &["check-config"]).await;
    assert!(said.code == 0 && said.out.starts_with("ok\n"), "{}{}", said.out, said.err);
    assert!(said.out.contains("demo, shelf, store, plain"), "{}", said.out);
    let text = std::fs::read_to_string(home.config_file()).unwrap();
    let text = text.replace("free_bytes_min", "free_byte_min");
    std::fs::write(home.config_file(), text).unwrap();
    let said = call(&home, &["check-config"]).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert!(said.err.contains("free_byte_min") && said.err.contains("line 10"), "{}", said.err);
    let said = call_with(&home.dir.path().join("nothing.toml"), &["run"]).await;
    assert_eq!(said.code, 1);
    assert_eq!(said.err.matches("No such file").count(), 1, "{}", said.err);
}

#[tokio::test]
async fn a_ledger_is_made_anew_from_the_vault() {
    let home = Home::new();
    home.saved(1, "demo").await;
    let said = call(&home, &["ledger", "rebuild"]).await;
    assert!(said.code == 1 && said.err.contains("stop the node"), "{}{}", said.out, said.err);
}

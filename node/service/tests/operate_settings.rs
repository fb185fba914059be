//! Accounts, environments and destinations over the API: made, changed, refused, kept.

#![allow(missing_docs, clippy::unwrap_used)]

mod operate_node;

use axum::http::StatusCode;
use holdfast::clock::Clock;
use holdfast::config::Config;
use holdfast::node::Node;
use holdfast::settings::sweep;
use holdfast_core::recording::{Metadata, State};
use holdfast_core::{Event, Lane};
use operate_node::{Home, rename};
use serde_json::{Value, json};

const ACCOUNTS: &str = "/api/v1/accounts";
const ENVIRONMENTS: &str = "/api/v1/environments";
const DESTINATIONS: &str = "/api/v1/destinations";
const SECRET: &str = "wJalrXUtnFEMI-K7MDENG-bPxRfiCY";

async fn made(home: &Home, at: &str, body: &Value) -> Value {
    let answer = home.tell("POST", at, &body.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
    let thing = answer.json();
    let name = thing.get("id").or_else(|| thing.get("name")).unwrap().as_str().unwrap();
    assert_eq!(answer.header("location"), format!("{at}/{name}"));
    assert_eq!(home.ask("GET", answer.header("location")).await.json(), thing);
    thing
}

async fn changed(home: &Home, at: &str, patch: &Value) -> Value {
    let answer = home.tell("PATCH", at, &patch.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

async fn refused(home: &Home, method: &str, at: &str, body: &Value, status: u16) -> String {
    let problem = home.tell(method, at, &body.to_string()).await.is_problem(status);
    problem["detail"].as_str().unwrap().to_owned()
}

fn bucket(name: &str) -> Value {
    json!({
        "kind": "s3", "name": name, "endpoint": "https://s3.example", "region": "eu-central-1",
        "bucket": "films", "access_key": "AKIAEXAMPLE", "secret_key": SECRET,
    })
}

fn server(name: &str) -> Value {
    json!({
        "kind": "ftps", "name": name, "host": "ftp.example", "user": "node", "password": SECRET,
    })
}

#[tokio::test]
async fn an_environment_lives_by_what_it_was_given_and_by_defaults() {
    let home = Home::new();
    made(&home, ACCOUNTS, &json!({ "id": "acme", "plan": "paid" })).await;
    let given = json!({ "id": "shop", "account": "acme", "destinations": ["shelf"] });
    let shop = made(&home, ENVIRONMENTS, &given).await;
    assert_eq!(
        (&shop["origin"], &shop["mp4"], &shop["success"]),
        (&json!("api"), &json!(true), &json!("main"))
    );
    assert_eq!(shop["hash"].as_str().unwrap().len(), 32, "a hash that nobody gave is random");
    assert_eq!(shop["personal_data"]["ip"], true);

    let at = format!("{ENVIRONMENTS}/shop");
    let patch =
        json!({ "store_nothing": true, "lifecycle_days": 30, "personal_data": { "ip": false } });
    let shop = changed(&home, &at, &patch).await;
    assert_eq!(shop["lifecycle_days"], 30);
    assert_eq!(
        shop["personal_data"],
        json!({
            "camera": true, "microphone": true, "referrer": true, "user_agent": true, "ip": false,
        })
    );
    let environment = home.node.settings.environment("shop").unwrap();
    assert!(home.node.settings.policy(&environment).store_nothing);
    let kept = environment.personal_data.keep(Metadata {
        ip: Some("192.0.2.1".into()),
        camera: Some("FaceTime".into()),
        ..Metadata::default()
    });
    assert_eq!((kept.ip, kept.camera.as_deref()), (None, Some("FaceTime")));
    let wanted =
        json!({ "video": { "size": "fit", "max_width": 640 }, "filmstrip": { "vtt": true } });
    changed(&home, &at, &json!({ "transcoding": wanted })).await;
    let shop = changed(&home, &at, &json!({ "transcoding": { "audio": { "mute": true } } })).await;
    let wanted = &shop["transcoding"];
    assert_eq!(
        (&wanted["video"]["max_width"], &wanted["audio"]["mute"]),
        (&json!(640), &json!(true))
    );
    // Null is the default again.
    let shop = changed(&home, &at, &json!({ "lifecycle_days": null, "store_nothing": null })).await;
    assert_eq!((&shop["lifecycle_days"], &shop["store_nothing"]), (&Value::Null, &json!(false)));

    assert_eq!(home.ask("DELETE", &at).await.status, StatusCode::NO_CONTENT);
    home.ask("GET", &at).await.is_problem(404);
    home.ask("DELETE", &at).await.is_problem(404);
}

#[tokio::test]
async fn a_list_has_pages_of_both_origins() {
    let home = Home::new();
    made(&home, ENVIRONMENTS, &json!({ "id": "echo", "hash": "h" })).await;
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = home.ask("GET", &format!("{ENVIRONMENTS}?limit=2{cursor}")).await.json();
        for each in page["environments"].as_array().unwrap() {
            let word = |name: &str| each[name].as_str().unwrap().to_owned();
            seen.push((word("id"), word("origin")));
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let seen: Vec<_> = seen.iter().map(|(id, origin)| (id.as_str(), origin.as_str())).collect();
    let (file, api) = ("config", "api");
    assert_eq!(
        seen,
        [("demo", file), ("echo", api), ("plain", file), ("shelf", file), ("store", file)]
    );
    home.ask("GET", &format!("{ENVIRONMENTS}?limit=0")).await.is_problem(400);
    home.ask("GET", &format!("{ENVIRONMENTS}?limti=1")).await.is_problem(400);
}

#[tokio::test]
async fn what_the_file_declares_is_changed_there() {
    let home = Home::new();
    let at = format!("{ENVIRONMENTS}/demo");
    let said = refused(&home, "PATCH", &at, &json!({ "mp4": false }), 409).await;
    assert!(said.contains("configuration file") && said.contains("change it there"), "{said}");
    refused(&home, "DELETE", &at, &json!({}), 409).await;
    let said = refused(&home, "POST", ENVIRONMENTS, &json!({ "id": "demo" }), 409).await;
    assert!(said.contains("configuration file"), "{said}");
    refused(&home, "PATCH", &format!("{DESTINATIONS}/shelf"), &json!({ "path": "/" }), 409).await;
}

#[tokio::test]
async fn what_a_store_does_not_take_is_refused_by_its_setting() {
    let home = Home::new();
    let s3 = |name: &str, value: Value| {
        let mut whole = bucket("other");
        whole[name] = value;
        whole
    };
    let mut glacier = s3("storage_class", json!("GLACIER_IR"));
    glacier["preset"] = json!("scaleway");
    for (body, words) in [
        (s3("preset", json!("floppy")), "preset: "),
        (s3("credentials", json!("instance")), "credentials: only the configuration"),
        (s3("credentials", json!("environment")), "credentials: only the configuration"),
        (s3("storage_classes", json!({ "main": "a b" })), "storage_classes.main: "),
        (s3("storage_classes", json!({ "film": "GLACIER" })), "film"),
        (s3("sse", json!("rot13")), "sse: "),
        (s3("sse", json!({ "kms_key": "" })), "sse.kms_key: "),
        (s3("acl", json!("everybody")), "acl: "),
        (s3("tags", json!({ "a": "{week}" })), "{week} is no placeholder"),
        (s3("prefix", json!("{week}/")), "there are {env}, {year}, {month}, {day}, {name}"),
        (s3("parts_at_once", json!(33)), "parts_at_once: must be 1 to 32"),
        (s3("checksum", json!("crc8")), "checksum: "),
        (glacier, "storage_class: Scaleway has no class GLACIER_IR"),
    ] {
        let said = refused(&home, "POST", DESTINATIONS, &body, 422).await;
        assert!(said.contains(words), "{body}: {said}");
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_reason() {
    let home = Home::new();
    made(&home, ENVIRONMENTS, &json!({ "id": "echo" })).await;
    made(&home, DESTINATIONS, &bucket("films")).await;
    let environment = |more: Value| {
        let mut whole = json!({ "id": "x", "hash": "h" });
        whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        whole
    };
    let s3 = |name: &str, value: Value| {
        let mut whole = bucket("other");
        whole[name] = value;
        whole
    };
    let ftps = |name: &str, value: Value| {
        let mut whole = server("other");
        whole[name] = value;
        whole
    };
    for (at, body, words) in [
        (ENVIRONMENTS, environment(json!({ "destinations": ["nowhere"] })), "nowhere"),
        (ENVIRONMENTS, environment(json!({ "account": "nobody" })), "no account \"nobody\""),
        (ENVIRONMENTS, environment(json!({ "lifecycle_days": 0 })), "1 to 36500"),
        (ENVIRONMENTS, environment(json!({ "region": "EU2" })), "our storage in EU2"),
        (ENVIRONMENTS, environment(json!({ "region": "XX1" })), "XX1"),
        (ENVIRONMENTS, environment(json!({ "hash": "" })), "1 to 128"),
        (ENVIRONMENTS, environment(json!({ "folder": "../up" })), "folder"),
        (ENVIRONMENTS, environment(json!({ "mp5": true })), "mp5"),
        (ENVIRONMENTS, environment(json!({ "id": "../x" })), "letters, digits"),
        (ENVIRONMENTS, environment(json!({ "id": "" })), "1 to 128"),
        (ENVIRONMENTS, json!({ "hash": "h" }), "id"),
        (ACCOUNTS, json!({ "id": "a" }), "plan"),
        (ACCOUNTS, json!({ "id": "a", "plan": "free" }), "free"),
        (ACCOUNTS, json!({ "id": "a", "plan": "paid", "expires_at": "soon" }), "expires_at: "),
        (
            DESTINATIONS,
            json!({ "kind": "directory", "name": "d", "path": "/etc" }),
            "[deliver] directories",
        ),
        (
            DESTINATIONS,
            json!({ "kind": "gopher", "name": "d" }),
            "must be directory, s3, ftps, ftp, sftp or dropbox",
        ),
        (DESTINATIONS, s3("endpoint", json!("http://s3.example")), "https://"),
        (DESTINATIONS, s3("secret_key", json!({ "sealed": "AAAA" })), "secret_key: "),
        (
            DESTINATIONS,
            s3("secret_key", json!("two words")),
            "secret_key: it holds more than one word",
        ),
        (DESTINATIONS, s3("secret_key_file", json!("/etc/passwd")), "only the configuration file"),
        (DESTINATIONS, s3("ca_file", json!("/etc/passwd")), "only the configuration file"),
        (DESTINATIONS, s3("ours", json!("US1")), "which storage is ours"),
        (DESTINATIONS, s3("part_bytes", json!("large")), "part_bytes: "),
        (DESTINATIONS, s3("secret_key", Value::Null), "secret_key"),
        (DESTINATIONS, ftps("host", json!("ftp://h/")), "host must be a name"),
        (DESTINATIONS, ftps("port", json!(70_000)), "port: "),
        (DESTINATIONS, ftps("existing", json!("maybe")), "existing: "),
        (DESTINATIONS, ftps("directory", json!("a/../b")), "directory"),
        (DESTINATIONS, ftps("password", Value::Null), "password: is missing"),
        (DESTINATIONS, ftps("password_file", json!("/etc/shadow")), "only the configuration file"),
        (DESTINATIONS, ftps("ca_file", json!("/etc/shadow")), "only the configuration file"),
    ] {
        let said = refused(&home, "POST", at, &body, 422).await;
        assert!(said.contains(words), "{body}: {said}");
        assert!(!said.contains(SECRET), "{said}");
    }
    refused(&home, "POST", ENVIRONMENTS, &json!({ "id": "echo" }), 409).await;
    let said =
        refused(&home, "PATCH", &format!("{ENVIRONMENTS}/echo"), &json!({ "id": "ohce" }), 422)
            .await;
    assert!(said.contains("cannot be changed"), "{said}");
    refused(&home, "PATCH", &format!("{ENVIRONMENTS}/ohce"), &json!({}), 404).await;
    // Nothing of it was done.
    let listed = home.ask("GET", ENVIRONMENTS).await.json();
    assert_eq!(listed["environments"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn secrets_are_sealed_and_never_shown() {
    let home = Home::new();
    let films = made(&home, DESTINATIONS, &bucket("films")).await;
    assert_eq!((films.get("access_key"), films.get("secret_key")), (None, None));
    let at = format!("{DESTINATIONS}/films");
    let films = changed(&home, &at, &json!({ "prefix": "in/" })).await;
    assert_eq!(films["prefix"], "in/");
    // Whoever may change settings, but has not the keys, must not have them sent elsewhere.
    let said =
        refused(&home, "PATCH", &at, &json!({ "endpoint": "https://evil.example" }), 422).await;
    assert!(said.contains("access_key, secret_key: give them anew"), "{said}");
    let said =
        refused(&home, "PATCH", &at, &json!({ "secret_key": { "sealed": "AAAA" } }), 422).await;
    assert!(said.contains("secret_key: "), "{said}");
    let moved = json!({ "endpoint": "https://new.example", "access_key": "a", "secret_key": "b" });
    assert_eq!(changed(&home, &at, &moved).await["endpoint"], "https://new.example");

    let listed = home.ask("GET", DESTINATIONS).await.text();
    assert!(!listed.contains(SECRET) && !listed.contains("AKIAEXAMPLE"), "{listed}");
    drop(home.node);
    // Not in the ledger, nor in the vault's copy, nor in any other file.
    for file in walk(home.dir.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let has = |word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
        assert!(!has(SECRET), "{}", file.display());
    }
}

#[tokio::test]
async fn a_password_for_tls_is_not_used_without_and_plain_ftp_is_warned_of() {
    let home = Home::new();
    let films = made(&home, DESTINATIONS, &server("films")).await;
    assert_eq!(films.get("password"), None);
    assert_eq!((&films["port"], &films["existing"]), (&json!(21), &json!("overwrite")));
    let at = format!("{DESTINATIONS}/films");
    assert_eq!(changed(&home, &at, &json!({ "existing": "refuse" })).await["existing"], "refuse");
    for patch in [json!({ "kind": "ftp" }), json!({ "host": "evil" }), json!({ "port": 2121 })] {
        let said = refused(&home, "PATCH", &at, &patch, 422).await;
        assert!(said.contains("password: give it anew"), "{said}");
    }
    let warnings = async || {
        let status = home.ask("GET", "/api/v1/status").await.json();
        let destinations = status["destinations"].as_array().unwrap().clone();
        let named = destinations.into_iter().find(|of| of["name"] == "films").unwrap();
        named.get("warning").cloned()
    };
    assert_eq!(warnings().await, None);
    changed(&home, &at, &json!({ "kind": "ftp", "password": SECRET })).await;
    let warning = warnings().await.unwrap();
    assert!(warning.as_str().unwrap().contains("plain FTP"), "{warning}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else if path.is_file() {
            files.push(path);
        }
    }
    files
}

#[tokio::test]
async fn what_something_needs_stays() {
    let home = Home::new();
    made(&home, ACCOUNTS, &json!({ "id": "acme", "plan": "trial" })).await;
    made(&home, DESTINATIONS, &bucket("films")).await;
    let shop = json!({ "id": "shop", "account": "acme", "destinations": ["films"] });
    made(&home, ENVIRONMENTS, &shop).await;
    let id = home.saved(1, "shop").await;
    for at in [format!("{ACCOUNTS}/acme"), format!("{DESTINATIONS}/films")] {
        let said = refused(&home, "DELETE", &at, &json!({}), 409).await;
        assert!(said.contains("environment \"shop\""), "{said}");
    }
    assert_eq!(home.ask("DELETE", &format!("{ENVIRONMENTS}/shop")).await.status, 204);
    let said = refused(&home, "DELETE", &format!("{DESTINATIONS}/films"), &json!({}), 409).await;
    assert!(said.contains(&id.to_string()), "{said}");
    home.ask("DELETE", &format!("/api/v1/recordings/{id}")).await;
    assert_eq!(home.ask("DELETE", &format!("{DESTINATIONS}/films")).await.status, 204);
    assert_eq!(home.ask("DELETE", &format!("{ACCOUNTS}/acme")).await.status, 204);
}

#[tokio::test]
async fn recordings_take_over_what_their_account_and_environment_say() {
    let home = Home::new();
    let expires = "2026-02-10T22:30:00Z";
    made(&home, ACCOUNTS, &json!({ "id": "acme", "plan": "paid" })).await;
    made(&home, ENVIRONMENTS, &json!({ "id": "shop", "account": "acme" })).await;
    let id = home.saved(1, "shop").await;
    let terms = || home.node.ledger.get(id).unwrap().unwrap().terms;
    assert_eq!(terms().lifecycle_days, None);
    changed(&home, &format!("{ENVIRONMENTS}/shop"), &json!({ "lifecycle_days": 9 })).await;
    changed(&home, &format!("{ACCOUNTS}/acme"), &json!({ "expires_at": expires })).await;
    assert_eq!(sweep::once(&home.node).await.unwrap(), 1);
    assert_eq!(terms().lifecycle_days, Some(9));
    assert_eq!(terms().account_expires_at.unwrap().to_string(), expires);
    assert_eq!(sweep::once(&home.node).await.unwrap(), 0, "once is enough");
    // One whose environment is gone keeps its rules.
    assert_eq!(home.ask("DELETE", &format!("{ENVIRONMENTS}/shop")).await.status, 204);
    assert_eq!(sweep::once(&home.node).await.unwrap(), 0);
    // What the terms say now is long over: it goes.
    home.apply(id, Event::Due(Lane::Expire)).await;
    assert_eq!(home.node.ledger.get(id).unwrap().unwrap().state, State::Deleted);
}

#[tokio::test]
async fn settings_outlive_the_node_and_its_ledger() {
    let mut home = Home::new();
    made(&home, ACCOUNTS, &json!({ "id": "acme", "plan": "paid" })).await;
    made(&home, DESTINATIONS, &bucket("films")).await;
    let shop = json!({ "id": "shop", "account": "acme", "destinations": ["films"] });
    let shop = made(&home, ENVIRONMENTS, &shop).await;
    let at = format!("{ENVIRONMENTS}/shop");
    home.node = again(home.node, &home.dir.path().join("node.toml")).await;
    assert_eq!(home.ask("GET", &at).await.json(), shop);

    // The ledger is lost; the vault has a copy.
    let ledger = home.dir.path().join("state/ledger.redb");
    let path = home.dir.path().join("node.toml");
    close(home.node).await;
    rename(&ledger, &ledger.with_extension("lost"));
    home.node = open(&path).await;
    assert_eq!(home.ask("GET", &at).await.json(), shop);
    assert!(home.node.settings.destination("films").is_some());
    assert_eq!(home.ask("GET", &format!("{ACCOUNTS}/acme")).await.status, 200);
}

#[tokio::test]
async fn what_the_file_declares_later_stands_before_what_the_api_made() {
    let mut home = Home::new();
    made(&home, ENVIRONMENTS, &json!({ "id": "shop", "hash": "of the API" })).await;
    let path = home.dir.path().join("node.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let more = "[[environments]]\nid = \"shop\"\nhash = \"of the file\"\n";
    std::fs::write(&path, format!("{text}{more}")).unwrap();
    home.node = again(home.node, &path).await;
    let shop = home.ask("GET", &format!("{ENVIRONMENTS}/shop")).await.json();
    assert_eq!((&shop["hash"], &shop["origin"]), (&json!("of the file"), &json!("config")));
    std::fs::write(&path, text).unwrap();
    home.node = again(home.node, &path).await;
    let shop = home.ask("GET", &format!("{ENVIRONMENTS}/shop")).await.json();
    assert_eq!((&shop["hash"], &shop["origin"]), (&json!("of the API"), &json!("api")));
}

async fn again(node: std::sync::Arc<Node>, config: &std::path::Path) -> std::sync::Arc<Node> {
    close(node).await;
    open(config).await
}

async fn open(config: &std::path::Path) -> std::sync::Arc<Node> {
    let config = Config::load(config).unwrap();
    let node = Node::open(config, Clock::new()).unwrap();
    node.settings.start(&node).await.unwrap();
    node
}

/// Waits until the ledger's writer has let go of its file.
async fn close(node: std::sync::Arc<Node>) {
    let path = holdfast::ledger::path(&node.config);
    drop(node);
    for _ in 0..1_000 {
        if redb::Database::open(&path).is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the ledger stays open");
}

#[tokio::test]
async fn what_cannot_be_made_of_a_recording_is_refused_with_the_member() {
    let home = Home::new();
    made(&home, ENVIRONMENTS, &json!({ "id": "shop" })).await;
    let png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    for (wanted, said) in [
        (json!({ "video": { "size": "crop" } }), "transcoding.video.size"),
        (json!({ "video": { "max_fps": 500 } }), "transcoding.video.max_fps"),
        (json!({ "video": { "colour": "red" } }), "colour"),
        (json!({ "snapshot": { "at": "tomorrow" } }), "12.5s"),
        (json!({ "watermark": { "image": "/etc/passwd" } }), "only the configuration file"),
        (json!({ "watermark": {} }), "transcoding.watermark.image"),
        (json!({ "watermark": { "image": png, "position": "middle" } }), "middle"),
    ] {
        let at = format!("{ENVIRONMENTS}/shop");
        let patch = json!({ "transcoding": wanted }).to_string();
        let answer = home.tell("PATCH", &at, &patch).await;
        let problem = answer.is_problem(422);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{wanted}: {detail}");
    }
    let wanted = json!({ "transcoding": { "watermark": { "image": png, "opacity": 0.5 } } });
    let shop = changed(&home, &format!("{ENVIRONMENTS}/shop"), &wanted).await;
    assert_eq!(shop["transcoding"]["watermark"]["position"], "bottom-right");
}

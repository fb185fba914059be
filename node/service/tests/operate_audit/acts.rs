//! Each act has its entry, made by whoever does it: over the API with a key, or on the node with the
//! command line.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use holdfast::clock::{Clock, watch};
use holdfast::node::Node;
use holdfast::operate::socket;
use holdfast_core::Lane;
use holdfast_core::recording::Event;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::operate_node::{Home, KEY, send};
use super::{call, entries, now, signed_in, text};

/// Every entry of this act: by whom, and what.
async fn of_act(home: &Home, act: &str) -> Vec<(String, Value)> {
    let all = entries(&home.ask("GET", super::AUDIT).await.text());
    let found = all.into_iter().filter(|entry| entry["what"]["act"] == act);
    found.map(|e| (e["by"].as_str().unwrap().to_owned(), e["what"].clone())).collect()
}

/// The entries of this act, once there are so many; what nobody waits for comes a moment later.
async fn once_of_act(home: &Home, act: &str, count: usize) -> Vec<(String, Value)> {
    for _ in 0..1_000 {
        let found = of_act(home, act).await;
        if found.len() >= count {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{act}: {:?}", of_act(home, act).await);
}

/// Serves the node's socket, as the service does, until it is dropped.
struct Serving(tokio::task::JoinHandle<std::io::Result<()>>);

impl Serving {
    async fn new(home: &Home) -> Self {
        let serving = Self(tokio::spawn(socket::serve(Arc::clone(&home.node))));
        let path = Node::socket_path(&home.node.config);
        for _ in 0..1_000 {
            if tokio::net::UnixStream::connect(&path).await.is_ok() {
                return serving;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the socket is not served");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Calls the program with the node's configuration; answers what it printed.
async fn command_line(home: &Home, arguments: &[&str]) -> String {
    let config = home.config_file();
    let output = call(&[arguments, &["--config", config.to_str().unwrap()]].concat()).await;
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{error}");
    out
}

#[tokio::test]
async fn keys_that_are_made_and_revoked_have_entries_that_say_by_whom_and_open_nothing() {
    let home = Home::new();
    let _serving = Serving::new(&home).await;
    let secret = home.key("manage", &["demo"]).await;
    let id = secret.rsplit_once('_').unwrap().0.to_owned();
    let create = ["keys", "create", "--name", "the shop", "--scope", "read", "--json"];
    let made: Value = serde_json::from_str(&command_line(&home, &create).await).unwrap();
    let (other, other_secret) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    let of = |key: &str, name: &str, scope: &str| json!({ "act": "key_made", "key": key, "name": name, "scope": scope });
    let expected = [
        ("tests".to_owned(), of(&id, "a manage key", "manage")),
        ("command line".to_owned(), of(other, "the shop", "read")),
    ];
    assert_eq!(of_act(&home, "key_made").await, expected);

    command_line(&home, &["keys", "revoke", &id, "--yes"]).await;
    let revoked = home.ask("DELETE", &format!("/api/v1/keys/{other}")).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    let of = |key: &str| json!({ "act": "key_revoked", "key": key });
    let expected = [("command line".to_owned(), of(&id)), ("tests".to_owned(), of(other))];
    assert_eq!(of_act(&home, "key_revoked").await, expected);
    // What was refused was not done.
    home.ask("DELETE", &format!("/api/v1/keys/{other}")).await.is_problem(404);
    assert_eq!(of_act(&home, "key_revoked").await.len(), 2);
    let log = home.ask("GET", super::AUDIT).await.text();
    for secret in [secret.as_str(), other_secret] {
        assert!(!log.contains(secret.rsplit_once('_').unwrap().1), "{log}");
    }
}

#[tokio::test]
async fn whoever_offers_wrong_keys_until_they_have_to_wait_has_an_entry_without_their_address() {
    let home = Home::new();
    let router = home.router();
    let guess = async |n: u32| {
        let bearer = format!("Bearer guess number {n}");
        let headers = [("authorization", bearer.as_str())];
        send(&router, "198.51.100.23", "GET", "/api/v1/recordings", &headers).await
    };
    for n in 0..20 {
        assert!(of_act(&home, "sign_in_refused").await.is_empty(), "after {n}");
        guess(n).await.is_problem(401);
    }
    guess(20).await.is_problem(429);
    let noted = once_of_act(&home, "sign_in_refused", 1).await;
    let expected = json!({ "act": "sign_in_refused", "count": 20 });
    assert_eq!(noted, [("node".to_owned(), expected)]);
    let log = home.ask("GET", super::AUDIT).await.text();
    assert!(!log.contains("198.51.100.23") && !log.contains("guess number"), "{log}");
    // Whoever has a key is not kept out by it, and has an entry of their own.
    let right = format!("Bearer {KEY}");
    let headers = [("authorization", right.as_str())];
    let answer = send(&router, "192.0.2.1", "GET", "/api/v1/recordings", &headers).await;
    assert_eq!(answer.status, StatusCode::OK);
    let signed_in = once_of_act(&home, "signed_in", 1).await;
    assert_eq!(signed_in[0].1, json!({ "act": "signed_in", "key": "tests" }));
}

#[tokio::test]
async fn settings_that_are_made_changed_and_deleted_have_entries_with_names_and_no_values() {
    const SECRET: &str = "correct-horse";
    let home = Home::new();
    let _serving = Serving::new(&home).await;
    let server = json!({
        "kind": "ftps", "name": "films", "host": "ftp.example", "user": "node", "password": SECRET,
    });
    let hook = json!({
        "id": "front", "env_id": "shop", "url": "https://hooks.example/", "pipe_key": SECRET,
    });
    for (kind, body, patch) in [
        ("accounts", json!({ "id": "acme", "plan": "trial" }), json!({ "plan": "paid" })),
        ("destinations", server, json!({ "directory": "in" })),
        ("environments", json!({ "id": "shop", "hash": SECRET }), json!({ "mp4": false })),
        ("webhooks", hook, json!({ "enabled": false })),
    ] {
        let at = format!("/api/v1/{kind}");
        let made = home.tell("POST", &at, &body.to_string()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        let changed = home.tell("PATCH", made.header("location"), &patch.to_string()).await;
        assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
        // A change that changes nothing has none.
        home.tell("PATCH", made.header("location"), &patch.to_string()).await;
    }
    for at in ["webhooks/front", "environments/shop", "destinations/films", "accounts/acme"] {
        let deleted = home.ask("DELETE", &format!("/api/v1/{at}")).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{}", deleted.text());
    }
    let all = of_act(&home, "configured").await;
    let told = all.iter().map(|(by, what)| {
        assert_eq!(by, "tests");
        let word = |name: &str| what[name].as_str().unwrap();
        format!("{} {} {}", word("kind"), word("id"), word("change"))
    });
    let expected = [
        "account acme created",
        "account acme changed",
        "destination films created",
        "destination films changed",
        "environment shop created",
        "environment shop changed",
        "webhook front created",
        "webhook front changed",
        "webhook front deleted",
        "environment shop deleted",
        "destination films deleted",
        "account acme deleted",
    ];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    for (place, members) in [(1, "plan"), (3, "directory"), (5, "mp4"), (7, "enabled")] {
        assert_eq!(all[place].1["members"], json!([members]));
    }
    let create = ["accounts", "create", "other", "--plan", "paid"];
    command_line(&home, &create).await;
    let (by, what) = of_act(&home, "configured").await.pop().unwrap();
    assert_eq!(
        (by.as_str(), &what["id"], &what["change"]),
        ("command line", &json!("other"), &json!("created"))
    );
    let log = home.ask("GET", super::AUDIT).await.text();
    assert!(!log.contains(SECRET) && !log.contains(".example"), "{log}");
}

/// Something is recorded an hour ahead, as by a clock that ran fast; the next look finds out.
async fn ran_ahead(home: &Home, seed: u8) {
    let id = home.saved(seed, "demo").await;
    let ahead = now(home) + SignedDuration::from_hours(1);
    home.node.ledger.apply(id, Event::Due(Lane::Process), ahead).await.unwrap();
    watch::look(&home.node).await.unwrap();
    assert!(!home.node.clock_is_trusted().unwrap());
}

#[tokio::test]
async fn a_clock_that_is_doubted_and_vouched_for_has_entries_that_say_by_whom() {
    let home = Home::new();
    let home = home.again_by(Clock::new().steered());
    signed_in(&home).await;
    let _serving = Serving::new(&home).await;
    watch::look(&home.node).await.unwrap();
    let accept = async || home.tell("POST", "/api/v1/clock/accept", "{}").await;
    accept().await.is_problem(409);
    assert_eq!(of_act(&home, "clock_trusted").await, []);
    ran_ahead(&home, 1).await;
    let accepted = accept().await;
    assert_eq!(accepted.status, StatusCode::OK, "{}", accepted.text());
    assert_eq!(accepted.json()["trusted"], true);
    ran_ahead(&home, 2).await;
    command_line(&home, &["clock", "accept", "--yes"]).await;
    let told: Vec<(String, bool)> = of_act(&home, "clock_trusted")
        .await
        .into_iter()
        .map(|(by, what)| {
            let why = what["why"].as_str().unwrap();
            let trusted = what["trusted"].as_bool().unwrap();
            let expected = if trusted { "accepted as" } else { "the clock shows" };
            assert!(why.starts_with(expected), "{why}");
            (by, trusted)
        })
        .collect();
    let told: Vec<_> = told.iter().map(|(by, trusted)| (by.as_str(), *trusted)).collect();
    let expected = [("node", false), ("tests", true), ("node", false), ("command line", true)];
    assert_eq!(told, expected);
}

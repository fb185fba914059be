//! Keys over the API: who may do what, where, how often, and until when.

#![allow(missing_docs, clippy::unwrap_used)]

mod operate_node;

use axum::http::{StatusCode, header};
use holdfast::keys::Keys;
use holdfast_core::RecordingId;
use operate_node::{Home, KEY, send};
use serde_json::{Value, json};

const KEYS: &str = "/api/v1/keys";
const LIST: &str = "/api/v1/recordings";

fn at(id: RecordingId) -> String {
    format!("{LIST}/{id}")
}

fn id_of(key: &str) -> &str {
    key.rsplit_once('_').unwrap().0
}

async fn count(home: &Home, key: &str, query: &str) -> usize {
    let page = home.tell_as(key, "GET", &format!("{LIST}{query}"), "").await;
    page.json()["recordings"].as_array().unwrap().len()
}

#[tokio::test]
async fn a_key_is_shown_once_and_kept_as_a_digest() {
    let home = Home::new();
    let body = r#"{"name":"ci","scope":"manage","env_ids":["demo"]}"#;
    let made = home.tell("POST", KEYS, body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let view = made.json();
    let (id, key) = (view["id"].as_str().unwrap(), view["key"].as_str().unwrap());
    assert_eq!(made.header(header::LOCATION), format!("{KEYS}/{id}"));
    assert!(id.starts_with("hfk_") && id.len() == 16, "{id}");
    assert!(key.starts_with(&format!("{id}_")) && key.len() == 81, "{key}");
    assert_eq!((&view["origin"], &view["scope"]), (&"api".into(), &"manage".into()));
    assert_eq!(view["env_ids"], json!(["demo"]));

    let shown = home.ask("GET", &format!("{KEYS}/{id}")).await.json();
    assert_eq!((&shown["name"], &shown["key"]), (&"ci".into(), &Value::Null));
    let listed = home.ask("GET", KEYS).await.json();
    let names: Vec<&str> = listed["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["ci", "tests"]);
    assert_eq!(listed["keys"][1]["origin"], "config");
    assert_eq!(listed["keys"][1]["scope"], "admin");
    assert!(!listed.to_string().contains(key));

    // Nothing on the disk has it, and a node that starts again knows it all the same.
    let secret = key.rsplit_once('_').unwrap().1.as_bytes();
    for file in ["ledger.redb", "node.key"] {
        let bytes = std::fs::read(home.dir.path().join("state").join(file)).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{file}");
    }
    let again = Keys::open(&home.node.config.operate.keys, &home.node.ledger).unwrap();
    assert_eq!(again.whose(key.as_bytes()).unwrap().name, "ci");
    assert!(again.whose(id.as_bytes()).is_none());
    assert_eq!(again.whose(KEY.as_bytes()).unwrap().name, "tests");
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_from_that_moment_on() {
    let home = Home::new();
    let router = home.router();
    let key = home.key("read", &[]).await;
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str())];
    assert_eq!(send(&router, "192.0.2.1", "GET", LIST, &headers).await.status, StatusCode::OK);
    let target = format!("{KEYS}/{}", id_of(&key));
    assert_eq!(home.ask("DELETE", &target).await.status, StatusCode::NO_CONTENT);
    send(&router, "192.0.2.1", "GET", LIST, &headers).await.is_problem(401);
    let again = Keys::open(&home.node.config.operate.keys, &home.node.ledger).unwrap();
    assert!(again.whose(key.as_bytes()).is_none());
    home.ask("DELETE", &target).await.is_problem(404);
    let said = home.ask("DELETE", &format!("{KEYS}/tests")).await.is_problem(409);
    assert!(said["detail"].as_str().unwrap().contains("configuration file"), "{said}");
}

#[tokio::test]
async fn a_key_does_what_its_scope_says_and_nothing_else() {
    let home = Home::new();
    let id = home.saved(1, "demo").await;
    let (read, manage) = (home.key("read", &[]).await, home.key("manage", &[]).await);
    let hold = format!("{}/hold", at(id));
    let account = r#"{"id":"a","plan":"paid"}"#;
    for (method, target, body, needs) in [
        ("GET", LIST.to_owned(), "", "read"),
        ("GET", at(id), "", "read"),
        ("GET", format!("{}/files/raw", at(id)), "", "read"),
        ("GET", format!("{}/explain", at(id)), "", "read"),
        ("GET", "/api/v1/policy/preview".to_owned(), "", "read"),
        ("GET", "/api/v1/status".to_owned(), "", "read"),
        ("GET", "/api/v1/environments/demo".to_owned(), "", "read"),
        ("PUT", hold.clone(), r#"{"reason":"x"}"#, "manage"),
        ("DELETE", hold, "", "manage"),
        ("POST", format!("{}/retry", at(id)), "", "manage"),
        ("POST", format!("{}/push", at(id)), "", "manage"),
        ("POST", "/api/v1/accounts".to_owned(), account, "manage"),
        ("POST", "/api/v1/selftest?only=key".to_owned(), "", "manage"),
        ("GET", KEYS.to_owned(), "", "admin"),
        ("GET", format!("{KEYS}/tests"), "", "admin"),
        ("POST", KEYS.to_owned(), r#"{"name":"x","scope":"admin"}"#, "admin"),
        ("DELETE", format!("{KEYS}/{}", id_of(&read)), "", "admin"),
        ("DELETE", at(id), "", "manage"),
    ] {
        let refused: &[&String] = match needs {
            "read" => &[],
            "manage" => &[&read],
            _ => &[&read, &manage],
        };
        for key in refused {
            let said = home.tell_as(key, method, &target, body).await.is_problem(403);
            assert!(said["detail"].as_str().unwrap().contains(needs), "{method} {target}: {said}");
        }
        let passing = match needs {
            "read" => &read,
            "manage" => &manage,
            _ => continue,
        };
        let status = home.tell_as(passing, method, &target, body).await.status;
        assert!(!matches!(status.as_u16(), 401 | 403), "{method} {target}: {status}");
    }
}

/// What needs more than looking, as the documents say it: by scope, method and address.
const BEYOND_READING: [(&str, &str, &str); 33] = [
    ("manage", "DELETE", "/api/v1/accounts/{id}"),
    ("manage", "DELETE", "/api/v1/destinations/{name}"),
    ("manage", "DELETE", "/api/v1/environments/{id}"),
    ("manage", "DELETE", "/api/v1/recordings/{id}"),
    ("manage", "DELETE", "/api/v1/recordings/{id}/hold"),
    ("manage", "DELETE", "/api/v1/webhooks/{id}"),
    ("manage", "DELETE", "/video/{id}"),
    ("manage", "PATCH", "/api/v1/accounts/{id}"),
    ("manage", "PATCH", "/api/v1/destinations/{name}"),
    ("manage", "PATCH", "/api/v1/environments/{id}"),
    ("manage", "PATCH", "/api/v1/webhooks/{id}"),
    ("manage", "POST", "/api/v1/accounts"),
    ("manage", "POST", "/api/v1/destinations"),
    ("manage", "POST", "/api/v1/destinations/{name}/test"),
    ("manage", "POST", "/api/v1/environments"),
    ("manage", "POST", "/api/v1/recordings/{id}/push"),
    ("manage", "POST", "/api/v1/recordings/{id}/retry"),
    ("manage", "POST", "/api/v1/selftest"),
    ("manage", "POST", "/api/v1/webhooks"),
    ("manage", "POST", "/api/v1/webhooks/{id}/deliveries/{delivery}/redeliver"),
    ("manage", "POST", "/api/v1/webhooks/{id}/ping"),
    ("manage", "POST", "/api/v1/webhooks/{id}/rotate-secret"),
    ("manage", "PUT", "/api/v1/recordings/{id}/hold"),
    ("admin", "DELETE", "/api/v1/keys/{id}"),
    ("admin", "GET", "/api/v1/audit"),
    ("admin", "GET", "/api/v1/keys"),
    ("admin", "GET", "/api/v1/keys/{id}"),
    ("admin", "GET", "/api/v1/support-bundle"),
    ("admin", "POST", "/api/v1/clock/accept"),
    ("admin", "POST", "/api/v1/erasure/end-epoch"),
    ("admin", "POST", "/api/v1/keys"),
    ("admin", "POST", "/api/v1/volumes/{name}/open"),
    ("admin", "POST", "/api/v1/volumes/{name}/recover"),
];

#[tokio::test]
async fn a_key_without_the_scope_is_refused_at_every_call_that_needs_it() {
    let home = Home::new();
    let (read, manage) = (home.key("read", &[]).await, home.key("manage", &[]).await);
    for (needs, method, address) in BEYOND_READING {
        let target = filled(address);
        let body = if method == "GET" || method == "DELETE" { "" } else { "{}" };
        let asked = async |key: &str| {
            // Version 1 carries the key in a header of its own.
            let own = [("x-pipe-auth", key)];
            home.tell_with(key, method, &target, body, &own).await
        };
        let (less, enough): (&[&str], &str) = match needs {
            "manage" => (&[&read], &manage),
            _ => (&[&read, &manage], KEY),
        };
        for key in less {
            let said = asked(key).await.is_problem(403);
            let said = said["detail"].as_str().unwrap().to_owned();
            assert!(said.contains(&format!("the scope {needs}")), "{method} {address}: {said}");
        }
        // What takes long is not done for this.
        if !address.ends_with("selftest") {
            let status = asked(enough).await.status.as_u16();
            assert!(!matches!(status, 401 | 403 | 405), "{method} {address}: {status}");
        }
    }
    // Nothing that needs more than looking is left out above.
    let described = serde_json::to_value(holdfast::operate::api::openapi()).unwrap();
    for (address, calls) in described["paths"].as_object().unwrap() {
        for (method, call) in calls.as_object().unwrap() {
            let schemes = call["security"][0].as_object().into_iter().flatten();
            for scope in schemes.map(|(_, scopes)| scopes[0].as_str().unwrap()) {
                let call = (scope, &*method.to_uppercase(), address.as_str());
                assert!(scope == "read" || BEYOND_READING.contains(&call), "{call:?}");
            }
        }
    }
}

/// An address in which nothing is that there is.
fn filled(address: &str) -> String {
    let parts = address.split('/').map(|part| if part.starts_with('{') { "nobody" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn a_key_for_some_environments_knows_of_no_other() {
    let home = Home::new();
    let (own, other) = (home.saved(1, "demo").await, home.saved(2, "plain").await);
    let third = home.saved(3, "shelf").await;
    let key = home.key("manage", &["demo"]).await;
    let two = home.key("read", &["shelf", "demo"]).await;
    assert_eq!(count(&home, &key, "").await, 1);
    assert_eq!(count(&home, &key, "?env_id=demo").await, 1);
    assert_eq!(count(&home, &key, "?env_id=plain").await, 0);
    assert_eq!(count(&home, &key, "?state=stored").await, 0);
    let listed = home.tell_as(&two, "GET", LIST, "").await.json();
    let ids: Vec<&str> = listed["recordings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rec| rec["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, [third.to_string(), own.to_string()]);
    let first = home.tell_as(&two, "GET", &format!("{LIST}?limit=1"), "").await.json();
    let rest = format!("{LIST}?limit=1&cursor={}", first["next"].as_str().unwrap());
    let rest = home.tell_as(&two, "GET", &rest, "").await.json();
    assert_eq!(
        (&rest["recordings"][0]["id"], &rest["next"]),
        (&own.to_string().into(), &Value::Null)
    );

    for (method, below, body) in [
        ("GET", "", ""),
        ("GET", "/files/raw", ""),
        ("GET", "/explain", ""),
        ("PUT", "/hold", r#"{"reason":"x"}"#),
        ("DELETE", "/hold", ""),
        ("POST", "/retry", ""),
        ("POST", "/push", ""),
        ("DELETE", "", ""),
    ] {
        let there = home.tell_as(&key, method, &format!("{}{below}", at(other)), body).await;
        // It is told what it would be told of a recording that never was.
        let nowhere = RecordingId::new(1, [1; 10]);
        let told = home.tell_as(&key, method, &format!("{}{below}", at(nowhere)), body).await;
        let told = told.is_problem(404)["detail"].as_str().unwrap().to_owned();
        let told = told.replace(&nowhere.to_string(), &other.to_string());
        assert_eq!(there.is_problem(404)["detail"], told, "{method} {below}");
    }
    assert_eq!(home.ask("GET", &at(other)).await.json()["state"], "stored");
    let preview = home.tell_as(&key, "GET", "/api/v1/policy/preview?lifecycle_days=5", "").await;
    assert_eq!(preview.json()["looked_at"], 1);

    let environments = home.tell_as(&key, "GET", "/api/v1/environments", "").await.json();
    assert_eq!(environments["environments"].as_array().unwrap().len(), 1);
    home.tell_as(&key, "GET", "/api/v1/environments/plain", "").await.is_problem(404);
    for (method, target, body) in [
        ("GET", "/api/v1/status", ""),
        ("GET", "/api/v1/accounts", ""),
        ("GET", "/api/v1/destinations/shelf", ""),
        ("POST", "/api/v1/environments", r#"{"id":"mine"}"#),
        ("PATCH", "/api/v1/environments/demo", r#"{"mp4":false}"#),
        ("DELETE", "/api/v1/environments/demo", ""),
        ("POST", "/api/v1/accounts", r#"{"id":"a","plan":"paid"}"#),
        ("DELETE", "/api/v1/destinations/shelf", ""),
        ("POST", "/api/v1/selftest", ""),
    ] {
        home.tell_as(&key, method, target, body).await.is_problem(403);
    }
    let deleted = home.tell_as(&key, "DELETE", &at(own), "").await.json();
    assert_eq!(deleted["outcome"], "deleted");
}

#[tokio::test]
async fn a_key_that_makes_no_sense_is_not_made() {
    let home = Home::new();
    for (body, status, said) in [
        (json!({"name": "", "scope": "read"}), 422, "name"),
        (json!({"name": "x".repeat(129), "scope": "read"}), 422, "name"),
        (json!({"name": "a\nb", "scope": "read"}), 422, "control"),
        (json!({"name": "a", "scope": "read", "env_ids": []}), 422, "env_ids"),
        (json!({"name": "a", "scope": "read", "env_ids": ["nobody"]}), 422, "nobody"),
        (json!({"name": "a", "scope": "admin", "env_ids": ["demo"]}), 422, "admin"),
        (json!({"name": "a", "scope": "root"}), 400, "root"),
        (json!({"name": "a"}), 400, "scope"),
        (json!({"name": "a", "scope": "read", "env_id": "demo"}), 400, "env_id"),
    ] {
        let refused = home.tell("POST", KEYS, &body.to_string()).await.is_problem(status);
        assert!(refused["detail"].as_str().unwrap().contains(said), "{body}: {refused}");
    }
    home.tell("POST", KEYS, "{").await.is_problem(400);
    assert_eq!(home.ask("GET", KEYS).await.json()["keys"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn there_are_so_many_keys_and_no_more() {
    let home = Home::new();
    for _ in 0..holdfast::keys::KEYS_MAX {
        home.key("read", &[]).await;
    }
    let said = home.tell("POST", KEYS, r#"{"name":"a","scope":"read"}"#).await.is_problem(409);
    assert!(said["detail"].as_str().unwrap().contains("revoke one"), "{said}");
}

#[tokio::test]
async fn when_a_key_was_last_used_is_known_to_the_hour() {
    let home = Home::new();
    let key = home.key("read", &[]).await;
    let target = format!("{KEYS}/{}", id_of(&key));
    assert!(home.ask("GET", &target).await.json()["last_used_at"].is_null());
    home.tell_as(&key, "GET", LIST, "").await;
    let used_at = home.ask("GET", &target).await.json()["last_used_at"].clone();
    assert!(used_at.is_string());
    home.tell_as(&key, "GET", LIST, "").await;
    assert_eq!(home.ask("GET", &target).await.json()["last_used_at"], used_at);
    // It is durable, soon.
    for _ in 0..1_000 {
        let again = Keys::open(&[], &home.node.ledger).unwrap();
        if again.all()[0].1.is_some() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("that the key was used is not in the ledger");
}

#[tokio::test]
async fn a_declared_key_has_a_scope_and_environments_too() {
    let sha256 = holdfast::digest::of(b"limited");
    let more = format!(
        "[[operate.keys]]\nname = \"limited\"\nsha256 = \"{sha256}\"\nscope = \"read\"\n\
         env_ids = [\"demo\"]\n"
    );
    let home = Home::with_more(&more);
    let (own, other) = (home.saved(1, "demo").await, home.saved(2, "plain").await);
    assert_eq!(home.tell_as("limited", "GET", &at(own), "").await.status, StatusCode::OK);
    home.tell_as("limited", "GET", &at(other), "").await.is_problem(404);
    home.tell_as("limited", "DELETE", &at(own), "").await.is_problem(403);
}

#[tokio::test]
async fn everyone_has_their_share_of_requests_and_is_told_what_is_left() {
    let home = Home::with_more("[operate]\nrequests_per_minute = 60\nrequests_burst = 5\n");
    let router = home.router();
    let other = home.key("read", &[]).await;
    let with = async |key: &str| {
        let bearer = format!("Bearer {key}");
        send(&router, "192.0.2.1", "GET", LIST, &[("authorization", &bearer)]).await
    };
    let first = with(KEY).await;
    assert_eq!(first.header("ratelimit-policy"), "\"requests\";q=5;w=5");
    assert_eq!(first.header("ratelimit"), "\"requests\";r=4;t=1");
    let mut last = first;
    for _ in 0..20 {
        last = with(KEY).await;
    }
    last.is_problem(429);
    assert_eq!(last.header(header::RETRY_AFTER), "1");
    assert!(last.header("ratelimit").starts_with("\"requests\";r=0;"), "{:?}", last.headers);
    // Another key has its own, and so has an address without one.
    assert_eq!(with(&other).await.status, StatusCode::OK);
    let nobody = async |from: &str| send(&router, from, "GET", LIST, &[]).await;
    for _ in 0..5 {
        nobody("192.0.2.9").await.is_problem(401);
    }
    nobody("192.0.2.9").await.is_problem(429);
    nobody("192.0.2.10").await.is_problem(401);
    let open = "/api/v1/openapi.json";
    send(&router, "192.0.2.9", "GET", open, &[]).await.is_problem(429);
    assert_eq!(send(&router, "192.0.2.11", "GET", open, &[]).await.status, StatusCode::OK);
}

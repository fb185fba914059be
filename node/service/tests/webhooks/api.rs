//! Webhooks over the API: making, changing, looking, trying out.

use axum::http::StatusCode;
use holdfast::webhooks::DeliveryState;
use serde_json::{Value, json};

use super::operate_node::Home;
use super::receiver::{Receiver, Reply};
use super::{Delivering, HERE, HOOKS, assert_signed, is_tried};

#[tokio::test]
async fn a_secret_is_shown_once_and_lies_sealed() {
    let node = Delivering::new("");
    let body = json!({
        "id": "front", "env_id": "demo", "url": "https://example.com/hooks",
        "events": ["video_recorded", "recording.deleted"], "format": "form", "pipe_key": "hunter2",
    });
    let made = node.home.tell("POST", HOOKS, &body.to_string()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    assert_eq!(made.header("location"), "/api/v1/webhooks/front");
    let made = made.json();
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{secret}");
    assert_eq!((&made["origin"], &made["has_pipe_key"]), (&json!("api"), &json!(true)));
    let at = format!("{HOOKS}/front");
    let mut seen = node.home.ask("GET", &at).await.text();
    seen.push_str(&node.home.ask("GET", HOOKS).await.text());
    seen.push_str(&node.home.tell("PATCH", &at, r#"{"format":null}"#).await.text());
    let copy = std::fs::read_to_string(node.home.dir.path().join("vault/settings.json")).unwrap();
    assert!(copy.contains("\"front\""), "{copy}");
    for plain in [secret, "hunter2"] {
        assert!(!seen.contains(plain) && !copy.contains(plain));
    }
    assert!(seen.contains(r#""format":"json""#));
    // The same after a restart.
    let node = node.again().await;
    assert_eq!(node.home.ask("GET", &at).await.json()["url"], "https://example.com/hooks");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let node = Delivering::new("");
    let good = json!({ "id": "a", "env_id": "demo", "url": "https://example.com/" });
    let with = |member: &str, value: Value| {
        let mut body = good.clone();
        body[member] = value;
        body.to_string()
    };
    for (body, said) in [
        (with("env_id", json!("nobody")), "no environment"),
        (with("env_id", Value::Null), "env_id"),
        (with("url", json!("example.com")), "url"),
        (with("url", json!("https://a:b@example.com/")), "password"),
        (with("events", json!(["video_eaten"])), "video_eaten"),
        (with("format", json!("xml")), "xml"),
        (with("secret", json!("whsec_short")), "24 to 64 bytes"),
        (with("secret", json!({ "sealed": "x" })), "secret"),
        (with("pipe_key", json!("two words")), "pipe_key"),
        (with("old", json!({ "sealed": "x", "until": "2030-01-01T00:00:00Z" })), "old"),
        (with("id", json!("a/b")), "a/b"),
        (with("colour", json!("red")), "colour"),
    ] {
        let refused = node.home.tell("POST", HOOKS, &body).await.is_problem(422);
        assert!(refused["detail"].as_str().unwrap().contains(said), "{body}: {refused}");
    }
    assert_eq!(node.home.tell("POST", HOOKS, &good.to_string()).await.status, 201);
    node.home.tell("POST", HOOKS, &good.to_string()).await.is_problem(409);
    let at = format!("{HOOKS}/a");
    for patch in [r#"{"secret":"x"}"#, r#"{"id":"b"}"#, r#"{"old":null}"#, r#"{"env_id":"x"}"#] {
        node.home.tell("PATCH", &at, patch).await.is_problem(422);
    }
    let ping = format!("{HOOKS}/nobody/ping");
    node.home.tell("POST", &ping, "{}").await.is_problem(404);
    node.home.ask("GET", &format!("{HOOKS}/nobody/deliveries")).await.is_problem(404);
    for query in ["limit=0", "cursor=x", "colour=red"] {
        node.home.ask("GET", &format!("{at}/deliveries?{query}")).await.is_problem(400);
    }
    for delivery in ["msg_", "msg_00000000000000000000000000000000", "x", "msg_ü"] {
        let delivery = delivery.replace('ü', "%C3%BC");
        let target = format!("{at}/deliveries/{delivery}/redeliver");
        node.home.tell("POST", &target, "{}").await.is_problem(404);
    }
}

#[tokio::test]
async fn an_environment_that_a_webhook_hears_of_is_not_deleted() {
    let node = Delivering::new("");
    let environment = json!({ "id": "shop", "mp4": false }).to_string();
    let made = node.home.tell("POST", "/api/v1/environments", &environment).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let (hook, _) = node.hook("https://example.com/", "shop", json!({})).await;
    let at = "/api/v1/environments/shop";
    let refused = node.home.ask("DELETE", at).await.is_problem(409);
    assert!(refused["detail"].as_str().unwrap().contains(&hook), "{refused}");
    assert_eq!(node.home.ask("DELETE", &format!("{HOOKS}/{hook}")).await.status, 204);
    assert_eq!(node.home.ask("DELETE", at).await.status, 204);
}

#[tokio::test]
async fn a_webhook_of_the_configuration_is_told_and_changed_there() {
    let receiver = Receiver::start().await;
    let old = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let new = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let more = format!(
        "{HERE}\n[[webhooks]]\nid = \"front\"\nenv_id = \"demo\"\nurl = \"{}\"\n\
         events = [\"video_recorded\"]\nsecret_file = \"{{at}}/hook\"\n",
        receiver.url()
    );
    let node = Delivering::of(Home::with_more(&more));
    // Without its secret it is not sent unsigned.
    node.home.saved(1, "demo").await;
    let told = node.newest("front", is_tried).await;
    assert!(told.error.unwrap().contains("cannot read"), "the reason is another one");
    // Today's, and the one before: the file is read at each attempt.
    std::fs::write(node.home.dir.path().join("hook"), format!("{new}\n{old}\n")).unwrap();
    node.newest("front", |told| told.state == DeliveryState::Delivered).await;
    let got = receiver.has(1).await;
    assert_signed(&got[0], &receiver.url(), new, None);
    assert_eq!(got[0].header("webhook-signature").split(' ').count(), 2);

    let at = format!("{HOOKS}/front");
    assert_eq!(node.home.ask("GET", &at).await.json()["origin"], "config");
    node.home.tell("PATCH", &at, r#"{"enabled":false}"#).await.is_problem(409);
    node.home.tell("POST", &format!("{at}/rotate-secret"), "{}").await.is_problem(409);
    let refused = node.home.ask("DELETE", &at).await.is_problem(409);
    assert!(refused["detail"].as_str().unwrap().contains("configuration file"), "{refused}");
}

#[tokio::test]
async fn a_new_secret_signs_beside_the_old_one() {
    let receiver = Receiver::start().await;
    let node = Delivering::new("");
    let (hook, old) = node.hook(&receiver.url(), "demo", json!({ "pipe_key": "k" })).await;
    let at = format!("{HOOKS}/{hook}");
    let rotated = node.home.tell("POST", &format!("{at}/rotate-secret"), "{}").await.json();
    let new = rotated["secret"].as_str().unwrap();
    assert_ne!(new, old);
    assert!(rotated["old_secret_until"].is_string(), "{rotated}");
    assert!(node.home.ask("GET", &at).await.json()["secret"].is_null());
    node.home.tell("POST", &format!("{at}/ping"), "{}").await;
    let got = receiver.has(1).await;
    assert_signed(&got[0], &receiver.url(), new, Some("k"));
    assert_signed(&got[0], &receiver.url(), &old, Some("k"));
    assert_eq!(got[0].header("webhook-signature").split(' ').count(), 2);
}

#[tokio::test]
async fn what_was_sent_is_looked_at_page_by_page_and_sent_once_more() {
    let receiver = Receiver::start().await;
    receiver.answers(|_| Reply::Status(200, "all\u{1b}[31m good\n"));
    let node = Delivering::new("");
    let (hook, _) = node.hook(&receiver.url(), "demo", json!({})).await;
    let at = format!("{HOOKS}/{hook}");
    let mut ids = Vec::new();
    for seed in 1..=3 {
        ids.push(node.home.saved(seed, "demo").await.to_string());
        node.newest(&hook, |told| told.state == DeliveryState::Delivered).await;
        receiver.has(usize::from(seed)).await;
    }
    ids.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = node.home.ask("GET", &format!("{at}/deliveries?limit=2{cursor}")).await.json();
        seen.extend(page["deliveries"].as_array().unwrap().clone());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let of = |member: &str| -> Vec<Value> { seen.iter().map(|one| one[member].clone()).collect() };
    assert_eq!(of("recording_id"), ids);
    assert_eq!(of("status"), [200, 200, 200]);
    assert_eq!(seen[0]["response_head"], "all\u{fffd}[31m good\n");
    let sent = format!("{at}/deliveries/{}/redeliver", seen[2]["id"].as_str().unwrap());
    let answer = node.home.tell("POST", &sent, "{}").await;
    assert_eq!((answer.status, &answer.json()["state"]), (StatusCode::ACCEPTED, &json!("waiting")));
    let got = receiver.has(4).await;
    assert_eq!(got[3].header("webhook-id"), got[0].header("webhook-id"));
    assert_eq!(got[3].body, got[0].body);
    for _ in 0..6_000 {
        let all = node.deliveries(&hook).await;
        if all[2].state == DeliveryState::Delivered {
            assert_eq!(all[2].attempts, 2);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it still waits");
}

//! Receivers that hang, flood, lead astray or are gone: they hold up nobody but themselves.

use std::collections::BTreeSet;
use std::time::Duration;

use holdfast::webhooks::DeliveryState;
use serde_json::json;

use super::operate_node::Home;
use super::receiver::{Receiver, Reply, until};
use super::{Delivering, HOOKS, is_tried};

#[tokio::test]
async fn a_webhook_that_hangs_holds_up_no_other_and_is_given_15_seconds() {
    let (hanging, good) = (Receiver::start().await, Receiver::start().await);
    hanging.answers(|_| Reply::Hang);
    let node = Delivering::new("");
    let (stuck, _) = node.hook(&hanging.url(), "demo", json!({})).await;
    node.hook(&good.url(), "demo", json!({})).await;
    for seed in 1..=20 {
        node.home.delivered(seed, "demo").await;
    }
    good.has(40).await;
    // At no time has it more than its few places, and none of it has been given up.
    assert!((1..=4).contains(&hanging.at_once_max()), "{}", hanging.at_once_max());
    let oldest = until("the first attempt to end", || {
        let node = &node.home.node;
        let all = node.webhooks.deliveries(node, &stuck, None, 50).unwrap().0;
        all.into_iter().find(is_tried)
    });
    let oldest = oldest.await;
    assert_eq!((oldest.state, oldest.status), (DeliveryState::Waiting, None));
    assert!(oldest.error.as_ref().unwrap().contains("no answer within 15 s"), "{oldest:?}");
    assert!(oldest.next_at.is_some());
}

#[tokio::test]
async fn an_answer_without_end_is_read_only_at_its_beginning() {
    let receiver = Receiver::start().await;
    receiver.answers(|_| Reply::Flood);
    let node = Delivering::new("");
    let (hook, _) = node.hook(&receiver.url(), "demo", json!({})).await;
    node.home.saved(1, "demo").await;
    let told = node.newest(&hook, is_tried).await;
    assert_eq!((told.state, told.status), (DeliveryState::Delivered, Some(200)));
    assert_eq!(told.response_head.unwrap(), "x".repeat(1_024));
}

#[tokio::test]
async fn an_answer_that_drips_is_not_waited_for_and_counts_by_its_status() {
    let receiver = Receiver::start().await;
    receiver.answers(|_| Reply::Drip);
    let node = Delivering::new("");
    let (hook, _) = node.hook(&receiver.url(), "demo", json!({})).await;
    node.home.saved(1, "demo").await;
    let told = node.newest(&hook, is_tried).await;
    assert_eq!((told.state, told.status, told.error), (DeliveryState::Delivered, Some(200), None));
    assert!(told.response_head.unwrap().starts_with(".."));
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_is_not_followed() {
    let receiver = Receiver::start().await;
    receiver.answers(|_| Reply::Redirect);
    let node = Delivering::new("");
    let (hook, _) = node.hook(&receiver.url(), "demo", json!({})).await;
    node.home.saved(1, "demo").await;
    let told = node.newest(&hook, is_tried).await;
    assert_eq!((told.state, told.status), (DeliveryState::Waiting, Some(307)));
    assert!(told.error.unwrap().contains("redirect to /hooks?token=t"));
    let again = node.newest(&hook, |told| told.attempts == 2).await;
    // One request for each attempt.
    assert_eq!((again.tries.len(), receiver.got().len()), (2, 2));
}

#[tokio::test]
async fn a_receiver_that_asks_for_patience_gets_some() {
    // Its own wait is 5 s at most, the next one 5 minutes.
    for (status, asks, wait_s) in [
        (429, "120", 120..=121),
        (503, "90", 90..=91),
        (503, "86400", 300..=301),
        (429, "1", 4..=5),
        (500, "120", 4..=5),
    ] {
        let receiver = Receiver::start().await;
        receiver.answers(move |_| Reply::RetryAfter(status, asks.into()));
        let node = Delivering::new("");
        let (hook, _) = node.hook(&receiver.url(), "demo", json!({})).await;
        node.home.saved(1, "demo").await;
        let told = node.newest(&hook, is_tried).await;
        assert_eq!((told.state, told.status), (DeliveryState::Waiting, Some(status)));
        let ended_at = told.tries[0].at
            + jiff::SignedDuration::from_millis(i64::try_from(told.tries[0].duration_ms).unwrap());
        let wait = told.next_at.unwrap().duration_since(ended_at);
        // The attempt is noted a moment after it has ended.
        let most = wait_s.end() + i64::from(wait_s.end() > &5) * 30;
        assert!((*wait_s.start()..=most).contains(&wait.as_secs()), "{status} {asks}: {wait:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_sent_nothing_until_it_answers_a_ping() {
    let receiver = Receiver::start().await;
    receiver.answers(|_| Reply::Status(410, "closed"));
    let node = Delivering::new("");
    let (hook, _) = node.hook(&receiver.url(), "demo", json!({})).await;
    let at = format!("{HOOKS}/{hook}");
    let first = node.home.delivered(1, "demo").await;
    let gone = async || node.home.ask("GET", &at).await.json();
    until("it to be noted", || {
        let health = node.home.node.webhooks.health(&node.home.node, &hook).unwrap();
        health.gone_at
    })
    .await;
    assert_eq!(gone().await["enabled"], true);
    let second = node.home.delivered(2, "demo").await;
    let told = node.deliveries(&hook).await;
    let failed = told.last().unwrap();
    assert_eq!((failed.state, failed.status), (DeliveryState::Failed, Some(410)));
    // The rest waits, also what happens from now on.
    assert_eq!(gone().await["waiting"], 3);
    let redeliver = format!("{at}/deliveries/{}/redeliver", failed.id);
    node.home.tell("POST", &redeliver, "{}").await.is_problem(409);
    let ping = node.home.tell("POST", &format!("{at}/ping"), "{}").await.json();
    assert_eq!((&ping["status"], &ping["state"]), (&json!(410), &json!("failed")));
    assert_eq!(receiver.got().len(), 2);

    receiver.answers(|_| Reply::Status(200, ""));
    let ping = node.home.tell("POST", &format!("{at}/ping"), "{}").await.json();
    assert_eq!((&ping["state"], &ping["event"]), (&json!("delivered"), &json!("webhook.ping")));
    let got = receiver.has(6).await;
    assert!(gone().await["gone_at"].is_null());
    let events: BTreeSet<_> = got[3..].iter().map(|got| (got.recording(), got.event())).collect();
    let expected =
        [(first, "video_converted"), (second, "video_recorded"), (second, "video_converted")];
    assert_eq!(events, expected.map(|(id, event)| (id.to_string(), event.to_owned())).into());
}

#[tokio::test]
async fn private_addresses_are_refused_when_set_and_when_a_name_leads_there() {
    let receiver = Receiver::start().await;
    let node = Delivering::of(Home::with_more("\n[notify]\nplain_http = true\n"));
    let port = receiver.address.port();
    for host in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "10.1.1.1", "2130706433"] {
        let body = json!({ "url": format!("http://{host}:{port}/"), "env_id": "demo" }).to_string();
        let refused = node.home.tell("POST", HOOKS, &body).await.is_problem(422);
        assert!(refused["detail"].as_str().unwrap().contains("private_targets"), "{refused}");
    }
    let (hook, _) = node.hook(&format!("http://localhost:{port}/"), "demo", json!({})).await;
    node.home.saved(1, "demo").await;
    let told = node.newest(&hook, is_tried).await;
    assert_eq!(told.status, None);
    let error = told.error.unwrap();
    assert!(error.contains("localhost leads to") && error.contains("loopback"), "{error}");
    assert!(receiver.got().is_empty());
}

#[tokio::test]
async fn an_address_without_tls_is_refused_unless_the_configuration_allows_it() {
    let node = Delivering::of(Home::with_more("\n[notify]\nprivate_targets = true\n"));
    let body = json!({ "url": "http://127.0.0.1:1/", "env_id": "demo" }).to_string();
    let refused = node.home.tell("POST", HOOKS, &body).await.is_problem(422);
    assert!(refused["detail"].as_str().unwrap().contains("plain_http"), "{refused}");
    // Nobody listens there, and that is what is said.
    let (hook, _) = node.hook("https://127.0.0.1:1/", "demo", json!({})).await;
    node.home.saved(1, "demo").await;
    let told = node.newest(&hook, is_tried).await;
    assert!(told.error.unwrap().contains("cannot be reached"));
}

#[tokio::test]
async fn nothing_is_written_while_nothing_happens() {
    let receiver = Receiver::start().await;
    let node = Delivering::new("");
    let (hook, _) = node.hook(&receiver.url(), "demo", json!({})).await;
    node.home.saved(1, "demo").await;
    node.newest(&hook, |told| told.state == DeliveryState::Delivered).await;
    let commits = node.home.node.ledger.changes();
    let before = *commits.borrow();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(*commits.borrow(), before);
}

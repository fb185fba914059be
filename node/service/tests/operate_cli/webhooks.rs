//! Webhooks: made, changed and deleted from a shell, and what was sent looked at, with a real receiver.

use std::sync::Arc;

use holdfast::webhooks::sign::Signer;
use holdfast::webhooks::{Delivery, DeliveryState, worker};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::operate_node::Home;
use super::receiver::{Receiver, Reply, until};
use super::{call, serve};

/// Lets webhooks reach the server of these tests.
const HERE: &str = "\n[notify]\nprivate_targets = [\"127.0.0.0/8\"]\nplain_http = true\n";
const FRONT: &str = "/api/v1/webhooks/front";

/// Waits until the newest delivery of the webhook `front` is as it should be.
async fn newest(home: &Home, is: impl Fn(&Delivery) -> bool) -> Delivery {
    until("the newest delivery to be so", || {
        let all = home.node.webhooks.deliveries(&home.node, "front", None, 1).unwrap().0;
        all.into_iter().next().filter(&is)
    })
    .await
}

/// The rows of what was sent to the webhook `front`, newest first.
async fn deliveries(home: &Home) -> Vec<String> {
    let said = call(home, &["webhooks", "deliveries", "front"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    said.out.lines().skip(1).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_webhook_is_made_shown_changed_and_deleted() {
    let home = Home::with_more(HERE);
    let _serving = serve(&home).await;
    let url = "https://shop.example/hooks";
    let create = ["webhooks", "create", "front", "--env", "demo", "--url", url];
    let events = ["--event", "video_recorded", "--event", "recording.failed"];
    let made = call(&home, &[&create[..], &events[..]].concat()).await;
    assert_eq!((made.code, made.out.lines().count()), (0, 1), "{}{}", made.out, made.err);
    let secret = made.out.trim_end();
    assert!(secret.starts_with("whsec_") && !made.err.contains(secret), "{}{}", made.out, made.err);
    assert!(made.err.contains("webhook       front\n"), "{}", made.err);
    let said = call(&home, &create).await;
    assert!(said.code == 1 && said.out.is_empty() && said.err.contains("front"), "{}", said.err);

    let shown = call(&home, &["webhooks", "show", "front"]).await.out;
    for words in ["webhook       front\n", url, "video_recorded", "recording.failed", "yes"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let list = call(&home, &["webhooks", "list", "--env", "demo"]).await.out;
    let row = list.lines().nth(1).unwrap_or_else(|| panic!("{list}"));
    assert!(row.starts_with("front ") && row.ends_with("  yes  api"), "{list}");
    assert!(row.contains(url), "{list}");
    assert!(!shown.contains(secret) && !list.contains(secret), "{shown}{list}");

    assert_eq!(call(&home, &["webhooks", "set", "front"]).await.code, 2, "it wants something");
    let set = ["webhooks", "set", "front", "--enabled", "false", "--format", "form"];
    let said = call(&home, &[&set[..], &["--event", "recording.deleted"]].concat()).await;
    assert_eq!(said.code, 0, "{}", said.err);
    let now = home.ask("GET", FRONT).await.json();
    assert_eq!((&now["enabled"], &now["format"]), (&json!(false), &json!("form")));
    assert_eq!((&now["events"], &now["url"]), (&json!(["recording.deleted"]), &json!(url)));

    let said = call(&home, &["webhooks", "delete", "front"]).await;
    assert!(said.code == 2 && said.err.contains("--yes"), "{}{}", said.code, said.err);
    assert_eq!(home.ask("GET", FRONT).await.status, 200);
    assert_eq!(call(&home, &["webhooks", "delete", "front", "--yes"]).await.out, "deleted\n");
    home.ask("GET", FRONT).await.is_problem(404);
    assert_eq!(call(&home, &["webhooks", "show", "front"]).await.code, 3);
    // Without an id one is made.
    let create = ["webhooks", "create", "--env", "demo", "--url", url, "--json"];
    let said = call(&home, &create).await;
    let made: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.err));
    assert!(made["id"].as_str().unwrap().starts_with("hook-"), "{made}");
}

#[tokio::test]
async fn what_was_sent_is_shown_with_its_answer_and_sent_once_more() {
    let receiver = Receiver::start().await;
    receiver.answers(|_| Reply::Status(200, "all\u{1b}[31m good\nfor now\n"));
    let home = Home::with_more(HERE);
    let _worker = tokio::spawn(worker::run(Arc::clone(&home.node)));
    let _serving = serve(&home).await;
    let url = receiver.url();
    let create = ["webhooks", "create", "front", "--env", "demo", "--url", url.as_str()];
    let secret = call(&home, &create).await.out;
    let recording = home.saved(1, "demo").await.to_string();
    let got = receiver.has(1).await;
    // The secret that was printed is the one that its receiver needs.
    let signer = Signer::new(&[Zeroizing::new(secret.trim_end().to_owned())], None).unwrap();
    let at_s: i64 = got[0].header("webhook-timestamp").parse().unwrap();
    let signed = signer.standard(got[0].header("webhook-id"), at_s, &got[0].body);
    assert_eq!(got[0].header("webhook-signature"), signed);

    let told = newest(&home, |told| told.state == DeliveryState::Delivered).await;
    let rows = deliveries(&home).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    let ms = told.duration_ms.unwrap();
    let took = format!("{}.{:03} s", ms / 1_000, ms % 1_000);
    for words in ["video_recorded", &told.id, &recording, "delivered", "200", &took] {
        assert!(rows[0].contains(words), "{words}: {rows:?}");
    }
    assert!(rows[0].ends_with("  all\u{fffd}[31m good for now"), "{rows:?}");

    let said = call(&home, &["webhooks", "redeliver", "front", &told.id]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "sent once more\n"), "{}", said.err);
    let got = receiver.has(2).await;
    assert_eq!(got[1].header("webhook-id"), told.id);
    assert_eq!(got[1].body, got[0].body);
    let again = |told: &Delivery| told.attempts == 2 && told.state == DeliveryState::Delivered;
    newest(&home, again).await;
    let nothing = format!("msg_{}", "0".repeat(32));
    assert_eq!(call(&home, &["webhooks", "redeliver", "front", &nothing]).await.code, 3);

    // What went wrong is said, with what the receiver had to say for itself.
    receiver.answers(|_| Reply::Status(500, "out of order"));
    home.saved(2, "demo").await;
    let failed = newest(&home, |told| told.status == Some(500)).await;
    let rows = deliveries(&home).await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    for words in [failed.error.as_deref().unwrap(), "waiting", "  500  ", "out of order"] {
        assert!(rows[0].contains(words), "{words}: {rows:?}");
    }
    let said = call(&home, &["webhooks", "redeliver", "nobody", &failed.id]).await;
    assert!(said.code == 3 && said.err.contains("nobody"), "{}{}", said.code, said.err);
}

//! A lifecycle rule tried out: what is said would go is what the rule would take, and nothing goes.

use holdfast::digest;
use holdfast_core::names::Container;
use holdfast_core::recording::{State, Terms};
use holdfast_core::{Event, RecordingId};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::operate_node::{Home, RAW};
use super::{Said, call, serve};

/// One that is stored here, and was saved so many days ago.
async fn stored(home: &Home, seed: u8, days_ago: i64) -> RecordingId {
    let id = home.receiving(seed, "plain").await;
    let at = home.node.clock.now() - SignedDuration::from_hours(24 * days_ago);
    let (bytes, sha256) = (RAW.len() as u64, digest::of(RAW));
    let stopped = Event::Stopped { bytes, sha256, container: Some(Container::Webm) };
    for event in [stopped, Event::Saved] {
        home.node.ledger.apply(id, event, at).await.unwrap();
    }
    assert_eq!(home.node.ledger.get(id).unwrap().unwrap().state, State::Stored);
    id
}

/// The lines and the rows of a preview, without spaces that align them.
async fn preview(home: &Home, arguments: &[&str]) -> (Said, Vec<String>) {
    let said = call(home, &[&["policy", "preview"], arguments].concat()).await;
    assert_eq!(said.code, 0, "{arguments:?}: {}", said.err);
    let lines = said.out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let lines = lines.collect();
    (said, lines)
}

fn plain(at: &Value) -> String {
    let at: Timestamp = at.as_str().unwrap().parse().unwrap();
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[tokio::test]
async fn a_preview_names_what_would_go_and_when_and_deletes_nothing() {
    let home = Home::new();
    let old = stored(&home, 1, 100).await;
    let new = stored(&home, 2, 0).await;
    let later = Terms { lifecycle_days: Some(90), ..Terms::default() };
    home.apply(new, Event::TermsChanged(later)).await;
    home.saved(3, "demo").await;
    let _serving = serve(&home).await;

    let (said, lines) = preview(&home, &["--lifecycle-days", "30"]).await;
    for line in [
        "rule recordings go after 30 days",
        "looked at 3",
        "go at once 1, 20 bytes",
        "go sooner 2, those at once included",
        "stay longer 0",
        "RECORDING ENVIRONMENT SAVED GOES WOULD GO",
    ] {
        assert!(lines.iter().any(|said| said == line), "{line}: {}", said.out);
    }
    let json = call(&home, &["policy", "preview", "--lifecycle-days", "30", "--json"]).await.out;
    let json: Value = serde_json::from_str(&json).unwrap();
    let of = |id: RecordingId| {
        let all = json["recordings"].as_array().unwrap().iter();
        all.clone().find(|rec| rec["id"] == id.to_string()).unwrap()
    };
    let (rec, saved) = (of(old), |rec: &Value| plain(&rec["saved_at"]));
    let row = format!("{old} plain {} - {}", saved(rec), plain(&rec["would_go_at"]));
    assert!(lines.contains(&row), "{row}: {}", said.out);
    let rec = of(new);
    let (goes, would_go) = (plain(&rec["goes_at"]), plain(&rec["would_go_at"]));
    assert!(would_go < goes, "{rec}");
    let row = format!("{new} plain {} {goes} {would_go}", saved(rec));
    // Newest first, and nothing else.
    assert_eq!(lines[lines.len() - 2], row, "{}", said.out);
    for id in [old, new] {
        assert_eq!(home.node.ledger.get(id).unwrap().unwrap().state, State::Stored);
        assert!(!home.node.ledger.get(id).unwrap().unwrap().is_gone());
    }
}

#[tokio::test]
async fn a_preview_of_what_takes_nothing_says_so() {
    let home = Home::new();
    let id = stored(&home, 1, 1).await;
    let _serving = serve(&home).await;
    let nothing = "Nothing would go sooner than it does now.";
    let says = async |arguments: &[&str], stays: &str| {
        let (said, lines) = preview(&home, arguments).await;
        for line in ["go at once 0, 0 bytes", "go sooner 0, those at once included", stays, nothing]
        {
            assert!(lines.iter().any(|said| said == line), "{line}: {}", said.out);
        }
        assert!(
            !said.out.contains("RECORDING") && !said.out.contains(&id.to_string()),
            "{}",
            said.out
        );
        lines
    };
    // Another environment's, no rule at all, and a rule that is laxer than that of now.
    says(&["--lifecycle-days", "30", "--env", "demo"], "stay longer 0").await;
    let lines = says(&["--lifecycle-days", "never"], "stay longer 0").await;
    assert!(lines.contains(&"rule none".to_owned()), "{lines:?}");
    let terms = Terms { lifecycle_days: Some(30), ..Terms::default() };
    home.apply(id, Event::TermsChanged(terms)).await;
    says(&["--lifecycle-days", "never"], "stay longer 1").await;
    says(&["--lifecycle-days", "31"], "stay longer 1").await;
    says(&["--lifecycle-days", "30"], "stay longer 0").await;
}

#[tokio::test]
async fn a_rule_that_is_none_is_refused_before_the_node_is_asked() {
    let home = Home::new();
    for (arguments, words) in [
        (&["policy", "preview"][..], "--lifecycle-days"),
        (&["policy", "preview", "--lifecycle-days", "0"], "1 to 36500, or `never`"),
        (&["policy", "preview", "--lifecycle-days", "soon"], "1 to 36500, or `never`"),
    ] {
        let said = call(&home, arguments).await;
        assert!(said.code == 2 && said.err.contains(words), "{arguments:?}: {}", said.err);
    }
}

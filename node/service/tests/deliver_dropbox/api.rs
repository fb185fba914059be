//! A Dropbox that is made over the API.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fake::{APP_SECRET, REFRESH_TOKEN};
use super::operate_node::Home;

const AT: &str = "/api/v1/destinations";

fn given(name: &str, value: Value) -> Value {
    let mut whole = json!({
        "kind": "dropbox", "name": "films", "app_key": "abc123", "app_secret": APP_SECRET,
        "refresh_token": REFRESH_TOKEN, "directory": "Incoming", "existing": "rename",
    });
    whole[name] = value;
    whole
}

#[tokio::test]
async fn it_is_made_and_changed_and_never_shows_its_secrets() {
    let home = Home::new();
    let made = home.tell("POST", AT, &given("mute", json!(true)).to_string()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    let patch = json!({ "directory": "Other", "refresh_token": format!("{REFRESH_TOKEN}2") });
    let at = format!("{AT}/films");
    let changed = home.tell("PATCH", &at, &patch.to_string()).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.text());
    let shown = home.ask("GET", &at).await;
    for text in [made.text(), changed.text(), shown.text()] {
        assert!(!text.contains(APP_SECRET) && !text.contains(REFRESH_TOKEN), "{text}");
    }
    let shown = shown.json();
    assert_eq!((&shown["kind"], &shown["directory"]), (&json!("dropbox"), &json!("Other")));
    assert_eq!((&shown["mute"], &shown["existing"]), (&json!(true), &json!("rename")));
    assert_eq!(home.node.settings.destination("films").unwrap().name(), "films");
}

#[tokio::test]
async fn what_makes_no_sense_or_may_not_be_is_refused_with_its_reason() {
    let home = Home::new();
    let file_only = "only the configuration file";
    for (body, words) in [
        (given("app_key", json!("two words")), "app_key"),
        (given("app_key", Value::Null), "app_key"),
        (given("directory", json!("../up")), "directory"),
        (given("path_root", json!("no id")), "path_root"),
        (given("existing", json!("maybe")), "existing: "),
        (given("refresh_token", Value::Null), "refresh_token: is missing"),
        (given("refresh_token", json!("two words")), "refresh_token: it holds more than one word"),
        (given("refresh_token_file", json!("/etc/shadow")), file_only),
        (given("app_secret_file", json!("/etc/shadow")), file_only),
        (given("ca_file", json!("/etc/shadow")), file_only),
        (given("api_url", json!("https://elsewhere.example")), file_only),
        (given("content_url", json!("https://elsewhere.example")), file_only),
    ] {
        let problem = home.tell("POST", AT, &body.to_string()).await.is_problem(422);
        let said = problem["detail"].as_str().unwrap();
        assert!(said.contains(words), "{body}: {said}");
        assert!(!said.contains(REFRESH_TOKEN), "{said}");
    }
}

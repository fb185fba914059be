//! Version 1 of the REST API, as an integration that knows it from elsewhere asks it.

#![allow(missing_docs, clippy::unwrap_used)]

mod operate_node;

use axum::http::StatusCode;
use holdfast_core::RecordingId;
use operate_node::{Answer, Home, KEY, MP4, send};
use serde_json::Value;

async fn ask(home: &Home, key: &str, method: &str, target: &str) -> Answer {
    send(&home.router(), "192.0.2.1", method, target, &[("x-pipe-auth", key)]).await
}

#[tokio::test]
async fn all_videos_are_told_as_such_integrations_expect() {
    let home = Home::new();
    let stored = home.delivered(1, "shelf").await.to_string();
    home.receiving(2, "demo").await;
    let deleted = home.saved(3, "demo").await;
    home.ask("DELETE", &format!("/api/v1/recordings/{deleted}")).await;
    let all = ask(&home, KEY, "GET", "/video/all").await.json();
    assert_eq!((&all["status"], &all["request_method"]), (&"OK".into(), &"GET".into()));
    assert_eq!(all["message"], "Request successful");
    assert_eq!((&all["total_videos"], &all["next"]), (&1.into(), &Value::Null), "{all}");
    let video = &all["videos"][0];
    let size = MP4.len().to_string();
    for (name, value) in [
        ("id", stored.as_str()),
        ("name", stored.as_str()),
        ("original_container", "webm"),
        ("converted", "1"),
        ("size", size.as_str()),
        ("source", "upload"),
        ("s3ed", "0"),
        ("has_mp4", "1"),
        ("has_snapshot", "0"),
        ("env_id", "shelf"),
        ("recovered", "0"),
        ("payload", "A \u{1b}[31mtitle"),
        ("url", &format!("/api/v1/recordings/{stored}/files/main")),
    ] {
        assert_eq!(video[name], value, "{name}");
    }
    let datetime = video["datetime"].as_str().unwrap();
    assert_eq!((datetime.len(), &datetime[10..11]), (19, " "), "{datetime}");
    assert!(video["snapshotURL"].is_null() && video["length"].is_null());
    // One is told in the same way, alone.
    let one = ask(&home, KEY, "GET", &format!("/video/{stored}")).await.json();
    assert_eq!((&one["videos"][0], &one["total_videos"]), (video, &1.into()));
    // What its link leads to is there, for whoever has the key.
    let url = video["url"].as_str().unwrap();
    assert_eq!(home.ask("GET", url).await.body, MP4);
}

#[tokio::test]
async fn a_long_list_goes_on_where_it_ended() {
    let home = Home::new();
    let mut ids = Vec::new();
    for seed in 1..=5 {
        ids.push(home.saved(seed, "demo").await.to_string());
        home.receiving(seed + 100, "demo").await;
    }
    ids.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ask(&home, KEY, "GET", &format!("/video/all?limit=2{cursor}")).await.json();
        let videos = page["videos"].as_array().unwrap();
        assert!(videos.len() <= 2);
        seen.extend(videos.iter().map(|video| video["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    for wrong in ["limit=0", "limit=1001", "cursor=1", "page=2"] {
        ask(&home, KEY, "GET", &format!("/video/all?{wrong}")).await.is_problem(400);
    }
}

#[tokio::test]
async fn a_video_is_deleted_once_and_not_under_a_legal_hold() {
    let home = Home::new();
    let id = home.saved(1, "demo").await;
    let (video, hold) = (format!("/video/{id}"), format!("/api/v1/recordings/{id}/hold"));
    home.tell("PUT", &hold, r#"{"reason":"x"}"#).await;
    ask(&home, KEY, "DELETE", &video).await.is_problem(409);
    home.ask("DELETE", &hold).await;
    let gone = ask(&home, KEY, "DELETE", &video).await;
    assert_eq!((gone.status, &gone.json()["status"]), (StatusCode::OK, &"OK".into()));
    assert_eq!(gone.json()["request_method"], "DELETE");
    for method in ["GET", "DELETE"] {
        ask(&home, KEY, method, &video).await.is_problem(404);
    }
    assert_eq!(
        home.ask("GET", &format!("/api/v1/recordings/{id}")).await.json()["state"],
        "deleted"
    );
}

#[tokio::test]
async fn the_keys_are_those_of_the_api_with_their_scopes_and_environments() {
    let home = Home::new();
    let (own, other) = (home.saved(1, "demo").await, home.saved(2, "plain").await);
    let (read, limited) = (home.key("read", &[]).await, home.key("manage", &["demo"]).await);
    let router = home.router();
    let bearer = format!("Bearer {KEY}");
    for headers in [&[][..], &[("x-pipe-auth", "")], &[("authorization", bearer.as_str())]] {
        let said = send(&router, "192.0.2.1", "GET", "/video/all", headers).await.is_problem(401);
        assert!(said["detail"].as_str().unwrap().contains("X-PIPE-AUTH"), "{said}");
    }
    ask(&home, &read, "DELETE", &format!("/video/{own}")).await.is_problem(403);
    assert_eq!(ask(&home, &read, "GET", "/video/all").await.json()["total_videos"], 2);
    assert_eq!(ask(&home, &limited, "GET", "/video/all").await.json()["total_videos"], 1);
    for method in ["GET", "DELETE"] {
        ask(&home, &limited, method, &format!("/video/{other}")).await.is_problem(404);
        let nowhere = RecordingId::new(1, [1; 10]);
        ask(&home, &limited, method, &format!("/video/{nowhere}")).await.is_problem(404);
        ask(&home, &limited, method, "/video/60372").await.is_problem(404);
    }
    ask(&home, KEY, "POST", "/video/all").await.is_problem(405);
    // Guessing here is guessing there.
    for _ in 0..20 {
        let wrong = [("x-pipe-auth", "nope")];
        send(&router, "192.0.2.7", "GET", "/video/all", &wrong).await.is_problem(401);
    }
    let right = [("authorization", bearer.as_str())];
    send(&router, "192.0.2.7", "GET", "/api/v1/recordings", &right).await.is_problem(429);
}

//! What people, scanners and broken programs send: each has its status, and nothing comes of it.

#![allow(missing_docs, clippy::unwrap_used)]

mod operate_node;

use axum::http::StatusCode;
use operate_node::{Home, KEY, send_body};

/// Ids as nobody means them, as they stand in an address.
fn odd_ids() -> Vec<String> {
    let long = "x".repeat(10_000);
    [
        "..%2F..%2Fetc%2Fpasswd",
        "%2e%2e%2f%2e%2e%2fstate%2fnode.key",
        "%27%20OR%201%3D1--",
        "1%3B%20DROP%20TABLE%20recordings",
        "%00",
        "0193a7b2-6c1e-7d7e-8a3f-0123456789ab%00",
        "0193A7B2-6C1E-7D7E-8A3F-0123456789AB",
        "%7B%7B7*7%7D%7D",
        "%3Cscript%3E",
        "%F0%9F%8E%A5",
        "null",
        "-1",
        &long,
    ]
    .map(str::to_owned)
    .to_vec()
}

#[tokio::test]
async fn odd_ids_are_not_found_wherever_there_are_ids() {
    let home = Home::new();
    let id = home.saved(1, "demo").await;
    for odd in odd_ids() {
        for (method, target, body) in [
            ("GET", format!("/api/v1/recordings/{odd}"), ""),
            ("DELETE", format!("/api/v1/recordings/{odd}"), ""),
            ("GET", format!("/api/v1/recordings/{odd}/files/raw"), ""),
            ("GET", format!("/api/v1/recordings/{id}/files/{odd}"), ""),
            ("GET", format!("/api/v1/recordings/{odd}/explain"), ""),
            ("PUT", format!("/api/v1/recordings/{odd}/hold"), r#"{"reason":"x"}"#),
            ("DELETE", format!("/api/v1/recordings/{odd}/hold"), ""),
            ("POST", format!("/api/v1/recordings/{odd}/retry"), ""),
            ("POST", format!("/api/v1/recordings/{odd}/push"), ""),
            ("GET", format!("/api/v1/keys/{odd}"), ""),
            ("DELETE", format!("/api/v1/keys/{odd}"), ""),
            ("GET", format!("/api/v1/accounts/{odd}"), ""),
            ("PATCH", format!("/api/v1/accounts/{odd}"), "{}"),
            ("DELETE", format!("/api/v1/environments/{odd}"), ""),
            ("GET", format!("/api/v1/destinations/{odd}"), ""),
        ] {
            home.tell_as(KEY, method, &target, body).await.is_problem(404);
        }
        let v1 = [("x-pipe-auth", KEY)];
        let target = format!("/video/{odd}");
        send_body(&home.router(), "192.0.2.1", "GET", &target, &v1, String::new())
            .await
            .is_problem(404);
    }
    // What is no text at all is malformed.
    for target in ["/api/v1/recordings/%ff", "/api/v1/keys/%ff", "/api/v1/accounts/%c3%28"] {
        home.ask("GET", target).await.is_problem(400);
    }
    // What leads out of the API leads nowhere.
    for target in
        ["/api/v1/recordings/../../etc/passwd", "/api/v1/../../etc/passwd", "//etc/passwd"]
    {
        home.ask("GET", target).await.is_problem(404);
    }
    assert_eq!(home.ask("GET", &format!("/api/v1/recordings/{id}")).await.json()["state"], "saved");
}

#[tokio::test]
async fn odd_filters_find_nothing_and_unknown_ones_are_refused() {
    let home = Home::new();
    home.saved(1, "demo").await;
    for odd in odd_ids() {
        for filter in ["env_id", "account_id"] {
            let page = home.ask("GET", &format!("/api/v1/recordings?{filter}={odd}")).await;
            assert_eq!(page.status, StatusCode::OK, "{filter}={odd}: {}", page.text());
            assert_eq!(page.json()["recordings"].as_array().unwrap().len(), 0, "{filter}={odd}");
        }
        for (list, filter) in [("recordings", "state"), ("recordings", "from")] {
            home.ask("GET", &format!("/api/v1/{list}?{filter}={odd}")).await.is_problem(400);
        }
    }
    for list in ["recordings", "keys", "accounts", "environments", "destinations"] {
        let said = home.ask("GET", &format!("/api/v1/{list}?x=1")).await.is_problem(400);
        assert!(said["detail"].as_str().unwrap().contains("`x`"), "{said}");
        home.ask("GET", &format!("/api/v1/{list}?limit=9999999999999999999999"))
            .await
            .is_problem(400);
    }
    home.ask("GET", "/api/v1/policy/preview?days=3").await.is_problem(400);
}

#[tokio::test]
async fn bodies_are_json_of_the_right_shape_and_size_or_refused() {
    let home = Home::new();
    let hold = format!("/api/v1/recordings/{}/hold", home.saved(1, "demo").await);
    let right = format!("Bearer {KEY}");
    let deep = "[".repeat(60_000);
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000));
    for (method, target) in [
        ("POST", "/api/v1/keys"),
        ("POST", "/api/v1/accounts"),
        ("POST", "/api/v1/environments"),
        ("POST", "/api/v1/destinations"),
        ("PUT", hold.as_str()),
    ] {
        for body in
            ["", "{", "nonsense", "{\"a\":1}}", "\u{0}", "{\"id\":\"\u{0}\"}", &deep, "[]", "1"]
        {
            let headers = [("authorization", right.as_str()), ("content-type", "application/json")];
            send_body(&home.router(), "192.0.2.1", method, target, &headers, body.to_owned())
                .await
                .is_problem(400);
        }
        home.tell_as(KEY, method, target, &large).await.is_problem(413);
        for kind in ["text/plain", "application/x-www-form-urlencoded", "application/xml"] {
            let headers = [("authorization", right.as_str()), ("content-type", kind)];
            send_body(&home.router(), "192.0.2.1", method, target, &headers, "{}".into())
                .await
                .is_problem(415);
        }
    }
}

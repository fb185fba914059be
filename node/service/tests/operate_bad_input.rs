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
        "%E2%80%AE%F0%9F%91%A9%E2%80%8D%F0%9F%9A%80",
        "x%0Ay",
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
    // One for all requests: making it takes longer than they do.
    let router = home.router();
    let right = format!("Bearer {KEY}");
    let headers = [
        ("authorization", right.as_str()),
        ("content-type", "application/json"),
        ("x-pipe-auth", KEY),
    ];
    let ask = async |method: &str, target: &str, body: &str| {
        send_body(&router, "192.0.2.1", method, target, &headers, body.to_owned()).await
    };
    let id = home.saved(1, "demo").await;
    let hook = r#"{"id":"front","env_id":"demo","url":"https://hooks.example/"}"#;
    assert_eq!(home.tell("POST", "/api/v1/webhooks", hook).await.status, StatusCode::CREATED);
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
            ("DELETE", format!("/api/v1/accounts/{odd}"), ""),
            ("GET", format!("/api/v1/environments/{odd}"), ""),
            ("PATCH", format!("/api/v1/environments/{odd}"), "{}"),
            ("DELETE", format!("/api/v1/environments/{odd}"), ""),
            ("GET", format!("/api/v1/destinations/{odd}"), ""),
            ("PATCH", format!("/api/v1/destinations/{odd}"), "{}"),
            ("DELETE", format!("/api/v1/destinations/{odd}"), ""),
            ("POST", format!("/api/v1/destinations/{odd}/test"), ""),
            ("GET", format!("/api/v1/recordings/{odd}/attempts"), ""),
            ("GET", format!("/api/v1/webhooks/{odd}"), ""),
            ("PATCH", format!("/api/v1/webhooks/{odd}"), "{}"),
            ("DELETE", format!("/api/v1/webhooks/{odd}"), ""),
            ("POST", format!("/api/v1/webhooks/{odd}/rotate-secret"), ""),
            ("POST", format!("/api/v1/webhooks/{odd}/ping"), ""),
            ("GET", format!("/api/v1/webhooks/{odd}/deliveries"), ""),
            ("POST", format!("/api/v1/webhooks/{odd}/deliveries/{odd}/redeliver"), ""),
            ("POST", format!("/api/v1/webhooks/front/deliveries/{odd}/redeliver"), ""),
            ("POST", format!("/api/v1/volumes/{odd}/open"), ""),
            ("POST", format!("/api/v1/volumes/{odd}/recover"), r#"{"key":"x"}"#),
        ] {
            ask(method, &target, body).await.is_problem(404);
        }
        ask("GET", &format!("/video/{odd}"), "").await.is_problem(404);
        ask("DELETE", &format!("/video/{odd}"), "").await.is_problem(404);
    }
    // What is no text at all is malformed.
    for target in [
        "/api/v1/recordings/%ff",
        "/api/v1/recordings/%ff/attempts",
        "/api/v1/recordings/%ff/files/raw",
        "/api/v1/keys/%ff",
        "/api/v1/accounts/%c3%28",
        "/api/v1/environments/%ff",
        "/api/v1/destinations/%ff",
        "/api/v1/webhooks/%ff",
        "/api/v1/webhooks/%ff/deliveries",
    ] {
        ask("GET", target, "").await.is_problem(400);
    }
    for (target, body) in [
        ("/api/v1/webhooks/%ff/ping", ""),
        ("/api/v1/webhooks/%ff/rotate-secret", ""),
        ("/api/v1/webhooks/front/deliveries/%ff/redeliver", ""),
        ("/api/v1/destinations/%ff/test", ""),
        ("/api/v1/volumes/%ff/open", ""),
        ("/api/v1/volumes/%ff/recover", r#"{"key":"x"}"#),
    ] {
        ask("POST", target, body).await.is_problem(400);
    }
    // What leads out of the API leads nowhere.
    for target in
        ["/api/v1/recordings/../../etc/passwd", "/api/v1/../../etc/passwd", "//etc/passwd"]
    {
        home.ask("GET", target).await.is_problem(404);
    }
    assert_eq!(home.ask("GET", &format!("/api/v1/recordings/{id}")).await.json()["state"], "saved");
    assert_eq!(home.ask("GET", "/api/v1/webhooks/front").await.json()["enabled"], true);
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
    for list in ["recordings", "keys", "accounts", "environments", "destinations", "webhooks"] {
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
    let (kinds, there) = made(&home).await;
    let before = seen(&home, &there).await;
    let posted = kinds.map(|kind| ("POST", format!("/api/v1/{kind}")));
    let patched = there.iter().map(|at| ("PATCH", at.clone()));
    let others = [
        ("POST", "/api/v1/keys".to_owned()),
        ("PUT", hold),
        ("POST", "/api/v1/volumes/vault/recover".to_owned()),
        ("POST", "/api/v1/volumes/nobody/recover".to_owned()),
    ];
    for (method, target) in posted.into_iter().chain(patched).chain(others) {
        let target = target.as_str();
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
        let headers = [("authorization", right.as_str())];
        send_body(&home.router(), "192.0.2.1", method, target, &headers, "{}".into())
            .await
            .is_problem(415);
    }
    assert_eq!(seen(&home, &there).await, before, "something came of it");
    // Longer than any recovery key, though no longer than other bodies; nor is it said again.
    let long = format!(r#"{{"key":"{}"}}"#, "sesame".repeat(400));
    let recover = "/api/v1/volumes/vault/recover";
    home.tell("POST", recover, &long).await.is_problem(413);
    for quoted in [r#"{"sesame":"sesame"}"#, r#"{"key":"a","sesame":1}"#, r#"{"key":["sesame"]}"#] {
        let said = home.tell("POST", recover, quoted).await.is_problem(400);
        assert!(!said.to_string().contains("sesame"), "{said}");
    }
}

/// What the API makes, one of each kind: where each kind is, and where each of them is.
async fn made(home: &Home) -> ([&'static str; 4], [String; 4]) {
    let kinds = ["accounts", "environments", "destinations", "webhooks"];
    let server = r#"{"name":"x","kind":"ftps","host":"ftp.example","user":"node","password":"p"}"#;
    let bodies = [
        r#"{"id":"x","plan":"paid"}"#,
        r#"{"id":"x"}"#,
        server,
        r#"{"id":"x","env_id":"x","url":"https://hooks.example/"}"#,
    ];
    for (kind, body) in kinds.into_iter().zip(bodies) {
        let made = home.tell("POST", &format!("/api/v1/{kind}"), body).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
    }
    (kinds, kinds.map(|kind| format!("/api/v1/{kind}/x")))
}

/// How these are now.
async fn seen(home: &Home, there: &[String]) -> Vec<serde_json::Value> {
    let mut seen = Vec::new();
    for at in there {
        seen.push(home.ask("GET", at).await.json());
    }
    seen
}

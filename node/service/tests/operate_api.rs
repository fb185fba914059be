//! The API over a real ledger and vault: who gets in, what is told, what is handed out.

#![allow(missing_docs, clippy::unwrap_used)]

mod operate_node;

use axum::http::{StatusCode, header};
use holdfast::digest;
use holdfast_core::{Effect, Event, Lane, RecordingId};
use operate_node::{Home, KEY, MP4, RAW, rename, send};

const LIST: &str = "/api/v1/recordings";

fn at(id: RecordingId) -> String {
    format!("{LIST}/{id}")
}

fn file(id: RecordingId, kind: &str) -> String {
    format!("{LIST}/{id}/files/{kind}")
}

#[tokio::test]
async fn only_a_key_opens_the_api() {
    let home = Home::new();
    let id = home.saved(1, "demo").await;
    let router = home.router();
    for target in [LIST.into(), at(id), file(id, "raw"), "/api/v1/status".into()] {
        let answer = send(&router, "192.0.2.1", "GET", &target, &[]).await;
        answer.is_problem(401);
        assert_eq!(answer.header(header::WWW_AUTHENTICATE), "Bearer");
        let wrong = [("authorization", "Bearer nope")];
        send(&router, "192.0.2.1", "GET", &target, &wrong).await.is_problem(401);
        assert_eq!(home.ask("GET", &target).await.status, StatusCode::OK);
    }
    send(&router, "192.0.2.1", "DELETE", &at(id), &[]).await.is_problem(401);
    assert_eq!(home.ask("GET", &at(id)).await.json()["state"], "saved");
}

#[tokio::test]
async fn an_address_that_guesses_has_to_wait() {
    let home = Home::new();
    let (router, right) = (home.router(), format!("Bearer {KEY}"));
    let right = [("authorization", right.as_str())];
    for _ in 0..20 {
        let wrong = [("authorization", "Bearer nope")];
        send(&router, "192.0.2.1", "GET", LIST, &wrong).await.is_problem(401);
    }
    let answer = send(&router, "192.0.2.1", "GET", LIST, &right).await;
    answer.is_problem(429);
    let wait: u64 = answer.header(header::RETRY_AFTER).parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(send(&router, "192.0.2.2", "GET", LIST, &right).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_list_has_pages_and_filters() {
    let home = Home::new();
    let mut ids = Vec::new();
    for seed in 1..=5 {
        ids.push(home.saved(seed, if seed == 3 { "plain" } else { "demo" }).await.to_string());
    }
    ids.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = home.ask("GET", &format!("{LIST}?limit=2{cursor}")).await.json();
        let recordings = page["recordings"].as_array().unwrap();
        assert!(recordings.len() <= 2);
        seen.extend(recordings.iter().map(|rec| rec["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    for (query, expected) in [
        ("env_id=plain", 1),
        ("state=saved", 4),
        ("state=stored", 1),
        ("state=saved&env_id=plain", 0),
        ("env_id=nobody", 0),
        ("limit=200", 5),
    ] {
        let page = home.ask("GET", &format!("{LIST}?{query}")).await.json();
        assert_eq!(page["recordings"].as_array().unwrap().len(), expected, "{query}");
        assert!(page["next"].is_null());
    }
}

#[tokio::test]
async fn a_malformed_query_is_refused_by_name() {
    let home = Home::new();
    for (query, said) in [
        ("limit=0", "1 to 200"),
        ("limit=201", "1 to 200"),
        ("limit=-1", "invalid digit"),
        ("limit=", "empty"),
        ("state=lost", "lost"),
        ("cursor=1", "not a recording id"),
        ("stat=saved", "stat"),
        ("limit=1&limit=2", "limit"),
    ] {
        let problem = home.ask("GET", &format!("{LIST}?{query}")).await.is_problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(said), "{query}: {problem}");
    }
}

#[tokio::test]
async fn a_recording_is_told_in_full() {
    let home = Home::new();
    let id = home.delivered(1, "shelf").await;
    let answer = home.ask("GET", &at(id)).await;
    assert_eq!(answer.header(header::CACHE_CONTROL), "private, no-store");
    let rec = answer.json();
    assert_eq!(rec["state"], "stored");
    assert_eq!(rec["source"], "upload");
    assert_eq!(rec["container"], "webm");
    assert_eq!(rec["bytes"], RAW.len());
    assert_eq!(rec["sha256"], digest::of(RAW));
    assert_eq!(rec["transcode"]["attempts"], 1);
    assert_eq!(rec["transcode"]["attempts_max"], 13);
    assert!(rec["progress"].is_null());
    let main = &rec["files"][0];
    assert_eq!(main["kind"], "main");
    assert_eq!(main["url"], file(id, "main"));
    assert_eq!(main["pushed"][0]["destination"], "shelf");
    assert_eq!(main["local"], true);
    assert_eq!(main["delete_by_rule"], "pushed");

    home.retain(id).await;
    let rec = home.ask("GET", &at(id)).await.json();
    let (main, raw) = (&rec["files"][0], &rec["files"][1]);
    assert_eq!((&main["local"], &main["url"]), (&false.into(), &file(id, "main").into()));
    assert_eq!(main["deleted_by_rule"], "pushed");
    assert!(main["deleted_at"].is_string());
    assert!(raw["url"].is_null());
    assert_eq!(raw["deleted_by_rule"], "processed");
    assert!(rec["explain"].as_str().unwrap().contains("rule 3.1"), "{rec}");
}

#[tokio::test]
async fn a_running_transcode_shows_how_far_it_is() {
    let home = Home::new();
    let id = home.saved(1, "demo").await;
    home.node.progress.set(id, Some(0.5));
    assert_eq!(home.ask("GET", &at(id)).await.json()["progress"], 0.5);
}

#[tokio::test]
async fn a_file_and_its_parts() {
    let home = Home::new();
    let target = file(home.saved(1, "demo").await, "raw");
    let whole = home.ask("GET", &target).await;
    assert_eq!((whole.status, whole.body.as_slice()), (StatusCode::OK, RAW));
    let etag = format!("\"{}\"", digest::of(RAW));
    for (name, value) in [
        ("content-type", "video/webm"),
        ("content-length", "20"),
        ("accept-ranges", "bytes"),
        ("etag", &etag),
        ("cache-control", "private, no-store"),
        ("content-security-policy", "sandbox"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(whole.header(name), value, "{name}");
    }
    let named = whole.header("content-disposition");
    assert!(named.starts_with("inline; filename=\"") && named.ends_with("_raw.webm\""), "{named}");
    for (range, content_range, expected) in [
        ("bytes=0-0", "bytes 0-0/20", &RAW[..1]),
        ("bytes=5-9", "bytes 5-9/20", &RAW[5..10]),
        ("bytes=15-", "bytes 15-19/20", &RAW[15..]),
        ("bytes=-4", "bytes 16-19/20", &RAW[16..]),
        ("bytes=10-1000", "bytes 10-19/20", &RAW[10..]),
    ] {
        let part = home.ask_with("GET", &target, &[("range", range)]).await;
        assert_eq!(part.status, StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(part.header(header::CONTENT_RANGE), content_range);
        assert_eq!(part.header(header::CONTENT_LENGTH), expected.len().to_string());
        assert_eq!(part.body, expected);
    }
    let beyond = home.ask_with("GET", &target, &[("range", "bytes=20-")]).await;
    beyond.is_problem(416);
    assert_eq!(beyond.header(header::CONTENT_RANGE), "bytes */20");
}

#[tokio::test]
async fn a_part_only_of_the_same_bytes_and_a_head_without_any() {
    let home = Home::new();
    let target = file(home.saved(1, "demo").await, "raw");
    let etag = format!("\"{}\"", digest::of(RAW));
    for (condition, status) in [(etag.as_str(), 206), ("\"other\"", 200), ("Tue, 01 Jan 2030", 200)]
    {
        let headers = [("range", "bytes=1-2"), ("if-range", condition)];
        assert_eq!(home.ask_with("GET", &target, &headers).await.status, status, "{condition}");
    }
    let head = home.ask("HEAD", &target).await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert_eq!(head.header(header::CONTENT_LENGTH), "20");
    let head = home.ask_with("HEAD", &target, &[("range", "bytes=1-2")]).await;
    assert_eq!(
        (head.status, head.header(header::CONTENT_LENGTH)),
        (StatusCode::PARTIAL_CONTENT, "2")
    );
}

#[tokio::test]
async fn of_a_stream_only_what_is_durable_is_handed_out() {
    let home = Home::new();
    let target = file(home.receiving(1, "demo").await, "raw");
    let answer = home.ask("GET", &target).await;
    assert_eq!(answer.body, &RAW[..10]);
    assert_eq!(answer.header(header::ETAG), "");
    home.ask_with("GET", &target, &[("range", "bytes=10-")]).await.is_problem(416);
}

#[tokio::test]
async fn the_main_file_is_the_raw_file_where_no_mp4_is_made() {
    let home = Home::new();
    let plain = home.saved(1, "plain").await;
    let answer = home.ask("GET", &file(plain, "main")).await;
    assert_eq!((answer.body.as_slice(), answer.header(header::CONTENT_TYPE)), (RAW, "video/webm"));
    let waiting = home.saved(2, "demo").await;
    let problem = home.ask("GET", &file(waiting, "main")).await.is_problem(404);
    assert!(problem["detail"].as_str().unwrap().contains("yet"), "{problem}");
}

#[tokio::test]
async fn what_went_from_here_comes_from_where_it_was_pushed_to() {
    let home = Home::new();
    let (shelf, store) = (home.delivered(1, "shelf").await, home.delivered(2, "store").await);
    home.retain(shelf).await;
    home.retain(store).await;
    let answer = home.ask_with("GET", &file(shelf, "main"), &[("range", "bytes=0-1")]).await;
    assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::PARTIAL_CONTENT, &MP4[..2]));
    let problem = home.ask("GET", &file(store, "main")).await.is_problem(502);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with("destination \"store\" (bucket \"bucket\""), "{detail}");
    assert!(detail.contains("connection refused"), "{detail}");
    // Someone tidies the shelf, or puts a link there.
    let pushed = home.shelf().join("pushed.mp4");
    rename(&pushed, &home.shelf().join("tidied.mp4"));
    let problem = home.ask("GET", &file(shelf, "main")).await.is_problem(410);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("rule 5"), "{detail}");
    assert!(detail.ends_with("it is not there any more: shelf"), "{detail}");
    std::os::unix::fs::symlink("/etc/passwd", &pushed).unwrap();
    home.ask("GET", &file(shelf, "main")).await.is_problem(503);
}

#[tokio::test]
async fn a_deleted_recording_is_gone_at_once_and_for_good() {
    let home = Home::new();
    let id = home.delivered(1, "shelf").await;
    assert_eq!(home.ask("DELETE", &at(id)).await.json()["outcome"], "deleted");
    let problem = home.ask("GET", &file(id, "raw")).await.is_problem(410);
    assert!(problem["detail"].as_str().unwrap().contains("rule 8"), "{problem}");
    home.retain(id).await;
    assert!(!home.node.vault.folder(id).unwrap().exists());
    for kind in ["raw", "main"] {
        let problem = home.ask("GET", &file(id, kind)).await.is_problem(410);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("was deleted at 20") && detail.contains("rule 8"), "{detail}");
    }
    assert_eq!(home.ask("DELETE", &at(id)).await.json()["outcome"], "already_gone");
    let rec = home.ask("GET", &at(id)).await.json();
    assert_eq!((&rec["state"], &rec["metadata"]["title"]), (&"deleted".into(), &().into()));
    assert!(rec["files"][0]["url"].is_null());
    assert!(home.shelf().join("pushed.mp4").exists(), "what was pushed is not ours to delete");
}

#[tokio::test]
async fn deleting_stops_work_that_runs() {
    let home = Home::new();
    let id = home.saved(1, "demo").await;
    let work = home.node.running.begin(id, Lane::Process, &home.node.stop).unwrap();
    home.ask("DELETE", &at(id)).await;
    assert!(work.is_cancelled() && !home.node.stop.is_cancelled());
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_document() {
    let home = Home::new();
    let id = home.saved(1, "demo").await;
    let unknown = RecordingId::new(1, [1; 10]);
    for target in [
        at(unknown),
        file(unknown, "raw"),
        file(id, "snapshot"),
        file(id, "manifest.json"),
        file(id, "..%2F..%2Fstate%2Fledger.redb"),
        format!("{LIST}/..%2F..%2Fetc"),
        format!("{LIST}/{}", id.to_string().to_uppercase()),
        format!("{LIST}/x"),
        format!("{}/files", at(id)),
        "/api/v1/nothing".into(),
        "/api/v2/recordings".into(),
    ] {
        home.ask("GET", &target).await.is_problem(404);
    }
    home.ask("DELETE", &at(unknown)).await.is_problem(404);
    home.ask("GET", &format!("{LIST}/%ff")).await.is_problem(400);
    home.ask("POST", LIST).await.is_problem(405);
    home.ask("DELETE", &file(id, "raw")).await.is_problem(405);
    home.ask("PUT", "/ready").await.is_problem(405);
}

#[tokio::test]
async fn the_status_says_that_nothing_is_encrypted() {
    let home = Home::new();
    home.saved(1, "demo").await;
    home.receiving(2, "demo").await;
    let status = home.ask("GET", "/api/v1/status").await.json();
    assert_eq!(status["node"], "test node");
    assert_eq!(status["ready"], true);
    assert_eq!(status["clock"]["trusted"], true);
    assert_eq!((&status["counts"]["saved"], &status["counts"]["failed"]), (&1.into(), &0.into()));
    assert_eq!(status["arriving"], 1);
    let volume = &status["vault"][0];
    assert_eq!(volume["encrypted"], false);
    assert_eq!(volume["encryption"], "unencrypted (plain directory)");
    assert!(volume["free_bytes"].as_u64().unwrap() > 0);
    let health = serde_json::json!({
        "open": true, "pushing": 0, "failures": 0, "shut_since": null, "probe_at": null, "error": null,
    });
    let store = serde_json::json!({"name": "store", "kind": "s3", "health": health});
    assert_eq!(status["destinations"][1], store);
}

#[tokio::test]
async fn ready_until_the_vault_is_taken_away() {
    let home = Home::new();
    let router = home.router();
    assert_eq!(send(&router, "192.0.2.1", "GET", "/live", &[]).await.status, StatusCode::OK);
    assert_eq!(send(&router, "192.0.2.1", "GET", "/ready", &[]).await.status, StatusCode::OK);
    let vault = home.dir.path().join("vault");
    rename(&vault, &home.dir.path().join("elsewhere"));
    // As when a volume is unmounted: the place where it was is still there.
    std::fs::create_dir(&vault).unwrap();
    let answer = send(&router, "192.0.2.1", "GET", "/ready", &[]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let expected = serde_json::json!({"ready": false, "missing": ["vault"], "clock_trusted": true});
    assert_eq!(answer.json(), expected);
    let status = home.ask("GET", "/api/v1/status").await.json();
    assert!(status["missing"][0]["detail"].as_str().unwrap().contains("vault/recordings"));
    home.node.stop.cancel();
    let answer = send(&router, "192.0.2.1", "GET", "/ready", &[]).await;
    assert_eq!(answer.json()["missing"], serde_json::json!(["running", "vault"]));
    assert_eq!(send(&router, "192.0.2.1", "GET", "/live", &[]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn nothing_deletes_what_is_under_a_legal_hold_until_it_is_lifted() {
    let home = Home::new();
    let id = home.delivered(1, "shelf").await;
    let hold = format!("{}/hold", at(id));
    let held = home.tell("PUT", &hold, r#"{"reason":"case 12/26"}"#).await.json();
    assert_eq!(held["hold"]["by"], "tests");
    assert_eq!(held["hold"]["reason"], "case 12/26");
    let said = home.ask("DELETE", &at(id)).await.is_problem(409);
    assert!(said["detail"].as_str().unwrap().contains("lift it first"), "{said}");
    home.retain(id).await;
    let shown = home.ask("GET", &at(id)).await.json();
    assert!(shown["files"].as_array().unwrap().iter().all(|file| file["deleted_at"].is_null()));
    assert!(shown["explain"].as_str().unwrap().contains("legal hold"), "{shown}");
    assert_eq!(home.ask("GET", &file(id, "raw")).await.status, StatusCode::OK);

    assert!(home.ask("DELETE", &hold).await.json()["hold"].is_null());
    home.retain(id).await;
    let shown = home.ask("GET", &at(id)).await.json();
    assert!(shown["files"].as_array().unwrap().iter().all(|file| !file["deleted_at"].is_null()));
    assert_eq!(home.ask("DELETE", &at(id)).await.json()["outcome"], "deleted");
    home.tell("PUT", &hold, r#"{"reason":"too late"}"#).await.is_problem(409);
}

#[tokio::test]
async fn a_hold_wants_a_reason_in_json() {
    let home = Home::new();
    let hold = format!("{}/hold", at(home.saved(1, "demo").await));
    for body in ["", "{}", "[", r#"{"reason":""}"#, r#"{"reason":" "}"#, r#"{"reason":1}"#] {
        let said = home.tell("PUT", &hold, body).await.is_problem(400);
        assert!(!said["detail"].as_str().unwrap().is_empty());
    }
    home.tell("PUT", &hold, r#"{"reason":"x","else":1}"#).await.is_problem(400);
    let long = format!(r#"{{"reason":"{}"}}"#, "x".repeat(501));
    home.tell("PUT", &hold, &long).await.is_problem(400);
    let huge = format!(r#"{{"reason":"{}"}}"#, "x".repeat(70_000));
    home.tell("PUT", &hold, &huge).await.is_problem(413);
    home.ask("PUT", &hold).await.is_problem(415);
    let nobody = "0193a7b2-6c1e-7d7e-8a3f-0123456789ab";
    let nowhere = format!("{LIST}/{nobody}/hold");
    home.tell("PUT", &nowhere, r#"{"reason":"x"}"#).await.is_problem(404);
}

#[tokio::test]
async fn what_failed_for_good_is_tried_once_more_by_hand() {
    let home = Home::new();
    let id = home.saved(1, "demo").await;
    let (retry, push) = (format!("{}/retry", at(id)), format!("{}/push", at(id)));
    home.ask("POST", &push).await.is_problem(409);
    // A step that waits for its first attempt comes no sooner, and none is lost.
    home.apply(id, Event::Due(Lane::Process)).await;
    home.ask("POST", &retry).await.is_problem(409);
    let id = home.failed(2, "demo").await;
    let retry = format!("{}/retry", at(id));
    let outlook = home.ask("GET", &format!("{}/explain", at(id))).await.json();
    assert_eq!(outlook["files"][0]["kind"], "raw");
    assert_eq!(outlook["files"][0]["goes"]["rule"], "transcode_failed");
    assert_eq!(outlook["next"]["what"], "deleting");
    let again = home.ask("POST", &retry).await.json();
    assert_eq!(again["state"], "processing");
    assert_eq!(again["transcode"]["attempts"], 13);
    let effects = home.apply(id, Event::Due(Lane::Process)).await;
    assert_eq!(effects, [Effect::Transcode]);
}

#[tokio::test]
async fn a_preview_says_what_a_lifecycle_rule_would_delete_and_deletes_nothing() {
    let home = Home::new();
    let stored = home.delivered(1, "plain").await;
    home.saved(2, "demo").await;
    let preview = |query: &str| format!("/api/v1/policy/preview{query}");
    let view = home.ask("GET", &preview("?lifecycle_days=5")).await.json();
    assert_eq!((&view["sooner"], &view["at_once"]), (&1.into(), &0.into()), "{view}");
    assert_eq!(view["recordings"][0]["id"], stored.to_string());
    assert!(view["recordings"][0]["goes_at"].is_null());
    assert_eq!(view["looked_at"], 2);
    let other = home.ask("GET", &preview("?lifecycle_days=5&env_id=demo")).await.json();
    assert_eq!((&other["sooner"], &other["looked_at"]), (&0.into(), &1.into()));
    assert_eq!(home.ask("GET", &preview("")).await.json()["sooner"], 0);
    home.ask("GET", &preview("?lifecycle_days=0")).await.is_problem(400);
    home.ask("GET", &preview("?lifecycle_days=soon")).await.is_problem(400);
    assert_eq!(home.ask("GET", &at(stored)).await.json()["state"], "stored");
}

#[tokio::test]
async fn a_list_goes_by_time() {
    let home = Home::new();
    let id = home.saved(1, "demo").await;
    let began = home.ask("GET", &at(id)).await.json()["received_at"].as_str().unwrap().to_owned();
    let count = async |query: String| {
        let page = home.ask("GET", &format!("{LIST}?{query}")).await.json();
        page["recordings"].as_array().unwrap().len()
    };
    assert_eq!(count(format!("from={began}")).await, 1);
    assert_eq!(count(format!("to={began}")).await, 0);
    assert_eq!(count(format!("from={began}&state=saved&env_id=demo")).await, 1);
    assert_eq!(count("from=2020-01-01T00:00:00Z&to=2020-02-01T00:00:00Z".into()).await, 0);
    home.ask("GET", &format!("{LIST}?from=yesterday")).await.is_problem(400);
}

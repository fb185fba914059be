//! Reading again what was pushed: from a real store, over bad lines, and through the node.

use std::time::Duration;

use axum::http::{StatusCode, header};
use futures_util::StreamExt;
use holdfast::config::S3Destination;
use holdfast::deliver::s3::S3;
use holdfast::deliver::{Destination, Reading};
use holdfast_core::attempts::Fault;

use super::deliver_common::all;
use super::deliver_common::line::{Line, Then};
use super::operate_node::{Home, MP4};
use super::store::{KEY_ID, SECRET, Store, WRITER_ID};
use super::{MIB, at_line, bytes, file, impatient, quick};

#[tokio::test]
async fn a_file_is_read_whole_in_parts_and_not_beyond() {
    let store = Store::get().await;
    store.make_bucket("reads").await;
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3::new(&store.settings("reads")).unwrap();
    let content = bytes(6 * MIB + 5);
    let size = content.len() as u64;
    let name = "demo/Bună ziua, 世界 & +100%=?#.mp4";
    let at = s3.push(&file(dir.path(), name, &content)).await.unwrap();
    match s3.read(&at, None).await.unwrap() {
        Reading::Whole { size: found, pieces } => {
            assert_eq!(found, size);
            assert!(all(pieces).await.unwrap() == content);
        }
        other => panic!("{other:?}"),
    }
    for (range, expected) in [
        ("bytes=0-0", 0..1),
        ("bytes=5242879-5242881", 5_242_879..5_242_882),
        ("bytes=6291456-", 6_291_456..size),
        ("bytes=-3", size - 3..size),
        ("bytes=6291456-9223372036854775807", 6_291_456..size),
    ] {
        match s3.read(&at, Some(range)).await.unwrap() {
            Reading::Part { part, size: found, pieces } => {
                assert_eq!((&part, found), (&expected, size), "{range}");
                let (start, end) = (expected.start as usize, expected.end as usize);
                assert!(all(pieces).await.unwrap() == content[start..end], "{range}");
            }
            other => panic!("{range}: {other:?}"),
        }
    }
    let beyond = s3.read(&at, Some("bytes=6291461-")).await.unwrap();
    assert!(matches!(beyond, Reading::Beyond { size: None | Some(6_291_461) }), "{beyond:?}");
    let gone = s3.read("s3://reads/demo/b.mp4", None).await.unwrap();
    assert!(matches!(gone, Reading::Gone), "{gone:?}");
}

#[tokio::test]
async fn what_keeps_a_file_from_being_read_is_told() {
    let store = Store::get().await;
    let held = store.make_bucket("unread").await;
    held.put("a", Some(b"content".to_vec())).await;
    let settings = store.settings("unread");
    let s3 = S3::with_limits(&settings, quick()).unwrap();
    std::fs::write(settings.access_key_file.as_ref().unwrap(), WRITER_ID).unwrap();
    let denied = s3.read("s3://unread/a", None).await.unwrap_err();
    assert!(denied.sentence.contains("to s3:GetObject in \"unread\""), "{denied}");
    std::fs::write(settings.access_key_file.as_ref().unwrap(), KEY_ID).unwrap();
    std::fs::write(settings.secret_key_file.as_ref().unwrap(), "wrong").unwrap();
    let wrong = s3.read("s3://unread/a", None).await.unwrap_err();
    assert!(wrong.sentence.contains("SignatureDoesNotMatch"), "{wrong}");
    let nowhere = S3::with_limits(&store.settings("none"), quick()).unwrap();
    let nowhere = nowhere.read("s3://none/a", None).await.unwrap_err();
    assert!(nowhere.sentence.contains("make the bucket \"none\""), "{nowhere}");
    for error in [denied, wrong, nowhere] {
        assert_eq!(error.fault, Fault::Customers, "{error}");
        assert!(error.sentence.starts_with("destination \"archive\" (bucket \""), "{error}");
        assert!(!error.sentence.contains(SECRET) && !error.sentence.contains("X-Amz-"), "{error}");
    }
}

#[tokio::test]
async fn over_tls_a_file_is_read_with_the_authority_of_the_destination() {
    let store = Store::get().await;
    let held = store.make_bucket("tls-reads").await;
    held.put("a", Some(b"content".to_vec())).await;
    let settings = S3Destination {
        endpoint: format!("https://127.0.0.1:{}", store.tls_port),
        ca_file: Some(store.dir.join("ca.pem")),
        ..store.settings("tls-reads")
    };
    match S3::new(&settings).unwrap().read("s3://tls-reads/a", None).await.unwrap() {
        Reading::Whole { pieces, .. } => assert_eq!(all(pieces).await.unwrap(), b"content"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_store_that_falls_silent_in_the_middle_is_given_up() {
    let store = Store::get().await;
    let held = store.make_bucket("silent-reads").await;
    held.put("a", Some(bytes(64 * MIB))).await;
    let line = Line::to(store.port, u64::MAX, Then::Good).await;
    let settings = at_line(store.settings("silent-reads"), &line);
    let s3 = S3::with_limits(&settings, impatient()).unwrap();
    let Reading::Whole { mut pieces, .. } = s3.read("s3://silent-reads/a", None).await.unwrap()
    else {
        panic!("it is not whole")
    };
    pieces.next().await.unwrap().unwrap();
    // Whoever reads may take their time.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    pieces.next().await.unwrap().unwrap();
    line.fall_silent();
    let read = tokio::time::timeout(Duration::from_secs(30), all(pieces)).await;
    let error = read.expect("it is not given up").unwrap_err();
    assert!(error.sentence.contains("cannot read the file: nothing moved for 1000 ms"), "{error}");
    let error = s3.read("s3://silent-reads/a", None).await.unwrap_err();
    assert_eq!(error.fault, Fault::Networks, "{error}");
}

#[tokio::test]
async fn the_node_hands_on_what_only_the_store_has() {
    let store = Store::get().await;
    let held = store.make_bucket("bucket").await;
    held.put("store/pushed.mp4", Some(MP4.to_vec())).await;
    let home = Home::with_store(&format!("http://127.0.0.1:{}", store.port), KEY_ID, SECRET);
    let id = home.delivered(1, "store").await;
    home.retain(id).await;
    let target = format!("/api/v1/recordings/{id}/files/main");
    let size = MP4.len();
    for (method, body) in [("GET", MP4), ("HEAD", b"".as_slice())] {
        let whole = home.ask(method, &target).await;
        assert_eq!((whole.status, whole.body.as_slice()), (StatusCode::OK, body), "{method}");
        for (name, value) in [
            ("content-type", "video/mp4"),
            ("content-length", size.to_string().as_str()),
            ("accept-ranges", "bytes"),
            ("etag", ""),
            ("cache-control", "private, no-store"),
            ("content-security-policy", "sandbox"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(whole.header(name), value, "{method} {name}");
        }
        let named = whole.header("content-disposition");
        assert!(named.starts_with("inline; filename=\"") && named.ends_with(".mp4\""), "{named}");
        let part = home.ask_with(method, &target, &[("range", "Bytes=3-5")]).await;
        let body = body.get(3..6).unwrap_or_default();
        assert_eq!((part.status, part.body.as_slice()), (StatusCode::PARTIAL_CONTENT, body));
        assert_eq!(part.header(header::CONTENT_LENGTH), "3");
        assert_eq!(part.header(header::CONTENT_RANGE), format!("bytes 3-5/{size}"));
    }
    for headers in [
        [("range", "bytes=0-1,3-4"), ("accept", "*/*")],
        [("range", "bytes=0-1"), ("if-range", "\"some tag\"")],
    ] {
        let whole = home.ask_with("GET", &target, &headers).await;
        assert_eq!((whole.status, whole.body.as_slice()), (StatusCode::OK, MP4), "{headers:?}");
    }
    let beyond = home.ask_with("GET", &target, &[("range", "bytes=1000-")]).await;
    beyond.is_problem(416);
    assert_eq!(beyond.header(header::CONTENT_RANGE), format!("bytes */{size}"));

    std::fs::write(home.dir.path().join("secret"), "wrong").unwrap();
    let problem = home.ask("GET", &target).await.is_problem(502);
    assert!(problem["detail"].as_str().unwrap().contains("SignatureDoesNotMatch"), "{problem}");
    std::fs::write(home.dir.path().join("secret"), SECRET).unwrap();
    held.put("store/pushed.mp4", None).await;
    let problem = home.ask("GET", &target).await.is_problem(410);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.ends_with("it is not there any more: store"), "{detail}");
}

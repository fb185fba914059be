//! Pushing to a real S3 store, and to lines and settings that are not as they should be.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../deliver_common/mod.rs"]
mod deliver_common;
mod keys;
mod lines;
mod lying;
#[path = "../operate_node/mod.rs"]
mod operate_node;
mod ours;
mod reads;
mod regions;
mod resume;
mod store;

use holdfast::config::S3Destination;
use holdfast::deliver::s3::{Limits, S3};
use holdfast::deliver::{Destination, FileToPush, PushError};
use holdfast_core::attempts::Fault;

use self::deliver_common::line::Line;
use self::deliver_common::{MIB, bytes, file};
use self::store::{KEY_ID, READER_ID, SECRET, Store, WRITER_ID};

/// Patient with a busy machine, but not with hiccups.
fn quick() -> Limits {
    Limits { hiccup_ms: 10, ..Limits::default() }
}

/// For lines that stall. A push that should succeed is not made with this.
fn impatient() -> Limits {
    Limits { stall_ms_max: 1_000, connect_ms_max: 1_000, ..quick() }
}

fn at_line(settings: S3Destination, line: &Line) -> S3Destination {
    S3Destination { endpoint: format!("http://{}", line.address), ..settings }
}

async fn fails(s3: &S3, file: &FileToPush) -> PushError {
    let error = s3.push(file).await.expect_err("the push should fail");
    let said = format!("{error} {error:?} {s3:?}");
    for secret in [SECRET, "X-Amz-", "Signature="] {
        assert!(!said.contains(secret), "{said}");
    }
    assert!(error.sentence.starts_with("destination \"archive\" (bucket \""), "{said}");
    println!("{:?}: {}", error.fault, error.sentence);
    error
}

#[tokio::test]
async fn a_small_file_goes_whole_and_again_and_anew() {
    let store = Store::get().await;
    let held = store.make_bucket("small").await;
    let dir = tempfile::tempdir().unwrap();
    let prefix = "node 7/".to_owned();
    let settings = S3Destination { prefix, ..store.settings("small") };
    let s3 = S3::new(&settings).unwrap();
    let name = "demo/Bună ziua, 世界 & +100%=?#.mp4";
    let key = format!("node 7/{name}");
    for content in [bytes(1), bytes(1), bytes(70_001), bytes(5 * MIB)] {
        let file = file(dir.path(), name, &content);
        let location = s3.push(&file).await.unwrap();
        assert_eq!(location, format!("s3://small/{key}"));
        assert!(held.read(&key).await.unwrap() == content);
    }
    assert_eq!(held.header(&key, "content-type").await.unwrap(), "video/mp4");
    assert!(held.uploads().await.is_empty());
}

#[tokio::test]
async fn a_large_file_goes_in_parts() {
    let store = Store::get().await;
    let held = store.make_bucket("large").await;
    let dir = tempfile::tempdir().unwrap();
    let storage_class = Some("STANDARD_IA".to_owned());
    let s3 = S3::new(&S3Destination { storage_class, ..store.settings("large") }).unwrap();
    for (name, length) in [("demo/a.mp4", 15 * MIB + 12_345), ("demo/one more.mp4", 5 * MIB + 1)] {
        let content = bytes(length);
        let location = s3.push(&file(dir.path(), name, &content)).await.unwrap();
        assert!(held.read(name).await.unwrap() == content);
        assert!(held.header(name, "etag").await.unwrap().contains('-'), "it went in one request");
        assert_eq!(held.header(name, "content-type").await.unwrap(), "video/mp4");
        assert_eq!(held.header(name, "x-amz-storage-class").await.unwrap(), "STANDARD_IA");
        assert_eq!(location, format!("s3://large/{name}"));
    }
    let small = file(dir.path(), "demo/a.jpg", &bytes(10));
    s3.push(&small).await.unwrap();
    assert_eq!(held.header("demo/a.jpg", "x-amz-storage-class").await.unwrap(), "STANDARD_IA");
    assert!(held.uploads().await.is_empty());
}

#[tokio::test]
async fn what_a_killed_node_left_of_this_key_is_aborted() {
    let store = Store::get().await;
    let held = store.make_bucket("stale").await;
    for key in ["demo/a.mp4", "demo/a.mp4", "demo/a.mp4.other", "demo/a"] {
        held.begin_upload(key).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3::new(&store.settings("stale")).unwrap();
    let content = bytes(6 * MIB);
    s3.push(&file(dir.path(), "demo/a.mp4", &content)).await.unwrap();
    assert!(held.read("demo/a.mp4").await.unwrap() == content);
    assert_eq!(held.uploads().await, ["demo/a", "demo/a.mp4.other"]);
}

#[tokio::test]
async fn over_tls_only_a_known_authority_will_do() {
    let store = Store::get().await;
    let held = store.make_bucket("tls").await;
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(6 * MIB);
    let file = file(dir.path(), "demo/a.mp4", &content);
    let endpoint = format!("https://127.0.0.1:{}", store.tls_port);
    let settings = S3Destination { endpoint, ..store.settings("tls") };
    let with_ca = |name: &str| {
        let ca_file = Some(store.dir.join(name));
        S3::with_limits(&S3Destination { ca_file, ..settings.clone() }, quick())
    };
    with_ca("ca.pem").unwrap().push(&file).await.unwrap();
    assert!(held.read("demo/a.mp4").await.unwrap() == content);

    let error = fails(&with_ca("stranger.pem").unwrap(), &file).await;
    assert_eq!(error.fault, Fault::Customers);
    assert!(error.sentence.contains("stranger.pem"), "{error}");
    let error = with_ca("missing.pem").unwrap_err();
    assert!(error.sentence.contains("missing.pem, named by ca_file"), "{error}");
    let error = with_ca("server.key").unwrap_err();
    assert!(error.sentence.contains("no certificate"), "{error}");

    let plain = S3Destination { ca_file: Some(store.dir.join("ca.pem")), ..settings.clone() };
    let wrong = format!("https://127.0.0.1:{}", store.port);
    let s3 = S3::with_limits(&S3Destination { endpoint: wrong, ..plain }, quick()).unwrap();
    let error = fails(&s3, &file).await;
    assert_eq!(error.fault, Fault::Customers, "{error}");
}

/// As on an appliance without `ca-certificates`: the whole test again, where there are none.
#[test]
fn a_ca_file_is_enough_on_a_machine_without_authorities() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "over_tls_only_a_known_authority_will_do"])
        .env("SSL_CERT_FILE", "/nonexistent")
        .env("SSL_CERT_DIR", "/nonexistent")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
async fn wrong_keys_are_the_customers_to_mend_and_read_anew() {
    let store = Store::get().await;
    let held = store.make_bucket("keys").await;
    let dir = tempfile::tempdir().unwrap();
    let settings = store.settings("keys");
    let s3 = S3::with_limits(&settings, quick()).unwrap();
    for length in [10, 3 * MIB, 6 * MIB] {
        let file = file(dir.path(), "demo/a.mp4", &bytes(length));
        std::fs::write(settings.secret_key_file.as_ref().unwrap(), "wrong").unwrap();
        let error = fails(&s3, &file).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("SignatureDoesNotMatch"), "{error}");
        assert!(
            error.sentence.contains(settings.secret_key_file.as_ref().unwrap().to_str().unwrap()),
            "{error}"
        );

        std::fs::write(settings.secret_key_file.as_ref().unwrap(), SECRET).unwrap();
        std::fs::write(settings.access_key_file.as_ref().unwrap(), "AKIAUNKNOWN").unwrap();
        let error = fails(&s3, &file).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("InvalidAccessKeyId"), "{error}");
        assert_eq!(held.read("demo/a.mp4").await, None);
        std::fs::write(settings.access_key_file.as_ref().unwrap(), KEY_ID).unwrap();
    }
    for (content, problem) in [
        ("", "it is empty"),
        ("a b", "more than one word"),
        (&"x".repeat(5000), "larger than 4096"),
    ] {
        std::fs::write(settings.secret_key_file.as_ref().unwrap(), content).unwrap();
        let error = fails(&s3, &file(dir.path(), "a", b"x")).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains(problem), "{error}");
        let error = s3.read("s3://keys/a", None).await.unwrap_err();
        assert!(error.sentence.contains(problem), "{error}");
    }
    std::fs::write(settings.secret_key_file.as_ref().unwrap(), SECRET).unwrap();
    s3.push(&file(dir.path(), "a", b"x")).await.unwrap();
}

#[tokio::test]
async fn keys_that_may_only_write_are_enough() {
    let store = Store::get().await;
    let held = store.make_bucket("rights").await;
    let dir = tempfile::tempdir().unwrap();
    let settings = store.settings("rights");
    let s3 = S3::with_limits(&settings, quick()).unwrap();
    for length in [10, 6 * MIB] {
        let content = bytes(length);
        let file = file(dir.path(), "demo/a.mp4", &content);
        std::fs::write(settings.access_key_file.as_ref().unwrap(), READER_ID).unwrap();
        let error = fails(&s3, &file).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("s3:PutObject"), "{error}");
        std::fs::write(settings.access_key_file.as_ref().unwrap(), WRITER_ID).unwrap();
        s3.push(&file).await.unwrap();
        assert!(held.read("demo/a.mp4").await.unwrap() == content);
    }
}

#[tokio::test]
async fn a_missing_bucket_is_the_customers_to_make() {
    let store = Store::get().await;
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3::with_limits(&store.settings("nowhere"), quick()).unwrap();
    for length in [10, 6 * MIB] {
        let error = fails(&s3, &file(dir.path(), "demo/a.mp4", &bytes(length))).await;
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains("make the bucket \"nowhere\""), "{error}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_file_is_ours() {
    let store = Store::get().await;
    store.make_bucket("ours").await;
    let dir = tempfile::tempdir().unwrap();
    let s3 = S3::new(&store.settings("ours")).unwrap();
    let good = file(dir.path(), "a.mp4", b"content");
    let empty = file(dir.path(), "a.mp4", b"");
    assert!(fails(&s3, &empty).await.sentence.ends_with("is empty"));
    for bad in [
        empty,
        file(dir.path(), "../a.mp4", b"content"),
        FileToPush { bytes: 8, ..good.clone() },
        FileToPush { path: dir.path().join("missing"), ..good.clone() },
    ] {
        let error = fails(&s3, &bad).await;
        assert_eq!(error.fault, Fault::Ours, "{error}");
    }
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_at_once() {
    let store = Store::get().await;
    let good = || store.settings("settings");
    for (settings, problem) in [
        (S3Destination { endpoint: "s3.example".into(), ..good() }, "endpoint"),
        (S3Destination { endpoint: "ftp://s3.example".into(), ..good() }, "https://"),
        (S3Destination { endpoint: format!("http://u:{SECRET}@h"), ..good() }, "endpoint"),
        (S3Destination { path_style: Some(false), ..good() }, "path_style = true"),
        (S3Destination { part_bytes: 1 << 20, ..good() }, "part_bytes = 1048576"),
        (S3Destination { prefix: "/a/".into(), ..good() }, "prefix"),
        (S3Destination { storage_class: Some("a b".into()), ..good() }, "storage_class"),
        (S3Destination { region: String::new(), ..good() }, "region"),
    ] {
        let error = S3::new(&settings).expect_err(problem);
        assert_eq!(error.fault, Fault::Customers);
        assert!(error.sentence.contains(problem), "{error}");
        assert!(!error.sentence.contains(SECRET), "{error}");
    }
    let s3 = S3::new(&good()).unwrap();
    for location in ["s3://elsewhere/a", "s3://settings/../a", "/a", ""] {
        let error = s3.read(location, None).await.unwrap_err();
        assert_eq!(error.fault, Fault::Customers, "{location}");
    }
}

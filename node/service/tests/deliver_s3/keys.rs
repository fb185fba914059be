//! Keys of the environment, and of the machine's role: against a server that is as strict as AWS
//! documents its metadata service (IMDSv2), and one as ECS and EKS have it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{any, get, put};
use holdfast::config::{KeySource, S3Destination};
use holdfast::deliver::Destination;
use holdfast::deliver::s3::{S3, Variables};
use holdfast_core::attempts::Fault;
use jiff::{SignedDuration, Timestamp};

use super::store::{KEY_ID, READER_ID, SECRET, Store};
use super::{fails, file, quick};

/// What the server knows and was asked.
#[derive(Default)]
struct Known {
    /// Tokens that were given out, and until when each holds.
    tokens: BTreeMap<String, Timestamp>,
    /// How long a token holds instead of what was asked for, in seconds.
    token_s: Option<i64>,
    key: String,
    secret: String,
    lasts_s: i64,
    has_role: bool,
    /// How often keys were handed out.
    handed_out: u32,
    /// How often a question was refused.
    refused: u32,
    /// How many of the next requests fail.
    fails: u32,
}

type Shared = Arc<Mutex<Known>>;

const ROLE: &str = "holdfast-recorder";
const CONTAINER_TOKEN: &str = "the container's token";

fn now() -> Timestamp {
    holdfast::clock::Clock::new().wall()
}

async fn token(State(known): State<Shared>, headers: HeaderMap) -> (StatusCode, String) {
    let mut known = known.lock().unwrap();
    if known.fails > 0 {
        known.fails -= 1;
        return (StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    // Requests that came through a proxy are refused.
    let ttl = headers.get("x-aws-ec2-metadata-token-ttl-seconds");
    let ttl = ttl.and_then(|ttl| ttl.to_str().ok()?.parse::<i64>().ok());
    let Some(ttl) = ttl.filter(|ttl| (1..=21_600).contains(ttl)) else {
        return (StatusCode::BAD_REQUEST, String::new());
    };
    if headers.contains_key("x-forwarded-for") {
        return (StatusCode::FORBIDDEN, String::new());
    }
    let token = format!("token-{}==", known.tokens.len());
    let ttl = known.token_s.unwrap_or(ttl);
    known.tokens.insert(token.clone(), now() + SignedDuration::from_secs(ttl));
    (StatusCode::OK, token)
}

fn is_let_in(known: &mut Known, headers: &HeaderMap) -> bool {
    let token = headers.get("x-aws-ec2-metadata-token").and_then(|token| token.to_str().ok());
    let holds = token.and_then(|token| known.tokens.get(token)).is_some_and(|until| *until > now());
    known.refused += u32::from(!holds);
    holds
}

async fn roles(State(known): State<Shared>, headers: HeaderMap) -> (StatusCode, String) {
    let mut known = known.lock().unwrap();
    if !is_let_in(&mut known, &headers) {
        return (StatusCode::UNAUTHORIZED, String::new());
    }
    if known.has_role {
        (StatusCode::OK, ROLE.into())
    } else {
        (StatusCode::NOT_FOUND, String::new())
    }
}

async fn role(
    State(known): State<Shared>,
    Path(role): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let mut known = known.lock().unwrap();
    if !is_let_in(&mut known, &headers) {
        return (StatusCode::UNAUTHORIZED, String::new());
    }
    if role != ROLE {
        return (StatusCode::NOT_FOUND, String::new());
    }
    (StatusCode::OK, keys(&mut known, true))
}

async fn container(State(known): State<Shared>, headers: HeaderMap) -> (StatusCode, String) {
    let mut known = known.lock().unwrap();
    if headers.get("authorization").is_none_or(|token| token != CONTAINER_TOKEN) {
        known.refused += 1;
        return (StatusCode::FORBIDDEN, String::new());
    }
    (StatusCode::OK, keys(&mut known, false))
}

fn keys(known: &mut Known, is_ec2: bool) -> String {
    known.handed_out += 1;
    let expires = now() + SignedDuration::from_secs(known.lasts_s);
    let mut said = serde_json::json!({
        "AccessKeyId": known.key, "SecretAccessKey": known.secret, "Expiration": expires.to_string(),
    });
    if is_ec2 {
        said["Code"] = "Success".into();
        said["Type"] = "AWS-HMAC".into();
        said["LastUpdated"] = now().to_string().into();
    }
    said.to_string()
}

async fn service(lasts_s: i64) -> (String, Shared) {
    let known = Known {
        key: KEY_ID.into(),
        secret: SECRET.into(),
        lasts_s,
        has_role: true,
        ..Known::default()
    };
    let known = Arc::new(Mutex::new(known));
    let roles_at = "/latest/meta-data/iam/security-credentials/";
    let router = Router::new()
        .route("/latest/api/token", put(token))
        .route(roles_at, get(roles))
        .route(&format!("{roles_at}{{role}}"), get(role))
        .route("/v1/credentials", get(container))
        .fallback(any(|| async { StatusCode::NOT_FOUND }))
        .with_state(known.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, known)
}

fn with(store: &Store, bucket: &str, credentials: KeySource, variables: &Variables) -> S3 {
    let settings = S3Destination {
        credentials,
        access_key_file: None,
        secret_key_file: None,
        ..store.settings(bucket)
    };
    S3::with_variables(&settings, quick(), variables).unwrap()
}

fn at(address: &str) -> Variables {
    Variables::of([("AWS_EC2_METADATA_SERVICE_ENDPOINT", address.to_owned())])
}

#[tokio::test]
async fn keys_of_the_environment_are_used() {
    let store = Store::get().await;
    let held = store.make_bucket("environment").await;
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a.mp4", b"content");
    let variables = Variables::of([
        ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
    ]);
    let s3 = with(store, "environment", KeySource::Environment, &variables);
    s3.push(&file).await.unwrap();
    assert_eq!(held.read("a.mp4").await.unwrap(), b"content");

    let half = Variables::of([("AWS_ACCESS_KEY_ID", KEY_ID.to_owned())]);
    let error = fails(&with(store, "environment", KeySource::Environment, &half), &file).await;
    assert_eq!(error.fault, Fault::Customers);
    assert!(
        error.sentence.contains("AWS_SECRET_ACCESS_KEY is not in the node's environment"),
        "{error}"
    );
    let wrong = Variables::of([
        ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "wrong".to_owned()),
    ]);
    let error = fails(&with(store, "environment", KeySource::Environment, &wrong), &file).await;
    assert!(
        error.sentence.contains("into AWS_SECRET_ACCESS_KEY of the node's environment"),
        "{error}"
    );
}

#[tokio::test]
async fn keys_of_the_machines_role_are_asked_for_once_and_renewed_before_they_expire() {
    let store = Store::get().await;
    let held = store.make_bucket("instance").await;
    let dir = tempfile::tempdir().unwrap();
    let (address, known) = service(3_600).await;
    let s3 = with(store, "instance", KeySource::Instance, &at(&address));
    for name in ["a", "b", "c"] {
        s3.push(&file(dir.path(), name, b"content")).await.unwrap();
        assert_eq!(held.read(name).await.unwrap(), b"content");
    }
    assert_eq!(known.lock().unwrap().handed_out, 1, "they are kept");
    assert_eq!(known.lock().unwrap().refused, 0);

    // Keys that hold for less than five minutes are renewed each time, with a token that holds.
    let (address, known) = service(200).await;
    known.lock().unwrap().fails = 1;
    let s3 = with(store, "instance", KeySource::Instance, &at(&address));
    s3.push(&file(dir.path(), "d", b"content")).await.unwrap();
    let before = known.lock().unwrap().handed_out;
    s3.push(&file(dir.path(), "e", b"content")).await.unwrap();
    assert!(known.lock().unwrap().handed_out > before, "they are not renewed");
    // While the service is away, keys that still hold are used.
    known.lock().unwrap().fails = u32::MAX;
    s3.push(&file(dir.path(), "f", b"content")).await.unwrap();
    assert_eq!(held.read("f").await.unwrap(), b"content");
}

#[tokio::test]
async fn a_machine_without_a_role_and_one_without_the_service_say_so() {
    let store = Store::get().await;
    store.make_bucket("no-role").await;
    let dir = tempfile::tempdir().unwrap();
    let file = file(dir.path(), "a", b"content");
    let (address, known) = service(3_600).await;
    known.lock().unwrap().has_role = false;
    let error = fails(&with(store, "no-role", KeySource::Instance, &at(&address)), &file).await;
    assert_eq!(error.fault, Fault::Customers);
    assert!(error.sentence.contains("this machine has no role"), "{error}");
    let nobody = at("http://127.0.0.1:1");
    let error = fails(&with(store, "no-role", KeySource::Instance, &nobody), &file).await;
    assert_eq!(error.fault, Fault::Networks);
    assert!(error.sentence.contains("metadata service at 127.0.0.1 does not answer"), "{error}");
    // A token that expired at once is not good for anything.
    known.lock().unwrap().token_s = Some(0);
    let error = fails(&with(store, "no-role", KeySource::Instance, &at(&address)), &file).await;
    assert!(error.sentence.contains("answers 401"), "{error}");
    assert!(known.lock().unwrap().refused > 0);
    // The role may not write there.
    let (address, known) = service(3_600).await;
    known.lock().unwrap().key = READER_ID.into();
    let error = fails(&with(store, "no-role", KeySource::Instance, &at(&address)), &file).await;
    assert!(
        error.sentence.contains("allow the key in the machine's role to s3:PutObject"),
        "{error}"
    );
}

#[tokio::test]
async fn a_containers_keys_are_asked_for_with_its_token() {
    let store = Store::get().await;
    let held = store.make_bucket("container").await;
    let dir = tempfile::tempdir().unwrap();
    let (address, known) = service(3_600).await;
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, format!("{CONTAINER_TOKEN}\n")).unwrap();
    let full = |url: String, name, token: &str| {
        Variables::of([("AWS_CONTAINER_CREDENTIALS_FULL_URI", url), (name, token.to_owned())])
    };
    let url = format!("{address}/v1/credentials");
    let (by_file, by_value) =
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN");
    for (name, variables) in [
        ("file", full(url.clone(), by_file, token_file.to_str().unwrap())),
        ("value", full(url.clone(), by_value, CONTAINER_TOKEN)),
    ] {
        let s3 = with(store, "container", KeySource::Instance, &variables);
        s3.push(&file(dir.path(), name, b"content")).await.unwrap();
        assert_eq!(held.read(name).await.unwrap(), b"content");
    }
    assert_eq!(known.lock().unwrap().refused, 0);
    let file = file(dir.path(), "a", b"content");
    let wrong = full(url, by_value, "wrong");
    let error = fails(&with(store, "container", KeySource::Instance, &wrong), &file).await;
    assert!(error.sentence.contains("answers 403"), "{error}");
    // A token is not sent in the clear to anybody who is named.
    let far = full("http://192.0.2.1/v1/credentials".into(), by_value, CONTAINER_TOKEN);
    let error = fails(&with(store, "container", KeySource::Instance, &far), &file).await;
    assert!(error.sentence.contains("must be a loopback address"), "{error}");
}

//! A real node in a temporary folder, with recordings at every point of their lives.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

pub mod lane;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, StatusCode, header};
use holdfast::clock::Clock;
use holdfast::config::Config;
use holdfast::node::Node;
use holdfast::vault::file_name;
use holdfast::{digest, operate};
use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::names::Container;
use holdfast_core::recording::{Event, FileKind, Metadata, Recording, Source, due};
use holdfast_core::{Effect, Lane, RecordingId};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt;

pub const KEY: &str = "correct horse battery staple";
pub const RAW: &[u8] = b"0123456789abcdefghij";
pub const MP4: &[u8] = b"an mp4, or so it says";

pub struct Home {
    pub dir: TempDir,
    pub node: Arc<Node>,
}

/// What a request was answered with.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that it is a problem document of this status.
    pub fn is_problem(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        assert_eq!(self.header(header::CONTENT_TYPE), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert!(problem["type"].as_str().unwrap().starts_with("urn:holdfast:problem:"));
        assert!(!problem["detail"].as_str().unwrap().is_empty());
        problem
    }
}

impl Home {
    /// A node with the environments `demo` (kept here), `shelf` (a directory), `store` (S3) and
    /// `plain` (no `.mp4`).
    pub fn new() -> Self {
        // Nothing listens there.
        Self::with_store("http://127.0.0.1:1", "id", "secret")
    }

    /// The same with a store, and the keys to it.
    pub fn with_store(endpoint: &str, id: &str, secret: &str) -> Self {
        Self::with(endpoint, id, secret, "")
    }

    /// The same, and the store is our own.
    pub fn with_own_store(endpoint: &str, id: &str, secret: &str) -> Self {
        Self::with_text(
            &TEXT.replace("bucket = ", "ours = \"US1\"\nbucket = "),
            endpoint,
            id,
            secret,
        )
    }

    /// The same with more in its configuration; `{at}` in it is the node's folder.
    pub fn with_more(more: &str) -> Self {
        Self::with("http://127.0.0.1:1", "id", "secret", more)
    }

    fn with(endpoint: &str, id: &str, secret: &str, more: &str) -> Self {
        Self::with_text(&format!("{TEXT}{more}"), endpoint, id, secret)
    }

    fn with_text(text: &str, endpoint: &str, id: &str, secret: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        for folder in ["state", "vault", "shelf"] {
            std::fs::create_dir(at.join(folder)).unwrap();
        }
        std::fs::write(at.join("id"), id).unwrap();
        std::fs::write(at.join("secret"), secret).unwrap();
        let text = text
            .replace("{endpoint}", endpoint)
            .replace("{at}", at.to_str().unwrap())
            .replace("{sha256}", &digest::of(KEY.as_bytes()));
        let file = at.join("node.toml");
        std::fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let node = Node::open(config, Clock::new()).unwrap();
        Self { dir, node }
    }

    /// The same node after its end and a new start.
    pub fn again(self) -> Self {
        self.again_by(Clock::new())
    }

    /// The same by another clock.
    pub fn again_by(self, clock: Clock) -> Self {
        let Self { dir, node } = self;
        let config = node.config.clone();
        let left = Arc::into_inner(node);
        assert!(left.is_some(), "something of the node still runs");
        drop(left);
        let node = Node::open(config, clock).unwrap();
        Self { dir, node }
    }

    pub fn config_file(&self) -> PathBuf {
        self.dir.path().join("node.toml")
    }

    pub fn shelf(&self) -> PathBuf {
        self.dir.path().join("shelf")
    }

    pub fn router(&self) -> Router {
        let router = operate::api::router(Arc::clone(&self.node));
        operate::api::with_fallbacks(router.merge(operate::health::router(Arc::clone(&self.node))))
    }

    /// Asks with the right key.
    pub async fn ask(&self, method: &str, target: &str) -> Answer {
        self.ask_with(method, target, &[]).await
    }

    /// Asks with the right key and more headers.
    pub async fn ask_with(&self, method: &str, target: &str, more: &[(&str, &str)]) -> Answer {
        let key = format!("Bearer {KEY}");
        let mut headers = vec![("authorization", key.as_str())];
        headers.extend(more);
        send(&self.router(), "192.0.2.1", method, target, &headers).await
    }

    /// Asks with the right key and a JSON body.
    pub async fn tell(&self, method: &str, target: &str, body: &str) -> Answer {
        let key = format!("Bearer {KEY}");
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        send_body(&self.router(), "192.0.2.1", method, target, &headers, body.to_owned()).await
    }

    /// Asks with another key, and a JSON body where there is one.
    pub async fn tell_as(&self, key: &str, method: &str, target: &str, body: &str) -> Answer {
        self.tell_with(key, method, target, body, &[]).await
    }

    /// The same with more headers.
    pub async fn tell_with(
        &self,
        key: &str,
        method: &str,
        target: &str,
        body: &str,
        more: &[(&str, &str)],
    ) -> Answer {
        let key = format!("Bearer {key}");
        let mut headers = vec![("authorization", key.as_str())];
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        headers.extend(more);
        send_body(&self.router(), "192.0.2.1", method, target, &headers, body.to_owned()).await
    }

    /// Makes a key with this scope, for these environments where any are named. Answers with what
    /// opens.
    pub async fn key(&self, scope: &str, env_ids: &[&str]) -> String {
        let mut body = serde_json::json!({"name": format!("a {scope} key"), "scope": scope});
        if !env_ids.is_empty() {
            body["env_ids"] = env_ids.into();
        }
        let made = self.tell("POST", "/api/v1/keys", &body.to_string()).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text());
        made.json()["key"].as_str().unwrap().to_owned()
    }

    /// A stream that is arriving: `RAW` lies on disk, and its first half is durable.
    pub async fn receiving(&self, seed: u8, env_id: &str) -> RecordingId {
        self.begin(seed, env_id, Source::Stream, RAW.len() as u64 / 2).await
    }

    /// An upload that has been saved.
    pub async fn saved(&self, seed: u8, env_id: &str) -> RecordingId {
        let id = self.begin(seed, env_id, Source::Upload, 0).await;
        let (bytes, sha256) = (RAW.len() as u64, digest::of(RAW));
        self.apply(id, Event::Stopped { bytes, sha256, container: Some(Container::Webm) }).await;
        self.apply(id, Event::Saved).await;
        id
    }

    /// One of which processing made this file.
    pub async fn transcoded(&self, seed: u8, env_id: &str, kind: FileKind) -> RecordingId {
        let id = self.saved(seed, env_id).await;
        self.apply(id, Event::Due(Lane::Process)).await;
        let made = self.node.with_vault(move |vault| {
            let work = vault.work_folder(id)?;
            std::fs::write(work.join(file_name(kind)), MP4).unwrap();
            vault.adopt(id, &[kind])
        });
        let files = made.await.unwrap();
        self.apply(id, Event::Transcoded { media: None, files, remarks: Vec::new() }).await;
        id
    }

    /// One that was transcoded, and pushed where its environment has a destination.
    pub async fn delivered(&self, seed: u8, env_id: &str) -> RecordingId {
        let id = self.transcoded(seed, env_id, FileKind::Main).await;
        self.apply(id, Event::Due(Lane::Deliver)).await;
        let location = match env_id {
            "shelf" => {
                let path = self.shelf().join("pushed.mp4");
                std::fs::write(&path, MP4).unwrap();
                path.to_str().unwrap().to_owned()
            }
            "store" => "s3://bucket/store/pushed.mp4".into(),
            _ => return id,
        };
        let (destination, kind) = (env_id.to_owned(), FileKind::Main);
        self.apply(id, Event::FilePushed { destination, kind, location }).await;
        self.apply(id, Event::PushEnded { failure: None }).await;
        id
    }

    /// One whose transcoding failed for good.
    pub async fn failed(&self, seed: u8, env_id: &str) -> RecordingId {
        let id = self.saved(seed, env_id).await;
        self.apply(id, Event::Due(Lane::Process)).await;
        let mut at = self.node.clock.now();
        loop {
            let failure = Failure { fault: Fault::Ours, sentence: "it broke".into(), at };
            self.apply(id, Event::TranscodeFailed(failure)).await;
            let rec = self.node.ledger.get(id).unwrap().unwrap();
            let next = due(&rec, Lane::Process).filter(|_| !rec.transcode.exhausted);
            let Some(next) = next else { return id };
            at = next;
            self.node.ledger.apply(id, Event::Due(Lane::Process), next).await.unwrap();
        }
    }

    /// Deletes what is due to be deleted, as the retain lane does.
    pub async fn retain(&self, id: RecordingId) {
        for effect in self.apply(id, Event::Due(Lane::Retain)).await {
            if let Effect::Delete { kinds, folder } = effect {
                let unlink = kinds.clone();
                let deleted = self.node.with_vault(move |vault| vault.delete(id, &unlink, folder));
                deleted.await.unwrap();
                self.apply(id, Event::FilesDeleted(kinds)).await;
            }
        }
    }

    pub async fn apply(&self, id: RecordingId, event: Event) -> Vec<Effect> {
        self.node.ledger.apply(id, event, self.node.clock.now()).await.unwrap().1
    }

    async fn begin(&self, seed: u8, env_id: &str, source: Source, durable: u64) -> RecordingId {
        // Ids begin with their time; the later seed is the later recording.
        let began = Timestamp::from_millisecond(1_764_000_000_000 + i64::from(seed)).unwrap();
        let id = RecordingId::new(u64::try_from(began.as_millisecond()).unwrap(), [seed; 10]);
        let settings = &self.node.settings;
        let policy = settings.policy(&settings.environment(env_id).unwrap());
        let metadata = Metadata { title: Some("A \u{1b}[31mtitle".into()), ..Metadata::default() };
        let mut rec = Recording::new(id, env_id.into(), source, policy, metadata, began);
        rec.bytes = durable;
        let created = rec.clone();
        let create = self.node.with_vault(move |vault| vault.create(&created, RAW.len() as u64));
        create.await.unwrap().write_all_at(RAW, 0).unwrap();
        self.node.ledger.insert(rec).await.unwrap();
        id
    }
}

/// Sends a request as if from this address.
pub async fn send(
    router: &Router,
    from: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Answer {
    send_body(router, from, method, target, headers, String::new()).await
}

pub async fn send_body(
    router: &Router,
    from: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Answer {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::from(body)).unwrap();
    let from: IpAddr = from.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((from, 4_000))));
    let response = router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Moves a file or folder, as people do who know no better.
#[expect(clippy::disallowed_methods, reason = "a test takes the vault away")]
pub fn rename(from: &Path, to: &Path) {
    std::fs::rename(from, to).unwrap();
}

const TEXT: &str = r#"
[node]
name = "test node"
state_path = "{at}/state"
listen = ["127.0.0.1:0"]
clock = "as_is"

[vault]
path = "{at}/vault"
free_bytes_min = 0

[transcode]
program = "/bin/true"

[[operate.keys]]
name = "tests"
sha256 = "{sha256}"

[[destinations]]
kind = "directory"
name = "shelf"
path = "{at}/shelf"

[[destinations]]
kind = "s3"
name = "store"
endpoint = "{endpoint}"
region = "us-east-1"
bucket = "bucket"
path_style = true
access_key_file = "{at}/id"
secret_key_file = "{at}/secret"

[[environments]]
id = "demo"
hash = "h"
snapshot = false
filmstrip = false

[[environments]]
id = "shelf"
hash = "h"
snapshot = false
filmstrip = false
destinations = ["shelf"]

[[environments]]
id = "store"
hash = "h"
snapshot = false
filmstrip = false
destinations = ["store"]

[[environments]]
id = "plain"
hash = "h"
mp4 = false
snapshot = false
filmstrip = false
"#;

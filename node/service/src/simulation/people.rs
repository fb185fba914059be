//! Clients of a node, who record and upload, go away and come back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::ws::Message;
use axum::http::{Request, StatusCode};
use bytes::{BufMut, Bytes, BytesMut};
use holdfast_core::RecordingId;
use holdfast_core::recording::Metadata;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower::ServiceExt;

use super::chance::Chance;
use super::disk::Disk;
use super::line::Line;
use super::world::Life;
use crate::digest;
use crate::ingest;

/// A client, with the recording it wants to make.
pub(super) struct Client {
    pub(super) number: usize,
    env_id: String,
    env_hash: String,
    pub(super) bytes: Vec<u8>,
    is_upload: bool,
    wish: Wish,
    /// How many of a hundred times it goes away instead of going on.
    vanishes_percent: u64,
    chance: Chance,
    line: Option<Line>,
    upload: Option<JoinHandle<(StatusCode, Bytes)>>,
    stage: Stage,
    /// Its recording and the token that opens it.
    pub(super) session: Option<(RecordingId, String)>,
    sent: usize,
    /// How far the node has said that it has its bytes.
    pub(super) acknowledged: usize,
    /// The node has said that it is saved.
    pub(super) is_saved: bool,
    pub(super) is_discarded: bool,
}

/// What becomes of a recording in the end, if its client has its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Save,
    Discard,
    /// It goes, and never comes back.
    Leave,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Away,
    /// It has said start or resume.
    Greeting,
    Recording,
    Stopping,
    Stopped,
    Over,
}

/// Where admissions come from.
const PEER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 40_000);

impl Client {
    pub(super) fn new(number: usize, env: (String, String), chance: &mut Chance) -> Self {
        let mut chance = chance.split();
        let mut bytes = match chance.from(0, 20) {
            0 => b"no recording at all, but a letter".to_vec(),
            1 => b"\x1a\x45\xdf\xa3webm damaged".to_vec(),
            _ => b"\x1a\x45\xdf\xa3webm".to_vec(),
        };
        bytes.extend_from_slice(format!(" of client {number}: ").as_bytes());
        for _ in 0..chance.from(0, 300) {
            bytes.push(b'a' + u8::try_from(chance.from(0, 26)).expect("a letter"));
        }
        let wish = match chance.from(0, 12) {
            0 => Wish::Discard,
            1 => Wish::Leave,
            _ => Wish::Save,
        };
        Self {
            number,
            env_id: env.0,
            env_hash: env.1,
            bytes,
            is_upload: chance.percent(40),
            wish,
            vanishes_percent: [0, 0, 8, 25][chance.index(4)],
            chance,
            line: None,
            upload: None,
            stage: Stage::Away,
            session: None,
            sent: 0,
            acknowledged: 0,
            is_saved: false,
            is_discarded: false,
        }
    }

    /// Whether the node has something to do for it.
    pub(super) fn is_connected(&self) -> bool {
        self.line.is_some() || self.upload.is_some()
    }

    /// The node went down, or the line did.
    pub(super) fn hang_up(&mut self) {
        if let Some(line) = self.line.take() {
            line.cut();
        }
        self.upload = None;
        if self.stage != Stage::Over {
            self.stage = Stage::Away;
        }
    }

    /// Does the next thing; answers after how long it wants to do another.
    pub(super) async fn act(&mut self, life: &Life, disk: &Disk) -> Option<Duration> {
        self.hear().await;
        if self.stage == Stage::Over {
            self.hang_up();
            return None;
        }
        if self.is_upload {
            if self.upload.is_none() {
                self.start_upload(life, disk);
            }
            return Some(self.seconds(20, 120));
        }
        if self.chance.percent(self.vanishes_percent) {
            return self.vanish();
        }
        match self.stage {
            Stage::Away => self.connect(life, disk),
            Stage::Recording if self.sent < self.bytes.len() => self.send_chunk(),
            Stage::Recording => {
                self.say(&json!({ "type": "stop", "size": self.bytes.len() }));
                self.stage = Stage::Stopping;
            }
            Stage::Stopped => match self.wish {
                Wish::Save => self.say(&json!({ "type": "save" })),
                Wish::Discard => self.say(&json!({ "type": "discard" })),
                Wish::Leave => {
                    self.stage = Stage::Over;
                    self.hang_up();
                    return None;
                }
            },
            // Nothing was answered in all this time.
            Stage::Greeting | Stage::Stopping => self.hang_up(),
            Stage::Over => {}
        }
        Some(self.seconds(1, 40))
    }

    fn seconds(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.chance.from(low * 1_000, high * 1_000))
    }

    /// Goes away: the line breaks, or falls silent. It comes back, or not.
    fn vanish(&mut self) -> Option<Duration> {
        if self.chance.percent(60) {
            self.hang_up();
        }
        match self.chance.from(0, 4) {
            0 => {
                self.stage = Stage::Over;
                None
            }
            1 => Some(self.seconds(240, 2_000)),
            _ => Some(self.seconds(2, 240)),
        }
    }

    fn connect(&mut self, life: &Life, disk: &Disk) {
        let line = Line::new(disk);
        let client = Metadata { ip: Some(PEER.ip().to_string()), ..Metadata::default() };
        let serving =
            ingest::serve_connection(Arc::clone(&life.ingest), line.clone(), Box::new(client));
        drop(tokio::spawn(serving));
        self.line = Some(line);
        self.stage = Stage::Greeting;
        match &self.session {
            Some((id, token)) => {
                self.say(&json!({ "type": "resume", "recording_id": id, "token": token }));
            }
            None => self.say(&json!({
                "type": "start", "env_id": self.env_id, "env_hash": self.env_hash,
                "metadata": { "name": self.number.to_string(), "camera": "a camera" },
            })),
        }
    }

    fn say(&self, message: &Value) {
        if let Some(line) = &self.line {
            line.say(Message::Text(message.to_string().into()));
        }
    }

    fn send_chunk(&mut self) {
        let most = u64::try_from(self.bytes.len() - self.sent).expect("a length") + 1;
        let end = self.sent + self.chance.index(usize::try_from(most).expect("a length")).max(1);
        let end = end.min(self.bytes.len());
        let mut chunk = BytesMut::new();
        chunk.put_u64(self.sent as u64);
        chunk.put_slice(&self.bytes[self.sent..end]);
        self.sent = end;
        if let Some(line) = &self.line {
            line.say(Message::Binary(chunk.freeze()));
        }
    }

    fn start_upload(&mut self, life: &Life, disk: &Disk) {
        let breaks_at = self.chance.percent(self.vanishes_percent).then(|| {
            let whole = self.bytes.len();
            self.chance.index(whole)
        });
        let pieces: Vec<Result<Bytes, std::io::Error>> = match breaks_at {
            None => vec![Ok(Bytes::from(self.bytes.clone()))],
            Some(at) => vec![
                Ok(Bytes::copy_from_slice(&self.bytes[..at])),
                Err(std::io::Error::other("the line broke")),
            ],
        };
        let address = format!(
            "/api/v1/ingest/upload?env_id={}&env_hash={}&name={}",
            self.env_id, self.env_hash, self.number
        );
        let mut request = Request::post(address)
            .body(Body::from_stream(futures_util::stream::iter(pieces)))
            .expect("a request");
        request.extensions_mut().insert(ConnectInfo(PEER));
        let (router, disk) = (life.router.clone(), disk.clone());
        self.upload = Some(tokio::spawn(async move {
            let response = router.oneshot(request).await.expect("a router answers");
            let status = response.status();
            let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
            if disk.is_off() {
                std::future::pending::<()>().await;
            }
            (status, body.unwrap_or_default())
        }));
    }

    /// Takes in what the node has said.
    pub(super) async fn hear(&mut self) {
        if self.upload.as_ref().is_some_and(JoinHandle::is_finished)
            && let Some(upload) = self.upload.take()
        {
            let (status, body) = upload.await.expect("an upload is answered");
            if status == StatusCode::CREATED {
                let said: Value = serde_json::from_slice(&body).expect("JSON");
                self.begun(&said["id"], &said["token"]);
                self.is_saved = true;
                self.acknowledged = self.bytes.len();
                self.stage = Stage::Over;
            } else if matches!(status.as_u16(), 401 | 402 | 403 | 415 | 422) {
                self.stage = Stage::Over;
            }
        }
        let Some(line) = self.line.clone() else { return };
        for message in line.hear() {
            match message {
                Message::Text(text) => {
                    let said: Value = serde_json::from_str(text.as_str()).expect("JSON");
                    self.told(&said);
                }
                Message::Close(_) => self.hang_up(),
                _ => {}
            }
        }
    }

    fn begun(&mut self, id: &Value, token: &Value) {
        let id = id.as_str().and_then(|id| id.parse().ok()).expect("an id");
        self.session = Some((id, token.as_str().expect("a token").to_owned()));
    }

    fn told(&mut self, said: &Value) {
        let offset = || usize::try_from(said["offset"].as_u64().expect("an offset")).expect("fits");
        match said["type"].as_str().expect("a type") {
            "started" => {
                self.begun(&said["recording_id"], &said["token"]);
                self.stage = Stage::Recording;
            }
            "resumed" => {
                let has = offset();
                assert!(
                    (self.acknowledged..=self.bytes.len()).contains(&has),
                    "client {}: {} bytes were acknowledged, and the node has {has}",
                    self.number,
                    self.acknowledged
                );
                self.sent = has;
                self.stage = Stage::Recording;
                if said["state"] == "saved" {
                    self.saved();
                }
            }
            "ack" => {
                let has = offset();
                assert!(
                    has <= self.sent,
                    "client {}: more is acknowledged than was sent",
                    self.number
                );
                self.acknowledged = self.acknowledged.max(has);
            }
            "stopped" => {
                assert_eq!(said["sha256"], digest::of(&self.bytes), "client {}", self.number);
                self.acknowledged = self.bytes.len();
                self.stage = Stage::Stopped;
            }
            "saved" => self.saved(),
            "discarded" => {
                self.is_discarded = true;
                self.stage = Stage::Over;
            }
            "error" => {
                let status = said["problem"]["status"].as_u64().expect("a status");
                // What is under a hold cannot be discarded.
                let is_held = status == 409 && self.wish == Wish::Discard;
                if is_held || matches!(status, 401..=404 | 410 | 415 | 422) {
                    self.stage = Stage::Over;
                }
            }
            other => panic!("client {}: {other:?} was said", self.number),
        }
    }

    fn saved(&mut self) {
        self.is_saved = true;
        self.stage = Stage::Over;
    }
}

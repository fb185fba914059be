//! Asking the running node, over its admin socket.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use bytes::Bytes;
use holdfast_core::RecordingId;
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::super::api::{DeletedView, LIMIT_MAX, RecordingsView};
use super::super::status::StatusView;
use super::super::view::RecordingView;

/// Longest the node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Asks the running node.
pub(super) struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

/// As much of a problem document as people want to read.
#[derive(Debug, Deserialize)]
struct ProblemSeen {
    title: String,
    detail: String,
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { socket, runtime })
    }

    pub(super) fn status(&self) -> anyhow::Result<StatusView> {
        self.ask(&Method::GET, "/api/v1/status")
    }

    pub(super) fn recording(&self, id: RecordingId) -> anyhow::Result<RecordingView> {
        self.ask(&Method::GET, &format!("/api/v1/recordings/{id}"))
    }

    pub(super) fn delete(&self, id: RecordingId) -> anyhow::Result<DeletedView> {
        self.ask(&Method::DELETE, &format!("/api/v1/recordings/{id}"))
    }

    /// One page, with at most `limit` recordings.
    pub(super) fn recordings(
        &self,
        state: Option<&str>,
        env_id: Option<&str>,
        cursor: Option<RecordingId>,
        limit: usize,
    ) -> anyhow::Result<RecordingsView> {
        let mut url = Url::parse("http://node/api/v1/recordings")?;
        url.query_pairs_mut().append_pair("limit", &limit.min(LIMIT_MAX).to_string());
        let cursor = cursor.map(|id| id.to_string());
        for (key, value) in [("state", state), ("env_id", env_id), ("cursor", cursor.as_deref())] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(key, value);
            }
        }
        self.ask(&Method::GET, &format!("{}?{}", url.path(), url.query().unwrap_or_default()))
    }

    fn ask<T: DeserializeOwned>(&self, method: &Method, target: &str) -> anyhow::Result<T> {
        let asking = async {
            let asked = tokio::time::timeout(ANSWER_MAX, self.exchange(method, target)).await;
            asked
                .map_err(|_| anyhow!("the node did not answer within {} s", ANSWER_MAX.as_secs()))?
        };
        let (status, body) = self.runtime.block_on(asking)?;
        if status.is_success() {
            return serde_json::from_slice(&body)
                .context("the node's answer is not understood; is it of another version?");
        }
        match serde_json::from_slice::<ProblemSeen>(&body) {
            Ok(ProblemSeen { title, detail }) => bail!("{title}: {detail}"),
            Err(_) => bail!("the node answered {status}"),
        }
    }

    async fn exchange(&self, method: &Method, target: &str) -> anyhow::Result<(StatusCode, Bytes)> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| self.failed(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .with_context(|| self.turned_away())?;
        // It ends with the exchange; what goes wrong in it shows there.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "node")
            .body(Body::empty())?;
        let answer = sender.send_request(request).await.with_context(|| self.turned_away())?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("the node's answer broke off: {error}"))?;
        Ok((status, body.to_bytes()))
    }

    fn failed(&self, error: &io::Error) -> anyhow::Error {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                anyhow!("no node is running: nothing answers at {socket}")
            }
            io::ErrorKind::PermissionDenied => {
                anyhow!("only root and the node's own user may use {socket}")
            }
            _ => anyhow!("cannot reach the node at {socket}: {error}"),
        }
    }

    fn turned_away(&self) -> String {
        let socket = self.socket.display();
        format!("the node hung up at {socket}: it stops, or you are not its user (nor root)")
    }
}

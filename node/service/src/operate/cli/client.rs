//! Asking the running node, over its admin socket: JSON there, JSON back.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use reqwest::Url;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::UnixStream;

use super::failure::Failure;

/// Longest the node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Largest answer that is taken whole, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Largest problem document, in bytes.
const PROBLEM_BYTES_MAX: usize = 1 << 20;

/// Asks the running node.
pub(super) struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

/// A good answer whose body is still to come.
pub(super) struct Coming<'a> {
    client: &'a Client,
    answer: Response<Incoming>,
}

/// An address of the API.
#[derive(Debug, Clone)]
pub(super) struct Target(Url);

/// As much of a problem document as people want to read.
#[derive(Debug, Deserialize)]
struct ProblemSeen {
    title: String,
    detail: String,
}

impl Target {
    /// `/api/v1/` and these parts, each escaped as a whole.
    pub(super) fn new<'a>(parts: impl IntoIterator<Item = &'a str>) -> anyhow::Result<Self> {
        let mut url = Url::parse("http://node/api/v1")?;
        let mut path = url.path_segments_mut().map_err(|()| anyhow!("no path"))?;
        for part in parts {
            // A URL's path has a meaning of its own for these; nothing has such a name.
            if matches!(part, "" | "." | "..") {
                bail!(Failure::not_there(format!("there is nothing called {part:?}")));
            }
            path.push(part);
        }
        drop(path);
        Ok(Self(url))
    }

    /// With something to ask for, where there is something.
    #[must_use]
    pub(super) fn query(mut self, key: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.0.query_pairs_mut().append_pair(key, value);
        }
        self
    }

    fn uri(&self) -> String {
        match self.0.query() {
            Some(query) => format!("{}?{query}", self.0.path()),
            None => self.0.path().into(),
        }
    }
}

impl Coming<'_> {
    /// What the node calls the file that it hands out, where it says so.
    pub(super) fn file_name(&self) -> Option<&str> {
        let said = self.answer.headers().get(header::CONTENT_DISPOSITION)?.to_str().ok()?;
        // The node puts it into quotes, and has none in it.
        let (_, name) = said.split_once("filename=\"")?;
        Some(name.split_once('"')?.0)
    }

    /// Takes it in, however large it is; `take` is given each piece.
    pub(super) fn read(self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> anyhow::Result<()> {
        let mut body = self.answer.into_body();
        self.client.runtime.block_on(async {
            while let Some(frame) = in_time(ANSWER_MAX, async { Ok(body.frame().await) }).await? {
                let frame =
                    frame.map_err(|error| anyhow!("the node's answer broke off: {error}"))?;
                if let Some(piece) = frame.data_ref() {
                    take(piece)?;
                }
            }
            Ok(())
        })
    }
}

impl Client {
    pub(super) fn new(socket: PathBuf) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { socket, runtime })
    }

    pub(super) fn get(&self, target: &Target) -> anyhow::Result<Value> {
        self.ask(&Method::GET, target, None)
    }

    pub(super) fn post(&self, target: &Target, body: &Value) -> anyhow::Result<Value> {
        self.ask(&Method::POST, target, Some(body))
    }

    /// The same for what takes its time, at most so long.
    pub(super) fn post_within(
        &self,
        target: &Target,
        body: &Value,
        most: Duration,
    ) -> anyhow::Result<Value> {
        self.ask_within(&Method::POST, target, Some(body), most)
    }

    pub(super) fn put(&self, target: &Target, body: &Value) -> anyhow::Result<Value> {
        self.ask(&Method::PUT, target, Some(body))
    }

    pub(super) fn patch(&self, target: &Target, body: &Value) -> anyhow::Result<Value> {
        self.ask(&Method::PATCH, target, Some(body))
    }

    pub(super) fn delete(&self, target: &Target) -> anyhow::Result<Value> {
        self.ask(&Method::DELETE, target, None)
    }

    /// Asks for something that may be large, and is taken in as it comes.
    pub(super) fn open(&self, target: &Target) -> anyhow::Result<Coming<'_>> {
        let asking = in_time(ANSWER_MAX, self.exchange(&Method::GET, target, None));
        Ok(Coming { client: self, answer: self.runtime.block_on(asking)? })
    }

    /// Takes an answer in as it comes, however large it is; `take` is given each piece.
    pub(super) fn fetch(
        &self,
        target: &Target,
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        self.open(target)?.read(take)
    }

    /// The same, written as it comes.
    pub(super) fn copy(&self, target: &Target, to: &mut impl Write) -> anyhow::Result<()> {
        self.fetch(target, |piece| to.write_all(piece))?;
        Ok(to.flush()?)
    }

    fn ask(&self, method: &Method, target: &Target, body: Option<&Value>) -> anyhow::Result<Value> {
        self.ask_within(method, target, body, ANSWER_MAX)
    }

    fn ask_within(
        &self,
        method: &Method,
        target: &Target,
        body: Option<&Value>,
        most: Duration,
    ) -> anyhow::Result<Value> {
        let asking = in_time(most, async {
            let answer = self.exchange(method, target, body).await?;
            let whole = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
            Ok(whole.map_err(|error| anyhow!("the node's answer broke off: {error}"))?.to_bytes())
        });
        let answer = self.runtime.block_on(asking)?;
        if answer.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&answer)
            .context("the node's answer is not understood; is it of another version?")
    }

    /// A good answer; anything else is an error.
    async fn exchange(
        &self,
        method: &Method,
        target: &Target,
        body: Option<&Value>,
    ) -> anyhow::Result<Response<Incoming>> {
        let stream =
            UnixStream::connect(&self.socket).await.map_err(|error| self.failed(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .with_context(|| self.turned_away())?;
        // It ends with the exchange; what goes wrong in it shows there.
        tokio::spawn(connection);
        let mut request =
            Request::builder().method(method).uri(target.uri()).header(header::HOST, "node");
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(serde_json::to_vec(body)?)
            }
            None => Body::empty(),
        };
        let answer =
            sender.send_request(request.body(body)?).await.with_context(|| self.turned_away())?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = Limited::new(answer.into_body(), PROBLEM_BYTES_MAX).collect().await;
        let sentence = match body.map(|body| serde_json::from_slice(&body.to_bytes())) {
            Ok(Ok(ProblemSeen { title, detail })) => format!("{title}: {detail}"),
            _ => format!("the node answered {status}"),
        };
        match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => bail!(Failure::not_there(sentence)),
            _ => bail!(sentence),
        }
    }

    fn failed(&self, error: &io::Error) -> anyhow::Error {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                Failure::no_node(format!("no node is running: nothing answers at {socket}")).into()
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

/// Waits for something of the node, but not for ever.
async fn in_time<T>(
    most: Duration,
    what: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    match tokio::time::timeout(most, what).await {
        Ok(done) => done,
        Err(_) => bail!("the node did not answer within {} s", most.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_thing_is_called_stays_one_part_of_the_address() {
        let target = Target::new(["environments", "a/b?c#d %2e", "é"]).unwrap();
        assert_eq!(target.uri(), "/api/v1/environments/a%2Fb%3Fc%23d%20%252e/%C3%A9");
        let target = Target::new(["recordings"]).unwrap().query("env_id", Some("a&b=c"));
        assert_eq!(target.query("state", None).uri(), "/api/v1/recordings?env_id=a%26b%3Dc");
        for name in ["", ".", ".."] {
            assert!(Target::new(["keys", name]).is_err());
        }
    }
}

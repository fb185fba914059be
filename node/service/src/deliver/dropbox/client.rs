//! Speaks to Dropbox: sends a request, watches that it moves, reads the answer, and is patient.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, RANGE};
use reqwest::{Body, RequestBuilder, Response};
use serde_json::Value;

use super::error::{Error, Meaning, Refusal, Transport};
use super::token::{Access, Tokens};
use crate::deliver::progress::{Progress, Stalled};
use crate::deliver::source::{Range, Sent, Source};

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Longest wait that we choose ourselves where Dropbox is busy, in seconds.
const BUSY_S_MAX: u64 = 60;

/// What a push may take and how patient it is. The defaults are right but for tests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest time to connect, TLS included, and for answers to small questions, in milliseconds.
    pub connect_ms_max: u64,
    /// Longest time without a byte moving, in milliseconds. Noticed before twice that time.
    pub stall_ms_max: u64,
    /// Longest time for Dropbox to make a file of an upload, in milliseconds.
    pub finish_ms_max: u64,
    /// Files up to this size go in one request, larger ones in parts of this size or more, in bytes: a
    /// multiple of 4,194,304, at most 150 MiB.
    pub part_bytes: u64,
    /// Parts of one file under way at once, at least 1. With 1 the upload is a sequential one.
    pub parts_parallel_max: usize,
    /// Quick retries of one request within a push. The waits between attempts are the core's.
    pub hiccups_max: u32,
    /// Mean wait before the first quick retry, in milliseconds; it doubles.
    pub hiccup_ms: u64,
    /// Longest that a push waits in sum where Dropbox asks for it, in milliseconds.
    pub wait_ms_max: u64,
    /// Oldest upload session that is gone on with, in seconds. Dropbox forgets them after 7 days.
    pub session_age_s_max: i64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_ms_max: 15_000,
            stall_ms_max: 120_000,
            finish_ms_max: 300_000,
            part_bytes: 16 << 20,
            parts_parallel_max: 3,
            hiccups_max: 3,
            hiccup_ms: 500,
            wait_ms_max: 600_000,
            session_age_s_max: 6 * 24 * 3600,
        }
    }
}

/// Dropbox, and who we are there.
pub(super) struct Client {
    pub(super) http: reqwest::Client,
    pub(super) api: String,
    pub(super) content: String,
    /// `Dropbox-API-Path-Root`, where paths are below another space than the user's own.
    pub(super) path_root: Option<String>,
    pub(super) tokens: Tokens,
    pub(super) limits: Limits,
    /// What Dropbox's own clock showed with the newest answer, in seconds since 1970; 0 before that.
    pub(super) clock_s: AtomicI64,
}

/// A request.
pub(super) struct Call<'a> {
    /// What is wanted, as a message says it.
    pub(super) what: &'static str,
    /// Its path below `/2/`.
    pub(super) route: &'static str,
    pub(super) argument: Value,
    pub(super) payload: Payload<'a>,
    /// Longest time without a byte moving, in milliseconds.
    pub(super) stall_ms_max: u64,
}

/// What goes out with a request.
pub(super) enum Payload<'a> {
    /// Its argument, to the part of the API that takes no files.
    Argument,
    Nothing,
    File(&'a Source, Range),
    /// It asks for a file, or for a part of it.
    Wanted(Option<&'a str>),
}

/// What a push may still wait, and how it shows meanwhile that it is alive.
pub(super) struct Waits {
    left_ms: AtomicU64,
    pace: Progress,
}

impl Waits {
    /// At most so many milliseconds in sum.
    pub(super) fn new(wait_ms_max: u64, pace: Progress) -> Self {
        Self { left_ms: AtomicU64::new(wait_ms_max), pace }
    }

    /// Waits as long as Dropbox asks for, if the push has that long.
    async fn wait(&self, what: &'static str, wait_s: u64) -> Result<(), Error> {
        let wait_ms = wait_s.saturating_mul(1_000);
        let taken = self
            .left_ms
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(wait_ms));
        taken.map_err(|_| Error::Busy { what, wait_s })?;
        tracing::debug!(what, wait_s, "Dropbox asks us to wait");
        for _ in 0..wait_s {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.pace.advance(1);
        }
        // So that not all who wait come back at the same moment.
        tokio::time::sleep(jitter(200)).await;
        Ok(())
    }
}

impl Client {
    /// Sends a request, patiently.
    pub(super) async fn send(&self, call: &Call<'_>, waits: &Waits) -> Result<Value, Error> {
        self.patiently(call.what, waits, || Box::pin(self.send_once(call))).await
    }

    /// Makes a request, and makes it again after a hiccup, after the wait that Dropbox asks for, and
    /// once with a new access token.
    pub(super) async fn patiently<T, F: Future<Output = Result<T, Error>>>(
        &self,
        what: &'static str,
        waits: &Waits,
        once: impl Fn() -> F,
    ) -> Result<T, Error> {
        let (mut hiccups, mut busy_s, mut is_renewed) = (0, 1, false);
        loop {
            let error = match once().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match error.meaning() {
                Some(Meaning::Token) if !is_renewed => is_renewed = true,
                Some(Meaning::Busy) => {
                    let asked_s = error.refusal().and_then(|refusal| refusal.retry_after_s);
                    waits.wait(what, asked_s.unwrap_or(busy_s).max(1)).await?;
                    busy_s = (busy_s * 2).min(BUSY_S_MAX);
                }
                _ if error.is_hiccup() && hiccups < self.limits.hiccups_max => {
                    tracing::debug!(what, %error, "a hiccup of Dropbox");
                    tokio::time::sleep(jitter(self.limits.hiccup_ms << hiccups)).await;
                    hiccups += 1;
                }
                _ => return Err(error),
            }
        }
    }

    async fn send_once(&self, call: &Call<'_>) -> Result<Value, Error> {
        let Call { what, stall_ms_max, .. } = *call;
        let progress = Progress::default();
        let response = self.open(call, &progress).await?;
        let text = progress
            .watch(stall_ms_max, read(what, response, &progress))
            .await
            .map_err(|Stalled| Error::Stalled { what, stall_ms: stall_ms_max })??;
        serde_json::from_str(&text).map_err(|_| Error::Unreadable { what })
    }

    /// Sends a request once, and answers with what comes unless it is a refusal.
    pub(super) async fn open(
        &self,
        call: &Call<'_>,
        progress: &Progress,
    ) -> Result<Response, Error> {
        let access = self.tokens.get(self).await?;
        let sent = match call.payload {
            Payload::File(source, _) => Some(Sent::of(source)),
            _ => None,
        };
        let result = self.open_with(call, &access, progress, sent.as_ref()).await;
        let Err(error) = &result else {
            sent.iter().for_each(Sent::kept);
            return result;
        };
        let has_file = matches!(call.payload, Payload::File(..));
        let is_broken = matches!(error, Error::Transport { transport: Transport::Broken(_), .. });
        // Who refuses a token need not read the file that comes with it; who closes a connection to
        // which one still writes loses its answer.
        if error.meaning() == Some(Meaning::Token) || (has_file && is_broken) {
            self.tokens.forget(&access).await;
        }
        result
    }

    async fn open_with(
        &self,
        call: &Call<'_>,
        access: &Access,
        progress: &Progress,
        sent: Option<&Sent>,
    ) -> Result<Response, Error> {
        let Call { what, stall_ms_max, .. } = *call;
        let stalled = |Stalled| Error::Stalled { what, stall_ms: stall_ms_max };
        let mut request = self.request(call, progress, sent).header(AUTHORIZATION, access.header());
        if let Some(root) = &self.path_root {
            request = request.header("Dropbox-API-Path-Root", root);
        }
        let sent = progress.watch(stall_ms_max, request.send()).await.map_err(stalled)?;
        let response = sent.map_err(|error| Error::from_transport(what, error))?;
        self.see_clock(response.headers());
        let status = response.status().as_u16();
        if response.status().is_success() || (status == 416 && call.asks_for_part()) {
            return Ok(response);
        }
        let headers = response.headers().clone();
        let reading = read(what, response, progress);
        let text = progress.watch(stall_ms_max, reading).await.map_err(stalled)??;
        let refusal = Refusal::read(what, status, retry_after(&headers), &text);
        Err(Error::Refused(Box::new(refusal)))
    }

    /// What Dropbox's own clock shows, in seconds since 1970, as far as it has said.
    pub(super) fn now_s(&self) -> Option<i64> {
        Some(self.clock_s.load(Ordering::Relaxed)).filter(|at_s| *at_s > 0)
    }

    fn see_clock(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let parser = jiff::fmt::rfc2822::DateTimeParser::new();
        if let Some(Ok(at)) = date.map(|date| parser.parse_timestamp(date)) {
            self.clock_s.store(at.as_second(), Ordering::Relaxed);
        }
    }

    fn request(&self, call: &Call<'_>, progress: &Progress, sent: Option<&Sent>) -> RequestBuilder {
        if let Payload::Argument = call.payload {
            return self
                .http
                .post(format!("{}/2/{}", self.api, call.route))
                .header(CONTENT_TYPE, "application/json")
                .body(call.argument.to_string());
        }
        let request = self
            .http
            .post(format!("{}/2/{}", self.content, call.route))
            .header("Dropbox-API-Arg", ascii(&call.argument))
            .header(CONTENT_TYPE, "application/octet-stream");
        match (&call.payload, sent) {
            (Payload::File(source, range), Some(sent)) => {
                let stream = source.stream(*range, progress.clone(), sent);
                request.header(CONTENT_LENGTH, range.bytes).body(Body::wrap_stream(stream))
            }
            (Payload::Wanted(Some(range)), _) => {
                request.header(CONTENT_LENGTH, 0).header(RANGE, *range)
            }
            _ => request.header(CONTENT_LENGTH, 0),
        }
    }
}

impl Call<'_> {
    fn asks_for_part(&self) -> bool {
        matches!(self.payload, Payload::Wanted(Some(_)))
    }
}

/// JSON as a header can carry it: what is beyond ASCII is escaped.
fn ascii(json: &Value) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for character in json.to_string().chars() {
        if character.is_ascii() && character != '\x7f' {
            text.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(text, "\\u{unit:04x}");
        }
    }
    text
}

fn retry_after(headers: &HeaderMap) -> Option<&str> {
    headers.get("retry-after")?.to_str().ok()
}

/// Reads a short body.
pub(super) async fn read(
    what: &'static str,
    mut response: Response,
    progress: &Progress,
) -> Result<String, Error> {
    let mut body = Vec::new();
    while let Some(piece) =
        response.chunk().await.map_err(|error| Error::from_transport(what, error))?
    {
        progress.advance(1);
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(Error::Unreadable { what });
        }
        body.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Between half and one and a half times the mean.
fn jitter(mean_ms: u64) -> Duration {
    let mut byte = [128];
    // Without randomness the wait is the mean, which is good enough.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    Duration::from_millis(mean_ms / 2 + mean_ms * u64::from(byte[0]) / 256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_ascii_in_a_header() {
        let json = serde_json::json!({ "path": "/ă 🎬\u{7f}\"" });
        assert_eq!(ascii(&json), r#"{"path":"/\u0103 \ud83c\udfac\u007f\""}"#);
        assert_eq!(serde_json::from_str::<Value>(&ascii(&json)).unwrap(), json);
    }
}

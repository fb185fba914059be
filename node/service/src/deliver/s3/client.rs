//! Speaks to a store: signs a request, sends it, watches that it moves, reads the answer.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderMap};
use reqwest::{Body, Method, Url};
use rusty_s3::{Bucket, Credentials};

use super::answer::{self, ANSWER_BYTES_MAX};
use super::ask::{Ask, Payload};
use super::credentials::Keys;
use super::error::{Error, Refusal, Transport};
use super::place::Place;
use super::sums::{CRC32C_HEADER, SHA256_HEADER, Sum};
use crate::clock::Clock;
use crate::config::Checksum;
use crate::deliver::progress::{Progress, Stalled};
use crate::deliver::source::Sent;

/// How often one request may be sent elsewhere, or with other keys.
const TURNS_MAX: u32 = 2;

/// What a push may take and how patient it is. The defaults are right but for tests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest time to connect, TLS included, and for answers to small questions, in milliseconds.
    pub connect_ms_max: u64,
    /// Longest time without a byte moving, in milliseconds. Noticed before twice that time.
    pub stall_ms_max: u64,
    /// Longest time for a store to put the parts together, in milliseconds.
    pub complete_ms_max: u64,
    /// Quick retries of one request within a push. The waits between attempts are the core's.
    pub hiccups_max: u32,
    /// Mean wait before a quick retry, in milliseconds.
    pub hiccup_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_ms_max: 15_000,
            stall_ms_max: 120_000,
            complete_ms_max: 300_000,
            hiccups_max: 2,
            hiccup_ms: 500,
        }
    }
}

/// A header that is part of the signature: its name in lower case, and its value.
pub(super) type Header = (&'static str, String);

/// What a store answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// Without its quotes.
    pub(super) etag: Option<String>,
    /// The `Content-Length` header, in bytes.
    pub(super) bytes: Option<u64>,
    /// Whether the ETag is something else than an MD5 because of how the store encrypts.
    pub(super) is_etag_opaque: bool,
    crc32c: Option<String>,
    sha256: Option<String>,
    /// Its body.
    pub(super) text: String,
}

/// A store and a bucket.
pub(super) struct Client {
    pub(super) http: reqwest::Client,
    pub(super) place: Place,
    pub(super) keys: Keys,
    pub(super) limits: Limits,
    pub(super) clock: Clock,
}

/// Where and as whom one request is made.
#[derive(Clone)]
pub(super) struct Way {
    bucket: Arc<Bucket>,
    credentials: Arc<Credentials>,
}

impl Client {
    /// Sends a request, with quick retries of hiccups.
    pub(super) async fn send(&self, ask: &Ask<'_>) -> Result<Answer, Error> {
        let once = |way: Way| Box::pin(async move { self.send_once(ask, &way).await });
        let hiccups_max = if ask.is_once { 0 } else { self.limits.hiccups_max };
        self.over_hiccups(ask.what, hiccups_max, once).await
    }

    /// The address of a request, signed.
    pub(super) fn sign(&self, ask: &Ask<'_>, way: &Way) -> Url {
        ask.sign(&way.bucket, &way.credentials, self.clock.wall())
    }

    /// Makes a request, and makes it again after a hiccup, or where the store says how it would do it.
    pub(super) async fn over_hiccups<T, F: Future<Output = Result<T, Error>>>(
        &self,
        what: &'static str,
        hiccups_max: u32,
        once: impl Fn(Way) -> F,
    ) -> Result<T, Error> {
        let (mut hiccups, mut turns) = (0, 0);
        loop {
            let credentials = self.keys.get(&self.clock).await?;
            let way = Way { bucket: self.place.now(), credentials };
            let error = match once(way.clone()).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if turns < TURNS_MAX && self.turns(&way, &error) {
                turns += 1;
                continue;
            }
            if !error.is_hiccup() || hiccups >= hiccups_max {
                return Err(error);
            }
            hiccups += 1;
            tracing::debug!(what, %error, "a hiccup of the store");
            self.pause().await;
        }
    }

    /// Waits before a quick retry.
    pub(super) async fn pause(&self) {
        tokio::time::sleep(jitter(self.limits.hiccup_ms)).await;
    }

    /// Whether the request is to be made again at another place, or with newer keys.
    fn turns(&self, way: &Way, error: &Error) -> bool {
        let Error::Refused(refusal) = error else { return false };
        if let Some(region) = refusal.other_region() {
            return self.place.turn(&way.bucket, region);
        }
        refusal.is_about_expired_keys() && self.keys.forget(&way.credentials)
    }

    async fn send_once(&self, ask: &Ask<'_>, way: &Way) -> Result<Answer, Error> {
        let what = ask.what;
        let stall_ms = ask.stall_ms_max.unwrap_or(self.limits.stall_ms_max);
        let progress = Progress::default();
        let mut sent = None;
        let mut request = self.http.request(ask.method.clone(), self.sign(ask, way));
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        request = match &ask.payload {
            Payload::Nothing if ask.method == Method::PUT || ask.method == Method::POST => {
                request.header(CONTENT_LENGTH, 0)
            }
            Payload::Nothing => request,
            Payload::Text(text) => request.body(text.clone()),
            Payload::File(source, range) => {
                let sent = sent.insert(Sent::of(source));
                let stream = source.stream(*range, progress.clone(), sent);
                request.header(CONTENT_LENGTH, range.bytes).body(Body::wrap_stream(stream))
            }
        };
        let stalled = |Stalled| Error::Stalled { what, stall_ms };
        let response = progress
            .watch(stall_ms, request.send())
            .await
            .map_err(stalled)?
            .map_err(|error| Error::from_transport(what, error))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let reading = read(what, response, &progress);
        let text = progress.watch(stall_ms, reading).await.map_err(stalled)??;
        // A store that began to answer before it knew the outcome says 200 and then `Error`.
        if !(200..300).contains(&status) || answer::root(&text).as_deref() == Some("Error") {
            return Err(Error::Refused(Refusal::read(what, status, &headers, &text)));
        }
        if let Some(sent) = sent {
            sent.kept();
        }
        Ok(Answer::new(&headers, text))
    }

    /// The ids of the unfinished multipart uploads of exactly this key.
    pub(super) async fn uploads(&self, key: &str) -> Result<Vec<String>, Error> {
        // Keys come in order, so those that only begin like this one come after it.
        let ask = Ask::new("list unfinished uploads", Method::GET, "")
            .query("prefix", key)
            .query("uploads", "")
            .within(self.limits.connect_ms_max);
        let answer = self.send(&ask).await?;
        let found = answer::records(&answer.text, Some("Upload"), ["Key", "UploadId"]);
        Ok(found.into_iter().filter(|[found, _]| found == key).map(|[_, id]| id).collect())
    }

    /// Ends an unfinished multipart upload, and has the store forget its parts.
    pub(super) async fn abort(&self, key: &str, id: &str) -> Result<(), Error> {
        let ask = Ask::new("abort an unfinished upload", Method::DELETE, key)
            .query("uploadId", id)
            .within(self.limits.connect_ms_max);
        match self.send(&ask).await {
            Err(Error::Refused(refusal)) if refusal.code == "NoSuchUpload" => Ok(()),
            result => result.map(drop),
        }
    }

    /// What the store has under a key.
    pub(super) async fn head(
        &self,
        what: &'static str,
        key: &str,
        checksum: Checksum,
    ) -> Result<Answer, Error> {
        let mode = match checksum {
            Checksum::Md5 => None,
            _ => Some(("x-amz-checksum-mode", "ENABLED".to_owned())),
        };
        self.send(&Ask::new(what, Method::HEAD, key).headers(mode)).await
    }

    /// The same; nothing where it has nothing.
    pub(super) async fn look(
        &self,
        what: &'static str,
        key: &str,
        checksum: Checksum,
    ) -> Result<Option<Answer>, Error> {
        match self.head(what, key, checksum).await {
            // An answer to HEAD has no body that would say what is missing.
            Err(Error::Refused(refusal)) if refusal.status == 404 => Ok(None),
            result => result.map(Some),
        }
    }

    /// Looks for the reason why a connection broke while a file was being sent.
    ///
    /// A store that refuses a request need not read its body; it answers and closes, and a
    /// connection that is closed while one writes to it loses the answer. A small question without
    /// a body brings it out.
    pub(super) async fn explain(&self, key: &str, error: Error) -> Error {
        if !matches!(&error, Error::Transport { transport: Transport::Broken(_), .. }) {
            return error;
        }
        match self.uploads(key).await {
            Err(Error::Refused(refusal)) if refusal.holds_for_all_requests() => {
                Error::Refused(refusal)
            }
            _ => error,
        }
    }
}

impl Answer {
    fn new(headers: &HeaderMap, text: String) -> Self {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let is_etag_opaque = header("x-amz-server-side-encryption").is_some_and(|v| v != "AES256")
            || header("x-amz-server-side-encryption-customer-algorithm").is_some();
        Self {
            etag: header(ETAG.as_str()).map(unquoted),
            bytes: header(CONTENT_LENGTH.as_str()).and_then(|value| value.parse().ok()),
            is_etag_opaque,
            crc32c: header(CRC32C_HEADER).map(Into::into),
            sha256: header(SHA256_HEADER).map(Into::into),
            text,
        }
    }

    /// The same with what its body says, where that says it.
    pub(super) fn with(
        self,
        etag: Option<String>,
        (crc32c, sha256): (Option<String>, Option<String>),
    ) -> Self {
        let (crc32c, sha256) = (crc32c.or(self.crc32c), sha256.or(self.sha256));
        Self { etag: etag.or(self.etag), crc32c, sha256, ..self }
    }

    /// The checksum that the store says it has.
    pub(super) fn checksum(&self, kind: Checksum) -> Option<&str> {
        match kind {
            Checksum::Md5 => None,
            Checksum::Crc32c => self.crc32c.as_deref(),
            Checksum::Sha256 => self.sha256.as_deref(),
        }
    }

    /// Compares what the store says it has with what was sent.
    ///
    /// `true`: it is the same, so the store has these bytes. `false`: it does not say.
    ///
    /// # Errors
    /// [`Error::Altered`] where it is something else.
    pub(super) fn check(&self, what: &'static str, sum: &Sum) -> Result<bool, Error> {
        match sum {
            Sum::Md5(_) => self.check_etag(what, &sum.etag().unwrap_or_default()),
            Sum::Crc32c(_) => check_checksum(what, self.crc32c.as_deref(), &sum.base64()),
            Sum::Sha256(_) => check_checksum(what, self.sha256.as_deref(), &sum.base64()),
        }
    }

    /// The same of a whole that was made of parts, see [`sums::whole`](super::sums::whole).
    ///
    /// # Errors
    /// The same.
    pub(super) fn check_whole(
        &self,
        what: &'static str,
        kind: Checksum,
        expected: &str,
    ) -> Result<bool, Error> {
        match kind {
            Checksum::Md5 => self.check_etag(what, expected),
            _ => check_checksum(what, self.checksum(kind), expected),
        }
    }

    fn check_etag(&self, what: &'static str, expected: &str) -> Result<bool, Error> {
        match &self.etag {
            Some(etag) if etag.eq_ignore_ascii_case(expected) => Ok(true),
            Some(etag) if !self.is_etag_opaque && looks_like(etag, expected) => {
                Err(Error::Altered { what })
            }
            _ => Ok(false),
        }
    }
}

/// A checksum of another type (of parts instead of the whole, or the other way) says nothing.
fn check_checksum(what: &'static str, found: Option<&str>, expected: &str) -> Result<bool, Error> {
    match found {
        Some(found) if found == expected => Ok(true),
        Some(found) if found.contains('-') == expected.contains('-') => {
            Err(Error::Altered { what })
        }
        _ => Ok(false),
    }
}

/// Without weak mark and quotes.
pub(super) fn unquoted(etag: &str) -> String {
    etag.trim().trim_start_matches("W/").trim_matches('"').into()
}

/// 32 hex digits, and behind them the same (`-3` for three parts).
pub(super) fn looks_like(etag: &str, expected: &str) -> bool {
    let (Some((digits, tail)), Some((_, expected_tail))) =
        (etag.split_at_checked(32), expected.split_at_checked(32))
    else {
        return false;
    };
    digits.bytes().all(|b| b.is_ascii_hexdigit()) && tail == expected_tail
}

/// Reads a short body.
pub(super) async fn read(
    what: &'static str,
    mut response: reqwest::Response,
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

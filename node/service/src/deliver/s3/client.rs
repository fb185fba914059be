//! Speaks to a store: signs a request, sends it, watches that it moves, reads the answer.

use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, ETAG, HeaderMap};
use reqwest::{Body, Method};
use rusty_s3::{Bucket, Credentials, S3Action};

use super::answer::{self, ANSWER_BYTES_MAX};
use super::error::{Error, Refusal, Transport};
use super::source::{Md5Sum, Range, Source};
use crate::deliver::progress::{Progress, Stalled};

/// How long the signature of a request holds. Stores look at it when a request begins.
pub(super) const SIGNATURE_VALID: Duration = Duration::from_secs(3600);

/// What a push may take and how patient it is. The defaults are right but for tests.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest time to connect, TLS included, and for answers to small questions, in milliseconds.
    pub connect_ms_max: u64,
    /// Longest time without a byte moving, in milliseconds. Noticed before twice that time.
    pub stall_ms_max: u64,
    /// Longest time for a store to put the parts together, in milliseconds.
    pub complete_ms_max: u64,
    /// Parts of one file under way at once, at least 1.
    pub parts_parallel_max: usize,
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
            parts_parallel_max: 3,
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
    /// Its body.
    pub(super) text: String,
}

/// A store and a bucket.
pub(super) struct Client {
    pub(super) http: reqwest::Client,
    pub(super) bucket: Bucket,
    pub(super) limits: Limits,
}

/// What goes out with a request.
pub(super) enum Payload<'a> {
    Nothing,
    Text(String),
    File(&'a Source, Range),
}

impl Client {
    /// Sends a request, with quick retries of hiccups.
    pub(super) async fn send<'a, A: S3Action<'a>>(
        &self,
        what: &'static str,
        action: A,
        headers: &[Header],
        payload: Payload<'_>,
    ) -> Result<Answer, Error> {
        self.send_within(self.limits.stall_ms_max, what, action, headers, payload).await
    }

    /// The same with another limit on standing still, in milliseconds.
    pub(super) async fn send_within<'a, A: S3Action<'a>>(
        &self,
        stall_ms_max: u64,
        what: &'static str,
        mut action: A,
        headers: &[Header],
        payload: Payload<'_>,
    ) -> Result<Answer, Error> {
        for (name, value) in headers {
            action.headers_mut().insert(*name, value.clone());
        }
        let method = method(A::METHOD);
        let once = || {
            let url = action.sign(SIGNATURE_VALID);
            Box::pin(self.send_once(stall_ms_max, what, (&method, url), headers, &payload))
        };
        self.over_hiccups(what, once).await
    }

    /// Makes a request, and makes it again after a hiccup.
    pub(super) async fn over_hiccups<T, F: Future<Output = Result<T, Error>>>(
        &self,
        what: &'static str,
        once: impl Fn() -> F,
    ) -> Result<T, Error> {
        let mut hiccups = 0;
        loop {
            match once().await {
                Err(error) if error.is_hiccup() && hiccups < self.limits.hiccups_max => {
                    hiccups += 1;
                    tracing::debug!(what, %error, "a hiccup of the store");
                    tokio::time::sleep(jitter(self.limits.hiccup_ms)).await;
                }
                result => return result,
            }
        }
    }

    async fn send_once(
        &self,
        stall_ms_max: u64,
        what: &'static str,
        (method, url): (&Method, reqwest::Url),
        headers: &[Header],
        payload: &Payload<'_>,
    ) -> Result<Answer, Error> {
        let progress = Progress::default();
        let mut request = self.http.request(method.clone(), url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        request = match payload {
            Payload::Nothing if *method == Method::PUT || *method == Method::POST => {
                request.header(CONTENT_LENGTH, 0)
            }
            Payload::Nothing => request,
            Payload::Text(text) => request.body(text.clone()),
            Payload::File(source, range) => {
                let stream = source.stream(*range, progress.clone());
                request.header(CONTENT_LENGTH, range.bytes).body(Body::wrap_stream(stream))
            }
        };
        let stalled = |Stalled| Error::Stalled { what, stall_ms: stall_ms_max };
        let response = progress
            .watch(stall_ms_max, request.send())
            .await
            .map_err(stalled)?
            .map_err(|error| Error::from_transport(what, error))?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let text = progress
            .watch(stall_ms_max, read(what, response, &progress))
            .await
            .map_err(stalled)??;
        // A store that began to answer before it knew the outcome says 200 and then `Error`.
        if !(200..300).contains(&status) || answer::root(&text).as_deref() == Some("Error") {
            return Err(Error::Refused(Refusal::read(what, status, &headers, &text)));
        }
        Ok(Answer::new(&headers, text))
    }

    /// The ids of the unfinished multipart uploads of exactly this key.
    pub(super) async fn uploads(
        &self,
        credentials: &Credentials,
        key: &str,
    ) -> Result<Vec<String>, Error> {
        // The signing library leaves this action out; reading the empty key is a question to the
        // bucket, and the query makes it this one. Keys come in order, so those that only begin
        // like this one come after it.
        let mut action = self.bucket.get_object(Some(credentials), "");
        action.query_mut().insert("prefix", key);
        action.query_mut().insert("uploads", "");
        let (limit, what) = (self.limits.connect_ms_max, "list unfinished uploads");
        let answer = self.send_within(limit, what, action, &[], Payload::Nothing).await?;
        let found = answer::records(&answer.text, Some("Upload"), ["Key", "UploadId"]);
        Ok(found.into_iter().filter(|[found, _]| found == key).map(|[_, id]| id).collect())
    }

    /// Ends an unfinished multipart upload, and has the store forget its parts.
    pub(super) async fn abort(
        &self,
        credentials: &Credentials,
        key: &str,
        id: &str,
    ) -> Result<(), Error> {
        let action = self.bucket.abort_multipart_upload(Some(credentials), key, id);
        let (limit, what) = (self.limits.connect_ms_max, "abort an unfinished upload");
        match self.send_within(limit, what, action, &[], Payload::Nothing).await {
            Err(Error::Refused(refusal)) if refusal.code == "NoSuchUpload" => Ok(()),
            result => result.map(drop),
        }
    }

    /// Looks for the reason why a connection broke while a file was being sent.
    ///
    /// A store that refuses a request need not read its body; it answers and closes, and a
    /// connection that is closed while one writes to it loses the answer. A small question without
    /// a body brings it out.
    pub(super) async fn explain(
        &self,
        credentials: &Credentials,
        key: &str,
        error: Error,
    ) -> Error {
        if !matches!(&error, Error::Transport { transport: Transport::Broken(_), .. }) {
            return error;
        }
        match self.uploads(credentials, key).await {
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
            text,
        }
    }

    /// Compares the ETag with the MD5 of what was sent, where the store's ETags are that.
    ///
    /// `true`: it is the same, so the store has these bytes. `false`: the ETag says nothing.
    ///
    /// # Errors
    /// [`Error::Altered`] where it is another MD5.
    pub(super) fn check_md5(&self, what: &'static str, expected: &str) -> Result<bool, Error> {
        match &self.etag {
            Some(etag) if etag.eq_ignore_ascii_case(expected) => Ok(true),
            Some(etag) if !self.is_etag_opaque && looks_like(etag, expected) => {
                Err(Error::Altered { what })
            }
            _ => Ok(false),
        }
    }
}

/// Without weak mark and quotes.
pub(super) fn unquoted(etag: &str) -> String {
    etag.trim().trim_start_matches("W/").trim_matches('"').into()
}

/// 32 hex digits, and behind them the same (`-3` for three parts).
fn looks_like(etag: &str, expected: &str) -> bool {
    let (Some((digits, tail)), Some((_, expected_tail))) =
        (etag.split_at_checked(32), expected.split_at_checked(32))
    else {
        return false;
    };
    digits.bytes().all(|b| b.is_ascii_hexdigit()) && tail == expected_tail
}

/// In hex, as ETags have it.
pub(super) fn hex(md5: &Md5Sum) -> String {
    md5.iter().map(|byte| format!("{byte:02x}")).collect()
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

fn method(method: rusty_s3::Method) -> Method {
    match method {
        rusty_s3::Method::Head => Method::HEAD,
        rusty_s3::Method::Get => Method::GET,
        rusty_s3::Method::Post => Method::POST,
        rusty_s3::Method::Put => Method::PUT,
        rusty_s3::Method::Delete => Method::DELETE,
    }
}

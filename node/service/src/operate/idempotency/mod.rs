//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): a `POST` that is sent again, because
//! its answer was lost, is carried out once and answered alike.
//!
//! Invariants:
//! - That a request began is durable before it is carried out, and its answer is before it is sent. A
//!   node that ends in between says so to whoever asks again; it never carries it out twice.
//! - What is carried out goes on to its end, and its answer is kept, when the client hangs up.
//! - Only what succeeded is kept, for [`store::KEPT`]: a request that was refused did nothing, and
//!   may be sent again with the same key.
//! - Answers may hold a secret that is shown once (a new key). They are sealed with the node's key,
//!   and the fingerprints of requests with them.

mod store;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::auth::Caller;
use crate::digest::Sha256;
use crate::ledger::LedgerError;
use crate::node::Node;
use crate::problem::Problem;
use store::Place;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Longest key, in characters.
const KEY_CHARS_MAX: usize = 255;
/// Largest answer that is kept, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Headers of an answer that are part of what it says.
const HEADERS_KEPT: [HeaderName; 2] = [header::CONTENT_TYPE, header::LOCATION];

/// The requests that are being carried out, and the node that keeps their answers.
#[derive(Debug)]
pub(super) struct Replays {
    node: Arc<Node>,
    running: Mutex<HashSet<Place>>,
    /// Largest body of a request, in bytes.
    body_bytes_max: usize,
}

/// What is kept of a request, sealed.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// SHA-256 over everything that makes it this request.
    fingerprint: String,
    outcome: Outcome,
}

/// What came of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// It began.
    Begun,
    /// It was carried out, and this was the answer.
    Answered { status: u16, headers: Vec<(String, String)>, body: String },
    /// It was carried out; the answer was too large to keep.
    TooLarge,
}

impl Replays {
    pub(super) fn new(node: Arc<Node>, body_bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { node, running: Mutex::default(), body_bytes_max })
    }
}

/// Carries a `POST` with an `Idempotency-Key` out once; lets everything else pass.
pub(super) async fn once(
    Extension(replays): Extension<Arc<Replays>>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    match key_of(request.headers()) {
        Ok(key) => {
            let place = Place { caller: caller.key, key };
            replays.answer(place, request, next).await.unwrap_or_else(Problem::into_response)
        }
        Err(problem) => problem.into_response(),
    }
}

impl Replays {
    async fn answer(
        self: Arc<Self>,
        place: Place,
        request: Request,
        next: Next,
    ) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, self.body_bytes_max).await.map_err(|_| {
            Problem::too_large(format!(
                "the body could not be read: it broke off, or has more than {} bytes",
                self.body_bytes_max
            ))
        })?;
        let mut digest = Sha256::new();
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let media_type = parts.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |v| v.as_bytes());
        for part in [parts.method.as_str().as_bytes(), target.as_bytes(), media_type, &body] {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let fingerprint = digest.finish();
        let Some(running) = Running::begin(&self, &place) else {
            return Err(still_running());
        };
        let request = Request::from_parts(parts, Body::from(body));
        // A task of its own, from the first note on: it ends, whether the client waits for it or not.
        let carried_out = tokio::spawn(async move {
            let _running = running;
            let now = self.node.clock.now();
            if let Some(sealed) = self.begin(&place, &fingerprint, now).await? {
                return self.replay(&place, &sealed, &fingerprint);
            }
            let response = next.run(request).await;
            Ok(self.keep(&place, fingerprint, now, response).await)
        });
        carried_out.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request ended early");
            Err(Problem::internal("the request ended early; the node's log says how"))
        })
    }

    /// Notes that a request begins. Answers what is kept of one with this key, if anything is.
    async fn begin(
        &self,
        place: &Place,
        fingerprint: &str,
        now: Timestamp,
    ) -> Result<Option<String>, Problem> {
        let record = Record { fingerprint: fingerprint.into(), outcome: Outcome::Begun };
        let (place, sealed) = (place.clone(), self.seal(place, &record)?);
        let write = self.node.ledger.write(move |write| store::begin(write, &place, now, &sealed));
        write.await.map_err(|error| not_kept(&error))
    }

    /// Keeps what came of a request, if it did anything, and hands the answer on.
    async fn keep(
        &self,
        place: &Place,
        fingerprint: String,
        now: Timestamp,
        response: Response,
    ) -> Response {
        let (parts, body) = response.into_parts();
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                tracing::error!(%error, "an answer broke off");
                return Problem::internal("the answer broke off").into_response();
            }
        };
        let sealed = if parts.status.is_success() {
            let outcome = outcome(parts.status, &parts.headers, &body);
            match self.seal(place, &Record { fingerprint, outcome }) {
                Ok(sealed) => Some(sealed),
                // What is kept says that it began: it is not carried out again.
                Err(_) => return Response::from_parts(parts, Body::from(body)),
            }
        } else {
            None
        };
        let place = place.clone();
        let write = self.node.ledger.write(move |write| match sealed {
            Some(sealed) => store::finish(write, &place, now, &sealed),
            None => store::forget(write, &place, now),
        });
        if let Err(error) = write.await {
            tracing::warn!(%error, "what came of a request with an Idempotency-Key is not kept");
        }
        Response::from_parts(parts, Body::from(body))
    }

    fn replay(&self, place: &Place, sealed: &str, fingerprint: &str) -> Result<Response, Problem> {
        let opened = self.node.key.open(&place.context(), sealed);
        let record = opened.ok().and_then(|json| serde_json::from_slice::<Record>(&json).ok());
        let record = record.ok_or_else(|| {
            Problem::conflict(
                "what came of the request with this Idempotency-Key cannot be read any more; look \
                 at what there is, and use a new key",
            )
        })?;
        if record.fingerprint != fingerprint {
            return Err(Problem::key_reused(
                "this Idempotency-Key was used for another request; use a new one for each",
            ));
        }
        match record.outcome {
            Outcome::Begun => Err(Problem::conflict(
                "the node ended while it carried this request out, so what came of it is not known; \
                 look at what there is, and use a new Idempotency-Key",
            )),
            Outcome::TooLarge => Err(Problem::conflict(
                "this request was carried out; its answer was too large to be kept",
            )),
            Outcome::Answered { status, headers, body } => {
                let mut response = body.into_response();
                *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
                response.headers_mut().clear();
                for (name, value) in headers {
                    if let (Ok(name), Ok(value)) =
                        (HeaderName::try_from(name), HeaderValue::try_from(value))
                    {
                        response.headers_mut().insert(name, value);
                    }
                }
                response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
                Ok(response)
            }
        }
    }

    fn seal(&self, place: &Place, record: &Record) -> Result<String, Problem> {
        let json = serde_json::to_vec(record).map_err(|error| error.to_string());
        let sealed = json.and_then(|json| {
            self.node.key.seal(&place.context(), &json).map_err(|error| error.to_string())
        });
        sealed.map_err(|error| {
            tracing::error!(error, "what came of a request cannot be kept");
            Problem::internal("the answer could not be kept; the node's log says why")
        })
    }
}

fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Outcome {
    let Some(body) = std::str::from_utf8(body).ok().filter(|body| body.len() <= ANSWER_BYTES_MAX)
    else {
        return Outcome::TooLarge;
    };
    let kept = HEADERS_KEPT.into_iter().filter_map(|name| {
        let value = headers.get(&name)?.to_str().ok()?.to_owned();
        Some((name.as_str().to_owned(), value))
    });
    Outcome::Answered { status: status.as_u16(), headers: kept.collect(), body: body.into() }
}

/// The key, with or without the quotes of a structured header's string.
fn key_of(headers: &HeaderMap) -> Result<String, Problem> {
    let malformed = || {
        Problem::bad_request(format!(
            "Idempotency-Key: send one, of 1 to {KEY_CHARS_MAX} visible ASCII characters without \
             quotes and backslashes in it"
        ))
    };
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return Err(malformed()) };
    let value = value.to_str().map_err(|_| malformed())?.trim();
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    if !(1..=KEY_CHARS_MAX).contains(&bare.len()) || !bare.chars().all(is_plain) {
        return Err(malformed());
    }
    Ok(bare.to_owned())
}

fn still_running() -> Problem {
    Problem::in_progress("the request with this Idempotency-Key is still being carried out")
        .retry_after_s(1)
}

fn not_kept(error: &LedgerError) -> Problem {
    tracing::error!(%error, "a request with an Idempotency-Key could not begin");
    Problem::unavailable("the ledger does not answer; the node's log says why").retry_after_s(5)
}

/// A request that is being carried out.
struct Running(Arc<Replays>, Place);

impl Running {
    /// Nothing, where it is being carried out already.
    fn begin(replays: &Arc<Replays>, place: &Place) -> Option<Self> {
        let mut running = replays.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(place.clone()).then(|| Self(Arc::clone(replays), place.clone()))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_with_and_without_quotes() {
        let of = |values: &[&str]| {
            let values = values.iter().map(|value| (IDEMPOTENCY_KEY, value.parse().unwrap()));
            key_of(&HeaderMap::from_iter(values)).ok()
        };
        assert_eq!(of(&["\"8e03978e-40d5\""]), of(&["8e03978e-40d5"]));
        assert_eq!(of(&[" a "]), Some("a".into()));
        let long = "x".repeat(256);
        for wrong in [&[][..], &["a", "a"], &[""], &["\"\""], &["a b"], &["\"a\"b\""], &[&long]] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }
}

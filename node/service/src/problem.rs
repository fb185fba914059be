//! Problem documents (RFC 9457): what went wrong, with what, and what to do about it.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:holdfast:problem:` and the kind; stable, for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind, for people.
    pub title: &'static str,
    /// HTTP status.
    pub status: u16,
    /// What happened this time and what to do.
    pub detail: String,
    /// For an out-of-order chunk: the offset to go on from, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<u64>,
    /// How long to wait before the next try, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $kind:literal, $title:literal;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(detail: impl Into<String>) -> Self {
                Self::new($status, $kind, $title, detail.into())
            }
        )*
    };
}

impl Problem {
    kinds! {
        /// The request is malformed.
        bad_request = 400, "bad-request", "The request is malformed";
        /// A key, hash or token is missing or wrong.
        unauthorized = 401, "unauthorized", "Not authorised";
        /// The account's trial or subscription is over.
        account_expired = 403, "account-expired", "The account has expired";
        /// The key does not open this.
        forbidden = 403, "forbidden", "Not allowed";
        /// There is no such thing.
        not_found = 404, "not-found", "Not found";
        /// The method does not fit the address.
        method_not_allowed = 405, "method-not-allowed", "Method not allowed";
        /// Nothing arrived for too long.
        stalled = 408, "stalled", "Nothing arrived for too long";
        /// It does not fit what came before.
        conflict = 409, "conflict", "Out of order";
        /// The same request is being carried out.
        in_progress = 409, "in-progress", "The request is being carried out";
        /// It is gone.
        gone = 410, "gone", "Gone";
        /// Larger than allowed.
        too_large = 413, "too-large", "Too large";
        /// The body is of a kind that is not taken.
        unsupported_media_type = 415, "unsupported-media-type", "The body is of a kind that is not taken";
        /// The bytes are no recording.
        not_a_recording = 415, "not-a-recording", "Not a recording";
        /// The file has no such part.
        range_not_satisfiable = 416, "range-not-satisfiable", "No such part";
        /// Well-formed, but it makes no sense.
        invalid = 422, "invalid", "It makes no sense";
        /// An idempotency key belongs to another request.
        key_reused = 422, "idempotency-key-reused", "The idempotency key belongs to another request";
        /// Too many at once.
        too_many = 429, "too-many", "Too many at once";
        /// Our own fault.
        internal = 500, "internal", "The node failed";
        /// A destination failed.
        bad_gateway = 502, "bad-gateway", "A destination failed";
        /// Not now.
        unavailable = 503, "unavailable", "Not now";
        /// No space left.
        no_space = 507, "no-space", "The node has no space left";
    }

    fn new(status: u16, kind: &str, title: &'static str, detail: String) -> Self {
        let kind = format!("urn:holdfast:problem:{kind}");
        Self { kind, title, status, detail, expected: None, retry_after_s: None }
    }

    /// Says after how many seconds to try again.
    #[must_use]
    pub fn retry_after_s(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// Says at which offset to go on.
    #[must_use]
    pub fn expected(mut self, offset: u64) -> Self {
        self.expected = Some(offset);
        self
    }
}

/// Answers a method that an address does not take.
pub async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::method_not_allowed(format!("{} does not take {method}", uri.path()))
}

/// Answers an address at which there is nothing.
pub async fn no_such_address(uri: Uri) -> Problem {
    Problem::not_found(format!("there is nothing at {}", uri.path()))
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

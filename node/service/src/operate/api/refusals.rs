//! What calls are refused with: problem documents (RFC 9457), as the API's description names them.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

/// A refusal with this status.
pub(super) struct Refused<const STATUS: u16>;

impl<const STATUS: u16> IntoResponses for Refused<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        BTreeMap::from([(STATUS.to_string(), RefOr::T(refusal(STATUS)))])
    }
}

/// What any call that needs a key may be refused with.
pub(super) const OF_ANY: [u16; 6] = [400, 401, 403, 429, 500, 503];
/// What a call with `Idempotency-Key` may be refused with beside that.
pub(super) const OF_REPEATABLE: [u16; 3] = [409, 413, 422];

/// The description of a refusal.
pub(super) fn refusal(status: u16) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new()
        .description(described(status))
        .content("application/problem+json", content)
        .build()
}

fn described(status: u16) -> &'static str {
    match status {
        400 => "The request is malformed",
        401 => "No key, or one that is not the node's",
        403 => "The key does not open this",
        404 => "There is no such thing",
        409 => "It does not fit what is there",
        410 => "It is gone",
        413 => "The body is too large",
        415 => "The body is no JSON",
        416 => "The file has no such part",
        422 => "Well-formed, but it makes no sense",
        429 => "Too many requests; `Retry-After` says how long to wait",
        500 => "The node failed; its log says how",
        502 => "A destination failed",
        503 => "Not now",
        507 => "The node has no space left",
        _ => "Refused",
    }
}

//! The support bundle.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::super::auth::Caller;
use super::super::support::{SupportError, bundle};
use super::{Api, RETRY_S};
use crate::audit::Act;
use crate::node::Node;
use crate::problem::Problem;

/// Longest that the audit log may keep a bundle waiting: one is wanted most when the ledger is broken.
const NOTE_MAX: Duration = Duration::from_secs(5);

/// Puts a support bundle together
///
/// A `.tar.gz` of text for whoever builds the node: how it is, what failed, its settings and its newest
/// log lines. No recordings, no secrets, no personal data; see `docs/support.md`. At most 16 MiB
/// unpacked. One is made at a time.
#[utoipa::path(
    get, path = "/api/v1/support-bundle", tag = "node", operation_id = "make_support_bundle",
    responses((
        status = 200, description = "The bundle",
        content_type = "application/gzip", body = Vec<u8>,
    ))
)]
pub(super) async fn make(
    State(Api { node, started }): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Problem> {
    note(&node, caller.name).await;
    let bundle = bundle(&node, started).await.map_err(|error| match error {
        SupportError::Busy => Problem::unavailable(error.to_string()).retry_after_s(RETRY_S),
        SupportError::Pack(_) => {
            tracing::error!("{error}");
            Problem::internal(error.to_string())
        }
    })?;
    let named = format!("attachment; filename=\"{}\"", bundle.name);
    let headers =
        [(header::CONTENT_TYPE, "application/gzip".into()), (header::CONTENT_DISPOSITION, named)];
    Ok((headers, bundle.bytes).into_response())
}

/// Writes into the audit log who asked for it, if that can be written.
async fn note(node: &Node, by: String) {
    let (audit, now) = (node.audit.clone(), node.clock.now());
    let noting =
        node.ledger.write(move |write| audit.append(write, now, &by, &Act::SupportBundleMade));
    match tokio::time::timeout(NOTE_MAX, noting).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "that a support bundle was made is not in the audit log");
        }
        Err(_) => tracing::warn!("that a support bundle was made is not in the audit log yet"),
    }
}

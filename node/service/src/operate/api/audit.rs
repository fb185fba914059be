//! The audit log: its export and the key that checks it.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, body::Body};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::auth::Caller;
use super::{Answer, Api, problem};
use crate::audit::{Act, Stretch};
use crate::digest::hex;
use crate::ledger::LedgerError;
use crate::node::Node;
use crate::problem::Problem;

/// Which stretch of the log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StretchQuery {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// The key that the log is signed with, and how far the log goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditKeyView {
    /// What entries call it: 16 hex digits.
    pub key: String,
    /// Always `Ed25519`.
    pub algorithm: String,
    /// Its 32 bytes, in base64.
    pub public_key: String,
    /// The same as PEM (`SubjectPublicKeyInfo`).
    pub public_key_pem: String,
    /// The newest entry. Kept elsewhere, it shows later that the log was not written anew.
    pub head: Option<HeadView>,
}

/// An entry's place and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeadView {
    /// Its sequence number; the first is 1.
    pub seq: u64,
    /// Its digest: SHA-256, in hex.
    pub hash: String,
}

/// Tells the public key of the audit log
#[utoipa::path(
    get, path = "/api/v1/audit/key", tag = "audit", operation_id = "show_audit_key",
    responses(
        (status = 200, description = "The key", body = AuditKeyView),
    )
)]
pub(super) async fn key(State(Api { node, .. }): State<Api>) -> Answer<AuditKeyView> {
    let head = node.audit.head(&node.ledger).map_err(|error| problem(&error))?;
    let key = node.audit.public_key();
    Ok(Json(AuditKeyView {
        key: key.id(),
        algorithm: "Ed25519".into(),
        public_key: key.to_base64(),
        public_key_pem: key.to_pem(),
        head: head.map(|head| HeadView { seq: head.seq, hash: hex(&head.hash) }),
    }))
}

/// Exports the audit log
///
/// One JSON object a line: first the head of the export, then its entries in order. An export that
/// ends before the entry that its head names last broke off.
#[utoipa::path(
    get, path = "/api/v1/audit", tag = "audit", operation_id = "export_audit",
    params(
        (
            "from" = Option<String>, Query, format = DateTime,
            description = "From the first entry made at this instant or later",
        ),
        (
            "to" = Option<String>, Query, format = DateTime,
            description = "Until before the first entry made at this instant or later",
        ),
    ),
    responses(
        (
            status = 200, description = "The entries, one a line",
            content_type = "application/x-ndjson", body = String,
        ),
    )
)]
pub(super) async fn export(
    State(Api { node, .. }): State<Api>,
    Extension(Caller { name: by, .. }): Extension<Caller>,
    asked: Result<Query<StretchQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let now = node.clock.now();
    let audit = node.audit.clone();
    let noting = node.ledger.write(move |write| audit.append(write, now, &by, &Act::Exported));
    noting.await.map_err(|error| problem(&error))?;
    let stretch = node.audit.stretch(&node.ledger, asked.from, asked.to);
    let stretch = stretch.map_err(|error| problem(&error))?;
    let head = node.audit.head_line(&stretch, now).map_err(|error| problem(&error))?;
    let head = stream::once(async { Ok(Bytes::from(head)) });
    let body = Body::from_stream(head.chain(entries(node, stretch)));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// A stretch page by page, each read once the one before is on its way. Each is a transaction of its
/// own, since a slow reader would keep the ledger from using its space again; entries never change.
fn entries(
    node: Arc<Node>,
    stretch: Stretch,
) -> impl stream::Stream<Item = Result<Bytes, LedgerError>> {
    stream::try_unfold((node, stretch, 1), async |(node, stretch, from)| {
        let reading = tokio::task::spawn_blocking(move || {
            let page = node.audit.page(&node.ledger, &stretch, from);
            (node, stretch, page)
        });
        let (node, stretch, page) =
            reading.await.map_err(|error| LedgerError::Read(error.to_string()))?;
        let page = page.inspect_err(|error| tracing::error!(%error, "an export broke off"))?;
        Ok(page.map(|(lines, next)| (Bytes::from(lines), (node, stretch, next))))
    })
}

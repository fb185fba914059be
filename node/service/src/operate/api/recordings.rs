//! Recordings: listed, shown, handed out, deleted. A caller whose key is limited to environments
//! is told of what is in others what they are told of what does not exist.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use axum::{Extension, Json};
use holdfast_core::RecordingId;
use holdfast_core::recording::{self, Recording};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::auth::Caller;
use super::super::files;
use super::super::view::{RecordingView, files_base, view};
use super::refusals::Refused;
use super::{Answer, Api, LIMIT_DEFAULT, LIMIT_MAX, bad_path, problem};
use crate::ledger::{Filter, LedgerError};
use crate::node::Node;
use crate::problem::Problem;

/// A page of recordings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RecordingsView {
    /// The recordings, newest first. May be none although more follow.
    pub recordings: Vec<RecordingView>,
    /// The cursor to go on with; nothing when there are no more.
    pub next: Option<RecordingId>,
}

/// What a deletion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeleteOutcome {
    /// It was there, and is deleted now.
    Deleted,
    /// It had been deleted before.
    AlreadyGone,
}

/// The answer to a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedView {
    /// What it found.
    pub outcome: DeleteOutcome,
}

/// Which recordings.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
    /// Most recordings on the page, 1 to 200; 50 where it is not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// Where to go on: the `next` of the page before.
    #[param(format = "uuid")]
    cursor: Option<String>,
    /// Only those in this state.
    #[param(inline)]
    state: Option<recording::State>,
    /// Only those of this environment.
    env_id: Option<String>,
    /// Only those of this account.
    account_id: Option<String>,
    /// Only those that began at this instant or later.
    from: Option<Timestamp>,
    /// Only those that began before this instant.
    to: Option<Timestamp>,
}

/// A recording's id in an address.
pub(super) type Id = Result<Path<String>, PathRejection>;

/// Lists recordings
///
/// Newest first. A page may have fewer than `limit`, or none, although `next` says that more follow.
#[utoipa::path(
    get, path = "/api/v1/recordings", tag = "recordings", operation_id = "list_recordings",
    params(ListQuery),
    responses((status = 200, description = "A page", body = RecordingsView))
)]
pub(super) async fn list(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Answer<RecordingsView> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit={limit}: must be 1 to {LIMIT_MAX}")));
    }
    let before = query.cursor.as_deref().map(str::parse).transpose();
    let before = before.map_err(|error| Problem::bad_request(format!("cursor: {error}")))?;
    let filter = Filter {
        state: query.state,
        env_id: query.env_id,
        env_ids: caller.env_ids,
        account_id: query.account_id,
        from: query.from,
        to: query.to,
    };
    let ledger = node.ledger.clone();
    let listed = tokio::task::spawn_blocking(move || ledger.list(&filter, before, limit)).await;
    let (recordings, next) = listed
        .map_err(|error| Problem::internal(format!("listing ended early: {error}")))?
        .map_err(|error| problem(&error))?;
    let recordings = recordings.iter().map(|rec| shown(&node, rec)).collect();
    Ok(Json(RecordingsView { recordings, next }))
}

/// Shows a recording
#[utoipa::path(
    get, path = "/api/v1/recordings/{id}", tag = "recordings", operation_id = "show_recording",
    params(("id" = RecordingId, Path, description = "Its id")),
    responses((status = 200, description = "The recording", body = RecordingView), Refused<404>)
)]
pub(super) async fn show(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Id,
) -> Answer<RecordingView> {
    let rec = find(&node, &caller, id)?;
    Ok(Json(shown(&node, &rec)))
}

/// Hands out a file
///
/// From the vault, or from a destination that holds it; one range at a time.
#[utoipa::path(
    get, path = "/api/v1/recordings/{id}/files/{kind}", tag = "recordings",
    operation_id = "get_file",
    params(
        ("id" = RecordingId, Path, description = "The recording"),
        ("kind" = recording::FileKind, Path, description = "Which of its files"),
        ("Range" = Option<String>, Header, description = "One range of bytes"),
        ("If-Range" = Option<String>, Header, description = "The `ETag` that the range is of"),
    ),
    responses(
        (status = 200, description = "The file", content_type = "*/*", body = Vec<u8>),
        (status = 206, description = "A part of it", content_type = "*/*", body = Vec<u8>),
        Refused<404>, Refused<410>, Refused<416>, Refused<502>,
    )
)]
pub(super) async fn file(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(String, String)>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((id, kind)) = path.map_err(bad_path)?;
    let rec = find_seen(&node, &caller, &id)?;
    let kind = files::kind_of(&kind)?;
    Ok(files::serve_recording_file(&node, &rec, kind, &headers, &method).await)
}

/// Deletes a recording
///
/// What this node holds, and what our own storage holds; customers' destinations keep theirs.
#[utoipa::path(
    delete, path = "/api/v1/recordings/{id}", tag = "recordings",
    operation_id = "delete_recording",
    params(("id" = RecordingId, Path, description = "Its id")),
    responses(
        (status = 200, description = "It is deleted", body = DeletedView),
        Refused<404>, Refused<409>,
    )
)]
pub(super) async fn remove(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Id,
) -> Answer<DeletedView> {
    let rec = find(&node, &caller, id)?;
    let outcome = delete(&node, &caller, rec.id).await?;
    Ok(Json(DeletedView { outcome }))
}

/// Deletes a recording that the caller sees.
pub(super) async fn delete(
    node: &Node,
    caller: &Caller,
    id: RecordingId,
) -> Result<DeleteOutcome, Problem> {
    let deleted = node.delete(id, &caller.name).await;
    let (recording, effects) = deleted.map_err(|error| problem(&error))?;
    // No effects: it is held, or had ended before.
    if effects.is_empty() {
        if let Some(hold) = recording.hold.as_ref().filter(|_| !recording.is_ended()) {
            return Err(Problem::conflict(format!(
                "recording {id} is under a legal hold, set by {}; lift it first",
                hold.by
            )));
        }
        return Ok(DeleteOutcome::AlreadyGone);
    }
    tracing::info!(recording = %id, by = caller.name, "deleted on request");
    Ok(DeleteOutcome::Deleted)
}

pub(super) fn shown(node: &Node, rec: &Recording) -> RecordingView {
    let pushing = node.pushing.transfers.of(rec.id);
    view(rec, node.progress.get(rec.id), pushing, node.clock.now(), &files_base(rec.id))
        .live(node.live.position_ms(rec.id))
        .on(&node.vault, rec)
}

/// The recording that an address names, if the caller sees it.
pub(super) fn find(node: &Node, caller: &Caller, id: Id) -> Result<Recording, Problem> {
    find_seen(node, caller, &id.map_err(bad_path)?)
}

/// The same, where the id was taken from the address already.
fn find_seen(node: &Node, caller: &Caller, id: &str) -> Result<Recording, Problem> {
    let id = id.parse().map_err(|error| Problem::not_found(format!("{id:?} is {error}")))?;
    let found = node.ledger.get(id).map_err(|error| problem(&error))?;
    let found = found.filter(|rec| caller.sees(&rec.env_id));
    found.ok_or_else(|| problem(&LedgerError::NoSuchRecording(id)))
}

//! What people do to a recording: ask about it, hold it, try again.

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use holdfast_core::explain::{Outlook, outlook};
use holdfast_core::recording::Recording;
use holdfast_core::{Event, RecordingId, push_order};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::auth::Caller;
use super::super::view::RecordingView;
use super::recordings::{find, shown};
use super::refusals::Refused;
use super::{Answer, Api, bad_body, problem};
use crate::deliver::journal::{Journal, Tried};
use crate::node::{Node, NodeError};
use crate::problem::Problem;

/// Longest reason of a legal hold, in characters.
const REASON_CHARS_MAX: usize = 500;

type Id = Result<Path<String>, PathRejection>;

/// Why a recording is put under a legal hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct HoldRequest {
    /// In words; 1 to 500 characters.
    #[schema(min_length = 1, max_length = 500, pattern = r"\S")]
    reason: String,
}

/// Explains a recording
///
/// Where it stands, what happens next, and exactly when each of its files goes.
#[utoipa::path(
    get, path = "/api/v1/recordings/{id}/explain", tag = "recordings",
    operation_id = "explain_recording",
    params(("id" = RecordingId, Path, description = "The recording")),
    responses(
        (status = 200, description = "Where it stands and what becomes of it", body = Outlook),
        Refused<404>,
    )
)]
pub(super) async fn explain(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Id,
) -> Answer<Outlook> {
    let rec = find(&node, &caller, id)?;
    Ok(Json(outlook(&rec, node.clock.now())))
}

/// What was tried for a recording.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AttemptsView {
    /// Each file that was tried at each destination, oldest first; the last 200.
    attempts: Vec<Tried>,
}

/// Lists what was tried
///
/// Each file that was pushed or not, with how long it took, how much of it moved, and what the
/// destination said.
#[utoipa::path(
    get, path = "/api/v1/recordings/{id}/attempts", tag = "recordings",
    operation_id = "list_attempts",
    params(("id" = RecordingId, Path, description = "The recording")),
    responses(
        (status = 200, description = "What was tried", body = AttemptsView),
        Refused<404>,
    )
)]
pub(super) async fn attempts(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Id,
) -> Answer<AttemptsView> {
    let rec = find(&node, &caller, id)?;
    let attempts = Journal::of(&node.ledger, rec.id).map_err(|error| problem(&error))?;
    Ok(Json(AttemptsView { attempts }))
}

/// Puts a recording under a legal hold
///
/// No rule and nobody deletes anything of it until the hold is lifted. Once more: gives another
/// reason.
#[utoipa::path(
    put, path = "/api/v1/recordings/{id}/hold", tag = "recordings",
    operation_id = "hold_recording",
    params(("id" = RecordingId, Path, description = "The recording")),
    request_body = HoldRequest,
    responses(
        (status = 200, description = "The recording as it is now", body = RecordingView),
        Refused<404>, Refused<409>, Refused<413>, Refused<415>, Refused<507>,
    )
)]
pub(super) async fn hold(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Id,
    body: Result<Json<HoldRequest>, JsonRejection>,
) -> Answer<RecordingView> {
    let rec = find(&node, &caller, id)?;
    let Json(HoldRequest { reason }) = body.map_err(bad_body)?;
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.chars().count() > REASON_CHARS_MAX {
        return Err(Problem::bad_request(format!(
            "reason: give one of 1 to {REASON_CHARS_MAX} characters"
        )));
    }
    let held = happen(&node, &rec, Event::HoldSet { by: caller.name, reason }).await?;
    if held.hold.is_none() {
        return Err(Problem::conflict(format!(
            "recording {} is {} already; there is nothing left to hold",
            rec.id,
            held.state.as_str()
        )));
    }
    tracing::info!(recording = %rec.id, "under a legal hold");
    Ok(Json(shown(&node, &held)))
}

/// Lifts a legal hold
///
/// What it has put off happens then.
#[utoipa::path(
    delete, path = "/api/v1/recordings/{id}/hold", tag = "recordings",
    operation_id = "lift_hold",
    params(("id" = RecordingId, Path, description = "The recording")),
    responses(
        (status = 200, description = "The recording as it is now", body = RecordingView),
        Refused<404>, Refused<507>,
    )
)]
pub(super) async fn lift(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Id,
) -> Answer<RecordingView> {
    let rec = find(&node, &caller, id)?;
    let lifted = happen(&node, &rec, Event::HoldLifted { by: caller.name }).await?;
    tracing::info!(recording = %rec.id, "its legal hold is lifted");
    Ok(Json(shown(&node, &lifted)))
}

/// Tries again now
///
/// The step that waits for its next attempt is tried now, and what failed for good once more.
#[utoipa::path(
    post, path = "/api/v1/recordings/{id}/retry", tag = "recordings",
    operation_id = "retry_recording",
    params(("id" = RecordingId, Path, description = "The recording")),
    responses(
        (status = 200, description = "The recording as it is now", body = RecordingView),
        Refused<404>, Refused<409>, Refused<507>,
    )
)]
pub(super) async fn retry(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Id,
) -> Answer<RecordingView> {
    let rec = find(&node, &caller, id)?;
    again(&node, &rec, caller.name).await
}

/// Pushes again
///
/// A push by hand of what could not be pushed.
#[utoipa::path(
    post, path = "/api/v1/recordings/{id}/push", tag = "recordings",
    operation_id = "push_recording",
    params(("id" = RecordingId, Path, description = "The recording")),
    responses(
        (status = 200, description = "The recording as it is now", body = RecordingView),
        Refused<404>, Refused<409>, Refused<507>,
    )
)]
pub(super) async fn push(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Id,
) -> Answer<RecordingView> {
    let rec = find(&node, &caller, id)?;
    if !rec.push.exhausted {
        return Err(Problem::conflict(format!(
            "no push of recording {} has failed for good; it is {}",
            rec.id,
            rec.state.as_str()
        )));
    }
    again(&node, &rec, caller.name).await
}

async fn again(node: &Node, rec: &Recording, by: String) -> Answer<RecordingView> {
    for (destination, _) in push_order::pending(rec) {
        node.pushing.gates.probe_now(&destination, node.clock.now());
    }
    let now = happen(node, rec, Event::RetryRequested { by }).await?;
    if now == *rec {
        return Err(Problem::conflict(format!(
            "nothing of recording {} waits or has failed in a way that could be tried again; it is {}",
            rec.id,
            rec.state.as_str()
        )));
    }
    tracing::info!(recording = %rec.id, "tried again on request");
    Ok(Json(shown(node, &now)))
}

async fn happen(node: &Node, rec: &Recording, event: Event) -> Result<Recording, Problem> {
    let stepped = node.step(rec.id, event).await.map_err(|error| match error {
        NodeError::Ledger(error) => problem(&error),
        error if error.is_no_space() => Problem::no_space("the node's disk is full"),
        error => {
            tracing::error!(recording = %rec.id, %error, "could not be changed");
            Problem::unavailable("the vault does not answer; the node's log says why")
        }
    })?;
    Ok(stepped.0)
}

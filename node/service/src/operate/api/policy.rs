//! What a changed rule would delete, before it is set.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use holdfast_core::RecordingId;
use holdfast_core::recording::{Recording, Terms};
use holdfast_core::retention::ends_at;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::auth::Caller;
use super::{Answer, Api, problem};
use crate::config::LIFECYCLE_DAYS_MAX;
use crate::ledger::{Filter, LedgerError};
use crate::node::Node;
use crate::problem::Problem;

/// Recordings that are named in an answer.
const NAMED_MAX: usize = 200;
/// Recordings looked at for one answer.
const LOOKED_AT_MAX: usize = 200_000;
/// Recordings looked at in one go.
const PAGE: usize = 1_000;

/// What a changed lifecycle rule would delete.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewView {
    /// The rule that was asked about, in days; nothing for none.
    pub lifecycle_days: Option<u32>,
    /// How many recordings would go at once.
    pub at_once: u64,
    /// Their bytes, all files together.
    pub at_once_bytes: u64,
    /// How many would go sooner than now, those at once included.
    pub sooner: u64,
    /// How many would stay longer than now.
    pub later: u64,
    /// How many were looked at.
    pub looked_at: u64,
    /// There are more recordings than were looked at.
    pub is_cut: bool,
    /// The first that would go sooner, newest first. At most 200.
    pub recordings: Vec<DoomedView>,
}

/// A recording whose end would move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoomedView {
    /// Which one.
    pub id: RecordingId,
    /// Its environment.
    pub env_id: String,
    /// When it was saved.
    pub saved_at: Option<Timestamp>,
    /// When it goes by the rules of now; nothing where none says.
    pub goes_at: Option<Timestamp>,
    /// When it would go.
    pub would_go_at: Timestamp,
}

/// Which rule.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PreviewQuery {
    /// The rule's days, 1 to 36,500; leave it out for no rule.
    #[param(minimum = 1, maximum = 36_500)]
    lifecycle_days: Option<u32>,
    /// Only for recordings of this environment.
    env_id: Option<String>,
}

/// Previews a lifecycle rule
///
/// What a rule of so many days, or none, would delete. Changes nothing.
#[utoipa::path(
    get, path = "/api/v1/policy/preview", tag = "policy", operation_id = "preview_policy",
    params(PreviewQuery),
    responses((status = 200, description = "What it would delete", body = PreviewView))
)]
pub(super) async fn preview(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<PreviewQuery>, QueryRejection>,
) -> Answer<PreviewView> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    if query.lifecycle_days.is_some_and(|days| days == 0 || days > LIFECYCLE_DAYS_MAX) {
        return Err(Problem::bad_request(format!(
            "lifecycle_days: must be 1 to {LIFECYCLE_DAYS_MAX}; leave it out for no rule"
        )));
    }
    let looked = tokio::task::spawn_blocking(move || look(&node, &caller, &query)).await;
    let view = looked
        .map_err(|error| Problem::internal(format!("looking ended early: {error}")))?
        .map_err(|error| problem(&error))?;
    Ok(Json(view))
}

fn look(node: &Node, caller: &Caller, query: &PreviewQuery) -> Result<PreviewView, LedgerError> {
    let now = node.clock.now();
    let filter = Filter {
        env_id: query.env_id.clone(),
        env_ids: caller.env_ids.clone(),
        ..Filter::default()
    };
    let mut view = PreviewView { lifecycle_days: query.lifecycle_days, ..PreviewView::default() };
    let (mut before, mut looked_at) = (None, 0);
    loop {
        let (page, next) = node.ledger.list(&filter, before, PAGE)?;
        looked_at += page.len();
        for recording in &page {
            compare(&mut view, recording, now);
        }
        if next.is_none() || looked_at >= LOOKED_AT_MAX {
            view.is_cut = next.is_some();
            view.looked_at = u64::try_from(looked_at).unwrap_or(u64::MAX);
            return Ok(view);
        }
        before = next;
    }
}

fn compare(view: &mut PreviewView, rec: &Recording, now: Timestamp) {
    let mut changed = rec.clone();
    changed.terms = Terms { lifecycle_days: view.lifecycle_days, ..rec.terms };
    let goes_at = ends_at(rec).map(|(at, _)| at);
    let would_go_at = ends_at(&changed).map(|(at, _)| at);
    let is_sooner = |at: Timestamp| goes_at.is_none_or(|now| at < now);
    let Some(would_go_at) = would_go_at.filter(|at| is_sooner(*at)) else {
        view.later += u64::from(goes_at.is_some() && would_go_at != goes_at);
        return;
    };
    view.sooner += 1;
    if would_go_at <= now {
        view.at_once += 1;
        view.at_once_bytes += rec.files.iter().map(|file| file.bytes).sum::<u64>();
    }
    if view.recordings.len() < NAMED_MAX {
        view.recordings.push(DoomedView {
            id: rec.id,
            env_id: rec.env_id.clone(),
            saved_at: rec.saved_at,
            goes_at,
            would_go_at,
        });
    }
}

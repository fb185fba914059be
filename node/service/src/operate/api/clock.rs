//! The node's clock, where a person has to vouch for it (rule 10).

use axum::extract::State;
use axum::{Extension, Json};

use super::super::auth::Caller;
use super::super::status::{ClockView, clock_view};
use super::refusals;
use super::{Answer, Api, problem};
use crate::clock::watch::Refused;
use crate::problem::Problem;

/// Vouches for a clock that stands before what the node has recorded
///
/// It ran ahead before, and is right now. Stamps that lie in its future move back.
#[utoipa::path(
    post, path = "/api/v1/clock/accept", tag = "node", operation_id = "accept_clock",
    responses(
        (status = 200, description = "The clock, trusted now", body = ClockView),
        refusals::Refused<409>,
    )
)]
pub(super) async fn accept(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
) -> Answer<ClockView> {
    node.accept_clock(&caller.name).await.map_err(|refused| match refused {
        Refused::Ledger(error) => problem(&error),
        refused => Problem::conflict(refused.to_string()),
    })?;
    tracing::warn!(by = caller.name, "the clock was accepted as it is");
    Ok(Json(clock_view(&node)))
}

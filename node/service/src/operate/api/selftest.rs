//! The node's test of itself.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::super::selftest::{self, Check, SelftestView};
use super::refusals::Refused;
use super::{Answer, Api, RETRY_S};
use crate::problem::Problem;

/// What is to be tested.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SelftestQuery {
    /// Only this; everything where it is not given.
    #[param(inline)]
    only: Option<Check>,
}

/// Has the node test itself
///
/// It makes a film of a test recording, writes a file to each volume and to each destination and deletes
/// it again, and looks at its encoders, its clock, its certificate and its key. One test at a time; it may
/// take two minutes.
#[utoipa::path(
    post, path = "/api/v1/selftest", tag = "node", operation_id = "selftest",
    params(SelftestQuery),
    responses(
        (status = 200, description = "What it showed, well or not", body = SelftestView),
        Refused<409>,
    )
)]
pub(super) async fn run(
    State(Api { node, .. }): State<Api>,
    asked: Result<Query<SelftestQuery>, QueryRejection>,
) -> Answer<SelftestView> {
    let Query(asked) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let tested = selftest::run(&node, asked.only).await;
    tested.map(Json).map_err(|busy| Problem::in_progress(busy.to_string()).retry_after_s(RETRY_S))
}

//! What encodes: candidates, their proofs, who works on them.

use axum::Json;
use axum::extract::State;

use super::super::status::{HardwareView, hardware};
use super::Api;

/// Says what encodes and decodes, hardware first
///
/// Each candidate with what a clip showed of it, its device, and whether it is set aside for failing.
#[utoipa::path(
    get, path = "/api/v1/hardware", tag = "node", operation_id = "show_hardware",
    responses((status = 200, description = "The candidates, best first", body = HardwareView))
)]
pub(super) async fn show(State(Api { node, .. }): State<Api>) -> Json<HardwareView> {
    Json(hardware(&node))
}

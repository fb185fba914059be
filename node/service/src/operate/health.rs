//! Whether the node lives, and whether it is ready: for supervisors and load balancers, no key.
//!
//! What is missing is named to everyone; the details, which name paths, only to the log and to the
//! status that a key opens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::node::Node;
use crate::transcode;
use crate::vault::{Vault, VaultError, VolumeState};

/// Longest that disk and ledger may take to answer.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Something without which the node does not do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// It is not stopping.
    Running,
    /// The ledger answers.
    Ledger,
    /// The vault can be written.
    Vault,
    /// The vault has room.
    Space,
    /// The transcoding program is there.
    Transcoder,
}

/// Something that is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Missing {
    /// What.
    pub need: Need,
    /// What was found instead.
    pub detail: String,
}

/// Whether the node lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LiveView {
    live: bool,
}

/// Whether the node does its work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReadyView {
    ready: bool,
    /// What it lacks.
    missing: Vec<Need>,
    /// Whether rules of time go on (rule 10). A node does the rest of its work without.
    clock_trusted: bool,
}

/// `GET /live` and `GET /ready`.
pub fn router(node: Arc<Node>) -> Router {
    Router::new().route("/live", get(live)).route("/ready", get(ready)).with_state(node)
}

/// Says that the node lives
#[utoipa::path(
    get, path = "/live", tag = "node", operation_id = "live",
    responses((status = 200, description = "It does", body = LiveView))
)]
pub(super) async fn live() -> Response {
    answer(StatusCode::OK, Json(LiveView { live: true }))
}

/// What the node lacks for its work. Nothing, when it is ready.
pub async fn missing(node: &Arc<Node>) -> Vec<Missing> {
    let mut found = Vec::new();
    if node.stop.is_cancelled() {
        found.push(Missing { need: Need::Running, detail: "the node is stopping".into() });
    }
    let for_thread = Arc::clone(node);
    let looking = tokio::task::spawn_blocking(move || look(&for_thread));
    match tokio::time::timeout(ANSWER_MAX, looking).await {
        Ok(Ok(missing)) => found.extend(missing),
        Ok(Err(error)) => {
            found.push(Missing {
                need: Need::Vault,
                detail: format!("looking ended early: {error}"),
            });
        }
        Err(_) => {
            let detail = format!("did not answer within {} s", ANSWER_MAX.as_secs());
            found.push(Missing { need: Need::Vault, detail });
        }
    }
    found
}

/// Says whether the node does its work
#[utoipa::path(
    get, path = "/ready", tag = "node", operation_id = "ready",
    responses(
        (status = 200, description = "It does", body = ReadyView),
        (status = 503, description = "It does not", body = ReadyView),
    )
)]
pub(super) async fn ready(State(node): State<Arc<Node>>) -> Response {
    let missing = missing(&node).await;
    for Missing { need, detail } in &missing {
        tracing::warn!(?need, "not ready: {detail}");
    }
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let missing: Vec<Need> = missing.into_iter().map(|missing| missing.need).collect();
    let clock_trusted = node.clock_is_trusted().unwrap_or(false);
    answer(status, Json(ReadyView { ready: missing.is_empty(), missing, clock_trusted }))
}

fn answer(status: StatusCode, body: impl IntoResponse) -> Response {
    (status, [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], body).into_response()
}

/// Blocks.
fn look(node: &Node) -> Vec<Missing> {
    let mut found = Vec::new();
    let mut lacks = |need, detail| found.push(Missing { need, detail });
    if let Err(error) = node.ledger.latest_instant() {
        lacks(Need::Ledger, error.to_string());
    }
    match look_at_vault(&node.vault).map(|()| node.vault.place(0)) {
        Err(detail) => lacks(Need::Vault, detail),
        Ok(Err(error @ VaultError::NoRoom { .. })) => lacks(Need::Space, error.to_string()),
        Ok(Err(error)) => lacks(Need::Vault, error.to_string()),
        Ok(Ok(_)) => {}
    }
    let program = transcode::program(&node.config.transcode);
    if let Some(socket) = &node.config.transcode.socket {
        if let Err(error) = access(socket, AccessFlags::W_OK) {
            lacks(Need::Transcoder, format!("cannot connect to {}: {error}", socket.display()));
        }
    } else if let Err(error) = look_for_program(&program) {
        lacks(Need::Transcoder, format!("cannot run {}: {error}", program.display()));
    }
    found
}

/// Looks at the folder of recordings by its name: when a volume was unmounted under the node, the
/// folder that it opened at its start still answers.
fn look_at_vault(vault: &Vault) -> Result<(), String> {
    for volume in vault.volumes().iter().filter(|volume| volume.state() == VolumeState::Ready) {
        let path = volume.path().join("recordings");
        access(&path, AccessFlags::W_OK | AccessFlags::X_OK)
            .map_err(|error| format!("cannot write to {}: {error}", path.display()))?;
    }
    Ok(())
}

/// Whether a program can be run; a bare name is looked for where a shell would.
fn look_for_program(program: &Path) -> nix::Result<()> {
    let bare = program.parent().is_some_and(|parent| parent.as_os_str().is_empty());
    let folders = std::env::var_os("PATH").filter(|_| bare).unwrap_or_default();
    let found = |folder: PathBuf| access(&folder.join(program), AccessFlags::X_OK).is_ok();
    if bare && std::env::split_paths(&folders).any(found) {
        return Ok(());
    }
    access(program, AccessFlags::X_OK)
}

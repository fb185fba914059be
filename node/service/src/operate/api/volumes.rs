//! Volumes, and the evidence of how recordings are kept.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::super::auth::Caller;
use super::super::evidence::{ErasureView, EvidenceView, evidence};
use super::super::status::{VolumeView, volumes};
use super::refusals::Refused;
use super::settings::{Id, id};
use super::{Answer, Api, bad_body, problem};
use crate::audit::Act;
use crate::node::Node;
use crate::problem::Problem;
use crate::retain::epochs;
use crate::volumes::helper::{self, HelperError, LuksView};
use crate::volumes::{erased, known_volumes};

/// Longest recovery key, in bytes.
const KEY_BYTES_MAX: usize = 1 << 10;
/// Exit code of `holdfast-volume`: its configuration names no such volume.
const NO_SUCH_VOLUME: u8 = 3;
/// Exit code of `holdfast-volume`: no key opens it.
const NO_KEY: u8 = 7;

/// The volumes of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct VolumesView {
    /// As the node and the kernel see them.
    pub volumes: Vec<VolumeView>,
    /// As their headers say, for those that `holdfast-volume` knows.
    pub luks: Vec<LuksView>,
    /// Why that is not known.
    pub luks_problem: Option<String>,
    /// Volumes that this node has used and that are not there.
    pub missing: Vec<MissingVolumeView>,
    /// How the epochs of recordings' keys stand; nothing where recordings have no keys.
    pub erasure: Option<ErasureView>,
}

/// A volume that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(super) struct MissingVolumeView {
    /// Identifies it.
    pub id: String,
    /// What it was called.
    pub name: String,
    /// When it was last seen to come or go.
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: jiff::Timestamp,
}

/// A recovery key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RecoveryBody {
    /// As it was shown when the volume was made; case, spaces and dashes do not matter.
    #[schema(min_length = 1, max_length = 256)]
    key: String,
}

/// Lists volumes
#[utoipa::path(
    get, path = "/api/v1/volumes", tag = "node", operation_id = "list_volumes",
    responses((status = 200, description = "The volumes", body = VolumesView))
)]
pub(super) async fn list(State(Api { node, .. }): State<Api>) -> Answer<VolumesView> {
    let known = known_volumes(&node.ledger).map_err(|error| problem(&error))?;
    let there: Vec<_> = node.vault.volumes().iter().filter(|it| it.state().is_there()).collect();
    let is_missing = |id| there.iter().all(|volume| volume.id() != Some(id));
    let missing = known.into_iter().filter(|(id, _)| is_missing(*id));
    let missing = missing.map(|(id, known)| MissingVolumeView {
        id: id.to_string(),
        name: known.name,
        seen_at: known.seen_at,
    });
    let missing = missing.collect();
    let volumes = volumes(&node).await;
    let (luks, luks_problem) = match helper::status().await {
        Ok(luks) => {
            erased::note(&node, &luks).await;
            (luks, None)
        }
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let erasure = ErasureView::of(&node);
    Ok(Json(VolumesView { volumes, luks, luks_problem, missing, erasure }))
}

/// Ends the epoch of recordings' keys now
///
/// Keys of what was deleted before cease to exist with it, instead of at the epoch's own end.
#[utoipa::path(
    post, path = "/api/v1/erasure/end-epoch", tag = "node", operation_id = "end_epoch",
    responses(
        (status = 200, description = "How the epochs stand now", body = ErasureView),
        Refused<409>, Refused<503>,
    )
)]
pub(super) async fn end_epoch(State(Api { node, .. }): State<Api>) -> Answer<ErasureView> {
    let ended = epochs::rotate(&node).await;
    let ended = ended.map_err(|error| Problem::unavailable(error.to_string()))?;
    match ErasureView::of(&node) {
        Some(erasure) if ended.is_some() => Ok(Json(erasure)),
        _ => Err(Problem::conflict(
            "recordings have no keys of their own here; set vault.erasure = \"keys\"",
        )),
    }
}

/// Opens a volume with the machine's key
///
/// Nothing happens if it is open.
#[utoipa::path(
    post, path = "/api/v1/volumes/{name}/open", tag = "node", operation_id = "open_volume",
    params(("name" = String, Path, description = "What it is called")),
    responses((status = 204, description = "It is open"), Refused<404>, Refused<409>, Refused<503>)
)]
pub(super) async fn open(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Id,
) -> Result<StatusCode, Problem> {
    let name = id(path)?;
    may_be_opened(&node, &name)?;
    helper::open(name.clone()).await.map_err(|error| refused(&error))?;
    opened(&node, &caller.name, name, "machine").await
}

/// Opens a volume with its recovery key
///
/// For when the machine's key does not fit any more, such as after a change of its firmware. The machine
/// is then given a key slot again.
#[utoipa::path(
    post, path = "/api/v1/volumes/{name}/recover", tag = "node", operation_id = "recover_volume",
    params(("name" = String, Path, description = "What it is called")),
    request_body = RecoveryBody,
    responses(
        (status = 204, description = "It is open"),
        Refused<404>, Refused<409>, Refused<413>, Refused<415>, Refused<422>, Refused<503>,
    )
)]
pub(super) async fn recover(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Id,
    body: Result<Json<RecoveryBody>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let (name, key) = (id(path)?, recovery_key(body)?);
    may_be_opened(&node, &name)?;
    helper::recover(name.clone(), key).await.map_err(|error| refused(&error))?;
    opened(&node, &caller.name, name, "recovery").await
}

fn recovery_key(
    body: Result<Json<RecoveryBody>, JsonRejection>,
) -> Result<Zeroizing<String>, Problem> {
    let Json(RecoveryBody { key }) = body.map_err(|rejection| match rejection {
        // What serde says of it could quote the key.
        JsonRejection::JsonDataError(_) | JsonRejection::JsonSyntaxError(_) => {
            Problem::bad_request(
                "the body is to be {\"key\": \"the recovery key\"}, and nothing else",
            )
        }
        rejection => bad_body(rejection),
    })?;
    let key = Zeroizing::new(key);
    if key.len() > KEY_BYTES_MAX {
        return Err(Problem::too_large(format!(
            "a recovery key has at most {KEY_BYTES_MAX} bytes"
        )));
    }
    Ok(key)
}

/// Only volumes of this node, and no plain folders.
fn may_be_opened(node: &Node, name: &str) -> Result<(), Problem> {
    let found = node.vault.volumes().iter().find(|volume| volume.name() == name);
    match found {
        None => Err(Problem::not_found(format!("this node has no volume {name:?}"))),
        Some(volume) if volume.is_plain() => {
            Err(Problem::conflict("it is a plain folder, which is not opened"))
        }
        Some(_) => Ok(()),
    }
}

async fn opened(node: &Node, by: &str, volume: String, with: &str) -> Result<StatusCode, Problem> {
    let (audit, now) = (node.audit.clone(), node.clock.now());
    let (by, with) = (by.to_owned(), with.to_owned());
    let noted = node
        .ledger
        .write(move |write| audit.append(write, now, &by, &Act::VolumeOpened { volume, with }));
    noted.await.map_err(|error| problem(&error))?;
    Ok(StatusCode::NO_CONTENT)
}

fn refused(error: &HelperError) -> Problem {
    match error {
        HelperError::Refused { code: NO_SUCH_VOLUME, message } => Problem::not_found(message),
        HelperError::Refused { code: NO_KEY, message } => Problem::invalid(message),
        HelperError::Refused { message, .. } => Problem::conflict(message),
        HelperError::Unreachable(_) | HelperError::Slow => Problem::unavailable(error.to_string()),
    }
}

/// Shows how recordings are kept, for an auditor
///
/// Signed with the key of the audit log; `holdfast evidence --check FILE` checks it.
#[utoipa::path(
    get, path = "/api/v1/evidence", tag = "node", operation_id = "show_evidence",
    responses((status = 200, description = "The evidence", body = EvidenceView))
)]
pub(super) async fn show_evidence(State(Api { node, .. }): State<Api>) -> Answer<EvidenceView> {
    evidence(&node).await.map(Json).map_err(|error| problem(&error))
}

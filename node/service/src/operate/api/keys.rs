//! Keys of the API: made, listed and revoked. What opens is told once, when a key is made.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::auth::Caller;
use super::refusals::Refused;
use super::settings::{Created, Id, Page, PageQuery, created, id, not_found, page};
use super::{Answer, Api, bad_body, problem};
use crate::keys::{Key, KeyRefused, NewKey, Scope};
use crate::node::Node;
use crate::problem::Problem;
use crate::settings::Origin;

/// A key, without what opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyView {
    /// Identifies it. No secret: it is the beginning of a key that the API made.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// What it opens.
    pub scope: Scope,
    /// Only in these environments; `null` for all.
    pub env_ids: Option<Vec<String>>,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was made; `null` for one that the configuration file declares.
    pub created_at: Option<Timestamp>,
    /// When it was last used, to the hour.
    pub last_used_at: Option<Timestamp>,
}

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyBody {
    /// Whose it is, 1 to 128 characters.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]*$")]
    pub name: String,
    /// What it opens.
    pub scope: Scope,
    /// Only in these environments, 1 to 100; leave it out for all. Not with the scope `admin`.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 100)]
    pub env_ids: Option<Vec<String>>,
}

/// A key that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MadeKeyView {
    /// The key, as it is shown from now on.
    #[serde(flatten)]
    pub view: KeyView,
    /// What opens. It is not shown again.
    pub key: String,
}

/// A page of keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeysView {
    /// The keys, by id.
    pub keys: Vec<KeyView>,
    /// The cursor to go on with; nothing when there are no more.
    pub next: Option<String>,
}

impl KeyView {
    fn new(key: &Key, last_used_at: Option<Timestamp>) -> Self {
        let Key { id, name, scope, env_ids, origin, created_at, .. } = key.clone();
        Self { id, name, scope, env_ids, origin, created_at, last_used_at }
    }
}

/// Lists keys
///
/// Nothing shows a key itself again.
#[utoipa::path(
    get, path = "/api/v1/keys", tag = "keys", operation_id = "list_keys",
    params(PageQuery),
    responses((status = 200, description = "A page", body = KeysView))
)]
pub(super) async fn list(State(Api { node, .. }): State<Api>, asked: Page) -> Answer<KeysView> {
    let (keys, next) = page(views(&node), |key| &key.id, asked)?;
    Ok(Json(KeysView { keys, next }))
}

/// Shows a key
#[utoipa::path(
    get, path = "/api/v1/keys/{id}", tag = "keys", operation_id = "show_key",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The key", body = KeyView), Refused<404>)
)]
pub(super) async fn show(State(Api { node, .. }): State<Api>, path: Id) -> Answer<KeyView> {
    let id = id(path)?;
    let found = views(&node).into_iter().find(|view| view.id == id);
    found.map(Json).ok_or_else(|| not_found("key", &id))
}

/// Makes a key
///
/// The answer has what opens, this once.
#[utoipa::path(
    post, path = "/api/v1/keys", tag = "keys", operation_id = "create_key",
    request_body = KeyBody,
    responses(
        (status = 201, description = "Made", body = MadeKeyView, headers(("location" = String))),
        Refused<409>, Refused<413>, Refused<415>, Refused<422>,
    )
)]
pub(super) async fn create(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Result<Json<KeyBody>, JsonRejection>,
) -> Created<MadeKeyView> {
    let Json(KeyBody { name, scope, env_ids }) = body.map_err(bad_body)?;
    let new = NewKey { name, scope, env_ids };
    let (made, key) = node.keys.make(&node, &caller.name, new).await.map_err(refused)?;
    tracing::info!(key = made.id, by = caller.name, "made");
    let view = KeyView::new(&made, None);
    created("keys", &made.id, MadeKeyView { view, key: key.to_string() })
}

/// Revokes a key
///
/// It opens nothing any more, from the moment of the answer on.
#[utoipa::path(
    delete, path = "/api/v1/keys/{id}", tag = "keys", operation_id = "revoke_key",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 204, description = "Revoked"), Refused<404>, Refused<409>)
)]
pub(super) async fn revoke(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Id,
) -> Result<StatusCode, Problem> {
    let id = id(path)?;
    node.keys.revoke(&node, &caller.name, &id).await.map_err(refused)?;
    tracing::info!(key = id, by = caller.name, "revoked");
    Ok(StatusCode::NO_CONTENT)
}

fn views(node: &Arc<Node>) -> Vec<KeyView> {
    node.keys.all().iter().map(|(key, used_at)| KeyView::new(key, *used_at)).collect()
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn refused(refused: KeyRefused) -> Problem {
    match &refused {
        KeyRefused::NotFound(_) => Problem::not_found(refused.to_string()),
        KeyRefused::Declared(_) | KeyRefused::TooMany => Problem::conflict(refused.to_string()),
        KeyRefused::Invalid(_) => Problem::invalid(refused.to_string()),
        KeyRefused::NoRandomness => {
            tracing::error!("{refused}");
            Problem::internal(refused.to_string())
        }
        KeyRefused::Ledger(error) => problem(error),
    }
}

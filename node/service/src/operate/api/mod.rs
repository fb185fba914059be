//! The API under `/api/v1`: recordings, their files, and the node's status. See `docs/api.md`.

mod accounts;
mod acts;
mod clock;
mod destinations;
mod environments;
mod policy;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json, Router, middleware};
use holdfast_core::RecordingId;
use holdfast_core::recording::{self, Recording};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{Auth, Caller, Scope, require_key, require_scope};
use super::status::{StatusView, status};
use super::view::{RecordingView, files_base, view};
use super::{files, health};
use crate::ledger::{Filter, LedgerError};
use crate::node::Node;
use crate::problem::{Problem, no_such_address, no_such_method};
pub use accounts::{AccountBody, AccountView, AccountsView};
pub use destinations::{DestinationWithOrigin, DestinationsView};
pub use environments::{EnvironmentView, EnvironmentsView};
pub use policy::{DoomedView, PreviewView};

/// Recordings on a page where the request does not say.
const LIMIT_DEFAULT: usize = 50;
/// Most recordings on a page.
pub(super) const LIMIT_MAX: usize = 200;
/// Largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Seconds after which a node that could not answer may be asked again.
const RETRY_S: u64 = 5;

/// A page of recordings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordingsView {
    /// The recordings, newest first. May be none although more follow.
    pub recordings: Vec<RecordingView>,
    /// The cursor to go on with; nothing when there are no more.
    pub next: Option<RecordingId>,
}

/// What a deletion found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeleteOutcome {
    /// It was there, and is deleted now.
    Deleted,
    /// It had been deleted before.
    AlreadyGone,
}

/// The answer to a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedView {
    /// What it found.
    pub outcome: DeleteOutcome,
}

#[derive(Debug, Clone)]
struct Api {
    node: Arc<Node>,
    /// When it began to serve, by `CLOCK_BOOTTIME`.
    started: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
    state: Option<recording::State>,
    env_id: Option<String>,
    account_id: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

type Answer<T> = Result<Json<T>, Problem>;

/// The API, for whoever has a key.
///
/// Whoever serves it puts a [`axum::extract::ConnectInfo`] with the peer's address into each
/// request, so that guessing keys can be slowed down per address.
pub fn router(node: Arc<Node>) -> Router {
    let auth = Arc::new(Auth::new(&node.config.operate.keys, node.clock.clone()));
    routes(node).route_layer(middleware::from_fn_with_state(auth, require_key))
}

/// The same for the command line, whose socket has asked who is there, with health beside it.
pub(super) fn router_without_key(node: Arc<Node>) -> Router {
    let open = routes(Arc::clone(&node))
        .layer(Extension(Caller { name: "command line".into(), scope: Scope::Admin }));
    open.merge(health::router(node))
}

/// Answers what no route answers, and methods that a route does not take, with problem documents.
///
/// Goes around the node's whole router: it covers the routes that are there already.
pub fn with_fallbacks(router: Router) -> Router {
    router.fallback(no_such_address).method_not_allowed_fallback(no_such_method)
}

fn routes(node: Arc<Node>) -> Router {
    let started = node.clock.boottime();
    let for_scope = |scope| middleware::from_fn_with_state(scope, require_scope);
    let open = OpenApiRouter::new()
        .merge(to_read().route_layer(for_scope(Scope::Read)))
        .merge(to_manage().route_layer(for_scope(Scope::Manage)))
        .merge(to_admin().route_layer(for_scope(Scope::Admin)))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::map_response(never_stored))
        .with_state(Api { node, started });
    open.split_for_parts().0
}

/// What looks.
fn to_read() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .route("/api/v1/recordings", get(list))
        .route("/api/v1/recordings/{id}", get(show))
        .route("/api/v1/recordings/{id}/files/{kind}", get(file))
        .route("/api/v1/recordings/{id}/explain", get(acts::explain))
        .route("/api/v1/policy/preview", get(policy::preview))
        .route("/api/v1/status", get(show_status))
        .routes(routes!(accounts::list))
        .routes(routes!(accounts::show))
        .routes(routes!(environments::list))
        .routes(routes!(environments::show))
        .routes(routes!(destinations::list))
        .routes(routes!(destinations::show))
}

/// What acts on recordings and settings.
fn to_manage() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .route("/api/v1/recordings/{id}", delete(remove))
        .route("/api/v1/recordings/{id}/hold", put(acts::hold).delete(acts::lift))
        .route("/api/v1/recordings/{id}/retry", post(acts::retry))
        .route("/api/v1/recordings/{id}/push", post(acts::push))
        .routes(routes!(accounts::create))
        .routes(routes!(accounts::change, accounts::remove))
        .routes(routes!(environments::create))
        .routes(routes!(environments::change, environments::remove))
        .routes(routes!(destinations::create))
        .routes(routes!(destinations::change, destinations::remove))
}

/// What acts on the node itself.
fn to_admin() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(clock::accept))
}

/// What the API tells is personal; no cache keeps it.
async fn never_stored(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-store"));
    response
}

async fn list(
    State(Api { node, .. }): State<Api>,
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

async fn show(
    State(Api { node, .. }): State<Api>,
    path: Result<Path<String>, PathRejection>,
) -> Answer<RecordingView> {
    let rec = find(&node, parse_id(&path.map_err(bad_path)?)?)?;
    Ok(Json(shown(&node, &rec)))
}

async fn file(
    State(Api { node, .. }): State<Api>,
    path: Result<Path<(String, String)>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((id, kind)) = path.map_err(bad_path)?;
    let id = parse_id(&id)?;
    let kind = files::kind_of(&kind)?;
    let rec = find(&node, id)?;
    Ok(files::serve_recording_file(&node, &rec, kind, &headers, &method).await)
}

async fn remove(
    State(Api { node, .. }): State<Api>,
    Extension(Caller { name: caller, .. }): Extension<Caller>,
    path: Result<Path<String>, PathRejection>,
) -> Answer<DeletedView> {
    let id = parse_id(&path.map_err(bad_path)?)?;
    let (recording, effects) = node.delete(id, &caller).await.map_err(|error| problem(&error))?;
    // No effects: it is held, or had ended before.
    if effects.is_empty() {
        if let Some(hold) = recording.hold.as_ref().filter(|_| !recording.is_ended()) {
            return Err(Problem::conflict(format!(
                "recording {id} is under a legal hold, set by {}; lift it first",
                hold.by
            )));
        }
        return Ok(Json(DeletedView { outcome: DeleteOutcome::AlreadyGone }));
    }
    tracing::info!(recording = %id, caller, "deleted on request");
    Ok(Json(DeletedView { outcome: DeleteOutcome::Deleted }))
}

async fn show_status(State(Api { node, started }): State<Api>) -> Json<StatusView> {
    Json(status(&node, started).await)
}

fn shown(node: &Node, rec: &Recording) -> RecordingView {
    view(rec, node.progress.get(rec.id), node.clock.now(), &files_base(rec.id))
}

fn find(node: &Node, id: RecordingId) -> Result<Recording, Problem> {
    let found = node.ledger.get(id).map_err(|error| problem(&error))?;
    found.ok_or_else(|| problem(&LedgerError::NoSuchRecording(id)))
}

fn parse_id(text: &str) -> Result<RecordingId, Problem> {
    text.parse().map_err(|error| Problem::not_found(format!("{text:?} is {error}")))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn bad_path(rejection: PathRejection) -> Problem {
    Problem::bad_request(rejection.body_text())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn bad_body(rejection: JsonRejection) -> Problem {
    match rejection {
        JsonRejection::BytesRejection(_) => Problem::too_large(rejection.body_text()),
        _ => Problem::bad_request(rejection.body_text()),
    }
}

/// The ledger's error as the caller is told of it; what is ours goes to the log in full.
fn problem(error: &LedgerError) -> Problem {
    match error {
        LedgerError::NoSuchRecording(id) => Problem::not_found(format!("no recording {id}")),
        LedgerError::Closed => Problem::unavailable("the node is stopping").retry_after_s(RETRY_S),
        LedgerError::Read(_) | LedgerError::Write(_) => {
            tracing::error!("{error}");
            Problem::unavailable("the ledger does not answer; the node's log says why")
                .retry_after_s(RETRY_S)
        }
        LedgerError::Open { .. } | LedgerError::Damaged { .. } => {
            tracing::error!("{error}");
            Problem::internal("the ledger is damaged; the node's log says where")
        }
    }
}

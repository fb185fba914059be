//! The API under `/api/v1`: recordings, their files, settings, keys, and the node's status. See
//! `docs/api.md`; `docs/openapi.json` is its description, made from this code.

mod accounts;
mod acts;
mod audit;
mod clock;
mod destinations;
mod environments;
mod hardware;
mod keys;
mod openapi;
mod policy;
mod recordings;
mod refusals;
mod selftest;
mod settings;
mod support;
mod video;
mod volumes;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::{Extension, Json, Router, middleware};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::auth::{
    Auth, Caller, Needed, Scope, require_key, require_pipe_key, require_scope, require_share,
};
use super::health;
use super::idempotency::{Replays, once};
use super::status::{StatusView, status};
use crate::ledger::LedgerError;
use crate::node::Node;
use crate::problem::{Problem, no_such_address, no_such_method};
pub use accounts::{AccountBody, AccountView, AccountsView};
pub use audit::{AuditKeyView, HeadView};
pub use destinations::{DestinationWithOrigin, DestinationsView};
pub use environments::{EnvironmentView, EnvironmentsView};
pub use keys::{KeyBody, KeyView, KeysView, MadeKeyView};
pub use openapi::openapi;
use openapi::{KEY, PIPE_KEY};
pub use policy::{DoomedView, PreviewView};
pub use recordings::{DeleteOutcome, DeletedView, RecordingsView};
pub use video::{VideoDeletedView, VideoView, VideosView};
pub use webhooks::{DeliveriesView, WebhookView, WebhookWithSecret, WebhooksView};

/// Things on a page where the request does not say.
const LIMIT_DEFAULT: usize = 50;
/// Most things on a page.
pub(super) const LIMIT_MAX: usize = 200;
/// Largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Seconds after which a node that could not answer may be asked again.
const RETRY_S: u64 = 5;

#[derive(Debug, Clone)]
struct Api {
    node: Arc<Node>,
    /// When it began to serve, by `CLOCK_BOOTTIME`.
    started: Duration,
}

type Answer<T> = Result<Json<T>, Problem>;

/// The API, for whoever has a key.
///
/// Whoever serves it puts a [`axum::extract::ConnectInfo`] with the peer's address into each
/// request, so that guessing keys can be slowed down per address.
pub fn router(node: Arc<Node>) -> Router {
    let auth = Arc::new(Auth::new(Arc::clone(&node)));
    let share = middleware::from_fn_with_state(Arc::clone(&auth), require_share);
    let open = openapi::router().route_layer(share);
    let pipe_key = middleware::from_fn_with_state(Arc::clone(&auth), require_pipe_key);
    let v1 = served(described_v1(), Arc::clone(&node)).route_layer(pipe_key);
    let key = middleware::from_fn_with_state(auth, require_key);
    served(described(), node).route_layer(key).merge(v1).merge(open)
}

/// The same for the command line, whose socket has asked who is there, with health beside it.
pub(super) fn router_without_key(node: Arc<Node>) -> Router {
    let open = served(described(), Arc::clone(&node)).layer(Extension(Caller::command_line()));
    open.merge(openapi::router()).merge(health::router(node))
}

/// Answers what no route answers, and methods that a route does not take, with problem documents.
///
/// Goes around the node's whole router: it covers the routes that are there already.
pub fn with_fallbacks(router: Router) -> Router {
    router.fallback(no_such_address).method_not_allowed_fallback(no_such_method)
}

fn served(calls: OpenApiRouter<Api>, node: Arc<Node>) -> Router {
    let started = node.clock.boottime();
    let replays = Replays::new(Arc::clone(&node), BODY_BYTES_MAX);
    let calls = calls
        .layer(Extension(replays))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::map_response(never_stored))
        .with_state(Api { node, started });
    calls.split_for_parts().0
}

/// All calls that need a key, each with what it needs of its caller.
fn described() -> OpenApiRouter<Api> {
    let open_to = |needed, calls| open_to(KEY, needed, calls);
    let in_environments = |scope| Needed { scope, whole_node: false };
    let of_node = |scope| Needed { scope, whole_node: true };
    OpenApiRouter::new()
        .merge(open_to(in_environments(Scope::Read), to_read_in_environments()))
        .merge(open_to(in_environments(Scope::Manage), to_manage_in_environments()))
        .merge(open_to(of_node(Scope::Read), to_read()))
        .merge(open_to(of_node(Scope::Manage), to_manage()))
        .merge(open_to(of_node(Scope::Admin), to_admin()))
}

/// Version 1 of the REST API.
fn described_v1() -> OpenApiRouter<Api> {
    let needs = |scope| Needed { scope, whole_node: false };
    let to_read = OpenApiRouter::new().routes(routes!(video::list)).routes(routes!(video::show));
    let to_manage = OpenApiRouter::new().routes(routes!(video::remove));
    open_to(PIPE_KEY, needs(Scope::Read), to_read).merge(open_to(
        PIPE_KEY,
        needs(Scope::Manage),
        to_manage,
    ))
}

/// These calls, for callers who may, and described as such.
fn open_to(scheme: &str, needed: Needed, mut calls: OpenApiRouter<Api>) -> OpenApiRouter<Api> {
    openapi::secure(calls.get_openapi_mut(), scheme, needed.scope);
    calls
        .route_layer(middleware::from_fn(once))
        .route_layer(middleware::from_fn_with_state(needed, require_scope))
}

/// What looks at what belongs to an environment. Each asks its [`Caller`] whether they see it.
fn to_read_in_environments() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(recordings::list))
        .routes(routes!(recordings::show))
        .routes(routes!(recordings::file))
        .routes(routes!(acts::explain))
        .routes(routes!(acts::attempts))
        .routes(routes!(policy::preview))
        .routes(routes!(environments::list))
        .routes(routes!(environments::show))
}

/// What acts on what belongs to an environment. Each asks its [`Caller`] whether they see it.
fn to_manage_in_environments() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(recordings::remove))
        .routes(routes!(acts::hold, acts::lift))
        .routes(routes!(acts::retry))
        .routes(routes!(acts::push))
}

/// What looks at the whole node.
fn to_read() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(show_status))
        .routes(routes!(hardware::show))
        .routes(routes!(volumes::list))
        .routes(routes!(volumes::show_evidence))
        .routes(routes!(accounts::list))
        .routes(routes!(accounts::show))
        .routes(routes!(destinations::list))
        .routes(routes!(destinations::show))
        .routes(routes!(audit::key))
        .routes(routes!(webhooks::list))
        .routes(routes!(webhooks::show))
        .routes(routes!(webhooks::deliveries))
}

/// What changes the whole node's settings.
fn to_manage() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(accounts::create))
        .routes(routes!(accounts::change, accounts::remove))
        .routes(routes!(environments::create))
        .routes(routes!(environments::change, environments::remove))
        .routes(routes!(destinations::create))
        .routes(routes!(destinations::change, destinations::remove))
        .routes(routes!(destinations::test))
        .routes(routes!(selftest::run))
        .routes(routes!(webhooks::create))
        .routes(routes!(webhooks::change, webhooks::remove))
        .routes(routes!(webhooks::rotate_secret))
        .routes(routes!(webhooks::ping))
        .routes(routes!(webhooks::redeliver))
}

/// Keys, the audit log, the clock, and the support bundle.
fn to_admin() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::show, keys::revoke))
        .routes(routes!(audit::export))
        .routes(routes!(support::make))
        .routes(routes!(clock::accept))
        .routes(routes!(volumes::open))
        .routes(routes!(volumes::recover))
        .routes(routes!(volumes::end_epoch))
}

/// What the API tells is personal; no cache keeps it.
async fn never_stored(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("private, no-store"));
    response
}

/// Says how the node is
#[utoipa::path(
    get, path = "/api/v1/status", tag = "node", operation_id = "show_status",
    responses((status = 200, description = "What the node says of itself", body = StatusView))
)]
async fn show_status(State(Api { node, started }): State<Api>) -> Json<StatusView> {
    Json(status(&node, started).await)
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn bad_path(rejection: PathRejection) -> Problem {
    Problem::bad_request(rejection.body_text())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn bad_body(rejection: JsonRejection) -> Problem {
    match rejection {
        JsonRejection::BytesRejection(_) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::too_large(rejection.body_text())
        }
        JsonRejection::MissingJsonContentType(_) => {
            Problem::unsupported_media_type("send JSON, and say so: Content-Type: application/json")
        }
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

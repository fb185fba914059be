//! Taking recordings in: streams over `wss`, uploads over `https`. The protocol: `docs/ingest.md`.
//!
//! Invariants: what was acknowledged is durable (contract 1); a recording is in the ledger before
//! its folder is made, so that nothing in the vault is ever unknown; nothing is kept of what is
//! refused.

mod access;
mod admit;
mod commit;
mod messages;
mod outcome;
mod socket;
mod stream;
mod upload;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::node::Node;
use crate::problem::no_such_method;

pub use commit::run as run_commits;
#[cfg(test)]
pub(crate) use socket::serve as serve_connection;
pub(crate) use stream::Standing;
pub use stream::Streams;

/// What ingest works with.
#[derive(Debug)]
pub struct Ingest {
    node: Arc<Node>,
    streams: Arc<Streams>,
    /// One permit for each recording that may arrive at once.
    permits: Arc<Semaphore>,
    /// Connections that outlive their HTTP request.
    tasks: TaskTracker,
}

impl Ingest {
    /// Ingest for a node.
    #[must_use]
    pub fn new(node: Arc<Node>, streams: Arc<Streams>, tasks: TaskTracker) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(node.config.ingest.recordings_max));
        Arc::new(Self { node, streams, permits, tasks })
    }
}

/// The ways in.
pub fn router(ingest: Arc<Ingest>) -> Router {
    let cors = cors(&ingest.node.config.ingest.origins);
    Router::new()
        .route("/api/v1/ingest/stream", get(socket::upgrade))
        .route("/api/v1/ingest/upload", post(upload::upload).put(upload::upload))
        .route("/api/v1/ingest/playback/{id}/{secret}", get(outcome::playback))
        .route("/api/v1/ingest/recordings/{id}", get(outcome::status))
        .route("/api/v1/ingest/recordings/{id}/files/{kind}", get(outcome::file))
        .route("/recorder/v1/demo.json", get(outcome::demo))
        // Before the layer, or preflights of foreign pages would be answered without it.
        .method_not_allowed_fallback(no_such_method)
        .layer(cors)
        .layer(axum::extract::DefaultBodyLimit::disable())
        .with_state(ingest)
}

fn cors(origins: &[String]) -> CorsLayer {
    let allowed = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::RANGE,
            HeaderName::from_static("holdfast-env-id"),
            HeaderName::from_static("holdfast-env-hash"),
        ])
        .expose_headers([
            header::CONTENT_RANGE,
            header::CONTENT_LENGTH,
            header::ACCEPT_RANGES,
            header::LOCATION,
            header::RETRY_AFTER,
        ])
        .max_age(std::time::Duration::from_secs(600))
}

//! Looking on and stepping in: the API, health, the log, the command line and its socket.
//!
//! Nothing in here decides what becomes of a recording; it shows what is, and passes requests on.

use std::sync::Arc;

use axum::Router;
use axum::http::{Method, Uri};

use crate::node::Node;
use crate::problem::Problem;

pub mod api;
mod auth;
pub mod cli;
pub mod files;
pub mod health;
pub mod log;
mod range;
pub mod socket;
pub mod status;
pub mod view;

/// The API, for whoever has a key, and health, for everyone.
pub fn router(node: Arc<Node>) -> Router {
    api::router(Arc::clone(&node)).merge(health::router(node))
}

/// Answers what no route answers, and methods that a route does not take, with problem documents.
///
/// Goes around the node's whole router: it covers the routes that are there already.
pub fn with_fallbacks(router: Router) -> Router {
    router
        .fallback(|uri: Uri| async move {
            Problem::not_found(format!("there is nothing at {}", uri.path()))
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            Problem::method_not_allowed(format!("{} does not take {method}", uri.path()))
        })
}

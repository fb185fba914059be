//! Environments: customers' settings.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::auth::Caller;
use super::refusals::Refused;
use super::settings::{
    Created, Given, Id, Page, PageQuery, alter, created, discard, given, id, make, not_found, page,
};
use super::{Answer, Api};
use crate::config::Environment;
use crate::node::Node;
use crate::problem::Problem;
use crate::settings::{From, Kind, Origin};

/// An environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentView {
    /// Its settings.
    #[serde(flatten)]
    pub settings: Environment,
    /// Where it comes from.
    pub origin: Origin,
}

impl EnvironmentView {
    fn new(From { origin, of }: From<Arc<Environment>>) -> Self {
        Self { settings: Environment::clone(&of), origin }
    }

    fn id(&self) -> &str {
        &self.settings.id
    }
}

/// A page of environments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentsView {
    /// The environments, by id.
    pub environments: Vec<EnvironmentView>,
    /// The cursor to go on with; nothing when there are no more.
    pub next: Option<String>,
}

/// Lists environments
#[utoipa::path(
    get, path = "/api/v1/environments", tag = "environments", operation_id = "list_environments",
    params(PageQuery),
    responses(
        (status = 200, description = "A page", body = EnvironmentsView),
    )
)]
pub(super) async fn list(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    asked: Page,
) -> Answer<EnvironmentsView> {
    let seen = views(&node).into_iter().filter(|view| caller.sees(view.id())).collect();
    let (environments, next) = page(seen, EnvironmentView::id, asked)?;
    Ok(Json(EnvironmentsView { environments, next }))
}

/// Shows an environment
#[utoipa::path(
    get, path = "/api/v1/environments/{id}", tag = "environments", operation_id = "show_environment",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The environment", body = EnvironmentView),
        Refused<404>,
    )
)]
pub(super) async fn show(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Id,
) -> Answer<EnvironmentView> {
    let id = id(path)?;
    if !caller.sees(&id) {
        return Err(not_found("environment", &id));
    }
    Ok(Json(find(&node, &id)?))
}

/// Makes an environment
#[utoipa::path(
    post, path = "/api/v1/environments", tag = "environments", operation_id = "create_environment",
    request_body = Environment,
    responses(
        (status = 201, description = "Made", body = EnvironmentView, headers(("location" = String))),
        Refused<409>, Refused<413>, Refused<415>, Refused<422>,
    )
)]
pub(super) async fn create(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Given,
) -> Created<EnvironmentView> {
    let id = make(&node, &caller, Kind::Environment, given(body)?).await?;
    created("environments", &id, find(&node, &id)?)
}

/// Changes an environment
///
/// A JSON merge patch: members that are named take their new value, `null` their default.
#[utoipa::path(
    patch, path = "/api/v1/environments/{id}", tag = "environments", operation_id = "change_environment",
    params(("id" = String, Path, description = "Its id")),
    request_body(content = Object, description = "Members to change"),
    responses(
        (status = 200, description = "The environment as it is now", body = EnvironmentView),
        Refused<404>, Refused<409>, Refused<413>, Refused<415>, Refused<422>,
    )
)]
pub(super) async fn change(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Id,
    body: Given,
) -> Answer<EnvironmentView> {
    let id = id(path)?;
    alter(&node, &caller, Kind::Environment, &id, given(body)?).await?;
    Ok(Json(find(&node, &id)?))
}

/// Deletes an environment
///
/// Its recordings stay and keep the rules that they have; no new ones are taken in.
#[utoipa::path(
    delete, path = "/api/v1/environments/{id}", tag = "environments", operation_id = "delete_environment",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 204, description = "Deleted"),
        Refused<404>, Refused<409>,
    )
)]
pub(super) async fn remove(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Id,
) -> Result<StatusCode, Problem> {
    discard(&node, &caller, Kind::Environment, &id(path)?).await
}

fn views(node: &Node) -> Vec<EnvironmentView> {
    node.settings.environments().into_iter().map(EnvironmentView::new).collect()
}

fn find(node: &Node, id: &str) -> Result<EnvironmentView, Problem> {
    let found = views(node).into_iter().find(|view| view.id() == id);
    found.ok_or_else(|| not_found("environment", id))
}

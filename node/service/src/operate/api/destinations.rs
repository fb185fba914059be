//! Destinations: where recordings are pushed to.

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
use crate::config::Destination;
use crate::deliver::check::{self, CheckView};
use crate::deliver::gate::Health;
use crate::node::Node;
use crate::problem::Problem;
use crate::settings::{From, Kind, Origin};

/// A destination. Its secrets are never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationWithOrigin {
    /// Its settings.
    #[serde(flatten)]
    pub settings: Destination,
    /// Where it comes from.
    pub origin: Origin,
    /// How it is doing.
    pub health: Health,
}

impl DestinationWithOrigin {
    fn new(node: &Node, From { origin, of }: From<Destination>) -> Self {
        let health = node.pushing.gates.health(of.name());
        Self { settings: of, origin, health }
    }

    fn name(&self) -> &str {
        self.settings.name()
    }
}

/// A page of destinations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DestinationsView {
    /// The destinations, by name.
    pub destinations: Vec<DestinationWithOrigin>,
    /// The cursor to go on with; nothing when there are no more.
    pub next: Option<String>,
}

/// Lists destinations
#[utoipa::path(
    get, path = "/api/v1/destinations", tag = "destinations", operation_id = "list_destinations",
    params(PageQuery),
    responses(
        (status = 200, description = "A page", body = DestinationsView),
    )
)]
pub(super) async fn list(
    State(Api { node, .. }): State<Api>,
    asked: Page,
) -> Answer<DestinationsView> {
    let (destinations, next) = page(views(&node), DestinationWithOrigin::name, asked)?;
    Ok(Json(DestinationsView { destinations, next }))
}

/// Shows a destination
#[utoipa::path(
    get, path = "/api/v1/destinations/{name}", tag = "destinations", operation_id = "show_destination",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The destination", body = DestinationWithOrigin),
        Refused<404>,
    )
)]
pub(super) async fn show(
    State(Api { node, .. }): State<Api>,
    path: Id,
) -> Answer<DestinationWithOrigin> {
    Ok(Json(find(&node, &id(path)?)?))
}

/// Makes a destination
#[utoipa::path(
    post, path = "/api/v1/destinations", tag = "destinations", operation_id = "create_destination",
    request_body = Destination,
    responses(
        (status = 201, description = "Made", body = DestinationWithOrigin, headers(("location" = String))),
        Refused<409>, Refused<413>, Refused<415>, Refused<422>,
    )
)]
pub(super) async fn create(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Given,
) -> Created<DestinationWithOrigin> {
    let id = make(&node, &caller, Kind::Destination, given(body)?).await?;
    created("destinations", &id, find(&node, &id)?)
}

/// Changes a destination
///
/// A JSON merge patch: members that are named take their new value, `null` their default.
#[utoipa::path(
    patch, path = "/api/v1/destinations/{name}", tag = "destinations", operation_id = "change_destination",
    params(("name" = String, Path, description = "Its name")),
    request_body(content = Object, description = "Members to change"),
    responses(
        (status = 200, description = "The destination as it is now", body = DestinationWithOrigin),
        Refused<404>, Refused<409>, Refused<413>, Refused<415>, Refused<422>,
    )
)]
pub(super) async fn change(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Id,
    body: Given,
) -> Answer<DestinationWithOrigin> {
    let id = id(path)?;
    alter(&node, &caller, Kind::Destination, &id, given(body)?).await?;
    // Whatever was wrong with it may be mended.
    node.pushing.gates.open(&id);
    Ok(Json(find(&node, &id)?))
}

/// Deletes a destination
///
/// Refused while an environment names it or a recording has still to go there. What was pushed there
/// stays there.
#[utoipa::path(
    delete, path = "/api/v1/destinations/{name}", tag = "destinations", operation_id = "delete_destination",
    params(("name" = String, Path, description = "Its name")),
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
    discard(&node, &caller, Kind::Destination, &id(path)?).await
}

/// Tries a destination
///
/// Writes a small file, reads it back and deletes it, and says which step failed. Where all goes well,
/// a destination that was only probed is pushed to again at once.
#[utoipa::path(
    post, path = "/api/v1/destinations/{name}/test", tag = "destinations", operation_id = "test_destination",
    params(("name" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "What it showed, well or not", body = CheckView),
        Refused<404>, Refused<409>,
    )
)]
pub(super) async fn test(State(Api { node, .. }): State<Api>, path: Id) -> Answer<CheckView> {
    let name = id(path)?;
    let destination = node.settings.destination(&name);
    let destination = destination.ok_or_else(|| not_found("destination", &name))?;
    Ok(Json(check::run(&node, &destination).await))
}

fn views(node: &Node) -> Vec<DestinationWithOrigin> {
    let all = node.settings.destinations().into_iter();
    all.map(|found| DestinationWithOrigin::new(node, found)).collect()
}

fn find(node: &Node, id: &str) -> Result<DestinationWithOrigin, Problem> {
    let found = views(node).into_iter().find(|view| view.name() == id);
    found.ok_or_else(|| not_found("destination", id))
}

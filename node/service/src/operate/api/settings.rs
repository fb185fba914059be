//! What accounts, environments and destinations have in common: pages, names, and what is refused.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::http::{HeaderName, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::IntoParams;

use super::super::auth::Caller;
use super::{LIMIT_DEFAULT, LIMIT_MAX, bad_body, bad_path, problem};
use crate::node::Node;
use crate::problem::Problem;
use crate::settings::{Kind, Refused};

/// Which page of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Most things on the page, 1 to 200; 50 where it is not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// Where to go on: the `next` of the page before.
    cursor: Option<String>,
}

/// A name in an address.
pub(super) type Id = Result<Path<String>, PathRejection>;
/// A JSON object.
pub(super) type Given = Result<Json<Map<String, Value>>, JsonRejection>;
/// Which page.
pub(super) type Page = Result<Query<PageQuery>, QueryRejection>;
/// What was made, and where it is.
pub(super) type Created<T> = Result<(StatusCode, [(HeaderName, String); 1], Json<T>), Problem>;

/// The page that was asked for of things that are sorted by name, and where to go on.
pub(super) fn page<T>(
    all: Vec<T>,
    name: impl Fn(&T) -> &str,
    asked: Page,
) -> Result<(Vec<T>, Option<String>), Problem> {
    let Query(asked) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    page_of(all, name, asked.limit, asked.cursor.as_deref())
}

/// The same for a list that is asked for in a way of its own.
pub(super) fn page_of<T>(
    all: Vec<T>,
    name: impl Fn(&T) -> &str,
    limit: Option<usize>,
    cursor: Option<&str>,
) -> Result<(Vec<T>, Option<String>), Problem> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit={limit}: must be 1 to {LIMIT_MAX}")));
    }
    let is_after = |thing: &T| cursor.is_none_or(|cursor| name(thing) > cursor);
    let mut rest = all.into_iter().filter(is_after).peekable();
    let page: Vec<T> = rest.by_ref().take(limit).collect();
    let next = page.last().map(|last| name(last).to_owned()).filter(|_| rest.peek().is_some());
    Ok((page, next))
}

pub(super) fn id(path: Id) -> Result<String, Problem> {
    Ok(path.map_err(bad_path)?.0)
}

pub(super) fn given(body: Given) -> Result<Map<String, Value>, Problem> {
    Ok(body.map_err(bad_body)?.0)
}

/// Makes a thing; answers its name.
pub(super) async fn make(
    node: &Node,
    caller: &Caller,
    kind: Kind,
    given: Map<String, Value>,
) -> Result<String, Problem> {
    let made = node.settings.create(node, &caller.name, kind, given).await;
    let id = made.map_err(refused)?;
    tracing::info!(kind = kind.as_str(), id, by = caller.name, "made");
    Ok(id)
}

/// Changes a thing.
pub(super) async fn alter(
    node: &Node,
    caller: &Caller,
    kind: Kind,
    id: &str,
    patch: Map<String, Value>,
) -> Result<(), Problem> {
    node.settings.change(node, &caller.name, kind, id, patch).await.map_err(refused)?;
    tracing::info!(kind = kind.as_str(), id, by = caller.name, "changed");
    Ok(())
}

/// Deletes a thing.
pub(super) async fn discard(
    node: &Node,
    caller: &Caller,
    kind: Kind,
    id: &str,
) -> Result<StatusCode, Problem> {
    node.settings.delete(node, &caller.name, kind, id).await.map_err(refused)?;
    tracing::info!(kind = kind.as_str(), id, by = caller.name, "deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// The answer to something that was made. Names stand in addresses as they are.
pub(super) fn created<T>(kind: &str, name: &str, view: T) -> Created<T> {
    let location = format!("/api/v1/{kind}/{name}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)))
}

pub(super) fn not_found(kind: &str, id: &str) -> Problem {
    Problem::not_found(format!("there is no {kind} {id:?}"))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(super) fn refused(refused: Refused) -> Problem {
    match &refused {
        Refused::NotFound { .. } => Problem::not_found(refused.to_string()),
        Refused::Exists { .. } | Refused::Declared { .. } | Refused::InUse(_) => {
            Problem::conflict(refused.to_string())
        }
        Refused::Invalid(_) => Problem::invalid(refused.to_string()),
        Refused::Ledger(error) => problem(error),
    }
}

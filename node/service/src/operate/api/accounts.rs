//! Accounts: whoever pays, or tries, and until when (rule 7).

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use holdfast_core::account::{Account, Plan};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::auth::Caller;
use super::refusals::Refused;
use super::settings::{
    Created, Given, Id, Page, PageQuery, alter, created, discard, given, id, make, not_found, page,
};
use super::{Answer, Api};
use crate::node::Node;
use crate::problem::Problem;
use crate::settings::{From, Kind, Origin};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// Identifies it.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// What it is on: `trial` or `paid`.
    pub plan: Plan,
    /// When the trial or what was paid for is over; nothing for an account that does not expire.
    pub expires_at: Option<Timestamp>,
    /// Where it comes from.
    pub origin: Origin,
}

/// An account to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountBody {
    /// Identifies it.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// What it is on: `trial` or `paid`.
    pub plan: Plan,
    /// When the trial or what was paid for is over; nothing for an account that does not expire.
    pub expires_at: Option<Timestamp>,
}

impl AccountView {
    fn new(From { origin, of }: From<Arc<Account>>) -> Self {
        let Account { id, name, plan, expires_at } = Account::clone(&of);
        Self { id, name, plan, expires_at, origin }
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// A page of accounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountsView {
    /// The accounts, by id.
    pub accounts: Vec<AccountView>,
    /// The cursor to go on with; nothing when there are no more.
    pub next: Option<String>,
}

/// Lists accounts
#[utoipa::path(
    get, path = "/api/v1/accounts", tag = "accounts", operation_id = "list_accounts",
    params(PageQuery),
    responses(
        (status = 200, description = "A page", body = AccountsView),
    )
)]
pub(super) async fn list(State(Api { node, .. }): State<Api>, asked: Page) -> Answer<AccountsView> {
    let (accounts, next) = page(views(&node), AccountView::id, asked)?;
    Ok(Json(AccountsView { accounts, next }))
}

/// Shows an account
#[utoipa::path(
    get, path = "/api/v1/accounts/{id}", tag = "accounts", operation_id = "show_account",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The account", body = AccountView),
        Refused<404>,
    )
)]
pub(super) async fn show(State(Api { node, .. }): State<Api>, path: Id) -> Answer<AccountView> {
    Ok(Json(find(&node, &id(path)?)?))
}

/// Makes an account
#[utoipa::path(
    post, path = "/api/v1/accounts", tag = "accounts", operation_id = "create_account",
    request_body = AccountBody,
    responses(
        (status = 201, description = "Made", body = AccountView, headers(("location" = String))),
        Refused<409>, Refused<413>, Refused<415>, Refused<422>,
    )
)]
pub(super) async fn create(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Given,
) -> Created<AccountView> {
    let id = make(&node, &caller, Kind::Account, given(body)?).await?;
    created("accounts", &id, find(&node, &id)?)
}

/// Changes an account
///
/// A JSON merge patch: members that are named take their new value, `null` their default.
#[utoipa::path(
    patch, path = "/api/v1/accounts/{id}", tag = "accounts", operation_id = "change_account",
    params(("id" = String, Path, description = "Its id")),
    request_body(content = Object, description = "Members to change"),
    responses(
        (status = 200, description = "The account as it is now", body = AccountView),
        Refused<404>, Refused<409>, Refused<413>, Refused<415>, Refused<422>,
    )
)]
pub(super) async fn change(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Id,
    body: Given,
) -> Answer<AccountView> {
    let id = id(path)?;
    alter(&node, &caller, Kind::Account, &id, given(body)?).await?;
    Ok(Json(find(&node, &id)?))
}

/// Deletes an account
///
/// Refused while an environment names it.
#[utoipa::path(
    delete, path = "/api/v1/accounts/{id}", tag = "accounts", operation_id = "delete_account",
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
    discard(&node, &caller, Kind::Account, &id(path)?).await
}

fn views(node: &Node) -> Vec<AccountView> {
    node.settings.accounts().into_iter().map(AccountView::new).collect()
}

fn find(node: &Node, id: &str) -> Result<AccountView, Problem> {
    let found = views(node).into_iter().find(|view| view.id() == id);
    found.ok_or_else(|| not_found("account", id))
}

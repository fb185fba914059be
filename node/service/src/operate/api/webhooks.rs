//! Webhooks: who is told what happens, what they were told, and what they said.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::super::auth::Caller;
use super::refusals::Refused;
use super::settings::{
    Created, Given, Id, alter, created, discard, given, id, make, not_found, page_of, refused,
};
use super::{Answer, Api, LIMIT_DEFAULT, LIMIT_MAX, RETRY_S, bad_path, problem};
use crate::digest;
use crate::node::Node;
use crate::problem::Problem;
use crate::settings::{From, Kind, Origin, WebhookBody};
use crate::webhooks::event::{Event, Format};
use crate::webhooks::{Delivery, Keys, Webhook, WebhookError, sign};

/// Bytes of randomness in an id that nobody gave.
const ID_BYTES: usize = 8;

/// A webhook. Its secrets are never shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookView {
    /// Identifies it.
    pub id: String,
    /// The environment whose recordings it hears of.
    pub env_id: String,
    /// Where to.
    pub url: String,
    /// What it hears of; of everything where there is none.
    pub events: BTreeSet<Event>,
    /// As JSON, or as the form field `payload`.
    pub format: Format,
    /// Whether it is set to be told anything.
    pub enabled: bool,
    /// When its receiver said that it is gone for good (410). Nothing is sent until a ping is answered
    /// or it is enabled anew.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub gone_at: Option<Timestamp>,
    /// How much waits to be delivered.
    pub waiting: u64,
    /// Whether `X-Pipe-Signature` has a key of its own.
    pub has_pipe_key: bool,
    /// Until when requests are signed with the secret before as well.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub old_secret_until: Option<Timestamp>,
    /// Where it comes from.
    pub origin: Origin,
}

/// A webhook with its secret, which is shown this once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookWithSecret {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: WebhookView,
    /// What its requests are signed with.
    pub secret: String,
}

impl WebhookView {
    fn new(node: &Node, From { origin, of }: From<Arc<Webhook>>) -> Result<Self, Problem> {
        let health = node.webhooks.health(node, &of.id).map_err(|error| problem(&error))?;
        let now = node.clock.now();
        let (has_pipe_key, old) = match &of.keys {
            Keys::Files { pipe_key_file, .. } => (pipe_key_file.is_some(), None),
            Keys::Sealed { pipe_key, old, .. } => {
                (pipe_key.is_some(), old.as_ref().map(|(_, until)| *until))
            }
        };
        let Webhook { id, env_id, url, events, format, enabled, .. } = Webhook::clone(&of);
        Ok(Self {
            id,
            env_id,
            url,
            events,
            format,
            enabled,
            gone_at: health.gone_at,
            waiting: health.waiting,
            has_pipe_key,
            old_secret_until: old.filter(|until| now < *until),
            origin,
        })
    }
}

/// A page of webhooks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhooksView {
    /// The webhooks, by id.
    pub webhooks: Vec<WebhookView>,
    /// The cursor to go on with; nothing when there are no more.
    pub next: Option<String>,
}

/// A page of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveriesView {
    /// What was sent, or is to be, newest first.
    pub deliveries: Vec<Delivery>,
    /// The cursor to go on with; nothing when there are no more.
    pub next: Option<String>,
}

/// Which webhooks.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WebhooksQuery {
    /// Most things on the page, 1 to 200; 50 where it is not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// Where to go on: the `next` of the page before.
    cursor: Option<String>,
    /// Only those of this environment.
    env_id: Option<String>,
}

/// Which deliveries.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveriesQuery {
    /// Most things on the page, 1 to 200; 50 where it is not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// Where to go on: the `next` of the page before.
    cursor: Option<String>,
}

/// Lists webhooks
#[utoipa::path(
    get, path = "/api/v1/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    params(WebhooksQuery),
    responses(
        (status = 200, description = "A page", body = WebhooksView),
    )
)]
pub(super) async fn list(
    State(Api { node, .. }): State<Api>,
    asked: Result<Query<WebhooksQuery>, QueryRejection>,
) -> Answer<WebhooksView> {
    let Query(asked) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let all = node.settings.webhooks().into_iter();
    let fits = |env_id: &str| asked.env_id.as_deref().is_none_or(|wanted| wanted == env_id);
    let all = all.filter(|found| fits(&found.of.env_id)).collect();
    let (hooks, next) = page_of(all, |found| &found.of.id, asked.limit, asked.cursor.as_deref())?;
    let views = hooks.into_iter().map(|found| WebhookView::new(&node, found));
    Ok(Json(WebhooksView { webhooks: views.collect::<Result<_, _>>()?, next }))
}

/// Shows a webhook
#[utoipa::path(
    get, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "show_webhook",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The webhook", body = WebhookView),
        Refused<404>,
    )
)]
pub(super) async fn show(State(Api { node, .. }): State<Api>, path: Id) -> Answer<WebhookView> {
    Ok(Json(find(&node, &id(path)?)?))
}

/// Makes a webhook
///
/// The answer has its secret: this once.
#[utoipa::path(
    post, path = "/api/v1/webhooks", tag = "webhooks", operation_id = "create_webhook",
    request_body = WebhookBody,
    responses(
        (status = 201, description = "Made", body = WebhookWithSecret, headers(("location" = String))),
        Refused<409>, Refused<413>, Refused<415>, Refused<422>,
    )
)]
pub(super) async fn create(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Given,
) -> Created<WebhookWithSecret> {
    let mut given = given(body)?;
    if given.get("id").is_none_or(Value::is_null) {
        given.insert("id".into(), new_id()?.into());
    }
    if given.get("secret").is_none_or(Value::is_null) {
        let secret = sign::new_secret().map_err(Problem::internal)?;
        given.insert("secret".into(), secret.as_str().into());
    }
    let secret = given["secret"].as_str().unwrap_or_default().to_owned();
    let id = make(&node, &caller, Kind::Webhook, given).await?;
    created("webhooks", &id, WebhookWithSecret { webhook: find(&node, &id)?, secret })
}

/// Changes a webhook
///
/// A JSON merge patch: members that are named take their new value, `null` their default. Naming
/// `enabled` or `url` also takes back that its receiver is gone.
#[utoipa::path(
    patch, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "change_webhook",
    params(("id" = String, Path, description = "Its id")),
    request_body(content = Object, description = "Members to change"),
    responses(
        (status = 200, description = "The webhook as it is now", body = WebhookView),
        Refused<404>, Refused<409>, Refused<413>, Refused<415>, Refused<422>,
    )
)]
pub(super) async fn change(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Id,
    body: Given,
) -> Answer<WebhookView> {
    let (id, patch) = (id(path)?, given(body)?);
    let mends = patch.get("enabled") == Some(&Value::Bool(true)) || patch.contains_key("url");
    alter(&node, &caller, Kind::Webhook, &id, patch).await?;
    if mends {
        let mended = node.webhooks.mend(&node, &caller.name, &id).await;
        mended.map_err(|error| problem(&error))?;
    }
    Ok(Json(find(&node, &id)?))
}

/// Deletes a webhook
///
/// What waits to be delivered to it goes with it.
#[utoipa::path(
    delete, path = "/api/v1/webhooks/{id}", tag = "webhooks", operation_id = "delete_webhook",
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
    discard(&node, &caller, Kind::Webhook, &id(path)?).await
}

/// Gives a webhook a new secret
///
/// The answer has it: this once. Requests are signed with the old one as well for 24 hours.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{id}/rotate-secret", tag = "webhooks",
    operation_id = "rotate_webhook_secret",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "The webhook, with its new secret", body = WebhookWithSecret),
        Refused<404>, Refused<409>,
    )
)]
pub(super) async fn rotate_secret(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Id,
) -> Answer<WebhookWithSecret> {
    let id = id(path)?;
    let secret = node.settings.rotate(&node, &caller.name, &id).await.map_err(refused)?;
    tracing::info!(webhook = id, by = caller.name, "its secret was renewed");
    let secret = secret.as_str().to_owned();
    Ok(Json(WebhookWithSecret { webhook: find(&node, &id)?, secret }))
}

/// Tries a webhook out
///
/// Sends it something that it may ignore, and answers with what came of it. One that takes it is told
/// again what happens, even if it said before that it is gone.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{id}/ping", tag = "webhooks", operation_id = "ping_webhook",
    params(("id" = String, Path, description = "Its id")),
    responses(
        (status = 200, description = "What came of it", body = Delivery),
        Refused<404>, Refused<409>,
    )
)]
pub(super) async fn ping(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Id,
) -> Answer<Delivery> {
    let id = id(path)?;
    let pinged = node.webhooks.ping(&node, &caller.name, &id).await;
    Ok(Json(pinged.map_err(|error| webhook_problem(&error))?))
}

/// Lists what was sent to a webhook
///
/// Newest first. What ended is kept for 30 days, and at most 10,000 of it.
#[utoipa::path(
    get, path = "/api/v1/webhooks/{id}/deliveries", tag = "webhooks", operation_id = "list_deliveries",
    params(("id" = String, Path, description = "The webhook's id"), DeliveriesQuery),
    responses(
        (status = 200, description = "A page", body = DeliveriesView),
        Refused<404>,
    )
)]
pub(super) async fn deliveries(
    State(Api { node, .. }): State<Api>,
    path: Id,
    asked: Result<Query<DeliveriesQuery>, QueryRejection>,
) -> Answer<DeliveriesView> {
    let id = id(path)?;
    node.settings.webhook(&id).ok_or_else(|| not_found("webhook", &id))?;
    let Query(asked) = asked.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit={limit}: must be 1 to {LIMIT_MAX}")));
    }
    let cursor = asked.cursor.as_deref().map(str::parse).transpose();
    let cursor = cursor.map_err(|error| Problem::bad_request(format!("cursor: {error}")))?;
    let found = node.webhooks.deliveries(&node, &id, cursor, limit);
    let (deliveries, next) = found.map_err(|error| problem(&error))?;
    Ok(Json(DeliveriesView { deliveries, next: next.map(|next| next.to_string()) }))
}

/// Sends something once more, now
///
/// What waits is tried at once, and then goes on as before. What was delivered or given up is tried
/// once. Refused for what waits behind another one of its recording, and while the webhook is off.
#[utoipa::path(
    post, path = "/api/v1/webhooks/{id}/deliveries/{delivery}/redeliver", tag = "webhooks",
    operation_id = "redeliver",
    params(
        ("id" = String, Path, description = "The webhook's id"),
        ("delivery" = String, Path, description = "The delivery's id"),
    ),
    responses(
        (status = 202, description = "It is sent", body = Delivery),
        Refused<404>, Refused<409>,
    )
)]
pub(super) async fn redeliver(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<(StatusCode, Json<Delivery>), Problem> {
    let Path((id, delivery)) = path.map_err(bad_path)?;
    let sent = node.webhooks.redeliver(&node, &id, &delivery).await;
    let sent = sent.map_err(|error| webhook_problem(&error))?;
    tracing::info!(webhook = id, delivery, by = caller.name, "sent once more");
    Ok((StatusCode::ACCEPTED, Json(sent)))
}

fn find(node: &Node, id: &str) -> Result<WebhookView, Problem> {
    let found = node.settings.webhook(id).ok_or_else(|| not_found("webhook", id))?;
    WebhookView::new(node, found)
}

fn new_id() -> Result<String, Problem> {
    let mut bytes = [0; ID_BYTES];
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    filled.map_err(|_| Problem::internal("the system gives no random numbers"))?;
    Ok(format!("hook-{}", digest::hex(&bytes)))
}

fn webhook_problem(error: &WebhookError) -> Problem {
    match error {
        WebhookError::NoSuchWebhook(_) | WebhookError::NoSuchDelivery(_) => {
            Problem::not_found(error.to_string())
        }
        WebhookError::Conflict(_) => Problem::conflict(error.to_string()),
        WebhookError::Busy => Problem::unavailable(error.to_string()).retry_after_s(RETRY_S),
        WebhookError::Ledger(error) => problem(error),
    }
}

//! The API's description: OpenAPI 3.1, made from the handlers themselves.
//!
//! What every call has in common (its key, what any call is refused with, `Idempotency-Key`) is
//! added here, so that a new route need only say what is its own.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{OpenApi as Description, PathItem, RefOr, Required, Schema};
use utoipa_axum::router::OpenApiRouter;

use super::super::auth::{PIPE_AUTH, Scope};
use super::super::health;
use super::refusals::{OF_ANY, OF_REPEATABLE, refusal};
use super::{described, described_v1};
use crate::problem::Problem;

/// The scheme of keys of the API.
pub(super) const KEY: &str = "key";
/// The scheme of the same keys in version 1.
pub(super) const PIPE_KEY: &str = "pipe_key";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Holdfast",
        version = "1",
        description = "Takes in video recordings, delivers them and deletes them by exact rules. \
            See docs/api.md for what the calls have in common, and docs/ingest.md for how recordings \
            come in (/api/v1/ingest/), which is for recorders, with their environment's hash, and no \
            key.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(health::live, health::ready, describe),
    components(schemas(Problem)),
    tags(
        (name = "recordings", description = "Recordings and their files"),
        (name = "policy", description = "What a changed rule would do"),
        (name = "environments", description = "Customers' settings"),
        (name = "accounts", description = "Whoever pays, or tries"),
        (name = "destinations", description = "Where recordings are pushed to"),
        (name = "keys", description = "Keys of the API"),
        (name = "webhooks", description = "Who is told what happens to recordings"),
        (name = "audit", description = "The signed log of deletions, holds, sign-ins and changes"),
        (name = "video", description = "Version 1, for integrations that speak it already"),
        (name = "node", description = "The node itself"),
    ),
)]
struct Document;

/// The API's description.
#[must_use]
pub fn openapi() -> Description {
    let calls: OpenApiRouter<_> = OpenApiRouter::with_openapi(Document::openapi());
    let mut whole = calls.merge(described()).merge(described_v1()).into_openapi();
    let components = whole.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme(KEY, SecurityScheme::Http(bearer));
    let header = ApiKey::Header(ApiKeyValue::new(PIPE_AUTH));
    components.add_security_scheme(PIPE_KEY, SecurityScheme::ApiKey(header));
    let strict = components.schemas.clone();
    components.schemas.values_mut().for_each(|schema| open_up(schema, &strict));
    for path in whole.paths.paths.values_mut() {
        operations(path).for_each(|(operation, is_post)| complete(operation, is_post));
    }
    whole
}

/// A thing that takes no other members cannot be a part of a larger one. Where it is, its members are
/// named in that place, and others may stand beside them.
fn open_up(schema: &mut RefOr<Schema>, strict: &BTreeMap<String, RefOr<Schema>>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::OneOf(one) => one.items.iter_mut().for_each(|item| open_up(item, strict)),
        Schema::AllOf(all) => {
            for item in &mut all.items {
                if let Some(open) = opened(item, strict) {
                    *item = open;
                }
            }
        }
        _ => {}
    }
}

fn opened(item: &RefOr<Schema>, strict: &BTreeMap<String, RefOr<Schema>>) -> Option<RefOr<Schema>> {
    let RefOr::Ref(reference) = item else { return None };
    let name = reference.ref_location.rsplit('/').next()?;
    let Some(RefOr::T(Schema::Object(object))) = strict.get(name) else { return None };
    object.additional_properties.as_ref()?;
    let mut open = object.clone();
    open.additional_properties = None;
    Some(RefOr::T(Schema::Object(open)))
}

/// `GET /api/v1/openapi.json`, for anyone: it says nothing of the node that the manual does not.
pub(super) fn router() -> Router {
    Router::new().route("/api/v1/openapi.json", get(describe))
}

/// Describes the API
///
/// No key is needed.
#[utoipa::path(
    get, path = "/api/v1/openapi.json", tag = "node", operation_id = "describe",
    responses((status = 200, description = "This document", body = Object))
)]
async fn describe() -> impl IntoResponse {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| serde_json::to_string(&openapi()).unwrap_or_default());
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], TEXT.as_str())
}

/// Says of these calls that they need a key with this scope.
pub(super) fn secure(calls: &mut Description, scheme: &str, scope: Scope) {
    for path in calls.paths.paths.values_mut() {
        for (operation, _) in operations(path) {
            operation.security = Some(vec![SecurityRequirement::new(scheme, [scope.as_str()])]);
        }
    }
}

fn operations(path: &mut PathItem) -> impl Iterator<Item = (&mut Operation, bool)> {
    let others = [&mut path.get, &mut path.put, &mut path.patch, &mut path.delete, &mut path.head];
    let others = others.into_iter().flatten().map(|operation| (operation, false));
    others.chain(path.post.as_mut().map(|operation| (operation, true)))
}

fn complete(operation: &mut Operation, is_post: bool) {
    let add = |status: u16, operation: &mut Operation| {
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_string()).or_insert_with(|| RefOr::T(refusal(status)));
    };
    if operation.security.is_none() {
        return;
    }
    OF_ANY.into_iter().for_each(|status| add(status, operation));
    if is_post {
        OF_REPEATABLE.into_iter().for_each(|status| add(status, operation));
        let key = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "Makes it safe to send the request again: it is carried out once, and answered \
                 alike for 24 hours. 1 to 255 visible ASCII characters; quotes around it are no part of it.",
            ))
            .schema(Some(
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .min_length(Some(1))
                    .max_length(Some(255))
                    .pattern(Some(r"^[!#-\[\]-~]+$"))
                    .build(),
            ));
        operation.parameters.get_or_insert_default().push(RefOr::T(key.build()));
    }
}

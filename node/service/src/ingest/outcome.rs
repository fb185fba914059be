//! What became of a recording, for whoever recorded it: playback, state, files.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use holdfast_core::names::Container;
use holdfast_core::recording::{FileKind, Recording};
use serde_json::json;

use super::Ingest;
use super::access::{Secrets, may_play};
use super::admit::failed;
use crate::operate::{files, view};
use crate::problem::Problem;

/// `GET /api/v1/ingest/playback/{id}/{secret}`: the raw bytes received so far.
pub(super) async fn playback(
    State(ingest): State<Arc<Ingest>>,
    Path((id, secret)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let recording = find(&ingest, &id)?;
    if !may_play(&recording, &secret) {
        return Err(unknown());
    }
    let raw = recording.file(FileKind::Raw).filter(|raw| raw.is_local());
    if raw.is_none() {
        return Err(Problem::gone(
            "the raw recording was deleted; see its state for the finished files",
        ));
    }
    let bytes = ingest.streams.received(recording.id).unwrap_or(recording.bytes);
    let lent = files::lend(&ingest.node, &recording, FileKind::Raw).await?;
    let media_type = recording.container.map_or("video/webm", Container::media_type);
    Ok(files::serve_file(&lent.path, Some(bytes), media_type, None, &headers, &method).await)
}

/// `GET /api/v1/ingest/recordings/{id}`
pub(super) async fn status(
    State(ingest): State<Arc<Ingest>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let recording = authorised(&ingest, &id, &headers)?;
    let base = format!("/api/v1/ingest/recordings/{id}/files");
    let progress = ingest.node.progress.get(recording.id);
    let pushing = ingest.node.pushing.transfers.of(recording.id);
    let view = view::view(&recording, progress, pushing, ingest.node.clock.now(), &base)
        .live(ingest.node.live.position_ms(recording.id))
        .on(&ingest.node.vault, &recording);
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(view)).into_response())
}

/// `GET /api/v1/ingest/recordings/{id}/files/{kind}`
pub(super) async fn file(
    State(ingest): State<Arc<Ingest>>,
    Path((id, kind)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let recording = authorised(&ingest, &id, &headers)?;
    let kind = files::kind_of(&kind)?;
    Ok(files::serve_recording_file(&ingest.node, &recording, kind, &headers, &method).await)
}

/// `GET /recorder/v1/demo.json`: the environment that the node's own page uses without asking.
pub(super) async fn demo(State(ingest): State<Arc<Ingest>>) -> Result<Response, Problem> {
    let node = &ingest.node;
    let demo = node.config.operate.demo_environment.as_deref();
    let demo = demo.and_then(|id| node.settings.environment(id));
    let demo =
        demo.ok_or_else(|| Problem::not_found("this node has no environment for trying out"))?;
    Ok(axum::Json(json!({ "env_id": demo.id, "env_hash": demo.hash })).into_response())
}

fn unknown() -> Problem {
    Problem::not_found("no such recording")
}

fn find(ingest: &Ingest, id: &str) -> Result<Recording, Problem> {
    let id = id.parse().map_err(|_| unknown())?;
    ingest.node.ledger.get(id).map_err(|error| failed(&error.into()))?.ok_or_else(unknown)
}

fn authorised(ingest: &Ingest, id: &str, headers: &HeaderMap) -> Result<Recording, Problem> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let recording = find(ingest, id);
    let opened = recording.ok().filter(|rec| token.is_some_and(|t| Secrets::of(rec, t).is_some()));
    opened.ok_or_else(|| Problem::unauthorized("the token of this recording is missing or wrong"))
}

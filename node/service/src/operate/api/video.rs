//! Version 1 of the REST API that existing integrations of this kind speak: `/video/…` with the header
//! `X-PIPE-AUTH`, modelled on Pipe's (addpipe.com). What differs is in `docs/api.md`.
//!
//! As there, numbers and yes or no are texts, and only recordings that were saved and not deleted are
//! shown.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Method;
use axum::{Extension, Json};
use holdfast_core::RecordingId;
use holdfast_core::recording::{FileKind, Recording};
use holdfast_core::{push_order, recording::State as Stage};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::auth::Caller;
use super::super::view::{FileView, RecordingView};
use super::recordings::{DeleteOutcome, Id, delete, find, shown};
use super::refusals::Refused;
use super::{Answer, Api, problem};
use crate::ledger::Filter;
use crate::problem::Problem;

/// Most videos in one answer, and as many where the request does not say.
const VIDEOS_MAX: usize = 1_000;
/// Recordings looked at in one go.
const PAGE: usize = 200;
/// Recordings looked at for one answer.
const LOOKED_AT_MAX: usize = 20_000;

/// A recording, as version 1 shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VideoView {
    /// Identifies it. A text without meaning, not a number.
    pub id: String,
    /// Its files' name at destinations, without ending.
    pub name: String,
    /// What its first bytes say it is.
    pub original_container: Option<String>,
    /// Length in seconds, with two places.
    pub length: Option<String>,
    /// When it was saved, in UTC: `2026-03-21 17:39:22`.
    pub datetime: String,
    /// The same.
    #[serde(rename = "datetimeAdjusted")]
    pub datetime_adjusted: String,
    /// Address it came from, as a number, where that is one of IPv4.
    pub ipv4: Option<String>,
    /// The browser's or app's name for itself.
    pub ua: Option<String>,
    /// Page on which it was recorded.
    pub http_referer: Option<String>,
    /// Whether what was to be made of it is made.
    pub converted: String,
    /// The same.
    pub transcoded: String,
    /// Size of the main file in bytes; of the raw file before there is one.
    pub size: String,
    /// Width in pixels.
    pub width: Option<String>,
    /// Height in pixels.
    pub height: Option<String>,
    /// Whether it has sound.
    #[serde(rename = "hasAudio")]
    pub has_audio: Option<String>,
    /// Whether it has sound only.
    pub audio_only: Option<String>,
    /// How it came in: `stream` or `upload`.
    pub source: String,
    /// Whether a file is at an FTP or FTPS server.
    pub ftped: String,
    /// Whether a file is in a bucket.
    pub s3ed: String,
    /// Whether a file is at an SFTP server.
    pub sftped: String,
    /// Whether a file is in Dropbox.
    pub dboxed: String,
    /// What the person or the client calls it.
    pub payload: String,
    /// Name of the camera.
    pub camera_name: Option<String>,
    /// Name of the microphone.
    pub microphone_name: Option<String>,
    /// Whether nothing of it stays once it is delivered.
    pub not_stored: String,
    /// Whether the original can be read.
    pub has_original: String,
    /// Whether the `.mp4` can be read.
    pub has_mp4: String,
    /// Whether the snapshot can be read.
    pub has_snapshot: String,
    /// Whether the filmstrip can be read.
    pub has_filmstrip: String,
    /// The environment it belongs to.
    pub env_id: String,
    /// The client never came back, and the node closed it as far as its bytes reach.
    pub recovered: String,
    /// Where it stands, in the words of `/api/v1`.
    pub state: String,
    /// SHA-256 of the main file in hex.
    pub checksum_sha256: Option<String>,
    /// Where to read the main file, on this node and with `Authorization: Bearer`.
    pub url: Option<String>,
    /// Where to read the snapshot, the same way.
    #[serde(rename = "snapshotURL")]
    pub snapshot_url: Option<String>,
    /// Where to read the filmstrip, the same way.
    #[serde(rename = "filmstripURL")]
    pub filmstrip_url: Option<String>,
}

/// An answer of version 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VideosView {
    /// `OK`.
    pub status: String,
    /// The same for people.
    pub message: String,
    /// The request's method.
    pub request_method: String,
    /// How many videos are in this answer.
    pub total_videos: usize,
    /// They, newest first.
    pub videos: Vec<VideoView>,
    /// The cursor to go on with; nothing when there are no more.
    pub next: Option<RecordingId>,
}

/// The answer to a deletion of version 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VideoDeletedView {
    /// `OK`.
    pub status: String,
    /// The same for people.
    pub message: String,
    /// `DELETE`.
    pub request_method: String,
}

/// How many videos, and from where on.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct VideosQuery {
    /// Most videos in the answer, 1 to 1,000; as many where it is not given.
    #[param(minimum = 1, maximum = 1_000)]
    limit: Option<usize>,
    /// Where to go on: the `next` of the answer before.
    #[param(format = "uuid")]
    cursor: Option<String>,
}

/// Lists videos
///
/// Newest first: those that were saved and are not deleted.
#[utoipa::path(
    get, path = "/video/all", tag = "video", operation_id = "list_videos",
    params(VideosQuery),
    responses((status = 200, description = "The videos", body = VideosView))
)]
pub(super) async fn list(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<VideosQuery>, QueryRejection>,
) -> Answer<VideosView> {
    let Query(query) = query.map_err(|error| Problem::bad_request(error.body_text()))?;
    let limit = query.limit.unwrap_or(VIDEOS_MAX);
    if !(1..=VIDEOS_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit={limit}: must be 1 to {VIDEOS_MAX}")));
    }
    let mut before = query
        .cursor
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|error| Problem::bad_request(format!("cursor: {error}")))?;
    let filter = Filter { env_ids: caller.env_ids, ..Filter::default() };
    let looking = tokio::task::spawn_blocking(move || {
        let (mut videos, mut looked_at) = (Vec::new(), 0);
        loop {
            let (page, next) = node.ledger.list(&filter, before, PAGE.min(limit - videos.len()))?;
            looked_at += page.len().max(1);
            let saved = page.iter().filter(|rec| is_shown(rec));
            videos.extend(saved.map(|rec| video(rec, &shown(&node, rec))));
            if next.is_none() || videos.len() >= limit || looked_at >= LOOKED_AT_MAX {
                return Ok((videos, next));
            }
            before = next;
        }
    });
    let (videos, next) = looking
        .await
        .map_err(|error| Problem::internal(format!("listing ended early: {error}")))?
        .map_err(|error| problem(&error))?;
    Ok(Json(answer(videos, next)))
}

/// Shows a video
#[utoipa::path(
    get, path = "/video/{id}", tag = "video", operation_id = "show_video",
    params(("id" = RecordingId, Path, description = "Its id")),
    responses((status = 200, description = "The video, alone in a list", body = VideosView), Refused<404>)
)]
pub(super) async fn show(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Id,
) -> Answer<VideosView> {
    let rec = find(&node, &caller, id)?;
    if !is_shown(&rec) {
        return Err(Problem::not_found(format!("no video {}", rec.id)));
    }
    Ok(Json(answer(vec![video(&rec, &shown(&node, &rec))], None)))
}

/// Deletes a video
#[utoipa::path(
    delete, path = "/video/{id}", tag = "video", operation_id = "delete_video",
    params(("id" = RecordingId, Path, description = "Its id")),
    responses(
        (status = 200, description = "It is deleted", body = VideoDeletedView),
        Refused<404>, Refused<409>,
    )
)]
pub(super) async fn remove(
    State(Api { node, .. }): State<Api>,
    Extension(caller): Extension<Caller>,
    method: Method,
    id: Id,
) -> Answer<VideoDeletedView> {
    let rec = find(&node, &caller, id)?;
    match delete(&node, &caller, rec.id).await? {
        DeleteOutcome::AlreadyGone => Err(Problem::not_found(format!("no video {}", rec.id))),
        DeleteOutcome::Deleted => Ok(Json(VideoDeletedView {
            status: "OK".into(),
            message: "Video deleted".into(),
            request_method: method.as_str().into(),
        })),
    }
}

/// Whether it is a video to version 1: saved, and not deleted.
fn is_shown(rec: &Recording) -> bool {
    rec.saved_at.is_some() && !rec.is_ended()
}

fn answer(videos: Vec<VideoView>, next: Option<RecordingId>) -> VideosView {
    VideosView {
        status: "OK".into(),
        message: "Request successful".into(),
        request_method: Method::GET.as_str().into(),
        total_videos: videos.len(),
        videos,
        next,
    }
}

fn video(rec: &Recording, view: &RecordingView) -> VideoView {
    let file = |kind| view.files.iter().find(|file| file.kind == kind);
    let url = |kind| file(kind).and_then(|file: &FileView| file.url.clone());
    let main_kind = push_order::main_kind(&rec.policy);
    let main = file(main_kind);
    let pushed_to = |schemes: &[&str]| {
        let mut pushes = rec.files.iter().flat_map(|file| &file.pushed);
        word(pushes.any(|push| schemes.iter().any(|scheme| push.location.starts_with(scheme))))
    };
    let is_made = main.is_some()
        && matches!(
            rec.state,
            Stage::Delivering | Stage::Stored | Stage::Delivered | Stage::Failed
        )
        && !rec.transcode.exhausted;
    let saved_at = rec.saved_at.unwrap_or(rec.received_at);
    let datetime = saved_at.strftime("%Y-%m-%d %H:%M:%S").to_string();
    let ip = rec.metadata.ip.as_deref().and_then(|ip| ip.parse::<std::net::Ipv4Addr>().ok());
    let media = view.media.as_ref();
    let facts = rec.media.as_ref();
    VideoView {
        id: rec.id.to_string(),
        name: view.name.clone(),
        original_container: word_of(view.container),
        length: media.map(|media| seconds(media.duration_ms)),
        datetime: datetime.clone(),
        datetime_adjusted: datetime,
        ipv4: ip.map(|ip| ip.to_bits().to_string()),
        ua: rec.metadata.user_agent.clone(),
        http_referer: rec.metadata.referrer.clone(),
        converted: word(is_made),
        transcoded: word(is_made),
        size: main.map_or(view.bytes, |main| main.bytes).to_string(),
        width: media.and_then(|media| media.width).map(|pixels| pixels.to_string()),
        height: media.and_then(|media| media.height).map(|pixels| pixels.to_string()),
        has_audio: facts.map(|facts| word(facts.audio.is_some())),
        audio_only: facts.map(|facts| word(facts.audio.is_some() && facts.video.is_none())),
        source: word_of(Some(view.source)).unwrap_or_default(),
        ftped: pushed_to(&["ftp://", "ftps://"]),
        s3ed: pushed_to(&["s3://"]),
        sftped: pushed_to(&["sftp://"]),
        dboxed: pushed_to(&["dropbox:"]),
        payload: rec.metadata.title.clone().unwrap_or_default(),
        camera_name: rec.metadata.camera.clone(),
        microphone_name: rec.metadata.microphone.clone(),
        not_stored: word(rec.policy.store_nothing),
        has_original: word(url(FileKind::Raw).is_some()),
        has_mp4: word(url(FileKind::Main).is_some()),
        has_snapshot: word(url(FileKind::Snapshot).is_some()),
        has_filmstrip: word(url(FileKind::Filmstrip).is_some()),
        env_id: view.env_id.clone(),
        recovered: word(view.recovered),
        state: rec.state.as_str().into(),
        checksum_sha256: main.and_then(|main| main.sha256.clone()),
        url: url(main_kind),
        snapshot_url: url(FileKind::Snapshot),
        filmstrip_url: url(FileKind::Filmstrip),
    }
}

/// Yes or no, as version 1 says it.
fn word(is_so: bool) -> String {
    if is_so { "1" } else { "0" }.into()
}

/// The word that the API has for something.
fn word_of(of: Option<impl Serialize>) -> Option<String> {
    serde_json::to_value(of).ok()?.as_str().map(str::to_owned)
}

/// Milliseconds as seconds with two places.
fn seconds(ms: u64) -> String {
    format!("{}.{:02}", ms / 1_000, ms % 1_000 / 10)
}

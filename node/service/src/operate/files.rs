//! Serving the files of a recording: from the vault, or from a destination that has them.
//!
//! Whatever was uploaded is untrusted: it is served under its sniffed type, with sniffing turned
//! off and in a sandbox, so that nothing in it runs in this node's name. A file is read in pieces,
//! off the async threads; memory does not grow with its size.

use std::io::{self, SeekFrom};
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use holdfast_core::names::{Container, at_destination, media_type};
use holdfast_core::push_order::{ORDER, main_kind};
use holdfast_core::recording::{File, FileKind, Recording, State};
use holdfast_core::retention::Rule;
use nix::fcntl::OFlag;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::range::{Asked, asked};
use super::view::is_deleted;
use crate::deliver::Located;
use crate::node::Node;
use crate::problem::Problem;

/// How much of a file is read at a time, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// A destination that keeps its files on a file system that hangs must not hang the node.
const OPEN_MS_MAX: u64 = 10_000;

/// Serves a file of a recording: from the vault, or else from a destination that has it.
///
/// Where no `.mp4` is made, the main file is the raw file.
pub async fn serve_recording_file(
    node: &Node,
    rec: &Recording,
    kind: FileKind,
    headers: &HeaderMap,
    method: &Method,
) -> Response {
    let kind = match kind {
        FileKind::Main if rec.file(kind).is_none() => main_kind(&rec.policy),
        _ => kind,
    };
    match find_and_serve(node, rec, kind, headers, method).await {
        Ok(mut response) => {
            if response.status().is_success() {
                let name = disposition(&rec.name, kind, rec.container);
                response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
            }
            response
        }
        Err(problem) => problem.into_response(),
    }
}

/// The kind of file that an address names by its word.
///
/// # Errors
/// 404, with the words that there are.
pub fn kind_of(word: &str) -> Result<FileKind, Problem> {
    FileKind::from_word(word).ok_or_else(|| {
        let kinds = ORDER.map(FileKind::as_str).join(", ");
        Problem::not_found(format!("no kind of file is called {word:?}; there are {kinds}"))
    })
}

/// Serves a file from disk, or the part of it that `Range` asks for.
///
/// Of a file that still grows only its first `size_limit` bytes exist. `etag` is the content's
/// digest, without quotes, where it is known that the file has it.
pub async fn serve_file(
    path: impl AsRef<Path>,
    size_limit: Option<u64>,
    media_type: &str,
    etag: Option<String>,
    headers: &HeaderMap,
    method: &Method,
) -> Response {
    let path = path.as_ref();
    match try_serve_file(path, size_limit, media_type, etag, headers, method).await {
        Ok(response) => response,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Problem::gone("this file is not here any more").into_response()
        }
        Err(error) => unreadable(path, &error).into_response(),
    }
}

async fn find_and_serve(
    node: &Node,
    rec: &Recording,
    kind: FileKind,
    headers: &HeaderMap,
    method: &Method,
) -> Result<Response, Problem> {
    let Some(file) = rec.file(kind) else { return Err(not_made(rec, kind)) };
    if is_deleted(rec) {
        return Err(gone(rec, file));
    }
    let media_type = media_type(kind, rec.container);
    if file.is_local() {
        let path = node.vault.file(rec.id, kind);
        let grows = kind == FileKind::Raw && rec.state == State::Receiving;
        let limit = grows.then_some(rec.bytes);
        let etag = file.sha256.clone();
        match try_serve_file(&path, limit, media_type, etag, headers, method).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            served => return served.map_err(|error| unreadable(&path, &error)),
        }
    }
    from_destinations(node, rec, file, headers, method).await
}

/// Serves a file from the first destination that can say where it is.
async fn from_destinations(
    node: &Node,
    rec: &Recording,
    file: &File,
    headers: &HeaderMap,
    method: &Method,
) -> Result<Response, Problem> {
    let media_type = media_type(file.kind, rec.container);
    let mut problem = None;
    for pushed in &file.pushed {
        let Some(destination) = node.destinations.get(&pushed.destination) else { continue };
        let path = match destination.locate(&pushed.location) {
            Ok(Located::Url(url)) => return redirect(&url),
            Ok(Located::Path(path)) => path,
            Err(error) => {
                tracing::warn!(recording = %rec.id, "cannot locate a pushed file: {error}");
                problem = Some(Problem::unavailable(error.sentence));
                continue;
            }
        };
        // No ETag: what others did to the file over there is unknown here.
        match try_serve_file(&path, None, media_type, None, headers, method).await {
            Ok(response) => return Ok(response),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(recording = %rec.id, path = %path.display(), "cannot read: {error}");
                let detail = format!("destination {} cannot be read now", pushed.destination);
                problem = Some(Problem::unavailable(detail));
            }
        }
    }
    Err(problem.unwrap_or_else(|| gone(rec, file)))
}

async fn try_serve_file(
    path: &Path,
    size_limit: Option<u64>,
    media_type: &str,
    etag: Option<String>,
    headers: &HeaderMap,
    method: &Method,
) -> io::Result<Response> {
    let (file, len) = open(path).await?;
    let size = len.min(size_limit.unwrap_or(u64::MAX));
    let etag = etag.and_then(|digest| HeaderValue::try_from(format!("\"{digest}\"")).ok());
    let (status, start, bytes) = match asked(headers, size, etag.as_ref()) {
        Asked::Whole => (StatusCode::OK, 0, size),
        Asked::Part(part) => (StatusCode::PARTIAL_CONTENT, part.start, part.end - part.start),
        Asked::Beyond => return Ok(beyond(size)),
    };
    let body =
        if method == Method::HEAD { Body::empty() } else { body(file, start, bytes).await? };
    let mut response = (status, body).into_response();
    let out = response.headers_mut();
    out.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    if status == StatusCode::PARTIAL_CONTENT {
        let last = start + bytes - 1;
        if let Ok(value) = HeaderValue::try_from(format!("bytes {start}-{last}/{size}")) {
            out.insert(header::CONTENT_RANGE, value);
        }
    }
    let fallback = HeaderValue::from_static("application/octet-stream");
    let media_type = HeaderValue::from_str(media_type).unwrap_or(fallback);
    out.insert(header::CONTENT_TYPE, media_type);
    if let Some(etag) = etag {
        out.insert(header::ETAG, etag);
    }
    guard(out);
    Ok(response)
}

fn guard(headers: &mut HeaderMap) {
    let fixed: [(HeaderName, &'static str); 5] = [
        (header::ACCEPT_RANGES, "bytes"),
        (header::CACHE_CONTROL, "private, no-store"),
        (header::CONTENT_DISPOSITION, "inline"),
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Opens a regular file; answers with its size in bytes.
async fn open(path: &Path) -> io::Result<(tokio::fs::File, u64)> {
    let opening = async {
        let mut options = tokio::fs::OpenOptions::new();
        // What others put in its place at a destination, a pipe or a link, must not hold up the
        // thread or lead elsewhere.
        options.read(true).custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits());
        let file = options.open(path).await?;
        let metadata = file.metadata().await?;
        if metadata.is_file() { Ok((file, metadata.len())) } else { Err(not_a_file()) }
    };
    let limit = Duration::from_millis(OPEN_MS_MAX);
    tokio::time::timeout(limit, opening).await.map_err(|_| io::ErrorKind::TimedOut)?
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a regular file")
}

async fn body(mut file: tokio::fs::File, start: u64, bytes: u64) -> io::Result<Body> {
    file.set_max_buf_size(PIECE_BYTES);
    file.seek(SeekFrom::Start(start)).await?;
    Ok(Body::from_stream(ReaderStream::with_capacity(file.take(bytes), PIECE_BYTES)))
}

fn beyond(size: u64) -> Response {
    let mut problem =
        Problem::range_not_satisfiable(format!("the file has {size} bytes; ask for a part of it"))
            .into_response();
    if let Ok(value) = HeaderValue::try_from(format!("bytes */{size}")) {
        problem.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    problem
}

fn redirect(url: &str) -> Result<Response, Problem> {
    let location = HeaderValue::try_from(url)
        .map_err(|_| Problem::internal("the destination handed out an address that is none"))?;
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    Ok((StatusCode::FOUND, headers).into_response())
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    tracing::error!(path = %path.display(), "cannot read a recording's file: {error}");
    Problem::internal("the file cannot be read; the node's log says more")
}

fn not_made(rec: &Recording, kind: FileKind) -> Problem {
    let (id, kind, state) = (rec.id, kind.as_str(), rec.state.as_str());
    let yet = if rec.is_in_progress() { " yet" } else { "" };
    Problem::not_found(format!("recording {id} ({state}) has no {kind} file{yet}"))
}

fn gone(rec: &Recording, file: &File) -> Problem {
    let (id, kind) = (rec.id, file.kind.as_str());
    let rule = match (&file.doomed, rec.state) {
        (Some(doom), _) => Some(doom.rule),
        (None, State::Deleted) => Some(Rule::Requested),
        (None, State::Garbage) => Some(Rule::Garbage),
        (None, _) => None,
    };
    let at = file.deleted_at.or(file.doomed.as_ref().map(|doom| doom.at));
    let detail = match (rule, at) {
        (Some(rule), Some(at)) => {
            format!("the {kind} file of recording {id} was deleted at {at} by {}", rule.describe())
        }
        (Some(rule), None) => {
            format!("the {kind} file of recording {id} is being deleted by {}", rule.describe())
        }
        (None, _) => format!("the {kind} file of recording {id} is missing from this node"),
    };
    let elsewhere: Vec<&str> = file.pushed.iter().map(|to| to.destination.as_str()).collect();
    Problem::gone(if elsewhere.is_empty() {
        detail
    } else {
        format!("{detail}; it was pushed to {}", elsewhere.join(", "))
    })
}

/// `inline`, under the name that the file has at a destination, in plain ASCII.
fn disposition(name: &str, kind: FileKind, raw: Option<Container>) -> HeaderValue {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._- ".contains(c) { c } else { '_' };
    let name: String = at_destination("", name, kind, raw).chars().map(plain).collect();
    HeaderValue::try_from(format!("inline; filename=\"{name}\""))
        .unwrap_or(HeaderValue::from_static("inline"))
}

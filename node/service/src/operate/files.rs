//! Serving the files of a recording: from the vault, or from a destination that has them.
//!
//! Whatever was uploaded is untrusted: it is served under its sniffed type, with sniffing turned
//! off and in a sandbox, so that nothing in it runs in this node's name. A file is read in pieces,
//! off the async threads, or taken from a store in pieces; memory does not grow with its size.

use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use holdfast_core::names::{Container, at_destination, media_type};
use holdfast_core::push_order::{ORDER, main_kind};
use holdfast_core::recording::{File, FileKind, Pushed, Recording, State};
use holdfast_core::retention::Rule;
use nix::fcntl::OFlag;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use super::range::{Asked, Wanted, asked};
use super::view::is_deleted;
use crate::deliver::{Destination, Pieces, PushError, Reading};
use crate::node::{Node, NodeError};
use crate::problem::Problem;
use crate::vault::erasure::Lent;
use crate::vault::{Home, VaultError};

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
        let Lent { path, lease: _lease } = match lend(node, rec, kind).await {
            Ok(lent) => lent,
            Err(problem) => {
                let elsewhere = from_destinations(node, rec, file, headers, method).await;
                return elsewhere.map_err(|_| problem);
            }
        };
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

/// What to say of a file on a volume that is away.
fn away(error: &VaultError) -> String {
    format!("this file cannot be read now: {error}. Nothing of it is lost; try again later")
}

/// Where a file of a recording lies in the vault, for as long as it takes to open it.
///
/// # Errors
/// Where its volume is away, or its key cannot be had.
pub(crate) async fn lend(node: &Node, rec: &Recording, kind: FileKind) -> Result<Lent, Problem> {
    let home = Home::from(rec);
    node.with_vault(move |vault| vault.lend(home, kind)).await.map_err(|error| match error {
        NodeError::Vault(error) if error.is_away() => Problem::unavailable(away(&error)),
        error => {
            tracing::error!(recording = %rec.id, "cannot read a recording's file: {error}");
            Problem::unavailable("this file cannot be read now; the node's log says more")
        }
    })
}

/// Serves a file from the first destination that can be read.
///
/// What lies at a store comes through this node: pages may only ask this node, and the store may be
/// reachable from here only.
async fn from_destinations(
    node: &Node,
    rec: &Recording,
    file: &File,
    headers: &HeaderMap,
    method: &Method,
) -> Result<Response, Problem> {
    let media_type = media_type(file.kind, rec.container);
    let mut problem = None;
    let mut without = Vec::new();
    for pushed in &file.pushed {
        let Some(destination) = node.settings.destination(&pushed.destination) else { continue };
        match from_destination(&*destination, pushed, file, media_type, headers, method).await {
            Ok(Some(response)) => return Ok(response),
            Ok(None) => without.push(pushed.destination.as_str()),
            Err(failed) => {
                tracing::warn!(recording = %rec.id, "cannot read what was pushed: {}", failed.detail);
                problem = Some(failed);
            }
        }
    }
    Err(problem.unwrap_or_else(|| {
        let mut gone = gone(rec, file);
        if !without.is_empty() {
            let names = without.join(", ");
            gone.detail.push_str(&format!("; it is not there any more: {names}"));
        }
        gone
    }))
}

/// `None` where the destination has it no more.
async fn from_destination(
    destination: &dyn Destination,
    pushed: &Pushed,
    file: &File,
    media_type: &str,
    headers: &HeaderMap,
    method: &Method,
) -> Result<Option<Response>, Problem> {
    // No ETag: what others did to the file over there is unknown here.
    let wanted = Wanted::read(headers, None);
    let range = wanted.map(|wanted| wanted.to_string());
    let reading = destination.read(&pushed.location, range.as_deref()).await;
    let (part, size, pieces) =
        match reading.map_err(|error| Problem::bad_gateway(error.sentence))? {
            Reading::Path(path) => {
                return match try_serve_file(&path, None, media_type, None, headers, method).await {
                    Ok(response) => Ok(Some(response)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(error) => {
                        tracing::warn!(path = %path.display(), "cannot read: {error}");
                        let name = &pushed.destination;
                        let detail = format!("destination {name} cannot be read now");
                        Err(Problem::unavailable(detail))
                    }
                };
            }
            Reading::Gone => return Ok(None),
            Reading::Beyond { size } => return Ok(Some(beyond(size.unwrap_or(file.bytes)))),
            Reading::Whole { size, pieces } => (None, size, pieces),
            Reading::Part { part, size, pieces } => (Some(part), size, pieces),
        };
    // A store may leave a range out of account, but not answer with another one.
    if let Some(part) = &part
        && wanted.map(|wanted| wanted.of(size)) != Some(Asked::Part(part.clone()))
    {
        let name = &pushed.destination;
        let detail = format!("destination {name} answers with another part than it was asked for");
        return Err(Problem::bad_gateway(detail));
    }
    let body =
        if method == Method::HEAD { Body::empty() } else { Body::from_stream(logged(pieces)) };
    Ok(Some(respond(part.as_ref(), size, media_type, None, body)))
}

/// Once the answer has begun, only the log can say why it broke off.
fn logged(pieces: Pieces) -> impl Stream<Item = Result<Bytes, PushError>> {
    pieces.inspect_err(|error| tracing::warn!("a file broke off on its way through: {error}"))
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
    let part = match asked(headers, size, etag.as_ref()) {
        Asked::Whole => None,
        Asked::Part(part) => Some(part),
        Asked::Beyond => return Ok(beyond(size)),
    };
    let Range { start, end } = part.clone().unwrap_or(0..size);
    let body =
        if method == Method::HEAD { Body::empty() } else { body(file, start, end - start).await? };
    Ok(respond(part.as_ref(), size, media_type, etag, body))
}

/// Answers with a file of `size` bytes, or with a part of it, at least one byte.
fn respond(
    part: Option<&Range<u64>>,
    size: u64,
    media_type: &str,
    etag: Option<HeaderValue>,
    body: Body,
) -> Response {
    let mut response = body.into_response();
    let bytes = part.map_or(size, |part| part.end - part.start);
    if let Some(&Range { start, end }) = part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = end - 1;
        if let Ok(value) = HeaderValue::try_from(format!("bytes {start}-{last}/{size}")) {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    let out = response.headers_mut();
    out.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    let fallback = HeaderValue::from_static("application/octet-stream");
    let media_type = HeaderValue::from_str(media_type).unwrap_or(fallback);
    out.insert(header::CONTENT_TYPE, media_type);
    if let Some(etag) = etag {
        out.insert(header::ETAG, etag);
    }
    guard(out);
    response
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
        (Some(rule), _) if rec.hold.is_some() && file.deleted_at.is_none() => format!(
            "the {kind} file of recording {id} was to go by {}; since then a legal hold keeps it, for whoever \
             has the node's disks: lift the hold, and it goes",
            rule.describe()
        ),
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

//! Uploads of finished files: the body, or a form with the file in it.
//!
//! Memory is flat: at most two pieces of [`PIECE_BYTES`] are held, one being filled from the line
//! while the other is written and digested. Nothing touches the disk or the ledger before the first
//! bytes were found to be a recording's.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{ConnectInfo, FromRequest, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::stream::{Fuse, unfold};
use futures_util::{Stream, StreamExt};
use holdfast_core::Event;
use holdfast_core::names::Container;
use holdfast_core::recording::Source;
use holdfast_core::sniff;
use serde::{Deserialize, Serialize};
use tokio::task::JoinError;

use super::Ingest;
use super::admit::{Admitted, failed, metadata};
use super::messages::ClientMetadata;
use crate::blocking;
use crate::digest::Sha256;
use crate::problem::Problem;
use crate::vault::{Home, VaultFile};

/// Bytes that are written and digested at a time.
const PIECE_BYTES: usize = 1 << 20;
/// Largest form field other than the file, in bytes.
const FIELD_BYTES_MAX: usize = 1024;
/// Most bytes of a form before its file, in bytes: the parser keeps them in memory.
const BEFORE_FILE_BYTES_MAX: u64 = 1 << 20;
/// Most form fields before the file.
const FIELDS_MAX: usize = 8;

/// Whose recording it is.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claim {
    env_id: Option<String>,
    env_hash: Option<String>,
    name: Option<String>,
}

#[derive(Debug, Serialize)]
struct Accepted {
    id: String,
    state: &'static str,
    bytes: u64,
    sha256: String,
    token: String,
    status_url: String,
}

type Pieces = Fuse<Pin<Box<dyn Stream<Item = Result<Bytes, Problem>> + Send>>>;

fn pieces(stream: impl Stream<Item = Result<Bytes, Problem>> + Send + 'static) -> Pieces {
    let boxed: Pin<Box<dyn Stream<Item = Result<Bytes, Problem>> + Send>> = Box::pin(stream);
    boxed.fuse()
}

fn of_body(body: Body) -> Pieces {
    pieces(body.into_data_stream().map(|piece| piece.map_err(|error| cut_short(&error))))
}

/// `POST` or `PUT /api/v1/ingest/upload`
pub(super) async fn upload(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    claim: Result<Query<Claim>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    let claim = match claim {
        Ok(Query(claim)) => claim,
        Err(error) => return Problem::bad_request(error.body_text()).into_response(),
    };
    let kind =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let done = if kind.starts_with("multipart/form-data") {
        form(&ingest, peer, &headers, claim, request).await
    } else {
        body(&ingest, peer, &headers, claim, request).await
    };
    done.unwrap_or_else(IntoResponse::into_response)
}

async fn body(
    ingest: &Arc<Ingest>,
    peer: SocketAddr,
    headers: &HeaderMap,
    claim: Claim,
    request: Request,
) -> Result<Response, Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok());
    let mut pieces = of_body(request.into_body());
    Box::pin(receive(ingest, peer, headers, claim, length, &mut pieces)).await
}

async fn form(
    ingest: &Arc<Ingest>,
    peer: SocketAddr,
    headers: &HeaderMap,
    mut claim: Claim,
    request: Request,
) -> Result<Response, Problem> {
    let budget = Arc::new(AtomicU64::new(BEFORE_FILE_BYTES_MAX));
    let request = within(request, &budget);
    let stall = Duration::from_millis(ingest.node.config.ingest.stall_ms_max);
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| Problem::bad_request(format!("malformed form: {}", error.body_text())))?;
    for _ in 0..FIELDS_MAX {
        let next = in_time(stall, form.next_field()).await?;
        let Some(mut field) = next.map_err(|e| malformed(&e))? else { break };
        let name = field.name().unwrap_or("").to_owned();
        if name == "file" {
            let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, Problem>>(1);
            // The field borrows the form, so it is read here while its pieces are taken there.
            let receiving = async {
                let mut pieces = pieces(unfold(receiver, async |mut receiver| {
                    receiver.recv().await.map(|piece| (piece, receiver))
                }));
                Box::pin(receive(ingest, peer, headers, claim, None, &mut pieces)).await
            };
            budget.store(u64::MAX, Ordering::Relaxed);
            let mut receiving = pin!(receiving);
            return tokio::select! {
                result = &mut receiving => result,
                () = pump(&mut field, sender) => receiving.await,
            };
        }
        let mut value = BytesMut::new();
        while let Some(piece) = in_time(stall, field.chunk()).await?.map_err(|e| malformed(&e))? {
            value.extend_from_slice(&piece);
            if value.len() > FIELD_BYTES_MAX {
                return Err(Problem::bad_request(format!(
                    "the field {name:?} is longer than {FIELD_BYTES_MAX} bytes"
                )));
            }
        }
        let value = String::from_utf8(value.to_vec())
            .map_err(|_| Problem::bad_request(format!("the field {name:?} is not UTF-8")))?;
        match name.as_str() {
            "env_id" => claim.env_id = Some(value),
            "env_hash" => claim.env_hash = Some(value),
            "name" => claim.name = Some(value),
            _ => {
                return Err(Problem::bad_request(format!(
                    "unknown field {name:?}; known are env_id, env_hash, name, file"
                )));
            }
        }
    }
    Err(Problem::bad_request("the form has no field \"file\"; put it after env_id and env_hash"))
}

/// Ends a body that is longer than what is left of a budget.
fn within(request: Request, budget: &Arc<AtomicU64>) -> Request {
    let budget = Arc::clone(budget);
    let (parts, body) = request.into_parts();
    let counted = body.into_data_stream().map(move |piece| {
        let piece = piece?;
        let length = piece.len() as u64;
        let take = |left: u64| left.checked_sub(length);
        match budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(piece),
            Err(_) => Err(axum::Error::new("too much before the file")),
        }
    });
    Request::from_parts(parts, Body::from_stream(counted))
}

async fn in_time<T>(stall: Duration, next: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::time::timeout(stall, next).await.map_err(|_| {
        Problem::stalled(format!("nothing came for {} ms; send it again", stall.as_millis()))
    })
}

/// Hands the file's pieces over, until nobody takes them.
async fn pump(field: &mut Field<'_>, pieces: tokio::sync::mpsc::Sender<Result<Bytes, Problem>>) {
    while let Some(piece) = field.chunk().await.transpose() {
        let ended = piece.is_err();
        if pieces.send(piece.map_err(|error| malformed(&error))).await.is_err() || ended {
            return;
        }
    }
}

fn malformed(error: &MultipartError) -> Problem {
    Problem::bad_request(format!("malformed form: {}", error.body_text()))
}

fn cut_short(error: &axum::Error) -> Problem {
    Problem::bad_request(format!("the body ended early ({error}); nothing was kept, send it again"))
}

async fn receive(
    ingest: &Arc<Ingest>,
    peer: SocketAddr,
    headers: &HeaderMap,
    claim: Claim,
    length: Option<u64>,
    pieces: &mut Pieces,
) -> Result<Response, Problem> {
    let _permit = ingest.permit()?;
    let from_header = |name: &str| headers.get(name)?.to_str().ok().map(str::to_owned);
    let missing = |what: &str| {
        Problem::bad_request(format!(
            "{what} is missing; give it in the query, the form or a header"
        ))
    };
    let env_id =
        claim.env_id.or_else(|| from_header("holdfast-env-id")).ok_or_else(|| missing("env_id"))?;
    let env_hash = claim
        .env_hash
        .or_else(|| from_header("holdfast-env-hash"))
        .ok_or_else(|| missing("env_hash"))?;
    let welcome = ingest.admit(&env_id, &env_hash)?;
    let most = ingest.node.config.ingest.recording_bytes_max;
    if length.is_some_and(|length| length > most) {
        return Err(too_large(most));
    }
    ingest.check_room(length.unwrap_or(0)).await?;
    let mut reader = Reader {
        pieces,
        stall: Duration::from_millis(ingest.node.config.ingest.stall_ms_max),
        left: most,
        most,
        stop: ingest.node.stop.clone(),
    };
    let head = reader.head().await?;
    if head.is_empty() {
        return Err(Problem::bad_request("the body is empty; send the recording as the body"));
    }
    let Some(container) = sniff::sniff(&head[..head.len().min(sniff::HEAD_BYTES)]) else {
        return Err(Problem::not_a_recording(
            "the bytes are no container that this node knows; send WebM, Matroska, MP4, MOV, AVI, FLV, \
             WMV, MPEG, 3GP, Ogg, MP3, AAC or WAV",
        ));
    };
    let client = ClientMetadata { name: claim.name, ..ClientMetadata::default() };
    let metadata = metadata(peer, headers, client);
    let admitted =
        Box::pin(ingest.begin(welcome, Source::Upload, metadata, length.unwrap_or(0))).await?;
    // If the client goes, hyper drops this future, and the guard in it marks what came as garbage.
    let accepted = Box::pin(keep(ingest, admitted, container, head, &mut reader)).await?;
    let location = HeaderValue::from_str(&accepted.status_url);
    let mut response = (StatusCode::CREATED, axum::Json(accepted)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn keep(
    ingest: &Arc<Ingest>,
    admitted: Admitted,
    container: Container,
    head: Bytes,
    reader: &mut Reader<'_>,
) -> Result<Accepted, Problem> {
    let id = admitted.recording.id;
    let node = &ingest.node;
    let home = Home::from(&admitted.recording);
    let io = |action, source| {
        node.vault.note_trouble(home, &source);
        node.vault.failed(action, home, source)
    };
    let ended = |error| failed(&io("write to", io::Error::other::<JoinError>(error)).into());
    let mut writer = Writer { raw: admitted.raw, at: 0, digest: Sha256::new() };
    let mut piece = vec![head];
    loop {
        let room = Arc::clone(&node.vault);
        let writing = blocking::run(move || {
            let result = match room.check_room(home) {
                Ok(()) => writer.write(&piece).map_err(Ok),
                Err(no_room) => Err(Err(no_room)),
            };
            (writer, result)
        });
        let next = reader.piece().await;
        let (back, result) = writing.await.map_err(ended)?;
        result.map_err(|error| failed(&error.map_or_else(|e| e, |e| io("write to", e)).into()))?;
        writer = back;
        piece = next?;
        if piece.is_empty() {
            break;
        }
    }
    let synced = blocking::run(move || writer.finish()).await.map_err(ended)?;
    let (bytes, sha256) = synced.map_err(|error| failed(&io("sync", error).into()))?;
    let stopped = Event::Stopped { bytes, sha256: sha256.clone(), container: Some(container) };
    let saved = node.step_all(id, [stopped, Event::Saved]).await.map_err(|error| failed(&error))?;
    if saved.0.saved_at.is_none() {
        return Err(Problem::gone("the recording was deleted while it arrived"));
    }
    admitted.guard.disarm();
    Ok(Accepted {
        id: id.to_string(),
        state: "saved",
        bytes,
        sha256,
        token: admitted.secrets.token,
        status_url: format!("/api/v1/ingest/recordings/{id}"),
    })
}

fn too_large(most: u64) -> Problem {
    Problem::too_large(format!("a recording has at most {most} bytes; nothing was kept"))
}

struct Reader<'a> {
    pieces: &'a mut Pieces,
    stall: Duration,
    left: u64,
    most: u64,
    stop: tokio_util::sync::CancellationToken,
}

impl Reader<'_> {
    /// The first bytes, enough to tell what they are.
    async fn head(&mut self) -> Result<Bytes, Problem> {
        let mut head = BytesMut::new();
        while head.len() < sniff::HEAD_BYTES {
            let Some(bytes) = self.next().await? else { break };
            head.extend_from_slice(&bytes);
        }
        Ok(head.freeze())
    }

    /// The next [`PIECE_BYTES`] or a little more; empty at the end.
    async fn piece(&mut self) -> Result<Vec<Bytes>, Problem> {
        let mut piece = Vec::with_capacity(64);
        let mut length = 0;
        while length < PIECE_BYTES {
            let Some(bytes) = self.next().await? else { break };
            length += bytes.len();
            piece.push(bytes);
        }
        Ok(piece)
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        loop {
            let next = tokio::select! {
                next = tokio::time::timeout(self.stall, self.pieces.next()) => next,
                () = self.stop.cancelled() => {
                    return Err(Problem::unavailable("the node is stopping; send it again").retry_after_s(5));
                }
            };
            let ms = self.stall.as_millis();
            let stalled = |_| {
                Problem::stalled(format!(
                    "nothing came for {ms} ms; nothing was kept, send it again"
                ))
            };
            let Some(bytes) = next.map_err(stalled)?.transpose()? else { return Ok(None) };
            let length = bytes.len() as u64;
            if length > self.left {
                return Err(too_large(self.most));
            }
            self.left -= length;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }
}

struct Writer {
    raw: VaultFile,
    at: u64,
    digest: Sha256,
}

impl Writer {
    /// One system call for the whole piece where the kernel takes it whole, as it mostly does.
    fn write(&mut self, piece: &[Bytes]) -> io::Result<()> {
        let mut written = self.raw.write_pieces_at(piece, self.at)?;
        for bytes in piece {
            let done = written.min(bytes.len());
            written -= done;
            self.raw.write_all_at(&bytes[done..], self.at + done as u64)?;
            self.digest.update(bytes);
            self.at += bytes.len() as u64;
        }
        Ok(())
    }

    fn finish(self) -> io::Result<(u64, String)> {
        self.raw.sync()?;
        Ok((self.at, self.digest.finish()))
    }
}

//! One connection of `holdfast.ingest.v1`.
//!
//! A connection is either before `start`/`resume`, or it owns a stream until another takes over.
//! It reads the next message only when the last one is in the file, so a slow disk slows its client
//! and fills no memory.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use holdfast_core::recording::{self, Event, Metadata, Recording, Source};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::access::Secrets;
use super::admit::{failed, metadata};
use super::messages::{
    CHUNK_HEADER_BYTES, ClientMetadata, FromClient, FromNode, SUBPROTOCOL, Start, TEXT_BYTES_MAX,
    Terms, chunk,
};
use super::stream::{self, Laid, Standing};
use super::{Ingest, commit};
use crate::problem::Problem;
use crate::vault::Home;

/// Kept small: most of a thousand streams are idle at any instant.
const READ_BUFFER_BYTES: usize = 4 * 1024;
const WRITE_BUFFER_BYTES: usize = 1024;
/// Close codes are this plus the problem's status.
const CLOSE_CODE_BASE: u16 = 4000;
/// Longest a client may take to read what the node says, in milliseconds.
const SEND_MS_MAX: u64 = 10_000;
const STOPPING_RETRY_S: u64 = 5;

type Outcome<T = ()> = Result<T, Problem>;

/// `GET /api/v1/ingest/stream`
pub(super) async fn upgrade(
    State(ingest): State<Arc<Ingest>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    ws: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    let ws = match ws {
        Ok(ws) => ws,
        Err(rejection) => {
            let detail =
                format!("{}; this address takes WebSocket connections", rejection.body_text());
            return Problem::bad_request(detail).into_response();
        }
    };
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offered =
        offered.iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    if !offered.any(|name| name.trim() == SUBPROTOCOL) {
        let detail = format!("offer the subprotocol {SUBPROTOCOL}: it is the one this node speaks");
        return Problem::bad_request(detail).into_response();
    }
    if let Err(problem) = check_origin(&ingest, &headers) {
        return problem.into_response();
    }
    let message_bytes_max =
        ingest.node.config.ingest.chunk_bytes_max + CHUNK_HEADER_BYTES + TEXT_BYTES_MAX;
    let client = metadata(peer, &headers, ClientMetadata::default());
    ws.protocols([SUBPROTOCOL])
        .max_message_size(message_bytes_max)
        .max_frame_size(message_bytes_max)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .on_upgrade(move |socket| {
            let tasks = ingest.tasks.clone();
            tasks.track_future(serve(ingest, socket, Box::new(client)))
        })
}

fn check_origin(ingest: &Ingest, headers: &HeaderMap) -> Outcome {
    let allowed = &ingest.node.config.ingest.origins;
    let Some(origin) = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok()) else {
        return Ok(());
    };
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok());
    let own = host.is_some_and(|host| origin.strip_prefix("https://") == Some(host));
    if own || allowed.iter().any(|each| each == "*" || each == origin) {
        return Ok(());
    }
    Err(Problem::unauthorized(format!(
        "pages of {origin} may not record to this node; add it to ingest.origins"
    )))
}

/// Serves one connection to its end.
pub(crate) async fn serve<L: Line>(ingest: Arc<Ingest>, socket: L, client: Box<Metadata>) {
    let mut connection = Connection { ingest, socket, client, owned: None };
    if let Err(problem) = connection.run().await {
        connection.say_goodbye(&problem).await;
    }
    connection.detach().await;
}

/// What a connection speaks over: a WebSocket, or the simulation's.
pub(crate) trait Line:
    Stream<Item = Result<Message, axum::Error>> + Sink<Message> + Send + Unpin
{
}

impl<L> Line for L where
    L: Stream<Item = Result<Message, axum::Error>> + Sink<Message> + Send + Unpin
{
}

struct Connection<L> {
    ingest: Arc<Ingest>,
    socket: L,
    client: Box<Metadata>,
    owned: Option<Box<Owned>>,
}

/// The stream that a connection owns.
struct Owned {
    stream: Arc<stream::Stream>,
    epoch: u64,
    epochs: watch::Receiver<u64>,
    standing: watch::Receiver<Standing>,
    state: recording::State,
    permit: Option<OwnedSemaphorePermit>,
}

/// What a connection wakes up for.
enum Wake {
    Message(Option<Result<Message, axum::Error>>),
    Standing,
    TakenOver,
    Stalled,
    Stopping,
}

impl<L: Line> Connection<L> {
    async fn run(&mut self) -> Outcome {
        let stall = Duration::from_millis(self.ingest.node.config.ingest.stall_ms_max);
        let (mut heard, mut is_asked) = (Instant::now(), false);
        loop {
            // Half-way the client is asked whether it is there; a browser answers by itself.
            let deadline = heard + if is_asked { stall } else { stall / 2 };
            match self.wake(deadline).await {
                Wake::Message(Some(Ok(message))) => {
                    if self.take(message).await?.is_break() {
                        return Ok(());
                    }
                    // Pongs keep a recording's connection alive, not one that never begins any.
                    if self.owned.is_some() {
                        (heard, is_asked) = (Instant::now(), false);
                    }
                }
                // The line broke, or the client closed it: either may come back.
                Wake::Message(_) => return Ok(()),
                Wake::Standing => self.acknowledge().await?,
                Wake::TakenOver => {
                    return Err(Problem::conflict(
                        "another connection has taken this recording over",
                    ));
                }
                Wake::Stalled if !is_asked => {
                    is_asked = true;
                    self.send(Message::Ping(Bytes::new())).await;
                }
                Wake::Stalled => {
                    let ms = stall.as_millis();
                    return Err(Problem::stalled(format!(
                        "nothing came for {ms} ms; resume when you can"
                    )));
                }
                Wake::Stopping => {
                    return Err(Problem::unavailable("the node is stopping; resume in a moment")
                        .retry_after_s(STOPPING_RETRY_S));
                }
            }
        }
    }

    async fn wake(&mut self, deadline: Instant) -> Wake {
        let stop = &self.ingest.node.stop;
        let Some(owned) = self.owned.as_deref_mut() else {
            return tokio::select! {
                biased;
                message = self.socket.next() => Wake::Message(message),
                () = tokio::time::sleep_until(deadline) => Wake::Stalled,
                () = stop.cancelled() => Wake::Stopping,
            };
        };
        // Once saved there is nothing more to wait for; the client closes when it likes.
        tokio::select! {
            biased;
            _ = owned.epochs.changed() => Wake::TakenOver,
            _ = owned.standing.changed() => Wake::Standing,
            message = self.socket.next() => Wake::Message(message),
            () = tokio::time::sleep_until(deadline) => Wake::Stalled,
            () = stop.cancelled() => Wake::Stopping,
        }
    }

    async fn take(&mut self, message: Message) -> Outcome<ControlFlow<()>> {
        match message {
            Message::Text(text) if text.len() > TEXT_BYTES_MAX => {
                return Err(Problem::too_large(format!(
                    "a text message has at most {TEXT_BYTES_MAX} bytes"
                )));
            }
            Message::Text(text) => {
                let said = serde_json::from_str(text.as_str()).map_err(|error| {
                    Problem::bad_request(format!("not a message of {SUBPROTOCOL}: {error}"))
                })?;
                return self.obey(said).await;
            }
            Message::Binary(bytes) => self.receive(&bytes).await?,
            Message::Close(_) => return Ok(ControlFlow::Break(())),
            Message::Ping(_) | Message::Pong(_) => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn obey(&mut self, said: FromClient) -> Outcome<ControlFlow<()>> {
        match (said, self.owned.is_some()) {
            (FromClient::Start(start), false) => self.start(start).await?,
            (FromClient::Resume { recording_id, token }, false) => {
                self.resume(&recording_id, &token).await?;
            }
            (FromClient::Stop { size }, true) => self.stop(size).await?,
            (FromClient::Save, true) => self.save().await?,
            (FromClient::Discard, true) => {
                self.discard().await?;
                return Ok(ControlFlow::Break(()));
            }
            (FromClient::Start(_) | FromClient::Resume { .. }, true) => {
                return Err(Problem::bad_request("this connection has its recording already"));
            }
            (_, false) => return Err(Problem::bad_request("say start or resume first")),
        }
        Ok(ControlFlow::Continue(()))
    }

    async fn start(&mut self, start: Start) -> Outcome {
        let permit = self.ingest.permit()?;
        let welcome = self.ingest.admit(&start.env_id, &start.env_hash)?;
        let mut metadata = (*self.client).clone();
        metadata.camera = super::messages::short(start.metadata.camera);
        metadata.microphone = super::messages::short(start.metadata.microphone);
        metadata.title = super::messages::short(start.metadata.name);
        let ingest = Arc::clone(&self.ingest);
        let admitted = Box::pin(ingest.begin(welcome, Source::Stream, metadata, 0)).await?;
        let id = admitted.recording.id;
        admitted.guard.disarm();
        let stream = ingest
            .streams
            .enter(stream::Stream::new(Home::from(&admitted.recording), admitted.raw));
        let terms = self.terms(&admitted.secrets, &admitted.recording, 0);
        self.own(stream, &admitted.recording, permit);
        let token = &admitted.secrets.token;
        self.say(&FromNode::Started { recording_id: id, token, terms }).await
    }

    async fn resume(&mut self, id: &str, token: &str) -> Outcome {
        let permit = self.ingest.permit()?;
        let ingest = Arc::clone(&self.ingest);
        let unknown =
            || Problem::not_found("no such recording; it may have been deleted. Record again");
        let id = id.parse().map_err(|_| unknown())?;
        // From here on the older connection's end, a recovery and a deletion wait, or have happened.
        let lock = ingest.node.locks.lock(id).await;
        let recording =
            ingest.node.ledger.get(id).map_err(|e| failed(&e.into()))?.ok_or_else(unknown)?;
        let secrets = Secrets::of(&recording, token)
            .ok_or_else(|| Problem::unauthorized("this is not the token of that recording"))?;
        use recording::State::{Deleted, Garbage, Receiving, Stopped, Unknown};
        let (stream, recording) = match recording.state {
            Receiving | Stopped => {
                let stream = reopen(&ingest, &recording).await?;
                let now = ingest.node.clock.now();
                let attached = ingest.node.ledger.apply(id, Event::Attached, now).await;
                (stream, attached.map_err(|e| failed(&e.into()))?.0)
            }
            // Saved already, by an answer that got lost: there is nothing left to write.
            _ => (stream::Stream::saved(Home::from(&recording), recording.bytes), recording),
        };
        if matches!(recording.state, Deleted | Garbage | Unknown) {
            return Err(unknown());
        }
        let offset = stream.received();
        let state = match recording.state {
            Receiving => "receiving",
            Stopped => "stopped",
            _ => "saved",
        };
        let terms = self.terms(&secrets, &recording, offset);
        self.own(stream, &recording, permit);
        drop(lock);
        self.say(&FromNode::Resumed { recording_id: id, state, terms }).await
    }

    fn own(
        &mut self,
        stream: Arc<stream::Stream>,
        recording: &Recording,
        permit: OwnedSemaphorePermit,
    ) {
        let epoch = stream.take_over();
        let mut epochs = stream.epoch.subscribe();
        epochs.mark_unchanged();
        let mut standing = stream.standing.subscribe();
        standing.mark_unchanged();
        if *epochs.borrow() != epoch {
            epochs.mark_changed();
        }
        let state = recording.state;
        self.owned =
            Some(Box::new(Owned { stream, epoch, epochs, standing, state, permit: Some(permit) }));
    }

    fn terms(&self, secrets: &Secrets, recording: &Recording, offset: u64) -> Terms {
        let config = &self.ingest.node.config.ingest;
        Terms {
            playback_url: secrets.playback_url(recording.id),
            offset,
            chunk_bytes_max: config.chunk_bytes_max,
            window_bytes_max: config.window_bytes_max,
            reconnect_ms: recording.policy.reconnect_ms,
        }
    }

    async fn receive(&mut self, message: &Bytes) -> Outcome {
        let config = &self.ingest.node.config.ingest;
        let owned = self
            .owned
            .as_deref()
            .ok_or_else(|| Problem::bad_request("say start or resume first"))?;
        if owned.state != recording::State::Receiving {
            return Ok(());
        }
        let (offset, bytes) = chunk(message).ok_or_else(|| {
            Problem::bad_request("a chunk is 8 bytes of offset and at least one byte")
        })?;
        if bytes.len() > config.chunk_bytes_max {
            let most = config.chunk_bytes_max;
            return Err(Problem::too_large(format!("a chunk has at most {most} bytes")));
        }
        if offset.saturating_add(bytes.len() as u64) > config.recording_bytes_max {
            let most = config.recording_bytes_max;
            return Err(Problem::too_large(format!(
                "a recording has at most {most} bytes; what came before stays, and is saved unless you discard it"
            )));
        }
        match owned.stream.lay(&self.ingest.node.vault, owned.epoch, offset, bytes).await {
            Ok(Laid::Received(_)) => {
                self.ingest.streams.touch(&owned.stream);
                Ok(())
            }
            Ok(Laid::Gap(expected)) => Err(Problem::conflict(format!(
                "the chunk begins at {offset}, and the recording goes on at {expected}"
            ))
            .expected(expected)),
            Ok(Laid::TakenOver) => {
                Err(Problem::conflict("another connection has taken this recording over"))
            }
            Ok(Laid::NotARecording) => {
                let id = owned.stream.id;
                self.ingest.reject(id).await;
                Err(not_a_recording())
            }
            Err(error) => Err(failed(&error.into())),
        }
    }

    async fn acknowledge(&mut self) -> Outcome {
        let Some(owned) = self.owned.as_deref_mut() else { return Ok(()) };
        let standing = owned.standing.borrow_and_update().clone();
        match standing {
            Standing::Durable(offset) => self.say(&FromNode::Ack { offset }).await,
            Standing::Failed { no_space } => {
                let id = owned.stream.id;
                self.ingest.streams.leave(id);
                let kind = if no_space {
                    std::io::ErrorKind::StorageFull
                } else {
                    std::io::ErrorKind::Other
                };
                let vault = &self.ingest.node.vault;
                Err(failed(&vault.failed("sync", owned.stream.home, kind.into()).into()))
            }
        }
    }

    async fn stop(&mut self, size: u64) -> Outcome {
        let Some(owned) = self.owned.as_deref() else { return Ok(()) };
        let (stream, state) = (Arc::clone(&owned.stream), owned.state);
        let received = stream.received();
        if received != size {
            return Err(Problem::conflict(format!(
                "stop says {size} bytes, and {received} have come; send what is missing, then stop again"
            ))
            .expected(received));
        }
        if state != recording::State::Receiving {
            return self.say_stopped(size).await;
        }
        let node = Arc::clone(&self.ingest.node);
        self.wait_durable(size).await?;
        let Some((sha256, container)) = stream.digest().await else {
            return Err(Problem::unavailable("the recording is busy; resume in a moment"));
        };
        if container.is_none() {
            self.ingest.reject(stream.id).await;
            return Err(not_a_recording());
        }
        let event = Event::Stopped { bytes: size, sha256: sha256.clone(), container };
        let (recording, _) = node.step(stream.id, event).await.map_err(|e| failed(&e))?;
        self.set_state(recording.state)?;
        node.live.ended(recording.id, size);
        self.say(&FromNode::Stopped { size, sha256: &sha256 }).await
    }

    async fn wait_durable(&mut self, size: u64) -> Outcome {
        while let Some(owned) = self.owned.as_deref_mut() {
            let mut standing = owned.standing.clone();
            let so_far = standing.borrow_and_update().clone();
            match so_far {
                Standing::Durable(offset) if offset >= size => return Ok(()),
                Standing::Durable(_) => {}
                Standing::Failed { .. } => return self.acknowledge().await,
            }
            commit::now(&self.ingest.node, &self.ingest.streams).await;
            // A round that was under way may have had these bytes; its end is told here.
            if *standing.borrow() == so_far {
                drop(standing.changed().await);
            }
        }
        Ok(())
    }

    async fn say_stopped(&mut self, size: u64) -> Outcome {
        let Some(owned) = self.owned.as_deref() else { return Ok(()) };
        let recording =
            self.ingest.node.ledger.get(owned.stream.id).map_err(|e| failed(&e.into()))?;
        let raw = recording.as_ref().and_then(|r| r.file(recording::FileKind::Raw));
        let sha256 = raw.and_then(|raw| raw.sha256.clone()).unwrap_or_default();
        self.say(&FromNode::Stopped { size, sha256: &sha256 }).await
    }

    async fn save(&mut self) -> Outcome {
        let Some(owned) = self.owned.as_deref() else { return Ok(()) };
        let id = owned.stream.id;
        match owned.state {
            recording::State::Receiving => {
                return Err(Problem::bad_request("say stop before save"));
            }
            recording::State::Stopped => {
                let node = Arc::clone(&self.ingest.node);
                let (recording, _) = node.step(id, Event::Saved).await.map_err(|e| failed(&e))?;
                self.set_state(recording.state)?;
                self.ingest.streams.leave(id);
                if let Some(owned) = self.owned.as_deref_mut() {
                    owned.stream = stream::Stream::saved(Home::from(&recording), recording.bytes);
                }
            }
            _ => {}
        }
        // A page that stays open after its recording is saved takes nobody's place.
        if let Some(owned) = self.owned.as_deref_mut() {
            owned.permit = None;
        }
        self.say(&FromNode::Saved { recording_id: id }).await
    }

    async fn discard(&mut self) -> Outcome {
        let Some(owned) = self.owned.as_deref() else { return Ok(()) };
        let id = owned.stream.id;
        let node = Arc::clone(&self.ingest.node);
        let (recording, _) = node.delete(id, "its client").await.map_err(|e| failed(&e.into()))?;
        if !recording.is_ended() {
            return Err(Problem::conflict("it is under a legal hold, and cannot be discarded"));
        }
        self.ingest.streams.leave(id);
        self.owned = None;
        self.say(&FromNode::Discarded { recording_id: id }).await?;
        self.send(Message::Close(None)).await;
        Ok(())
    }

    /// Notes what the recording has become; it may have been deleted meanwhile.
    fn set_state(&mut self, state: recording::State) -> Outcome {
        if matches!(state, recording::State::Deleted | recording::State::Garbage) {
            return Err(unknown());
        }
        if let Some(owned) = self.owned.as_deref_mut() {
            owned.state = state;
        }
        Ok(())
    }

    async fn say(&mut self, message: &FromNode<'_>) -> Outcome {
        let text = serde_json::to_string(message).map_err(|e| Problem::internal(e.to_string()))?;
        self.send(Message::Text(text.into())).await;
        Ok(())
    }

    /// A client that is gone, or reads nothing, is found out by the next read or its stall.
    async fn send(&mut self, message: Message) {
        let sent = self.socket.send(message);
        drop(tokio::time::timeout(Duration::from_millis(SEND_MS_MAX), sent).await);
    }

    async fn say_goodbye(&mut self, problem: &Problem) {
        drop(self.say(&FromNode::Error { problem }).await);
        let close =
            CloseFrame { code: CLOSE_CODE_BASE + problem.status, reason: problem.title.into() };
        self.send(Message::Close(Some(close))).await;
    }

    /// Notes that the client is gone, unless another connection has taken over.
    async fn detach(&mut self) {
        let Some(owned) = self.owned.take() else { return };
        if *owned.stream.epoch.borrow() != owned.epoch || owned.state == recording::State::Saved {
            return;
        }
        let node = &self.ingest.node;
        let id = owned.stream.id;
        commit::now(node, &self.ingest.streams).await;
        // Whoever resumes does so under this lock, and takes over before it lets go.
        let _lock = node.locks.lock(id).await;
        if *owned.stream.epoch.borrow() != owned.epoch {
            return;
        }
        if let Err(error) = node.ledger.apply(id, Event::Detached, node.clock.now()).await {
            tracing::error!(recording = %id, %error, "could not note that its client is gone");
        }
    }
}

async fn reopen(ingest: &Ingest, recording: &Recording) -> Outcome<Arc<stream::Stream>> {
    let id = recording.id;
    if let Some(stream) = ingest.streams.get(id) {
        return Ok(stream);
    }
    let (home, bytes) = (Home::from(recording), recording.bytes);
    let reopened = ingest.node.with_vault(move |vault| {
        let raw = vault.open_raw_at(home, bytes)?;
        stream::Stream::reopen(home, raw).map_err(|source| vault.failed("read", home, source))
    });
    let stream = reopened.await.map_err(|error| failed(&error))?;
    Ok(ingest.streams.enter(stream))
}

fn unknown() -> Problem {
    Problem::not_found("no such recording; it may have been deleted. Record again")
}

fn not_a_recording() -> Problem {
    Problem::not_a_recording(
        "the bytes are no container that this node knows; send WebM, Matroska, MP4, MOV, AVI, FLV, \
         WMV, MPEG, 3GP, Ogg, MP3, AAC or WAV",
    )
}

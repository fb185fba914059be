//! What h3 may take from a stream, and when.
//!
//! h3 (0.0.8) holds what a client sends without a limit of its own: a frame other than DATA is read whole
//! before it is looked at, and each time somebody asks for some of a body another piece is read, so that many
//! small frames pile up. It takes the end of a stream within a frame, and an empty DATA frame, for the end of
//! the body. So it reads through this gate, which
//!
//! - lets in a piece of a body only when h3 cannot go on with what it has,
//! - refuses frames that are too large, and heads that come in too many pieces,
//! - says an end within a frame to be none ([`Gate::has_ended`] is the truth about an end).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::error::Code;
use h3::quic::{
    self, BidiStream as _, ConnectionErrorIncoming, RecvStream as _, SendStream as _,
    StreamErrorIncoming, StreamId, WriteBuf,
};

use super::frames::{Frames, FramesError};

/// Most pieces in which a frame other than DATA may come. One of the largest takes 110 full packets.
const PIECES_MAX: usize = 1024;
/// Most that a client may say on its control stream, in bytes, as long as the connection lasts.
const CONTROL_BYTES_MAX: u64 = 256 << 10;

/// Whether h3 may read on.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    frames: Frames,
    /// Pieces are let in one by one; before, as they come.
    is_body: bool,
    /// One piece may pass.
    is_open: bool,
    /// h3 asked in vain.
    is_starved: bool,
    /// Pieces that were let in since h3 last got on.
    pieces: usize,
    has_ended: bool,
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on pieces are let in one by one.
    pub(super) fn begin_body(&self) {
        let mut state = self.state();
        state.is_body = true;
        state.pieces = 0;
    }

    /// h3 has answered something.
    pub(super) fn got_on(&self) {
        self.state().pieces = 0;
    }

    /// Opens for one piece, if h3 cannot go on without. Else there is none yet, and it will be woken.
    pub(super) fn let_one_in(&self) -> bool {
        let mut state = self.state();
        let was_starved = std::mem::take(&mut state.is_starved);
        state.is_open |= was_starved;
        was_starved
    }

    /// Whether the client has sent all that it sends.
    pub(super) fn has_ended(&self) -> bool {
        self.state().has_ended
    }

    fn may_read(&self) -> Result<bool, FramesError> {
        let mut state = self.state();
        if state.pieces >= PIECES_MAX {
            return Err(FramesError::Pieces);
        }
        let may = !state.is_body || state.is_open || state.has_ended;
        state.is_starved = !may;
        Ok(may)
    }

    fn read(&self, piece: Option<&Bytes>) -> Result<(), FramesError> {
        let mut state = self.state();
        state.is_open = false;
        state.pieces += 1;
        if let Some(piece) = piece {
            return state.frames.pass(piece);
        }
        state.has_ended = true;
        if state.frames.is_between() { Ok(()) } else { Err(FramesError::Cut) }
    }
}

/// What both sides of a connection's gate know.
#[derive(Debug, Default)]
pub(super) struct Door {
    is_shut: AtomicBool,
    latest: Mutex<Option<Arc<Gate>>>,
}

impl Door {
    /// Requests that come from now on are rejected as not processed.
    pub(super) fn shut(&self) {
        self.is_shut.store(true, Ordering::Release);
    }

    /// The gate of the request that was accepted last.
    pub(super) fn latest(&self) -> Arc<Gate> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner).take();
        latest.unwrap_or_default()
    }
}

/// A connection whose streams have gates.
pub(super) struct Line {
    quic: h3_quinn::Connection,
    door: Arc<Door>,
}

impl Line {
    pub(super) fn new(quic: quinn::Connection) -> (Self, Arc<Door>) {
        let door = Arc::new(Door::default());
        (Self { quic: h3_quinn::Connection::new(quic), door: Arc::clone(&door) }, door)
    }
}

impl quic::Connection<Bytes> for Line {
    type RecvStream = Control;
    type OpenStreams = Opener;

    fn poll_accept_recv(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Control, ConnectionErrorIncoming>> {
        let stream = ready!(quic::Connection::<Bytes>::poll_accept_recv(&mut self.quic, cx))?;
        Poll::Ready(Ok(Control { stream, left: CONTROL_BYTES_MAX }))
    }

    fn poll_accept_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, ConnectionErrorIncoming>> {
        loop {
            let stream = ready!(quic::Connection::<Bytes>::poll_accept_bidi(&mut self.quic, cx))?;
            let mut stream = Stream::new(stream);
            if self.door.is_shut.load(Ordering::Acquire) {
                stream.stop_sending(Code::H3_REQUEST_REJECTED.value());
                stream.reset(Code::H3_REQUEST_REJECTED.value());
                continue;
            }
            let gate = Arc::clone(&stream.reading.gate);
            *self.door.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(gate);
            return Poll::Ready(Ok(stream));
        }
    }

    fn opener(&self) -> Opener {
        Opener(quic::Connection::<Bytes>::opener(&self.quic))
    }
}

impl quic::OpenStreams<Bytes> for Line {
    type BidiStream = Stream;
    type SendStream = h3_quinn::SendStream<Bytes>;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, StreamErrorIncoming>> {
        let opened = ready!(quic::OpenStreams::<Bytes>::poll_open_bidi(&mut self.quic, cx));
        Poll::Ready(opened.map(Stream::new))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        quic::OpenStreams::<Bytes>::poll_open_send(&mut self.quic, cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        quic::OpenStreams::<Bytes>::close(&mut self.quic, code, reason);
    }
}

/// What h3 opens streams with beside the connection.
pub(super) struct Opener(h3_quinn::OpenStreams);

impl quic::OpenStreams<Bytes> for Opener {
    type BidiStream = Stream;
    type SendStream = h3_quinn::SendStream<Bytes>;

    fn poll_open_bidi(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Stream, StreamErrorIncoming>> {
        let opened = ready!(quic::OpenStreams::<Bytes>::poll_open_bidi(&mut self.0, cx));
        Poll::Ready(opened.map(Stream::new))
    }

    fn poll_open_send(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        quic::OpenStreams::<Bytes>::poll_open_send(&mut self.0, cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        quic::OpenStreams::<Bytes>::close(&mut self.0, code, reason);
    }
}

/// A request's stream.
pub(super) struct Stream {
    sending: h3_quinn::SendStream<Bytes>,
    reading: Reading,
}

impl Stream {
    fn new(stream: h3_quinn::BidiStream<Bytes>) -> Self {
        let (sending, stream) = stream.split();
        let id = stream.recv_id();
        let reading = Reading { stream, gate: Arc::default(), id, is_under_way: false };
        Self { sending, reading }
    }
}

impl quic::RecvStream for Stream {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.reading.poll_data(cx)
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.reading.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.reading.recv_id()
    }
}

impl quic::SendStream<Bytes> for Stream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.sending.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.sending.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.sending.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.sending.send_id()
    }
}

impl quic::BidiStream<Bytes> for Stream {
    type SendStream = h3_quinn::SendStream<Bytes>;
    type RecvStream = Reading;

    fn split(self) -> (Self::SendStream, Reading) {
        (self.sending, self.reading)
    }
}

/// What comes in on a request's stream.
pub(super) struct Reading {
    stream: h3_quinn::RecvStream,
    gate: Arc<Gate>,
    id: StreamId,
    /// h3-quinn cannot be told anything meanwhile; it panics.
    is_under_way: bool,
}

impl quic::RecvStream for Reading {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let refused = |error| StreamErrorIncoming::Unknown(Box::new(error));
        if !self.gate.may_read().map_err(refused)? {
            // Whoever asked looks into the gate before it waits.
            return Poll::Pending;
        }
        self.is_under_way = true;
        let piece = ready!(self.stream.poll_data(cx));
        self.is_under_way = false;
        let piece = piece?;
        self.gate.read(piece.as_ref()).map_err(refused)?;
        Poll::Ready(Ok(piece))
    }

    fn stop_sending(&mut self, error_code: u64) {
        // Else dropping it tells the client to stop.
        if !self.is_under_way {
            self.stream.stop_sending(error_code);
        }
    }

    fn recv_id(&self) -> StreamId {
        self.id
    }
}

/// What comes in on a stream that is no request's.
pub(super) struct Control {
    stream: h3_quinn::RecvStream,
    left: u64,
}

impl quic::RecvStream for Control {
    type Buf = Bytes;

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let piece = ready!(self.stream.poll_data(cx))?;
        let length = piece.as_ref().map_or(0, |piece| piece.remaining() as u64);
        let Some(left) = self.left.checked_sub(length) else {
            return Poll::Ready(Err(StreamErrorIncoming::Unknown(Box::new(FramesError::Control))));
        };
        self.left = left;
        Poll::Ready(Ok(piece))
    }

    fn stop_sending(&mut self, error_code: u64) {
        self.stream.stop_sending(error_code);
    }

    fn recv_id(&self) -> StreamId {
        self.stream.recv_id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_passes_as_it_comes_and_a_body_only_where_it_is_wanted() {
        let gate = Gate::default();
        let piece = |bytes: &'static [u8]| Bytes::from_static(bytes);
        assert!(gate.may_read().unwrap());
        gate.read(Some(&piece(&[1, 2, 0]))).unwrap();
        assert!(gate.may_read().unwrap());
        gate.read(Some(&piece(&[0, 0, 3, b'a']))).unwrap();
        gate.begin_body();
        // It has something, and does not ask.
        assert!(!gate.let_one_in());
        assert!(!gate.may_read().unwrap());
        assert!(gate.let_one_in());
        assert!(gate.may_read().unwrap());
        gate.read(Some(&piece(b"bc"))).unwrap();
        assert!(!gate.may_read().unwrap() && gate.let_one_in());
        assert!(!gate.has_ended());
        gate.read(None).unwrap();
        assert!(gate.has_ended());
    }

    #[test]
    fn an_end_within_a_frame_and_a_frame_in_too_many_pieces_are_errors() {
        let gate = Gate::default();
        gate.read(Some(&Bytes::from_static(&[0, 3, b'a']))).unwrap();
        assert!(matches!(gate.read(None), Err(FramesError::Cut)));
        let gate = Gate::default();
        gate.read(Some(&Bytes::from_static(&[1, 0x80, 1, 0, 0]))).unwrap();
        for _ in 1..PIECES_MAX {
            assert!(gate.may_read().unwrap());
            gate.read(Some(&Bytes::from_static(&[0]))).unwrap();
        }
        assert!(matches!(gate.may_read(), Err(FramesError::Pieces)));
        gate.got_on();
        assert!(gate.may_read().unwrap());
    }
}

//! One request: its head within limits, its body as it is wanted, its answer.
//!
//! A stream whose sender goes away while it answers is reset, so that no client takes half an answer for a whole
//! one. A body that differs from its `Content-Length` is an error, as it is over HTTP/1 and HTTP/2.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Request, StatusCode};
use axum::response::Response;
use bytes::{Buf, Bytes};
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::super::HEAD_MAX;
use super::super::idle::Activity;
use super::gate::{Gate, Line, Reading};
use crate::clock::Clock;

/// What has a meaning between two machines on a line only, and is an error in HTTP/3 (RFC 9114, section 4.2).
const OF_THE_LINE: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// Most frames without a byte of the body that are passed in one go.
const EMPTY_FRAMES_MAX: usize = 256;

type Receiving = RequestStream<Reading, Bytes>;

/// What a connection's requests share.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    pub(super) router: Router,
    pub(super) quic: quinn::Connection,
    pub(super) activity: Arc<Activity>,
    pub(super) clock: Clock,
    /// Nobody waits for heads any more.
    pub(super) ends: CancellationToken,
}

/// Answers a request; ends early where its connection does.
pub(super) async fn serve(
    resolver: RequestResolver<Line, Bytes>,
    gate: Arc<Gate>,
    requests: Requests,
) {
    let resolving = tokio::time::timeout(HEAD_MAX, resolver.resolve_request());
    let resolved = tokio::select! {
        resolved = resolving => resolved,
        () = requests.ends.cancelled() => return,
    };
    let (request, stream) = match resolved {
        Ok(Ok(resolved)) => resolved,
        Ok(Err(error)) => return tracing::debug!(%error, "request"),
        Err(error) => return tracing::debug!(%error, "request"),
    };
    let under_way = requests.activity.begin();
    let quic = requests.quic.clone();
    let answered = tokio::select! {
        answered = Box::pin(answer(request, stream, gate, requests)) => answered,
        _ = quic.closed() => Ok(()),
    };
    if let Err(error) = answered {
        tracing::debug!(%error, "request");
    }
    drop(under_way);
}

async fn answer(
    request: Request<()>,
    stream: RequestStream<super::gate::Stream, Bytes>,
    gate: Arc<Gate>,
    requests: Requests,
) -> Result<(), StreamError> {
    let (sending, receiving) = stream.split();
    let mut sending = Sending { stream: sending, is_whole: false };
    let Ok(length) = length(request.headers()) else {
        sending.stream.stop_stream(Code::H3_MESSAGE_ERROR);
        return Ok(());
    };
    gate.begin_body();
    let unread = Unread::default();
    let mut body = Upload {
        receiving: Some(receiving),
        gate,
        first: None,
        left: length,
        unread: unread.clone(),
    };
    body.look().await;
    let mut request = request.map(|()| Body::new(body));
    request.extensions_mut().insert(ConnectInfo(requests.quic.remote_address()));
    let is_head = request.method() == Method::HEAD;
    let answered: Result<Response, Infallible> = requests.router.oneshot(request).await;
    let Ok(answer) = answered;
    let sent = sending.send(answer, is_head, requests.clock.now()).await;
    // Only now: a client may stop at once when it hears that the rest is not wanted (RFC 9114, section 4.1.1).
    unread.give_up();
    sent
}

/// The `Content-Length`, if there is one.
fn length(headers: &HeaderMap) -> Result<Option<u64>, ()> {
    let mut all = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = all.next() else { return Ok(None) };
    let digits = first.to_str().map_err(drop)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || all.any(|other| other != first) {
        return Err(());
    }
    digits.parse().map(Some).map_err(drop)
}

/// An answer under way. QUIC ends a stream that is dropped as if all had been sent.
struct Sending {
    stream: RequestStream<h3_quinn::SendStream<Bytes>, Bytes>,
    is_whole: bool,
}

impl Sending {
    async fn send(
        &mut self,
        answer: Response,
        is_head: bool,
        now: Timestamp,
    ) -> Result<(), StreamError> {
        let (mut parts, mut body) = answer.into_parts();
        complete(&mut parts.headers, parts.status, is_head, body.size_hint().exact(), now);
        self.stream.send_response(Response::from_parts(parts, ())).await?;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Ok(()) };
            match frame.into_data() {
                Ok(data) if !data.is_empty() => self.stream.send_data(data).await?,
                _ => {}
            }
        }
        self.stream.finish().await?;
        self.is_whole = true;
        Ok(())
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.is_whole {
            self.stream.stop_stream(Code::H3_INTERNAL_ERROR);
        }
    }
}

/// What hyper adds to answers and takes from them over HTTP/2.
fn complete(
    headers: &mut HeaderMap,
    status: StatusCode,
    is_head: bool,
    length: Option<u64>,
    now: Timestamp,
) {
    for name in &OF_THE_LINE {
        headers.remove(name);
    }
    let has_body = !is_head && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(length) = length.filter(|_| has_body) {
        headers.entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    if let Ok(date) = DateTimePrinter::new().timestamp_to_rfc9110_string(&now)
        && let Ok(date) = HeaderValue::try_from(date)
    {
        headers.entry(header::DATE).or_insert(date);
    }
}

/// What a handler did not read of a body.
#[derive(Clone, Default)]
struct Unread(Arc<Mutex<Option<Receiving>>>);

impl Unread {
    fn give_up(&self) {
        if let Some(mut rest) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            rest.stop_sending(Code::H3_NO_ERROR);
        }
    }
}

/// What is wrong with a body.
#[derive(Debug, thiserror::Error)]
enum BodyError {
    #[error("it is not as long as its Content-Length")]
    Length,
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// A request's body.
struct Upload {
    receiving: Option<Receiving>,
    gate: Arc<Gate>,
    /// What was there at the beginning: a piece, or the end.
    first: Option<Option<Result<Bytes, StreamError>>>,
    /// What has to come, where that is known.
    left: Option<u64>,
    unread: Unread,
}

impl Upload {
    /// Takes what came with the head: most requests have no body, and their stream is then known to be over.
    async fn look(&mut self) {
        let looked = std::future::poll_fn(|cx| Poll::Ready(self.poll_piece(cx))).await;
        if let Poll::Ready(first) = looked {
            self.first = Some(first);
        }
    }

    fn is_over(&self) -> bool {
        self.receiving.is_none() || matches!(self.first, Some(None))
    }

    /// The next piece; `None` once all that the client sends was read.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, StreamError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(first);
        }
        let Some(receiving) = &mut self.receiving else { return Poll::Ready(None) };
        let mut frames_left = EMPTY_FRAMES_MAX;
        loop {
            let polled = match receiving.poll_recv_data(cx) {
                Poll::Ready(Ok(Some(mut data))) => {
                    Poll::Ready(Some(Ok(data.copy_to_bytes(data.remaining()))))
                }
                // h3 says so of an empty frame and of trailers too.
                Poll::Ready(Ok(None)) if !self.gate.has_ended() => {
                    self.gate.got_on();
                    frames_left -= 1;
                    if frames_left == 0 {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    continue;
                }
                Poll::Ready(Ok(None)) => Poll::Ready(None),
                Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
                Poll::Pending if self.gate.let_one_in() => continue,
                Poll::Pending => Poll::Pending,
            };
            if polled.is_ready() {
                self.gate.got_on();
            }
            return polled;
        }
    }
}

impl HttpBody for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let piece = ready!(self.poll_piece(cx)).transpose();
        let piece = piece.map_err(BodyError::from).and_then(|piece| {
            let length = piece.as_ref().map_or(0, |bytes| bytes.len() as u64);
            let left = self.left.map(|left| left.checked_sub(length).ok_or(BodyError::Length));
            self.left = left.transpose()?;
            let is_short = piece.is_none() && self.left.is_some_and(|left| left > 0);
            if is_short { Err(BodyError::Length) } else { Ok(piece) }
        });
        if !matches!(piece, Ok(Some(_))) {
            // At its end, or broken: there is no rest to be given up politely.
            self.receiving = None;
        }
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.is_over() && self.left.is_none_or(|left| left == 0)
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Some(left) => SizeHint::with_exact(left),
            None if self.is_over() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let is_over = self.is_over();
        if let Some(rest) = self.receiving.take().filter(|_| !is_over) {
            *self.unread.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        HeaderMap::from_iter(all.iter().map(pair))
    }

    #[test]
    fn a_length_is_digits_and_one() {
        assert_eq!(length(&headers(&[])), Ok(None));
        assert_eq!(length(&headers(&[("content-length", "12")])), Ok(Some(12)));
        for wrong in ["", "+1", "1,2", "-1", "99999999999999999999"] {
            let mut all = HeaderMap::new();
            all.insert(header::CONTENT_LENGTH, HeaderValue::from_static(wrong));
            assert_eq!(length(&all), Err(()), "{wrong}");
        }
        let mut two = headers(&[("content-length", "12")]);
        two.append(header::CONTENT_LENGTH, HeaderValue::from_static("13"));
        assert_eq!(length(&two), Err(()));
    }

    #[test]
    fn an_answer_has_its_length_and_a_date_and_nothing_of_the_line() {
        let now = "2026-11-30T06:31:14Z".parse().unwrap();
        let of = |all: &[_], status, is_head| {
            let mut all = headers(all);
            complete(&mut all, status, is_head, Some(0), now);
            all
        };
        let all = of(&[("connection", "close"), ("x-one", "1")], StatusCode::OK, false);
        assert_eq!(all["date"], "Mon, 30 Nov 2026 06:31:14 GMT");
        assert_eq!(all["content-length"], "0");
        assert!(all.contains_key("x-one") && !all.contains_key("connection"));
        let all = of(&[("content-length", "7")], StatusCode::OK, true);
        assert_eq!(all["content-length"], "7");
        assert!(!of(&[], StatusCode::NO_CONTENT, false).contains_key("content-length"));
    }
}

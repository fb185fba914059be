//! Request bodies that the answer did not wait for: a refusal mostly comes before the file does.
//!
//! Closing a connection on which bytes arrive that nobody reads makes the kernel send a reset, and
//! the client may lose the answer to it. So what a handler left unread is read on and thrown away,
//! within limits, and over HTTP/1 the answer says that the connection ends with it
//! (RFC 9112, section 9.6), so that no client sends its next request down a closing one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, HeaderValue, Version, header};
use axum::response::Response;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Most that is read and thrown away, in bytes.
const LINGER_BYTES_MAX: u64 = 64 << 20;
/// Longest that it is read.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// Tells whether a request's body was read to its end.
#[derive(Debug)]
pub(super) struct Unread(Arc<AtomicBool>, Version);

impl Unread {
    /// Says in the answer that the connection ends with it, if that is so.
    pub(super) fn say(&self, response: &mut Response) {
        if self.1 <= Version::HTTP_11 && self.0.load(Ordering::Acquire) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// The body for the handler, and whether something of it is unread.
pub(super) fn watch(
    request: hyper::Request<Incoming>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> (hyper::Request<Body>, Unread) {
    let is_unread = Arc::new(AtomicBool::new(!request.body().is_end_stream()));
    let unread = Unread(Arc::clone(&is_unread), request.version());
    // Who waits to be asked for the body has sent none; reading it would ask for it.
    let is_awaited = awaits_leave(request.headers());
    let (parts, incoming) = request.into_parts();
    let body = Watched {
        body: Some(incoming),
        is_awaited,
        is_unread,
        tasks: tasks.clone(),
        stop: stop.clone(),
    };
    (hyper::Request::from_parts(parts, Body::new(body)), unread)
}

fn awaits_leave(headers: &HeaderMap) -> bool {
    headers
        .get(header::EXPECT)
        .is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

#[derive(Debug)]
struct Watched {
    body: Option<Incoming>,
    is_awaited: bool,
    is_unread: Arc<AtomicBool>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_awaited = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let is_over = match &polled {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(_))) => body.is_end_stream(),
            Poll::Ready(None | Some(Err(_))) => true,
        };
        if is_over {
            self.is_unread.store(false, Ordering::Release);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        if self.is_awaited || !self.is_unread.load(Ordering::Acquire) {
            return;
        }
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = drain(body) => (),
                () = tokio::time::sleep(LINGER_MAX) => (),
                () = stop.cancelled() => (),
            }
        });
    }
}

async fn drain(mut body: Incoming) {
    let mut left = LINGER_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
        let Some(rest) = left.checked_sub(bytes) else { return };
        left = rest;
    }
}

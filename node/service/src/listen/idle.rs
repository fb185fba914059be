//! Connections on which no request is under way: they are ended after a while, even where they
//! answer pings, so that they take no places from recordings.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// What happens on a connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    begun: AtomicU64,
    under_way: AtomicUsize,
}

impl Activity {
    /// A request begins. It is under way until what this answers is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Request {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        Request(Arc::clone(self))
    }

    /// Waits until no request was under way for `idle_max`, and at most twice as long.
    pub(super) async fn idle(&self, idle_max: Duration) {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            let was_idle = self.under_way.load(Ordering::Relaxed) == 0;
            tokio::time::sleep(idle_max).await;
            if was_idle && self.begun.load(Ordering::Relaxed) == begun {
                return;
            }
        }
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Request(Arc<Activity>);

impl Request {
    /// The answer's body; the request is under way until the body was sent or given up.
    pub(super) fn until_sent(self, body: Body) -> Body {
        Body::new(Sending { body, _request: self })
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Sending {
    body: Body,
    _request: Request,
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_without_requests_is_idle() {
        let activity = Arc::new(Activity::default());
        let idle_max = Duration::from_secs(60);
        let within =
            |limit| tokio::time::timeout(Duration::from_secs(limit), activity.idle(idle_max));
        assert!(within(121).await.is_ok());
        let request = activity.begin();
        assert!(within(3_600).await.is_err());
        let body = request.until_sent(Body::from("answer"));
        assert_eq!(body.size_hint().exact(), Some(6));
        assert!(within(3_600).await.is_err());
        drop(body);
        assert!(within(121).await.is_ok());
    }
}

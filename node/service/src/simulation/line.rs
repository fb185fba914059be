//! A line between a client and the node, which can break.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use axum::extract::ws::Message;
use futures_util::{Sink, Stream};

use super::disk::Disk;

/// A line. Clones are the ends of the same one.
#[derive(Debug, Clone)]
pub(super) struct Line {
    wire: Arc<Mutex<Wire>>,
    /// A node without power says nothing.
    disk: Disk,
}

#[derive(Debug, Default)]
struct Wire {
    to_node: VecDeque<Message>,
    to_client: Vec<Message>,
    is_cut: bool,
    waker: Option<Waker>,
}

impl Line {
    pub(super) fn new(disk: &Disk) -> Self {
        Self { wire: Arc::default(), disk: disk.clone() }
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client says something.
    pub(super) fn say(&self, message: Message) {
        let mut wire = self.wire();
        wire.to_node.push_back(message);
        wire.waker.take().into_iter().for_each(Waker::wake);
    }

    /// What the node has said since the client last listened.
    pub(super) fn hear(&self) -> Vec<Message> {
        std::mem::take(&mut self.wire().to_client)
    }

    /// It breaks: what is under way is lost.
    pub(super) fn cut(&self) {
        let mut wire = self.wire();
        wire.is_cut = true;
        wire.to_client.clear();
        wire.waker.take().into_iter().for_each(Waker::wake);
    }
}

impl Stream for Line {
    type Item = Result<Message, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut wire = self.wire();
        if wire.is_cut {
            return Poll::Ready(None);
        }
        match wire.to_node.pop_front() {
            Some(message) => Poll::Ready(Some(Ok(message))),
            None => {
                wire.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Sink<Message> for Line {
    type Error = axum::Error;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, message: Message) -> Result<(), axum::Error> {
        let mut wire = self.wire();
        if wire.is_cut || self.disk.is_off() {
            return Err(axum::Error::new("the line is cut"));
        }
        wire.to_client.push(message);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), axum::Error>> {
        Poll::Ready(Ok(()))
    }
}

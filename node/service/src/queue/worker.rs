//! A worker: claims, works, extends its lease meanwhile, settles.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::recording::{Event, Recording};
use holdfast_core::{Effect, Lane};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::{LEASE, Queue};
use crate::node::{Node, NodeError};

/// Longest that a worker sleeps before it looks again.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// Shortest that it sleeps.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// Pause after the queue itself failed.
const FAILED_PAUSE: Duration = Duration::from_secs(1);

/// What is done in a lane.
pub trait Work: Send + Sync + 'static {
    /// The lane.
    fn lane(&self) -> Lane;

    /// Does what is to be done for a recording; answers what came of it, in order.
    ///
    /// Nothing leaves it undone: the node is stopping, or the recording was deleted meanwhile. When
    /// `cancel` is cancelled the work is to end soon, and without harm.
    fn work(
        &self,
        recording: Recording,
        effects: Vec<Effect>,
        cancel: CancellationToken,
    ) -> impl Future<Output = Vec<Event>> + Send;

    /// Whether this is a time to do such work at all.
    fn is_open(&self) -> bool {
        true
    }

    /// Takes a place for one piece of work, which is given up by dropping it; `None` where all are taken.
    fn enter(&self) -> Option<Box<dyn Send>> {
        Some(Box::new(()))
    }
}

/// Works until the node stops.
pub async fn run<Q: Queue, W: Work>(node: Arc<Node>, queue: Q, work: Arc<W>) {
    let lane = work.lane();
    let mut changes = node.ledger.changes();
    while !node.stop.is_cancelled() {
        changes.mark_unchanged();
        match once(&node, &queue, &*work).await {
            Ok(true) => {}
            Ok(false) => {
                let next = queue.next_due(lane).ok().flatten();
                // What is due but may not be done now must not be asked for again and again.
                let least = if work.is_open() { SLEEP_MIN } else { FAILED_PAUSE };
                tokio::select! {
                    () = node.clock.sleep_until(next, least, SLEEP_MAX) => {}
                    _ = changes.changed(), if work.is_open() => {}
                    () = node.stop.cancelled() => {}
                }
            }
            Err(error) => {
                tracing::error!(?lane, %error, "work could not be claimed or settled");
                tokio::select! {
                    () = tokio::time::sleep(FAILED_PAUSE) => {}
                    () = node.stop.cancelled() => {}
                }
            }
        }
    }
}

fn lease_end(node: &Node) -> Timestamp {
    node.clock.now() + SignedDuration::try_from(LEASE).unwrap_or(SignedDuration::MAX)
}

/// Does one piece of work; `false` where none is due.
pub(crate) async fn once<Q: Queue, W: Work>(
    node: &Arc<Node>,
    queue: &Q,
    work: &W,
) -> Result<bool, NodeError> {
    let lane = work.lane();
    if !work.is_open() {
        return Ok(false);
    }
    // Reading is cheap; a claim is a commit.
    if queue.next_due(lane)?.is_none_or(|at| at > node.clock.now()) {
        return Ok(false);
    }
    let Some(_place) = work.enter() else { return Ok(false) };
    let claimed = queue.claim(lane, node.clock.now(), lease_end(node)).await?;
    let Some((recording, effects)) = claimed else { return Ok(false) };
    if effects.is_empty() {
        return Ok(true);
    }
    let id = recording.id;
    let Some(cancel) = node.running.begin(id, lane, &node.halt) else { return Ok(true) };
    let working = work.work(recording, effects, cancel.clone());
    tokio::pin!(working);
    let events = loop {
        tokio::select! {
            biased;
            events = &mut working => break events,
            () = node.clock.sleep_until(None, SLEEP_MIN, LEASE / 3) => {
                if let Err(error) = queue.extend(id, lane, lease_end(node)).await {
                    tracing::warn!(recording = %id, %error, "its lease could not be extended");
                }
            }
        }
    };
    node.running.end(id, lane);
    if !events.is_empty() {
        node.settle(queue, id, lane, events).await?;
    }
    Ok(true)
}

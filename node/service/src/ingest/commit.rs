//! The group commit: one round makes the new bytes of all streams durable (contract 1).
//!
//! A round syncs the files, then commits their offsets to the ledger in one transaction, then tells
//! the connections, which acknowledge. A sync for each stream and second would cap a disk near 140
//! streams; from a handful of streams on, a round is one sync of the whole volume.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::stream::{Standing, Stream, Streams};
use crate::blocking;
use crate::node::Node;
use crate::vault::is_no_space;

/// Up to this many streams are synced one by one: cheaper than a sync of a volume others write to.
const SINGLE_SYNCS_MAX: usize = 4;

/// Commits rounds until the node stops, and then once more.
pub async fn run(node: Arc<Node>, streams: Arc<Streams>) {
    let pause = Duration::from_millis(node.config.ingest.commit_ms);
    while !node.stop.is_cancelled() {
        tokio::select! {
            () = streams.wake.notified() => {}
            () = node.stop.cancelled() => {}
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.stop.cancelled() => {}
        }
        round(&node, &streams).await;
    }
}

/// Makes what has arrived durable now, for whoever cannot wait for the next round.
pub(super) async fn now(node: &Arc<Node>, streams: &Arc<Streams>) {
    round(node, streams).await;
}

async fn round(node: &Arc<Node>, streams: &Arc<Streams>) {
    let _round = streams.rounds.lock().await;
    let dirty = streams.take_dirty();
    if dirty.is_empty() {
        return;
    }
    let synced = {
        let files: Vec<Arc<Stream>> = dirty.iter().map(|(stream, _)| Arc::clone(stream)).collect();
        let all = Arc::clone(streams);
        blocking::run(move || sync(&all, &files)).await
    };
    let results = synced.unwrap_or_else(|error| {
        tracing::error!(%error, "a sync round ended early");
        Vec::new()
    });
    let mut durable = Vec::with_capacity(dirty.len());
    for (index, (stream, received)) in dirty.into_iter().enumerate() {
        match results.get(index) {
            Some(Ok(())) => durable.push((stream, received)),
            Some(Err(error)) => {
                node.vault.note_trouble(stream.home, error);
                refuse(&stream, error).await;
            }
            None => refuse(&stream, &io::Error::other("not synced")).await,
        }
    }
    let offsets = durable.iter().map(|(stream, received)| (stream.id, *received)).collect();
    match node.ledger.note_offsets(offsets, node.clock.now()).await {
        Ok(()) => {
            for (stream, received) in durable {
                advance(&stream, received);
                offer(node, &stream, received);
            }
        }
        Err(error) => {
            tracing::error!(%error, "the ledger refused offsets; nothing is acknowledged");
            for (stream, _) in durable {
                refuse(&stream, &io::Error::other("the ledger refused")).await;
            }
        }
    }
}

/// Has a stream transcoded while it comes in, where there is room for that.
fn offer(node: &Node, stream: &Stream, received: u64) {
    if !stream.had_live_job.load(Ordering::Relaxed) {
        let standing = || stream.standing.subscribe();
        let begun = node.live.offer(stream.home, received, node.hardware.has_room(), standing);
        stream.had_live_job.store(begun, Ordering::Relaxed);
    }
}

/// Never backwards, and not once the disk refused.
fn advance(stream: &Stream, received: u64) {
    stream.standing.send_if_modified(|standing| match standing {
        Standing::Durable(before) if *before < received => {
            *before = received;
            true
        }
        _ => false,
    });
}

async fn refuse(stream: &Arc<Stream>, error: &io::Error) {
    tracing::error!(recording = %stream.id, %error, "its bytes did not become durable");
    stream.fail(is_no_space(error)).await;
}

/// Syncs each volume through the file of one of its streams, which was open when the others' bytes came:
/// a file that is opened now would not be told of an error that others were told of before.
fn sync_volumes(streams: &[Arc<Stream>]) -> io::Result<()> {
    let mut synced = Vec::new();
    let mut result = Ok(());
    for stream in streams {
        if !synced.contains(&stream.home.volume) {
            synced.push(stream.home.volume);
            result = result.and(stream.sync_volume());
        }
    }
    result
}

/// A sync of the whole volume says once that something was lost, not what: it may have been bytes
/// of a stream of the next round. From then on each file is asked once for itself, which knows.
fn sync(all: &Streams, streams: &[Arc<Stream>]) -> Vec<io::Result<()>> {
    let is_whole = streams.len() > SINGLE_SYNCS_MAX;
    if is_whole && sync_volumes(streams).is_err() {
        all.volume_failures.fetch_add(1, Ordering::AcqRel);
    }
    let failures = all.volume_failures.load(Ordering::Acquire);
    let ask = |stream: &Arc<Stream>| {
        if is_whole && stream.failures_checked.swap(failures, Ordering::AcqRel) == failures {
            return Ok(());
        }
        stream.sync()
    };
    streams.iter().map(ask).collect()
}

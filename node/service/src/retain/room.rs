//! Making room before anything new is refused, where the configuration says so (`vault.when_full`).
//!
//! Invariants: nothing goes for want of space but what [`holdfast_core::retention::is_spare`] names, which
//! is nothing that one destination still has to get, and nothing under a legal hold; the core decides that
//! anew in the transaction that commits the intent. Carried out, noted and receipted it is as any deletion.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::RecordingId;
use holdfast_core::names::VolumeId;
use holdfast_core::recording::{Event, File, Recording, State};
use holdfast_core::retention::{self, Rule};
use jiff::Timestamp;

use crate::blocking;
use crate::config::WhenFull;
use crate::ledger::{Filter, LedgerError};
use crate::node::{Node, NodeError};
use crate::vault::{Vault, Volume, VolumeState};

/// Pause between two looks at what is free.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How long nothing is looked for after nothing was found: that reads through the ledger.
const NOTHING_PAUSE: Duration = Duration::from_secs(10);
/// Most recordings that are remembered while the oldest are looked for.
const SPARE_MAX: usize = 10_000;
/// Recordings read in one go.
const PAGE: usize = 500;
/// How often it is looked whether what goes has gone, and the pause between.
const WAITS_MAX: u32 = 50;
const WAIT: Duration = Duration::from_millis(100);

/// One makes room at a time, and remembers until when nothing is to be found.
#[derive(Debug, Default)]
pub struct Room {
    nothing_until: tokio::sync::Mutex<Duration>,
}

/// A recording with files that can go.
struct Spare {
    id: RecordingId,
    bytes: u64,
}

/// What can go from a volume, the oldest recording first, and how many bytes are going already.
#[derive(Default)]
struct Found {
    spare: VecDeque<Spare>,
    going: u64,
}

impl Found {
    fn bytes(&self) -> u64 {
        self.spare.iter().map(|it| it.bytes).sum()
    }
}

/// A volume that is to have more free.
struct Short<'a> {
    volume: &'a Volume,
    free: u64,
    is_full: bool,
}

/// Keeps the higher water mark, as far as there is something that can go. Until the node stops; comes to an
/// end at once where nothing is to be dropped.
pub async fn run(node: Arc<Node>) {
    if node.config.vault.when_full != WhenFull::DropDeliveredFirst {
        return;
    }
    loop {
        tokio::select! {
            () = node.clock.sleep_until(None, LOOK_PAUSE, LOOK_PAUSE) => {}
            () = node.stop.cancelled() => return,
        }
        if let Err(error) = keep_free(&node).await {
            tracing::error!(%error, "what every destination has could not be dropped to make room");
        }
    }
}

async fn keep_free(node: &Arc<Node>) -> Result<(), NodeError> {
    let target = node.config.vault.free_bytes_again();
    let short = shortest_first(node).await?;
    let short: Vec<_> = short.into_iter().filter(|it| it.free < target).collect();
    if short.is_empty() {
        return Ok(());
    }
    let mut nothing_until = node.room.nothing_until.lock().await;
    if node.clock.boottime() < *nothing_until {
        return Ok(());
    }
    let mut dropped = 0;
    for it in short {
        let found = find(node, it.volume).await?;
        let missing = target.saturating_sub(it.free).saturating_sub(found.going);
        dropped += found.going + drop_oldest(node, it.volume, found, missing).await?;
    }
    if dropped == 0 {
        *nothing_until = node.clock.boottime() + NOTHING_PAUSE;
    }
    Ok(())
}

/// Makes room for a new recording of up to `bytes` bytes that was refused for want of it. Answers whether it
/// can be tried again. Nothing is dropped where that would not be enough.
///
/// # Errors
/// [`NodeError`] when it could not be found out.
pub async fn make(node: &Arc<Node>, bytes: u64) -> Result<bool, NodeError> {
    let vault = &node.config.vault;
    if vault.when_full != WhenFull::DropDeliveredFirst {
        return Ok(false);
    }
    let mut nothing_until = node.room.nothing_until.lock().await;
    // Somebody else may have made it meanwhile.
    if fits(node, bytes).await? {
        return Ok(true);
    }
    if node.clock.boottime() < *nothing_until {
        return Ok(false);
    }
    let low = vault.free_bytes_min.saturating_add(bytes);
    let high = low.max(vault.free_bytes_again());
    for it in shortest_first(node).await?.into_iter().rev() {
        let found = find(node, it.volume).await?;
        let needed = if it.is_full { high } else { low };
        if it.free.saturating_add(found.going).saturating_add(found.bytes()) < needed {
            continue;
        }
        let missing = high.saturating_sub(it.free).saturating_sub(found.going);
        drop_oldest(node, it.volume, found, missing).await?;
        for _ in 0..WAITS_MAX {
            if fits(node, bytes).await? {
                return Ok(true);
            }
            tokio::select! {
                () = node.clock.sleep_until(None, WAIT, WAIT) => {}
                () = node.stop.cancelled() => return Ok(false),
            }
        }
    }
    *nothing_until = node.clock.boottime() + NOTHING_PAUSE;
    Ok(false)
}

async fn fits(node: &Arc<Node>, bytes: u64) -> Result<bool, NodeError> {
    let looked = node.with_vault(move |vault| {
        vault.look();
        Ok(vault.place(bytes).is_ok())
    });
    looked.await
}

/// The volumes that can be written, the one with least room first.
async fn shortest_first(node: &Arc<Node>) -> Result<Vec<Short<'_>>, NodeError> {
    let measured = node.with_vault(|vault: &Vault| {
        let all = vault.volumes().iter().enumerate();
        let all =
            all.filter(|(_, it)| it.state().is_there() && it.state() != VolumeState::ReadOnly);
        Ok(all.filter_map(|(at, it)| Some((at, vault.free_bytes(it).ok()?))).collect::<Vec<_>>())
    });
    let short = measured.await?.into_iter().map(|(at, free)| {
        let volume = &node.vault.volumes()[at];
        Short { volume, free, is_full: volume.state() == VolumeState::Full }
    });
    let mut short: Vec<_> = short.collect();
    short.sort_by_key(|it| it.free);
    Ok(short)
}

/// What can go from a volume now.
async fn find(node: &Arc<Node>, volume: &Volume) -> Result<Found, NodeError> {
    let Some(id) = volume.id() else { return Ok(Found::default()) };
    let looking = Arc::clone(node);
    let found = blocking::run(move || look_through(&looking, id)).await;
    Ok(found.map_err(|error| NodeError::Thread(error.to_string()))??)
}

fn look_through(node: &Node, volume: VolumeId) -> Result<Found, LedgerError> {
    let (mut before, mut found, now) = (None, Found::default(), node.clock.now());
    let delivering = Filter { state: Some(State::Delivering), ..Filter::default() };
    loop {
        let (page, next) = node.ledger.list(&delivering, before, PAGE)?;
        // The newest come first.
        for recording in page.iter().filter(|it| it.volume == Some(volume)) {
            found.going += going(recording);
            let bytes = spare(recording, now).map(|file| file.bytes).sum();
            if bytes > 0 {
                found.spare.push_front(Spare { id: recording.id, bytes });
                found.spare.truncate(SPARE_MAX);
            }
        }
        match next {
            Some(_) => before = next,
            None => return Ok(found),
        }
    }
}

fn spare(recording: &Recording, now: Timestamp) -> impl Iterator<Item = &File> {
    recording.files.iter().filter(move |file| retention::is_spare(recording, file.kind, now))
}

/// Bytes that were dropped to make room and are not gone yet.
fn going(recording: &Recording) -> u64 {
    let is_going = |file: &&File| {
        let is_doomed = file.doomed.as_ref().is_some_and(|doom| doom.rule == Rule::SpaceNeeded);
        is_doomed && file.deleted_at.is_none()
    };
    recording.files.iter().filter(is_going).map(|file| file.bytes).sum()
}

/// Commits the intent to delete until so many bytes are to go. Answers how many they are.
async fn drop_oldest(
    node: &Arc<Node>,
    volume: &Volume,
    found: Found,
    missing: u64,
) -> Result<u64, NodeError> {
    let (mut dropped, mut count) = (0_u64, 0_u32);
    for Spare { id, .. } in found.spare {
        if dropped >= missing {
            break;
        }
        let _lock = node.locks.lock(id).await;
        let (recording, _) = node.ledger.apply(id, Event::SpaceNeeded, node.clock.now()).await?;
        dropped += going(&recording);
        count += 1;
    }
    if dropped > 0 {
        tracing::warn!(
            volume_name = volume.name(),
            recordings = count,
            bytes = dropped,
            "space is short: what every destination has goes before its push ends"
        );
    }
    Ok(dropped)
}

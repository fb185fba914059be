//! Watching the volumes: one that goes, one that comes back, whatever it was called before.
//!
//! While a volume is away its recordings are `unavailable`: the ledger goes on deciding about them, their
//! work is put off without costing an attempt, and nothing of them counts as gone. What the ledger
//! decides meanwhile cannot be noted in their folders (contract 2), so the ledger first notes that the
//! volume is behind; once it is back, its folders are brought up to date, and then that note goes.

pub mod erased;
pub mod helper;
pub(crate) mod known;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use holdfast_core::RecordingId;
use holdfast_core::names::VolumeId;
use holdfast_core::recording::{File, Recording, State};
use jiff::SignedDuration;

pub use known::Known;

use crate::config::{Config, Profile};
use crate::ingest::Streams;
use crate::ledger::{Filter, Ledger, LedgerError};
use crate::node::{Node, NodeError};
use crate::service;
use crate::vault::{Encryption, Home, Standing, Vault, VaultError, VolumeState};

/// How long work on a volume that is away is put off.
pub const AWAY_PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// Pause between two looks at the volumes.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Looks until a volume that could not be brought up to date is tried again.
const LOOKS_UNTIL_AGAIN: u32 = 60;
/// Recordings looked at in one go.
const PAGE: usize = 500;

/// An appliance keeps what the node knows of people encrypted too.
///
/// # Errors
/// Where it would not, with what to do.
pub fn check_state(config: &Config) -> anyhow::Result<()> {
    if config.node.profile == Profile::Development {
        return Ok(());
    }
    let path = &config.node.state_path;
    let encryption = Encryption::of_path(path)
        .with_context(|| format!("cannot look at node.state_path {}", path.display()))?;
    if !encryption.is_encrypted() {
        bail!(
            "node.state_path {} lies on a file system that is not encrypted, and the ledger in it names \
             people; put it onto a LUKS2 volume, or say node.profile = \"development\"",
            path.display()
        );
    }
    Ok(())
}

/// Says how the volumes are when the node opens.
pub fn say(vault: &Vault) {
    for volume in vault.volumes() {
        let Standing { state, why, encryption, .. } = volume.standing();
        let (name, path) = (volume.name(), volume.path().display());
        match why {
            Some(why) => {
                tracing::warn!(volume_name = name, %path, "the volume is {}: {why}", state.as_str());
            }
            None if encryption.is_encrypted() => {
                tracing::info!(volume_name = name, %path, "the vault is {}", encryption.describe());
            }
            None => {
                tracing::warn!(volume_name = name, %path, "the vault is {}", encryption.describe());
            }
        }
    }
}

/// The volumes that this node has used.
///
/// # Errors
/// [`LedgerError`].
pub fn known_volumes(ledger: &Ledger) -> Result<Vec<(VolumeId, Known)>, LedgerError> {
    ledger.read(known::all)
}

/// What was made of a volume's last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Handled {
    id: Option<VolumeId>,
    state: VolumeState,
}

impl Handled {
    /// The volume that was there then.
    fn there(self) -> Option<VolumeId> {
        self.id.filter(|_| self.state.is_there())
    }

    /// The volume that took notes then.
    fn written(self) -> Option<VolumeId> {
        self.id.filter(|_| self.state.is_there() && self.state != VolumeState::ReadOnly)
    }
}

/// Follows volumes as they come and go.
#[derive(Debug)]
pub struct Watch {
    node: Arc<Node>,
    streams: Arc<Streams>,
    handled: Vec<Handled>,
    again: Vec<Again>,
}

/// Looks until a volume that could not be brought up to date is tried again; 0 where it need not be.
#[derive(Debug, Clone, Copy)]
struct Again(u32);

impl Again {
    fn is_due(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 == 1
    }
}

impl Watch {
    /// Begins: what is known of volumes that are not there is noted to be behind, and those that were
    /// are brought up to date.
    ///
    /// # Errors
    /// [`NodeError`] where the ledger cannot be read or written.
    pub async fn begin(node: &Arc<Node>, streams: &Arc<Streams>) -> Result<Self, NodeError> {
        let here: Vec<_> = node.vault.volumes().iter().map(handled).collect();
        let written: Vec<_> = here.iter().filter_map(|it| it.written()).collect();
        for (id, known) in node.ledger.read(known::all)? {
            node.vault.set_known(id, &known.name, known.behind);
            if !known.behind && !written.contains(&id) {
                tracing::warn!(volume = %id, volume_name = known.name, "a volume that was here is not");
                known::set_behind(node, id, true).await?;
            }
        }
        let nothing = Handled { id: None, state: VolumeState::Away };
        let handled = here.iter().map(|_| nothing).collect();
        let again = here.iter().map(|_| Again(0)).collect();
        let (node, streams) = (Arc::clone(node), Arc::clone(streams));
        let mut watch = Self { node, streams, handled, again };
        watch.follow(&here).await?;
        Ok(watch)
    }

    /// Looks once, and follows what is seen.
    ///
    /// # Errors
    /// [`NodeError`]; the next look tries again.
    pub async fn look(&mut self) -> Result<(), NodeError> {
        let looked = self.node.with_vault(|vault| {
            vault.look();
            Ok(vault.volumes().iter().map(handled).collect::<Vec<_>>())
        });
        let now = looked.await?;
        self.follow(&now).await
    }

    /// What cannot be noted of one volume keeps none of the others waiting.
    async fn follow(&mut self, now: &[Handled]) -> Result<(), NodeError> {
        let mut result = Ok(());
        for (at, now) in now.iter().enumerate() {
            let before = self.handled[at];
            if before == *now && !self.again[at].is_due() {
                continue;
            }
            if before != *now {
                self.say(at, *now);
            }
            match self.follow_one(at, before, *now).await {
                Ok(is_up_to_date) => {
                    self.handled[at] = *now;
                    self.again[at] = Again(if is_up_to_date { 0 } else { LOOKS_UNTIL_AGAIN });
                }
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// Answers whether its folders know everything now, if it is there.
    async fn follow_one(
        &self,
        at: usize,
        before: Handled,
        now: Handled,
    ) -> Result<bool, NodeError> {
        let (node, is_there) = (&self.node, now.state.is_there());
        if let Some(gone) = before.written().filter(|id| now.written() != Some(*id)) {
            known::set_behind(node, gone, true).await?;
        }
        if let Some(gone) = before.there().filter(|id| now.written() != Some(*id)) {
            self.streams.leave_volume(gone).await;
        }
        let Some(id) = now.id.filter(|_| is_there) else { return Ok(true) };
        let known = known::seen(node, id, node.vault.volumes()[at].name()).await?;
        if now.state == VolumeState::ReadOnly {
            return known::set_behind(node, id, true).await.map(|()| true);
        }
        // Of one that comes for the first time the ledger may not know what lies on it.
        let is_new = known.is_none();
        let is_behind = known.is_some_and(|known| known.behind);
        let mut is_done = true;
        if is_behind {
            is_done = bring_folders_up_to_date(node, id).await?;
        }
        if is_behind || is_new {
            is_done &= take_in_unknown_folders(node, at).await?;
        }
        if is_behind && is_done {
            known::set_behind(node, id, false).await?;
            tracing::info!(volume = %id, "the volume is back, and up to date");
        }
        Ok(is_done && end_trials(node, id).await)
    }

    fn say(&self, at: usize, now: Handled) {
        let volume = &self.node.vault.volumes()[at];
        let (name, state) = (volume.name(), now.state.as_str());
        match volume.standing().why {
            Some(why) => tracing::warn!(volume_name = name, state, "{why}"),
            None => tracing::info!(volume_name = name, state, "the volume is ready"),
        }
    }

    /// Watches until the node stops.
    pub async fn run(mut self) {
        let node = Arc::clone(&self.node);
        loop {
            tokio::select! {
                () = node.clock.sleep_until(None, LOOK_PAUSE, LOOK_PAUSE) => {}
                () = node.stop.cancelled() => return,
            }
            if let Err(error) = self.look().await {
                tracing::error!(%error, "what became of a volume could not be noted; tried again");
            }
        }
    }
}

fn handled(volume: &crate::vault::Volume) -> Handled {
    let Standing { id, state, .. } = volume.standing();
    // Between these nothing has to be done.
    let state = match state {
        VolumeState::Full | VolumeState::Failing => VolumeState::Ready,
        other => other,
    };
    Handled { id, state }
}

/// Removes what a self-test left that was killed with its node, or whose volume went. Answers whether
/// it need not be tried again.
async fn end_trials(node: &Node, id: VolumeId) -> bool {
    // One that runs sees to it by itself.
    let Ok(_alone) = node.selftest.try_lock() else { return true };
    let ended = node.with_vault(move |vault| vault.end_trial(id)).await;
    if let Err(error) = &ended {
        tracing::warn!(volume = %id, %error, "what a self-test left is still there");
    }
    ended.is_ok()
}

/// Brings the folders of a volume that is back up to date with the ledger. Answers whether all are.
async fn bring_folders_up_to_date(node: &Arc<Node>, id: VolumeId) -> Result<bool, NodeError> {
    let (mut before, mut is_done) = (None, true);
    loop {
        let (page, next) = node.ledger.list(&Filter::default(), before, PAGE)?;
        for recording in page.iter().filter(|it| it.volume.is_none_or(|volume| volume == id)) {
            match note(node, recording.id).await {
                Ok(()) => {}
                Err(error @ NodeError::Ledger(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(recording = %recording.id, %error, "its folder is behind");
                    is_done = false;
                }
            }
        }
        match next {
            Some(_) => before = next,
            None => return Ok(is_done),
        }
    }
}

/// Takes in what lies on a volume and the ledger does not know. Answers whether it could be looked at.
async fn take_in_unknown_folders(node: &Arc<Node>, at: usize) -> Result<bool, NodeError> {
    let homes = node.with_vault(move |vault| vault.homes_on(&vault.volumes()[at])).await;
    let homes = match homes {
        Ok(homes) => homes,
        Err(error) => {
            tracing::warn!(%error, "what lies on a volume could not be looked at");
            return Ok(false);
        }
    };
    for home in homes {
        if node.ledger.get(home.id)?.is_none() {
            take_in(node, home).await;
        }
    }
    Ok(true)
}

async fn take_in(node: &Arc<Node>, home: Home) {
    if let Err(error) = service::take_in(node, home).await {
        tracing::warn!(recording = %home.id, %error, "could not be taken in again; at the next start");
    }
}

/// Writes what the ledger knows of a recording into its folder, if that says something else; cuts it
/// back to its durable bytes if it is arriving. What ended as a whole goes once more: its disk may have
/// gone while it was deleted.
async fn note(node: &Arc<Node>, id: RecordingId) -> Result<(), NodeError> {
    let _lock = node.locks.lock(id).await;
    let Some(recording) = node.ledger.get(id)? else { return Ok(()) };
    let is_left = recording.state == State::Receiving && !recording.attached;
    let is_gone = recording.is_ended() && !recording.files.iter().any(File::is_local);
    node.with_vault(move |vault| {
        if !vault.is_here(&recording)? {
            return Ok(());
        }
        if is_gone {
            return vault.delete(&recording, &[], true).map(drop);
        }
        let is_noted = vault.manifest(&recording).is_ok_and(|there| there == recording);
        // What is of unknown status now may have had a manifest that could not be read.
        if !is_noted && recording.state != State::Unknown {
            vault.note(&recording)?;
        }
        if is_left {
            cut_back(vault, &recording);
        }
        Ok(())
    })
    .await
}

/// Without its file there is nothing to cut; whoever goes on with it finds that out.
pub(crate) fn cut_back(vault: &Vault, recording: &Recording) {
    let cut: Result<_, VaultError> = vault.open_raw_at(recording, recording.bytes);
    if let Err(error) = cut {
        tracing::warn!(recording = %recording.id, %error, "could not be cut back to its durable bytes yet");
    }
}

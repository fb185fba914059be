//! What the rooms share: one of each, handed to whoever needs it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, bail};
use holdfast_core::recording::{Event, Recording, step};
use holdfast_core::{Lane, RecordingId, retention};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::audit::AuditLog;
use crate::blocking;
use crate::clock::{self, Clock};
use crate::config::Config;
use crate::deliver::Pushing;
use crate::deliver::bandwidth::Bandwidth;
use crate::deliver::memo::Forgetter;
use crate::hardware::Hardware;
use crate::keys::Keys;
use crate::ledger::{self, Ledger, LedgerError, Observer, Place, Stepped};
use crate::nodekey::NodeKey;
use crate::queue::Queue;
use crate::retain::room::Room;
use crate::settings::Settings;
use crate::transcode::live::{self, Live};
use crate::vault::{Home, Vault, VaultError};
use crate::volumes;
use crate::webhooks::Webhooks;

/// A node: its settings, its time, its memory, its storage.
#[derive(Debug)]
pub struct Node {
    /// Its settings.
    pub config: Config,
    /// Its time.
    pub clock: Clock,
    /// Its own key.
    pub key: NodeKey,
    /// What it knows.
    pub ledger: Ledger,
    /// Where recordings lie. Its calls block.
    pub vault: Arc<Vault>,
    /// What customers set: environments, destinations.
    pub settings: Settings,
    /// Who may use the API.
    pub keys: Keys,
    /// Who did what.
    pub audit: AuditLog,
    /// Telling customers' systems what happens.
    pub webhooks: Webhooks,
    /// Pushing: how fast, to whom now, what was tried, what is under way.
    pub pushing: Pushing,
    /// What encodes, and who works on it.
    pub hardware: Hardware,
    /// Recordings that are transcoded while they come in.
    pub live: Live,
    /// How far running transcodes have come.
    pub progress: Progress,
    /// Work that runs, so that deleting a recording can stop it.
    pub running: Running,
    /// One change of a recording's folder at a time.
    pub locks: Locks,
    /// Making room where a volume runs short.
    pub room: Room,
    /// Held by the self-test that runs.
    pub selftest: Arc<tokio::sync::Mutex<()>>,
    /// Cancelled when the node is to stop: nothing new is begun.
    pub stop: CancellationToken,
    /// Cancelled a while later: what still runs is broken off, and goes on at the next start.
    pub halt: CancellationToken,
}

/// Something that a room could not do.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A thread for blocking calls ended early.
    #[error("a worker thread ended: {0}")]
    Thread(String),
}

impl NodeError {
    /// Whether it is for want of space.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self, Self::Vault(error) if error.is_no_space())
    }
}

impl Node {
    /// Opens a node: its vault, key, ledger and settings. Nothing runs yet.
    ///
    /// # Errors
    /// What is missing or does not fit together, with its path and what to do.
    pub fn open(config: Config, clock: Clock) -> anyhow::Result<Arc<Self>> {
        let state_path = &config.node.state_path;
        std::fs::create_dir_all(state_path)
            .with_context(|| format!("cannot make the state folder {}", state_path.display()))?;
        volumes::check_state(&config)?;
        let vault = Vault::of(&config.vault, config.node.profile)?
            .with_erasure(&config.vault.means(&config.node, clock.now()))?;
        volumes::say(&vault);
        let ledger_path = ledger::path(&config);
        let is_missing = std::fs::metadata(&ledger_path).map_or(true, |data| data.len() == 0);
        // One that this box never had has nothing of this node's.
        let mut away =
            vault.volumes().iter().filter(|volume| is_missing && !volume.state().is_there());
        if let Some(away) = away.find(|volume| !volumes::helper::never_had(volume.name())) {
            bail!(
                "there is no ledger {}, and the volume {} is away: whether it has recordings cannot be \
                 told; open it first, or take it out of the configuration",
                ledger_path.display(),
                away.name()
            );
        }
        if is_missing && !vault.homes()?.is_empty() {
            bail!(
                "the vault {} has recordings, but there is no ledger {}; make a new one from the \
                 vault with `holdfast ledger rebuild`, or every recording would be of unknown status",
                config.vault.places(),
                ledger_path.display()
            );
        }
        let key = NodeKey::load_or_make(state_path)?;
        Self::assemble(config, clock, vault, key, &Place::File(ledger_path), Vec::new())
    }

    /// A node of these parts, which opens its ledger and settings. The observers are told beside the
    /// node's own.
    pub(crate) fn assemble(
        config: Config,
        clock: Clock,
        vault: Vault,
        key: NodeKey,
        place: &Place,
        mut observers: Vec<Arc<dyn Observer>>,
    ) -> anyhow::Result<Arc<Self>> {
        let audit = AuditLog::new(&key)?.with_erased(vault.erased_keys());
        let webhooks = Webhooks::open(&config)?;
        let zone = retention::zone(&config.node.zone);
        let pushing = Pushing::new(Bandwidth::new(&config.deliver.bandwidth, &clock, &zone));
        observers.extend([
            audit.observer(),
            webhooks.observer(),
            pushing.journal.observer(),
            Arc::new(Forgetter),
        ]);
        let now = |read: &_, latest| clock::resume(&clock, config.node.clock, read, latest);
        let ledger = Ledger::open_at(place, now, observers)?;
        let settings = Settings::open(&config, &ledger, &key, webhooks.listeners.clone())?;
        let keys = Keys::open(&config.operate.keys, &ledger)?;
        let jobs_max = config.transcode.jobs_max;
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let software_jobs_max = jobs_max.unwrap_or(cores / 2).max(1);
        let hardware = Hardware::new(software_jobs_max, jobs_max);
        let live = Live::new(live::jobs_max(&config.transcode, software_jobs_max));
        Ok(Arc::new(Self {
            config,
            clock,
            key,
            ledger,
            vault: Arc::new(vault),
            settings,
            keys,
            audit,
            webhooks,
            pushing,
            hardware,
            live,
            progress: Progress::default(),
            running: Running::default(),
            locks: Locks::default(),
            room: Room::default(),
            selftest: Arc::default(),
            stop: CancellationToken::new(),
            halt: CancellationToken::new(),
        }))
    }

    /// Steps a recording: its manifest first, then the ledger, which decides.
    ///
    /// # Errors
    /// [`NodeError`] when nothing was done.
    pub async fn step(&self, id: RecordingId, event: Event) -> Result<Stepped, NodeError> {
        self.step_all(id, [event]).await
    }

    /// Steps a recording through several events at once.
    ///
    /// Lifting a legal hold is committed first and noted then: a folder must not say that it was
    /// lifted where nobody was told so.
    ///
    /// # Errors
    /// [`NodeError`] when nothing was done.
    pub async fn step_all<const N: usize>(
        &self,
        id: RecordingId,
        events: [Event; N],
    ) -> Result<Stepped, NodeError> {
        let _lock = self.locks.lock(id).await;
        let now = self.clock.now();
        if events.iter().any(|event| matches!(event, Event::HoldLifted { .. })) {
            let stepped = self.ledger.apply_all(id, events.into(), now).await?;
            self.note_afterwards(&stepped.0).await;
            return Ok(stepped);
        }
        self.note(id, &events, now).await?;
        Ok(self.ledger.apply_all(id, events.into(), now).await?)
    }

    /// Ends the claim on a recording's work in a lane with what came of it.
    ///
    /// # Errors
    /// [`NodeError`] when nothing was done; the claim then ends with its lease.
    pub async fn settle<Q: Queue>(
        &self,
        queue: &Q,
        id: RecordingId,
        lane: Lane,
        events: Vec<Event>,
    ) -> Result<Stepped, NodeError> {
        let _lock = self.locks.lock(id).await;
        let now = self.clock.now();
        self.note(id, &events, now).await?;
        Ok(queue.settle(id, lane, events, now).await?)
    }

    /// Deletes a recording: commits the intent, stops what runs for it, and notes the intent in its
    /// folder. That note may fail, on a full disk for one: the ledger's word is enough.
    ///
    /// Without effects nothing was done: it had ended before, or is under a legal hold.
    ///
    /// # Errors
    /// [`LedgerError`] when nothing was done.
    pub async fn delete(&self, id: RecordingId, by: &str) -> Result<Stepped, LedgerError> {
        let _lock = self.locks.lock(id).await;
        let event = Event::DeleteRequested { by: by.to_owned() };
        let stepped = self.ledger.apply(id, event, self.clock.now()).await?;
        if stepped.1.is_empty() {
            return Ok(stepped);
        }
        self.running.cancel(id);
        self.live.give_up(id);
        self.note_afterwards(&stepped.0).await;
        Ok(stepped)
    }

    /// Writes into a recording's folder what the ledger knows already. Where that fails, the ledger's
    /// word is enough.
    async fn note_afterwards(&self, recording: &Recording) {
        let (id, recording) = (recording.id, recording.clone());
        if let Err(error) = self.with_vault(move |vault| vault.note(&recording)).await {
            tracing::warn!(recording = %id, %error, "its folder does not say yet what became of it");
        }
    }

    /// Writes what a recording is about to become into its folder, if it still has one.
    async fn note(
        &self,
        id: RecordingId,
        events: &[Event],
        now: Timestamp,
    ) -> Result<(), NodeError> {
        let mut next = self.ledger.get(id)?.ok_or(LedgerError::NoSuchRecording(id))?;
        for event in events {
            next = step(&next, event.clone(), now).0;
        }
        self.with_vault(move |vault| vault.note(&next)).await
    }

    /// Does something with the vault on a thread that may block.
    ///
    /// # Errors
    /// What it answers, or [`NodeError::Thread`].
    pub async fn with_vault<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Vault) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let vault = Arc::clone(&self.vault);
        let done =
            blocking::run(move || act(&vault).inspect_err(|error| vault.note_failure(error)));
        let done = done.await;
        Ok(done.map_err(|error| NodeError::Thread(error.to_string()))??)
    }

    /// Why the files of a recording cannot be had now: its volume is away, or its key cannot be used.
    /// Looks anew.
    pub async fn away(&self, recording: &Recording) -> Option<VaultError> {
        let home = Home::from(recording);
        let looked = self.with_vault(move |vault| {
            // A disk that was pulled may answer from memory for a while.
            vault.confirm(home)?;
            vault.lease(home).map(drop)
        });
        match looked.await {
            Err(NodeError::Vault(error @ (VaultError::Away { .. } | VaultError::Erasure(_)))) => {
                Some(error)
            }
            _ => None,
        }
    }

    /// The Unix socket at which the command line finds the running node.
    #[must_use]
    pub fn socket_path(config: &Config) -> PathBuf {
        config.node.state_path.join("holdfast.sock")
    }
}

/// Locks for recordings; some recordings share one.
#[derive(Debug)]
pub struct Locks([tokio::sync::Mutex<()>; LOCKS]);

const LOCKS: usize = 64;

impl Default for Locks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| tokio::sync::Mutex::default()))
    }
}

impl Locks {
    /// Waits until nobody else changes this recording's folder.
    pub async fn lock(&self, id: RecordingId) -> tokio::sync::MutexGuard<'_, ()> {
        // The last byte of an id is random.
        let last = id.to_bytes()[15];
        self.0[usize::from(last) % LOCKS].lock().await
    }
}

/// How far running transcodes have come, from 0 to 1.
#[derive(Debug, Default)]
pub struct Progress(Mutex<HashMap<RecordingId, f32>>);

impl Progress {
    /// How far one has come, while it runs.
    #[must_use]
    pub fn get(&self, id: RecordingId) -> Option<f32> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id).copied()
    }

    /// Notes how far one has come; `None` when it has ended.
    pub fn set(&self, id: RecordingId, done: Option<f32>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Some(done) => all.insert(id, done.clamp(0.0, 1.0)),
            None => all.remove(&id),
        };
    }
}

/// Work that runs, by recording and lane.
#[derive(Debug, Default)]
pub struct Running(Mutex<HashMap<(RecordingId, Lane), CancellationToken>>);

impl Running {
    /// Notes that work begins; it is to stop when the token is cancelled. `None` where such work runs
    /// already: its lease ended because the clock was set, not because it died.
    #[must_use]
    pub fn begin(
        &self,
        id: RecordingId,
        lane: Lane,
        stop: &CancellationToken,
    ) -> Option<CancellationToken> {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.contains_key(&(id, lane)) {
            return None;
        }
        let token = stop.child_token();
        running.insert((id, lane), token.clone());
        Some(token)
    }

    /// Notes that it has ended.
    pub fn end(&self, id: RecordingId, lane: Lane) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&(id, lane));
    }

    /// Stops the work of a recording, if any runs.
    pub fn cancel(&self, id: RecordingId) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for lane in Lane::ALL {
            if let Some(token) = running.get(&(id, lane)) {
                token.cancel();
            }
        }
    }
}

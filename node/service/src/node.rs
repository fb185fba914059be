//! What the rooms share: one of each, handed to whoever needs it.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_core::recording::{Event, Recording, step};
use holdfast_core::{Effect, RecordingId};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::deliver::Destination;
use crate::ledger::{Ledger, LedgerError};
use crate::vault::{Vault, VaultError};

/// A node: its settings, its time, its memory, its storage.
#[derive(Debug)]
pub struct Node {
    /// Its settings.
    pub config: Config,
    /// Its time.
    pub clock: Clock,
    /// What it knows.
    pub ledger: Ledger,
    /// Where recordings lie. Its calls block.
    pub vault: Arc<Vault>,
    /// Where recordings are pushed to, by name.
    pub destinations: BTreeMap<String, Box<dyn Destination>>,
    /// How far running transcodes have come.
    pub progress: Progress,
    /// Work that runs, so that deleting a recording can stop it.
    pub running: Running,
    /// Cancelled when the node is to stop.
    pub stop: CancellationToken,
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
    /// Steps a recording: its manifest first, then the ledger, which decides.
    ///
    /// # Errors
    /// [`NodeError`] when nothing was done.
    pub async fn step(
        &self,
        id: RecordingId,
        event: Event,
    ) -> Result<(Recording, Vec<Effect>), NodeError> {
        let now = self.clock.now();
        let current = self.ledger.get(id)?.ok_or(LedgerError::NoSuchRecording(id))?;
        let (next, _) = step(&current, event.clone(), now);
        self.with_vault(move |vault| vault.note(&next)).await?;
        Ok(self.ledger.apply(id, event, now).await?)
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
        let done = tokio::task::spawn_blocking(move || act(&vault)).await;
        Ok(done.map_err(|error| NodeError::Thread(error.to_string()))??)
    }

    /// The Unix socket at which the command line finds the running node.
    #[must_use]
    pub fn socket_path(config: &Config) -> PathBuf {
        config.node.state_path.join("holdfast.sock")
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

/// Work that runs, by recording.
#[derive(Debug, Default)]
pub struct Running(Mutex<HashMap<RecordingId, CancellationToken>>);

impl Running {
    /// Notes that work begins; it is to stop when the token is cancelled.
    #[must_use]
    pub fn begin(&self, id: RecordingId, stop: &CancellationToken) -> CancellationToken {
        let token = stop.child_token();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, token.clone());
        token
    }

    /// Notes that it has ended.
    pub fn end(&self, id: RecordingId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Stops the work of a recording, if any runs.
    pub fn cancel(&self, id: RecordingId) {
        if let Some(token) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&id) {
            token.cancel();
        }
    }
}

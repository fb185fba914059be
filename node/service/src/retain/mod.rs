//! Recovering what its client left, and deleting what the core says is due (contract 3).

pub mod epochs;
pub mod room;

use std::sync::Arc;

use holdfast_core::recording::{Event, FileKind, Recording};
use holdfast_core::sniff;
use holdfast_core::{Effect, Lane, RecordingId};
use tokio_util::sync::CancellationToken;

use crate::digest;
use crate::ingest::Streams;
use crate::node::{Node, NodeError};
use crate::queue::Work;
use crate::vault::{Home, VaultError};
use crate::volumes::AWAY_PAUSE;

/// The worker of the lane [`Lane::Retain`].
#[derive(Debug)]
pub struct Retainer {
    node: Arc<Node>,
    streams: Arc<Streams>,
}

impl Retainer {
    /// A worker for a node.
    #[must_use]
    pub fn new(node: Arc<Node>, streams: Arc<Streams>) -> Self {
        Self { node, streams }
    }

    async fn act(&self, home: Home, effects: Vec<Effect>) -> Result<Option<Event>, NodeError> {
        let id = home.id;
        for effect in effects {
            match effect {
                Effect::Delete { kinds, folder } => {
                    let unlinked = kinds.clone();
                    let lock = self.node.locks.lock(id).await;
                    // A hold is set under the same lock: whoever was told of it finds the files.
                    if self.node.ledger.get(id)?.is_some_and(|rec| rec.hold.is_some()) {
                        return Ok(Some(Event::Interrupted(Lane::Retain)));
                    }
                    let deletion = self
                        .node
                        .with_vault(move |vault| vault.delete(home, &unlinked, folder))
                        .await?;
                    drop(lock);
                    tracing::info!(recording = %id, ?kinds, ?deletion, "deleted");
                    if kinds.contains(&FileKind::Raw) {
                        self.streams.forget(id);
                    }
                    return Ok(Some(Event::FilesDeleted(kinds)));
                }
                Effect::Recover => {
                    return Ok(Some(self.recover(id).await?));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    async fn recover(&self, id: RecordingId) -> Result<Event, NodeError> {
        let lock = self.node.locks.lock(id).await;
        let recording = self.node.ledger.get(id)?.filter(|rec| !rec.attached);
        let Some(recording) = recording else { return Ok(Event::Interrupted(Lane::Retain)) };
        let closed = self.node.with_vault(move |vault| {
            let home = Home::from(&recording);
            let raw = vault.open_raw_at(home, recording.bytes)?;
            let failed = |source| vault.failed("recover", home, source);
            let close = || {
                let (bytes, sha256) = digest::of_file(&raw)?;
                let head = digest::read_start(&raw, sniff::HEAD_BYTES as u64)?;
                Ok((bytes, sha256, sniff::sniff(&head)))
            };
            close().map_err(failed)
        });
        let (bytes, sha256, container) = closed.await?;
        drop(lock);
        tracing::info!(recording = %id, bytes, ?container, "its client never came back");
        Ok(Event::Recovered { bytes, sha256, container })
    }
}

impl Work for Retainer {
    fn lane(&self) -> Lane {
        Lane::Retain
    }

    async fn work(
        &self,
        recording: Recording,
        effects: Vec<Effect>,
        _cancel: CancellationToken,
    ) -> Vec<Event> {
        let event = match self.act(Home::from(&recording), effects).await {
            Ok(event) => event,
            Err(NodeError::Vault(away @ VaultError::Away { .. })) => {
                tracing::debug!(recording = %recording.id, error = %away, "waits to be cleared away");
                let until = self.node.clock.now() + AWAY_PAUSE;
                let extended = self.node.ledger.extend(recording.id, Lane::Retain, until).await;
                extended.err().and_then(|error| {
                    tracing::warn!(recording = %recording.id, %error, "tried again sooner");
                    None
                })
            }
            Err(error) => {
                tracing::error!(recording = %recording.id, %error, "could not be cleared away; tried again later");
                None
            }
        };
        event.into_iter().collect()
    }
}

/// The worker of the lane [`Lane::Expire`]: decides by the rules of time, while the clock is trusted.
#[derive(Debug)]
pub struct Expirer {
    node: Arc<Node>,
}

impl Expirer {
    /// A worker for a node.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

impl Work for Expirer {
    fn lane(&self) -> Lane {
        Lane::Expire
    }

    fn is_open(&self) -> bool {
        self.node.clock_is_trusted().unwrap_or(false)
    }

    async fn work(
        &self,
        recording: Recording,
        effects: Vec<Effect>,
        _cancel: CancellationToken,
    ) -> Vec<Event> {
        let id = recording.id;
        for effect in effects {
            match effect {
                Effect::Cancel => self.node.running.cancel(id),
                Effect::Forget => {
                    if let Err(error) = self.node.ledger.forget(id).await {
                        tracing::error!(recording = %id, %error, "its entry could not be removed");
                    }
                    return Vec::new();
                }
                _ => {}
            }
        }
        // Nothing came of it that the core has to know; this ends the claim.
        vec![Event::Interrupted(Lane::Expire)]
    }
}

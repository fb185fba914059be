//! The worker that pushes: one attempt gives every pending file its turn. What our own storage has of
//! a deleted recording it takes back.

use std::sync::Arc;

use futures_util::FutureExt;
use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::names;
use holdfast_core::push_order;
use holdfast_core::recording::{Event, FileKind, Owned, Recording};
use holdfast_core::{Effect, Lane, retention};
use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

use super::memo::{Memo, Of};
use super::progress::Progress;
use super::{Destination, FileToPush, PushError};
use crate::node::Node;
use crate::queue::Work;

/// The worker of the lane [`Lane::Deliver`].
#[derive(Debug)]
pub struct Deliverer {
    node: Arc<Node>,
}

impl Deliverer {
    /// A worker for a node.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        Self { node }
    }

    /// Pushes in order. A destination that did not get the main file is not tried with the others:
    /// its push cannot succeed any more in this attempt.
    async fn attempt(
        &self,
        recording: &Recording,
        pending: Vec<(String, FileKind)>,
    ) -> Option<Failure> {
        let main = push_order::main_kind(&recording.policy);
        let mut failure = None;
        let mut without_main: Option<String> = None;
        for (destination, kind) in pending {
            if without_main.as_deref() == Some(destination.as_str()) {
                continue;
            }
            let Err(error) = self.push(recording, &destination, kind).await else { continue };
            let (id, attempt) = (recording.id, recording.push.made);
            tracing::warn!(recording = %id, attempt, destination, kind = kind.as_str(), %error, "not pushed");
            if kind == main {
                without_main = Some(destination);
            }
            failure.get_or_insert(Failure {
                fault: error.fault,
                sentence: error.sentence,
                at: self.node.clock.now(),
            });
        }
        // The wait counts from the moment the failure became known: the end of the attempt.
        failure.map(|failure| Failure { at: self.node.clock.now(), ..failure })
    }

    async fn pushed(
        &self,
        recording: &Recording,
        pending: Vec<(String, FileKind)>,
    ) -> Option<Event> {
        Some(Event::PushEnded { failure: self.attempt(recording, pending).await })
    }

    /// Deletes from our own storage, until something fails.
    async fn withdrawn(&self, recording: &Recording, files: Vec<Owned>) -> Option<Event> {
        let id = recording.id;
        let mut last = None;
        for Owned { destination, kind, location } in files {
            if let Some(event) = last.take()
                && let Err(error) = self.node.step(id, event).await
            {
                tracing::error!(recording = %id, %error, "what our storage deleted was not noted");
                return None;
            }
            let name = name_at(recording, kind);
            let deleted = match self.destination(&destination) {
                Ok(ours) => ours.withdraw(&name, location.as_deref()).await,
                Err(error) => Err(error),
            };
            if let Err(PushError { fault, sentence }) = deleted {
                tracing::warn!(recording = %id, destination, kind = kind.as_str(), sentence, "not deleted");
                let at = self.node.clock.now();
                return Some(Event::WithdrawFailed(Failure { fault, sentence, at }));
            }
            tracing::info!(recording = %id, destination, name, "deleted from our storage");
            last = Some(Event::Withdrawn { destination, kind });
        }
        last
    }

    fn destination(&self, name: &str) -> Result<Arc<dyn Destination>, PushError> {
        self.node.settings.destination(name).ok_or_else(|| PushError {
            fault: Fault::Ours,
            sentence: format!(
                "no destination is called {name:?} any more; put it back into the configuration"
            ),
        })
    }

    async fn push(
        &self,
        recording: &Recording,
        name: &str,
        kind: FileKind,
    ) -> Result<(), PushError> {
        let ours = |sentence: String| PushError { fault: Fault::Ours, sentence };
        let destination = self.destination(name)?;
        let file = recording
            .file(kind)
            .ok_or_else(|| ours(format!("the recording has no {} file", kind.as_str())))?;
        let of = Of { recording: recording.id, destination: name.to_owned(), kind };
        let limits = self.node.settings.limits(name);
        let to_push = FileToPush {
            path: self.node.vault.file(recording.id, kind),
            name: name_at(recording, kind),
            kind,
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            media_type: names::media_type(kind, recording.container),
            env_id: recording.env_id.clone(),
            saved_on: saved_on(recording),
            memo: Memo::of(&self.node.ledger, of),
            progress: Progress::limited(self.node.bandwidth.limiters(name, &limits.bandwidth)),
        };
        let location = destination.push(&to_push).await?;
        tracing::info!(recording = %recording.id, destination = name, location, "pushed");
        let event = Event::FilePushed { destination: name.to_owned(), kind, location };
        self.node.step(recording.id, event).await.map_err(|error| ours(error.to_string()))?;
        Ok(())
    }
}

/// A file's name at destinations, relative to each.
fn name_at(recording: &Recording, kind: FileKind) -> String {
    names::at_destination(&recording.policy.folder, &recording.name, kind, recording.container)
}

/// The day of SAVED in the node's zone.
fn saved_on(recording: &Recording) -> Date {
    let saved_at = recording.saved_at.unwrap_or(recording.received_at);
    saved_at.to_zoned_datetime(retention::zone(&recording.policy.zone)).date()
}

impl Work for Deliverer {
    fn lane(&self) -> Lane {
        Lane::Deliver
    }

    async fn work(
        &self,
        recording: Recording,
        effects: Vec<Effect>,
        cancel: CancellationToken,
    ) -> Option<Event> {
        for effect in effects {
            let work = match effect {
                Effect::Push(pending) => self.pushed(&recording, pending).boxed(),
                Effect::Withdraw(files) => self.withdrawn(&recording, files).boxed(),
                _ => continue,
            };
            return tokio::select! {
                event = work => event,
                () = cancel.cancelled() => None,
            };
        }
        None
    }
}

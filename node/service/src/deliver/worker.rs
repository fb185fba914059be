//! The worker that pushes: one attempt gives every pending file its turn.

use std::sync::Arc;

use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::names;
use holdfast_core::push_order;
use holdfast_core::recording::{Event, FileKind, Recording};
use holdfast_core::{Effect, Lane};
use tokio_util::sync::CancellationToken;

use super::{FileToPush, PushError};
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

    async fn push(
        &self,
        recording: &Recording,
        name: &str,
        kind: FileKind,
    ) -> Result<(), PushError> {
        let ours = |sentence: String| PushError { fault: Fault::Ours, sentence };
        let destination = self.node.settings.destination(name).ok_or_else(|| PushError {
            fault: Fault::Ours,
            sentence: format!(
                "no destination is called {name:?} any more; put it back into the configuration"
            ),
        })?;
        let file = recording
            .file(kind)
            .ok_or_else(|| ours(format!("the recording has no {} file", kind.as_str())))?;
        let to_push = FileToPush {
            path: self.node.vault.file(recording.id, kind),
            name: names::at_destination(
                &recording.policy.folder,
                &recording.name,
                kind,
                recording.container,
            ),
            kind,
            bytes: file.bytes,
            sha256: file.sha256.clone(),
            media_type: names::media_type(kind, recording.container),
        };
        let location = destination.push(&to_push).await?;
        tracing::info!(recording = %recording.id, destination = name, location, "pushed");
        let event = Event::FilePushed { destination: name.to_owned(), kind, location };
        self.node.step(recording.id, event).await.map_err(|error| ours(error.to_string()))?;
        Ok(())
    }
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
        let pending = effects.into_iter().find_map(|effect| match effect {
            Effect::Push(pending) => Some(pending),
            _ => None,
        })?;
        tokio::select! {
            failure = self.attempt(&recording, pending) => Some(Event::PushEnded { failure }),
            () = cancel.cancelled() => None,
        }
    }
}

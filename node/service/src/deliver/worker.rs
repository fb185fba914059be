//! The worker of the lane that delivers: it pushes, and takes back what our own storage has of a
//! deleted recording.

use std::sync::Arc;

use futures_util::FutureExt;
use holdfast_core::attempts::{Failure, Fault};
use holdfast_core::names;
use holdfast_core::recording::{Event, FileKind, Owned, Recording};
use holdfast_core::{Effect, Lane};
use tokio_util::sync::CancellationToken;

use super::{Destination, PushError, attempt};
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
            let deleted = match ours(&self.node, &destination) {
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
}

/// The destination of this name.
pub(super) fn find(node: &Node, name: &str) -> Result<Arc<dyn Destination>, PushError> {
    node.settings.destination(name).ok_or_else(|| PushError {
        fault: Fault::Ours,
        sentence: format!(
            "no destination is called {name:?} any more; put it back into the configuration"
        ),
    })
}

/// The destination of this name, if it still is our own storage: nothing of a recording is ever
/// deleted from a customer's.
fn ours(node: &Node, name: &str) -> Result<Arc<dyn Destination>, PushError> {
    let destination = find(node, name)?;
    if node.settings.is_ours(name) {
        return Ok(destination);
    }
    let sentence = format!(
        "destination {name:?} is not our own storage any more, so nothing is deleted there; declare it \
         with `ours` again, or delete the files there by hand"
    );
    Err(PushError { fault: Fault::Ours, sentence })
}

/// A file's name at destinations, relative to each.
pub(super) fn name_at(recording: &Recording, kind: FileKind) -> String {
    names::at_destination(&recording.policy.folder, &recording.name, kind, recording.container)
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
    ) -> Vec<Event> {
        for effect in effects {
            let work = match effect {
                Effect::Push(pending) => attempt::run(&self.node, &recording, pending).boxed(),
                Effect::Withdraw(files) => {
                    let event = self.withdrawn(&recording, files);
                    event.map(|event| event.into_iter().collect()).boxed()
                }
                _ => continue,
            };
            return tokio::select! {
                biased;
                () = cancel.cancelled() => Vec::new(),
                events = work => events,
            };
        }
        Vec::new()
    }
}

//! What pushes left half-done at destinations and will not come back for: an upload that was begun for
//! a recording which has been deleted since, or whose attempts are used up.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use holdfast_core::attempts::Fault;
use holdfast_core::push_order;
use holdfast_core::recording::State;

use super::memo::{self, Memo, Of};
use crate::ledger::LedgerError;
use crate::node::Node;

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(600);
/// Most that is looked at in a round.
const MEMOS_MAX: usize = 10_000;

/// Looks for what is left until the node stops.
pub async fn run(node: Arc<Node>) {
    loop {
        if let Err(error) = round(&node).await {
            tracing::warn!(%error, "what pushes left half-done cannot be looked for");
        }
        tokio::select! {
            () = node.clock.sleep_until(None, EVERY, EVERY) => {}
            () = node.stop.cancelled() => return,
        }
    }
}

/// One round. What cannot be taken back now is tried again in the next one, for as long as the
/// recording has its entry.
async fn round(node: &Node) -> Result<(), LedgerError> {
    // Each of their memos could take as long to fail.
    let mut silent = HashSet::new();
    for (of, left) in memo::all(&node.ledger, MEMOS_MAX)? {
        if node.stop.is_cancelled() {
            break;
        }
        let fate = fate(node, &of)?;
        if fate == Fate::Wanted {
            continue;
        }
        let Of { recording, destination, kind } = &of;
        if silent.contains(destination) && fate == Fate::GivenUp {
            continue;
        }
        if let Some(place) = node.settings.destination(destination)
            && let Err(error) = place.abandon(&left).await
        {
            let kind = kind.as_str();
            tracing::warn!(%recording, destination, kind, %error, "an upload was left half-done there");
            if error.fault == Fault::Networks {
                silent.insert(destination.clone());
            }
            if fate == Fate::GivenUp {
                continue;
            }
        }
        Memo::of(&node.ledger, of).clear_if_still(left).await?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A push will come back for it.
    Wanted,
    /// None will.
    GivenUp,
    /// The recording is not known any more.
    Forgotten,
}

fn fate(node: &Node, of: &Of) -> Result<Fate, LedgerError> {
    let Some(recording) = node.ledger.get(of.recording)? else { return Ok(Fate::Forgotten) };
    let is_pending = push_order::pending(&recording).contains(&(of.destination.clone(), of.kind));
    let is_pushing = recording.state == State::Delivering && !recording.push.exhausted;
    Ok(if is_pending && is_pushing { Fate::Wanted } else { Fate::GivenUp })
}

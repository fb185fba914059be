//! Recordings take over what their account and environment say now: after each change, and at each
//! start, since the node may have ended in between.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::recording::{Event, Recording, State, Terms};

use crate::blocking;
use crate::ledger::{Filter, LedgerError};
use crate::node::Node;

/// Recordings looked at in one go.
const PAGE: usize = 500;
/// Changes that follow each other this closely are taken over together.
const PAUSE: Duration = Duration::from_millis(200);
/// Pause after something failed.
const FAILED_PAUSE: Duration = Duration::from_secs(10);

/// Sweeps until the node stops.
pub async fn run(node: Arc<Node>) {
    let mut changes = node.settings.changes.subscribe();
    loop {
        changes.mark_unchanged();
        let pause = match once(&node).await {
            Ok(0) => PAUSE,
            Ok(changed) => {
                tracing::info!(changed, "recordings took over changed terms");
                PAUSE
            }
            Err(error) => {
                tracing::error!(%error, "changed terms could not be taken over; tried again");
                changes.mark_changed();
                FAILED_PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.stop.cancelled() => return,
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = node.stop.cancelled() => return,
        }
    }
}

/// Has every recording that has not ended take over the terms of now; answers how many did.
///
/// # Errors
/// [`LedgerError`] where some may not have.
pub async fn once(node: &Arc<Node>) -> Result<u64, LedgerError> {
    let mut changed = 0;
    for state in State::ALL {
        if matches!(state, State::Garbage | State::Deleted) {
            continue;
        }
        let filter = Filter { state: Some(state), ..Filter::default() };
        let mut before = None;
        loop {
            let looking = Arc::clone(node);
            let of = filter.clone();
            let page = blocking::run(move || looking.ledger.list(&of, before, PAGE));
            let (page, next) = page.await.map_err(|e| LedgerError::Read(e.to_string()))??;
            for recording in page {
                let Some(terms) = differing(node, &recording) else { continue };
                if node.stop.is_cancelled() {
                    return Ok(changed);
                }
                if let Err(error) = node.step(recording.id, Event::TermsChanged(terms)).await {
                    return Err(LedgerError::Write(error.to_string()));
                }
                changed += 1;
            }
            if next.is_none() {
                break;
            }
            before = next;
        }
    }
    Ok(changed)
}

/// What a recording's terms should be, if that is not what they are. One whose environment is gone
/// keeps its rules; its account's expiry goes on to count.
fn differing(node: &Node, recording: &Recording) -> Option<Terms> {
    let settings = &node.settings;
    let environment = settings.environment(&recording.env_id);
    let account = recording
        .account_id
        .as_deref()
        .or_else(|| environment.as_deref().and_then(|environment| environment.account.as_deref()));
    let account = account.and_then(|id| settings.account(id));
    let terms = Terms {
        account_expires_at: match &account {
            Some(account) => account.expires_at,
            None if environment.is_some() => None,
            None => recording.terms.account_expires_at,
        },
        lifecycle_days: match &environment {
            Some(environment) => environment.lifecycle_days,
            None => recording.terms.lifecycle_days,
        },
    };
    (terms != recording.terms).then_some(terms)
}

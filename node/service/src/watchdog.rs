//! Telling the supervisor that the node lives (`WATCHDOG_USEC`; sd_watchdog_enabled(3)).
//!
//! Each message follows an answer: of the ledger's one writing thread, asked from a task of the runtime
//! that serves. A node whose ledger or runtime hangs says nothing, and is started again.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::node::Node;

/// Least time between two messages.
const BETWEEN_MIN: Duration = Duration::from_millis(50);

/// Says so for ever, where the supervisor asked for that.
pub async fn run(node: Arc<Node>) {
    let Some(most) = sd_notify::watchdog_enabled() else { return };
    let between = (most / 4).max(BETWEEN_MIN);
    loop {
        // An answer that never comes is what the supervisor is to notice. One that the disk is full or
        // refuses is for people to mend, and a start would not.
        if let Err(error) = node.ledger.write(|_| Ok(())).await {
            tracing::warn!(%error, "the ledger answers, but not well");
        }
        drop(sd_notify::notify(&[NotifyState::Watchdog]));
        tokio::time::sleep(between).await;
    }
}

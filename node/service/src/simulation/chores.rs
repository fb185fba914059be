//! What admins of a node do: they delete, hold, try again, and change settings.

use std::sync::Arc;

use holdfast_core::RecordingId;
use holdfast_core::recording::Event;
use serde_json::Value;

use crate::node::Node;
use crate::settings::{Kind, sweep};

/// What an admin does.
#[derive(Debug, Clone)]
pub(super) enum Chore {
    Delete(RecordingId),
    Hold(RecordingId),
    Lift(RecordingId),
    Retry(RecordingId),
    /// An account or an environment is another one from now on.
    Change(Kind, String, Value),
    /// A webhook is tried out.
    Ping(String),
    /// Someone vouches for the clock, which stands before what was recorded.
    AcceptClock,
    /// Recordings take over what their account and environment say now.
    Sweep,
}

impl Chore {
    /// Whether it may change what webhooks are told.
    pub(super) fn is_about_webhooks(&self) -> bool {
        matches!(self, Self::Change(Kind::Webhook, ..) | Self::Ping(_))
    }
}

/// Does a chore, as the API does. Answers whether it was done.
pub(super) async fn do_chore(node: Arc<Node>, chore: Chore) -> Result<(), String> {
    let by = "an admin".to_owned();
    let happened = match chore {
        Chore::Delete(id) => {
            return node.delete(id, &by).await.map(drop).map_err(|error| error.to_string());
        }
        Chore::Change(kind, id, patch) => {
            let Value::Object(patch) = patch else { return Err("no patch".into()) };
            let mends = kind == Kind::Webhook && patch.get("enabled") == Some(&Value::Bool(true));
            let changed = node.settings.change(&node, &by, kind, &id, patch).await;
            changed.map_err(|error| error.to_string())?;
            if mends {
                let mended = node.webhooks.mend(&node, &by, &id).await;
                mended.map_err(|error| error.to_string())?;
            }
            return Ok(());
        }
        Chore::Ping(id) => {
            let pinged = node.webhooks.ping(&node, &by, &id).await;
            return pinged.map(drop).map_err(|error| error.to_string());
        }
        Chore::Sweep => {
            return sweep::once(&node).await.map(drop).map_err(|error| error.to_string());
        }
        Chore::AcceptClock => {
            return node.accept_clock(&by).await.map_err(|error| error.to_string());
        }
        Chore::Hold(id) => node.step(id, Event::HoldSet { by, reason: "case 1".into() }).await,
        Chore::Lift(id) => node.step(id, Event::HoldLifted { by }).await,
        Chore::Retry(id) => node.step(id, Event::RetryRequested { by }).await,
    };
    happened.map(drop).map_err(|error| error.to_string())
}

//! An account: whoever pays, or tries, and until when (rule 7).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What an account is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Plan {
    /// A trial.
    Trial,
    /// A paid subscription.
    Paid,
}

/// An account. Its environments' recordings follow its expiry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Identifies it. 1 to 128 characters.
    pub id: String,
    /// What people call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is on.
    pub plan: Plan,
    /// When the trial or what was paid for is over; nothing for an account that does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl Account {
    /// Whether it has expired: from that very instant on.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

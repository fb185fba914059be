//! The audit log: who did what to this node and to the recordings on it, without personal data.
//!
//! A chain of entries in the ledger. Each names the digest of the one before it and is signed with
//! the node's key, so that whoever has the public key can tell, without the node, that nothing in a
//! copy was changed, left out or put in another order. Format: [`line`] for a line by itself,
//! `docs/audit.md` for all of it, byte for byte.
//!
//! Invariants: an entry is made in the transaction that does the thing, so there is one if and only
//! if it was done; entries are never changed and never deleted; nothing in them identifies a person.

mod canonical;
mod carry;
mod chain;
mod configuration;
mod epochs;
mod key;
mod line;
mod receipt;
pub mod verify;

use std::sync::Arc;

use jiff::Timestamp;
use redb::WriteTransaction;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::ledger::{Change, Ledger, LedgerError, Observer};
use crate::nodekey::{KeyError, NodeKey};
use crate::vault::erasure::ErasedKeys;
use crate::volumes::helper::ErasedView;
pub(crate) use canonical::canonical;
pub use carry::Carried;
pub use chain::{Head, Stretch};
pub use key::PublicKey;
use key::Signer;
use receipt::NODE;

/// What was done, apart from what happens to recordings, which the log learns by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// The node started.
    NodeStarted {
        /// Its version.
        version: String,
    },
    /// The node has another key than the one that signed the entry before.
    KeyReplaced {
        /// What entries call the key that it had.
        old: String,
    },
    /// Someone used a key, for the first time in an hour.
    SignedIn {
        /// The key's id.
        key: String,
    },
    /// Keys that are not the node's were offered from one address until it had to wait.
    SignInRefused {
        /// How often.
        count: u32,
    },
    /// A key of the API was made.
    KeyMade {
        /// Its id.
        key: String,
        /// What people call it.
        name: String,
        /// What it may: `read`, `manage` or `admin`.
        scope: String,
    },
    /// A key of the API was revoked.
    KeyRevoked {
        /// Its id.
        key: String,
    },
    /// Something was made, changed or deleted over the API, or found changed in the configuration file.
    Configured {
        /// Which kind: `environment`, `account`, `destination`, `webhook` or `node`.
        kind: String,
        /// Which one.
        id: String,
        /// What was done with it.
        change: Configured,
        /// Names of the members that differ, never their values.
        members: Vec<String>,
    },
    /// The clock began or ceased to be trusted (rule 10).
    ClockTrusted {
        /// Whether it is now.
        trusted: bool,
        /// Why.
        why: String,
    },
    /// The ledger was made anew from the vault.
    LedgerRebuilt {
        /// How many entries of this log were taken over from the old ledger.
        carried: u64,
        /// Whether these were all; if not, the rest is in the old ledger, or lost.
        is_whole: bool,
    },
    /// A volume was opened over the API.
    VolumeOpened {
        /// Which.
        volume: String,
        /// With which key: the `machine`'s or the `recovery` key.
        with: String,
    },
    /// A volume was erased: every key slot and its header, as `holdfast-volume` proved it.
    VolumeErased {
        /// What it was called.
        volume: String,
        /// The receipt.
        #[serde(flatten)]
        erased: ErasedView,
    },
    /// The key of an epoch was destroyed, and so were those of all epochs before it. Keys of recordings
    /// that were wrapped under them ceased to exist.
    EpochDestroyed {
        /// Which one.
        epoch: u64,
    },
    /// The log was exported.
    Exported,
    /// A support bundle was made.
    SupportBundleMade,
}

/// What was done with a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Configured {
    /// It was made.
    Created,
    /// It was changed.
    Changed,
    /// It was deleted.
    Deleted,
}

/// The audit log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AuditLog {
    signer: Arc<Signer>,
    erased: ErasedKeys,
}

impl AuditLog {
    /// The log that this node's key signs.
    ///
    /// # Errors
    /// [`KeyError::Failed`] where the library refuses.
    pub fn new(key: &NodeKey) -> Result<Self, KeyError> {
        Ok(Self { signer: Arc::new(Signer::new(key)?), erased: ErasedKeys::default() })
    }

    /// The same log, whose receipts say under which epoch a recording's key was wrapped.
    #[must_use]
    pub fn with_erased(self, erased: ErasedKeys) -> Self {
        Self { erased, ..self }
    }

    /// The observer that writes down what happens to recordings.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(self.clone())
    }

    /// Appends what was done, in the transaction that does it: both are committed, or neither is.
    ///
    /// # Errors
    /// [`LedgerError`] when it was not appended; the transaction must then be undone.
    pub fn append(
        &self,
        write: &WriteTransaction,
        now: Timestamp,
        by: &str,
        act: &Act,
    ) -> Result<(), LedgerError> {
        self.add(write, now, by, act)
    }

    /// Writes down that the node starts, before anything else that it writes, and what its
    /// configuration file says differently since the last time, apart from what the settings tell
    /// themselves.
    ///
    /// # Errors
    /// [`LedgerError`] when nothing was written.
    pub async fn note_start(
        &self,
        ledger: &Ledger,
        config: &Config,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let (audit, node) = (self.clone(), config.node_name());
        let sections = configuration::sections(config);
        let noting = ledger.write(move |write| {
            audit.note_key(write, now)?;
            if let Some(act) = configuration::note(write, node, &sections)? {
                audit.append(write, now, "configuration file", &act)?;
            }
            let version = env!("CARGO_PKG_VERSION").into();
            audit.append(write, now, NODE, &Act::NodeStarted { version })
        });
        noting.await
    }

    /// Writes down that the newest entry was signed with another key, where that is so.
    fn note_key(&self, write: &WriteTransaction, now: Timestamp) -> Result<(), LedgerError> {
        let newest = chain::newest(write)?;
        let newest = newest.and_then(|line| line::unseal(&line).ok());
        match newest.map(|line| line.key().to_owned()) {
            Some(old) if old != self.signer.public().id() => {
                self.append(write, now, NODE, &Act::KeyReplaced { old })
            }
            _ => Ok(()),
        }
    }

    /// What checks the log.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        self.signer.public()
    }

    /// The signature of something else that the node vouches for, in base64. What is signed has to be
    /// a JSON object, which no entry's signed text is mistaken for.
    #[must_use]
    pub(crate) fn sign(&self, canonical: &[u8]) -> String {
        self.signer.sign(canonical)
    }

    /// The newest entry, if there is any.
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn head(&self, ledger: &Ledger) -> Result<Option<Head>, LedgerError> {
        ledger.read(chain::head)
    }

    /// The entries from `from` on and before `to`, as they stand now. See [`chain::stretch`] for
    /// clocks that were set back.
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn stretch(
        &self,
        ledger: &Ledger,
        from: Option<Timestamp>,
        to: Option<Timestamp>,
    ) -> Result<Stretch, LedgerError> {
        ledger.read(|read| chain::stretch(read, from, to))
    }

    /// The line with which the export of a stretch begins, with its end of line.
    ///
    /// # Errors
    /// [`LedgerError::Read`] where it cannot be signed.
    pub fn head_line(&self, stretch: &Stretch, now: Timestamp) -> Result<Vec<u8>, LedgerError> {
        let unsigned = || LedgerError::Read("the export's head cannot be signed".into());
        let mut line = chain::head_line(&self.signer, stretch, now).ok_or_else(unsigned)?;
        line.push(b'\n');
        Ok(line)
    }

    /// Some entries of a stretch from this one on, a line each, and which entry comes next. Nothing
    /// when there are no more. Blocks.
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn page(
        &self,
        ledger: &Ledger,
        stretch: &Stretch,
        from: u64,
    ) -> Result<Option<(Vec<u8>, u64)>, LedgerError> {
        let Some((first, last)) = stretch.ends else { return Ok(None) };
        let rows = ledger.read(|read| chain::page(read, from.max(first), last.seq))?;
        let Some(next) = rows.last().map(|row| row.seq + 1) else { return Ok(None) };
        let mut lines = Vec::with_capacity(rows.iter().map(|row| row.line.len() + 1).sum());
        for row in rows {
            lines.extend_from_slice(&row.line);
            lines.push(b'\n');
        }
        Ok(Some((lines, next)))
    }

    fn add(
        &self,
        write: &WriteTransaction,
        now: Timestamp,
        by: &str,
        what: &impl Serialize,
    ) -> Result<(), LedgerError> {
        let what = serde_json::to_value(what);
        let what = what.map_err(|error| LedgerError::Write(error.to_string()))?;
        chain::append(write, &self.signer, now, by, what)?;
        Ok(())
    }
}

impl Observer for AuditLog {
    fn changed(&self, write: &WriteTransaction, change: &Change<'_>) -> Result<(), LedgerError> {
        let Some(before) = change.before else { return Ok(()) };
        let epoch = self.erased.epoch_of(before.id);
        for (by, mut happened) in receipt::told(before, change.events, change.now) {
            happened.note_epoch(epoch);
            self.add(write, change.now, &by, &happened)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

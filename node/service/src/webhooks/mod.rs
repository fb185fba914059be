//! Webhooks: customers' systems are told what happens to their recordings. See `docs/webhooks.md`.
//!
//! ```text
//! a recording changes ─▶ observer ─▶ outbox (the same commit) ─▶ worker ─▶ send ─▶ outbox: how it went
//! ```
//!
//! Invariants: what happens is told at least once, and per recording and webhook in order; whatever a
//! receiver does, it holds up no other webhook, no recording and not the ledger.

pub mod event;
mod log;
mod message;
mod observer;
mod outbox;
mod payload;
pub mod schedule;
mod send;
pub mod sign;
pub mod target;
#[cfg(test)]
mod tests;
pub mod worker;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use redb::WriteTransaction;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::audit::{Act, Configured};
use crate::config::Config;
use crate::ledger::{LedgerError, Observer};
use crate::node::Node;
use crate::nodekey::{KeyError, NodeKey};
use event::{Event, Format, PING};
pub use log::Delivery;
use message::Message;
pub use message::{DeliveryState, Try};
pub use observer::{Audience, Listeners};
use outbox::Outbox;
use send::Sender;
use sign::Signer;

/// Longest secret file, in bytes.
const SECRET_FILE_BYTES_MAX: u64 = 4 << 10;
/// Secrets that a file may hold: today's, and the one before.
const SECRETS_MAX: usize = 2;
/// Pings at once.
const PINGS_MAX: usize = 4;
/// Who is said to have turned a webhook off.
const BY_RECEIVER: &str = "the receiver (410 Gone)";

/// A webhook, as it is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Identifies it.
    pub id: String,
    /// The environment whose recordings it hears of.
    pub env_id: String,
    /// Where to, as it was given.
    pub url: String,
    /// What it hears of; of everything where there is none.
    pub events: BTreeSet<Event>,
    /// How it is told.
    pub format: Format,
    /// Whether it is told anything.
    pub enabled: bool,
    /// What its requests are signed with.
    pub keys: Keys,
}

/// What a webhook's requests are signed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// Files that the configuration names, read at each attempt.
    Files {
        /// One or two secrets, today's first.
        secret_file: PathBuf,
        /// The key of `X-Pipe-Signature`.
        pipe_key_file: Option<PathBuf>,
    },
    /// Sealed with the node's key for this webhook's id.
    Sealed {
        /// Today's secret.
        secret: String,
        /// The secret before, and until when requests are signed with it, too.
        old: Option<(String, Timestamp)>,
        /// The key of `X-Pipe-Signature`.
        pipe_key: Option<String>,
    },
}

impl Webhook {
    /// Where a sealed secret of a webhook belongs.
    #[must_use]
    pub fn context(id: &str, member: &str) -> String {
        format!("webhook {id}: {member}")
    }

    /// What its requests are signed with now.
    ///
    /// # Errors
    /// Which secret cannot be used, and why.
    pub async fn signer(&self, key: &NodeKey, now: Timestamp) -> Result<Signer, String> {
        let (secrets, pipe_key) = match &self.keys {
            Keys::Files { secret_file, pipe_key_file } => {
                let mut pipe_key = None;
                if let Some(path) = pipe_key_file {
                    pipe_key = words(path).await?.into_iter().next();
                }
                (words(secret_file).await?, pipe_key)
            }
            Keys::Sealed { secret, old, pipe_key } => {
                let open = |member: &str, sealed: &str| {
                    open(key, &self.id, member, sealed).map_err(|error| error.to_string())
                };
                let mut secrets = vec![open("secret", secret)?];
                if let Some((old, _)) = old.as_ref().filter(|(_, until)| now < *until) {
                    secrets.push(open("secret", old)?);
                }
                let pipe_key = pipe_key.as_deref().map(|sealed| open("pipe_key", sealed));
                (secrets, pipe_key.transpose()?)
            }
        };
        if secrets.len() > SECRETS_MAX {
            return Err(format!("its secret file holds more than {SECRETS_MAX} secrets"));
        }
        let signer = Signer::new(&secrets, pipe_key.as_deref().map(String::as_str));
        signer.map_err(|problem| format!("its secret cannot be used: {problem}"))
    }
}

fn open(
    key: &NodeKey,
    id: &str,
    member: &str,
    sealed: &str,
) -> Result<Zeroizing<String>, KeyError> {
    let context = Webhook::context(id, member);
    let opened = key.open(&context, sealed)?;
    match String::from_utf8(opened.to_vec()) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(_) => Err(KeyError::Sealed { context }),
    }
}

/// The words in a small file.
async fn words(path: &Path) -> Result<Vec<Zeroizing<String>>, String> {
    let failed = |problem: String| format!("cannot read {}: {problem}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(|error| failed(error.to_string()))?;
    let mut text = Zeroizing::new(String::new());
    let mut limited = file.take(SECRET_FILE_BYTES_MAX + 1);
    limited.read_to_string(&mut text).await.map_err(|error| failed(error.to_string()))?;
    if text.len() as u64 > SECRET_FILE_BYTES_MAX {
        return Err(failed(format!("it is larger than {SECRET_FILE_BYTES_MAX} bytes")));
    }
    let words = text.split_whitespace().map(|word| Zeroizing::new(word.to_owned()));
    let words: Vec<_> = words.collect();
    if words.is_empty() { Err(failed("it is empty".into())) } else { Ok(words) }
}

/// How a webhook is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Health {
    /// How much waits to be delivered to it.
    pub waiting: u64,
    /// When its receiver said that it is gone for good. Nothing is sent until that is mended.
    pub gone_at: Option<Timestamp>,
}

/// Why a webhook was not asked for something.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// There is no such webhook.
    #[error("there is no webhook {0:?}")]
    NoSuchWebhook(String),
    /// There is no such delivery.
    #[error("there is no delivery {0:?}; what ended is kept for 30 days at most")]
    NoSuchDelivery(String),
    /// It does not fit.
    #[error("{0}")]
    Conflict(String),
    /// Others are being tried out.
    #[error("{PINGS_MAX} webhooks are being tried out already; try again in some seconds")]
    Busy,
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The room's own part of a node.
#[derive(Debug)]
pub struct Webhooks {
    /// Who hears of what.
    pub listeners: Listeners,
    sender: Sender,
    pings: Semaphore,
}

impl Webhooks {
    /// The room under this configuration. Nothing is sent yet.
    ///
    /// # Errors
    /// Where `[notify] ca_file` cannot be used.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let sender = Sender::new(&config.notify)?;
        let pings = Semaphore::new(PINGS_MAX);
        Ok(Self { listeners: Listeners::default(), sender, pings })
    }

    /// The observer that puts into the outbox what happens.
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(self.listeners.clone())
    }

    /// How a webhook is doing.
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn health(&self, node: &Node, id: &str) -> Result<Health, LedgerError> {
        let row = node.ledger.read(|read| log::hook(read, id))?.unwrap_or_default();
        Ok(Health { waiting: row.waiting, gone_at: row.gone_at })
    }

    /// What was sent to a webhook, newest first: at most `limit`, below a cursor, and the next cursor.
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn deliveries(
        &self,
        node: &Node,
        id: &str,
        cursor: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<Delivery>, Option<u64>), LedgerError> {
        node.ledger.read(|read| {
            let Some(row) = log::hook(read, id)? else { return Ok((Vec::new(), None)) };
            log::page(read, row.number, cursor.unwrap_or(u64::MAX), limit)
        })
    }

    /// Has something sent once more, now. What waits is tried at once and then goes on as before; what
    /// ended is tried once.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn redeliver(
        &self,
        node: &Node,
        id: &str,
        delivery: &str,
    ) -> Result<Delivery, WebhookError> {
        let hook = self.find(node, id)?;
        let missing = || WebhookError::NoSuchDelivery(delivery.to_owned());
        let number = number_in(delivery).ok_or_else(missing)?;
        let (hook_number, _) = self.message(node, id, delivery, number)?.ok_or_else(missing)?;
        if !hook.enabled || self.health(node, id)?.gone_at.is_some() {
            return Err(WebhookError::Conflict(format!(
                "the webhook {id:?} is off; turn it on, or have a ping answered, first"
            )));
        }
        let (listeners, now, of) = (self.listeners.clone(), node.clock.now(), id.to_owned());
        let writing = node.ledger.write(move |write| {
            listeners.touch();
            Outbox::open(write)?.again(&of, number, now)
        });
        if !writing.await? {
            return Err(WebhookError::Conflict(
                "another one of its recording is before it, and they are told in order".into(),
            ));
        }
        let found = node.ledger.read(|read| log::message(read, hook_number, number))?;
        Ok(Delivery::new(found.ok_or_else(missing)?))
    }

    /// Sends a webhook something that it may ignore, and waits for the answer. One that takes it is
    /// told again what happens, even if it said before that it is gone.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub async fn ping(&self, node: &Node, by: &str, id: &str) -> Result<Delivery, WebhookError> {
        let hook = self.find(node, id)?;
        let _place = self.pings.try_acquire().map_err(|_| WebhookError::Busy)?;
        let now = node.clock.now();
        let data = json!({ "webhook_id": hook.id, "env_id": hook.env_id });
        let mut message = Message::new(PING, None, payload::envelope(PING, data, now), now);
        let of = id.to_owned();
        let admitting = node.ledger.write(move |write| {
            let number = Outbox::open(write)?.reserve(&of, &mut message)?;
            Ok((number, message))
        });
        let (key, mut message) = admitting.await?;
        let outcome = self.sender.attempt(node, &hook, &message).await;
        let is_success = outcome.is_success();
        message.state = if is_success { DeliveryState::Delivered } else { DeliveryState::Failed };
        message.tried(outcome.attempt, outcome.response_head);
        if is_success {
            self.mend(node, by, id).await?;
        }
        let (now, of) = (node.clock.now(), id.to_owned());
        let noting = node.ledger.write(move |write| {
            Outbox::open(write)?.note(&of, key, &mut message, now)?;
            Ok(message)
        });
        Ok(Delivery::new(noting.await?))
    }

    /// Takes back that a webhook's receiver is gone, if it said so.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn mend(&self, node: &Node, by: &str, id: &str) -> Result<(), LedgerError> {
        if self.health(node, id)?.gone_at.is_none() {
            return Ok(());
        }
        let (audit, listeners) = (node.audit.clone(), self.listeners.clone());
        let (by, id, now) = (by.to_owned(), id.to_owned(), node.clock.now());
        let mending = node.ledger.write(move |write| {
            let mut outbox = Outbox::open(write)?;
            if let Some(mut row) = outbox.hook(&id)? {
                row.gone_at = None;
                outbox.put_hook(&id, &row)?;
                listeners.touch();
                audit.append(write, now, &by, &turned(&id))?;
            }
            Ok(())
        });
        mending.await
    }

    fn find(&self, node: &Node, id: &str) -> Result<Arc<Webhook>, WebhookError> {
        let missing = || WebhookError::NoSuchWebhook(id.to_owned());
        node.settings.webhook(id).map(|found| found.of).ok_or_else(missing)
    }

    /// A webhook's message that has this id, and the webhook's number.
    fn message(
        &self,
        node: &Node,
        id: &str,
        delivery: &str,
        number: u64,
    ) -> Result<Option<(u64, Message)>, LedgerError> {
        node.ledger.read(|read| {
            let Some(row) = log::hook(read, id)? else { return Ok(None) };
            let message = log::message(read, row.number, number)?;
            Ok(message.filter(|message| message.id == delivery).map(|found| (row.number, found)))
        })
    }
}

/// Has the outbox forget a webhook, in the transaction that makes or deletes it.
///
/// # Errors
/// [`LedgerError`]; the transaction must then be undone.
pub fn forget(write: &WriteTransaction, id: &str) -> Result<(), LedgerError> {
    Outbox::open(write)?.forget(id)
}

/// The act of turning a webhook off or on.
fn turned(id: &str) -> Act {
    Act::Configured {
        kind: "webhook".into(),
        id: id.into(),
        change: Configured::Changed,
        members: vec!["enabled".into()],
    }
}

/// The number in a message's id.
fn number_in(id: &str) -> Option<u64> {
    let digits = id.strip_prefix("msg_")?;
    let digits = digits.get(..digits.len().checked_sub(outbox::ID_RANDOM_BYTES * 2)?)?;
    u64::from_str_radix(digits, 16).ok()
}

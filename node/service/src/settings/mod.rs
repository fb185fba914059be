//! What customers and their integrators set: accounts, environments, destinations and webhooks, as
//! they stand now.
//!
//! Declared in the configuration file, or made over the API and kept in the ledger; the two kinds do
//! not mix, and each says which it is.
//!
//! Invariants: whoever asks gets a consistent picture that does not change under them; a change is
//! durable, and in the audit log, before anyone sees it; one change at a time. Recordings take the
//! terms of their account and environment over in the background ([`sweep`]).

mod change;
mod destination;
mod picture;
mod store;
pub mod sweep;
mod webhook;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context;
use holdfast_core::account::Account;
use holdfast_core::job::Outputs;
use holdfast_core::recording::{Policy, Terms};
use tokio::sync::watch;

use crate::audit::{Act, Configured};
use crate::config::{self, Config, Environment};
use crate::deliver::Destination;
use crate::digest;
use crate::ledger::Ledger;
use crate::node::Node;
use crate::nodekey::NodeKey;
use crate::webhooks::{Listeners, Webhook};

pub use change::Refused;
use picture::Picture;
pub use picture::{From, Origin};
pub use store::Kind;
pub use webhook::WebhookBody;

/// The settings as they stand now. Cheap to ask; asked anew for each recording.
#[derive(Debug)]
pub struct Settings {
    now: RwLock<Arc<Picture>>,
    /// Held while something is changed.
    changing: tokio::sync::Mutex<()>,
    /// Counts changes.
    changes: watch::Sender<u64>,
    /// Told of each change.
    listeners: Listeners,
    ingest: config::Ingest,
    zone: String,
}

impl Settings {
    /// The settings that the configuration declares, and those that the ledger keeps.
    ///
    /// # Errors
    /// Where a destination of the configuration cannot be built, or the ledger cannot be read.
    pub fn open(
        config: &Config,
        ledger: &Ledger,
        key: &NodeKey,
        listeners: Listeners,
    ) -> anyhow::Result<Self> {
        let made = ledger.read(store::load)?.unwrap_or_default();
        let picture = Picture::new(config, made, key, None)?;
        listeners.set(picture.audience());
        Ok(Self {
            now: RwLock::new(Arc::new(picture)),
            changing: tokio::sync::Mutex::default(),
            changes: watch::Sender::new(0),
            listeners,
            ingest: config.ingest.clone(),
            zone: config.node.zone.clone(),
        })
    }

    /// Brings back what a ledger that was made anew has lost, and writes into the audit log what the
    /// configuration file declares differently since the last start.
    ///
    /// # Errors
    /// Where the ledger cannot be read or written, or the copy in the vault cannot be read.
    pub async fn start(&self, node: &Node) -> anyhow::Result<()> {
        if node.ledger.read(store::load)?.is_none() {
            let copy = node.with_vault(store::read_copy).await;
            let rows = copy.context("the vault's copy of the settings cannot be read")?;
            let rows = rows.unwrap_or_default();
            let things = rows.clone();
            let writing = node.ledger.write(move |write| {
                store::make(write)?;
                things.values().try_for_each(|thing| store::put(write, thing))
            });
            writing.await?;
            if !rows.is_empty() {
                tracing::warn!(
                    count = rows.len(),
                    "settings taken back from the copy in the vault"
                );
                self.show(Picture::new(&node.config, rows, &node.key, None)?);
            }
        }
        self.note_declared(node).await
    }

    async fn note_declared(&self, node: &Node) -> anyhow::Result<()> {
        let mut declared = BTreeMap::new();
        let mut add = |kind, id: &str, told: String| {
            declared.insert((kind, id.to_owned()), digest::of(told.as_bytes()));
        };
        for each in &node.config.accounts {
            add(Kind::Account, &each.id, format!("{each:?}"));
        }
        for each in &node.config.environments {
            add(Kind::Environment, &each.id, format!("{each:?}"));
        }
        for each in &node.config.destinations {
            add(Kind::Destination, each.name(), format!("{each:?}"));
        }
        for each in &node.config.webhooks {
            add(Kind::Webhook, &each.id, format!("{each:?}"));
        }
        let (audit, now) = (node.audit.clone(), node.clock.now());
        let noting = node.ledger.write(move |write| {
            for (kind, id, was, is) in store::note_declared(write, &declared)? {
                let change = match (was, is) {
                    (false, _) => Configured::Created,
                    (true, true) => Configured::Changed,
                    (true, false) => Configured::Deleted,
                };
                let kind = kind.as_str().to_owned();
                let act = Act::Configured { kind, id, change, members: Vec::new() };
                audit.append(write, now, "configuration file", &act)?;
            }
            Ok(())
        });
        Ok(noting.await?)
    }

    /// The environment that has this id.
    #[must_use]
    pub fn environment(&self, id: &str) -> Option<Arc<Environment>> {
        self.picture().environments.get(id).map(|found| Arc::clone(&found.of))
    }

    /// The account that has this id.
    #[must_use]
    pub fn account(&self, id: &str) -> Option<Arc<Account>> {
        self.picture().accounts.get(id).map(|found| Arc::clone(&found.of))
    }

    /// The destination that has this name.
    #[must_use]
    pub fn destination(&self, name: &str) -> Option<Arc<dyn Destination>> {
        self.picture().destinations.get(name).map(|found| Arc::clone(&found.of.destination))
    }

    /// Whether a destination is our own storage.
    #[must_use]
    pub fn is_ours(&self, destination: &str) -> bool {
        let picture = self.picture();
        let found = picture.destinations.get(destination);
        found.is_some_and(|found| found.of.settings.ours().is_some())
    }

    /// How much of the line and of the server a destination may have.
    #[must_use]
    pub fn limits(&self, destination: &str) -> config::Limits {
        let picture = self.picture();
        let found = picture.destinations.get(destination);
        found.map(|found| found.of.settings.limits().clone()).unwrap_or_default()
    }

    /// The webhook that has this id.
    #[must_use]
    pub fn webhook(&self, id: &str) -> Option<From<Arc<Webhook>>> {
        self.picture().webhooks.get(id).cloned()
    }

    /// All webhooks, by id.
    #[must_use]
    pub fn webhooks(&self) -> Vec<From<Arc<Webhook>>> {
        self.picture().webhooks.values().cloned().collect()
    }

    /// Wakes with every change.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All accounts, by id.
    #[must_use]
    pub fn accounts(&self) -> Vec<From<Arc<Account>>> {
        self.picture().accounts.values().cloned().collect()
    }

    /// All environments, by id.
    #[must_use]
    pub fn environments(&self) -> Vec<From<Arc<Environment>>> {
        self.picture().environments.values().cloned().collect()
    }

    /// All destinations as they are shown, by name.
    #[must_use]
    pub fn destinations(&self) -> Vec<From<config::Destination>> {
        let picture = self.picture();
        let all = picture.destinations.values();
        all.map(|found| From { origin: found.origin, of: found.of.settings.clone() }).collect()
    }

    /// Destinations that the API made, with their secrets, sealed.
    pub(crate) fn made_destinations(&self) -> Vec<config::Destination> {
        let picture = self.picture();
        let made = picture.made.values().filter_map(|thing| match thing {
            store::Thing::Destination(made) => Some(made.clone()),
            _ => None,
        });
        made.collect()
    }

    /// The rules that a new recording of an environment lives by.
    #[must_use]
    pub fn policy(&self, environment: &Environment) -> Policy {
        let mut destinations = environment.destinations.clone();
        let own = self.own(environment);
        if let Some(own) = own.as_ref().filter(|own| !destinations.contains(own)) {
            destinations.insert(0, own.clone());
        }
        Policy {
            outputs: Outputs {
                mp4: environment.mp4,
                snapshot: environment.snapshot,
                filmstrip: environment.filmstrip,
            },
            push_raw: environment.push_raw,
            destinations,
            own,
            copies: false,
            folder: environment.folder.clone().unwrap_or_else(|| environment.id.clone()),
            store_nothing: environment.store_nothing,
            success: environment.success,
            reconnect_ms: self.ingest.reconnect_ms,
            playback_ms: self.ingest.playback_ms,
            zone: self.zone.clone(),
        }
    }

    /// Our own storage in the environment's region. With store-nothing nothing goes there (rule 9).
    fn own(&self, environment: &Environment) -> Option<String> {
        let region = environment.region.filter(|_| !environment.store_nothing)?;
        let picture = self.picture();
        let mut all = picture.destinations.iter();
        all.find(|(_, found)| found.of.settings.ours() == Some(region))
            .map(|(name, _)| name.clone())
    }

    /// What an environment and its account say of recordings now.
    #[must_use]
    pub fn terms(&self, environment: &Environment) -> Terms {
        let account = environment.account.as_deref().and_then(|id| self.account(id));
        Terms {
            account_expires_at: account.and_then(|account| account.expires_at),
            lifecycle_days: environment.lifecycle_days,
        }
    }

    fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn show(&self, picture: Picture) {
        let audience = picture.audience();
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(picture);
        self.listeners.set(audience);
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }
}

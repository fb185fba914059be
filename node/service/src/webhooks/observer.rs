//! Puts what happens to recordings into the outbox, in the transaction in which it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use holdfast_core::happening::happenings;
use redb::WriteTransaction;

use super::event::{Event, hears};
use super::message::Message;
use super::outbox::Outbox;
use super::payload::payload;
use crate::ledger::{Change, LedgerError, Observer};

/// Who hears of what, as the settings say now. Cheap to clone; all clones agree.
#[derive(Debug, Clone, Default)]
pub struct Listeners(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    now: RwLock<Arc<Audience>>,
    /// Counts what is put into the outbox, or due at once, from elsewhere than the worker. It is
    /// counted before the commit, so whoever waits for it looks again after the commit that follows.
    touched: AtomicU64,
}

/// Who hears of what.
#[derive(Debug, Clone, Default)]
pub struct Audience {
    /// For each environment the webhooks that are on, and what they chose to hear of.
    pub by_env: BTreeMap<String, Vec<(String, BTreeSet<Event>)>>,
    /// The kind of each destination.
    pub kinds: BTreeMap<String, &'static str>,
}

impl Listeners {
    /// From now on these hear of what happens.
    pub fn set(&self, audience: Audience) {
        *self.0.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(audience);
    }

    fn now(&self) -> Arc<Audience> {
        Arc::clone(&self.0.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn touch(&self) {
        self.0.touched.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn touched(&self) -> u64 {
        self.0.touched.load(Ordering::Acquire)
    }
}

impl Observer for Listeners {
    fn changed(&self, write: &WriteTransaction, change: &Change<'_>) -> Result<(), LedgerError> {
        // What is entered with a past was taken in again from the vault: nothing of it happens now.
        let Some(before) = change.before else { return Ok(()) };
        let (rec, now) = (change.after, change.now);
        let audience = self.now();
        let Some(hooks) = audience.by_env.get(&rec.env_id) else { return Ok(()) };
        let mut outbox = None;
        for happening in happenings(Some(before), rec) {
            let own = rec.policy.own.as_deref();
            let event = Event::of(&happening, own, |name| audience.kinds.get(name).copied());
            let mut told = None;
            for (id, _) in hooks.iter().filter(|(_, chosen)| hears(chosen, event)) {
                let payload = told.get_or_insert_with(|| payload(event, &happening, rec, now));
                let message = Message::new(event.as_str(), Some(rec.id), payload.clone(), now);
                if outbox.is_none() {
                    outbox = Some(Outbox::open(write)?);
                }
                if let Some(outbox) = &mut outbox {
                    outbox.push(id, message, now)?;
                }
            }
        }
        if outbox.is_some() {
            self.touch();
        }
        Ok(())
    }
}

//! Delivers what is due.
//!
//! Fair: each webhook has a few places, one where its receiver fails, and all together have some
//! more; who had a place last comes last. What was being delivered when the node ended is still due at
//! its next start, and delivered again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use redb::ReadTransaction;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::message::Message;
use super::outbox::{BATCH, LOGGED_TIME, Outbox};
use super::schedule::WINDOW;
use super::{BY_RECEIVER, Webhook, log, turned};
use crate::ledger::LedgerError;
use crate::node::Node;

/// Deliveries at once to a webhook that takes them.
const PLACES_PER_HOOK: usize = 4;
/// Deliveries at once.
const PLACES: usize = 64;
/// Shortest and longest that the worker sleeps before it looks at the clock again.
const SLEEP_MIN: Duration = Duration::from_millis(1);
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// Pause after the ledger failed.
const FAILED_PAUSE: Duration = Duration::from_secs(10);

/// Delivers until the node stops.
pub async fn run(node: Arc<Node>) {
    let mut worker = Worker::new(Arc::clone(&node));
    let mut commits = node.ledger.changes();
    let mut settings = node.settings.changes();
    let mut is_new = true;
    while !node.stop.is_cancelled() {
        commits.mark_unchanged();
        let done = async {
            if std::mem::take(&mut is_new) || settings.has_changed().unwrap_or(false) {
                settings.mark_unchanged();
                worker.take_over().await?;
            }
            worker.round().await
        };
        let done = done.await;
        let (at, least, most) = match &done {
            Ok(Next::AtOnce) => continue,
            Ok(Next::At(at)) => (*at, SLEEP_MIN, SLEEP_MAX),
            Err(error) => {
                tracing::error!(%error, "webhooks wait until the ledger answers");
                is_new = true;
                (None, FAILED_PAUSE, FAILED_PAUSE)
            }
        };
        tokio::select! {
            ended = worker.running.join_next(), if !worker.running.is_empty() => worker.ended(ended),
            () = node.clock.sleep_until(at, least, most) => {}
            _ = commits.changed(), if done.is_ok() => {}
            _ = settings.changed(), if done.is_ok() => settings.mark_changed(),
            () = node.stop.cancelled() => {}
        }
    }
    let rest = async { while worker.running.join_next().await.is_some() {} };
    tokio::select! {
        () = rest => {}
        () = node.halt.cancelled() => {}
    }
}

/// What came of a delivery, as far as the worker has to know.
#[derive(Debug)]
pub(super) struct Ended {
    id: String,
    hook_number: u64,
    number: u64,
    is_success: bool,
}

/// When there is something to do again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Next {
    AtOnce,
    /// Then, as far as is known now.
    At(Option<Timestamp>),
}

/// A webhook, as the worker sees it.
#[derive(Debug)]
struct Slot {
    hook: Arc<Webhook>,
    in_flight: BTreeSet<(u64, u64)>,
    /// The last attempt failed.
    is_failing: bool,
    /// It may have something due that was not looked at yet.
    is_stale: bool,
    /// When something of it is due next.
    next_at: Option<Timestamp>,
}

/// What is to be done for a webhook now.
#[derive(Debug, Default)]
struct Found {
    hook_number: u64,
    start: Vec<(u64, Message)>,
    give_up: Vec<u64>,
    prune: bool,
    next_at: Option<Timestamp>,
    /// There is more than there are places.
    is_more: bool,
}

pub(super) struct Worker {
    node: Arc<Node>,
    slots: BTreeMap<String, Slot>,
    pub(super) running: JoinSet<Ended>,
    /// The last webhook that got a place.
    last: String,
    commits: watch::Receiver<u64>,
    touched: u64,
    /// Something touched the outbox in a transaction that was not committed yet when the ledger had
    /// made so many commits: every webhook is looked at until it has made more.
    uncommitted_at: Option<u64>,
}

impl Worker {
    pub(super) fn new(node: Arc<Node>) -> Self {
        Self {
            commits: node.ledger.changes(),
            node,
            slots: BTreeMap::new(),
            running: JoinSet::new(),
            last: String::new(),
            touched: 0,
            uncommitted_at: None,
        }
    }

    /// Takes the settings of now over, and clears away what belonged to webhooks that are gone.
    pub(super) async fn take_over(&mut self) -> Result<(), LedgerError> {
        let mut before = std::mem::take(&mut self.slots);
        for found in self.node.settings.webhooks() {
            let hook = found.of;
            let id = hook.id.clone();
            let new = Slot {
                hook: Arc::clone(&hook),
                in_flight: BTreeSet::new(),
                is_failing: false,
                is_stale: true,
                next_at: None,
            };
            let slot = before.remove(&id).map_or(new, |slot| Slot { hook, is_stale: true, ..slot });
            self.slots.insert(id, slot);
        }
        let known = self.node.ledger.read(log::ids)?;
        let has_gone = known.iter().any(|id| !self.slots.contains_key(id));
        let is_cut_short = || self.node.ledger.read(log::has_orphans);
        if !has_gone && !is_cut_short()? {
            return Ok(());
        }
        let node = Arc::clone(&self.node);
        let forgetting = self.node.ledger.write(move |write| {
            let mut outbox = Outbox::open(write)?;
            // Asked here, so that one that was made a moment ago is not forgotten.
            for id in outbox.ids()? {
                if node.settings.webhook(&id).is_none() {
                    outbox.forget(&id)?;
                }
            }
            Ok(())
        });
        forgetting.await?;
        while self.node.ledger.write(|write| Outbox::open(write)?.clear()).await? {
            if self.node.stop.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    /// Starts what can be started; answers when there is more to do.
    pub(super) async fn round(&mut self) -> Result<Next, LedgerError> {
        // In this order: whatever touched it before is committed once there are more commits.
        let touched = self.node.webhooks.listeners.touched();
        let commits = *self.commits.borrow();
        let is_touched = touched != self.touched;
        let look_at_all = is_touched || self.uncommitted_at.is_some();
        if is_touched {
            (self.touched, self.uncommitted_at) = (touched, Some(commits));
        } else if self.uncommitted_at.is_some_and(|at| at != commits) {
            self.uncommitted_at = None;
        }
        let now = self.node.clock.now();
        // Who had a place last comes last.
        let last = self.last.as_str();
        let after = self.slots.range::<str, _>((Bound::Excluded(last), Bound::Unbounded));
        let until = self.slots.range::<str, _>((Bound::Unbounded, Bound::Included(last)));
        let due = after.chain(until).filter(|(_, slot)| {
            look_at_all || slot.is_stale || slot.next_at.is_some_and(|at| at <= now)
        });
        let due: Vec<String> = due.map(|(id, _)| id.clone()).collect();
        let mut is_more = false;
        for id in due {
            is_more |= self.serve(&id, now).await?;
        }
        if is_more {
            return Ok(Next::AtOnce);
        }
        Ok(Next::At(self.slots.values().filter_map(|slot| slot.next_at).min()))
    }

    /// Does what is to be done for a webhook; `true` where it is to be looked at again at once.
    async fn serve(&mut self, id: &str, now: Timestamp) -> Result<bool, LedgerError> {
        let free = PLACES.saturating_sub(self.running.len());
        let Some(slot) = self.slots.get_mut(id) else { return Ok(false) };
        let found = self.node.ledger.read(|read| look(read, slot, free, now))?;
        slot.next_at = found.next_at;
        // Looked at again when a place is free.
        slot.is_stale = found.is_more;
        for (number, message) in found.start {
            slot.in_flight.insert((found.hook_number, number));
            self.last = id.to_owned();
            let delivering = deliver(
                Arc::clone(&self.node),
                Arc::clone(&slot.hook),
                (found.hook_number, number),
                message,
            );
            self.running.spawn(delivering);
        }
        if found.give_up.is_empty() && !found.prune {
            return Ok(false);
        }
        slot.is_stale = true;
        let (id, numbers, hook_number) = (id.to_owned(), found.give_up, found.hook_number);
        let writing = self.node.ledger.write(move |write| {
            let mut outbox = Outbox::open(write)?;
            outbox.give_up(&id, hook_number, &numbers, now)?;
            if let Some(mut row) = outbox.hook(&id)? {
                outbox.prune(&mut row, now)?;
                outbox.put_hook(&id, &row)?;
            }
            Ok(())
        });
        writing.await?;
        Ok(true)
    }

    fn ended(&mut self, ended: Option<Result<Ended, tokio::task::JoinError>>) {
        match ended {
            Some(Ok(Ended { id, hook_number, number, is_success })) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.in_flight.remove(&(hook_number, number));
                    slot.is_failing = !is_success;
                    slot.is_stale = true;
                }
            }
            Some(Err(error)) => {
                tracing::error!(%error, "a delivery to a webhook ended early");
                // Whichever it was, it is due again.
                if self.running.is_empty() {
                    self.slots.values_mut().for_each(|slot| slot.in_flight.clear());
                }
            }
            None => {}
        }
    }
}

/// What is to be done for a webhook now.
fn look(
    read: &ReadTransaction,
    slot: &Slot,
    free: usize,
    now: Timestamp,
) -> Result<Found, LedgerError> {
    let mut found = Found::default();
    let Some(row) = log::hook(read, &slot.hook.id)? else { return Ok(found) };
    found.hook_number = row.number;
    if !slot.hook.enabled || row.gone_at.is_some() {
        rest(read, &mut found, now)?;
    } else {
        pick(read, slot, free, &mut found, now)?;
    }
    if let Some(ended_at) = log::first_ended(read, row.number)? {
        let prune_at = ended_at + LOGGED_TIME;
        if prune_at <= now {
            found.prune = true;
        } else {
            found.next_at = Some(found.next_at.map_or(prune_at, |at| at.min(prune_at)));
        }
    }
    Ok(found)
}

/// A webhook that is off: what waits for it has its time, and is given up then.
fn rest(read: &ReadTransaction, found: &mut Found, now: Timestamp) -> Result<(), LedgerError> {
    for (created_at, number) in log::oldest(read, found.hook_number, BATCH)? {
        if created_at + WINDOW > now {
            found.next_at = Some(created_at + WINDOW);
            break;
        }
        found.give_up.push(number);
    }
    Ok(())
}

/// What is due, as far as there are places.
fn pick(
    read: &ReadTransaction,
    slot: &Slot,
    free: usize,
    found: &mut Found,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let places = if slot.is_failing { 1 } else { PLACES_PER_HOOK };
    let mut room = places.saturating_sub(slot.in_flight.len()).min(free);
    for (at, number) in log::due(read, found.hook_number, BATCH)? {
        if slot.in_flight.contains(&(found.hook_number, number)) {
            continue;
        }
        if at > now {
            found.next_at = Some(at);
            break;
        }
        let Some(message) = log::message(read, found.hook_number, number)? else { continue };
        let is_late = message.created_at + WINDOW <= now && !message.by_hand;
        // What never had its turn gets one, if its receiver answers at all.
        if is_late && (message.attempts > 0 || slot.is_failing) {
            found.give_up.push(number);
        } else if room > 0 {
            found.start.push((number, message));
            room -= 1;
        } else {
            // Another webhook's end, or this one's, makes room.
            found.is_more = true;
            break;
        }
    }
    Ok(())
}

/// Delivers a message, and writes down how it went.
async fn deliver(node: Arc<Node>, hook: Arc<Webhook>, key: (u64, u64), message: Message) -> Ended {
    let outcome = node.webhooks.sender.attempt(&node, &hook, &message).await;
    let (is_success, is_gone) = (outcome.is_success(), outcome.is_gone());
    let attempt = &outcome.attempt;
    let (id, status) = (hook.id.clone(), attempt.status);
    match &attempt.error {
        None => tracing::debug!(webhook = id, event = message.event, status, "delivered"),
        Some(error) => {
            tracing::warn!(webhook = id, event = message.event, %error, "not delivered");
        }
    }
    if is_gone {
        tracing::error!(webhook = id, "its receiver is gone for good: nothing more is sent");
    }
    let (now, audit, of) = (node.clock.now(), node.audit.clone(), id.clone());
    let noting = node.ledger.write(move |write| {
        Outbox::open(write)?.finish(&of, key, outcome, now)?;
        if is_gone {
            audit.append(write, now, BY_RECEIVER, &turned(&of))?;
        }
        Ok(())
    });
    if let Err(error) = noting.await {
        tracing::error!(webhook = id, %error, "a delivery could not be noted; it is repeated");
        // Not at once: the receiver is not to be flooded because our disk is full.
        node.clock.sleep_until(None, FAILED_PAUSE, FAILED_PAUSE).await;
    }
    Ended { id, hook_number: key.0, number: key.1, is_success }
}

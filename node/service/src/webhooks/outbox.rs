//! The outbox: what webhooks have still to be told, and what they were told.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `webhook_hooks` | webhook's id; nothing for the number of the last one | JSON of [`HookRow`] |
//! | `webhook_messages` | webhook's number, message's number | JSON of [`Message`] |
//! | `webhook_waiting` | the same, while it waits | when it was made (ms since 1970) |
//! | `webhook_order` | webhook, queue (16 bytes), message, while it waits | nothing |
//! | `webhook_due` | webhook, due time (ms), message, for the first of each queue | nothing |
//! | `webhook_log` | webhook, when it ended (ms), message, once it ended | nothing |
//!
//! Invariants: a message is written in the transaction of what it tells. Each recording is a queue of
//! its own per webhook, and only its first message is ever due; the next becomes due when that one is
//! delivered or given up. What a ping or a redelivery sends is in nobody's way: a queue of its own.
//! A webhook's number is never used twice, so one that is made anew inherits nothing.

use jiff::{SignedDuration, Timestamp};
use redb::{ReadableTable, Table, TableDefinition, WriteTransaction};

use super::message::{DeliveryState, HookRow, Message, Outcome, Try, decode, encode};
use super::schedule;
use crate::ledger::LedgerError;

/// Messages of one webhook that may wait; what happens beyond is only noted as not delivered.
pub(super) const WAITING_MAX: u64 = 100_000;
/// Messages that ended and are kept for looking at, per webhook.
const LOGGED_MAX: u64 = 10_000;
/// How long those are kept.
pub(super) const LOGGED_TIME: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Most that one transaction removes or gives up.
pub(super) const BATCH: usize = 256;

pub(super) const HOOKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("webhook_hooks");
pub(super) const MESSAGES: TableDefinition<'_, (u64, u64), &[u8]> =
    TableDefinition::new("webhook_messages");
pub(super) const WAITING: TableDefinition<'_, (u64, u64), i64> =
    TableDefinition::new("webhook_waiting");
const ORDER: TableDefinition<'_, (u64, [u8; 16], u64), ()> = TableDefinition::new("webhook_order");
pub(super) const DUE: TableDefinition<'_, (u64, i64, u64), ()> =
    TableDefinition::new("webhook_due");
pub(super) const LOG: TableDefinition<'_, (u64, i64, u64), ()> =
    TableDefinition::new("webhook_log");

/// Random bytes in a message's id, behind its number.
pub(super) const ID_RANDOM_BYTES: usize = 12;
/// The key under which the last webhook's number stands.
const LAST: &str = "";

/// The outbox's tables, within a write transaction.
pub(super) struct Outbox<'t> {
    hooks: Table<'t, &'static str, &'static [u8]>,
    messages: Table<'t, (u64, u64), &'static [u8]>,
    waiting: Table<'t, (u64, u64), i64>,
    order: Table<'t, (u64, [u8; 16], u64), ()>,
    due: Table<'t, (u64, i64, u64), ()>,
    log: Table<'t, (u64, i64, u64), ()>,
}

impl<'t> Outbox<'t> {
    pub(super) fn open(write: &'t WriteTransaction) -> Result<Self, LedgerError> {
        Ok(Self {
            hooks: write.open_table(HOOKS)?,
            messages: write.open_table(MESSAGES)?,
            waiting: write.open_table(WAITING)?,
            order: write.open_table(ORDER)?,
            due: write.open_table(DUE)?,
            log: write.open_table(LOG)?,
        })
    }

    /// What is known of a webhook, if anything is.
    pub(super) fn hook(&self, id: &str) -> Result<Option<HookRow>, LedgerError> {
        Ok(self.hooks.get(id)?.and_then(|row| decode("webhook", row.value())))
    }

    fn hook_or_new(&mut self, id: &str) -> Result<HookRow, LedgerError> {
        if let Some(hook) = self.hook(id)? {
            return Ok(hook);
        }
        let mut last = self.hook(LAST)?.unwrap_or_default();
        last.number += 1;
        self.put_hook(LAST, &last)?;
        Ok(HookRow { number: last.number, ..HookRow::default() })
    }

    pub(super) fn put_hook(&mut self, id: &str, hook: &HookRow) -> Result<(), LedgerError> {
        self.hooks.insert(id, encode(hook)?.as_slice())?;
        Ok(())
    }

    /// Forgets a webhook. What it was told is cleared away by [`Self::clear`].
    pub(super) fn forget(&mut self, id: &str) -> Result<(), LedgerError> {
        self.hooks.remove(id)?;
        Ok(())
    }

    /// Ids of all webhooks of which something is known.
    pub(super) fn ids(&self) -> Result<Vec<String>, LedgerError> {
        let mut ids = Vec::new();
        for row in self.hooks.iter()? {
            let (id, _) = row?;
            if id.value() != LAST {
                ids.push(id.value().to_owned());
            }
        }
        Ok(ids)
    }

    pub(super) fn message(&self, hook: u64, number: u64) -> Result<Option<Message>, LedgerError> {
        Ok(self.messages.get((hook, number))?.and_then(|row| decode("message", row.value())))
    }

    fn put(&mut self, hook: u64, number: u64, message: &Message) -> Result<(), LedgerError> {
        self.messages.insert((hook, number), encode(message)?.as_slice())?;
        Ok(())
    }

    /// Gives a message its number and id.
    fn admit(&mut self, hook: &mut HookRow, message: &mut Message) -> u64 {
        let number = hook.made;
        hook.made += 1;
        let random = schedule::random::<ID_RANDOM_BYTES>();
        message.id = format!("msg_{number:08x}{}", crate::digest::hex(&random));
        number
    }

    /// Puts a message into its queue.
    pub(super) fn push(
        &mut self,
        id: &str,
        mut message: Message,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let mut hook = self.hook_or_new(id)?;
        let number = self.admit(&mut hook, &mut message);
        if hook.waiting >= WAITING_MAX {
            let error = format!("not sent: {WAITING_MAX} others were waiting for this webhook");
            message.tries = vec![Try { at: now, duration_ms: 0, status: None, error: Some(error) }];
            message.state = DeliveryState::Failed;
            self.log(&mut hook, number, &mut message, now)?;
        } else {
            self.enqueue(&mut hook, number, &mut message, now)?;
        }
        self.put_hook(id, &hook)
    }

    /// Gives a message that is not to wait its place: the webhook's number and its own.
    pub(super) fn reserve(
        &mut self,
        id: &str,
        message: &mut Message,
    ) -> Result<(u64, u64), LedgerError> {
        let mut hook = self.hook_or_new(id)?;
        let number = self.admit(&mut hook, message);
        self.put_hook(id, &hook)?;
        Ok((hook.number, number))
    }

    /// Notes a message that was delivered, or failed, without ever having waited.
    pub(super) fn note(
        &mut self,
        id: &str,
        (hook_number, number): (u64, u64),
        message: &mut Message,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let hook = self.hook(id)?.filter(|hook| hook.number == hook_number);
        let Some(mut hook) = hook else { return Ok(()) };
        self.log(&mut hook, number, message, now)?;
        self.put_hook(id, &hook)
    }

    fn enqueue(
        &mut self,
        hook: &mut HookRow,
        number: u64,
        message: &mut Message,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let queue = message.queue(number);
        let is_first = self.first_of(hook.number, queue)?.is_none();
        hook.waiting += 1;
        self.waiting.insert((hook.number, number), now.as_millisecond())?;
        self.order.insert((hook.number, queue, number), ())?;
        message.next_at = None;
        if is_first {
            self.set_due(hook.number, number, message, now)?;
        }
        self.put(hook.number, number, message)
    }

    fn first_of(&self, hook: u64, queue: [u8; 16]) -> Result<Option<u64>, LedgerError> {
        let first = self.order.range((hook, queue, 0)..=(hook, queue, u64::MAX))?.next();
        Ok(first.transpose()?.map(|(key, _)| key.value().2))
    }

    fn set_due(
        &mut self,
        hook: u64,
        number: u64,
        message: &mut Message,
        at: Timestamp,
    ) -> Result<(), LedgerError> {
        if let Some(before) = message.next_at.replace(at) {
            self.due.remove((hook, before.as_millisecond(), number))?;
        }
        self.due.insert((hook, at.as_millisecond(), number), ())?;
        Ok(())
    }

    /// Notes what came of an attempt. Harmless where the message, or its webhook, is gone since.
    pub(super) fn finish(
        &mut self,
        id: &str,
        (hook_number, number): (u64, u64),
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let Some(mut hook) = self.hook(id)?.filter(|hook| hook.number == hook_number) else {
            return Ok(());
        };
        let Some(mut message) = self.message(hook_number, number)? else { return Ok(()) };
        if message.state != DeliveryState::Waiting {
            return Ok(());
        }
        let (is_success, is_gone) = (outcome.is_success(), outcome.is_gone());
        if is_gone {
            hook.gone_at.get_or_insert(now);
        }
        message.tried(outcome.attempt, outcome.response_head);
        let (failed, [random]) = (message.attempts, schedule::random());
        let next_at =
            schedule::next_at(failed, message.created_at, now, random, outcome.asked_wait);
        match next_at.filter(|_| !is_success && !is_gone && !message.by_hand) {
            Some(at) => {
                self.set_due(hook_number, number, &mut message, at)?;
                self.put(hook_number, number, &message)?;
            }
            None => {
                message.state = match is_success {
                    true => DeliveryState::Delivered,
                    false => DeliveryState::Failed,
                };
                self.end(&mut hook, number, &mut message, now)?;
            }
        }
        self.put_hook(id, &hook)
    }

    /// Gives messages up whose time is over.
    pub(super) fn give_up(
        &mut self,
        id: &str,
        hook_number: u64,
        numbers: &[u64],
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let Some(mut hook) = self.hook(id)?.filter(|hook| hook.number == hook_number) else {
            return Ok(());
        };
        for number in numbers {
            let Some(mut message) = self.message(hook_number, *number)? else { continue };
            if message.state == DeliveryState::Waiting {
                message.state = DeliveryState::Failed;
                self.end(&mut hook, *number, &mut message, now)?;
            }
        }
        self.put_hook(id, &hook)
    }

    /// A message's wait is over; the next one of its queue is due.
    fn end(
        &mut self,
        hook: &mut HookRow,
        number: u64,
        message: &mut Message,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        let queue = message.queue(number);
        self.waiting.remove((hook.number, number))?;
        self.order.remove((hook.number, queue, number))?;
        if let Some(at) = message.next_at.take() {
            self.due.remove((hook.number, at.as_millisecond(), number))?;
        }
        hook.waiting = hook.waiting.saturating_sub(1);
        if let Some(next) = self.first_of(hook.number, queue)?
            && let Some(mut following) = self.message(hook.number, next)?
            && following.next_at.is_none()
        {
            self.set_due(hook.number, next, &mut following, now)?;
            self.put(hook.number, next, &following)?;
        }
        self.log(hook, number, message, now)
    }

    fn log(
        &mut self,
        hook: &mut HookRow,
        number: u64,
        message: &mut Message,
        now: Timestamp,
    ) -> Result<(), LedgerError> {
        message.next_at = None;
        message.ended_at = Some(now);
        self.put(hook.number, number, message)?;
        self.log.insert((hook.number, now.as_millisecond(), number), ())?;
        hook.logged += 1;
        self.prune(hook, now)
    }

    /// Removes what is too old to be looked at, or too much, a little at a time.
    pub(super) fn prune(&mut self, hook: &mut HookRow, now: Timestamp) -> Result<(), LedgerError> {
        let old_ms = (now - LOGGED_TIME).as_millisecond();
        for _ in 0..BATCH {
            let first =
                self.log.range((hook.number, i64::MIN, 0)..=(hook.number, i64::MAX, u64::MAX));
            let Some((key, _)) = first?.next().transpose()? else { break };
            let (_, at_ms, number) = key.value();
            drop(key);
            if hook.logged <= LOGGED_MAX && at_ms > old_ms {
                break;
            }
            self.log.remove((hook.number, at_ms, number))?;
            self.messages.remove((hook.number, number))?;
            hook.logged = hook.logged.saturating_sub(1);
        }
        Ok(())
    }

    /// Has a message sent once more, now. `false` where it waits behind another one.
    pub(super) fn again(
        &mut self,
        id: &str,
        number: u64,
        now: Timestamp,
    ) -> Result<bool, LedgerError> {
        let Some(mut hook) = self.hook(id)? else { return Ok(false) };
        let Some(mut message) = self.message(hook.number, number)? else { return Ok(false) };
        if message.state == DeliveryState::Waiting {
            if message.next_at.is_none() {
                return Ok(false);
            }
            self.set_due(hook.number, number, &mut message, now)?;
            self.put(hook.number, number, &message)?;
            return Ok(true);
        }
        if let Some(at) = message.ended_at.take() {
            self.log.remove((hook.number, at.as_millisecond(), number))?;
            hook.logged = hook.logged.saturating_sub(1);
        }
        message.state = DeliveryState::Waiting;
        message.by_hand = true;
        self.enqueue(&mut hook, number, &mut message, now)?;
        self.put_hook(id, &hook)?;
        Ok(true)
    }

    /// Removes some of what belonged to webhooks that are gone; `true` while there may be more.
    pub(super) fn clear(&mut self) -> Result<bool, LedgerError> {
        let mut alive = std::collections::BTreeSet::new();
        for row in self.hooks.iter()? {
            let (id, row) = row?;
            if id.value() != LAST {
                let row: Option<HookRow> = decode("webhook", row.value());
                alive.extend(row.map(|row| row.number));
            }
        }
        let mut doomed = Vec::new();
        let mut from = 0;
        while doomed.len() < BATCH {
            let Some(row) = self.messages.range((from, 0)..)?.next() else { break };
            let hook = row?.0.value().0;
            if !alive.contains(&hook) {
                let room = BATCH - doomed.len();
                for row in self.messages.range((hook, 0)..=(hook, u64::MAX))?.take(room) {
                    doomed.push(row?.0.value());
                }
            }
            let Some(next) = hook.checked_add(1) else { break };
            from = next;
        }
        for (hook, number) in &doomed {
            self.remove(*hook, *number)?;
        }
        Ok(!doomed.is_empty())
    }

    fn remove(&mut self, hook: u64, number: u64) -> Result<(), LedgerError> {
        let message = self.message(hook, number)?;
        self.messages.remove((hook, number))?;
        self.waiting.remove((hook, number))?;
        let Some(message) = message else { return Ok(()) };
        self.order.remove((hook, message.queue(number), number))?;
        if let Some(at) = message.next_at {
            self.due.remove((hook, at.as_millisecond(), number))?;
        }
        if let Some(at) = message.ended_at {
            self.log.remove((hook, at.as_millisecond(), number))?;
        }
        Ok(())
    }
}

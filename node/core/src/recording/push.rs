//! The end of a push, and of its undoing in our own storage.

use jiff::Timestamp;

use super::retain::clear_metadata;
use super::{FileKind, Recording, State, Withdrawal};
use crate::attempts::{self, ATTEMPTS_MAX, Failure, Fault};
use crate::push_order;

pub(super) fn push_ended(rec: &mut Recording, failure: Option<Failure>, now: Timestamp) {
    if rec.state != State::Delivering {
        return;
    }
    let pending = push_order::pending(rec);
    let nothing_stays = rec.policy.store_nothing && push_order::all_successful(rec);
    if pending.is_empty() || nothing_stays {
        rec.push.succeed();
        conclude(rec);
    } else {
        let failure = failure.unwrap_or_else(|| Failure {
            fault: Fault::Ours,
            sentence: format!("the push ended with {} files still to go", pending.len()),
            at: now,
        });
        let saved_at = rec.saved_at.unwrap_or(now);
        rec.push.fail(failure, saved_at);
        if rec.push.exhausted {
            conclude(rec);
        }
    }
}

pub(super) fn put_off(rec: &mut Recording, until: Timestamp, waits_for: String, now: Timestamp) {
    if rec.state == State::Delivering && !push_order::pending(rec).is_empty() {
        let saved_at = rec.saved_at.unwrap_or(now);
        rec.push.put_off(until.max(now), waits_for, saved_at);
    } else {
        push_ended(rec, None, now);
    }
}

pub(super) fn conclude(rec: &mut Recording) {
    rec.state = match (push_order::all_successful(rec), rec.policy.store_nothing) {
        (false, _) => State::Failed,
        (true, true) => State::Delivered,
        (true, false) => State::Stored,
    };
}

pub(super) fn withdrawn(rec: &mut Recording, destination: &str, kind: FileKind, now: Timestamp) {
    if let Some(file) = rec.file_mut(kind) {
        for pushed in file.pushed.iter_mut().filter(|pushed| pushed.destination == destination) {
            pushed.withdrawn_at.get_or_insert(now);
        }
    }
    let mut swept = std::mem::take(&mut rec.withdrawal.swept);
    if !swept.contains(&kind) {
        swept.push(kind);
    }
    rec.withdrawal = Withdrawal { swept, ..Withdrawal::default() };
    clear_metadata(rec);
}

pub(super) fn withdraw_failed(rec: &mut Recording, failure: Failure) {
    rec.withdrawal.failed = rec.withdrawal.failed.saturating_add(1);
    let wait = attempts::wait_after(last_wait(rec.withdrawal.failed));
    rec.withdrawal.next_at = wait.map(|wait| failure.at + wait);
    rec.withdrawal.error = Some(failure);
}

/// Which of rule 2's waits follows after so many failures of what is repeated for ever.
pub(super) fn last_wait(failed: u32) -> u8 {
    let last = ATTEMPTS_MAX - 1;
    u8::try_from(failed).unwrap_or(last).min(last)
}

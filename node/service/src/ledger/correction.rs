//! Putting right what a wrong clock stamped (rule 10): all recordings in one transaction.
//!
//! Whoever asked for an operation read the time before it came to the writer. What was read before the
//! clock was corrected may thus arrive after it, and is corrected here as well, for a while.

use std::sync::Arc;

use holdfast_core::RecordingId;
use holdfast_core::recording::{Event, Recording, step};
use jiff::{SignedDuration, Timestamp};
use redb::{ReadableTable, WriteTransaction};

use super::schema::{Id, LATEST_KEY, META, OFFSETS, RECORDINGS, Slot};
use super::store::{self, lane_key};
use super::{Change, LedgerError, Observer};

/// Longest time from reading the clock until the operation comes to the writer.
const LATE_MAX: SignedDuration = SignedDuration::from_secs(60);

/// The clock was wrong since an instant, and is right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockStep {
    /// The first wrong instant.
    pub since: Timestamp,
    /// What the wrong clock told last.
    pub until: Timestamp,
    /// By how much the clock moved.
    pub by: SignedDuration,
}

impl ClockStep {
    /// An instant that was read shortly before the clock moved, as the right clock would have told it.
    ///
    /// Nothing is done after small steps: there the two cannot be told apart, and matter little.
    pub(super) fn corrected(&self, at: Timestamp) -> Timestamp {
        let is_late = at <= self.until && at >= self.until.checked_sub(LATE_MAX).unwrap_or(at);
        if is_late && self.by.abs() > LATE_MAX * 2 {
            return at.checked_add(self.by).unwrap_or(at);
        }
        at
    }

    /// A recording that began shortly before the clock moved.
    pub(super) fn corrected_new(&self, recording: &Recording) -> Recording {
        let at = recording.received_at;
        if self.corrected(at) == at {
            recording.clone()
        } else {
            step(recording, self.event(), at).0
        }
    }

    fn event(&self) -> Event {
        Event::ClockStepped { since: self.since, by: self.by }
    }
}

/// Steps every recording that has a stamp of the wrong clock; leases move along. The latest instant
/// is `now` afterwards, also where that is earlier. Answers which recordings changed.
pub(super) fn apply(
    write: &WriteTransaction,
    clock_step: ClockStep,
    now: Timestamp,
    observers: &[Arc<dyn Observer>],
) -> Result<Vec<RecordingId>, LedgerError> {
    let rows = write.open_table(RECORDINGS)?;
    let ids: Result<Vec<Id>, LedgerError> = rows.iter()?.map(|row| Ok(row?.0.value())).collect();
    drop(rows);
    let mut changed = Vec::new();
    for id in ids? {
        let Some(mut entry) = store::entry(write, id)? else { continue };
        let events = [clock_step.event()];
        let (before, _) = store::advance(&mut entry, &events, now);
        if before == entry.recording {
            continue;
        }
        changed.push(entry.recording.id);
        let change =
            Change { before: Some(&before), after: &entry.recording, events: &events, now };
        store::observe(write, observers, &change)?;
        move_offset(write, id, clock_step)?;
        let by_ms = i64::try_from(clock_step.by.as_millis()).unwrap_or(0);
        for lane in holdfast_core::Lane::ALL {
            let slot = entry.slots[usize::from(lane_key(lane))];
            if let Some(at_ms) = slot.at_ms.filter(|at_ms| slot.claimed && *at_ms > 0) {
                let moved = Slot { at_ms: Some(at_ms.saturating_add(by_ms).max(0)), claimed: true };
                store::set_slot(write, &mut entry, lane, moved)?;
            }
        }
        store::put(write, Some(before.state), entry, None)?;
    }
    let now_ms = u64::try_from(now.as_millisecond()).unwrap_or(0);
    write.open_table(META)?.insert(LATEST_KEY, now_ms)?;
    Ok(changed)
}

/// The last byte's stamp, which stands beside its recording while that arrives.
fn move_offset(write: &WriteTransaction, id: Id, by: ClockStep) -> Result<(), LedgerError> {
    let mut offsets = write.open_table(OFFSETS)?;
    let noted = offsets.get(id)?.map(|value| value.value());
    if let Some((bytes, at_ms)) = noted.filter(|(_, at_ms)| *at_ms >= by.since.as_millisecond()) {
        let moved_ms = at_ms.saturating_add(i64::try_from(by.by.as_millis()).unwrap_or(0));
        offsets.insert(id, (bytes, moved_ms))?;
    }
    Ok(())
}

//! When something is to be done.

use jiff::Timestamp;

use super::{Lane, Recording, State};
use crate::retention::{self, Fate, Rule};

/// When work in a lane is due next, if ever. [`Timestamp::UNIX_EPOCH`] means at once.
#[must_use]
pub fn due(recording: &Recording, lane: Lane) -> Option<Timestamp> {
    match lane {
        Lane::Copy => (recording.state == State::Copying).then_some(recording.copy.next_at)?,
        Lane::Process => matches!(recording.state, State::Saved | State::Processing)
            .then_some(recording.transcode.next_at)?,
        // A push and its undoing never run at the same time.
        Lane::Deliver if recording.state == State::Delivering => recording.push.next_at,
        Lane::Deliver => (!recording.to_withdraw().is_empty())
            .then(|| recording.withdrawal.next_at.unwrap_or(Timestamp::UNIX_EPOCH)),
        Lane::Retain => deletions(recording, lane).chain(recording.reconnect_until()).min(),
        Lane::Expire => deletions(recording, lane)
            .chain(retention::ends_at(recording).map(|(at, _)| at))
            .chain(retention::forget_at(recording))
            .min(),
    }
}

/// When files go by what a lane decides. What is decided goes at once, whatever decided it.
pub(super) fn deletions(recording: &Recording, lane: Lane) -> impl Iterator<Item = Timestamp> {
    recording.files.iter().filter_map(move |file| match retention::fate(recording, file.kind) {
        Fate::Now(_) => (lane == Lane::Retain).then_some(Timestamp::UNIX_EPOCH),
        Fate::Until { at, rule } => (lane_of(rule) == lane).then_some(at),
        Fate::Kept(_) | Fate::Gone => None,
    })
}

/// Which lane decides by a rule.
pub(super) fn lane_of(rule: Rule) -> Lane {
    if rule.is_of_time() { Lane::Expire } else { Lane::Retain }
}

/// The next instant at which something is to be done, if ever.
#[must_use]
pub fn next_deadline(recording: &Recording) -> Option<Timestamp> {
    Lane::ALL.into_iter().filter_map(|lane| due(recording, lane)).min()
}

//! When a file goes, and by which rule (rules 3, 5, 6, 7 and 8).
//!
//! [`fate`] is the one place that answers it for a file, and [`ends_at`] for a recording as a whole;
//! deleting, `next_deadline` and `explain` all ask here.

use std::sync::OnceLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan, ZonedDateTime};
use serde::{Deserialize, Serialize};

use crate::attempts::WINDOW;
use crate::push_order;
use crate::recording::{File, FileKind, Recording, Source, State};

/// How long a recording of unknown status is kept after its last byte (rule 3.3).
pub const UNKNOWN_KEPT: SignedDuration = SignedDuration::from_hours(6);

/// How many local days what failed is kept, the first day being day 1 (rule 6).
pub const FAILED_KEPT_DAYS: i64 = 28;

/// How long the ledger remembers a recording of which nothing is left, in days.
pub const ENTRY_KEPT_DAYS: i64 = 90;

/// How long the ledger remembers what never was a recording, in days.
pub const GARBAGE_ENTRY_KEPT_DAYS: i64 = 7;

/// The zone in which days are counted where a node's configuration names no other.
pub const DEFAULT_ZONE: &str = "Europe/Bucharest";

/// The rule by which a file is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// 3.1: the raw file was handed to processing and everyone had their chance.
    Processed,
    /// 3.2: garbage.
    Garbage,
    /// 3.3: of unknown status for six hours.
    Unknown,
    /// 4: pushed to every destination.
    Pushed,
    /// 5: pushed to every destination, before the push of its recording's other files ended, because its
    /// volume was short of space and the configuration has that go first.
    SpaceNeeded,
    /// 5: store-nothing, and the push counts as successful.
    StoreNothing,
    /// 6: transcoding (or copying to the node that does it) failed for good, 28 days ago.
    TranscodeFailed,
    /// 6: pushing failed for good, 28 days ago.
    PushFailed,
    /// 7: the account's trial or subscription expired 28 days ago.
    AccountExpired,
    /// 8: as old as the environment's lifecycle rule lets it become.
    Lifecycle,
    /// 8: by hand or over the API.
    Requested,
}

impl Rule {
    /// The rule's number and gist, for people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Processed => "rule 3.1 (saved, processed, and playback had its chance)",
            Self::Garbage => "rule 3.2 (not a recording, or never completed)",
            Self::Unknown => "rule 3.3 (of unknown status for 6 hours)",
            Self::Pushed => "rule 5 (pushed to every destination)",
            Self::SpaceNeeded => "rule 5 (pushed to every destination, and space was needed)",
            Self::StoreNothing => "rule 5 (delivered, and store-nothing is on)",
            Self::TranscodeFailed => "rule 6 (28 days after transcoding failed)",
            Self::PushFailed => "rule 6 (28 days after pushing failed)",
            Self::AccountExpired => "rule 7 (28 days after the account expired)",
            Self::Lifecycle => "rule 8 (the environment's lifecycle rule)",
            Self::Requested => "rule 8 (deleted on request)",
        }
    }

    /// The rule's number.
    #[must_use]
    pub fn number(self) -> &'static str {
        match self {
            Self::Processed => "3.1",
            Self::Garbage => "3.2",
            Self::Unknown => "3.3",
            Self::Pushed | Self::SpaceNeeded | Self::StoreNothing => "5",
            Self::TranscodeFailed | Self::PushFailed => "6",
            Self::AccountExpired => "7",
            Self::Lifecycle | Self::Requested => "8",
        }
    }

    /// Whether it goes by the calendar, so that nothing is deleted by it while the clock is not to be
    /// trusted (rule 10). The others follow from what was done; the playback window of rule 3.1 is an
    /// interval.
    #[must_use]
    pub fn is_of_time(self) -> bool {
        match self {
            Self::Unknown
            | Self::TranscodeFailed
            | Self::PushFailed
            | Self::AccountExpired
            | Self::Lifecycle => true,
            Self::Processed
            | Self::Garbage
            | Self::Pushed
            | Self::SpaceNeeded
            | Self::StoreNothing
            | Self::Requested => false,
        }
    }
}

/// Why a file stays, without an end that is known now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// It is arriving, or the person has yet to decide.
    Arriving,
    /// Processing needs it.
    Processing,
    /// It has yet to be pushed.
    Pushing,
    /// No destination is configured: this node is where it is stored.
    StoredHere,
    /// A legal hold keeps it, whatever the rules say.
    Legal,
}

/// What is to become of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has been deleted.
    Gone,
    /// It stays until something happens.
    Kept(Hold),
    /// It goes at this instant.
    Until {
        /// When.
        at: Timestamp,
        /// By which rule.
        rule: Rule,
    },
    /// It goes now.
    Now(Rule),
}

/// An instant some milliseconds later; the end of time where that cannot be said.
pub(crate) fn after(at: Timestamp, ms: u64) -> Timestamp {
    let later = SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    at.checked_add(later).unwrap_or(Timestamp::MAX)
}

/// What is to become of the file of this kind.
#[must_use]
pub fn fate(rec: &Recording, kind: FileKind) -> Fate {
    let Some(file) = rec.file(kind) else { return Fate::Gone };
    if file.deleted_at.is_some() {
        return Fate::Gone;
    }
    if rec.hold.is_some() {
        return Fate::Kept(Hold::Legal);
    }
    if let Some(doom) = &file.doomed {
        return Fate::Now(doom.rule);
    }
    let own = of_state(rec, kind);
    match (own, ends_at(rec)) {
        (Fate::Kept(_), Some((at, rule))) => Fate::Until { at, rule },
        (Fate::Until { at: own_at, .. }, Some((at, rule))) if at < own_at => {
            Fate::Until { at, rule }
        }
        (own, _) => own,
    }
}

/// What is to become of it as far as its recording's state goes.
fn of_state(rec: &Recording, kind: FileKind) -> Fate {
    match rec.state {
        State::Receiving | State::Stopped => Fate::Kept(Hold::Arriving),
        State::Saved | State::Copying | State::Processing => Fate::Kept(Hold::Processing),
        State::Unknown => Fate::Until { at: rec.last_byte_at + UNKNOWN_KEPT, rule: Rule::Unknown },
        State::Garbage => Fate::Now(Rule::Garbage),
        State::Deleted => Fate::Now(rec.ended.as_ref().map_or(Rule::Requested, |e| e.rule)),
        State::Delivering => {
            if push_order::is_enabled(&rec.policy, kind) {
                Fate::Kept(Hold::Pushing)
            } else {
                after_chances(rec, kind, Rule::Processed)
            }
        }
        State::Stored | State::Delivered | State::Failed => concluded(rec, kind),
    }
}

/// When the whole recording goes, and by which rule: with its account (rule 7) or by its
/// environment's lifecycle rule (rule 8), whichever comes first.
#[must_use]
pub fn ends_at(rec: &Recording) -> Option<(Timestamp, Rule)> {
    if rec.hold.is_some() || rec.is_ended() || rec.state == State::Unknown || !remains(rec) {
        return None;
    }
    let account = rec.terms.account_expires_at.map(|expired| {
        (days_kept_until(expired, FAILED_KEPT_DAYS, &zone(&rec.policy.zone)), Rule::AccountExpired)
    });
    let lifecycle = lifecycle_at(rec).map(|at| (at, Rule::Lifecycle));
    account.into_iter().chain(lifecycle).min_by_key(|(at, _)| *at)
}

/// Whether there is anything left of it that rules 7 and 8 could take.
fn remains(rec: &Recording) -> bool {
    rec.state == State::Stored || !rec.is_gone()
}

/// N whole local days after SAVED, at the same time of day, and never sooner than 75 h after SAVED.
/// Only what is stored goes by it: what exhausted its attempts is rule 6's.
fn lifecycle_at(rec: &Recording) -> Option<Timestamp> {
    let days = rec.terms.lifecycle_days?;
    let saved_at = rec.saved_at?;
    if rec.state != State::Stored || rec.is_exhausted() {
        return None;
    }
    let local = saved_at.to_zoned_datetime(zone(&rec.policy.zone));
    let at = local.checked_add(i64::from(days).days()).map_or(Timestamp::MAX, |at| at.timestamp());
    Some(at.max(saved_at + WINDOW))
}

/// When the ledger may forget a recording: nothing of it is left, and has not been for a while.
#[must_use]
pub fn forget_at(rec: &Recording) -> Option<Timestamp> {
    let days = match rec.state {
        State::Deleted | State::Unknown | State::Failed | State::Delivered => ENTRY_KEPT_DAYS,
        State::Garbage => GARBAGE_ENTRY_KEPT_DAYS,
        _ => return None,
    };
    if rec.hold.is_some() || !rec.is_gone() {
        return None;
    }
    let mut last = rec.received_at;
    for file in &rec.files {
        last = last.max(file.deleted_at?);
    }
    last.checked_add(SignedDuration::from_hours(24 * days)).ok()
}

fn concluded(rec: &Recording, kind: FileKind) -> Fate {
    if rec.copy.exhausted || rec.transcode.exhausted {
        let start =
            rec.saved_at.unwrap_or(rec.received_at).max(rec.moved_at.unwrap_or(Timestamp::MIN));
        return Fate::Until { at: end_of_day_28(start, rec), rule: Rule::TranscodeFailed };
    }
    if !push_order::is_enabled(&rec.policy, kind) {
        return after_chances(rec, kind, Rule::Processed);
    }
    if rec.policy.destinations.is_empty() {
        return Fate::Kept(Hold::StoredHere);
    }
    let nothing_stays = rec.policy.store_nothing && push_order::all_successful(rec);
    let is_pending = push_order::pending(rec).iter().any(|(_, pending)| *pending == kind);
    if nothing_stays {
        after_chances(rec, kind, Rule::StoreNothing)
    } else if is_pending {
        let made_at = rec.file(kind).map_or(rec.received_at, |file| file.made_at);
        Fate::Until { at: end_of_day_28(made_at, rec), rule: Rule::PushFailed }
    } else {
        after_chances(rec, kind, Rule::Pushed)
    }
}

/// Whether a file can go before its recording's push has ended, where space is needed: every destination
/// has it, so that no attempt pushes it again; playback had its chance; no legal hold keeps it. With the
/// push ends what it waits for, and [`Rule::Pushed`] would take it then.
#[must_use]
pub fn is_spare(rec: &Recording, kind: FileKind, now: Timestamp) -> bool {
    let to = &rec.policy.destinations;
    let is_everywhere = |file: &File| !to.is_empty() && to.iter().all(|to| file.is_pushed_to(to));
    rec.state == State::Delivering
        && rec.hold.is_none()
        && rec.file(kind).is_some_and(|file| file.is_local() && is_everywhere(file))
        && match after_chances(rec, kind, Rule::SpaceNeeded) {
            Fate::Now(_) => true,
            Fate::Until { at, .. } => at <= now,
            Fate::Kept(_) | Fate::Gone => false,
        }
}

/// A streamed raw file stays until playback in the recorder had its chance (rule 3.1).
fn after_chances(rec: &Recording, kind: FileKind, rule: Rule) -> Fate {
    let has_chances = kind == FileKind::Raw && rec.source == Source::Stream && !rec.recovered;
    match rec.saved_at {
        Some(saved_at) if has_chances => {
            Fate::Until { at: after(saved_at, rec.policy.playback_ms), rule }
        }
        _ => Fate::Now(rule),
    }
}

fn end_of_day_28(start: Timestamp, rec: &Recording) -> Timestamp {
    days_kept_until(start, FAILED_KEPT_DAYS, &zone(&rec.policy.zone))
}

/// A zone by its name, from the database that is built in; the default zone for an unknown name.
#[must_use]
pub fn zone(name: &str) -> TimeZone {
    let zones = zones();
    zones.get(name).or_else(|_| zones.get(DEFAULT_ZONE)).unwrap_or(TimeZone::UTC)
}

/// The database that is built in.
fn zones() -> &'static TimeZoneDatabase {
    static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    ZONES.get_or_init(TimeZoneDatabase::bundled)
}

/// Whether the built-in database has a zone of this name.
#[must_use]
pub fn is_zone(name: &str) -> bool {
    zones().get(name).is_ok()
}

/// The local midnight that ends the last of `days` days, the day of `start` being day 1.
#[must_use]
pub fn days_kept_until(start: Timestamp, days: i64, zone: &TimeZone) -> Timestamp {
    let local: ZonedDateTime = start.to_zoned_datetime(zone.clone());
    local
        .date()
        .checked_add(days.days())
        .ok()
        .and_then(|date| date.to_zoned_datetime(zone.clone()).ok())
        .map_or(Timestamp::MAX, |midnight| midnight.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_6_twenty_eight_local_days() {
        let zone = zone(DEFAULT_ZONE);
        for (start, expected) in [
            ("2019-11-04T00:00:00+02", "2019-12-01T22:00:00Z"),
            ("2019-11-04T23:59:59+02", "2019-12-01T22:00:00Z"),
            ("2024-02-10T23:59:59+02", "2024-03-08T22:00:00Z"),
            ("2024-02-10T22:30:00Z", "2024-03-09T22:00:00Z"),
            ("2025-03-15T12:00:00+02", "2025-04-11T21:00:00Z"),
            ("2025-10-10T12:00:00+03", "2025-11-06T22:00:00Z"),
        ] {
            let start: Timestamp = start.parse().unwrap();
            let expected: Timestamp = expected.parse().unwrap();
            assert_eq!(days_kept_until(start, FAILED_KEPT_DAYS, &zone), expected, "{start}");
        }
    }

    #[test]
    fn an_unknown_zone_falls_back_and_a_known_one_does_not() {
        assert!(is_zone("America/New_York"));
        assert!(!is_zone("Europe/Atlantis"));
        assert_eq!(zone("Europe/Atlantis"), zone(DEFAULT_ZONE));
    }
}

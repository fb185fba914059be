//! When a file goes, and by which rule (rules 3, 5, 6 and 8).
//!
//! [`fate`] is the one place that answers it; deleting, `next_deadline` and `explain` all ask here.

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan, ZonedDateTime};
use serde::{Deserialize, Serialize};

use crate::push_order;
use crate::recording::{FileKind, Recording, Source, State};

/// How long a recording of unknown status is kept after its last byte (rule 3.3).
pub const UNKNOWN_KEPT: SignedDuration = SignedDuration::from_hours(6);

/// How many local days what failed is kept, the first day being day 1 (rule 6).
pub const FAILED_KEPT_DAYS: i64 = 28;

/// The zone in which days are counted where a node's configuration names no other.
pub const DEFAULT_ZONE: &str = "Europe/Bucharest";

/// The rule by which a file is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
    /// 5: store-nothing, and the push counts as successful.
    StoreNothing,
    /// 6: transcoding failed for good, 28 days ago.
    TranscodeFailed,
    /// 6: pushing failed for good, 28 days ago.
    PushFailed,
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
            Self::StoreNothing => "rule 5 (delivered, and store-nothing is on)",
            Self::TranscodeFailed => "rule 6 (28 days after transcoding failed)",
            Self::PushFailed => "rule 6 (28 days after pushing failed)",
            Self::Requested => "rule 8 (deleted on request)",
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
    if let Some(doom) = &file.doomed {
        return Fate::Now(doom.rule);
    }
    match rec.state {
        State::Receiving | State::Stopped => Fate::Kept(Hold::Arriving),
        State::Saved | State::Processing => Fate::Kept(Hold::Processing),
        State::Unknown => Fate::Until { at: rec.last_byte_at + UNKNOWN_KEPT, rule: Rule::Unknown },
        State::Garbage => Fate::Now(Rule::Garbage),
        State::Deleted => Fate::Now(Rule::Requested),
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

fn concluded(rec: &Recording, kind: FileKind) -> Fate {
    if rec.transcode.exhausted {
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
    let database = TimeZoneDatabase::bundled();
    database.get(name).or_else(|_| database.get(DEFAULT_ZONE)).unwrap_or(TimeZone::UTC)
}

/// Whether the built-in database has a zone of this name.
#[must_use]
pub fn is_zone(name: &str) -> bool {
    TimeZoneDatabase::bundled().get(name).is_ok()
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

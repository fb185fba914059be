//! The rules as an outsider reads them, with notes of what happened to one recording. Nothing here
//! asks the core what a rule says.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::push_order::Success;
use holdfast_core::recording::{FileKind, Lane, Policy, Recording, Source, State, Terms};
use holdfast_core::retention::Rule;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan};

const WAITS_MIN: [i64; 12] = [2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 1440];
const WINDOW: SignedDuration = SignedDuration::from_hours(75);
/// Longest that a push is put off at a time, with the second by which those who wait are apart.
const PUT_OFF_MAX: SignedDuration = SignedDuration::from_secs(5 * 60 + 60);
const KINDS: [FileKind; 5] = [
    FileKind::Main,
    FileKind::Raw,
    FileKind::Snapshot,
    FileKind::Filmstrip,
    FileKind::FilmstripVtt,
];

/// What the law remembers of a step: transcode or push.
#[derive(Debug, Default, Clone)]
struct Step {
    counted: usize,
    /// Attempts begun, those that were cut short and begun again included.
    begun: usize,
    failed_at: Option<Timestamp>,
    by_hand: bool,
    is_over: bool,
    /// Nothing could be tried; it is let in again then, and that cost it nothing.
    put_off_until: Option<Timestamp>,
    /// What the attempt that runs was.
    last: Option<Kind>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counted,
    ByHand,
}

/// The law's notes on a recording.
#[derive(Debug)]
pub(super) struct Law {
    pub(super) policy: Policy,
    source: Source,
    zone: TimeZone,
    process: Step,
    deliver: Step,
    pub(super) terms: Terms,
    pub(super) saved_at: Option<Timestamp>,
    pub(super) last_byte_at: Timestamp,
    pub(super) made_at: BTreeMap<FileKind, Timestamp>,
    pub(super) pushed: BTreeSet<(String, FileKind)>,
    pub(super) held: bool,
    pub(super) asked_to_delete: bool,
    pub(super) rejected: bool,
    pub(super) recovered: bool,
}

impl Law {
    pub(super) fn new(rec: &Recording) -> Self {
        let zones = TimeZoneDatabase::bundled();
        Self {
            policy: rec.policy.clone(),
            source: rec.source,
            zone: zones.get(&rec.policy.zone).expect("a zone"),
            process: Step::default(),
            deliver: Step::default(),
            terms: rec.terms,
            saved_at: rec.saved_at,
            last_byte_at: rec.last_byte_at,
            made_at: BTreeMap::new(),
            pushed: BTreeSet::new(),
            held: rec.hold.is_some(),
            asked_to_delete: false,
            rejected: false,
            recovered: false,
        }
    }

    /// The local midnight that ends day 28, the day of `start` being day 1.
    fn end_of_day_28(&self, start: Timestamp) -> Timestamp {
        let first = start.to_zoned_datetime(self.zone.clone()).date();
        let after = first.checked_add(28.days()).expect("a date");
        after.to_zoned_datetime(self.zone.clone()).expect("a midnight").timestamp()
    }

    fn days_later(&self, start: Timestamp, days: u32) -> Timestamp {
        let local = start.to_zoned_datetime(self.zone.clone());
        local.checked_add(i64::from(days).days()).expect("a date").timestamp()
    }

    pub(super) fn is_wanted(&self, kind: FileKind) -> bool {
        match kind {
            FileKind::Main => self.policy.outputs.mp4,
            FileKind::Raw => self.policy.push_raw || !self.policy.outputs.mp4,
            FileKind::Snapshot => self.policy.outputs.snapshot,
            FileKind::Filmstrip | FileKind::FilmstripVtt => self.policy.outputs.filmstrip,
        }
    }

    pub(super) fn main(&self) -> FileKind {
        if self.policy.outputs.mp4 { FileKind::Main } else { FileKind::Raw }
    }

    fn is_pushed_everywhere(&self, kind: FileKind) -> bool {
        self.policy.destinations.iter().all(|to| self.pushed.contains(&(to.clone(), kind)))
    }

    /// Rule 5: whether every destination's push counts.
    pub(super) fn push_counts(&self) -> bool {
        match self.policy.success {
            Success::Main => self.is_pushed_everywhere(self.main()),
            Success::All => KINDS
                .into_iter()
                .filter(|kind| self.is_wanted(*kind) && self.made_at.contains_key(kind))
                .all(|kind| self.is_pushed_everywhere(kind)),
        }
    }

    pub(super) fn save(&mut self, now: Timestamp) {
        self.saved_at = Some(now);
        self.made_at.insert(FileKind::Raw, now);
    }

    pub(super) fn made(&mut self, kinds: impl Iterator<Item = FileKind>, now: Timestamp) {
        self.made_at.extend(kinds.map(|kind| (kind, now)));
        self.made_at.insert(FileKind::Raw, now);
        self.process.by_hand = false;
    }

    /// Stamps of a clock that was wrong are put right.
    pub(super) fn shift(&mut self, since: Timestamp, by: SignedDuration) {
        let moved = |at: &mut Timestamp| {
            if *at >= since {
                *at += by;
            }
        };
        self.saved_at.iter_mut().for_each(moved);
        moved(&mut self.last_byte_at);
        self.made_at.values_mut().for_each(moved);
        for step in [&mut self.process, &mut self.deliver] {
            step.failed_at.iter_mut().for_each(moved);
            step.put_off_until.iter_mut().for_each(moved);
        }
    }

    fn step(&mut self, lane: Lane) -> &mut Step {
        if lane == Lane::Process { &mut self.process } else { &mut self.deliver }
    }

    pub(super) fn ask_again(&mut self, lane: Lane) {
        let step = self.step(lane);
        step.by_hand |= step.counted > 0 || step.is_over;
        step.is_over = false;
    }

    /// Rule 2: an attempt begins. It is one of thirteen, waits its time, and is not later than 75 h;
    /// or someone asked for it.
    pub(super) fn begin(&mut self, lane: Lane, was_cut_short: bool, now: Timestamp) {
        let saved_at = self.saved_at.expect("only what was saved is worked on");
        let is_late = now > saved_at + WINDOW;
        let step = self.step(lane);
        step.begun += 1;
        step.put_off_until = None;
        if was_cut_short {
            let is_counted = step.last == Some(Kind::Counted);
            assert!(!is_counted || !is_late, "{lane:?} begins again after 75 h");
            return;
        }
        // What an attempt by hand made so late is pushed once.
        let follows_one_by_hand = is_late && lane == Lane::Deliver && step.begun == 1;
        if step.by_hand || follows_one_by_hand {
            step.by_hand = true;
            step.last = Some(Kind::ByHand);
            return;
        }
        assert!(!step.is_over, "an attempt of {lane:?} after it was given up");
        assert!(!is_late, "an attempt of {lane:?} after 75 h");
        if let Some(failed_at) = step.failed_at.filter(|_| step.counted > 0) {
            let wait = SignedDuration::from_mins(WAITS_MIN[step.counted - 1]);
            assert!(now >= failed_at + wait, "attempt {} came too soon", step.counted + 1);
        }
        step.counted += 1;
        step.last = Some(Kind::Counted);
        assert!(step.counted <= 13, "a fourteenth attempt of {lane:?}");
    }

    /// A ledger that is made anew does not know of the last failure, but of one before it.
    pub(super) fn forget_failure(&mut self, lane: Lane, made: u8, failed_at: Option<Timestamp>) {
        let step = self.step(lane);
        step.counted = step.counted.min(made.into());
        step.failed_at = failed_at;
        step.is_over = false;
    }

    pub(super) fn fail(&mut self, lane: Lane, now: Timestamp) {
        let saved_at = self.saved_at.expect("only what was saved is worked on");
        let step = self.step(lane);
        step.failed_at = Some(now);
        step.by_hand = false;
        step.is_over = step.next_at().is_none_or(|at| at > saved_at + WINDOW);
    }

    /// The attempt that runs was not let in: others are there, or the destination is down. It counts as
    /// none of the thirteen, and comes back soon.
    pub(super) fn put_off(&mut self, lane: Lane, until: Timestamp, now: Timestamp) {
        assert!(until <= now + PUT_OFF_MAX, "{lane:?} is put off until {until}");
        let step = self.step(lane);
        if step.last == Some(Kind::Counted) {
            step.counted -= 1;
        }
        step.put_off_until = Some(until);
    }

    pub(super) fn succeed(&mut self, lane: Lane) {
        self.step(lane).by_hand = false;
    }

    pub(super) fn give_up(&mut self, lane: Lane, now: Timestamp) {
        let window_is_over = self.saved_at.is_some_and(|saved_at| now > saved_at + WINDOW);
        let step = self.step(lane);
        assert!(step.is_over || window_is_over, "{lane:?} was given up before its time");
        step.is_over = true;
    }

    pub(super) fn is_over(&self, lane: Lane) -> bool {
        if lane == Lane::Process { self.process.is_over } else { self.deliver.is_over }
    }

    /// How often transcoding was begun.
    pub(super) fn transcodes_begun(&self) -> usize {
        self.process.begun
    }

    /// When the next attempt has to have begun, if one is to come.
    pub(super) fn next_attempt(&self, lane: Lane) -> Option<Timestamp> {
        let step = if lane == Lane::Process { &self.process } else { &self.deliver };
        let next = if step.counted == 0 { self.saved_at } else { step.next_at() };
        let next = next.map(|next| step.put_off_until.map_or(next, |until| until.max(next)));
        next.filter(|_| !step.is_over && !step.by_hand)
    }

    /// The earliest instant at which the law lets a file go by this rule.
    pub(super) fn earliest(
        &self,
        rec: &Recording,
        kind: FileKind,
        rule: Rule,
    ) -> Option<Timestamp> {
        let now_if = |is: bool| is.then_some(Timestamp::UNIX_EPOCH);
        let saved_at = self.saved_at.unwrap_or(Timestamp::MAX);
        let chances = || {
            let has = kind == FileKind::Raw && self.source == Source::Stream && !self.recovered;
            let wait_ms = if has { self.policy.playback_ms } else { 0 };
            saved_at.checked_add(std::time::Duration::from_millis(wait_ms)).ok()
        };
        match rule {
            Rule::Requested => now_if(self.asked_to_delete),
            Rule::Garbage => now_if(self.rejected),
            Rule::Unknown => {
                let is_unknown = rec.state == State::Unknown;
                is_unknown.then(|| self.last_byte_at + SignedDuration::from_hours(6))
            }
            Rule::Processed => {
                use State::{Delivered, Delivering, Failed, Stored};
                let is_done = matches!(rec.state, Delivering | Stored | Delivered | Failed);
                chances().filter(|_| is_done && kind == FileKind::Raw && !self.is_wanted(kind))
            }
            Rule::Pushed | Rule::SpaceNeeded => chances().filter(|_| {
                self.is_pushed_everywhere(kind) && !self.policy.destinations.is_empty()
            }),
            Rule::StoreNothing => {
                chances().filter(|_| self.policy.store_nothing && self.push_counts())
            }
            Rule::TranscodeFailed => {
                self.is_over(Lane::Process).then(|| self.end_of_day_28(saved_at))
            }
            Rule::PushFailed => {
                let made_at = self.made_at.get(&kind).copied()?;
                self.is_over(Lane::Deliver).then(|| self.end_of_day_28(made_at))
            }
            Rule::AccountExpired => {
                self.terms.account_expires_at.map(|expired| self.end_of_day_28(expired))
            }
            Rule::Lifecycle => {
                let days = self.terms.lifecycle_days?;
                let is_exhausted = self.is_over(Lane::Process) || self.is_over(Lane::Deliver);
                let is_stored = rec.state == State::Stored && !is_exhausted;
                is_stored.then(|| self.days_later(saved_at, days).max(saved_at + WINDOW))
            }
        }
    }

    /// When a file must be gone at the latest, as far as the law says one.
    pub(super) fn latest(&self, rec: &Recording, kind: FileKind) -> Option<Timestamp> {
        if self.held {
            return None;
        }
        let mut rules = vec![Rule::AccountExpired];
        match rec.state {
            State::Deleted => return Some(Timestamp::UNIX_EPOCH),
            State::Garbage => rules.push(Rule::Garbage),
            State::Unknown => rules = vec![Rule::Unknown],
            State::Stored => rules.extend([Rule::Processed, Rule::Pushed, Rule::Lifecycle]),
            State::Delivered => rules.extend([Rule::Processed, Rule::Pushed, Rule::StoreNothing]),
            State::Failed => rules.extend([Rule::TranscodeFailed, Rule::PushFailed]),
            _ => {}
        }
        rules.into_iter().filter_map(|rule| self.earliest(rec, kind, rule)).min()
    }
}

impl Step {
    /// When the attempt after the last failure is due; nothing after the thirteenth.
    fn next_at(&self) -> Option<Timestamp> {
        let wait = self.counted.checked_sub(1).and_then(|failed| WAITS_MIN.get(failed))?;
        Some(self.failed_at? + SignedDuration::from_mins(*wait))
    }
}

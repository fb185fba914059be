//! The rules as an outsider reads them, with notes of what happened.
//!
//! Days are counted in a zone without summer time here, so that a day is 24 h and the law needs no
//! calendar of its own; the vectors of rule 6 with summer time are the core's own tests.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_core::push_order::Success;
use holdfast_core::recording::{FileKind, Lane, Policy, Recording, Source, State, Terms};
use holdfast_core::retention::Rule;
use jiff::{SignedDuration, Timestamp};

/// The zone of the law.
pub(crate) const ZONE: &str = "UTC";

const DAY_S: i64 = 86_400;
const WAITS_MIN: [i64; 12] = [2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 1440];

/// What the law remembers of a step: copy, transcode or push.
#[derive(Debug, Default, Clone)]
pub(crate) struct Step {
    counted: usize,
    failed_at: Option<Timestamp>,
    by_hand: bool,
    is_over: bool,
}

/// The law's notes.
#[derive(Debug)]
pub(crate) struct Law {
    policy: Policy,
    source: Source,
    steps: BTreeMap<u8, Step>,
    pub(crate) terms: Terms,
    pub(crate) saved_at: Option<Timestamp>,
    moved_at: Option<Timestamp>,
    last_byte_at: Timestamp,
    made_at: BTreeMap<u8, Timestamp>,
    pushed: BTreeSet<(String, u8)>,
    pub(crate) held: bool,
    asked_to_delete: bool,
    rejected: bool,
    pub(crate) recovered: bool,
}

fn number(lane: Lane) -> u8 {
    match lane {
        Lane::Copy => 0,
        Lane::Process => 1,
        _ => 2,
    }
}

fn index(kind: FileKind) -> u8 {
    match kind {
        FileKind::Main => 0,
        FileKind::Raw => 1,
        FileKind::Snapshot => 2,
        FileKind::Filmstrip => 3,
        FileKind::FilmstripVtt => 4,
    }
}

/// The midnight that ends day 28, the day of `start` being day 1.
fn end_of_day_28(start: Timestamp) -> Timestamp {
    let day = start.as_second().div_euclid(DAY_S);
    Timestamp::from_second((day + 28) * DAY_S).expect("within what a timestamp can say")
}

impl Law {
    pub(crate) fn new(policy: Policy, source: Source, now: Timestamp) -> Self {
        Self {
            policy,
            source,
            steps: BTreeMap::new(),
            terms: Terms::default(),
            saved_at: None,
            moved_at: None,
            last_byte_at: now,
            made_at: BTreeMap::new(),
            pushed: BTreeSet::new(),
            held: false,
            asked_to_delete: false,
            rejected: false,
            recovered: false,
        }
    }

    fn wanted(&self, kind: FileKind) -> bool {
        match kind {
            FileKind::Main => self.policy.outputs.mp4,
            FileKind::Raw => self.policy.push_raw || !self.policy.outputs.mp4,
            FileKind::Snapshot => self.policy.outputs.snapshot,
            FileKind::Filmstrip | FileKind::FilmstripVtt => self.policy.outputs.filmstrip,
        }
    }

    fn is_pushed_everywhere(&self, kind: FileKind) -> bool {
        self.policy.destinations.iter().all(|to| self.pushed.contains(&(to.clone(), index(kind))))
    }

    /// Rule 5: whether every destination's push counts.
    fn push_counts(&self) -> bool {
        let main = if self.policy.outputs.mp4 { FileKind::Main } else { FileKind::Raw };
        let all = [
            FileKind::Main,
            FileKind::Raw,
            FileKind::Snapshot,
            FileKind::Filmstrip,
            FileKind::FilmstripVtt,
        ];
        match self.policy.success {
            Success::Main => self.is_pushed_everywhere(main),
            Success::All => all
                .into_iter()
                .filter(|kind| self.wanted(*kind) && self.made_at.contains_key(&index(*kind)))
                .all(|kind| self.is_pushed_everywhere(kind)),
        }
    }

    pub(crate) fn save(&mut self, now: Timestamp) {
        self.saved_at = Some(now);
        self.made_at.insert(index(FileKind::Raw), now);
    }

    pub(crate) fn byte(&mut self, now: Timestamp) {
        self.last_byte_at = now;
    }

    pub(crate) fn copied(&mut self, now: Timestamp) {
        self.moved_at = Some(now);
        // Where nothing is to be made of it, this is when processing had it.
        self.made_at.insert(index(FileKind::Raw), now);
        self.succeed(Lane::Copy);
    }

    pub(crate) fn made(&mut self, kinds: &[FileKind], now: Timestamp) {
        for kind in kinds {
            self.made_at.insert(index(*kind), now);
        }
        self.made_at.insert(index(FileKind::Raw), now);
        self.succeed(Lane::Process);
    }

    pub(crate) fn pushed(&mut self, destination: &str, kind: FileKind) {
        self.pushed.insert((destination.to_owned(), index(kind)));
    }

    pub(crate) fn delete(&mut self) {
        self.asked_to_delete |= !self.held;
    }

    pub(crate) fn reject(&mut self) {
        self.rejected = true;
    }

    pub(crate) fn ask_again(&mut self, lane: Lane) {
        let step = self.steps.entry(number(lane)).or_default();
        step.by_hand |= step.counted > 0 || step.is_over;
        step.is_over = false;
    }

    /// Rule 2: an attempt begins. It is one of thirteen, waits its time, and is not later than 75 h;
    /// or someone asked for it.
    pub(crate) fn begin(&mut self, lane: Lane, was_cut_short: bool, now: Timestamp) {
        let saved_at = self.saved_at.expect("only what was saved is worked on");
        let after_a_late_one_by_hand = now > saved_at + SignedDuration::from_hours(75)
            && lane != Lane::Process
            && !self.steps.contains_key(&number(lane));
        let step = self.steps.entry(number(lane)).or_default();
        if was_cut_short {
            return;
        }
        if step.by_hand || after_a_late_one_by_hand {
            step.by_hand = true;
            return;
        }
        assert!(!step.is_over, "an attempt of {lane:?} after it was given up");
        assert!(now <= saved_at + SignedDuration::from_hours(75), "an attempt after 75 h");
        if let Some(failed_at) = step.failed_at.filter(|_| step.counted > 0) {
            let wait = SignedDuration::from_mins(WAITS_MIN[step.counted - 1]);
            assert!(now >= failed_at + wait, "attempt {} came too soon", step.counted + 1);
        }
        step.counted += 1;
        assert!(step.counted <= 13, "a fourteenth attempt");
    }

    pub(crate) fn fail(&mut self, lane: Lane, now: Timestamp) {
        let saved_at = self.saved_at.expect("only what was saved is worked on");
        let step = self.steps.entry(number(lane)).or_default();
        step.failed_at = Some(now);
        step.by_hand = false;
        let next = step
            .counted
            .checked_sub(1)
            .and_then(|done| WAITS_MIN.get(done))
            .map(|wait| now + SignedDuration::from_mins(*wait));
        step.is_over = next.is_none_or(|at| at > saved_at + SignedDuration::from_hours(75));
    }

    pub(crate) fn give_up(&mut self, lane: Lane) {
        self.steps.entry(number(lane)).or_default().is_over = true;
    }

    pub(crate) fn succeed(&mut self, lane: Lane) {
        self.steps.entry(number(lane)).or_default().by_hand = false;
    }

    fn is_over(&self, lane: Lane) -> bool {
        self.steps.get(&number(lane)).is_some_and(|step| step.is_over)
    }

    pub(crate) fn shift(&mut self, since: Timestamp, by: SignedDuration) {
        let moved = |at: &mut Timestamp| {
            if *at >= since {
                *at += by;
            }
        };
        self.saved_at.iter_mut().for_each(moved);
        self.moved_at.iter_mut().for_each(moved);
        moved(&mut self.last_byte_at);
        self.made_at.values_mut().for_each(moved);
        for step in self.steps.values_mut() {
            step.failed_at.iter_mut().for_each(moved);
        }
    }

    /// The earliest instant at which the law lets a file go by this rule.
    pub(crate) fn earliest(
        &self,
        rec: &Recording,
        kind: FileKind,
        rule: Rule,
    ) -> Option<Timestamp> {
        let now_if = |is: bool| is.then_some(Timestamp::UNIX_EPOCH);
        let saved_at = self.saved_at.unwrap_or(Timestamp::MAX);
        let chances = || {
            let has = kind == FileKind::Raw && self.source == Source::Stream && !self.recovered;
            let wait = if has { self.policy.playback_ms } else { 0 };
            saved_at.checked_add(SignedDuration::from_millis(wait as i64)).ok()
        };
        match rule {
            Rule::Requested => now_if(self.asked_to_delete),
            Rule::Garbage => now_if(self.rejected),
            Rule::Unknown => Some(self.last_byte_at + SignedDuration::from_hours(6)),
            Rule::Processed => {
                let is_done = matches!(
                    rec.state,
                    State::Delivering | State::Stored | State::Delivered | State::Failed
                );
                chances().filter(|_| is_done && kind == FileKind::Raw && !self.wanted(kind))
            }
            Rule::Pushed | Rule::SpaceNeeded => chances().filter(|_| {
                self.is_pushed_everywhere(kind) && !self.policy.destinations.is_empty()
            }),
            Rule::StoreNothing => {
                chances().filter(|_| self.policy.store_nothing && self.push_counts())
            }
            Rule::TranscodeFailed => {
                let is_over = self.is_over(Lane::Copy) || self.is_over(Lane::Process);
                let start = saved_at.max(self.moved_at.unwrap_or(Timestamp::MIN));
                is_over.then(|| end_of_day_28(start))
            }
            Rule::PushFailed => {
                let made_at = self.made_at.get(&index(kind)).copied()?;
                self.is_over(Lane::Deliver).then(|| end_of_day_28(made_at))
            }
            Rule::AccountExpired => self.terms.account_expires_at.map(end_of_day_28),
            Rule::Lifecycle => {
                let days = self.terms.lifecycle_days?;
                let floor = saved_at + SignedDuration::from_hours(75);
                let is_exhausted =
                    [Lane::Copy, Lane::Process, Lane::Deliver].into_iter().any(|l| self.is_over(l));
                let by_days = saved_at + SignedDuration::from_hours(24 * i64::from(days));
                (!is_exhausted).then(|| by_days.max(floor))
            }
        }
    }

    /// When a file must be gone at the latest, as far as the law says one.
    pub(crate) fn latest(&self, rec: &Recording, kind: FileKind) -> Option<Timestamp> {
        if self.held {
            return None;
        }
        let mut rules = vec![Rule::AccountExpired];
        match rec.state {
            State::Deleted => rules.push(Rule::Requested),
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

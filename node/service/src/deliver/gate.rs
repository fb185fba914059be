//! Who may push to a destination now: so many at once, and to one that is down only a probe.
//!
//! Invariants:
//! - A destination that failed [`FAILURES_MAX`] recordings in a row, with no success between, is shut.
//!   Once its wait is over one recording is let through as a probe; what comes of it opens the
//!   destination again or shuts it for longer. All others are put off, which costs them no attempt: a
//!   server that is down for a night uses up a few recordings' attempts and not a thousand's.
//! - An attempt that a person asked for is always let through, and counts as a probe.
//! - Who finds every place taken is put off as well, for as long as it takes until there is one. A
//!   worker never waits in here: a slow destination must not keep the others waiting.
//!
//! All of it is in memory. A node that starts thinks well of everybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use holdfast_core::RecordingId;
use holdfast_core::attempts::Fault;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Recordings that have to fail in a row until a destination is shut.
const FAILURES_MAX: usize = 3;
/// How long it is shut at first. Each probe that fails doubles it.
const SHUT_MIN: SignedDuration = SignedDuration::from_secs(30);
/// Longest that it is shut until the next probe.
const SHUT_MAX: SignedDuration = SignedDuration::from_mins(5);
/// How far apart those come back who wait for a place or for a destination to be open again.
const APART_MIN: SignedDuration = SignedDuration::from_millis(50);
const APART_MAX: SignedDuration = SignedDuration::from_secs(1);
/// Longest that anybody is put off for want of a place.
const PUT_OFF_MAX: SignedDuration = SignedDuration::from_mins(5);

/// The gates of all destinations.
#[derive(Debug, Default)]
pub struct Gates(Arc<Mutex<HashMap<String, Gate>>>);

#[derive(Debug, Default)]
struct Gate {
    inside: u32,
    /// Which recordings failed since the last success, at most [`FAILURES_MAX`]: few that fail again
    /// and again, each in its own time, use up nobody else's attempts.
    failed: Vec<RecordingId>,
    shut: Option<Shut>,
    /// When the last of those who were put off comes back.
    last_back: Option<Timestamp>,
    /// How long a visit takes, smoothed.
    visit: SignedDuration,
}

#[derive(Debug, Clone)]
struct Shut {
    since: Timestamp,
    wait: SignedDuration,
    probe_at: Timestamp,
    is_probed: bool,
    sentence: String,
}

/// Whether a recording may be pushed to a destination now.
#[derive(Debug)]
pub enum Entry {
    /// It may; until the visit is dropped it takes one of the places.
    Open(Visit),
    /// It is to come back later.
    Later {
        /// When.
        until: Timestamp,
        /// Why, in a few words: `"archive" does not …`.
        why: String,
    },
}

/// A recording that is being pushed to a destination.
#[derive(Debug)]
pub struct Visit {
    gates: Arc<Mutex<HashMap<String, Gate>>>,
    destination: String,
    recording: RecordingId,
    began: Timestamp,
    is_probe: bool,
    is_told: bool,
}

/// How a destination is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// Whether it is pushed to; when not, only probes are let through.
    pub open: bool,
    /// Recordings that are being pushed there.
    pub pushing: u32,
    /// Recordings that failed there in a row.
    pub failures: usize,
    /// Since when it is shut.
    pub shut_since: Option<Timestamp>,
    /// When it is probed next.
    pub probe_at: Option<Timestamp>,
    /// What the last failure said.
    pub error: Option<String>,
}

fn lock(gates: &Mutex<HashMap<String, Gate>>) -> MutexGuard<'_, HashMap<String, Gate>> {
    gates.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gates {
    /// Asks for a place at a destination that takes at most `files_max` at once.
    #[must_use]
    pub fn enter(
        &self,
        destination: &str,
        files_max: Option<u16>,
        recording: RecordingId,
        by_hand: bool,
        now: Timestamp,
    ) -> Entry {
        let mut gates = lock(&self.0);
        let gate = gates.entry(destination.to_owned()).or_default();
        let apart = gate.apart(files_max);
        let mut is_probe = false;
        if let Some(shut) = &mut gate.shut {
            is_probe = by_hand || (shut.probe_at <= now && !shut.is_probed);
            if !is_probe {
                let why = format!(
                    "{destination:?} has failed {FAILURES_MAX} recordings in a row and is only probed \
                     until it is well: {}",
                    shut.sentence
                );
                let soonest = shut.probe_at.max(now + SHUT_MIN);
                return Entry::Later { until: gate.back(soonest, apart), why };
            }
            shut.is_probed = true;
        }
        if files_max.is_some_and(|most| gate.inside >= u32::from(most)) {
            if let Some(shut) = gate.shut.as_mut().filter(|_| is_probe) {
                shut.is_probed = false;
            }
            let why = format!("{destination:?} takes {} at once", files_max.unwrap_or(1));
            return Entry::Later { until: gate.back(now + apart, apart), why };
        }
        gate.inside += 1;
        Entry::Open(Visit {
            gates: Arc::clone(&self.0),
            destination: destination.to_owned(),
            recording,
            began: now,
            is_probe,
            is_told: false,
        })
    }

    /// A person wants it tried: where a destination is shut, the next recording is a probe.
    pub fn probe_now(&self, destination: &str, now: Timestamp) {
        if let Some(gate) = lock(&self.0).get_mut(destination)
            && let Some(shut) = &mut gate.shut
        {
            shut.probe_at = shut.probe_at.min(now);
        }
    }

    /// Whatever was wrong with a destination: its settings are others now, or a test went well.
    pub fn open(&self, destination: &str) {
        if let Some(gate) = lock(&self.0).get_mut(destination) {
            gate.failed.clear();
            gate.shut = None;
        }
    }

    /// How a destination is doing.
    #[must_use]
    pub fn health(&self, destination: &str) -> Health {
        let gates = lock(&self.0);
        let gate = gates.get(destination);
        let shut = gate.and_then(|gate| gate.shut.as_ref());
        Health {
            open: shut.is_none(),
            pushing: gate.map_or(0, |gate| gate.inside),
            failures: gate.map_or(0, |gate| gate.failed.len()),
            shut_since: shut.map(|shut| shut.since),
            probe_at: shut.map(|shut| shut.probe_at),
            error: shut.map(|shut| shut.sentence.clone()),
        }
    }
}

impl Gate {
    /// How far apart those come back who are put off.
    fn apart(&self, files_max: Option<u16>) -> SignedDuration {
        let places = i32::from(files_max.unwrap_or(1).max(1));
        (self.visit / places).clamp(APART_MIN, APART_MAX)
    }

    /// When the next one who is put off comes back: behind all who were put off before.
    fn back(&mut self, soonest: Timestamp, apart: SignedDuration) -> Timestamp {
        let behind = self.last_back.map_or(soonest, |last| (last + apart).max(soonest));
        let back = behind.min(soonest + PUT_OFF_MAX);
        self.last_back = Some(back);
        back
    }

    fn failed(&mut self, recording: RecordingId, is_probe: bool, sentence: &str, now: Timestamp) {
        if self.failed.len() < FAILURES_MAX && !self.failed.contains(&recording) {
            self.failed.push(recording);
        }
        let (since, wait) = match &self.shut {
            Some(shut) if is_probe => (shut.since, (shut.wait * 2).min(SHUT_MAX)),
            // It was under way when others shut the gate.
            Some(_) => return,
            None if self.failed.len() >= FAILURES_MAX => (now, SHUT_MIN),
            None => return,
        };
        let (probe_at, sentence) = (now + wait, sentence.to_owned());
        self.shut = Some(Shut { since, wait, probe_at, is_probed: false, sentence });
    }
}

impl Visit {
    /// The destination took the recording's main file, or whatever it was asked for.
    pub fn succeeded(mut self) {
        self.is_told = true;
        if let Some(gate) = lock(&self.gates).get_mut(&self.destination) {
            if gate.shut.is_some() {
                tracing::info!(destination = self.destination, "is well again");
            }
            gate.failed.clear();
            gate.shut = None;
        }
    }

    /// It did not. What is this node's own fault says nothing about the destination.
    pub fn failed(mut self, fault: Fault, sentence: &str, now: Timestamp) {
        if fault == Fault::Ours {
            return;
        }
        self.is_told = true;
        if let Some(gate) = lock(&self.gates).get_mut(&self.destination) {
            let was_open = gate.shut.is_none();
            gate.failed(self.recording, self.is_probe, sentence, now);
            if let Some(shut) = gate.shut.as_ref().filter(|_| was_open) {
                tracing::warn!(
                    destination = self.destination,
                    probe_at = %shut.probe_at,
                    sentence,
                    "failed {FAILURES_MAX} recordings in a row; it is only probed until it is well"
                );
            }
        }
    }

    /// Notes how long it took, for those who wait for a place.
    pub fn took(&self, now: Timestamp) {
        if let Some(gate) = lock(&self.gates).get_mut(&self.destination) {
            let visit = now.duration_since(self.began).max(SignedDuration::ZERO);
            gate.visit = gate.visit / 4 * 3 + visit / 4;
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(gate) = lock(&self.gates).get_mut(&self.destination) {
            gate.inside = gate.inside.saturating_sub(1);
            // A probe that was broken off has shown nothing; the next recording is one.
            if let Some(shut) = gate.shut.as_mut().filter(|_| self.is_probe && !self.is_told) {
                shut.is_probed = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(nr: u8) -> RecordingId {
        RecordingId::from_bytes([nr; 16])
    }

    fn start() -> Timestamp {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    fn let_in(entry: Entry) -> Visit {
        match entry {
            Entry::Open(visit) => visit,
            Entry::Later { why, .. } => panic!("put off: {why}"),
        }
    }

    fn put_off(entry: Entry) -> (Timestamp, String) {
        match entry {
            Entry::Later { until, why } => (until, why),
            Entry::Open(_) => panic!("let in"),
        }
    }

    fn fail(gates: &Gates, nr: u8, now: Timestamp) {
        let visit = let_in(gates.enter("archive", None, id(nr), false, now));
        visit.failed(Fault::Networks, "no route", now);
    }

    #[test]
    fn three_recordings_in_a_row_shut_it_and_a_probe_opens_it() {
        let gates = Gates::default();
        let now = start();
        (0..9).for_each(|nr| fail(&gates, nr % 2, now));
        assert!(gates.health("archive").open, "two recordings alone say little");
        let_in(gates.enter("archive", None, id(9), false, now)).succeeded();
        (1..=3).for_each(|nr| fail(&gates, nr, now));
        let (until, why) = put_off(gates.enter("archive", None, id(4), false, now));
        assert!(why.contains("no route"), "{why}");
        assert_eq!(until, now + SHUT_MIN);
        let (second, _) = put_off(gates.enter("archive", None, id(5), false, now));
        assert!(second > until, "not all at once");
        let_in(gates.enter("else", None, id(4), false, now)).succeeded();

        let now = now + SHUT_MIN;
        let probe = let_in(gates.enter("archive", None, id(4), false, now));
        put_off(gates.enter("archive", None, id(5), false, now));
        probe.failed(Fault::Networks, "no route", now);
        put_off(gates.enter("archive", None, id(5), false, now + SHUT_MIN));
        let now = now + SHUT_MIN * 2;
        // Broken off, it has shown nothing.
        drop(let_in(gates.enter("archive", None, id(5), false, now)));
        let_in(gates.enter("archive", None, id(5), false, now)).succeeded();
        assert!(gates.health("archive").open);
        let_in(gates.enter("archive", None, id(6), false, now)).succeeded();
    }

    #[test]
    fn it_is_never_shut_for_longer_than_five_minutes_and_a_person_is_always_let_in() {
        let gates = Gates::default();
        let mut now = start();
        (1..=3).for_each(|nr| fail(&gates, nr, now));
        for nr in 4..20 {
            let probe_at = gates.health("archive").probe_at.unwrap();
            assert!(probe_at <= now + SHUT_MAX);
            let_in(gates.enter("archive", None, id(99), true, now)).failed(
                Fault::Ours,
                "disk",
                now,
            );
            assert_eq!(gates.health("archive").probe_at, Some(probe_at));
            now = probe_at;
            fail(&gates, nr, now);
        }
        assert_eq!(gates.health("archive").probe_at, Some(now + SHUT_MAX));
        gates.probe_now("archive", now);
        let_in(gates.enter("archive", None, id(50), false, now)).succeeded();
        assert_eq!(gates.health("archive").shut_since, None);
    }

    #[test]
    fn no_more_are_let_in_than_there_are_places() {
        let gates = Gates::default();
        let now = start();
        let first = let_in(gates.enter("slow", Some(2), id(1), false, now));
        let _second = let_in(gates.enter("slow", Some(2), id(2), false, now));
        let (until, why) = put_off(gates.enter("slow", Some(2), id(3), false, now));
        assert!(why.contains("takes 2 at once") && until > now, "{why}");
        let (later, _) = put_off(gates.enter("slow", Some(2), id(4), false, now));
        assert!(later > until && later <= now + APART_MAX * 2);
        first.took(now + SignedDuration::from_secs(100));
        drop(first);
        let_in(gates.enter("slow", Some(2), id(3), false, until)).succeeded();
    }
}

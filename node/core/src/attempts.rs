//! Rule 2: thirteen attempts per step over 74 h 02 min, none later than 75 h after SAVED.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// Attempts per step: one live and twelve retries.
pub const ATTEMPTS_MAX: u8 = 13;

/// No attempt of any step starts later than this after SAVED.
pub const WINDOW: SignedDuration = SignedDuration::from_hours(75);

/// How often in a row an attempt may be cut short by the node's own end before it counts as failed.
///
/// A node that is restarted has not failed the recording; a recording that brings the node down
/// each time must not do so for ever.
pub const INTERRUPTIONS_MAX: u8 = 8;

const WAITS_MIN: [i64; 12] = [2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 1440];

/// How long to wait after the given number of failed attempts, or `None` after the last one.
#[must_use]
pub fn wait_after(failed: u8) -> Option<SignedDuration> {
    let index = usize::from(failed).checked_sub(1)?;
    WAITS_MIN.get(index).map(|min| SignedDuration::from_mins(*min))
}

/// Whose fault a failure is; it decides who is told, never whether there is a next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// This node's.
    Ours,
    /// The customer's to mend: credentials, a missing bucket, a changed host key, the recording itself.
    Customers,
    /// The network's, or a server that is down.
    Networks,
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Failure {
    /// Whose fault.
    pub fault: Fault,
    /// A sentence that says what happened and what to do about it.
    pub sentence: String,
    /// When it became known.
    pub at: Timestamp,
}

/// One step of a recording, with its attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// Attempts started, the running one included. 0 to [`ATTEMPTS_MAX`].
    pub made: u8,
    /// Whether one is running.
    pub running: bool,
    /// How often in a row the running attempt was cut short by the node's own end.
    pub interruptions: u8,
    /// When the next one is due.
    pub next_at: Option<Timestamp>,
    /// The last failure.
    pub error: Option<Failure>,
    /// No attempt is left, or the window has closed.
    pub exhausted: bool,
    /// The next attempt, or the running one, was asked for by a person: it counts as none of the
    /// thirteen, and may come after the window (the manual push of rule 6).
    #[serde(default)]
    pub by_hand: bool,
    /// What the next attempt waits for: the last one was put off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

impl Attempts {
    /// Makes the first attempt due.
    pub fn schedule(&mut self, at: Timestamp) {
        *self = Self { next_at: Some(at), ..Self::default() };
    }

    /// Makes an attempt due at once that counts as none of the thirteen.
    pub fn schedule_by_hand(&mut self, at: Timestamp) {
        self.by_hand = true;
        self.exhausted = false;
        self.next_at = Some(at);
    }

    /// Begins an attempt. `false`, and exhausted, when the window has closed.
    pub fn begin(&mut self, saved_at: Timestamp, now: Timestamp) -> bool {
        let is_over = now > saved_at + WINDOW || (!self.running && self.made >= ATTEMPTS_MAX);
        let waits_for = self.waits_for.take();
        if is_over && !self.by_hand {
            if let Some(sentence) = waits_for.filter(|_| self.error.is_none()) {
                self.error = Some(Failure { fault: Fault::Networks, sentence, at: now });
            }
            self.give_up();
            return false;
        }
        if !self.running {
            self.made += u8::from(!self.by_hand);
            self.interruptions = 0;
        }
        self.running = true;
        self.next_at = None;
        true
    }

    /// The running attempt succeeded.
    pub fn succeed(&mut self) {
        self.running = false;
        self.by_hand = false;
        self.next_at = None;
        self.error = None;
    }

    /// The running attempt failed; the next one is due after the wait, counted from now.
    pub fn fail(&mut self, failure: Failure, saved_at: Timestamp) {
        let next = wait_after(self.made).map(|wait| failure.at + wait);
        self.running = false;
        self.by_hand = false;
        self.error = Some(failure);
        match next {
            Some(next) if next <= saved_at + WINDOW => self.next_at = Some(next),
            _ => self.give_up(),
        }
    }

    /// The running attempt was put off before it tried anything: it costs none of the thirteen, and
    /// is due again at `until`. Past the window the step is exhausted all the same.
    pub fn put_off(&mut self, until: Timestamp, waits_for: String, saved_at: Timestamp) {
        if !self.running {
            return;
        }
        self.running = false;
        self.interruptions = 0;
        self.made = self.made.saturating_sub(u8::from(!self.by_hand));
        self.waits_for = Some(waits_for);
        // At the end of the window an attempt could still begin, and be put off for ever.
        let closes = saved_at + WINDOW + SignedDuration::from_millis(1);
        self.next_at = Some(if self.by_hand { until } else { until.min(closes) });
    }

    /// The node itself ended during the attempt; it is due again at once.
    ///
    /// After [`INTERRUPTIONS_MAX`] in a row it counts as failed.
    pub fn interrupt(&mut self, saved_at: Timestamp, now: Timestamp) {
        if !self.running {
            return;
        }
        self.interruptions += 1;
        if self.interruptions > INTERRUPTIONS_MAX {
            let sentence = format!(
                "the node ended {INTERRUPTIONS_MAX} times in a row during this attempt; \
                 the recording may be what brings it down"
            );
            self.fail(Failure { fault: Fault::Ours, sentence, at: now }, saved_at);
        } else {
            self.next_at = Some(now);
        }
    }

    fn give_up(&mut self) {
        self.running = false;
        self.by_hand = false;
        self.next_at = None;
        self.exhausted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn failure(at: Timestamp) -> Failure {
        Failure { fault: Fault::Networks, sentence: "no route".into(), at }
    }

    #[test]
    fn rule_2_waits_sum_to_74_h_02_min() {
        let sum = (1..=12).filter_map(wait_after).fold(SignedDuration::ZERO, |a, b| a + b);
        assert_eq!(sum, SignedDuration::from_mins(74 * 60 + 2));
        assert_eq!(wait_after(0), None);
        assert_eq!(wait_after(13), None);
    }

    #[test]
    fn rule_2_thirteen_attempts_with_these_waits() {
        let saved = at("2026-01-01T00:00:00Z");
        let mut step = Attempts::default();
        step.schedule(saved);
        let mut starts = Vec::new();
        while let Some(due) = step.next_at {
            assert!(step.begin(saved, due));
            starts.push(due);
            step.fail(failure(due), saved);
        }
        assert!(step.exhausted);
        assert_eq!(starts.len(), 13);
        let waits: Vec<i64> =
            starts.windows(2).map(|w| w[1].duration_since(w[0]).as_secs() / 60).collect();
        assert_eq!(waits, WAITS_MIN);
        assert_eq!(starts[12], at("2026-01-04T02:02:00Z"));
    }

    #[test]
    fn rule_2_no_attempt_later_than_75_h_after_saved() {
        let saved = at("2026-01-01T00:00:00Z");
        let mut step = Attempts { made: 11, running: true, ..Attempts::default() };
        // The twelfth would be due at 75 h + 1 s.
        step.fail(
            failure(saved + SignedDuration::from_hours(51) + SignedDuration::from_secs(1)),
            saved,
        );
        assert!(step.exhausted);
        assert_eq!(step.next_at, None);
        // At exactly 75 h it still starts.
        let mut step = Attempts { made: 11, running: true, ..Attempts::default() };
        step.fail(failure(saved + SignedDuration::from_hours(51)), saved);
        assert_eq!(step.next_at, Some(saved + WINDOW));
        assert!(step.clone().begin(saved, saved + WINDOW));
        // A node that was off until later starts none, whatever the counter says.
        assert!(!step.begin(saved, saved + WINDOW + SignedDuration::from_millis(1)));
        assert!(step.exhausted);
    }

    #[test]
    fn what_is_put_off_costs_no_attempt_and_ends_with_the_window() {
        let saved = at("2026-01-01T00:00:00Z");
        let mut step = Attempts::default();
        step.schedule(saved);
        let mut now = saved;
        let mut times = 0;
        while let Some(due) = step.next_at {
            now = due;
            if !step.begin(saved, now) {
                break;
            }
            assert_eq!(step.made, 1);
            step.put_off(now + SignedDuration::from_mins(5), "the store is down".into(), saved);
            assert_eq!(step.made, 0);
            times += 1;
        }
        assert_eq!(times, 75 * 12 + 1);
        assert!(step.exhausted);
        assert_eq!(now, saved + WINDOW + SignedDuration::from_millis(1));
        assert_eq!(step.error.map(|e| e.sentence).as_deref(), Some("the store is down"));

        // By hand it is put off as well, and stays by hand.
        let mut step = Attempts { made: 13, exhausted: true, ..Attempts::default() };
        step.schedule_by_hand(now);
        assert!(step.begin(saved, now));
        step.put_off(now + SignedDuration::from_mins(5), "others go first".into(), saved);
        assert_eq!((step.made, step.by_hand), (13, true));
        assert_eq!(step.next_at, Some(now + SignedDuration::from_mins(5)));
    }

    #[test]
    fn an_interruption_costs_no_attempt_until_it_repeats() {
        let saved = at("2026-01-01T00:00:00Z");
        let mut step = Attempts::default();
        step.schedule(saved);
        for _ in 0..INTERRUPTIONS_MAX {
            assert!(step.begin(saved, saved));
            assert_eq!(step.made, 1);
            step.interrupt(saved, saved);
            assert_eq!(step.next_at, Some(saved));
        }
        assert!(step.begin(saved, saved));
        step.interrupt(saved, saved);
        assert_eq!(step.next_at, Some(saved + SignedDuration::from_mins(2)));
        assert_eq!(step.error.map(|e| e.fault), Some(Fault::Ours));
    }
}

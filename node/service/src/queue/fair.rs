//! Whose turn it is to be transcoded. Pure.
//!
//! * Customers take turns by what their work costs (start-time fair queueing): whoever has been given
//!   least comes next, so that nobody waits behind another's thousand. A customer is an account, or an
//!   environment without one. Nobody saves turns up: who comes back after a while begins with the others.
//! * Of one customer's recordings the one that comes first is due first **and** short: a recording is
//!   overtaken only by what comes due within its own length after it, and a retry by first attempts of ten
//!   minutes. So a thing's place is fixed when it comes due, and whatever comes later than that waits:
//!   nothing waits for ever.

use std::collections::BTreeMap;

use holdfast_core::recording::Recording;

/// Bytes of a raw file that are reckoned as a second, before anybody has looked into it: 2 Mbit/s.
const BYTES_PER_S: u64 = 250_000;
/// Longest that one recording is reckoned with, in milliseconds: a waiting day would be none of use.
const LENGTH_MS_MAX: u64 = 6 * 3600 * 1000;
/// Shortest: starting a job costs something.
const LENGTH_MS_MIN: u64 = 1_000;
/// How far a retry stands behind what was never tried, in milliseconds.
const RETRY_BEHIND_MS: i64 = 10 * 60 * 1000;

/// Who stands behind a recording.
pub(crate) fn customer(recording: &Recording) -> String {
    match &recording.account_id {
        Some(account_id) => format!("account {account_id}"),
        None => format!("environment {}", recording.env_id),
    }
}

/// What transcoding is expected to cost, in milliseconds of film.
pub(crate) fn cost_ms(recording: &Recording) -> u64 {
    let by_bytes = || recording.bytes.saturating_mul(1000) / BYTES_PER_S;
    let length = recording.media.as_ref().map_or_else(by_bytes, |media| media.duration_ms);
    length.clamp(LENGTH_MS_MIN, LENGTH_MS_MAX)
}

/// A recording's place among its customer's: the least comes first.
pub(crate) fn order(recording: &Recording, due_ms: i64) -> i64 {
    let cost = i64::try_from(cost_ms(recording)).unwrap_or(i64::MAX);
    let behind = if recording.transcode.made > 0 { RETRY_BEHIND_MS } else { 0 };
    due_ms.saturating_add(cost).saturating_add(behind)
}

/// Who was given how much.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The virtual time: where the last that was served began.
    now: u64,
    /// Where each customer's next turn begins, if that is later.
    next: BTreeMap<String, u64>,
    /// From where customers are looked at, where there were too many to look at all.
    look_from: String,
}

impl Rounds {
    /// Where a customer's next turn begins: the least is served next.
    pub(crate) fn begins(&self, customer: &str) -> u64 {
        self.next.get(customer).copied().unwrap_or(0).max(self.now)
    }

    /// Notes that a customer was served, at this cost.
    pub(crate) fn serve(&mut self, customer: &str, cost_ms: u64) {
        let begins = self.begins(customer);
        self.now = begins;
        self.next.insert(customer.to_owned(), begins.saturating_add(cost_ms));
        // Who is not ahead of the others any more need not be remembered.
        let now = self.now;
        self.next.retain(|_, next| *next > now);
    }

    /// Takes back that a customer was served: nothing was done.
    pub(crate) fn give_back(&mut self, customer: &str, cost_ms: u64) {
        if let Some(next) = self.next.get_mut(customer) {
            *next = next.saturating_sub(cost_ms);
        }
    }

    /// From where customers are looked at this time: from the first, unless it was said otherwise.
    pub(crate) fn take_look(&mut self) -> String {
        std::mem::take(&mut self.look_from)
    }

    /// The next look begins there.
    pub(crate) fn look_on_from(&mut self, customer: String) {
        self.look_from = customer;
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::recording::{Metadata, Source};
    use jiff::Timestamp;

    use super::*;

    fn recording(env_id: &str, bytes: u64) -> Recording {
        let now = Timestamp::UNIX_EPOCH;
        let like = crate::ledger::tests::recording(1, now);
        let mut new = Recording::new(
            like.id,
            env_id.into(),
            Source::Stream,
            like.policy,
            Metadata::default(),
            now,
        );
        new.bytes = bytes;
        new
    }

    #[test]
    fn a_short_one_overtakes_a_long_one_but_not_for_ever() {
        let long = recording("a", 3 * 3600 * BYTES_PER_S);
        let short = recording("a", 30 * BYTES_PER_S);
        let hour = 3600 * 1000;
        assert!(order(&short, hour) < order(&long, 0));
        assert!(order(&short, 2 * hour) < order(&long, 0));
        assert!(order(&short, 3 * hour) > order(&long, 0), "its time has come");
    }

    #[test]
    fn a_first_attempt_comes_before_retries() {
        let fresh = recording("a", BYTES_PER_S);
        let mut again = fresh.clone();
        again.transcode.made = 1;
        assert!(order(&fresh, 9 * 60 * 1000) < order(&again, 0));
        assert!(order(&fresh, 11 * 60 * 1000) > order(&again, 0));
    }

    #[test]
    fn an_account_is_one_customer_whatever_its_environments() {
        let mut one = recording("a", 1);
        let mut two = recording("b", 1);
        assert_ne!(customer(&one), customer(&two));
        one.account_id = Some("x".into());
        two.account_id = Some("x".into());
        assert_eq!(customer(&one), customer(&two));
    }

    #[test]
    fn turns_go_by_what_they_cost() {
        let mut rounds = Rounds::default();
        let mut given = BTreeMap::<&str, u64>::new();
        // One has films of ten minutes, one of one; both always have work.
        for _ in 0..1_100 {
            let next =
                if rounds.begins("long") < rounds.begins("short") { "long" } else { "short" };
            let cost = if next == "long" { 600 } else { 60 };
            rounds.serve(next, cost);
            *given.entry(next).or_default() += cost;
        }
        assert!(given["long"].abs_diff(given["short"]) <= 600, "{given:?}");
    }

    #[test]
    fn who_comes_back_has_saved_nothing_up() {
        let mut rounds = Rounds::default();
        for _ in 0..1_000 {
            rounds.serve("busy", 60);
        }
        // It comes at once, but once only.
        assert!(rounds.begins("new") < rounds.begins("busy"));
        rounds.serve("new", 60);
        assert!(rounds.begins("new") >= rounds.begins("busy"));
        assert!(rounds.next.len() <= 2, "only those ahead are remembered");
    }
}

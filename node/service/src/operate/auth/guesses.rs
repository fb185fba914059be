//! Wrong keys: an address that keeps sending them has to wait. What is remembered is bounded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Wrong keys from one address in one window, before it has to wait for the window's end.
const FAILURES_MAX: u32 = 20;
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(60);
/// Most addresses that are remembered.
const ADDRESSES_MAX: usize = 4_096;
/// Addresses that have to wait enter the audit log this often at most: strangers must not fill it.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// Who guessed wrong lately.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    failures: Mutex<HashMap<IpAddr, Failures>>,
    noted: Mutex<Noted>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Duration,
    count: u32,
}

#[derive(Debug, Default)]
struct Noted {
    at: Option<Duration>,
    /// Wrong keys since then that are in no entry yet.
    count: u32,
}

impl Guesses {
    /// How long an address has to wait, if it has to.
    pub(super) fn wait(&self, from: IpAddr, now: Duration) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let of = failures.get(&from).filter(|of| of.count >= FAILURES_MAX)?;
        (of.since + WINDOW).checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// Notes a wrong key. Answers how many there were, once the address has to wait for them.
    pub(super) fn note(&self, from: IpAddr, now: Duration) -> Option<u32> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ADDRESSES_MAX && !failures.contains_key(&from) {
            failures.retain(|_, of| of.since + WINDOW > now);
            if failures.len() >= ADDRESSES_MAX {
                let oldest = failures.iter().min_by_key(|(_, of)| of.since).map(|(ip, _)| *ip);
                oldest.map(|ip| failures.remove(&ip));
            }
        }
        let of = failures.entry(from).or_insert(Failures { since: now, count: 0 });
        if of.since + WINDOW <= now {
            *of = Failures { since: now, count: 0 };
        }
        of.count = of.count.saturating_add(1);
        (of.count == FAILURES_MAX).then_some(of.count)
    }

    /// How many wrong keys an entry in the audit log is to tell of, if one is due: these, and those
    /// that were left out before.
    pub(super) fn to_be_noted(&self, count: u32, now: Duration) -> Option<u32> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.count = noted.count.saturating_add(count);
        if noted.at.is_some_and(|at| now < at + NOTED_EVERY) {
            return None;
        }
        noted.at = Some(now);
        Some(std::mem::take(&mut noted.count))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn a_window_of_failures_ends() {
        let guesses = Guesses::default();
        let start = Duration::from_secs(1_000);
        let told: Vec<_> = (0..FAILURES_MAX).map(|_| guesses.note(FROM, start)).collect();
        assert!(told[..19].iter().all(Option::is_none));
        assert_eq!(told[19], Some(FAILURES_MAX));
        let later = start + Duration::from_secs(20);
        assert_eq!(guesses.wait(FROM, later), Some(WINDOW - Duration::from_secs(20)));
        assert_eq!(guesses.wait(FROM, start + WINDOW), None);
        assert_eq!(guesses.note(FROM, start + WINDOW), None);
        assert_eq!(guesses.wait(FROM, start + WINDOW), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let guesses = Guesses::default();
        for n in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 50 {
            let from = IpAddr::V4(Ipv4Addr::from_bits(n));
            guesses.note(from, Duration::from_secs(u64::from(n / 100)));
        }
        assert!(guesses.failures.lock().unwrap().len() <= ADDRESSES_MAX);
    }

    #[test]
    fn the_audit_log_is_told_at_most_once_a_minute_and_of_all() {
        let guesses = Guesses::default();
        let start = Duration::from_secs(1_000);
        assert_eq!(guesses.to_be_noted(20, start), Some(20));
        assert_eq!(guesses.to_be_noted(20, start + Duration::from_secs(1)), None);
        assert_eq!(guesses.to_be_noted(20, start + Duration::from_secs(59)), None);
        assert_eq!(guesses.to_be_noted(20, start + NOTED_EVERY), Some(60));
    }
}

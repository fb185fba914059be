//! How often a code may be guessed: each wrong one makes its address wait longer, and many wrong ones
//! make everybody wait a little. A code has 60 bits or more, so this is against noise and load rather
//! than against luck; a stranger's guesses never lock the technician out for long.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::listen::Address;

/// Wrong codes of an address that cost nothing: people mistype.
const FREE: u32 = 2;
/// Longest wait of one address.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// Wrong codes from everywhere that cost nothing.
const FREE_OF_ALL: u32 = 50;
/// Wait of everybody after that many.
const WAIT_OF_ALL: Duration = Duration::from_secs(2);
/// After so long without a wrong code an address is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(3_600);
/// Most addresses that are remembered.
const ADDRESSES_MAX: usize = 4_096;

#[derive(Debug, Clone, Copy)]
struct Wrong {
    times: u32,
    last: Instant,
    until: Instant,
}

/// Who was wrong how often.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    of: HashMap<Address, Wrong>,
    all: Option<Wrong>,
}

impl Attempts {
    /// How long this address has to wait before its next code is looked at; `None` for not at all.
    pub(super) fn wait(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let own = self.of.get(&Address::from(from));
        let until = own.into_iter().chain(&self.all).map(|wrong| wrong.until).max()?;
        until.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// Notes a wrong code.
    pub(super) fn wrong(&mut self, from: IpAddr, now: Instant) {
        let is_recent = |wrong: &Wrong| now.duration_since(wrong.last) < FORGOTTEN;
        let times = self.all.filter(is_recent).map_or(0, |all| all.times).saturating_add(1);
        let wait = if times > FREE_OF_ALL { WAIT_OF_ALL } else { Duration::ZERO };
        self.all = Some(Wrong { times, last: now, until: now + wait });
        if self.of.len() >= ADDRESSES_MAX {
            self.of.retain(|_, wrong| is_recent(wrong));
        }
        if self.of.len() >= ADDRESSES_MAX {
            return;
        }
        let before = self.of.get(&Address::from(from)).copied().filter(is_recent);
        let times = before.map_or(0, |wrong| wrong.times).saturating_add(1);
        let wait = match times.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(doublings) => Duration::from_secs(5 << doublings.min(6)).min(WAIT_MAX),
        };
        self.of.insert(Address::from(from), Wrong { times, last: now, until: now + wait });
    }

    /// Notes a right code.
    pub(super) fn right(&mut self, from: IpAddr) {
        self.of.remove(&Address::from(from));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wrong_code_costs_more_and_a_right_one_clears_it() {
        let mut attempts = Attempts::default();
        let (me, other) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let now = Instant::now();
        let waits: Vec<u64> = (0..12)
            .map(|_| {
                attempts.wrong(me, now);
                attempts.wait(me, now).unwrap_or_default().as_secs()
            })
            .collect();
        assert_eq!(waits, [0, 0, 5, 10, 20, 40, 80, 160, 300, 300, 300, 300]);
        assert_eq!(attempts.wait(other, now), None);
        assert_eq!(attempts.wait(me, now + WAIT_MAX), None);
        attempts.right(me);
        assert_eq!(attempts.wait(me, now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn guesses_from_everywhere_slow_everybody_a_little() {
        let mut attempts = Attempts::default();
        let now = Instant::now();
        for index in 0..=FREE_OF_ALL {
            attempts.wrong(IpAddr::from(index.to_be_bytes()), now);
        }
        assert_eq!(attempts.wait(IpAddr::from([192, 0, 2, 9]), now), Some(WAIT_OF_ALL));
        for index in 0..10_000_u32 {
            attempts.wrong(IpAddr::from(index.to_be_bytes()), now);
        }
        assert_eq!(attempts.of.len(), ADDRESSES_MAX);
    }
}

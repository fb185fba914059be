//! How many requests everyone may make: a token bucket for each key, and for each address without one.
//!
//! A bucket is one instant, at which it will be full again (the generic cell rate algorithm), so
//! what is remembered of a key or an address is small, and forgotten once it is full.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

use crate::problem::Problem;

/// Most buckets of each kind that are remembered.
const BUCKETS_MAX: usize = 4_096;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// How much of their share everyone has used.
#[derive(Debug)]
pub(super) struct Limits {
    /// What one request costs, in time.
    cost: Duration,
    /// How many may come at once.
    burst: u32,
    keys: Buckets<String>,
    addresses: Buckets<IpAddr>,
}

/// When each bucket that is not full will be.
#[derive(Debug)]
struct Buckets<K>(Mutex<HashMap<K, Duration>>);

/// What is left of someone's share after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    burst: u32,
    /// How long an empty bucket takes to fill.
    fills_in: Duration,
    left: u32,
    /// When all of it will be there again.
    full_in: Duration,
    /// How long to wait before the next request, where this one was too many.
    wait: Option<Duration>,
}

impl Limits {
    pub(super) fn new(per_minute: u32, burst: u32) -> Self {
        Self {
            cost: Duration::from_secs(60) / per_minute.max(1),
            burst: burst.max(1),
            keys: Buckets(Mutex::default()),
            addresses: Buckets(Mutex::default()),
        }
    }

    pub(super) fn key(&self, id: &str, now: Duration) -> Share {
        self.take(&self.keys, id.to_owned(), now)
    }

    pub(super) fn address(&self, from: IpAddr, now: Duration) -> Share {
        self.take(&self.addresses, from, now)
    }

    fn take<K: Eq + Hash + Clone>(&self, buckets: &Buckets<K>, whose: K, now: Duration) -> Share {
        let fills_in = self.cost * self.burst;
        let mut buckets = buckets.0.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut buckets, &whose, now);
        let full_at = buckets.get(&whose).copied().unwrap_or(now).max(now);
        let after = full_at + self.cost;
        let wait = (after - now).checked_sub(fills_in).filter(|wait| !wait.is_zero());
        let full_at = if wait.is_some() { full_at } else { after };
        buckets.insert(whose, full_at);
        let full_in = full_at - now;
        let left = (fills_in.saturating_sub(full_in).as_nanos() / self.cost.as_nanos().max(1))
            .try_into()
            .unwrap_or(self.burst);
        Share { burst: self.burst, fills_in, left, full_in, wait }
    }
}

/// Forgets who has their whole share, and where that is not enough, who is nearest to it.
fn make_room<K: Eq + Hash + Clone>(buckets: &mut HashMap<K, Duration>, whose: &K, now: Duration) {
    if buckets.len() < BUCKETS_MAX || buckets.contains_key(whose) {
        return;
    }
    buckets.retain(|_, full_at| *full_at > now);
    if buckets.len() >= BUCKETS_MAX {
        let fullest = buckets.iter().min_by_key(|(_, full_at)| **full_at);
        let fullest = fullest.map(|(whose, _)| whose.clone());
        fullest.map(|whose| buckets.remove(&whose));
    }
}

impl Share {
    /// Why the request is refused, where it was too many.
    pub(super) fn refusal(&self) -> Option<Problem> {
        let seconds = ceil_s(self.wait?);
        let detail = format!("too many requests; wait {seconds} s, and ask less often");
        Some(Problem::too_many(detail).retry_after_s(seconds))
    }

    /// Says in the answer what is left: `RateLimit` and `RateLimit-Policy`
    /// (draft-ietf-httpapi-ratelimit-headers).
    pub(super) fn tell(&self, mut response: Response) -> Response {
        let policy = format!("\"requests\";q={};w={}", self.burst, ceil_s(self.fills_in));
        let left = format!("\"requests\";r={};t={}", self.left, ceil_s(self.full_in));
        for (name, text) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, left)] {
            if let Ok(value) = HeaderValue::try_from(text) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// Whole seconds, at least one.
fn ceil_s(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis().div_ceil(1_000)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let limits = Limits::new(60, 3);
        let left: Vec<u32> = (0..3).map(|_| limits.key("a", NOW).left).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = limits.key("a", NOW);
        assert_eq!(refused.wait, Some(Duration::from_secs(1)));
        assert_eq!(refused.refusal().unwrap().retry_after_s, Some(1));
        // A refused request costs nothing.
        assert_eq!(limits.key("a", NOW).wait, Some(Duration::from_secs(1)));
        assert_eq!(limits.key("a", NOW + Duration::from_secs(1)).wait, None);
        assert!(limits.key("a", NOW + Duration::from_secs(1)).wait.is_some());
        // Others have a share of their own, and everyone has it whole again after a while.
        assert_eq!(limits.key("b", NOW).wait, None);
        assert_eq!(limits.address(IpAddr::V4(Ipv4Addr::LOCALHOST), NOW).left, 2);
        assert_eq!(limits.key("a", NOW + Duration::from_secs(60)).left, 2);
    }

    #[test]
    fn the_answer_says_what_is_left() {
        let limits = Limits::new(60, 3);
        let response = limits.key("a", NOW).tell(Response::default());
        assert_eq!(response.headers()["ratelimit-policy"], "\"requests\";q=3;w=3");
        assert_eq!(response.headers()["ratelimit"], "\"requests\";r=2;t=1");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let limits = Limits::new(1, 10);
        for n in 0..u32::try_from(BUCKETS_MAX).unwrap() + 50 {
            limits.address(IpAddr::V4(Ipv4Addr::from_bits(n)), NOW);
        }
        assert!(limits.addresses.0.lock().unwrap().len() <= BUCKETS_MAX);
    }
}

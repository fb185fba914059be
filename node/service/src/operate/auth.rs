//! Who may use the API: whoever has a key whose SHA-256 the configuration names.
//!
//! Keys are compared by digest, all of them, in constant time. An address that keeps sending wrong
//! keys has to wait; what is remembered of addresses is bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Extension;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::config::ApiKey;
use crate::digest;
use crate::problem::Problem;

/// Wrong keys from one address in one window, before it has to wait for the window's end.
const FAILURES_MAX: u32 = 20;
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(60);
/// Most addresses that are remembered.
const ADDRESSES_MAX: usize = 4_096;

/// Whose request it is, and what they may.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The name of the key, or the command line.
    pub(super) name: String,
    /// What they may.
    pub(super) scope: Scope,
}

/// What a key opens; each scope includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scope {
    /// Looking.
    Read,
    /// Acting on recordings; environments, accounts, destinations and webhooks.
    Manage,
    /// Keys and the audit log too.
    Admin,
}

impl Scope {
    /// The word for it.
    #[must_use]
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Manage => "manage",
            Self::Admin => "admin",
        }
    }
}

/// Lets a request pass whose caller may do such things.
pub(super) async fn require_scope(
    State(needed): State<Scope>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    if caller.scope >= needed {
        return next.run(request).await;
    }
    let (needed, has) = (needed.as_str(), caller.scope.as_str());
    Problem::forbidden(format!("this needs a key with the scope {needed}; yours has {has}"))
        .into_response()
}

/// The keys, and who guessed wrong lately.
#[derive(Debug)]
pub(super) struct Auth {
    keys: Vec<ApiKey>,
    clock: Clock,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    since: Duration,
    count: u32,
}

/// Lets a request pass that carries a key, and notes whose it is.
pub(super) async fn require_key(
    State(auth): State<Arc<Auth>>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
    match auth.check(request.headers(), bucket(peer)) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

impl Auth {
    pub(super) fn new(keys: &[ApiKey], clock: Clock) -> Self {
        Self { keys: keys.to_vec(), clock, failures: Mutex::default() }
    }

    fn check(&self, headers: &HeaderMap, from: IpAddr) -> Result<Caller, Problem> {
        let now = self.clock.boottime();
        if let Some(wait) = self.wait(from, now) {
            let seconds = wait.as_secs().max(1);
            let detail = format!("too many wrong keys from this address; wait {seconds} s");
            return Err(Problem::too_many(detail).retry_after_s(seconds));
        }
        let Some(key) = bearer(headers) else {
            return Err(Problem::unauthorized("send a key: Authorization: Bearer KEY"));
        };
        self.caller(key).ok_or_else(|| {
            if self.note_failure(from, now) == FAILURES_MAX {
                tracing::warn!(%from, "{FAILURES_MAX} wrong API keys; the address has to wait");
            }
            Problem::unauthorized("this key is not one of the node's ([[operate.keys]])")
        })
    }

    fn caller(&self, key: &[u8]) -> Option<Caller> {
        let digest = digest::of(key);
        let mut found = None;
        for known in &self.keys {
            let expected = known.sha256.to_ascii_lowercase();
            if verify_slices_are_equal(digest.as_bytes(), expected.as_bytes()).is_ok() {
                found = Some(&known.name);
            }
        }
        found.map(|name| Caller { name: name.clone(), scope: Scope::Admin })
    }

    /// How long an address has to wait, if it has to.
    fn wait(&self, from: IpAddr, now: Duration) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let of = failures.get(&from).filter(|of| of.count >= FAILURES_MAX)?;
        (of.since + WINDOW).checked_sub(now).filter(|wait| !wait.is_zero())
    }

    fn note_failure(&self, from: IpAddr, now: Duration) -> u32 {
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
        of.count
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked("Bearer ".len())?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !key.is_empty()).then_some(key)
}

/// Addresses that count as one: a household's IPv6 network has 2^64 of them.
fn bucket(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        let sha256 = digest::of(b"right").to_uppercase();
        Auth::new(&[ApiKey { name: "admin".into(), sha256 }], Clock::new())
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn only_the_right_key_passes() {
        let (auth, from) = (auth(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(auth.check(&headers("bearer right"), from).unwrap().name, "admin");
        for wrong in ["Bearer wrong", "Bearer ", "Bearer", "Basic right", "right"] {
            assert_eq!(auth.check(&headers(wrong), from).unwrap_err().status, 401, "{wrong}");
        }
        assert_eq!(auth.check(&HeaderMap::new(), from).unwrap_err().status, 401);
    }

    #[test]
    fn a_window_of_failures_ends() {
        let (auth, from) = (auth(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let start = Duration::from_secs(1_000);
        (0..FAILURES_MAX).for_each(|_| _ = auth.note_failure(from, start));
        assert_eq!(
            auth.wait(from, start + Duration::from_secs(20)),
            Some(WINDOW - Duration::from_secs(20))
        );
        assert_eq!(auth.wait(from, start + WINDOW), None);
        assert_eq!(auth.note_failure(from, start + WINDOW), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let auth = auth();
        for n in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 50 {
            auth.note_failure(
                IpAddr::V4(Ipv4Addr::from_bits(n)),
                Duration::from_secs(u64::from(n / 100)),
            );
        }
        assert!(auth.failures.lock().unwrap().len() <= ADDRESSES_MAX);
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let of = |text: &str| bucket(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}

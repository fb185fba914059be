//! Who may use the API: whoever has a key, as far as the key's scope and environments go.
//!
//! A request passes, in this order: the wait of an address that guessed, the key, its share of
//! requests ([`limits`]), its scope. What is remembered of addresses and keys is bounded.

mod guesses;
mod limits;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Extension;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::audit::Act;
use crate::keys::Key;
pub(super) use crate::keys::Scope;
use crate::node::Node;
use crate::problem::Problem;
use guesses::Guesses;
use limits::{Limits, Share};

/// The header in which version 1 of the REST API carries its key.
pub(super) const PIPE_AUTH: &str = "x-pipe-auth";

/// Whose request it is, and what they may.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The name of the key, or the command line.
    pub(super) name: String,
    /// What they may.
    pub(super) scope: Scope,
    /// The key's id, or the command line.
    pub(super) key: String,
    /// Only in these environments; everywhere where nothing is said.
    pub(super) env_ids: Option<Vec<String>>,
}

impl Caller {
    /// The command line, whose socket has asked who is there.
    pub(super) fn command_line() -> Self {
        let name = String::from("command line");
        Self { key: name.clone(), name, scope: Scope::Admin, env_ids: None }
    }

    fn with(key: &Key) -> Self {
        Self {
            name: key.name.clone(),
            scope: key.scope,
            key: key.id.clone(),
            env_ids: key.env_ids.clone(),
        }
    }

    /// Whether they may know of what is in this environment.
    pub(super) fn sees(&self, env_id: &str) -> bool {
        self.env_ids.as_ref().is_none_or(|ids| ids.iter().any(|id| id == env_id))
    }
}

/// What a request needs of its caller.
#[derive(Debug, Clone, Copy)]
pub(super) struct Needed {
    /// At least this scope.
    pub(super) scope: Scope,
    /// It is about the whole node, so a key that is limited to environments is not enough.
    pub(super) whole_node: bool,
}

/// Lets a request pass whose caller may do such things.
pub(super) async fn require_scope(
    State(needed): State<Needed>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    if caller.scope < needed.scope {
        let (needed, has) = (needed.scope.as_str(), caller.scope.as_str());
        let detail = format!("this needs a key with the scope {needed}; yours has {has}");
        return Problem::forbidden(detail).into_response();
    }
    if needed.whole_node && caller.env_ids.is_some() {
        let detail = "this is about the whole node; your key is limited to environments";
        return Problem::forbidden(detail).into_response();
    }
    next.run(request).await
}

/// The door: who guessed wrong lately, and how much of their share everyone has used.
#[derive(Debug)]
pub(super) struct Auth {
    node: Arc<Node>,
    guesses: Guesses,
    limits: Limits,
}

/// Why a request does not pass, and what is left of its caller's share.
struct Refused {
    problem: Problem,
    share: Option<Share>,
}

/// Lets a request pass that carries a key, and notes whose it is.
pub(super) async fn require_key(
    State(auth): State<Arc<Auth>>,
    request: Request,
    next: Next,
) -> Response {
    let key = bearer(request.headers()).map(<[u8]>::to_vec);
    auth.pass(key, "Authorization: Bearer KEY", request, next).await
}

/// The same for version 1 of the REST API.
pub(super) async fn require_pipe_key(
    State(auth): State<Arc<Auth>>,
    request: Request,
    next: Next,
) -> Response {
    let key = request.headers().get(PIPE_AUTH).map(|key| key.as_bytes().trim_ascii().to_vec());
    let key = key.filter(|key| !key.is_empty());
    auth.pass(key, "X-PIPE-AUTH: KEY", request, next).await
}

/// Lets a request pass that needs no key, as often as its address may ask.
pub(super) async fn require_share(
    State(auth): State<Arc<Auth>>,
    request: Request,
    next: Next,
) -> Response {
    let share = auth.limits.address(peer(&request), auth.node.clock.boottime());
    match share.refusal() {
        Some(problem) => share.tell(problem.into_response()),
        None => share.tell(next.run(request).await),
    }
}

impl Auth {
    pub(super) fn new(node: Arc<Node>) -> Self {
        let operate = &node.config.operate;
        let limits = Limits::new(operate.requests_per_minute, operate.requests_burst);
        Self { node, guesses: Guesses::default(), limits }
    }

    async fn pass(
        &self,
        key: Option<Vec<u8>>,
        how: &str,
        mut request: Request,
        next: Next,
    ) -> Response {
        let found = self.check(key.as_deref(), how, peer(&request));
        let (key, share) = match found {
            Ok(found) => found,
            Err(refused) => {
                let response = refused.problem.into_response();
                return match refused.share {
                    Some(share) => share.tell(response),
                    None => response,
                };
            }
        };
        self.node.keys.note_use(&self.node, &key);
        request.extensions_mut().insert(Caller::with(&key));
        share.tell(next.run(request).await)
    }

    /// Whose key it is, and what is left of their share.
    fn check(
        &self,
        key: Option<&[u8]>,
        how: &str,
        from: IpAddr,
    ) -> Result<(Arc<Key>, Share), Box<Refused>> {
        let refused = |problem, share| Err(Box::new(Refused { problem, share }));
        let now = self.node.clock.boottime();
        if let Some(wait) = self.guesses.wait(from, now) {
            let seconds = wait.as_secs().max(1);
            let detail = format!("too many wrong keys from this address; wait {seconds} s");
            return refused(Problem::too_many(detail).retry_after_s(seconds), None);
        }
        if let Some(key) = key.and_then(|key| self.node.keys.whose(key)) {
            let share = self.limits.key(&key.id, now);
            return match share.refusal() {
                Some(problem) => refused(problem, Some(share)),
                None => Ok((key, share)),
            };
        }
        let share = self.limits.address(from, now);
        if let Some(problem) = share.refusal() {
            return refused(problem, Some(share));
        }
        if key.is_none() {
            let detail = format!("send a key: {how}");
            return refused(Problem::unauthorized(detail), Some(share));
        }
        if let Some(count) = self.guesses.note(from, now) {
            tracing::warn!(%from, "wrong API keys; the address has to wait");
            self.note_refused(count);
        }
        let detail = "this key is not one of the node's: it was revoked, or never was one";
        refused(Problem::unauthorized(detail), Some(share))
    }

    /// Writes into the audit log that someone guessed. Nobody waits for it.
    fn note_refused(&self, count: u32) {
        let now = self.node.clock.boottime();
        let Some(count) = self.guesses.to_be_noted(count, now) else { return };
        let node = Arc::clone(&self.node);
        tokio::spawn(async move {
            let (audit, now) = (node.audit.clone(), node.clock.now());
            let noting = node.ledger.write(move |write| {
                audit.append(write, now, "node", &Act::SignInRefused { count })
            });
            if let Err(error) = noting.await {
                tracing::warn!(%error, "that wrong keys were offered is not in the audit log");
            }
        });
    }
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, key) = value.split_at_checked("Bearer ".len())?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !key.is_empty()).then_some(key)
}

fn peer(request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    bucket(peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip()))
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

    #[test]
    fn a_key_stands_behind_the_word_bearer() {
        let of = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            bearer(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(of("bearer right"), Some(b"right".to_vec()));
        assert_eq!(of("Bearer  right "), Some(b"right".to_vec()));
        for wrong in ["Bearer ", "Bearer", "Basic right", "right"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn addresses_of_one_network_count_as_one() {
        let of = |text: &str| bucket(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}

//! Whether a node does what it is there for, found out by doing it: for whoever sets one up, and for an
//! appliance's first start. See `docs/selftest.md`.
//!
//! Invariants: one self-test at a time; it ends within [`TIME_MAX`] and what its children take to end; a
//! check that does not end in time has failed; nothing of it stays behind but sixteen bytes in the ledger.

mod certificate;
mod clock;
mod destinations;
mod encoders;
mod film;
mod key;
mod ledger;
mod volumes;

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::node::Node;

/// Longest that all checks together may take.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Longest that disk or ledger may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// What a self-test showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SelftestView {
    /// Whether no check failed.
    pub ok: bool,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub began_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The checks. Of volumes and destinations there is one each.
    pub checks: Vec<SelftestCheck>,
}

/// What a check showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SelftestCheck {
    /// Which.
    pub name: Check,
    /// Of which volume or destination.
    pub of: Option<String>,
    /// How it went.
    pub outcome: Outcome,
    /// What was found, in a sentence.
    pub found: String,
    /// What to do about it, in a sentence; nothing where there is nothing to do.
    pub todo: Option<String>,
}

/// A kind of check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The ledger takes a commit.
    Ledger,
    /// A volume is there, encrypted as it has to be, takes a file and has room.
    Volume,
    /// A test recording is made into a film, a snapshot and a filmstrip, as any recording is.
    Film,
    /// Something encodes.
    Encoders,
    /// A destination takes a file, and gives it back.
    Destination,
    /// The clock is right.
    Clock,
    /// The certificate is valid.
    Certificate,
    /// The node's own key signs and opens.
    Key,
}

impl Check {
    /// All, in the order in which they are told.
    pub const ALL: [Self; 8] = [
        Self::Ledger,
        Self::Volume,
        Self::Film,
        Self::Encoders,
        Self::Destination,
        Self::Clock,
        Self::Certificate,
        Self::Key,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Volume => "volume",
            Self::Film => "film",
            Self::Encoders => "encoders",
            Self::Destination => "destination",
            Self::Clock => "clock",
            Self::Certificate => "certificate",
            Self::Key => "key",
        }
    }
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All is well.
    Passed,
    /// It works, but somebody should look at it.
    Warning,
    /// It does not work.
    Failed,
    /// There is nothing to check on this node.
    NotApplicable,
}

impl SelftestCheck {
    fn new(name: Check, outcome: Outcome, found: &str, todo: Option<&str>) -> Self {
        Self { name, of: None, outcome, found: sentence(found), todo: todo.map(sentence) }
    }

    fn passed(name: Check, found: &str) -> Self {
        Self::new(name, Outcome::Passed, found, None)
    }

    fn warning(name: Check, found: &str, todo: &str) -> Self {
        Self::new(name, Outcome::Warning, found, Some(todo))
    }

    fn failed(name: Check, found: &str, todo: &str) -> Self {
        Self::new(name, Outcome::Failed, found, Some(todo))
    }

    fn not_applicable(name: Check, found: &str) -> Self {
        Self::new(name, Outcome::NotApplicable, found, None)
    }

    fn late(name: Check, limit: Duration) -> Self {
        let found = format!("it was not done within {} s", limit.as_secs());
        Self::failed(name, &found, "see the node's log, and try again")
    }

    /// Says of which one.
    fn of(mut self, of: &str) -> Self {
        self.of = Some(of.to_owned());
        self
    }
}

/// Another self-test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a self-test of this node is running; it ends within two minutes or so")]
pub struct Busy;

/// Tests a node, or only one kind of thing of it.
///
/// # Errors
/// [`Busy`].
pub async fn run(node: &Arc<Node>, only: Option<Check>) -> Result<SelftestView, Busy> {
    let alone = Arc::clone(&node.selftest).try_lock_owned().map_err(|_| Busy)?;
    let tested = Arc::clone(node);
    // It goes on where nobody waits for it any more: what it laid down is to be taken away.
    let done = tokio::spawn(async move {
        let _alone = alone;
        all(&tested, only).await
    });
    let broke_off = |_| {
        let name = only.unwrap_or(Check::Ledger);
        let check = SelftestCheck::failed(
            name,
            "the self-test broke off",
            "see the node's log, and report it",
        );
        view(node.clock.now(), 0, vec![check])
    };
    Ok(done.await.unwrap_or_else(broke_off))
}

async fn all(node: &Arc<Node>, only: Option<Check>) -> SelftestView {
    let (began_at, began) = (node.clock.now(), node.clock.boottime());
    let end = Instant::now() + TIME_MAX;
    let wanted = Check::ALL.into_iter().filter(|check| only.is_none_or(|only| only == *check));
    // All at once: what is slow is the line, a disk, or a child.
    let checks = join_all(wanted.map(|check| begin(check, node, end))).await.concat();
    let took = node.clock.boottime().saturating_sub(began);
    for check in checks.iter().filter(|check| check.outcome == Outcome::Failed) {
        let SelftestCheck { name, of, found, .. } = check;
        tracing::warn!(check = name.as_str(), of, "self-test: {found}");
    }
    view(began_at, u64::try_from(took.as_millis()).unwrap_or(u64::MAX), checks)
}

fn view(began_at: Timestamp, duration_ms: u64, checks: Vec<SelftestCheck>) -> SelftestView {
    let ok = checks.iter().all(|check| check.outcome != Outcome::Failed);
    SelftestView { ok, began_at, duration_ms, checks }
}

fn begin(check: Check, node: &Arc<Node>, end: Instant) -> BoxFuture<'_, Vec<SelftestCheck>> {
    let one = |it: BoxFuture<'static, SelftestCheck>| it.map(|check| vec![check]).boxed();
    let of = Arc::clone(node);
    match check {
        Check::Ledger => one(async move { ledger::check(&of).await }.boxed()),
        Check::Volume => volumes::check(node).boxed(),
        Check::Film => one(async move { film::check(&of).await }.boxed()),
        Check::Encoders => one(async move { encoders::check(&of, end).await }.boxed()),
        Check::Destination => destinations::check(node, end).boxed(),
        Check::Clock => one(async move { clock::check(&of) }.boxed()),
        Check::Certificate => one(async move { certificate::check(&of).await }.boxed()),
        Check::Key => one(async move { key::check(&of).await }.boxed()),
    }
}

/// Beginning with a capital and ending with a full stop. A path begins as it is written.
fn sentence(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_called_as_the_api_calls_them() {
        for check in Check::ALL {
            assert_eq!(serde_json::to_value(check).unwrap(), check.as_str());
        }
    }

    #[test]
    fn only_what_failed_makes_it_fail() {
        let begun = Timestamp::UNIX_EPOCH;
        let of = |checks: &[SelftestCheck]| view(begun, 1, checks.to_vec()).ok;
        let warning = SelftestCheck::warning(Check::Encoders, "one is aside", "look");
        let none = SelftestCheck::not_applicable(Check::Destination, "there is none");
        assert!(of(&[SelftestCheck::passed(Check::Key, "it signs"), warning.clone(), none]));
        assert!(!of(&[warning, SelftestCheck::late(Check::Film, TIME_MAX)]));
    }

    #[test]
    fn what_is_told_is_a_sentence() {
        assert_eq!(sentence("it signs"), "It signs.");
        assert_eq!(sentence("/a/b is gone. "), "/a/b is gone.");
        assert_eq!(sentence("ÿ"), "Ÿ.");
        assert_eq!(sentence(""), ".");
    }
}

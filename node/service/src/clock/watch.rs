//! Watching the wall clock, and putting right what a wrong one stamped. What it is worth is decided in
//! [`trust`](super::trust).

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::RecordingId;
use jiff::SignedDuration;
use redb::WriteTransaction;

use super::kept::{self, Kept};
use super::trust::{Belief, Doubt, Seen, Verdict, judge, just_after};
use crate::audit::Act;
use crate::ledger::{ClockStep, Filter, LedgerError};
use crate::node::{Node, NodeError};

/// How often the wall clock is looked at. Node time does not follow a step before that, so nothing
/// has to be quicker.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// How long operations may arrive that read the clock before it was corrected.
const LATE_MAX: Duration = Duration::from_secs(60);
/// Recordings looked at in one go.
const PAGE: usize = 500;
/// Whose doing it is, for the audit log.
const BY: &str = "node";

/// Why what people ask of the clock is not done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is nothing to accept.
    #[error("the clock is trusted already; there is nothing to accept")]
    Trusted,
    /// It is in doubt for another reason than running behind what was recorded.
    #[error("{0}")]
    Other(Doubt),
    /// It could not be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Node {
    /// Someone vouches for a clock that stands before what was recorded: it ran ahead before, and is
    /// right now. Every stamp that lies in its future moves back, the latest to now, the others as
    /// long before it as they were.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn accept_clock(&self, by: &str) -> Result<(), Refused> {
        match self.clock_doubt()? {
            Some(Doubt::Behind { .. }) => {}
            Some(other) => return Err(Refused::Other(other)),
            None => return Err(Refused::Trusted),
        }
        let Some(seen) = Seen::by(&self.clock) else { return Err(Refused::Trusted) };
        let told = seen.steering.at.max(self.ledger.latest_instant()?);
        let by_clock = seen.wall.duration_since(told);
        let belief = Belief { by: by_clock, since: Some(just_after(seen.wall)) };
        let why = format!("accepted as {:.0}, {} before", seen.wall, words(by_clock));
        believe(self, belief, by, why).await?;
        Ok(())
    }
}

/// A length of time for people, without its sign.
fn words(by: SignedDuration) -> String {
    let by = by.abs();
    let (days, hours) = (by.as_hours() / 24, by.as_hours() % 24);
    match (days, hours) {
        (0, 0) if by.as_mins() == 0 => format!("{} s", by.as_secs()),
        (0, 0) => format!("{} min", by.as_mins()),
        (0, hours) => format!("{hours} h {} min", by.as_mins() % 60),
        (days, hours) => format!("{days} days {hours} h"),
    }
}

/// Looks at the wall clock, and does what follows.
///
/// # Errors
/// [`LedgerError`] where the ledger could not be read or written; the next look makes up for it.
pub async fn look(node: &Node) -> Result<(), LedgerError> {
    let latest = node.ledger.latest_instant()?;
    let Some(seen) = Seen::by(&node.clock) else { return Ok(()) };
    match judge(node.config.node.clock, &seen, latest) {
        Verdict::Same => keep(node, None).await,
        Verdict::Doubt(why) => {
            node.clock.steer(|steering, _| {
                steering.vouched = Some(latest);
                steering.at = steering.at.max(just_after(latest));
            });
            keep(node, Some(why)).await
        }
        Verdict::Believe(belief) => {
            let why = match belief.by {
                by if by.is_zero() => "it agrees with the time that has passed".to_owned(),
                by if by.is_negative() => format!("set back by {}", words(by)),
                by => format!("set forward by {}", words(by)),
            };
            believe(node, belief, BY, why).await
        }
    }
}

/// Keeps what a later start has to know, where it has changed.
async fn keep(node: &Node, why: Option<Doubt>) -> Result<(), LedgerError> {
    let kept = node.ledger.read(Kept::load)?;
    let Some(steering) = node.clock.steer(|steering, _| *steering) else { return Ok(()) };
    let now = Kept::of(&steering, node.clock.boot_id(), kept.folders_behind);
    if now.is_like(&kept) {
        return Ok(());
    }
    let begins = now.vouched.is_some() && kept.vouched.is_none();
    let why = why.map_or(node.clock_doubt()?, Some).filter(|_| begins).map(|why| why.to_string());
    let (audit, told) = (node.audit.clone(), steering.at);
    let writing = node.ledger.write(move |write| {
        now.store(write)?;
        let Some(why) = why else { return Ok(()) };
        audit.append(write, told, BY, &Act::ClockTrusted { trusted: false, why })
    });
    writing.await
}

/// The wall clock is right from now on.
async fn believe(node: &Node, belief: Belief, by: &str, why: String) -> Result<(), LedgerError> {
    let kept = node.ledger.read(Kept::load)?;
    let Some(before) = node.clock.steer(|steering, _| *steering) else { return Ok(()) };
    let (clock, audit, by) = (node.clock.clone(), node.audit.clone(), by.to_owned());
    let said = why.clone();
    let is_news = kept.vouched.is_some();
    let correct = move |write: &WriteTransaction| {
        let believed = clock.steer(|steering, _| {
            steering.believe(belief);
            *steering
        });
        let steering = believed.unwrap_or(before);
        let behind = kept.folders_behind || belief.since.is_some();
        Kept::of(&steering, clock.boot_id(), behind).store(write)?;
        if is_news {
            audit.append(write, steering.at, &by, &Act::ClockTrusted { trusted: true, why })?;
        }
        Ok(steering.at)
    };
    let done = match belief.since {
        Some(since) => {
            let step = ClockStep { since, until: before.at, by: belief.by };
            node.ledger.correct_clock(step, correct).await
        }
        None => node.ledger.write(move |write| correct(write).map(|_| Vec::new())).await,
    };
    let moved = done.inspect_err(|_| {
        // Node time goes on as if nothing had been found out.
        node.clock.steer(|steering, _| *steering = before);
    })?;
    tracing::warn!(recordings = moved.len(), "the clock was put right: {said}");
    for id in moved {
        if let Err(error) = note(node, id).await {
            tracing::warn!(recording = %id, %error, "its folder has yet to learn of its new times");
            return Ok(());
        }
    }
    node.ledger.write(kept::folders_are_up_to_date).await
}

/// Writes what the ledger knows of a recording into its folder.
async fn note(node: &Node, id: RecordingId) -> Result<(), NodeError> {
    let _lock = node.locks.lock(id).await;
    let Some(recording) = node.ledger.get(id)? else { return Ok(()) };
    node.with_vault(move |vault| vault.note(&recording)).await
}

/// Manifests that did not learn of stamps that moved before the node ended.
async fn catch_up(node: &Node) -> Result<(), NodeError> {
    if !node.ledger.read(Kept::load)?.folders_behind {
        return Ok(());
    }
    let mut before = None;
    loop {
        let (page, next) = node.ledger.list(&Filter::default(), before, PAGE)?;
        for recording in page {
            note(node, recording.id).await?;
        }
        if next.is_none() {
            return Ok(node.ledger.write(kept::folders_are_up_to_date).await?);
        }
        before = next;
    }
}

/// Looks at the wall clock until the node stops.
pub async fn run(node: Arc<Node>) {
    let mut corrected_at = node.clock.boottime();
    let mut was_trusted = true;
    if let Err(error) = catch_up(&node).await {
        tracing::warn!(%error, "folders have yet to learn of times that were put right");
    }
    loop {
        match look(&node).await.and_then(|()| node.clock_doubt()) {
            Err(error) => {
                tracing::error!(%error, "what the clock is worth could not be noted; tried again");
            }
            Ok(Some(why)) if was_trusted => {
                was_trusted = false;
                tracing::error!(
                    "the clock is not trusted; nothing is deleted by a rule of time: {why}"
                );
            }
            Ok(None) if !was_trusted => {
                was_trusted = true;
                tracing::warn!("the clock is trusted again; rules of time go on");
            }
            Ok(_) => {}
        }
        if !node.ledger.is_correcting() {
            corrected_at = node.clock.boottime();
        } else if node.clock.boottime().saturating_sub(corrected_at) > LATE_MAX {
            node.ledger.end_correction();
        }
        tokio::select! {
            () = node.clock.sleep_until(None, LOOK_PAUSE, LOOK_PAUSE) => {}
            () = node.stop.cancelled() => return,
        }
    }
}

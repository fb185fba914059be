//! Ending epochs of recordings' keys on their timetable, so that keys of what was deleted cease to exist.
//!
//! An epoch that ends too early harms nothing, so a clock that is wrong does neither: it counts as over
//! when the clock says so, or stands before its beginning.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::node::{Node, NodeError};
use crate::vault::Vault;
use crate::vault::erasure::Rotated;

/// Longest time between two looks at the clock.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Shortest time between them.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Pause after something failed.
const FAILED_PAUSE: Duration = Duration::from_secs(60);

/// Ends epochs until the node stops. Comes to an end at once where recordings have no keys.
pub async fn run(node: Arc<Node>) {
    let mut noted = 0;
    while let Some(standing) = node.vault.epochs() {
        let length_ms = i64::try_from(node.config.vault.erasure_epoch_ms).unwrap_or(i64::MAX);
        let left =
            left(standing.began_at, SignedDuration::from_millis(length_ms), node.clock.now());
        let done = if standing.is_unfinished {
            finish(&node).await
        } else if left.is_zero() {
            rotate(&node).await.map(|_| ())
        } else if noted < standing.destroyed {
            note(&node).await.map(|()| noted = standing.destroyed)
        } else {
            Ok(())
        };
        let pause = match done {
            // What was done may not be all there is to do.
            Ok(()) if left.is_zero() || standing.is_unfinished => PAUSE_MIN,
            Ok(()) => left.clamp(PAUSE_MIN, PAUSE_MAX),
            Err(error) => {
                tracing::error!(%error, "keys of deleted recordings could not be destroyed; tried again");
                FAILED_PAUSE
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = node.stop.cancelled() => return,
        }
    }
}

/// Ends the current epoch now, and writes down that it is destroyed. Nothing where recordings have no
/// keys.
///
/// # Errors
/// [`NodeError`]; everything can still be read, and repeating it goes on.
pub async fn rotate(node: &Arc<Node>) -> Result<Option<Rotated>, NodeError> {
    let now = node.clock.now();
    let rotated = node.with_vault(move |vault| vault.rotate_epoch(now)).await?;
    if let Some(Rotated { epoch, destroyed, keys }) = rotated {
        tracing::info!(
            epoch,
            destroyed,
            keys,
            "a new epoch; keys of what was deleted before are gone"
        );
        note(node).await?;
    }
    Ok(rotated)
}

async fn finish(node: &Arc<Node>) -> Result<(), NodeError> {
    node.with_vault(Vault::finish_rotation).await?;
    note(node).await
}

/// Writes down what is destroyed, if that is not written yet.
async fn note(node: &Arc<Node>) -> Result<(), NodeError> {
    let destroyed = node.vault.epochs().map_or(0, |standing| standing.destroyed);
    if destroyed > 0 {
        node.audit.note_destroyed(&node.ledger, destroyed, node.clock.now()).await?;
    }
    Ok(())
}

fn left(began_at: Timestamp, length: SignedDuration, now: Timestamp) -> Duration {
    let gone = now.duration_since(began_at);
    if gone.is_negative() {
        return Duration::ZERO;
    }
    length
        .checked_sub(gone)
        .and_then(|left| Duration::try_from(left).ok())
        .unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_over_when_its_time_is_or_when_the_clock_stands_before_its_beginning() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let hour = SignedDuration::from_hours(1);
        assert_eq!(left(at(0), hour, at(0)), Duration::from_secs(3_600));
        assert_eq!(left(at(0), hour, at(3_599_999)), Duration::from_millis(1));
        assert_eq!(left(at(0), hour, at(3_600_000)), Duration::ZERO);
        assert_eq!(left(at(0), hour, at(i64::from(i32::MAX))), Duration::ZERO);
        assert_eq!(left(at(1), hour, at(0)), Duration::ZERO);
    }
}

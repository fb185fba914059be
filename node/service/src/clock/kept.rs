//! What the ledger keeps of the clock, and taking node time up from there.
//!
//! It makes a step be found also where it happened while the node was not running. Format: table
//! `clock`, all numbers.
//!
//! | key | value |
//! | --- | --- |
//! | `boot_id` | first 64 bits of the kernel's boot id |
//! | `offset_ms` | node time less `CLOCK_BOOTTIME`; it holds for this boot |
//! | `vouched_ms` | only in doubt: the latest instant recorded before; later stamps are in doubt |
//! | `stretch_ms` | the first stamp of this boot, and of earlier ones that it goes on from |
//! | `folders_behind` | only while manifests in the vault have yet to learn of stamps that moved |

use jiff::{SignedDuration, Timestamp};
use redb::{ReadTransaction, TableDefinition, TableError, WriteTransaction};

use super::Clock;
use super::steer::{Steering, TOLERANCE};
use super::trust::{doubt, just_after};
use crate::config::ClockSource;
use crate::ledger::LedgerError;

const TABLE: TableDefinition<'_, &str, u64> = TableDefinition::new("clock");
const BOOT_ID: &str = "boot_id";
const OFFSET_MS: &str = "offset_ms";
const VOUCHED_MS: &str = "vouched_ms";
const STRETCH_MS: &str = "stretch_ms";
const FOLDERS_BEHIND: &str = "folders_behind";

/// What the ledger keeps of the clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Kept {
    boot_id: Option<u64>,
    offset_ms: i64,
    pub(super) vouched: Option<Timestamp>,
    stretch: Option<Timestamp>,
    pub(super) folders_behind: bool,
}

/// The vault's folders have learned of every stamp that moved.
pub(super) fn folders_are_up_to_date(write: &WriteTransaction) -> Result<(), LedgerError> {
    write.open_table(TABLE)?.remove(FOLDERS_BEHIND)?;
    Ok(())
}

impl Kept {
    pub(super) fn load(read: &ReadTransaction) -> Result<Self, LedgerError> {
        let table = match read.open_table(TABLE) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Self::default()),
            other => other?,
        };
        let number = |key| Ok::<_, LedgerError>(table.get(key)?.map(|value| value.value()));
        let instant = |key| Ok::<_, LedgerError>(number(key)?.and_then(from_number));
        Ok(Self {
            boot_id: number(BOOT_ID)?,
            offset_ms: number(OFFSET_MS)?.map_or(0, u64::cast_signed),
            vouched: instant(VOUCHED_MS)?,
            stretch: instant(STRETCH_MS)?,
            folders_behind: number(FOLDERS_BEHIND)?.is_some(),
        })
    }

    pub(super) fn store(&self, write: &WriteTransaction) -> Result<(), LedgerError> {
        let mut table = write.open_table(TABLE)?;
        let rows = [
            (BOOT_ID, self.boot_id),
            (OFFSET_MS, Some(self.offset_ms.cast_unsigned())),
            (VOUCHED_MS, self.vouched.map(to_number)),
            (STRETCH_MS, self.stretch.map(to_number)),
            (FOLDERS_BEHIND, self.folders_behind.then_some(1)),
        ];
        for (key, value) in rows {
            match value {
                Some(value) => table.insert(key, value)?,
                None => table.remove(key)?,
            };
        }
        Ok(())
    }

    /// What is to be kept of a clock that is steered so.
    pub(super) fn of(steering: &Steering, boot_id: Option<u64>, folders_behind: bool) -> Self {
        let ticks_ms = i64::try_from(steering.ticks.as_millis()).unwrap_or(i64::MAX);
        Self {
            boot_id,
            offset_ms: steering.at.as_millisecond().saturating_sub(ticks_ms),
            vouched: steering.vouched,
            stretch: Some(steering.stretch),
            folders_behind,
        }
    }

    /// Whether it says the same, as closely as matters.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let apart_ms = self.offset_ms.abs_diff(other.offset_ms);
        u128::from(apart_ms) <= TOLERANCE.unsigned_abs().as_millis()
            && Self { offset_ms: other.offset_ms, ..*self } == *other
    }
}

fn from_number(ms: u64) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()
}

fn to_number(at: Timestamp) -> u64 {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

/// Takes node time up where the ledger leaves it, and answers what it tells now. It stands at the
/// latest recorded instant or later, whatever the wall clock shows.
///
/// # Errors
/// [`LedgerError`] where the ledger cannot be read.
pub(crate) fn resume(
    clock: &Clock,
    source: ClockSource,
    read: &ReadTransaction,
    latest: Timestamp,
) -> Result<Timestamp, LedgerError> {
    let kept = Kept::load(read)?;
    let (boot_id, is_synchronised) = (clock.boot_id(), clock.is_synchronised());
    clock.steer(|steering, wall| {
        let ticks = SignedDuration::try_from(steering.ticks).unwrap_or_default();
        let counted = Timestamp::from_millisecond(kept.offset_ms).ok().map(|base| base + ticks);
        let same_boot = counted.filter(|_| kept.boot_id.is_some() && kept.boot_id == boot_id);
        steering.vouched = kept.vouched;
        if let Some(counted) = same_boot {
            steering.at = counted.max(latest);
            steering.stretch = kept.stretch.unwrap_or(steering.at);
        } else if kept.vouched.is_none() && doubt(source, is_synchronised, wall, latest).is_none() {
            steering.at = wall.max(latest);
            steering.stretch = steering.at;
        } else {
            let is_first = latest == Timestamp::UNIX_EPOCH;
            steering.at = if is_first { wall } else { just_after(latest) };
            steering.stretch = kept.stretch.unwrap_or(steering.at);
        }
    });
    Ok(clock.now())
}

//! How much work waits.

use holdfast_core::Lane;
use jiff::Timestamp;
use redb::{Database, ReadableDatabase};

use super::LedgerError;
use super::schema::DUE;
use super::store::lane_key;

/// How much work there is in a lane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depth {
    /// Work that is due and that nobody has claimed.
    pub due: u64,
    /// Work that is due later, or is being done.
    pub later: u64,
    /// When the first of it is due.
    pub next_at: Option<Timestamp>,
}

/// The work of each lane, in the order of [`Lane::ALL`].
pub(super) fn depths(
    database: &Database,
    now: Timestamp,
) -> Result<[Depth; Lane::ALL.len()], LedgerError> {
    let table = database.begin_read()?.open_table(DUE)?;
    let mut depths = [Depth::default(); Lane::ALL.len()];
    for (depth, lane) in depths.iter_mut().zip(Lane::ALL) {
        let key = lane_key(lane);
        for row in table.range((key, i64::MIN, [0; 16])..=(key, i64::MAX, [0xff; 16]))? {
            let (_, at_ms, _) = row?.0.value();
            depth.next_at = depth.next_at.or_else(|| Timestamp::from_millisecond(at_ms).ok());
            let is_due = at_ms <= now.as_millisecond();
            *(if is_due { &mut depth.due } else { &mut depth.later }) += 1;
        }
    }
    Ok(depths)
}

//! The order in which recordings are transcoded: an index over what is due in the lane `Process`.
//!
//! `turns` has a row for each such recording: its customer, its place, its id, and when it is due;
//! `turn_of` says which row that is. Both follow from the recordings. Policy is in [`crate::queue`].

use holdfast_core::recording::Recording;
use jiff::Timestamp;
use redb::{ReadableTable, Table, WriteTransaction};

use super::LedgerError;
use super::schema::{Id, Slot, TURN_OF, TURNS};
use crate::queue::fair::{Rounds, cost_ms, customer, order};

/// Most customers that are looked at for one claim; few in tests, where it is to be reached.
const CUSTOMERS_MAX: usize = if cfg!(test) { 16 } else { 512 };
/// Most rows of a customer that are looked at: retries that are not due yet may stand before others.
const ROWS_MAX: usize = 64;

const FIRST: Id = [0; 16];

/// Notes when a recording's work is due.
pub(super) fn set(
    write: &WriteTransaction,
    recording: &Recording,
    slot: Slot,
) -> Result<(), LedgerError> {
    let id = recording.id.to_bytes();
    let customer = customer(recording);
    let mut of = write.open_table(TURN_OF)?;
    let old = of.remove(id)?.map(|place| place.value());
    if let Some(place) = old {
        write.open_table(TURNS)?.remove((customer.as_str(), place, id))?;
    }
    if let Some(at_ms) = slot.at_ms {
        // Work that was cut short has had its turn: it goes on when its lease ends.
        let place = if slot.claimed { at_ms } else { order(recording, at_ms) };
        of.insert(id, place)?;
        write.open_table(TURNS)?.insert((customer.as_str(), place, id), at_ms)?;
    }
    Ok(())
}

/// Notes that a recording was given its turn.
pub(super) fn serve(rounds: &mut Rounds, recording: &Recording) {
    rounds.serve(&customer(recording), cost_ms(recording));
}

/// Notes that the turn it was given came to nothing, through no fault of its own.
pub(super) fn give_back(rounds: &mut Rounds, recording: &Recording) {
    rounds.give_back(&customer(recording), cost_ms(recording));
}

type Turns<'t> = Table<'t, (&'static str, i64, Id), i64>;

/// Whose turn it is: the recording that is due of the customer who was given least.
///
/// Where there are more customers than are looked at, the next look begins behind them, and comes round.
pub(super) fn next(
    write: &WriteTransaction,
    rounds: &mut Rounds,
    now: Timestamp,
) -> Result<Option<Id>, LedgerError> {
    let turns = write.open_table(TURNS)?;
    let now_ms = now.as_millisecond();
    let mut best: Option<(u64, i64, Id)> = None;
    let begin = rounds.take_look();
    let (mut from, mut is_round) = (begin.clone(), begin.is_empty());
    for looked in 0.. {
        let customer = match first_customer(&turns, &from)? {
            None if !is_round => {
                (from, is_round) = (String::new(), true);
                continue;
            }
            Some(customer) if !is_round || begin.is_empty() || customer < begin => customer,
            // All of them.
            _ => break,
        };
        if looked >= CUSTOMERS_MAX {
            rounds.look_on_from(from);
            break;
        }
        let begins = rounds.begins(&customer);
        // Without work that is due it cannot be its turn, and with a later one it need not be looked at.
        if best.is_none_or(|(least, ..)| begins <= least)
            && let Some((place, id)) = first_due(&turns, &customer, now_ms)?
            && best.is_none_or(|(least, earliest, _)| (begins, place) < (least, earliest))
        {
            best = Some((begins, place, id));
        }
        from = customer;
        from.push('\0');
    }
    Ok(best.map(|(_, _, id)| id))
}

/// The first customer whose name is not before `from`.
fn first_customer(turns: &Turns<'_>, from: &str) -> Result<Option<String>, LedgerError> {
    let row = turns.range((from, i64::MIN, FIRST)..)?.next().transpose()?;
    Ok(row.map(|(key, _)| key.value().0.to_owned()))
}

fn first_due(
    turns: &Turns<'_>,
    customer: &str,
    now_ms: i64,
) -> Result<Option<(i64, Id)>, LedgerError> {
    let rows = turns.range((customer, i64::MIN, FIRST)..)?;
    for row in rows.take(ROWS_MAX) {
        let (key, at_ms) = row?;
        let (of, place, id) = key.value();
        if of != customer {
            break;
        }
        if at_ms.value() <= now_ms {
            return Ok(Some((place, id)));
        }
    }
    Ok(None)
}

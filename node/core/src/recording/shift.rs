//! What a wrong clock noted, put right (rule 10).

use jiff::{SignedDuration, Timestamp};

use super::Recording;
use super::push::last_wait;
use crate::attempts::{self, Failure};

pub(super) fn shift(rec: &mut Recording, since: Timestamp, by: SignedDuration) {
    let moved = |at: &mut Timestamp| {
        if *at >= since {
            *at = at.checked_add(by).unwrap_or(*at);
        }
    };
    // What is still to come moves with the failure from which its wait counts.
    let retry = |next_at: &mut Option<Timestamp>, error: &mut Option<Failure>, failed: u8| {
        let counts_from = error.as_ref().zip(*next_at).filter(|(error, next_at)| {
            attempts::wait_after(failed).is_some_and(|wait| error.at + wait == *next_at)
        });
        if counts_from.is_none_or(|(error, _)| error.at >= since) {
            next_at.iter_mut().for_each(moved);
        }
        error.iter_mut().for_each(|error| moved(&mut error.at));
    };
    for step in [&mut rec.copy, &mut rec.transcode, &mut rec.push] {
        retry(&mut step.next_at, &mut step.error, step.made);
    }
    let failed = last_wait(rec.withdrawal.failed);
    retry(&mut rec.withdrawal.next_at, &mut rec.withdrawal.error, failed);
    for file in &mut rec.files {
        moved(&mut file.made_at);
        file.deleted_at.iter_mut().for_each(moved);
        file.doomed.iter_mut().for_each(|doom| moved(&mut doom.at));
        for pushed in &mut file.pushed {
            moved(&mut pushed.at);
            pushed.withdrawn_at.iter_mut().for_each(moved);
        }
    }
    moved(&mut rec.received_at);
    moved(&mut rec.last_byte_at);
    moved(&mut rec.attached_changed_at);
    rec.saved_at.iter_mut().for_each(moved);
    rec.moved_at.iter_mut().for_each(moved);
    rec.hold.iter_mut().for_each(|hold| moved(&mut hold.at));
    rec.ended.iter_mut().for_each(|ended| moved(&mut ended.at));
}

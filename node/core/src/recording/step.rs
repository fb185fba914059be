//! What becomes of a recording when something happens to it.

use jiff::Timestamp;

use super::push::{push_ended, put_off, withdraw_failed, withdrawn};
use super::retain::{clear_metadata, deleted, make_room};
use super::shift::shift;
use super::work::{
    begin, copied, copy_failed, interrupt, put_off_transcode, transcode_failed, transcoded,
};
use super::{Effect, Ended, Event, File, FileKind, LegalHold, Pushed, Recording, State};
use crate::attempts::{Attempts, WINDOW};
use crate::names::Container;
use crate::push_order;
use crate::retention::Rule;

/// What becomes of a recording when something happens to it, and what is to be done.
#[must_use]
pub fn step(recording: &Recording, event: Event, now: Timestamp) -> (Recording, Vec<Effect>) {
    let mut next = recording.clone();
    let effects = apply(&mut next, event, now);
    (next, effects)
}

pub(super) fn apply(rec: &mut Recording, event: Event, now: Timestamp) -> Vec<Effect> {
    match event {
        Event::Attached => attach(rec, true, now),
        Event::Detached => attach(rec, false, now),
        Event::Stopped { bytes, sha256, container } => {
            if rec.state == State::Receiving {
                close(rec, bytes, sha256, container, now);
                rec.state = State::Stopped;
            }
        }
        Event::Saved => {
            if rec.state == State::Stopped {
                save(rec, now);
            }
        }
        Event::Recovered { bytes, sha256, container } => {
            // A client that came back meanwhile, or brought more, keeps its recording.
            let is_over = rec.reconnect_until().is_some_and(|until| until <= now);
            if is_over && bytes >= rec.bytes {
                if container.is_none() {
                    return end(rec, State::Garbage, Rule::Garbage, None, now);
                }
                close(rec, bytes, sha256, container, now);
                rec.recovered = true;
                save(rec, now);
            }
        }
        Event::Rejected => return end(rec, State::Garbage, Rule::Garbage, None, now),
        Event::DeleteRequested { by } => {
            if rec.hold.is_none() {
                return end(rec, State::Deleted, Rule::Requested, Some(by), now);
            }
        }
        Event::HoldSet { by, reason } => {
            if !rec.is_ended() {
                rec.hold = Some(LegalHold { at: now, by, reason });
            }
        }
        Event::HoldLifted { .. } => rec.hold = None,
        Event::RetryRequested { .. } => retry(rec, now),
        Event::TermsChanged(terms) => rec.terms = terms,
        Event::ClockStepped { since, by } => shift(rec, since, by),
        Event::Copied => copied(rec, now),
        Event::CopyFailed(failure) => copy_failed(rec, failure),
        Event::Due(lane) => return begin(rec, lane, now),
        Event::Interrupted(lane) => interrupt(rec, lane, now),
        Event::Transcoded { media, files, remarks } => transcoded(rec, media, files, remarks, now),
        Event::TranscodeFailed(failure) => transcode_failed(rec, failure),
        Event::TranscodePutOff { until, waits_for } => {
            put_off_transcode(rec, until, waits_for, now);
        }
        Event::FilePushed { destination, kind, location } => {
            if let Some(file) = rec.file_mut(kind).filter(|f| !f.is_pushed_to(&destination)) {
                file.pushed.push(Pushed { destination, at: now, location, withdrawn_at: None });
            }
        }
        Event::PushEnded { failure } => push_ended(rec, failure, now),
        Event::PushPutOff { until, waits_for } => put_off(rec, until, waits_for, now),
        Event::SpaceNeeded => make_room(rec, now),
        Event::FilesDeleted(kinds) => deleted(rec, &kinds, now),
        Event::Withdrawn { destination, kind } => withdrawn(rec, &destination, kind, now),
        Event::WithdrawFailed(failure) => withdraw_failed(rec, failure),
    }
    Vec::new()
}

pub(super) fn attach(rec: &mut Recording, attached: bool, now: Timestamp) {
    if rec.attached != attached {
        rec.attached = attached;
        rec.attached_changed_at = now;
    }
}

pub(super) fn close(
    rec: &mut Recording,
    bytes: u64,
    sha256: String,
    kind: Option<Container>,
    now: Timestamp,
) {
    rec.bytes = bytes;
    rec.container = kind;
    rec.last_byte_at = rec.last_byte_at.max(now);
    if let Some(raw) = rec.file_mut(FileKind::Raw) {
        raw.bytes = bytes;
        raw.sha256 = Some(sha256);
    }
}

pub(super) fn save(rec: &mut Recording, now: Timestamp) {
    rec.saved_at = Some(now);
    if rec.policy.copies {
        rec.state = State::Copying;
        rec.copy.schedule(now);
    } else {
        hand_over(rec, now);
    }
}

/// To processing, or past it where there is nothing to make.
pub(super) fn hand_over(rec: &mut Recording, now: Timestamp) {
    let outputs = rec.policy.outputs;
    if outputs.mp4 || outputs.snapshot || outputs.filmstrip {
        rec.state = State::Saved;
        rec.transcode.schedule(now);
    } else {
        processed(rec, now);
    }
}

pub(super) fn processed(rec: &mut Recording, now: Timestamp) {
    if let Some(raw) = rec.file_mut(FileKind::Raw) {
        raw.made_at = now;
    }
    rec.state = State::Delivering;
    rec.push.schedule(now);
    if rec.saved_at.is_some_and(|saved_at| now > saved_at + WINDOW) {
        // Only an attempt by hand gets here so late; it is followed by one push.
        rec.push.schedule_by_hand(now);
    }
    if push_order::pending(rec).is_empty() {
        push_ended(rec, None, now);
    }
}

pub(super) fn end(
    rec: &mut Recording,
    state: State,
    rule: Rule,
    by: Option<String>,
    now: Timestamp,
) -> Vec<Effect> {
    if rec.is_ended() {
        return Vec::new();
    }
    rec.state = state;
    rec.ended = Some(Ended { rule, by, at: now });
    rec.copy.running = false;
    rec.transcode.running = false;
    rec.push.running = false;
    clear_metadata(rec);
    vec![Effect::Cancel]
}

/// The step that waits is due now; what failed for good is tried once more.
pub(super) fn retry(rec: &mut Recording, now: Timestamp) {
    if rec.is_ended() {
        return;
    }
    let raw_is_here = rec.file(FileKind::Raw).is_some_and(File::is_local);
    let pushes = !push_order::pending(rec).is_empty();
    let over = matches!(rec.state, State::Failed | State::Stored);
    match rec.state {
        State::Copying => hurry(&mut rec.copy, now),
        State::Saved | State::Processing => hurry(&mut rec.transcode, now),
        State::Delivering => hurry(&mut rec.push, now),
        State::Failed if rec.copy.exhausted && raw_is_here => {
            rec.state = State::Copying;
            rec.copy.schedule_by_hand(now);
        }
        State::Failed if rec.transcode.exhausted && raw_is_here => {
            rec.state = State::Processing;
            rec.transcode.schedule_by_hand(now);
        }
        _ if over && rec.push.exhausted && pushes => {
            rec.state = State::Delivering;
            rec.push.schedule_by_hand(now);
        }
        _ => {}
    }
}

/// A first attempt that waits just comes at once; one that failed before is repeated by hand.
pub(super) fn hurry(step: &mut Attempts, now: Timestamp) {
    if step.next_at.is_some() && !step.running {
        if step.made == 0 {
            step.next_at = Some(now);
        } else {
            step.schedule_by_hand(now);
        }
    }
}

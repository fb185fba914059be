//! The beginning and the end of attempts: copying and transcoding, and what was interrupted.

use jiff::Timestamp;

use super::due::due;
use super::file::new_file;
use super::push::conclude;
use super::retain::{expire, retain};
use super::step::{hand_over, processed};
use super::{Effect, FileKind, Lane, NewFile, Recording, State};
use crate::attempts::{Failure, Fault};
use crate::job::SourceFacts;
use crate::push_order;

pub(super) fn begin(rec: &mut Recording, lane: Lane, now: Timestamp) -> Vec<Effect> {
    if due(rec, lane).is_none_or(|at| at > now) {
        return Vec::new();
    }
    let saved_at = rec.saved_at.unwrap_or(now);
    match lane {
        Lane::Copy => {
            if rec.copy.begin(saved_at, now) {
                return vec![Effect::Copy];
            }
            rec.state = State::Failed;
            Vec::new()
        }
        Lane::Process => {
            if rec.transcode.begin(saved_at, now) {
                rec.state = State::Processing;
                return vec![Effect::Transcode];
            }
            rec.state = State::Failed;
            Vec::new()
        }
        Lane::Deliver if rec.state == State::Deleted => vec![Effect::Withdraw(rec.to_withdraw())],
        Lane::Deliver => {
            if rec.push.begin(saved_at, now) {
                return vec![Effect::Push(push_order::pending(rec))];
            }
            conclude(rec);
            Vec::new()
        }
        Lane::Retain => retain(rec, now),
        Lane::Expire => expire(rec, now),
    }
}

pub(super) fn interrupt(rec: &mut Recording, lane: Lane, now: Timestamp) {
    let saved_at = rec.saved_at.unwrap_or(now);
    match lane {
        Lane::Copy if rec.state == State::Copying => {
            rec.copy.interrupt(saved_at, now);
            if rec.copy.exhausted {
                rec.state = State::Failed;
            }
        }
        Lane::Process if rec.state == State::Processing => {
            rec.transcode.interrupt(saved_at, now);
            if rec.transcode.exhausted {
                rec.state = State::Failed;
            }
        }
        Lane::Deliver if rec.state == State::Delivering => {
            rec.push.interrupt(saved_at, now);
            if rec.push.exhausted {
                conclude(rec);
            }
        }
        _ => {}
    }
}

pub(super) fn copied(rec: &mut Recording, now: Timestamp) {
    if rec.state == State::Copying && rec.copy.running {
        rec.copy.succeed();
        rec.moved_at = Some(now);
        hand_over(rec, now);
    }
}

pub(super) fn copy_failed(rec: &mut Recording, failure: Failure) {
    if rec.state == State::Copying && rec.copy.running {
        let saved_at = rec.saved_at.unwrap_or(failure.at);
        rec.copy.fail(failure, saved_at);
        if rec.copy.exhausted {
            rec.state = State::Failed;
        }
    }
}

pub(super) fn transcoded(
    rec: &mut Recording,
    media: Option<SourceFacts>,
    files: Vec<NewFile>,
    remarks: Vec<String>,
    now: Timestamp,
) {
    if rec.state != State::Processing || !rec.transcode.running {
        return;
    }
    let has_main = files.iter().any(|file| file.kind == FileKind::Main && file.bytes > 0);
    if rec.policy.outputs.mp4 && !has_main {
        // The raw file would go next, and be the last of it.
        let sentence = "the transcoder reported success without an .mp4".into();
        return transcode_failed(rec, Failure { fault: Fault::Ours, sentence, at: now });
    }
    rec.transcode.succeed();
    rec.media = media;
    rec.remarks = remarks;
    for new in files {
        rec.files.retain(|file| file.kind != new.kind);
        rec.files.push(new_file(new.kind, new.bytes, new.sha256, now));
    }
    processed(rec, now);
}

pub(super) fn transcode_failed(rec: &mut Recording, failure: Failure) {
    if rec.state != State::Processing || !rec.transcode.running {
        return;
    }
    let saved_at = rec.saved_at.unwrap_or(failure.at);
    rec.transcode.fail(failure, saved_at);
    if rec.transcode.exhausted {
        rec.state = State::Failed;
    }
}

pub(super) fn put_off_transcode(
    rec: &mut Recording,
    until: Timestamp,
    waits_for: String,
    now: Timestamp,
) {
    if rec.state == State::Processing && rec.transcode.running {
        rec.transcode.put_off(until.max(now), waits_for, rec.saved_at.unwrap_or(now));
    }
}

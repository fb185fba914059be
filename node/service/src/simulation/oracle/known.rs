//! What is known of one recording, and what the law says of each of its changes.

use std::path::Path;
use std::time::Duration;

use holdfast_core::recording::{Event, FileKind, Lane, Recording, State};
use holdfast_core::retention::Rule;
use jiff::Timestamp;

use super::RECORDINGS;
use crate::simulation::disk::Disk;
use crate::simulation::law::Law;

/// What is known of a recording.
#[derive(Debug)]
pub(in crate::simulation) struct Known {
    pub(in crate::simulation) law: Law,
    /// As the ledger had it last.
    pub(in crate::simulation) rec: Recording,
    /// What its client called it; that is its number.
    pub(in crate::simulation) client: Option<usize>,
    /// How often a decoder was started on it.
    pub(super) decoded: usize,
    /// When it was saved, in real time since the world began.
    saved_for_real: Option<Duration>,
    /// The ledger was lost when nothing of it lay here any more.
    pub(in crate::simulation) is_lost: bool,
}

pub(super) fn runs(rec: &Recording, lane: Lane) -> bool {
    if lane == Lane::Process { rec.transcode.running } else { rec.push.running }
}

fn is_exhausted(rec: &Recording, lane: Lane) -> bool {
    if lane == Lane::Process { rec.transcode.exhausted } else { rec.push.exhausted }
}

/// Whether a change dooms anything by the calendar. Carrying out what was decided before is none.
pub(super) fn goes_by_time(before: &Recording, after: &Recording) -> bool {
    if let (None, Some(ended)) = (&before.ended, &after.ended) {
        return ended.rule.is_of_time();
    }
    let doomed = |rec: &Recording| {
        let dooms = rec.files.iter().filter_map(|file| file.doomed.as_ref());
        dooms.filter(|doom| doom.rule.is_of_time()).count()
    };
    before.ended.is_none() && doomed(after) > doomed(before)
}

impl Known {
    pub(super) fn new(rec: Recording, client: Option<usize>) -> Self {
        let law = Law::new(&rec);
        Self { law, rec, client, decoded: 0, saved_for_real: None, is_lost: false }
    }

    /// Contract 2: whenever the ledger gets lost, the folder alone says what has to be known.
    pub(super) fn manifest_can_be_read(&self, disk: &Disk) {
        let rec = &self.rec;
        let is_going = rec.files.iter().all(|f| f.doomed.is_some() || f.deleted_at.is_some());
        if self.is_lost || is_going || rec.bytes == 0 {
            return;
        }
        let path = Path::new(RECORDINGS).join(rec.id.to_string()).join("manifest.json");
        let manifest = disk.bytes_of(&path).and_then(|bytes| Recording::from_json(&bytes).ok());
        let manifest = manifest.unwrap_or_else(|| panic!("{}: no manifest to be read", rec.id));
        let is_behind = rec.saved_at.is_some() && manifest.saved_at.is_none();
        assert!(!is_behind, "{}: saved, and its manifest does not say so", rec.id);
        let is_held = rec.hold.is_none() || manifest.hold.is_some();
        assert!(is_held, "{}: held, and its manifest does not say so", rec.id);
    }

    /// What is taken down by a clock that nobody can set.
    pub(super) fn real_times(&mut self, after: &Recording, elapsed: Duration) {
        if self.saved_for_real.is_none() && after.saved_at.is_some() {
            self.saved_for_real = Some(elapsed);
        }
    }

    /// In a world whose clocks never ran ahead, what goes by the calendar is as old as it has to be by
    /// real time as well: no correction of stamps made it older.
    pub(super) fn nothing_too_early_for_real(
        &self,
        before: &Recording,
        after: &Recording,
        elapsed: Duration,
    ) {
        let Some(saved) = self.saved_for_real else { return };
        let ended = after.ended.as_ref().filter(|_| before.ended.is_none()).map(|ended| ended.rule);
        let dooms = after.files.iter().filter_map(|file| {
            let was = before.file(file.kind).and_then(|file| file.doomed.as_ref());
            file.doomed.as_ref().filter(|_| was.is_none()).map(|doom| doom.rule)
        });
        for rule in ended.into_iter().chain(dooms) {
            let least = match rule {
                // 28 local days, the first of which may be short, and one night may have 23 hours.
                Rule::TranscodeFailed | Rule::PushFailed => {
                    Duration::from_secs(27 * 86_400 - 3_600)
                }
                Rule::Lifecycle => Duration::from_secs(75 * 3_600),
                _ => continue,
            };
            let age = elapsed.saturating_sub(saved) + Duration::from_secs(60);
            assert!(age >= least, "{}: goes by {rule:?} after {age:?} of real time", after.id);
        }
    }

    /// What the events say that happened.
    pub(super) fn facts(
        &mut self,
        before: &Recording,
        after: &Recording,
        events: &[Event],
        now: Timestamp,
    ) {
        let law = &mut self.law;
        if before.saved_at.is_none() && after.saved_at.is_some() {
            law.recovered = after.recovered;
            law.save(now);
            let outputs = after.policy.outputs;
            if !(outputs.mp4 || outputs.snapshot || outputs.filmstrip) {
                law.made(std::iter::empty(), now);
            }
        }
        if after.state == State::Garbage && before.state != State::Garbage {
            assert!(before.saved_at.is_none(), "{}: saved, and then thrown away", after.id);
            law.rejected = true;
        }
        for event in events {
            match event {
                Event::DeleteRequested { .. } => law.asked_to_delete |= !law.held,
                Event::HoldSet { .. } => law.held = after.hold.is_some(),
                Event::HoldLifted { .. } => law.held = false,
                Event::ClockStepped { since, by } => law.shift(*since, *by),
                Event::RetryRequested { .. } => {
                    for (lane, is_other) in [
                        (Lane::Process, before.transcode != after.transcode),
                        (Lane::Deliver, before.push != after.push),
                    ] {
                        if is_other {
                            law.ask_again(lane);
                        }
                    }
                }
                Event::FilePushed { destination, kind, .. } => {
                    law.pushed.insert((destination.clone(), *kind));
                }
                _ => {}
            }
        }
        law.last_byte_at = after.last_byte_at;
        law.terms = after.terms;
    }

    /// Attempts that began and ended.
    pub(super) fn attempts(&mut self, after: &Recording, events: &[Event], now: Timestamp) {
        let mut running = [Lane::Process, Lane::Deliver].map(|lane| runs(&self.rec, lane));
        let is_ended = after.is_ended();
        for event in events {
            let law = &mut self.law;
            match event {
                Event::Interrupted(lane @ (Lane::Process | Lane::Deliver)) => {
                    let of = usize::from(*lane == Lane::Deliver);
                    let step = if of == 0 { &after.transcode } else { &after.push };
                    // Cut short too often, which counts as a failure.
                    if running[of] && !is_ended && !step.running {
                        law.fail(*lane, now);
                        running[of] = false;
                    }
                }
                Event::Due(lane @ (Lane::Process | Lane::Deliver)) => {
                    let of = usize::from(*lane == Lane::Deliver);
                    if runs(after, *lane) {
                        law.begin(*lane, running[of], now);
                        running[of] = true;
                    }
                }
                Event::TranscodeFailed(_) if running[0] && !is_ended => {
                    law.fail(Lane::Process, now);
                }
                Event::Transcoded { files, .. } if running[0] && !is_ended => {
                    law.made(files.iter().map(|file| file.kind), now);
                    running[0] = false;
                }
                Event::PushPutOff { until, .. }
                    if running[1] && after.state == State::Delivering && !after.push.running =>
                {
                    law.put_off(Lane::Deliver, *until, now);
                    running[1] = false;
                }
                Event::PushEnded { .. } | Event::PushPutOff { .. } if running[1] && !is_ended => {
                    if matches!(after.state, State::Stored | State::Delivered)
                        && !after.push.exhausted
                    {
                        law.succeed(Lane::Deliver);
                    } else {
                        law.fail(Lane::Deliver, now);
                    }
                    running[1] = false;
                }
                _ => {}
            }
        }
        for lane in [Lane::Process, Lane::Deliver] {
            if is_exhausted(after, lane) && !is_exhausted(&self.rec, lane) {
                self.law.give_up(lane, now);
            }
        }
    }

    /// Each file that is doomed now was due by the law's own reckoning.
    pub(super) fn nothing_too_early(&self, before: &Recording, after: &Recording, now: Timestamp) {
        let (law, id) = (&self.law, after.id);
        for file in &after.files {
            let was = before.file(file.kind).and_then(|file| file.doomed.as_ref());
            let Some(doom) = file.doomed.as_ref().filter(|_| was.is_none()) else { continue };
            assert!(!law.held, "{id}: the {:?} goes under a legal hold", file.kind);
            let decided = after.ended.as_ref().is_some_and(|ended| ended.rule == doom.rule);
            let earliest = law.earliest(before, file.kind, doom.rule);
            assert!(
                decided || earliest.is_some_and(|earliest| earliest <= now),
                "{id}: the {:?} goes by {:?} at {now}, the law says {earliest:?}",
                file.kind,
                doom.rule
            );
        }
        if let Some(ended) = after.ended.as_ref().filter(|_| before.ended.is_none()) {
            // What turns out to be no recording is called so, and stays until the hold is lifted.
            let is_garbage = ended.rule == Rule::Garbage;
            assert!(!law.held || is_garbage, "{id} ends under a legal hold");
            let earliest = law.earliest(before, FileKind::Raw, ended.rule);
            assert!(
                earliest.is_some_and(|earliest| earliest <= now),
                "{id} ends by {:?} at {now}, the law says {earliest:?}",
                ended.rule
            );
        }
    }

    /// What a manifest says that the old ledger did not know yet.
    pub(super) fn rebuilt(&mut self, rec: Recording) {
        let law = &mut self.law;
        law.held = rec.hold.is_some();
        law.terms = rec.terms;
        law.last_byte_at = rec.last_byte_at;
        law.rejected |= rec.state == State::Garbage;
        law.asked_to_delete |= rec.state == State::Deleted;
        if law.saved_at != rec.saved_at
            && let Some(saved_at) = rec.saved_at
        {
            law.recovered = rec.recovered;
            law.save(saved_at);
        }
        for file in &rec.files {
            law.made_at.entry(file.kind).or_insert(file.made_at);
            let pushed = file.pushed.iter().map(|pushed| (pushed.destination.clone(), file.kind));
            law.pushed.extend(pushed);
        }
        // What was cut short too often fails with a claim, and its folder learns of that with the next
        // change only: a node that is made anew from the folder makes that attempt once more.
        let steps = [
            (Lane::Process, &self.rec.transcode, &rec.transcode),
            (Lane::Deliver, &self.rec.push, &rec.push),
        ];
        for (lane, old, new) in steps {
            let failed = old.error.as_ref().filter(|_| new.made < old.made);
            if failed.is_some_and(|error| error.sentence.contains("times in a row")) {
                law.forget_failure(lane, new.made, new.error.as_ref().map(|error| error.at));
            }
        }
        let mut rec = rec;
        // An attempt that ran when the old ledger was lost is begun again, and is the same one.
        rec.transcode.running |= self.rec.transcode.running && rec.state == State::Processing;
        rec.push.running |= self.rec.push.running && rec.state == State::Delivering;
        self.rec = rec;
    }
}

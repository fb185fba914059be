//! Fewer frames a second: which to leave out. Those that stay keep their times.

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;

use super::Shared;
use crate::stream::running_ns;

/// Lets frames through until there are more than so many a second.
struct Gate {
    step_ns: i64,
    due_ns: Option<i64>,
}

impl Gate {
    fn new(fps: u32) -> Self {
        Self { step_ns: 1_000_000_000 / i64::from(fps.max(1)), due_ns: None }
    }

    /// Whether a frame at this time stays. Containers round times, so a little early is in time.
    fn takes(&mut self, at_ns: i64) -> bool {
        let due = self.due_ns.unwrap_or(at_ns);
        if at_ns + self.step_ns / 4 < due {
            return false;
        }
        // On the beat while frames keep up with it; after a pause it begins anew.
        let beat = if at_ns - due > self.step_ns { at_ns } else { due };
        self.due_ns = Some(beat + self.step_ns);
        true
    }
}

/// Leaves frames out on a pad that has decoded ones.
pub(super) fn limit(pad: &gst::Pad, fps: u32, shared: &Arc<Shared>) {
    let gate = Mutex::new(Gate::new(fps));
    let shared = Arc::clone(shared);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        let at = segment
            .zip(info.buffer())
            .and_then(|(segment, buffer)| running_ns(segment.segment(), buffer.pts()));
        shared.activity.saw(None);
        let taken = at.is_none_or(|at| gate.lock().is_ok_and(|mut gate| gate.takes(at)));
        // Not Drop: GStreamer 1.22 prints a critical for each buffer dropped so.
        if taken { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Handled }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(times_ms: impl Iterator<Item = i64>, fps: u32) -> Vec<i64> {
        let mut gate = Gate::new(fps);
        times_ms.filter(|&ms| gate.takes(ms * 1_000_000)).collect()
    }

    #[test]
    fn every_second_frame_of_twice_the_rate() {
        assert_eq!(kept((0..8).map(|i| i * 1000 / 60), 30), [0, 33, 66, 100]);
    }

    #[test]
    fn the_same_rate_loses_nothing_to_rounding() {
        assert_eq!(kept((0..300).map(|i| i * 1000 / 30), 30).len(), 300);
    }

    #[test]
    fn rates_that_do_not_divide_each_other() {
        let n = kept((0..300).map(|i| i * 1000 / 30), 25).len();
        assert!((250..=251).contains(&n), "{n}");
    }

    #[test]
    fn a_pause_gives_no_credit() {
        let times = (0..10).map(|i| i * 20).chain((0..10).map(|i| 5000 + i * 20));
        let kept = kept(times, 10);
        assert_eq!(kept, [0, 80, 180, 5000, 5080, 5180]);
    }
}

//! Times of decoded frames where the recording gives one to a few of them only.
//!
//! MPEG program streams and AVI do so. Decoders guess the rest and, where frames are reordered,
//! give several the same time; encoders then lose all but one. Frames leave a decoder in the order
//! they show and such recordings have a fixed rate, so frames are counted, and the decoder's word
//! is taken only where it differs for long.

use gst::prelude::*;
use gstreamer as gst;

/// Frames that have to differ before counting gives in: longer than any group is reordered.
const LASTING: u32 = 16;
const JUMP_NS: i64 = 1_000_000_000;
/// A decoder that is told when packets are decoded, not when they show (AVI with reordered frames), is
/// behind for good, by as many frames as are reordered.
const BEHIND: i64 = 4;

/// Counts one stream's frames.
struct Pace {
    step_ns: i64,
    next_ns: Option<i64>,
    differing: u32,
}

impl Pace {
    fn time(&mut self, told_ns: Option<i64>) -> i64 {
        let next = self.next_ns.or(told_ns).unwrap_or(0);
        let ahead = told_ns.map_or(0, |told| told - next);
        let differs = ahead > self.step_ns / 2 || ahead < -BEHIND * self.step_ns;
        self.differing = if differs { self.differing + 1 } else { 0 };
        let mut at = next;
        if self.differing > LASTING || ahead > JUMP_NS {
            self.differing = 0;
            // Never back: half a step at a time lets the others catch up.
            at += ahead.max(-self.step_ns / 2);
        }
        self.next_ns = Some(at + self.step_ns);
        at
    }
}

/// Gives every frame that passes a decoder's pad its own time, `step_ns` apart.
pub(super) fn count(pad: &gst::Pad, step_ns: i64) {
    let pace = std::sync::Mutex::new(Pace { step_ns, next_ns: None, differing: 0 });
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let (Ok(mut pace), Some(buffer)) = (pace.lock(), info.buffer_mut()) {
            let told = buffer.pts().and_then(|t| i64::try_from(t.nseconds()).ok());
            let at = pace.time(told).max(0) as u64;
            buffer.make_mut().set_pts(gst::ClockTime::from_nseconds(at));
        }
        gst::PadProbeReturn::Ok
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(told: &[Option<i64>]) -> Vec<i64> {
        let mut pace = Pace { step_ns: 40, next_ns: None, differing: 0 };
        told.iter().map(|&t| pace.time(t)).collect()
    }

    #[test]
    fn guesses_are_evened_out() {
        let told = [Some(40), Some(80), Some(200), Some(200), None, Some(240)];
        assert_eq!(times(&told), [40, 80, 120, 160, 200, 240]);
    }

    #[test]
    fn what_lasts_is_believed() {
        let late: Vec<_> = (0..40).map(|i| Some(i * 40 + if i < 5 { 0 } else { 200 })).collect();
        let have = times(&late);
        assert_eq!(have[10], 400);
        assert_eq!(have[39], 39 * 40 + 200);
        let jump = times(&[Some(0), Some(40), Some(40 + JUMP_NS + 41)]);
        assert_eq!(jump[2], 40 + JUMP_NS + 41);
    }

    #[test]
    fn what_is_behind_by_the_frames_that_are_reordered_is_not_believed() {
        let behind: Vec<_> = (0..100).map(|i| Some(if i < 8 { i } else { i - 2 } * 40)).collect();
        assert_eq!(times(&behind)[99], 99 * 40);
    }

    #[test]
    fn times_only_rise() {
        let early: Vec<_> = (0..200).map(|i| Some(i * 20)).collect();
        assert!(times(&early).windows(2).all(|w| w[1] > w[0]));
    }
}

//! Whether frames are at even distances, told while they pass by, in whatever order they come.
//!
//! A step fits while every frame lies within a quarter of it of its place, counted from the first: the
//! container's rounding does, other steps from some frame on do not. So each frame bounds the steps
//! that fit from both sides, and nothing has to be kept of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Packets that a frame may come early or late in the order of decoding; H.264 has 16.
const REORDER: usize = 32;
/// Frames in a thousand seconds that count as a rate: one to 240 a second.
const MFPS: std::ops::RangeInclusive<u32> = 1000..=240_000;

/// Even distances.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Even {
    /// Frames in a thousand seconds.
    pub(crate) mfps: u32,
    least_ns: f64,
    most_ns: f64,
}

impl Even {
    /// Whether the frames lie at this rate as well, which is the same but for rounding.
    pub(crate) fn is_at(self, mfps: u32) -> bool {
        let same = u64::from(self.mfps.abs_diff(mfps)) * 5000 <= u64::from(self.mfps.max(mfps));
        same && MFPS.contains(&mfps) && self.fits(mfps)
    }

    fn fits(self, mfps: u32) -> bool {
        (self.least_ns..=self.most_ns).contains(&(1e12 / f64::from(mfps)))
    }
}

/// The distances of frames seen so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps {
    coming: BinaryHeap<Reverse<i64>>,
    line: Line,
}

/// Frames in showing order.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    first_ns: i64,
    last_ns: i64,
    count: u32,
    least_ns: f64,
    most_ns: f64,
}

impl Line {
    fn add(&mut self, at_ns: i64) {
        if self.count == 0 {
            (self.first_ns, self.most_ns) = (at_ns, f64::INFINITY);
        } else {
            let (way, number) = ((at_ns - self.first_ns) as f64, f64::from(self.count));
            self.least_ns = self.least_ns.max(way / (number + 0.25));
            self.most_ns = self.most_ns.min(way / (number - 0.25));
        }
        self.last_ns = at_ns;
        self.count = self.count.saturating_add(1);
    }
}

impl Steps {
    /// Sees a frame's showing time.
    pub(crate) fn add(&mut self, at_ns: i64) {
        self.coming.push(Reverse(at_ns));
        if self.coming.len() > REORDER
            && let Some(Reverse(at)) = self.coming.pop()
        {
            self.line.add(at);
        }
    }

    /// The rate, where there is one that every frame keeps to.
    pub(crate) fn even(&self) -> Option<Even> {
        let mut line = self.line;
        let mut coming = self.coming.clone();
        while let Some(Reverse(at)) = coming.pop() {
            line.add(at);
        }
        let (span, steps) = (i128::from(line.last_ns - line.first_ns), i128::from(line.count) - 1);
        if steps < 1 || span <= 0 {
            return None;
        }
        let mfps = u32::try_from((steps * 1_000_000_000_000 + span / 2) / span).ok()?;
        let even = Even { mfps, least_ns: line.least_ns, most_ns: line.most_ns };
        even.is_at(mfps).then_some(even)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Frames in milliseconds, as they come.
    fn rate(times_ms: impl IntoIterator<Item = i64>) -> Option<u32> {
        of(times_ms.into_iter().map(|ms| ms * 1_000_000)).map(|even| even.mfps)
    }

    fn of(times_ns: impl IntoIterator<Item = i64>) -> Option<Even> {
        let mut steps = Steps::default();
        times_ns.into_iter().for_each(|ns| steps.add(ns));
        steps.even()
    }

    /// A thousand frames at this rate.
    pub(crate) fn exactly(mfps: u32) -> Even {
        of((0..1000).map(|i| i * 1_000_000_000_000 / i64::from(mfps))).unwrap()
    }

    #[test]
    fn even_distances_are_known_behind_rounding() {
        assert_eq!(rate((0..31).map(|i| (i * 1000 + 15) / 30)), Some(30_000));
        assert_eq!(rate((0..31).map(|i| i * 40)), Some(25_000));
        assert_eq!(rate((0..31).map(|i| i * 40 + i / 30 * 40)), None);
        assert_eq!(rate((0..10_000).map(|i| 5 + (i * 1000 + 30) / 60)), Some(60_000));
        assert_eq!(rate((0..3001).map(|i| (i * 1000 + 120) / 240)), Some(240_000));
        assert_eq!(rate([0]), None);
        assert_eq!(rate([]), None);
        assert_eq!(rate([7, 7, 7]), None);
    }

    #[test]
    fn steps_that_differ_little_but_add_up_are_not_even() {
        let change = |i: i64| if i < 1200 { i * 16 } else { 1200 * 16 + (i - 1200) * 17 };
        assert_eq!(rate((0..2400).map(change)), None);
        assert_eq!(rate((0..1200).map(change)), Some(62_500));
    }

    #[test]
    fn frames_in_another_order_are_put_right() {
        // I B B P, without times of decoding.
        let order = |i: i64| match i % 4 {
            1 => i + 2,
            2 | 3 => i - 1,
            _ => i,
        };
        assert_eq!(rate((0..400).map(|i| order(i) * 40)), Some(25_000));
    }

    #[test]
    fn rates_that_no_clock_of_whole_frames_can_have() {
        assert_eq!(rate((0..100).map(|i| i * 1000)), Some(1000));
        for step_ms in [1100, 3000, 30_000, 3_000_000] {
            assert_eq!(rate((0..100).map(|i| i * step_ms)), None, "{step_ms} ms");
        }
        assert_eq!(rate(0..1000), None);
    }

    #[test]
    fn another_rate_fits_where_every_frame_stays_in_its_place() {
        // Two seconds, and an hour, of a rate that differs by a ten-thousandth.
        let times = |count: i64| (0..count).map(|i| i * 33_336_667);
        assert!(of(times(60)).unwrap().is_at(30_000));
        assert!(!of(times(108_000)).unwrap().is_at(30_000));
        assert!(!exactly(29_970).is_at(30_000) && exactly(29_970).is_at(29_970));
    }
}

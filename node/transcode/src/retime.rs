//! Puts decoded sound on the recording's own line: by counting samples, not by believing times.
//!
//! Browsers stamp packets with the moment they arrived, so times jitter, drift against the count
//! of samples, and sometimes jump because sound really is missing. Three cases, told apart by
//! looking [`LOOKAHEAD_NS`] ahead:
//!
//! * every coming block is late by [`GAP_NS`] or more: sound is missing; silence is put in;
//! * every coming block is early by as much: sound is there twice; the surplus is dropped;
//! * the blocks drift: the sound is stretched by at most 1/[`SLEW`] (8 cents, not heard) until it
//!   is back in step.
//!
//! So a single late packet changes nothing, and the film's end is in sync as its start is.
//! Samples are interleaved, 16-bit or float; a frame is one sample of every channel.

use std::collections::VecDeque;

/// How far ahead to look before deciding.
pub(crate) const LOOKAHEAD_NS: i64 = 400_000_000;
/// A jump of at least this is a gap.
pub(crate) const GAP_NS: i64 = 40_000_000;
/// Largest share of a block that is stretched away.
const SLEW: i64 = 200;
const DRIFT_START_NS: i64 = 6_000_000;
const DRIFT_STOP_NS: i64 = 1_000_000;
const SILENCE_BLOCK_FRAMES: i64 = 48_000;

/// What a sample is.
pub(crate) trait Sample: Copy + Default + Send + 'static {
    /// GStreamer's name of the format.
    const FORMAT: &'static str;
    /// Bytes of one.
    const BYTES: usize;
    /// From its bytes.
    fn read(bytes: &[u8]) -> Self;
    /// Its bytes.
    fn write(self, bytes: &mut Vec<u8>);
    /// From -1 to 1.
    fn loudness(self) -> f32;
    /// Between two, by a share of the way.
    fn between(a: Self, b: Self, share: f64) -> Self;
}

impl Sample for i16 {
    const FORMAT: &'static str = "S16LE";
    const BYTES: usize = 2;

    fn read(bytes: &[u8]) -> Self {
        bytes.try_into().map(Self::from_le_bytes).unwrap_or_default()
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn loudness(self) -> f32 {
        f32::from(self) / 32_768.0
    }

    fn between(a: Self, b: Self, share: f64) -> Self {
        let (a, b) = (f64::from(a), f64::from(b));
        (a + (b - a) * share).round() as Self
    }
}

impl Sample for f32 {
    const FORMAT: &'static str = "F32LE";
    const BYTES: usize = 4;

    fn read(bytes: &[u8]) -> Self {
        bytes.try_into().map(Self::from_le_bytes).unwrap_or_default()
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }

    fn loudness(self) -> f32 {
        self
    }

    fn between(a: Self, b: Self, share: f64) -> Self {
        (f64::from(a) + f64::from(b - a) * share) as Self
    }
}

#[derive(Debug)]
struct Block<S> {
    /// Its time minus the time that the count of samples before it gives.
    offset: i64,
    samples: Vec<S>,
}

/// What was done to the sound, in frames.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mended {
    /// Silence put in.
    pub(crate) silence: i64,
    /// Gaps filled.
    pub(crate) gaps: u32,
    /// Surplus dropped.
    pub(crate) dropped: i64,
}

/// Retimes one stream of sound. All its numbers are frames.
#[derive(Debug)]
pub(crate) struct Retimer<S> {
    channels: usize,
    rate_hz: i64,
    first: Option<i64>,
    counted: i64,
    corrected: i64,
    slewing: bool,
    drop: i64,
    ahead: VecDeque<Block<S>>,
    ahead_frames: i64,
    mended: Mended,
    emitted: i64,
}

impl<S: Sample> Retimer<S> {
    /// For sound of so many channels and samples per second.
    pub(crate) fn new(channels: usize, rate_hz: u32) -> Self {
        Self {
            channels: channels.max(1),
            rate_hz: i64::from(rate_hz.max(1)),
            first: None,
            counted: 0,
            corrected: 0,
            slewing: false,
            drop: 0,
            ahead: VecDeque::new(),
            ahead_frames: 0,
            mended: Mended::default(),
            emitted: 0,
        }
    }

    /// Time of the first sample, in nanoseconds, once there is one.
    pub(crate) fn first_ns(&self) -> Option<i64> {
        self.first.map(|f| f * 1_000_000_000 / self.rate_hz)
    }

    /// Frames given out so far.
    pub(crate) fn emitted(&self) -> i64 {
        self.emitted
    }

    /// What was done so far.
    pub(crate) fn mended(&self) -> Mended {
        self.mended
    }

    /// Takes a block with its time, if it has one; gives out what is decided.
    pub(crate) fn push(
        &mut self,
        pts_ns: Option<i64>,
        samples: Vec<S>,
        out: &mut dyn FnMut(Vec<S>),
    ) {
        let frames = (samples.len() / self.channels) as i64;
        if frames == 0 {
            return;
        }
        let count = self.counted;
        let offset = match pts_ns.map(|ns| self.frames(ns)) {
            Some(pts) => pts - *self.first.get_or_insert(pts) - count,
            None => self.ahead.back().map_or(self.corrected, |b| b.offset),
        };
        self.first.get_or_insert(0);
        self.counted += frames;
        self.ahead_frames += frames;
        self.ahead.push_back(Block { offset, samples });
        while self.ahead_frames > self.frames(LOOKAHEAD_NS) && self.ahead.len() > 1 {
            self.decide(out);
        }
    }

    /// Gives out the rest.
    pub(crate) fn finish(&mut self, out: &mut dyn FnMut(Vec<S>)) {
        while !self.ahead.is_empty() {
            self.decide(out);
        }
    }

    fn frames(&self, ns: i64) -> i64 {
        (i128::from(ns) * i128::from(self.rate_hz) / 1_000_000_000) as i64
    }

    fn decide(&mut self, out: &mut dyn FnMut(Vec<S>)) {
        let offsets = || self.ahead.iter().map(|b| b.offset);
        let least = offsets().min().unwrap_or(0) - self.corrected;
        let most = offsets().max().unwrap_or(0) - self.corrected;
        let mean = offsets().sum::<i64>() / self.ahead.len().max(1) as i64 - self.corrected;
        // At the very end little is left to judge by: only a long jump counts as one.
        let sure = self.ahead_frames >= self.frames(LOOKAHEAD_NS / 2);
        let gap = self.frames(if sure { GAP_NS } else { LOOKAHEAD_NS / 2 });
        let Some(block) = self.ahead.pop_front() else { return };
        self.ahead_frames -= (block.samples.len() / self.channels) as i64;
        if least >= gap {
            self.corrected += least;
            self.mended.silence += least;
            self.mended.gaps += 1;
            self.silence(least, out);
            self.emit(block.samples, out);
        } else if most <= -gap {
            self.corrected += most;
            self.drop -= most;
            self.emit(block.samples, out);
        } else {
            self.stretch(mean, block.samples, out);
        }
    }

    fn stretch(&mut self, error: i64, samples: Vec<S>, out: &mut dyn FnMut(Vec<S>)) {
        let (start, stop) = (self.frames(DRIFT_START_NS), self.frames(DRIFT_STOP_NS));
        self.slewing = error.abs() > if self.slewing { stop } else { start };
        let frames = (samples.len() / self.channels) as i64;
        let most = frames / SLEW;
        let add = if self.slewing { error.clamp(-most, most) } else { 0 };
        self.corrected += add;
        let samples =
            if add == 0 { samples } else { resample(&samples, self.channels, frames + add) };
        self.emit(samples, out);
    }

    fn silence(&mut self, mut frames: i64, out: &mut dyn FnMut(Vec<S>)) {
        while frames > 0 {
            let n = frames.min(SILENCE_BLOCK_FRAMES);
            self.emitted += n;
            out(vec![S::default(); n as usize * self.channels]);
            frames -= n;
        }
    }

    fn emit(&mut self, mut samples: Vec<S>, out: &mut dyn FnMut(Vec<S>)) {
        let frames = (samples.len() / self.channels) as i64;
        let drop = self.drop.min(frames);
        if drop > 0 {
            samples.drain(..drop as usize * self.channels);
            self.drop -= drop;
            self.mended.dropped += drop;
        }
        if !samples.is_empty() {
            self.emitted += frames - drop;
            out(samples);
        }
    }
}

/// Stretches a block to another number of frames, by straight lines between samples.
fn resample<S: Sample>(samples: &[S], channels: usize, frames: i64) -> Vec<S> {
    let have = samples.len() / channels;
    let frames = frames.max(1) as usize;
    let mut out = Vec::with_capacity(frames * channels);
    for i in 0..frames {
        let at = i as f64 * have.saturating_sub(1) as f64 / frames.saturating_sub(1).max(1) as f64;
        let (left, share) = (at as usize, at.fract());
        let right = (left + 1).min(have - 1);
        for c in 0..channels {
            let (a, b) = (samples[left * channels + c], samples[right * channels + c]);
            out.push(S::between(a, b, share));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// Feeds 60 ms blocks at these times; gives frames out and what was done.
    fn run(times_ms: impl Iterator<Item = i64>) -> (i64, Mended) {
        let mut r = Retimer::new(1, 48_000);
        let mut frames = 0;
        for t in times_ms {
            r.push(Some(t * MS), vec![1i16; 2880], &mut |s| frames += s.len() as i64);
        }
        r.finish(&mut |s| frames += s.len() as i64);
        assert_eq!(frames, r.emitted());
        (frames, r.mended())
    }

    #[test]
    fn steady_sound_is_left_alone() {
        let (frames, mended) = run((0..100).map(|i| i * 60));
        assert_eq!((frames, mended), (288_000, Mended::default()));
    }

    #[test]
    fn jitter_neither_lengthens_nor_drops() {
        let (frames, mended) =
            run((0..1000).map(|i| i * 60 + [0, 30, 5, 90, 0, 12][i as usize % 6]));
        assert_eq!(mended, Mended::default());
        assert!((frames - 2_880_000).abs() < 48_000 / 20, "{frames}");
    }

    #[test]
    fn a_real_gap_is_filled_once() {
        let (frames, mended) = run((0..100).map(|i| i * 60 + if i >= 50 { 2000 } else { 0 }));
        assert_eq!((mended.gaps, mended.dropped), (1, 0));
        assert!((frames - (288_000 + 96_000)).abs() < 300, "{frames}");
    }

    #[test]
    fn slow_drift_ends_in_step() {
        // 3 per mille: a browser that loses 10 ms now and then.
        let (frames, mended) = run((0..1000).map(|i| i * 60 + i * 18 / 100));
        assert_eq!(mended, Mended::default());
        let end = (999 * 60 + 999 * 18 / 100 + 60) * 48;
        assert!((frames - end).abs() < 48 * 20, "{frames} {end}");
    }

    #[test]
    fn doubled_sound_is_dropped() {
        let (frames, mended) = run((0..100).map(|i| if i >= 50 { i * 60 - 300 } else { i * 60 }));
        assert!(mended.dropped > 0 && mended.gaps == 0);
        assert!((frames - (288_000 - 14_400)).abs() < 300, "{frames}");
    }
}

//! Gain, with true peaks held below a ceiling.
//!
//! The peak between samples is found by four times as many samples (ITU-R BS.1770-4, annex 2). The
//! gain goes down before a peak, over [`AHEAD_MS`], and comes back over [`RELEASE_MS`]: a ramp that is
//! the mean of lower gains never ends above what a peak allows. As many samples come out as went in.
//! Samples are interleaved; a frame is one sample of every channel.

use std::collections::VecDeque;

const AHEAD_MS: usize = 5;
const RELEASE_MS: f32 = 120.0;
const PHASES: usize = 4;
const TAPS: usize = 12;

/// One sound's gain and limiter.
#[derive(Debug)]
pub(crate) struct Limiter {
    channels: usize,
    gain: f32,
    ceiling: f32,
    filter: [[f32; TAPS]; PHASES],
    /// The last samples of each channel, newest last, for the filter.
    recent: Vec<VecDeque<f32>>,
    /// Frames that wait until what follows is known.
    waiting: VecDeque<f32>,
    ahead: usize,
    /// Gains that coming peaks allow, with their numbers; rising from the front.
    lowest: VecDeque<(usize, f32)>,
    seen: usize,
    released: f32,
    release: f32,
    ramp: VecDeque<f32>,
    ramp_sum: f64,
}

/// A ratio of amplitudes from decibels.
pub(crate) fn ratio(decibels: f64) -> f32 {
    10f64.powf(decibels / 20.0) as f32
}

/// A low-pass at a quarter of four times the rate, its taps by phase.
fn filter() -> [[f32; TAPS]; PHASES] {
    let mut phases = [[0.0; TAPS]; PHASES];
    let middle = (PHASES * TAPS) as f32 / 2.0;
    for (phase, taps) in phases.iter_mut().enumerate() {
        for (i, tap) in taps.iter_mut().enumerate() {
            let x = (i * PHASES + phase) as f32 - middle;
            let angle = std::f32::consts::PI * x / PHASES as f32;
            let sinc = if x == 0.0 { 1.0 } else { angle.sin() / angle };
            let window = 0.5 + 0.5 * (std::f32::consts::PI * x / middle).cos();
            *tap = sinc * window;
        }
        let sum: f32 = taps.iter().sum();
        taps.iter_mut().for_each(|t| *t /= sum);
    }
    phases
}

impl Limiter {
    /// For so many channels and samples a second; gain and ceiling in decibels.
    pub(crate) fn new(channels: usize, rate_hz: u32, gain_db: f64, ceiling_db: f64) -> Self {
        let channels = channels.max(1);
        let ahead = (rate_hz as usize * AHEAD_MS / 1000).max(TAPS * 2);
        Self {
            channels,
            gain: ratio(gain_db),
            ceiling: ratio(ceiling_db),
            filter: filter(),
            recent: vec![VecDeque::from(vec![0.0; TAPS]); channels],
            waiting: VecDeque::new(),
            ahead,
            lowest: VecDeque::new(),
            seen: 0,
            released: 1.0,
            release: 1.0 - (-1000.0 / (RELEASE_MS * rate_hz.max(1) as f32)).exp(),
            ramp: VecDeque::from(vec![1.0; ahead]),
            ramp_sum: ahead as f64,
        }
    }

    /// Takes samples; gives those out whose gain is known.
    pub(crate) fn push(&mut self, samples: &[f32]) -> Vec<f32> {
        let mut out = Vec::with_capacity(samples.len());
        for frame in samples.chunks_exact(self.channels) {
            self.frame(frame, &mut out);
        }
        out
    }

    /// Gives the rest out.
    pub(crate) fn finish(&mut self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.waiting.len());
        let silence = vec![0.0; self.channels];
        let left = self.waiting.len() / self.channels;
        for _ in 0..left {
            self.frame(&silence, &mut out);
        }
        out.truncate(left * self.channels);
        self.waiting.clear();
        out
    }

    fn frame(&mut self, frame: &[f32], out: &mut Vec<f32>) {
        let mut peak = 0f32;
        for (recent, &sample) in self.recent.iter_mut().zip(frame) {
            let sample = sample * self.gain;
            recent.pop_front();
            recent.push_back(sample);
            self.waiting.push_back(sample);
            peak = peak.max(true_peak(recent, &self.filter, self.ceiling));
        }
        let allowed = if peak > self.ceiling { self.ceiling / peak } else { 1.0 };
        while self.lowest.back().is_some_and(|&(_, gain)| gain >= allowed) {
            self.lowest.pop_back();
        }
        self.lowest.push_back((self.seen, allowed));
        // The filter sees a peak half its length late, so the window reaches back as far.
        let window = self.ahead + TAPS;
        while self.lowest.front().is_some_and(|&(at, _)| at + window <= self.seen) {
            self.lowest.pop_front();
        }
        self.seen += 1;
        let least = self.lowest.front().map_or(1.0, |&(_, gain)| gain);
        self.released = least.min(self.released + (1.0 - self.released) * self.release);
        let oldest = self.ramp.pop_front().unwrap_or(1.0);
        self.ramp.push_back(self.released);
        self.ramp_sum += f64::from(self.released) - f64::from(oldest);
        // Behind by the ramp and half the filter.
        if self.waiting.len() > (self.ahead + TAPS / 2) * self.channels {
            let gain = (self.ramp_sum / self.ahead as f64).min(1.0) as f32;
            for sample in self.waiting.drain(..self.channels) {
                out.push(sample * gain);
            }
        }
    }
}

/// The largest value between and at the newest samples; no closer look where nothing comes near.
fn true_peak(recent: &VecDeque<f32>, filter: &[[f32; TAPS]; PHASES], ceiling: f32) -> f32 {
    let plain = recent.iter().fold(0f32, |most, s| most.max(s.abs()));
    if plain < ceiling * 0.5 {
        return plain;
    }
    filter.iter().fold(0f32, |most, taps| {
        let value: f32 = taps.iter().zip(recent).map(|(t, s)| t * s).sum();
        most.max(value.abs())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 48_000;

    fn run(samples: &[f32], gain_db: f64) -> Vec<f32> {
        let mut limiter = Limiter::new(1, RATE, gain_db, -2.0);
        let mut out = Vec::new();
        for part in samples.chunks(1000) {
            out.extend(limiter.push(part));
        }
        out.extend(limiter.finish());
        out
    }

    fn peak_db(samples: &[f32]) -> f64 {
        let mut meter = ebur128::EbuR128::new(1, RATE, ebur128::Mode::TRUE_PEAK).unwrap();
        meter.add_frames_f32(samples).unwrap();
        20.0 * meter.true_peak(0).unwrap().log10()
    }

    #[test]
    fn quiet_sound_only_gets_its_gain() {
        let sine: Vec<f32> = (0..10_000).map(|i| (i as f32 * 0.05).sin() * 0.1).collect();
        let out = run(&sine, 6.0);
        assert_eq!(out.len(), sine.len());
        let worst = out.iter().zip(&sine).map(|(o, s)| (o - s * ratio(6.0)).abs());
        assert!(worst.fold(0f32, f32::max) < 1e-4);
    }

    #[test]
    fn peaks_between_samples_stay_below_the_ceiling() {
        // A quarter of the rate, at 45 degrees: its peaks are 3 dB above its samples.
        let sine: Vec<f32> = (0..48_000)
            .map(|i| {
                let loud = if (20_000..24_000).contains(&i) { 0.9 } else { 0.05 };
                (std::f32::consts::FRAC_PI_4 + i as f32 * std::f32::consts::FRAC_PI_2).sin() * loud
            })
            .collect();
        let out = run(&sine, 6.0);
        assert_eq!(out.len(), sine.len());
        let peak = peak_db(&out);
        assert!(peak < -1.8, "{peak}");
        // What is not near the loud part keeps its gain.
        let (o, s) = (out[1000], sine[1000]);
        assert!((o / s / ratio(6.0) - 1.0).abs() < 0.01, "{o} {s}");
    }

    #[test]
    fn clicks_and_noise_stay_below_the_ceiling() {
        let mut seed = 7u64;
        let noise: Vec<f32> = (0..48_000)
            .map(|i| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let n = (seed >> 40) as f32 / 8_388_608.0 - 1.0;
                if i % 7001 == 0 { n.signum() } else { n * 0.3 }
            })
            .collect();
        let peak = peak_db(&run(&noise, 12.0));
        assert!(peak < -1.5, "{peak}");
    }
}

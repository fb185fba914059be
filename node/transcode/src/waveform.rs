//! The snapshot of a recording that is sound only: its loudness over time, as bars.
//!
//! Each bar stands for an equal part of the time: pale to its highest sample, bright to its mean
//! energy. The highest bar fills the picture, unless the recording is all but silent, so that a quiet
//! voice has a shape too.
//!
//! How long it is may be known only at its end. So sound is collected in cells of equal length, first short
//! ones; where they become too many, each two become one. What comes of it depends on the sound alone.

use std::fs::File;

use holdfast_core::job::{MadePicture, SNAPSHOT_NAME};

use crate::error::Error;
use crate::pictures::Rgb;

const WIDTH: u32 = 1280;
/// Width to height.
const SHAPE: u32 = 4;
const BARS: usize = 160;
/// Peaks below this (-40 dBFS) do not fill the picture.
const LEAST_PEAK: f32 = 0.01;
/// Ears hear less of a difference than amplitudes have.
const CURVE: f32 = 0.6;
const BACKGROUND: [f32; 3] = [15.0, 23.0, 42.0];
const PALE: [f32; 3] = [51.0, 92.0, 148.0];
const BRIGHT: [f32; 3] = [125.0, 190.0, 255.0];

/// The first cells' length, in nanoseconds.
const CELL_NS: f64 = 1e6;
/// Most cells: at least fifty for each bar, once they became longer.
const CELLS_MAX: usize = 1 << 14;

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    peak: f32,
    energy: f64,
    samples: u64,
}

impl Part {
    fn add(&mut self, other: Self) {
        self.peak = self.peak.max(other.peak);
        self.energy += other.energy;
        self.samples += other.samples;
    }
}

/// Collects the sound of a recording.
#[derive(Debug)]
pub(crate) struct Waveform {
    cells: Vec<Part>,
    cell_ns: f64,
    next_ns: f64,
}

impl Waveform {
    /// Of a recording of which nothing was heard.
    pub(crate) fn new() -> Self {
        Self { cells: Vec::new(), cell_ns: CELL_NS, next_ns: 0.0 }
    }

    /// The cell of a time.
    fn cell(&mut self, at_ns: f64) -> &mut Part {
        while at_ns >= self.cell_ns * CELLS_MAX as f64 {
            let pairs = self.cells.chunks(2);
            self.cells = pairs
                .map(|pair| {
                    let mut both = pair[0];
                    pair[1..].iter().for_each(|part| both.add(*part));
                    both
                })
                .collect();
            self.cell_ns *= 2.0;
        }
        let number = (at_ns.max(0.0) / self.cell_ns) as usize;
        if self.cells.len() <= number {
            self.cells.resize(number + 1, Part::default());
        }
        &mut self.cells[number]
    }

    /// The bars of a recording of such a length: to each what is heard in the middles of its cells.
    fn bars(&self, duration_ns: i64) -> Vec<Part> {
        let mut bars = vec![Part::default(); BARS];
        for (number, part) in self.cells.iter().enumerate() {
            let at = (number as f64 + 0.5) * self.cell_ns;
            let bar = at / duration_ns.max(1) as f64 * BARS as f64;
            bars[(bar as usize).min(BARS - 1)].add(*part);
        }
        bars
    }

    /// Hears samples (-1 to 1, interleaved) from a time on, or from where it stopped.
    pub(crate) fn hear(
        &mut self,
        from_ns: Option<i64>,
        samples: impl Iterator<Item = f32>,
        channels: u32,
        rate_hz: u32,
    ) {
        let step = 1e9 / f64::from(rate_hz.max(1)) / f64::from(channels.max(1));
        let from = from_ns.map_or(self.next_ns, |ns| ns as f64);
        for (i, sample) in samples.enumerate() {
            let at = from + i as f64 * step;
            self.next_ns = at + step;
            let (peak, energy) = (sample.abs(), f64::from(sample * sample));
            self.cell(at).add(Part { peak, energy, samples: 1 });
        }
    }

    /// Draws and writes it, of a recording of such a length; `None` if nothing was heard.
    pub(crate) fn write(
        &self,
        duration_ns: i64,
        max_width: Option<u32>,
        quality: u8,
        file: &File,
    ) -> Result<Option<MadePicture>, Error> {
        let bars = self.bars(duration_ns);
        if bars.iter().all(|b| b.samples == 0) {
            return Ok(None);
        }
        let width = WIDTH.min(max_width.unwrap_or(WIDTH));
        draw(&bars, width, (width / SHAPE).max(1))
            .write_jpeg(file, quality, SNAPSHOT_NAME)
            .map(Some)
    }
}

fn draw(bars: &[Part], width: u32, height: u32) -> Rgb {
    let most = bars.iter().fold(LEAST_PEAK, |most, b| most.max(b.peak));
    let (w, h) = (width as f32, height as f32);
    let pitch = w / BARS as f32;
    let radius = pitch * 0.32;
    let reach = h * 0.42 - radius;
    let tall = |value: f32| (value / most).clamp(0.0, 1.0).powf(CURVE) * reach;
    let mut data = Vec::with_capacity(width as usize * height as usize * 3);
    for y in 0..height {
        for x in 0..width {
            let (x, y) = (x as f32 + 0.5, (y as f32 + 0.5 - h / 2.0).abs());
            let number = ((x / pitch) as usize).min(BARS - 1);
            let bar = bars[number];
            let mean = (bar.energy / bar.samples.max(1) as f64).sqrt() as f32;
            let beside = (x - (number as f32 + 0.5) * pitch).abs();
            // How much of the pixel lies within a bar with round ends.
            let within = |half: f32| {
                let above = (y - half).max(0.0);
                (radius + 0.5 - beside.hypot(above)).clamp(0.0, 1.0)
            };
            let (pale, bright) = (within(tall(bar.peak)), within(tall(mean)));
            for c in 0..3 {
                let under = BACKGROUND[c] + (PALE[c] - BACKGROUND[c]) * pale;
                data.push((under + (BRIGHT[c] - under) * bright).round() as u8);
            }
        }
    }
    Rgb { width, height, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loud_parts_stand_higher() {
        let mut w = Waveform::new();
        for part in 0..20i64 {
            let loud = if part < 10 { 0.02 } else { 0.8 };
            let samples = (0..4800).map(|i| (i as f32 * 0.1).sin() * loud);
            w.hear(Some(part * 100_000_000), samples, 1, 48_000);
        }
        let picture = draw(&w.bars(2_000_000_000), 320, 80);
        let lit = |x: usize| (0..80).filter(|y| picture.data[(y * 320 + x) * 3 + 2] > 60).count();
        // In the middle of a bar of each half.
        assert!(lit(81) > 2 && lit(81) < 20, "{}", lit(81));
        assert!(lit(241) > 55, "{}", lit(241));
    }

    #[test]
    fn a_long_recording_takes_no_more_room_and_every_sample_counts() {
        let mut w = Waveform::new();
        // Three hours of a sample every 10 ms, ever louder; one before the beginning, one far behind.
        let samples: u64 = 3 * 3600 * 100;
        for i in 0..samples {
            let loud = i as f32 / samples as f32;
            w.hear(Some(i as i64 * 10_000_000), std::iter::once(loud), 1, 100);
            assert!(w.cells.len() <= CELLS_MAX);
        }
        w.hear(Some(-5), std::iter::once(0.0), 1, 100);
        let bars = w.bars(3 * 3600 * 1_000_000_000);
        assert_eq!(bars.iter().map(|bar| bar.samples).sum::<u64>(), samples + 1);
        for (i, bar) in bars.iter().enumerate() {
            let wanted = (i + 1) as f32 / BARS as f32;
            assert!((bar.peak - wanted).abs() < 0.001, "{i}: {}", bar.peak);
        }
        w.hear(Some(i64::MAX), std::iter::once(1.0), 1, 100);
        assert!(w.cells.len() <= CELLS_MAX);
    }
}

//! The snapshot of a recording that is sound only: its loudness over time, as bars.
//!
//! Each bar stands for an equal part of the time: pale to its highest sample, bright to its mean
//! energy. The highest bar fills the picture, unless the recording is all but silent, so that a quiet
//! voice has a shape too.

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

#[derive(Debug, Clone, Copy, Default)]
struct Bar {
    peak: f32,
    energy: f64,
    samples: u64,
}

/// Collects the sound of a recording.
#[derive(Debug)]
pub(crate) struct Waveform {
    bars: Vec<Bar>,
    duration_ns: i64,
    next_ns: f64,
}

impl Waveform {
    /// For a recording of such a length.
    pub(crate) fn new(duration_ns: i64) -> Self {
        Self { bars: vec![Bar::default(); BARS], duration_ns: duration_ns.max(1), next_ns: 0.0 }
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
            let bar = (at / self.duration_ns as f64 * BARS as f64).clamp(0.0, BARS as f64 - 1.0);
            let bar = &mut self.bars[bar as usize];
            bar.peak = bar.peak.max(sample.abs());
            bar.energy += f64::from(sample * sample);
            bar.samples += 1;
        }
    }

    /// Draws and writes it; `None` if nothing was heard.
    pub(crate) fn write(
        &self,
        max_width: Option<u32>,
        quality: u8,
        file: &File,
    ) -> Result<Option<MadePicture>, Error> {
        if self.bars.iter().all(|b| b.samples == 0) {
            return Ok(None);
        }
        let width = WIDTH.min(max_width.unwrap_or(WIDTH));
        self.draw(width, (width / SHAPE).max(1)).write_jpeg(file, quality, SNAPSHOT_NAME).map(Some)
    }

    fn draw(&self, width: u32, height: u32) -> Rgb {
        let most = self.bars.iter().fold(LEAST_PEAK, |most, b| most.max(b.peak));
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
                let bar = self.bars[number];
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loud_parts_stand_higher() {
        let mut w = Waveform::new(2_000_000_000);
        for part in 0..20i64 {
            let loud = if part < 10 { 0.02 } else { 0.8 };
            let samples = (0..4800).map(|i| (i as f32 * 0.1).sin() * loud);
            w.hear(Some(part * 100_000_000), samples, 1, 48_000);
        }
        let picture = w.draw(320, 80);
        let lit = |x: usize| (0..80).filter(|y| picture.data[(y * 320 + x) * 3 + 2] > 60).count();
        // In the middle of a bar of each half.
        assert!(lit(81) > 2 && lit(81) < 20, "{}", lit(81));
        assert!(lit(241) > 55, "{}", lit(241));
    }
}

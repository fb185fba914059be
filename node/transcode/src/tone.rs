//! Pictures of high dynamic range as the .mp4 has them: BT.709, 8 bits.
//!
//! What is as bright as paper (203 cd/m², ITU-R BT.2408) stays nearly as bright as white; what is
//! brighter is bent down, hue kept, up to [`PEAK`] times that. All of it is put into a table once, over
//! luma and both chromas, and read with straight lines between its entries: a frame costs a few
//! multiplications a pixel.
//!
//! Sources: PQ and HLG, ITU-R BT.2100; from BT.2020's primaries to BT.709's, ITU-R BT.2087.

/// How a recording writes light down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    /// Perceptual quantizer (SMPTE ST 2084).
    Pq,
    /// Hybrid log-gamma.
    Hlg,
    /// BT.2020 as television has it: no more light, but other primaries.
    Television,
}

/// Brightest light that is told apart from brighter, in times of paper white: 1000 cd/m².
const PEAK: f32 = 1000.0 / 203.0;
/// Light up to here stays as it is, paper white being 1.
const KNEE: f32 = 0.6;
/// Entries of the table for luma and for each chroma, and how far they are apart, of 256. The middle,
/// where grey is, has an entry of its own.
const LUMA: usize = 65;
const LUMA_STEP: f32 = 4.0;
const CHROMA: usize = 33;
const CHROMA_STEP: f32 = 8.0;

/// From a recording's luma and chroma to the film's.
pub(crate) struct Table {
    luma: Vec<f32>,
    chroma: Vec<[f32; 2]>,
    bits: u32,
}

impl Curve {
    /// Light in times of paper white.
    fn light(self, [r, g, b]: [f32; 3]) -> [f32; 3] {
        match self {
            Self::Pq => [r, g, b].map(|v| {
                let v = v.clamp(0.0, 1.0).powf(1.0 / 78.843_75);
                let n = (v - 0.835_937_5).max(0.0) / (18.851_562 - 18.6875 * v);
                n.powf(1.0 / 0.159_301_76) * 10_000.0 / 203.0
            }),
            Self::Hlg => {
                let scene = [r, g, b].map(|v| {
                    let v = v.clamp(0.0, 1.0);
                    if v <= 0.5 {
                        v * v / 3.0
                    } else {
                        (((v - 0.559_910_7) / 0.178_832_77).exp() + 0.284_668_92) / 12.0
                    }
                });
                let y = 0.2627 * scene[0] + 0.678 * scene[1] + 0.0593 * scene[2];
                scene.map(|v| v * y.max(1e-6).powf(0.2) * PEAK)
            }
            Self::Television => [r, g, b].map(|v| v.clamp(0.0, 1.0).powf(2.4)),
        }
    }

    fn bends(self) -> bool {
        self != Self::Television
    }
}

/// Bends light above the knee down, so that the peak becomes 1.
fn bent(light: f32) -> f32 {
    if light <= KNEE {
        return light;
    }
    // A hyperbola that goes on in the knee's direction (Mobius).
    let a = -KNEE * KNEE * (PEAK - 1.0) / (KNEE * KNEE - 2.0 * KNEE + PEAK);
    let b = (KNEE * KNEE - 2.0 * KNEE * PEAK + PEAK) / (PEAK - 1.0);
    let light = light.min(PEAK);
    (b * b + 2.0 * b * KNEE + KNEE * KNEE) / (b - a) * (light + a) / (light + b)
}

/// Red, green and blue of BT.2020 luma and chroma (not constant luminance), all of 0 to 1 and ±0.5.
fn rgb([y, u, v]: [f32; 3]) -> [f32; 3] {
    let (r, b) = (y + 1.4746 * v, y + 1.8814 * u);
    [r, (y - 0.2627 * r - 0.0593 * b) / 0.678, b]
}

/// One colour: in and out 0 to 1, and ±0.5 for chroma.
fn mapped(curve: Curve, yuv: [f32; 3]) -> [f32; 3] {
    let [r, g, b] = curve.light(rgb(yuv));
    let light = [
        1.660_491 * r - 0.587_641_1 * g - 0.072_849_9 * b,
        -0.124_550_5 * r + 1.132_899_9 * g - 0.008_349_4 * b,
        -0.018_150_8 * r - 0.100_578_9 * g + 1.118_729_7 * b,
    ]
    .map(|v| v.max(0.0));
    let most = light.iter().fold(0f32, |m, &v| m.max(v));
    let share = if curve.bends() && most > 0.0 { bent(most) / most } else { 1.0 };
    let [r, g, b] = light.map(|v| (v * share).min(1.0).powf(1.0 / 2.4));
    let y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    [y, (b - y) / 1.8556, (r - y) / 1.5748]
}

impl Table {
    /// For so many bits a sample; `full`: they use their full range.
    pub(crate) fn new(curve: Curve, bits: u32, full: bool) -> Self {
        let mut luma = Vec::with_capacity(LUMA * CHROMA * CHROMA);
        let mut chroma = Vec::with_capacity(LUMA * CHROMA * CHROMA);
        for v in 0..CHROMA {
            for u in 0..CHROMA {
                for y in 0..LUMA {
                    let y = y as f32 * LUMA_STEP;
                    let (u, v) = (u as f32 * CHROMA_STEP, v as f32 * CHROMA_STEP);
                    let yuv = if full {
                        [y / 255.0, (u - 128.0) / 255.0, (v - 128.0) / 255.0]
                    } else {
                        [(y - 16.0) / 219.0, (u - 128.0) / 224.0, (v - 128.0) / 224.0]
                    };
                    let [y, u, v] = mapped(curve, yuv);
                    luma.push(y * 219.0 + 16.0);
                    chroma.push([u * 224.0 + 128.0, v * 224.0 + 128.0]);
                }
            }
        }
        Self { luma, chroma, bits }
    }

    /// Where a sample lies in the table: the entry below it, and how far beyond.
    fn place(&self, sample: u16, step: f32, entries: usize) -> (usize, f32) {
        let at = f32::from(sample) / ((1u32 << (self.bits - 8)) as f32 * step);
        let below = (at as usize).min(entries - 2);
        (below, (at - below as f32).min(1.0))
    }

    /// The columns around two chromas, by their first entry, with their weights.
    fn around(&self, u: u16, v: u16) -> [(usize, f32); 4] {
        let place = |sample| self.place(sample, CHROMA_STEP, CHROMA);
        let ((u, du), (v, dv)) = (place(u), place(v));
        let first = (v * CHROMA + u) * LUMA;
        [
            (first, (1.0 - du) * (1.0 - dv)),
            (first + LUMA, du * (1.0 - dv)),
            (first + CHROMA * LUMA, (1.0 - du) * dv),
            (first + (CHROMA + 1) * LUMA, du * dv),
        ]
    }

    /// Four lumas with their chromas, of which there is one each: the film's.
    pub(crate) fn block(&self, lumas: [u16; 4], u: u16, v: u16) -> ([u8; 4], u8, u8) {
        let around = self.around(u, v);
        let byte = |value: f32| (value + 0.5) as u8;
        let columns = around.map(|(at, weight)| (&self.luma[at..at + LUMA], weight));
        let luma = lumas.map(|l| {
            let (step, share) = self.place(l, LUMA_STEP, LUMA);
            let mut sum = 0.0;
            for (column, weight) in columns {
                sum += weight * (column[step] + (column[step + 1] - column[step]) * share);
            }
            byte(sum)
        });
        let mean = (lumas.iter().map(|&l| u32::from(l)).sum::<u32>() / 4) as u16;
        let (step, share) = self.place(mean, LUMA_STEP, LUMA);
        let (mut u, mut v) = (0.0, 0.0);
        for (at, weight) in around {
            let (a, b) = (self.chroma[at + step], self.chroma[at + step + 1]);
            u += weight * (a[0] + (b[0] - a[0]) * share);
            v += weight * (a[1] + (b[1] - a[1]) * share);
        }
        (luma, byte(u), byte(v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn light_is_what_the_standards_say() {
        let near = |a: f32, b: f32| (a - b).abs() < 0.01 * b.max(1.0);
        // 58 % is 203 cd/m² in PQ, 75 % of HLG is paper white, 100 % is 1000 cd/m².
        assert!(near(Curve::Pq.light([0.5807; 3])[0], 1.0));
        assert!(near(Curve::Hlg.light([0.75; 3])[0], 1.0));
        assert!(near(Curve::Hlg.light([1.0; 3])[0], PEAK));
        assert!(near(Curve::Pq.light([1.0; 3])[0], 10_000.0 / 203.0));
    }

    #[test]
    fn bending_rises_from_the_knee_to_white() {
        assert!((bent(KNEE) - KNEE).abs() < 1e-6 && (bent(PEAK) - 1.0).abs() < 1e-4);
        assert!((0..500).all(|i| bent(i as f32 / 100.0) <= bent((i + 1) as f32 / 100.0)));
        assert!((0.75..0.95).contains(&bent(1.0)), "{}", bent(1.0));
    }

    #[test]
    fn grey_stays_grey() {
        let table = Table::new(Curve::Pq, 10, false);
        for y in [64, 200, 400, 573, 700, 940] {
            let (luma, u, v) = table.block([y; 4], 512, 512);
            assert!(u.abs_diff(128) <= 1 && v.abs_diff(128) <= 1, "{y}: {u} {v}");
            assert!(luma[0] >= 15 && luma[0] <= 236, "{luma:?}");
        }
        let (black, ..) = table.block([64; 4], 512, 512);
        let (white, ..) = table.block([723; 4], 512, 512);
        assert_eq!((black[0], white[0]), (16, 235));
    }
}

//! The clip that proofs are made with: a picture that moves and has colour, and what became of it.
//!
//! Without sharp edges, so that its half size is known without a scaler; with different planes, so that
//! swapped colours are seen.

use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;

/// Likeness of equal pictures, in decibels.
pub(super) const EQUAL_DB: f32 = 99.0;
const FRAME_MS: u64 = 33;

/// One picture: Y, U and V, rows without padding.
pub(super) type Planes = [Vec<u8>; 3];

/// A clip of I420.
#[derive(Debug, Clone)]
pub(super) struct Clip {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) frames: Vec<Planes>,
}

/// For each job: eight frames.
pub(super) fn short() -> Clip {
    clip(320, 192, 8)
}

/// For a device: enough to see its speed. Neither side is a multiple of 32, and the height is none of
/// 16, so that encoders have to cut off what they add.
pub(super) fn long() -> Clip {
    clip(656, 360, 30)
}

fn clip(width: u32, height: u32, frames: usize) -> Clip {
    Clip { width, height, frames: (0..frames).map(|i| picture(width, height, i)).collect() }
}

fn picture(width: u32, height: u32, i: usize) -> Planes {
    let (w, h) = (width as usize, height as usize);
    let wave = |x: usize| {
        let x = x % 256;
        (if x < 128 { x } else { 255 - x }) as u8
    };
    let plane = |w: usize, h: usize, at: &dyn Fn(usize, usize) -> u8| -> Vec<u8> {
        (0..w * h).map(|p| at(p % w, p / w)).collect()
    };
    [
        plane(w, h, &|x, y| 40 + wave(x + y + i * 4)),
        plane(w / 2, h / 2, &|x, _| 64 + (x * 128 / (w / 2)) as u8),
        plane(w / 2, h / 2, &|_, y| 64 + (y * 128 / (h / 2)) as u8),
    ]
}

impl Clip {
    pub(super) fn caps(&self) -> gst::Caps {
        gst::Caps::builder("video/x-raw")
            .field("format", "I420")
            .field("width", self.width as i32)
            .field("height", self.height as i32)
            .field("framerate", gst::Fraction::new(30, 1))
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .field("interlace-mode", "progressive")
            .field("colorimetry", "bt601")
            .build()
    }

    pub(super) fn buffers(&self) -> Vec<gst::Buffer> {
        let buffer = |(i, planes): (usize, &Planes)| {
            let mut buffer = gst::Buffer::from_mut_slice(planes.concat());
            if let Some(b) = buffer.get_mut() {
                b.set_pts(gst::ClockTime::from_mseconds(i as u64 * FRAME_MS));
                b.set_duration(gst::ClockTime::from_mseconds(FRAME_MS));
            }
            buffer
        };
        self.frames.iter().enumerate().map(buffer).collect()
    }

    /// Pixels of one frame.
    pub(super) fn pixels_of_a_frame(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }

    /// At half its size: each pixel the mean of four.
    pub(super) fn halved(&self) -> Self {
        let halve = |plane: &[u8], w: usize| -> Vec<u8> {
            let at = |x: usize, y: usize| u32::from(plane.get(y * w + x).copied().unwrap_or(0));
            let (hw, hh) = (w / 2, plane.len() / w / 2);
            (0..hw * hh)
                .map(|p| (p % hw * 2, p / hw * 2))
                .map(|(x, y)| (at(x, y) + at(x + 1, y) + at(x, y + 1) + at(x + 1, y + 1)) / 4)
                .map(|sum| sum as u8)
                .collect()
        };
        let w = self.width as usize;
        let frame = |[y, u, v]: &Planes| [halve(y, w), halve(u, w / 2), halve(v, w / 2)];
        Self {
            width: self.width / 2,
            height: self.height / 2,
            frames: self.frames.iter().map(frame).collect(),
        }
    }

    /// The clip that decoded samples of I420 are.
    pub(super) fn of_samples(samples: &[gst::Sample]) -> Result<Self, String> {
        let first = samples.first().and_then(|s| s.caps()).ok_or("no frames came out")?;
        let info = gst_video::VideoInfo::from_caps(first).map_err(|e| e.to_string())?;
        let (width, height) = (info.width(), info.height());
        let frames = samples.iter().map(planes).collect::<Result<_, _>>()?;
        Ok(Self { width, height, frames })
    }

    /// Likeness of another clip to this one, in decibels: that of the worst plane of the worst frame.
    pub(super) fn likeness(&self, other: &Self) -> Result<f32, String> {
        let (size, got) = ((self.width, self.height), (other.width, other.height));
        if size != got {
            return Err(format!("its frames are {got:?} instead of {size:?}"));
        }
        if self.frames.len() != other.frames.len() {
            return Err(format!("{} of {} frames came out", other.frames.len(), self.frames.len()));
        }
        let pairs = self.frames.iter().zip(&other.frames);
        let all = pairs.flat_map(|(a, b)| a.iter().zip(b)).map(|(a, b)| psnr(a, b));
        Ok(all.fold(EQUAL_DB, f32::min))
    }
}

fn planes(sample: &gst::Sample) -> Result<Planes, String> {
    let caps = sample.caps().ok_or("a frame without a format")?;
    let info = gst_video::VideoInfo::from_caps(caps).map_err(|e| e.to_string())?;
    let buffer = sample.buffer().ok_or("an empty frame")?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)
        .map_err(|e| e.to_string())?;
    let plane = |i: u32| -> Result<Vec<u8>, String> {
        let stride = *frame.plane_stride().get(i as usize).ok_or("a frame without colours")?;
        let width = frame.comp_width(i) as usize;
        let height = frame.comp_height(i) as usize;
        let data = frame.plane_data(i).map_err(|e| e.to_string())?;
        let stride = usize::try_from(stride).map_err(|e| e.to_string())?.max(1);
        Ok(data.chunks(stride).take(height).flat_map(|r| r.iter().take(width)).copied().collect())
    };
    Ok([plane(0)?, plane(1)?, plane(2)?])
}

fn psnr(a: &[u8], b: &[u8]) -> f32 {
    if a.len() != b.len() {
        return 0.0;
    }
    let squares: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    if squares == 0 {
        return EQUAL_DB;
    }
    let mean = squares as f32 / a.len() as f32;
    (10.0 * (255.0f32 * 255.0 / mean).log10()).min(EQUAL_DB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likeness_sees_what_is_wrong() {
        let clip = short();
        assert_eq!(clip.likeness(&clip), Ok(EQUAL_DB));
        let mut swapped = clip.clone();
        for frame in &mut swapped.frames {
            frame.swap(1, 2);
        }
        assert!(clip.likeness(&swapped).unwrap() < 20.0);
        let mut late = clip.clone();
        late.frames.rotate_left(1);
        assert!(clip.likeness(&late).unwrap() < 40.0);
        let mut one_lost = clip.clone();
        one_lost.frames.pop();
        assert!(clip.likeness(&one_lost).unwrap_err().contains("7 of 8"));
        assert!(clip.likeness(&clip.halved()).unwrap_err().contains("instead of"));
    }
}

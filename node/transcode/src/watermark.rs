//! The watermark: a PNG, laid over frames in the film's own format.
//!
//! The PNG is a customer's: how large it is and how large its picture are checked before anything
//! of it is decoded. It is brought to its size once, with colours weighted by how much is seen of
//! them, and turned into the film's own luma and chroma; what is left to do for a frame are a few
//! multiplications for each pixel under the mark. Places are even, so that chroma stays in step.

mod places;

use std::fs::File;
use std::io::Cursor;
use std::os::unix::fs::FileExt as _;

use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use holdfast_core::transform::{WATERMARK_BYTES_MAX, WATERMARK_SIDE_PX_MAX, Watermark};

use crate::error::Error;
use crate::geometry::Size;
use places::{mark_size, places};

/// A picture with alpha; four bytes for each pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    size: Size,
    rgba: Vec<u8>,
}

/// Reads a watermark's PNG.
pub(crate) fn read(file: &File) -> Result<Picture, Error> {
    // From its beginning, wherever the offset is that all who were handed this file share.
    let mut bytes = vec![0; WATERMARK_BYTES_MAX + 1];
    let mut length = 0;
    while length < bytes.len() {
        let read = file.read_at(&mut bytes[length..], length as u64);
        match read.map_err(Error::disk("cannot read the watermark"))? {
            0 => break,
            more => length += more,
        }
    }
    bytes.truncate(length);
    if bytes.len() > WATERMARK_BYTES_MAX {
        return Err(Error::Limit(format!(
            "The watermark is larger than the {} KiB allowed.",
            WATERMARK_BYTES_MAX >> 10
        )));
    }
    decode(&bytes)
}

fn decode(bytes: &[u8]) -> Result<Picture, Error> {
    let unreadable = |e: png::DecodingError| {
        // Not the recording's fault.
        Error::Internal(format!(
            "The environment's watermark is no readable PNG ({e}); the recording is not at fault. \
             Give the environment another watermark."
        ))
    };
    // Palettes, grey and 16 bits become 8-bit RGB or grey, with alpha where there is one.
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let info = decoder.read_header_info().map_err(unreadable)?;
    let size = (info.width, info.height);
    if size.0 > WATERMARK_SIDE_PX_MAX || size.1 > WATERMARK_SIDE_PX_MAX {
        return Err(Error::Limit(format!(
            "The watermark is {}x{} pixels; {WATERMARK_SIDE_PX_MAX} is the most either side can \
             have.",
            size.0, size.1
        )));
    }
    let mut reader = decoder.read_info().map_err(unreadable)?;
    let length = reader.output_buffer_size();
    let length = length.ok_or_else(|| Error::Limit("The watermark is too large.".into()))?;
    let mut data = vec![0; length];
    let frame = reader.next_frame(&mut data).map_err(unreadable)?;
    data.truncate(frame.buffer_size());
    let rgba = match frame.color_type {
        png::ColorType::Rgba => data,
        png::ColorType::Rgb => data.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect(),
        png::ColorType::GrayscaleAlpha => {
            data.chunks_exact(2).flat_map(|p| [p[0], p[0], p[0], p[1]]).collect()
        }
        _ => data.iter().flat_map(|&p| [p, p, p, 255]).collect(),
    };
    if rgba.len() as u64 != u64::from(size.0) * u64::from(size.1) * 4 {
        return Err(Error::Internal(
            "The environment's watermark is no readable PNG (cut off); the recording is not at \
             fault. Give the environment another watermark."
                .into(),
        ));
    }
    Ok(Picture { size, rgba })
}

impl Picture {
    /// At a smaller size: each pixel is the mean of those it stands for. Values are 0 to 255,
    /// colours multiplied by their alpha (0 to 1).
    fn scaled(&self, (w, h): Size) -> Vec<[f32; 4]> {
        let rows = shares(self.size.1, h);
        let columns = shares(self.size.0, w);
        let mut out = Vec::with_capacity(w as usize * h as usize);
        for row in &rows {
            for column in &columns {
                let mut sum = [0f32; 4];
                for &(y, share_y) in row {
                    for &(x, share_x) in column {
                        let at = (y * self.size.0 as usize + x) * 4;
                        let p = &self.rgba[at..at + 4];
                        let alpha = f32::from(p[3]) / 255.0 * share_x * share_y;
                        for (s, &c) in sum.iter_mut().zip(&p[..3]) {
                            *s += f32::from(c) * alpha;
                        }
                        sum[3] += alpha;
                    }
                }
                out.push(sum);
            }
        }
        out
    }
}

/// For each of `to` pixels: which of `from` it stands for, and by which shares.
fn shares(from: u32, to: u32) -> Vec<Vec<(usize, f32)>> {
    let step = from as f32 / to as f32;
    let one = |i: u32| {
        let (start, end) = (i as f32 * step, (i + 1) as f32 * step);
        let last = (end.ceil() as usize).clamp(1, from as usize);
        let first = (start as usize).min(last - 1);
        let part = |p: usize| (end.min(p as f32 + 1.0) - start.max(p as f32)).max(0.0) / step;
        (first..last).map(|p| (p, part(p))).collect()
    };
    (0..to).map(one).collect()
}

/// One component of a mark: what is added, and how much of the frame stays (0 to 256).
#[derive(Debug, Clone)]
struct Plane {
    size: Size,
    pixels: Vec<(u16, u16)>,
}

/// A watermark at its size and places for frames of one format.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    planes: [Plane; 3],
    places: Vec<Size>,
}

impl Mark {
    /// For frames of this format, which has to be 4:2:0 with 8 bits.
    pub(crate) fn new(picture: &Picture, want: &Watermark, info: &gst_video::VideoInfo) -> Self {
        let frame = (info.width(), info.height());
        let size = mark_size(picture.size, want.width, frame);
        let pixels = picture.scaled(size);
        let opacity = want.opacity.clamp(0.0, 1.0);
        let matrix = Matrix::of(info);
        let at = |x: u32, y: u32| pixels[(y * size.0 + x) as usize];
        let luma = pixels.iter().map(|p| weigh(matrix.luma(p), p[3], opacity)).collect();
        let half = (size.0.div_ceil(2), size.1.div_ceil(2));
        let chroma = |of: fn(&Matrix, &[f32; 4]) -> f32| {
            let mut out = Vec::with_capacity(half.0 as usize * half.1 as usize);
            for y in 0..half.1 {
                for x in 0..half.0 {
                    // The mean of four; beyond the edge there is nothing to be seen.
                    let mut mean = [0f32; 4];
                    for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                        let (x, y) = (2 * x + dx, 2 * y + dy);
                        if x < size.0 && y < size.1 {
                            let p = at(x, y);
                            mean.iter_mut().zip(p).for_each(|(m, v)| *m += v / 4.0);
                        }
                    }
                    out.push(weigh(of(&matrix, &mean), mean[3], opacity));
                }
            }
            Plane { size: half, pixels: out }
        };
        Self {
            planes: [Plane { size, pixels: luma }, chroma(Matrix::blue), chroma(Matrix::red)],
            places: places(size, want, frame),
        }
    }

    /// Lays it over a frame.
    pub(crate) fn blend(
        &self,
        frame: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
    ) -> Result<(), Error> {
        for (component, plane) in (0u32..).zip(&self.planes) {
            let step = frame.comp_pstride(component) as usize;
            let stride = frame.comp_stride(component) as usize;
            let first = frame.comp_poffset(component) as usize;
            let (w, h) = (frame.comp_width(component), frame.comp_height(component));
            let data = frame
                .plane_data_mut(frame.comp_plane(component))
                .map_err(Error::internal("cannot write on a frame"))?;
            let halved = u32::from(component > 0);
            for &(x, y) in &self.places {
                let (x, y) = (x >> halved, y >> halved);
                let columns = plane.size.0.min(w.saturating_sub(x)) as usize;
                let rows = plane.size.1.min(h.saturating_sub(y)) as usize;
                for row in 0..rows {
                    let from = (y as usize + row) * stride + first + x as usize * step;
                    let line = data.get_mut(from..).unwrap_or_default();
                    let mark = &plane.pixels[row * plane.size.0 as usize..][..columns];
                    for (target, (add, keep)) in line.iter_mut().step_by(step).zip(mark) {
                        let value = (u32::from(*target) * u32::from(*keep) + u32::from(*add)) >> 8;
                        *target = value.min(255) as u8;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A component's value (already times alpha) as what is added and what is kept, in 256ths.
fn weigh(value: f32, alpha: f32, opacity: f32) -> (u16, u16) {
    let keep = (256.0 * (1.0 - alpha * opacity)).round().clamp(0.0, 256.0);
    // Half a step more: the sum is cut down to whole numbers.
    ((value * opacity * 256.0 + 127.0).round().clamp(0.0, 65_535.0) as u16, keep as u16)
}

/// From RGB to the film's luma and chroma.
struct Matrix {
    red: f32,
    blue: f32,
    full: bool,
}

impl Matrix {
    fn of(info: &gst_video::VideoInfo) -> Self {
        let colours = info.colorimetry();
        let (red, blue) = match colours.matrix() {
            gst_video::VideoColorMatrix::Bt709 => (0.2126, 0.0722),
            gst_video::VideoColorMatrix::Bt2020 => (0.2627, 0.0593),
            gst_video::VideoColorMatrix::Smpte240m => (0.212, 0.087),
            gst_video::VideoColorMatrix::Fcc => (0.30, 0.11),
            _ => (0.299, 0.114),
        };
        Self { red, blue, full: colours.range() == gst_video::VideoColorRange::Range0_255 }
    }

    fn brightness(&self, p: &[f32; 4]) -> f32 {
        self.red * p[0] + (1.0 - self.red - self.blue) * p[1] + self.blue * p[2]
    }

    fn luma(&self, p: &[f32; 4]) -> f32 {
        let y = self.brightness(p);
        if self.full { y } else { y * 219.0 / 255.0 + 16.0 * p[3] }
    }

    fn difference(&self, colour: f32, share: f32, p: &[f32; 4]) -> f32 {
        let scale = if self.full { 1.0 } else { 224.0 / 255.0 };
        (colour - self.brightness(p)) / (2.0 * (1.0 - share)) * scale + 128.0 * p[3]
    }

    fn blue(&self, p: &[f32; 4]) -> f32 {
        self.difference(p[2], self.blue, p)
    }

    fn red(&self, p: &[f32; 4]) -> f32 {
        self.difference(p[0], self.red, p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png_of(width: u32, height: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, width, height);
        encoder.set_color(png::ColorType::Rgba);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn what_is_no_png_or_too_large_is_refused() {
        let good = png_of(2, 1, &[255, 0, 0, 255, 0, 255, 0, 128]);
        assert_eq!(decode(&good).unwrap().size, (2, 1));
        assert!(matches!(decode(b"no picture"), Err(Error::Internal(_))));
        assert!(matches!(decode(&good[..good.len() / 2]), Err(Error::Internal(_))));
        // A header alone is enough to be refused by: nothing of the picture is read.
        let mut huge = good[..33].to_vec();
        huge[16..20].copy_from_slice(&5000u32.to_be_bytes());
        let sum = crc(&huge[12..29]);
        huge[29..33].copy_from_slice(&sum.to_be_bytes());
        let said = decode(&huge).unwrap_err().to_string();
        assert!(said.contains("5000x1"), "{said}");
    }

    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |mut crc, &b| {
            crc ^= u32::from(b);
            (0..8).for_each(|_| crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 });
            crc
        })
    }

    #[test]
    fn what_is_not_seen_has_no_colour() {
        // Red that is seen beside green that is not: red at half.
        let p = Picture { size: (2, 1), rgba: vec![200, 0, 0, 255, 0, 200, 0, 0] };
        let scaled = p.scaled((1, 1));
        assert_eq!(scaled, [[100.0, 0.0, 0.0, 0.5]]);
        let same = p.scaled((2, 1));
        assert_eq!(same[0], [200.0, 0.0, 0.0, 1.0]);
    }
}

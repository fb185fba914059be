//! The watermark: a PNG, laid over frames in the film's own format.
//!
//! The PNG is a customer's: how large it is and how large its picture are checked before anything
//! of it is decoded. It is brought to its size once, with colours weighted by how much is seen of
//! them, and turned into the film's own luma and chroma; what is left to do for a frame are a few
//! multiplications for each pixel under the mark. Places are even, so that chroma stays in step.

use std::fs::File;
use std::io::Cursor;
use std::os::unix::fs::FileExt as _;

use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use holdfast_core::transform::{
    Length, Position, WATERMARK_BYTES_MAX, WATERMARK_SIDE_PX_MAX, Watermark,
};

use crate::error::Error;
use crate::geometry::Size;

/// Copies of a tiled mark.
const TILES_MAX: usize = 4096;

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

/// As wide as wanted, never wider than it is, and within the frame.
fn mark_size(own: Size, width: Length, frame: Size) -> Size {
    let width = width.of(frame.0).min(own.0).min(frame.0).max(1);
    let height = |w: u32| (u64::from(w) * u64::from(own.1) / u64::from(own.0.max(1))) as u32;
    let tall = height(width).max(1);
    if tall <= frame.1 {
        return (width, tall);
    }
    let width = u64::from(frame.1) * u64::from(own.0) / u64::from(own.1.max(1));
    ((width as u32).max(1), frame.1)
}

/// Where copies of a mark lie: even numbers from the top left.
fn places(size: Size, want: &Watermark, frame: Size) -> Vec<Size> {
    let shorter = frame.0.min(frame.1);
    // Beyond half a side there would be no place for the first.
    let margin = want.margin.of(shorter).min(shorter / 2);
    if want.tiled {
        return tiles(size, margin, frame);
    }
    let room = (frame.0.saturating_sub(size.0), frame.1.saturating_sub(size.1));
    let side = |which: i8, room: u32| match which {
        -1 => margin.min(room),
        0 => room / 2,
        _ => room.saturating_sub(margin),
    };
    let (x, y) = match want.position {
        Position::TopLeft => (-1, -1),
        Position::Top => (0, -1),
        Position::TopRight => (1, -1),
        Position::Left => (-1, 0),
        Position::Center => (0, 0),
        Position::Right => (1, 0),
        Position::BottomLeft => (-1, 1),
        Position::Bottom => (0, 1),
        Position::BottomRight => (1, 1),
    };
    vec![(side(x, room.0) & !1, side(y, room.1) & !1)]
}

/// Copies all over a frame; farther apart than wanted where they would be too many.
fn tiles(size: Size, margin: u32, frame: Size) -> Vec<Size> {
    let mut step = (size.0 + margin, size.1 + margin);
    let starts = |step: u32, of: u32| ((margin / 2) & !1..of).step_by((step & !1).max(2) as usize);
    while starts(step.0, frame.0).len() * starts(step.1, frame.1).len() > TILES_MAX {
        step = (step.0 + step.0 / 8 + 2, step.1 + step.1 / 8 + 2);
    }
    let rows = starts(step.1, frame.1);
    rows.flat_map(|y| starts(step.0, frame.0).map(move |x| (x, y))).collect()
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

    fn want(json: serde_json::Value) -> Watermark {
        serde_json::from_value(json).unwrap()
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

    #[test]
    fn sizes_and_places() {
        assert_eq!(mark_size((400, 200), Length::Percent(10.0), (1280, 720)), (128, 64));
        assert_eq!(mark_size((100, 50), Length::Percent(50.0), (1280, 720)), (100, 50));
        assert_eq!(mark_size((100, 1000), Length::Pixels(100), (640, 360)), (36, 360));
        let at = |position: &str| {
            places(
                (100, 50),
                &want(serde_json::json!({"position": position, "margin": "10px"})),
                (640, 360),
            )
        };
        assert_eq!(at("top-left"), [(10, 10)]);
        assert_eq!(at("top"), [(270, 10)]);
        assert_eq!(at("right"), [(530, 154)]);
        assert_eq!(at("bottom-right"), [(530, 300)]);
        let tiled = places(
            (100, 50),
            &want(serde_json::json!({"tiled": true, "margin": "20px"})),
            (640, 360),
        );
        assert_eq!((tiled.len(), tiled[0], tiled[1]), (6 * 5, (10, 10), (130, 10)));
    }

    #[test]
    fn tiles_cover_the_whole_frame_however_small_they_are() {
        for frame in [(3840, 2160), (640, 360), (16, 2160), (2, 2)] {
            for margin in ["0px", "1px", "3px", "100%", "4000px"] {
                let want = want(serde_json::json!({"tiled": true, "margin": margin}));
                let all = places((1, 1), &want, frame);
                assert!((1..=TILES_MAX).contains(&all.len()), "{frame:?} {margin} {}", all.len());
                let last = (all.iter().map(|p| p.0).max(), all.iter().map(|p| p.1).max());
                let (x, y) = (last.0.unwrap(), last.1.unwrap());
                assert!(x < frame.0 && y < frame.1, "{frame:?} {margin}");
                if margin != "100%" && margin != "4000px" {
                    assert!(
                        frame.0 - x <= frame.0 / 8 + 8 && frame.1 - y <= frame.1 / 8 + 8,
                        "{frame:?} {margin} {x} {y}"
                    );
                }
            }
        }
    }
}

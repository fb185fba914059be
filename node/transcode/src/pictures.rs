//! Decoded frames as RGB, and RGB as JPEG.
//!
//! RGB in between makes the colours right whatever the source's matrix and range: the converter
//! reads them from the frame's caps, the JPEG encoder writes JFIF's own (BT.601, full range).

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use holdfast_core::job::MadePicture;

use crate::error::Error;

/// Three bytes for each pixel, rows without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rgb {
    /// Width in pixels.
    pub(crate) width: u32,
    /// Height in pixels.
    pub(crate) height: u32,
    /// The pixels.
    pub(crate) data: Vec<u8>,
}

/// A decoded frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Its time.
    pub(crate) pts_ns: i64,
    /// What it looks like.
    pub(crate) info: gst_video::VideoInfo,
    /// Its pixels.
    pub(crate) buffer: gst::Buffer,
}

impl Frame {
    /// Size for showing with square pixels, before rotation.
    pub(crate) fn shown_size(&self) -> (u32, u32) {
        let par = self.info.par();
        let (n, d) = (par.numer().max(1) as u64, par.denom().max(1) as u64);
        let (w, h) = (u64::from(self.info.width()), u64::from(self.info.height()));
        let (w, h) = if n >= d { (w * n / d, h) } else { (w, h * d / n) };
        (w.clamp(1, 16_384) as u32, h.clamp(1, 16_384) as u32)
    }

    /// This frame as RGB of a size, fitted in with black borders where its shape differs.
    pub(crate) fn rgb(&self, width: u32, height: u32) -> Result<Rgb, Error> {
        self.converted((width, height), fit(self.shown_size(), (width, height)))
    }

    /// This frame as RGB, filling a size that is its own shape but for rounding.
    pub(crate) fn filling(&self, width: u32, height: u32) -> Result<Rgb, Error> {
        self.converted((width, height), (width, height))
    }

    /// This frame at a size in the middle of a larger one.
    fn converted(&self, (width, height): (u32, u32), (w, h): (u32, u32)) -> Result<Rgb, Error> {
        let fail =
            |e: gst::glib::BoolError| Error::Internal(format!("cannot convert a picture: {e}"));
        let out = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, width, height)
            .fps(self.info.fps())
            .interlace_mode(self.info.interlace_mode())
            .build()
            .map_err(fail)?;
        let mut config = gst_video::VideoConverterConfig::new();
        config.set_dest_x(((width - w) / 2) as i32);
        config.set_dest_y(((height - h) / 2) as i32);
        config.set_dest_width(Some(w as i32));
        config.set_dest_height(Some(h as i32));
        config.set_fill_border(true);
        config.set_resampler_method(gst_video::VideoResamplerMethod::Cubic);
        let converter =
            gst_video::VideoConverter::new(&self.info, &out, Some(config)).map_err(fail)?;
        let source = gst_video::VideoFrameRef::from_buffer_ref_readable(&self.buffer, &self.info)
            .map_err(fail)?;
        let mut target = gst::Buffer::with_size(out.size()).map_err(fail)?;
        let target_ref =
            target.get_mut().ok_or_else(|| Error::Internal("a shared buffer".into()))?;
        let mut target =
            gst_video::VideoFrameRef::from_buffer_ref_writable(target_ref, &out).map_err(fail)?;
        converter.frame_ref(&source, &mut target);
        let stride = target.plane_stride()[0] as usize;
        let plane = target.plane_data(0).map_err(fail)?;
        let row = width as usize * 3;
        let data =
            plane.chunks(stride).take(height as usize).flat_map(|r| &r[..row]).copied().collect();
        Ok(Rgb { width, height, data })
    }
}

/// The largest size of the same shape that fits.
pub(crate) fn fit((w, h): (u32, u32), (into_w, into_h): (u32, u32)) -> (u32, u32) {
    let (w, h, iw, ih) = (u64::from(w), u64::from(h), u64::from(into_w), u64::from(into_h));
    let (w, h) =
        if w * ih >= h * iw { (iw, (h * iw + w / 2) / w) } else { ((w * ih + h / 2) / h, ih) };
    (w.clamp(1, iw) as u32, h.clamp(1, ih) as u32)
}

impl Rgb {
    /// A black picture.
    pub(crate) fn black(width: u32, height: u32) -> Self {
        Self { width, height, data: vec![0; width as usize * height as usize * 3] }
    }

    /// Turned clockwise by 0, 90, 180 or 270 degrees.
    pub(crate) fn rotated(self, degrees: u16) -> Self {
        let (w, h) = (self.width as usize, self.height as usize);
        let (out_w, out_h) = if degrees % 180 == 90 { (h, w) } else { (w, h) };
        if !matches!(degrees, 90 | 180 | 270) {
            return self;
        }
        let mut data = Vec::with_capacity(self.data.len());
        for y in 0..out_h {
            for x in 0..out_w {
                let (sx, sy) = match degrees {
                    90 => (y, h - 1 - x),
                    180 => (w - 1 - x, h - 1 - y),
                    _ => (w - 1 - y, x),
                };
                let at = (sy * w + sx) * 3;
                data.extend_from_slice(&self.data[at..at + 3]);
            }
        }
        Self { width: out_w as u32, height: out_h as u32, data }
    }

    /// Lays another picture over this one.
    pub(crate) fn paste(&mut self, other: &Self, x: u32, y: u32) {
        let row = other.width as usize * 3;
        let stride = self.width as usize * 3;
        for (line, y) in other.data.chunks(row.max(1)).zip(y as usize..self.height as usize) {
            let at = y * stride + x as usize * 3;
            if let Some(target) = self.data.get_mut(at..at + row) {
                target.copy_from_slice(line);
            }
        }
    }

    /// A part of it, which lies within it.
    pub(crate) fn cut(&self, x: u32, y: u32, width: u32, height: u32) -> Self {
        let (row, stride) = (width as usize * 3, self.width as usize * 3);
        let lines = self.data.chunks(stride.max(1)).skip(y as usize).take(height as usize);
        let data = lines.flat_map(|line| &line[x as usize * 3..][..row]).copied().collect();
        Self { width, height, data }
    }

    /// Mean and standard deviation of the brightness, 0 to 255.
    pub(crate) fn brightness(&self) -> (f64, f64) {
        let n = (self.data.len() / 3).max(1) as f64;
        let luma =
            |p: &[u8]| 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]);
        let mean = self.data.chunks_exact(3).map(luma).sum::<f64>() / n;
        let var = self.data.chunks_exact(3).map(|p| (luma(p) - mean).powi(2)).sum::<f64>() / n;
        (mean, var.sqrt())
    }

    /// Writes this picture as a JPEG and makes the file durable.
    pub(crate) fn write_jpeg(
        &self,
        file: &File,
        quality: u8,
        name: &str,
    ) -> Result<MadePicture, Error> {
        let size = |v: u32| {
            u16::try_from(v)
                .map_err(|_| Error::Limit(format!("{name} would be too large for a JPEG.")))
        };
        let (width, height) = (size(self.width)?, size(self.height)?);
        let mut bytes = Vec::new();
        jpeg_encoder::Encoder::new(&mut bytes, quality)
            .encode(&self.data, width, height, jpeg_encoder::ColorType::Rgb)
            .map_err(Error::internal("cannot encode a JPEG"))?;
        let write = || file.write_all_at(&bytes, 0).and_then(|()| file.sync_all());
        write().map_err(Error::disk(format!("cannot write {name}")))?;
        Ok(MadePicture { bytes: bytes.len() as u64, width: self.width, height: self.height })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_kept() {
        assert_eq!(fit((1280, 720), (160, 90)), (160, 90));
        assert_eq!(fit((480, 640), (160, 90)), (68, 90));
        assert_eq!(fit((10_000, 1), (160, 90)), (160, 1));
    }

    #[test]
    fn what_is_cut_out_and_pasted_back_is_the_same() {
        let whole = Rgb { width: 5, height: 4, data: (0..60).collect() };
        let part = whole.cut(1, 2, 3, 2);
        assert_eq!((part.width, part.height, part.data[0]), (3, 2, (2 * 5 + 1) * 3));
        let mut copy = Rgb::black(5, 4);
        copy.paste(&part, 1, 2);
        assert_eq!(copy.cut(1, 2, 3, 2), part);
        assert_eq!(copy.data.iter().filter(|&&byte| byte != 0).count(), part.data.len());
    }

    #[test]
    fn turning_clockwise() {
        // 2x1: red, green. Clockwise by 90: red on top.
        let p = Rgb { width: 2, height: 1, data: vec![255, 0, 0, 0, 255, 0] };
        let q = p.clone().rotated(90);
        assert_eq!((q.width, q.height, &q.data[..3]), (1, 2, [255, 0, 0].as_slice()));
        let q = p.clone().rotated(270);
        assert_eq!((q.width, q.height, &q.data[..3]), (1, 2, [0, 255, 0].as_slice()));
        assert_eq!(p.clone().rotated(180).data, vec![0, 255, 0, 255, 0, 0]);
        assert_eq!(p.clone().rotated(0), p);
    }
}

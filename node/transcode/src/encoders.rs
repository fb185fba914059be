//! The one place where an encoder is chosen.
//!
//! Candidates are tried in order, hardware first once there is some. An element that exists, or
//! even starts, proves nothing (`avenc_h264_omx` fails on its first frame, `openh264enc` can end
//! well having printed an error): each candidate encodes a moment of a test picture, and what
//! comes out is taken apart before it is trusted with a recording.

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use holdfast_core::transform::Quality;

use crate::error::Error;
use crate::h264;
use crate::source::make;

/// An H.264 encoder that may be tried.
struct Candidate {
    element: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// What says how much is spent, with its values for small, standard and high.
    quality: (&'static str, [&'static str; 3]),
}

/// Hardware joins at the front of this list.
///
/// x264enc: these settings equal ffmpeg's `-preset veryfast -crf 23` in size and quality; with a
/// buffer of any size the rate is capped.
static H264: [Candidate; 2] = [
    Candidate {
        element: "x264enc",
        settings: &[
            ("pass", "qual"),
            ("speed-preset", "veryfast"),
            ("vbv-buf-capacity", "0"),
            ("key-int-max", "250"),
        ],
        quality: ("quantizer", ["27", "23", "19"]),
    },
    Candidate {
        element: "openh264enc",
        settings: &[("rate-control", "quality"), ("complexity", "medium")],
        quality: ("bitrate", ["2600000", "4000000", "6000000"]),
    },
];

/// An AAC encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AacEncoder {
    /// Element.
    pub(crate) element: &'static str,
    /// Sample format it takes.
    pub(crate) format: &'static str,
    /// Frames of lead-in before the sound begins, measured with ffmpeg's decoder.
    pub(crate) lead_in: i64,
}

/// voaacenc takes half the time of avenc_aac.
static AAC: [AacEncoder; 2] = [
    AacEncoder { element: "voaacenc", format: "S16LE", lead_in: 1600 },
    AacEncoder { element: "avenc_aac", format: "F32LE", lead_in: 1024 },
];

const PROOF_FRAMES: usize = 8;
const PROOF_SIZE: (u32, u32) = (320, 192);

/// The H.264 encoder to use: the first that proves itself.
pub(crate) fn h264() -> Result<&'static str, Error> {
    let mut reasons = Vec::new();
    for candidate in &H264 {
        match prove(candidate) {
            Ok(()) => return Ok(candidate.element),
            Err(reason) => reasons.push(format!("{}: {reason}", candidate.element)),
        }
    }
    Err(Error::Internal(format!("no H.264 encoder works on this node ({})", reasons.join("; "))))
}

/// Makes a proven encoder.
pub(crate) fn make_h264(element: &'static str, quality: Quality) -> Result<gst::Element, Error> {
    let encoder = make(element)?;
    if let Some(candidate) = H264.iter().find(|c| c.element == element) {
        for (name, value) in candidate.settings {
            encoder.set_property_from_str(name, value);
        }
        let (name, [small, standard, high]) = candidate.quality;
        let value = match quality {
            Quality::Small => small,
            Quality::Standard => standard,
            Quality::High => high,
        };
        encoder.set_property_from_str(name, value);
    }
    Ok(encoder)
}

/// The AAC encoder to use.
pub(crate) fn aac() -> Result<AacEncoder, Error> {
    AAC.iter()
        .copied()
        .find(|a| gst::ElementFactory::find(a.element).is_some())
        .ok_or_else(|| Error::Internal("no AAC encoder is installed on this node".into()))
}

/// Makes an AAC encoder for so many channels.
pub(crate) fn make_aac(encoder: AacEncoder, channels: u32) -> Result<gst::Element, Error> {
    let element = make(encoder.element)?;
    let bitrate = if channels > 1 { 128_000 } else { 96_000 };
    element.set_property_from_str("bitrate", &bitrate.to_string());
    Ok(element)
}

/// Encodes a moment and takes the result apart.
fn prove(candidate: &Candidate) -> Result<(), String> {
    let say = |e: &dyn std::fmt::Display| e.to_string();
    if gst::ElementFactory::find(candidate.element).is_none() {
        return Err("not installed".into());
    }
    let pipeline = gst::Pipeline::new();
    let (width, height) = PROOF_SIZE;
    let raw = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", width as i32)
        .field("height", height as i32)
        .field("framerate", gst::Fraction::new(30, 1))
        .build();
    let src = gst_app::AppSrc::builder().caps(&raw).format(gst::Format::Time).build();
    let sink = gst_app::AppSink::builder().sync(false).build();
    let encoder = make_h264(candidate.element, Quality::Standard).map_err(|e| say(&e))?;
    let parser = make("h264parse").map_err(|e| say(&e))?;
    let filter = crate::probe::avc_filter().map_err(|e| say(&e))?;
    let row = [src.upcast_ref(), &encoder, &parser, &filter, sink.upcast_ref()];
    pipeline.add_many(row).map_err(|e| say(&e))?;
    gst::Element::link_many(row).map_err(|e| say(&e))?;
    pipeline.set_state(gst::State::Playing).map_err(|e| say(&e))?;
    for i in 0..PROOF_FRAMES {
        src.push_buffer(proof_frame(i)).map_err(|e| say(&e))?;
    }
    src.end_of_stream().map_err(|e| say(&e))?;
    let checked = check(&sink);
    let _ = pipeline.set_state(gst::State::Null);
    checked
}

fn proof_frame(i: usize) -> gst::Buffer {
    let (w, h) = (PROOF_SIZE.0 as usize, PROOF_SIZE.1 as usize);
    let luma = (0..w * h).map(|p| ((p % w + p / w + i * 4) % 220) as u8 + 16);
    let bytes: Vec<u8> = luma.chain(std::iter::repeat_n(128, w * h / 2)).collect();
    let mut buffer = gst::Buffer::from_mut_slice(bytes);
    if let Some(b) = buffer.get_mut() {
        b.set_pts(gst::ClockTime::from_mseconds(i as u64 * 33));
        b.set_duration(gst::ClockTime::from_mseconds(33));
    }
    buffer
}

fn check(sink: &gst_app::AppSink) -> Result<(), String> {
    let mut frames = 0;
    let wait = gst::ClockTime::from_seconds(10);
    while let Some(sample) = sink.try_pull_sample(wait) {
        let caps = sample.caps().and_then(|c| c.structure(0));
        let record = caps.and_then(|s| s.get::<gst::Buffer>("codec_data").ok());
        let record =
            record.as_ref().and_then(|r| r.map_readable().ok()).ok_or("no parameter sets")?;
        let config = h264::avc_config(&record).ok_or("unreadable parameter sets")?;
        let size = config.size().map(|s| (s.width, s.height));
        if size != Some(PROOF_SIZE) {
            return Err(format!("it encoded {size:?} instead of {PROOF_SIZE:?}"));
        }
        let data = sample.buffer().and_then(|b| b.map_readable().ok()).ok_or("an empty frame")?;
        let kinds: Vec<u8> = h264::nals(&data, config.length_bytes).map(|n| n[0] & 31).collect();
        if !kinds.iter().any(|k| matches!(k, 1 | 5)) || frames == 0 && !kinds.contains(&5) {
            return Err(format!("frame {frames} is not a picture"));
        }
        frames += 1;
    }
    if frames == PROOF_FRAMES { Ok(()) } else { Err(format!("{frames} of {PROOF_FRAMES} frames")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_of_this_machine_proves_itself() {
        gst::init().unwrap();
        assert_eq!(h264().unwrap(), "x264enc");
    }

    #[test]
    fn what_does_not_encode_is_refused() {
        gst::init().unwrap();
        let none = |element| Candidate { element, settings: &[], quality: ("", [""; 3]) };
        assert!(prove(&none("identity")).is_err());
        assert!(prove(&none("nvh264enc-none")).is_err());
    }
}

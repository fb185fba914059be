//! AAC encoders: software everywhere.

use gst::prelude::*;
use gstreamer as gst;

use crate::error::Error;
use crate::source::make;

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

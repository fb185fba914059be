//! Rows of elements around hardware, for proofs and jobs alike.
//!
//! ```text
//! encode: videoconvert ─ NV12 ─ (upload ─ the device's memory) ─ encoder
//! whole:  queue ─ (postproc) ─ the device's memory at the film's size ─ encoder
//! ```
//!
//! A decoder alone gives frames in the machine's memory by the caps that are asked of it, so that a
//! part which is missing costs one copy and nothing else.

use gst::prelude::*;
use gstreamer as gst;
use holdfast_core::hardware::Family;
use holdfast_core::transform::Quality;

use super::families::{Found, Settings, settings, with_token};
use crate::error::Error;
use crate::source::make;

/// A film's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    /// Width in pixels.
    pub(crate) width: u32,
    /// Height in pixels.
    pub(crate) height: u32,
    /// Frames a second, for encoders that think in bitrates.
    pub(crate) fps: u32,
}

/// Frames between a device's decoder and its encoder: its pools are small.
const FRAMES_IN_DEVICE: u32 = 2;

/// Frames in the machine's memory in, H.264 out.
pub(super) fn encode(
    found: &Found,
    size: Size,
    quality: Quality,
) -> Result<Vec<gst::Element>, Error> {
    let encoder = encoder(found, size, quality)?;
    if matches!(found.candidate.family, Family::X264 | Family::Openh264 | Family::V4l2Stateless) {
        return Ok(vec![encoder]);
    }
    let mut row = vec![make("videoconvert")?, filter(&nv12(None, None))?];
    if let Some(upload) = found.parts.upload {
        row.push(with_number(found, make(&with_token(upload, &found.token))?));
        row.push(filter(&nv12(found.parts.memory, None))?);
    }
    row.push(encoder);
    Ok(row)
}

/// What follows a device's decoder: its frames in, H.264 of this size out. Frames never leave the device.
pub(super) fn whole(
    found: &Found,
    size: Size,
    quality: Quality,
) -> Result<Vec<gst::Element>, Error> {
    let queue = make("queue")?;
    queue.set_property("max-size-buffers", FRAMES_IN_DEVICE);
    queue.set_property("max-size-bytes", 0u32);
    queue.set_property("max-size-time", 0u64);
    let postproc = found
        .postproc()
        .ok_or_else(|| Error::Hardware(format!("{} cannot scale", found.candidate.name)))?;
    Ok(vec![
        queue,
        with_number(found, make(&postproc)?),
        filter(&nv12(found.parts.memory, Some(size)))?,
        encoder(found, size, quality)?,
    ])
}

/// Asks a decoder for frames in the machine's memory.
pub(crate) fn download() -> Result<gst::Element, Error> {
    filter(&gst::Caps::builder("video/x-raw").build())
}

/// Whether the encoder says that it takes frames of this size.
pub(super) fn takes(found: &Found, size: Size) -> bool {
    let caps = nv12(found.parts.memory, Some(size));
    let system = gst::Caps::builder("video/x-raw")
        .field("width", size.width as i32)
        .field("height", size.height as i32)
        .build();
    sink_caps(&found.candidate.encoder)
        .is_some_and(|sink| sink.can_intersect(&caps) || sink.can_intersect(&system))
}

/// Whether a decoder says that it takes a stream of this size.
pub(super) fn takes_stream(decoder: &str, (width, height): (u32, u32)) -> bool {
    let Some(sink) = sink_caps(decoder) else { return false };
    sink.iter().any(|structure| {
        let caps = gst::Caps::builder(structure.name().as_str())
            .field("width", width as i32)
            .field("height", height as i32)
            .build();
        sink.can_intersect(&caps)
    })
}

fn sink_caps(element: &str) -> Option<gst::Caps> {
    let factory = gst::ElementFactory::find(element)?;
    let templates = factory.static_pad_templates();
    templates
        .iter()
        .find(|t| t.direction() == gst::PadDirection::Sink)
        .map(gst::StaticPadTemplate::caps)
}

fn nv12(memory: Option<&str>, size: Option<Size>) -> gst::Caps {
    let mut caps = gst::Caps::builder("video/x-raw").features(memory).field("format", "NV12");
    if let Some(size) = size {
        caps = caps
            .field("width", size.width as i32)
            .field("height", size.height as i32)
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1));
    }
    caps.build()
}

fn filter(caps: &gst::Caps) -> Result<gst::Element, Error> {
    let filter = make("capsfilter")?;
    filter.set_property("caps", caps);
    Ok(filter)
}

fn encoder(found: &Found, size: Size, quality: Quality) -> Result<gst::Element, Error> {
    let encoder = make(&found.candidate.encoder)?;
    let alternatives = settings(found.candidate.family, quality, size);
    let taken = alternatives.iter().any(|settings| apply(&encoder, settings));
    if taken {
        Ok(encoder)
    } else {
        let wanted = alternatives.iter().flatten().map(|(name, value)| format!("{name}={value}"));
        Err(Error::Hardware(format!(
            "{} takes none of the settings {}",
            found.candidate.encoder,
            wanted.collect::<Vec<_>>().join(" ")
        )))
    }
}

/// Sets all of it, or nothing where it does not know one. A driver without a mode leaves it out of the
/// values that the element takes.
fn apply(element: &gst::Element, settings: &Settings) -> bool {
    let values: Option<Vec<_>> = settings
        .iter()
        .map(|(name, value)| {
            let known = element.find_property(name)?;
            let writable = known.flags().contains(gst::glib::ParamFlags::WRITABLE);
            let value = gst::glib::Value::deserialize_with_pspec(value, &known).ok()?;
            writable.then_some((*name, value))
        })
        .collect();
    let Some(values) = values else { return false };
    for (name, value) in values {
        element.set_property_from_value(name, &value);
    }
    true
}

/// Tells an element whose name has no device which one is meant.
fn with_number(found: &Found, element: gst::Element) -> gst::Element {
    if let Some(property) = found.parts.postproc.as_ref().and_then(|p| p.number)
        && element.find_property(property).is_some()
    {
        element.set_property_from_str(property, &found.number().to_string());
    }
    element
}

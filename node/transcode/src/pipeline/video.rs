//! The video's branches.

use std::sync::Arc;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::pictures::{count, gate, look_at};
use super::{Shared, changes, hold, pace, queue, rate};
use crate::encoders::Choice;
use crate::encoders::chains::{self, Size};
use crate::error::Error;
use crate::h264::{self, AvcConfig};
use crate::mp4::{Format, TrackId};
use crate::plan::Plan;
use crate::probe::{VideoScan, avc_filter};
use crate::source::{add_row, make};
use crate::stream::running_ns;

const PACKETS_BYTES: u32 = 16 << 20;
const PACKETS_SECONDS: u64 = 5;
/// Decoded frames are large: few of them between threads.
const FRAMES: u32 = 4;

/// What video is converted to.
pub(super) struct Target<'a> {
    pub(super) size: Size,
    pub(super) choice: &'a Choice,
}

fn row(pipeline: &gst::Pipeline, elements: &[gst::Element]) -> Result<gst::Element, Error> {
    add_row(pipeline, elements).map_err(Error::internal("cannot build the video branch"))?;
    Ok(elements[0].clone())
}

pub(super) fn pad(element: &gst::Element, name: &str) -> Result<gst::Pad, Error> {
    element
        .static_pad(name)
        .ok_or_else(|| Error::Internal(format!("an element without {name} pad")))
}

/// Where decoded frames come out, each with a time; counted.
fn decoded_pad(
    decoder: &gst::Element,
    v: &VideoScan,
    shared: &Arc<Shared>,
) -> Result<gst::Pad, Error> {
    let pad = pad(decoder, "src")?;
    if v.pts_missing {
        pace::count(&pad, v.last_frame_ns);
    }
    count(&pad, shared);
    Ok(pad)
}

/// Takes the packets over; decodes beside it what the pictures need.
pub(super) fn remux(
    pipeline: &gst::Pipeline,
    v: &VideoScan,
    track: TrackId,
    plan: &Plan,
    shared: &Arc<Shared>,
) -> Result<gst::Element, Error> {
    let sink = mux_sink(track, shared, plan.rotation, v.par);
    let packets = queue(PACKETS_BYTES, PACKETS_SECONDS, 0)?;
    let head = row(pipeline, &[packets, make("h264parse")?, avc_filter()?, sink.upcast()])?;
    if !plan.snapshot && !plan.filmstrip {
        return Ok(head);
    }
    let tee = row(pipeline, &[make("tee")?])?;
    let pictures = pictures_only(pipeline, v, plan, shared)?;
    for branch in [&head, &pictures] {
        tee.link(branch).map_err(Error::internal("cannot fork the video"))?;
    }
    Ok(tee)
}

/// Decodes what the pictures need.
pub(super) fn pictures_only(
    pipeline: &gst::Pipeline,
    v: &VideoScan,
    plan: &Plan,
    shared: &Arc<Shared>,
) -> Result<gst::Element, Error> {
    let mut elements = vec![queue(PACKETS_BYTES, PACKETS_SECONDS, 0)?];
    elements.extend(decoder(v, None)?);
    let decoded = elements[elements.len() - 1].clone();
    // Packets are left out. With several threads the pictures of H.264 with B-frames then differed from run to run and were
    // torn (GStreamer 1.26 with ffmpeg 7); with one they were the same and whole in every run. Why is not known.
    if decoded.find_property("max-threads").is_some() {
        decoded.set_property("max-threads", 1i32);
    }
    if plan.changes.is_some() && v.codec.weaves() {
        elements.push(unweave()?);
    }
    let changed = change(&mut elements, v, plan, shared)?;
    let sink = make("fakesink")?;
    sink.set_property("sync", false);
    sink.set_property("async", false);
    elements.push(sink);
    let head = row(pipeline, &elements)?;
    gate(&pad(&head, "sink")?, shared);
    let decoded = decoded_pad(&decoded, v, shared)?;
    look_at(changed.as_ref().unwrap_or(&decoded), shared);
    Ok(head)
}

/// Decodes everything and encodes it at one size.
pub(super) fn convert(
    pipeline: &gst::Pipeline,
    v: &VideoScan,
    track: TrackId,
    target: &Target<'_>,
    plan: &Plan,
    shared: &Arc<Shared>,
) -> Result<gst::Element, Error> {
    let mut elements = vec![queue(PACKETS_BYTES, PACKETS_SECONDS, 0)?];
    elements.extend(decoder(v, Some(target.choice))?);
    let decoded = elements[elements.len() - 1].clone();
    elements.push(queue(0, 0, FRAMES)?);
    if v.codec.weaves() {
        elements.push(unweave()?);
    }
    let changed = change(&mut elements, v, plan, shared)?;
    if changed.is_none() {
        let scale = make("videoscale")?;
        scale.set_property("add-borders", true);
        let size = make("capsfilter")?;
        size.set_property("caps", film_caps(v, target.size.width, target.size.height));
        elements.extend([make("videoconvert")?, scale, size]);
    }
    if let Some(mfps) = plan.even_mfps {
        hold::hold(&pad(&elements[elements.len() - 1], "src")?, v, mfps, shared);
    }
    elements.extend(frame_rate(target, plan)?);
    elements.extend(target.choice.encode(target.size)?);
    elements.extend([make("h264parse")?, avc_filter()?]);
    elements.push(mux_sink(track, shared, plan.rotation, (1, 1)).upcast());
    let head = row(pipeline, &elements)?;
    let decoded = decoded_pad(&decoded, v, shared)?;
    look_at(changed.as_ref().unwrap_or(&decoded), shared);
    if let Some(fps) = plan.max_fps {
        rate::limit(&decoded, fps, shared);
    }
    Ok(head)
}

/// Appends what changes frames, if anything does; gives the pad where they come out changed.
fn change(
    elements: &mut Vec<gst::Element>,
    v: &VideoScan,
    plan: &Plan,
    shared: &Arc<Shared>,
) -> Result<Option<gst::Pad>, Error> {
    let Some(what) = &plan.changes else { return Ok(None) };
    elements.extend(changes::elements(v, what)?);
    let out = pad(&elements[elements.len() - 1], "src")?;
    if let (Some(picture), Some(want)) = (&shared.watermark, &plan.want.watermark) {
        changes::mark(&out, picture, want, shared);
    }
    Ok(Some(out))
}

/// What an encoder is told of the rate: for its book-keeping only, while frames keep their own times;
/// or what makes their distances even.
fn frame_rate(target: &Target<'_>, plan: &Plan) -> Result<Vec<gst::Element>, Error> {
    let caps = |n: u32, d: i32| {
        gst::Caps::builder("video/x-raw")
            .field("framerate", gst::Fraction::new(n as i32, d))
            .build()
    };
    let Some(mfps) = plan.even_mfps else { return Ok(vec![set_caps(&caps(target.size.fps, 1))?]) };
    let even = make("videorate")?;
    // The film begins with the recording's first frame, not with its sound's.
    even.set_property("skip-to-first", true);
    let filter = make("capsfilter")?;
    filter.set_property("caps", caps(mfps, 1000));
    Ok(vec![even, filter])
}

/// The one format of a film's frames. Everything an encoder starts anew for is pinned down, so that
/// one film has one set of parameters.
pub(super) fn film_caps(v: &VideoScan, width: u32, height: u32) -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", width as i32)
        .field("height", height as i32)
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .field("interlace-mode", "progressive")
        .field("colorimetry", colorimetry(v, height))
        .build()
}

/// The same on one device, whose memory the frames never leave. What the pictures need is decoded in
/// software beside it, as for a film that is taken over.
pub(super) fn convert_in_device(
    pipeline: &gst::Pipeline,
    v: &VideoScan,
    track: TrackId,
    target: &Target<'_>,
    plan: &Plan,
    shared: &Arc<Shared>,
) -> Result<gst::Element, Error> {
    let mut elements = vec![queue(PACKETS_BYTES, PACKETS_SECONDS, 0)?];
    elements.extend(device_decoder(v, target.choice)?.unwrap_or_default());
    let decoded = pad(&elements[elements.len() - 1], "src")?;
    elements.extend(target.choice.whole(target.size)?);
    elements.extend([make("h264parse")?, avc_filter()?]);
    elements.push(mux_sink(track, shared, plan.rotation, (1, 1)).upcast());
    let head = row(pipeline, &elements)?;
    if v.pts_missing {
        pace::count(&decoded, v.last_frame_ns);
    }
    watch_damage(&decoded, shared);
    if !plan.snapshot && !plan.filmstrip {
        return Ok(head);
    }
    let tee = row(pipeline, &[make("tee")?])?;
    let pictures = pictures_only(pipeline, v, plan, shared)?;
    for branch in [&head, &pictures] {
        tee.link(branch).map_err(Error::internal("cannot fork the video"))?;
    }
    Ok(tee)
}

/// Whether nothing has to be done to the picture that a device cannot do.
pub(super) fn stays_in_device(v: &VideoScan, plan: &Plan, choice: &Choice) -> bool {
    let size = v.sizes.first().copied().unwrap_or_default();
    let unchanged = plan.changes.is_none() && keeps_all_frames(plan) && v.curve().is_none();
    let plain = v.sizes.len() == 1 && v.par == (1, 1) && !v.codec.weaves();
    unchanged && plain && choice.goes_whole(v.codec.name, size)
}

/// Whether each frame of the recording is one of the film's.
pub(super) fn keeps_all_frames(plan: &Plan) -> bool {
    plan.max_fps.is_none() && plan.even_mfps.is_none()
}

/// Frames that a device's decoder calls damaged are better bridged in software.
fn watch_damage(pad: &gst::Pad, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if info.buffer().is_some_and(|b| b.flags().contains(gst::BufferFlags::CORRUPTED)) {
            let position = shared.activity.position_ns.load(std::sync::atomic::Ordering::Relaxed);
            let what = format!("a frame at {} is damaged", crate::error::at(position));
            shared.activity.fail(Error::Damaged(what));
        }
        gst::PadProbeReturn::Ok
    });
}

/// Parser and decoder of a device, where it has one of this codec.
fn device_decoder(v: &VideoScan, choice: &Choice) -> Result<Option<Vec<gst::Element>>, Error> {
    let Some(name) = choice.decoder_used(v) else { return Ok(None) };
    let mut elements = v.codec.parser.map(make).transpose()?.into_iter().collect::<Vec<_>>();
    elements.push(make(&name)?);
    if untagged_vp8(v) {
        elements.push(as_bt601()?);
    }
    Ok(Some(elements))
}

/// One whole picture out of two half ones; whole ones pass untouched.
fn unweave() -> Result<gst::Element, Error> {
    let element = make("deinterlace")?;
    // Both fields would make two frames of each.
    element.set_property_from_str("fields", "top");
    Ok(element)
}

fn set_caps(caps: &gst::Caps) -> Result<gst::Element, Error> {
    let setter = make("capssetter")?;
    setter.set_property("caps", caps);
    setter.set_property("join", true);
    setter.set_property("replace", false);
    Ok(setter)
}

/// Untagged VP8 is BT.601 by its own specification (RFC 6386, 9.2); GStreamer would guess by size.
fn untagged_vp8(v: &VideoScan) -> bool {
    v.codec.name == "vp8" && v.colorimetry.is_none()
}

fn colorimetry(v: &VideoScan, height: u32) -> String {
    match &v.colorimetry {
        // What is brought down to it; see `tonemap`.
        Some(_) if v.curve().is_some() => "bt709".to_owned(),
        Some(c) => c.clone(),
        None if untagged_vp8(v) || height <= 576 => "bt601".to_owned(),
        None => "bt709".to_owned(),
    }
}

/// Parser, decoder, and the colours set right; the last one's output are decoded frames.
fn decoder(v: &VideoScan, choice: Option<&Choice>) -> Result<Vec<gst::Element>, Error> {
    if let Some(mut row) = choice.map(|c| device_decoder(v, c)).transpose()?.flatten() {
        row.push(chains::download()?);
        return Ok(row);
    }
    let name = v.codec.decoder().ok_or_else(|| {
        Error::Unsupported(format!("No decoder for {} is installed on this node.", v.codec.name))
    })?;
    let mut elements = Vec::new();
    if let Some(parser) = v.codec.parser {
        elements.push(make(parser)?);
    }
    let decoder = make(name)?;
    if decoder.find_property("output-corrupt").is_some() {
        decoder.set_property("output-corrupt", true);
    }
    elements.push(decoder);
    if untagged_vp8(v) {
        elements.push(as_bt601()?);
    }
    Ok(elements)
}

fn as_bt601() -> Result<gst::Element, Error> {
    set_caps(&gst::Caps::builder("video/x-raw").field("colorimetry", "bt601").build())
}

/// Where H.264 leaves the pipeline for the .mp4.
fn mux_sink(
    track: TrackId,
    shared: &Arc<Shared>,
    rotation: u16,
    par: (u32, u32),
) -> gst_app::AppSink {
    let shared = Arc::clone(shared);
    let mut strip = true;
    let mut config: Option<AvcConfig> = None;
    let mut known: Option<gst::Caps> = None;
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let (Some(buffer), Some(segment)) = (sample.buffer(), sample.segment()) else {
            return Ok(gst::FlowSuccess::Ok);
        };
        if known.as_deref() != sample.caps() {
            known = sample.caps_owned();
            let (c, record) = read_config(&sample).ok_or(gst::FlowError::NotNegotiated)?;
            let size = c.size().ok_or(gst::FlowError::NotNegotiated)?;
            let (width, height) = (size.width, size.height);
            shared.format(track, Format::Avc { config: record, width, height, par, rotation })?;
            if config.as_ref().and_then(AvcConfig::size).is_some_and(|before| before != size) {
                shared.activity.fail(Error::Internal("the encoder changed the film's size".into()));
                return Err(gst::FlowError::Error);
            }
            config.get_or_insert(c);
        }
        let data = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let Some(pts) = running_ns(segment, buffer.pts()) else { return Ok(gst::FlowSuccess::Ok) };
        let pts = pts - shared.base_ns;
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        shared.activity.saw(Some(pts));
        let parts = match &config {
            Some(c) if strip => c.without_sets(&data).unwrap_or_else(|| {
                strip = false;
                vec![data.as_slice()]
            }),
            _ => vec![data.as_slice()],
        };
        shared.write(|w| w.push(track, &parts, pts, key))
    });
    let sink = gst_app::AppSink::builder().sync(false).callbacks(callbacks.build()).build();
    sink.set_property("async", false);
    sink.set_property("max-buffers", 64u32);
    sink
}

fn read_config(sample: &gst::Sample) -> Option<(AvcConfig, Vec<u8>)> {
    let record = sample.caps()?.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    let record = record.map_readable().ok()?.to_vec();
    Some((h264::avc_config(&record)?, record))
}

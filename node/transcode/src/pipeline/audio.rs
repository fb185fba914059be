//! The audio's branches.

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;

use super::{Shared, queue};
use crate::aac;
use crate::encoders;
use crate::error::Error;
use crate::mp4::{Format, TrackId};
use crate::probe::AudioScan;
use crate::retime::{Mended, Retimer};
use crate::source::{add_row, make};
use crate::stream::running_ns;

const PACKETS_BYTES: u32 = 4 << 20;
const PACKETS_SECONDS: u64 = 10;
const SAMPLES_BYTES: u64 = 1 << 20;
const AAC_FRAME: i64 = 1024;
/// Silence behind the end, in frames: longer than any encoder's lead-in.
const TAIL: i64 = 2048;
/// Rates that AAC and every player take; others become 48 kHz.
const RATES: [u32; 4] = [48_000, 44_100, 32_000, 24_000];

/// A sentence about what was done to the sound.
pub(super) fn remark(mended: Mended) -> Option<String> {
    match mended {
        Mended { gaps: 0, dropped: 0, .. } => None,
        Mended { gaps, silence, dropped: 0 } => Some(format!(
            "Sound was missing in {gaps} places, {} ms in all; silence stands in for it.",
            silence / 48
        )),
        Mended { dropped, .. } => {
            Some(format!("About {} ms of sound that overlapped were left out.", dropped / 48))
        }
    }
}

fn build(pipeline: &gst::Pipeline, elements: &[gst::Element]) -> Result<gst::Element, Error> {
    add_row(pipeline, elements).map_err(Error::internal("cannot build the audio branch"))?;
    Ok(elements[0].clone())
}

fn raw_aac() -> Result<gst::Element, Error> {
    let filter = make("capsfilter")?;
    let caps = gst::Caps::builder("audio/mpeg")
        .field("mpegversion", 4i32)
        .field("stream-format", "raw")
        .build();
    filter.set_property("caps", caps);
    Ok(filter)
}

/// Takes AAC packets over.
pub(super) fn remux(
    pipeline: &gst::Pipeline,
    a: &AudioScan,
    track: TrackId,
    shared: &Arc<Shared>,
) -> Result<gst::Element, Error> {
    let shared_ = Arc::clone(shared);
    let sink = aac_sink(track, shared, move |sample| {
        let pts = running_ns(sample.segment()?, sample.buffer()?.pts())?;
        Some(pts - shared_.base_ns)
    });
    let packets = queue(PACKETS_BYTES, PACKETS_SECONDS, 0)?;
    let parser = a.codec.parser.filter(|_| !a.framed).map(make).transpose()?;
    let row: Vec<_> = [Some(packets), parser, Some(raw_aac()?), Some(sink.upcast())]
        .into_iter()
        .flatten()
        .collect();
    build(pipeline, &row)
}

/// Decodes, puts the sound on the recording's line, encodes.
pub(super) fn convert(
    pipeline: &gst::Pipeline,
    a: &AudioScan,
    track: TrackId,
    shared: &Arc<Shared>,
) -> Result<gst::Element, Error> {
    let channels = if a.channels == 1 { 1 } else { 2 };
    let opus = a.codec.name == "opus";
    let rate_hz = if !opus && RATES.contains(&a.rate_hz) { a.rate_hz } else { RATES[0] };
    let first_ns = Arc::new(Mutex::new(0i64));
    let encoded = encode(pipeline, channels, rate_hz, track, shared, &first_ns)?;
    let decoder = a.codec.decoder().ok_or_else(|| {
        Error::Unsupported(format!("No decoder for {} is installed on this node.", a.codec.name))
    })?;
    let mut row = vec![queue(PACKETS_BYTES, PACKETS_SECONDS, 0)?];
    if let Some(parser) = a.codec.parser.filter(|_| !a.framed) {
        row.push(make(parser)?);
    }
    let filter = make("capsfilter")?;
    filter.set_property("caps", pcm("S16LE", channels, rate_hz));
    row.extend([make(decoder)?, make("audioconvert")?, make("audioresample")?, filter]);
    row.push(retime_sink(channels, rate_hz, track, shared, encoded, first_ns).upcast());
    build(pipeline, &row)
}

fn pcm(format: &str, channels: u32, rate_hz: u32) -> gst::Caps {
    let caps = gst::Caps::builder("audio/x-raw")
        .field("format", format)
        .field("layout", "interleaved")
        .field("channels", channels as i32)
        .field("rate", rate_hz as i32);
    if channels == 2 {
        caps.field("channel-mask", gst::Bitmask::new(3)).build()
    } else {
        caps.build()
    }
}

/// The second half: retimed samples in, AAC out to the .mp4.
fn encode(
    pipeline: &gst::Pipeline,
    channels: u32,
    rate_hz: u32,
    track: TrackId,
    shared: &Arc<Shared>,
    first_ns: &Arc<Mutex<i64>>,
) -> Result<gst_app::AppSrc, Error> {
    let aac = encoders::aac()?;
    let src = gst_app::AppSrc::builder()
        .caps(&pcm("S16LE", channels, rate_hz))
        .format(gst::Format::Time)
        .block(true)
        .max_bytes(SAMPLES_BYTES)
        .build();
    let filter = make("capsfilter")?;
    filter.set_property("caps", pcm(aac.format, channels, rate_hz));
    let first = Arc::clone(first_ns);
    let mut frames = -aac.lead_in;
    let sink = aac_sink(track, shared, move |_| {
        let at = frames * 1_000_000_000 / i64::from(rate_hz);
        frames += AAC_FRAME;
        Some(at + first.lock().map_or(0, |f| *f))
    });
    let encoder = encoders::make_aac(aac, channels)?;
    let row =
        [src.clone().upcast(), make("audioconvert")?, filter, encoder, raw_aac()?, sink.upcast()];
    build(pipeline, &row)?;
    Ok(src)
}

/// The first half's end: decoded samples into the retimer and on to the encoder.
fn retime_sink(
    channels: u32,
    rate_hz: u32,
    track: TrackId,
    shared: &Arc<Shared>,
    encoded: gst_app::AppSrc,
    first_ns: Arc<Mutex<i64>>,
) -> gst_app::AppSink {
    let retimer = Arc::new(Mutex::new(Retimer::new(channels as usize, rate_hz)));
    let send = move |samples: Vec<i16>, from: i64| {
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        if let Some(b) = buffer.get_mut() {
            let ns = from as u64 * 1_000_000_000 / u64::from(rate_hz);
            b.set_pts(gst::ClockTime::from_nseconds(ns));
        }
        // Refused only while the pipeline shuts down.
        let _ = encoded.push_buffer(buffer);
        encoded.clone()
    };
    let send = Arc::new(send);
    let (last, send_last, shared_last) =
        (Arc::clone(&retimer), Arc::clone(&send), Arc::clone(shared));
    let shared = Arc::clone(shared);
    let frames_of = move |s: &[i16]| (s.len() / channels as usize) as i64;
    let mut sent = 0i64;
    let sent_total = Arc::new(Mutex::new(0i64));
    let sent_last = Arc::clone(&sent_total);
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let (Some(buffer), Some(segment)) = (sample.buffer(), sample.segment()) else {
                return Ok(gst::FlowSuccess::Ok);
            };
            let pts = running_ns(segment, buffer.pts()).map(|ns| ns - shared.base_ns);
            shared.activity.saw(pts);
            let data = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
            let samples = data.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
            let mut retimer = retimer.lock().map_err(|_| gst::FlowError::Error)?;
            retimer.push(pts, samples, &mut |s| {
                let n = frames_of(&s);
                let _ = send(s, sent);
                sent += n;
            });
            if let (Some(ns), Ok(mut first)) = (retimer.first_ns(), first_ns.lock()) {
                *first = ns;
            }
            if let Ok(mut total) = sent_total.lock() {
                *total = sent;
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| {
            let Ok(mut retimer) = last.lock() else { return };
            let mut sent = sent_last.lock().map_or(0, |t| *t);
            retimer.finish(&mut |s| {
                let n = frames_of(&s);
                let _ = send_last(s, sent);
                sent += n;
            });
            if let Ok(mut mended) = shared_last.mended.lock() {
                *mended = retimer.mended();
            }
            let start = retimer.first_ns().unwrap_or(0);
            let end = start + retimer.emitted() * 1_000_000_000 / i64::from(rate_hz);
            let _ = shared_last.write(|w| {
                w.start(track, start);
                w.end(track, end);
                Ok(())
            });
            // Encoders keep the last of their lead-in to themselves; the edit list ends the film.
            let tail = vec![0; (2 * AAC_FRAME + TAIL) as usize * channels as usize];
            let source = send_last(tail, sent);
            let _ = source.end_of_stream();
        });
    let sink = gst_app::AppSink::builder().sync(false).callbacks(callbacks.build()).build();
    sink.set_property("async", false);
    sink.set_property("max-buffers", 64u32);
    sink
}

/// Where AAC leaves the pipeline for the .mp4; `time` gives each frame's time.
fn aac_sink(
    track: TrackId,
    shared: &Arc<Shared>,
    mut time: impl FnMut(&gst::Sample) -> Option<i64> + Send + 'static,
) -> gst_app::AppSink {
    let shared = Arc::clone(shared);
    let mut known = false;
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        if !known {
            let format = aac_format(&sample).ok_or(gst::FlowError::NotNegotiated)?;
            shared.format(track, format)?;
            known = true;
        }
        let Some(pts) = time(&sample) else { return Ok(gst::FlowSuccess::Ok) };
        let Some(buffer) = sample.buffer() else { return Ok(gst::FlowSuccess::Ok) };
        let data = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        shared.activity.saw(Some(pts));
        shared.write(|w| w.push(track, &[&data], pts, true))
    });
    let sink = gst_app::AppSink::builder().sync(false).callbacks(callbacks.build()).build();
    sink.set_property("async", false);
    sink.set_property("max-buffers", 64u32);
    sink
}

fn aac_format(sample: &gst::Sample) -> Option<Format> {
    let s = sample.caps()?.structure(0)?;
    let config = s.get::<gst::Buffer>("codec_data").ok()?;
    let config = config.map_readable().ok()?.to_vec();
    let facts = aac::config(&config)?;
    let channels = s.get::<i32>("channels").ok().and_then(|v| u32::try_from(v).ok());
    let channels = if facts.channels > 0 { facts.channels } else { channels.unwrap_or(2) };
    Some(Format::Aac { config, channels, rate_hz: facts.rate_hz })
}

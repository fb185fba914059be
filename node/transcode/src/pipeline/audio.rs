//! The audio's branches.

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use holdfast_core::transform::Channels;

use super::{Shared, downmix, queue};
use crate::aac;
use crate::encoders;
use crate::error::Error;
use crate::limiter::Limiter;
use crate::loudness;
use crate::mp4::{Format, TrackId};
use crate::plan::{self, Plan};
use crate::probe::AudioScan;
use crate::retime::{Mended, Retimer, Sample};
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

/// Takes AAC packets over; decodes beside it what is drawn of them.
pub(super) fn remux(
    pipeline: &gst::Pipeline,
    a: &AudioScan,
    track: TrackId,
    plan: &Plan,
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
    let head = build(pipeline, &row)?;
    if !plan.waveform {
        return Ok(head);
    }
    let tee = build(pipeline, &[make("tee")?])?;
    for branch in [&head, &drawn_only(pipeline, a, shared)?] {
        tee.link(branch).map_err(Error::internal("cannot fork the sound"))?;
    }
    Ok(tee)
}

/// Decodes what is drawn of the sound.
pub(super) fn drawn_only(
    pipeline: &gst::Pipeline,
    a: &AudioScan,
    shared: &Arc<Shared>,
) -> Result<gst::Element, Error> {
    let channels = plan::channels(a, Channels::Keep);
    let mut row = decoded::<i16>(a, channels)?;
    draw::<i16>(&row[row.len() - 1], channels, rate_hz(a), shared)?;
    let sink = make("fakesink")?;
    sink.set_property("sync", false);
    sink.set_property("async", false);
    row.push(sink);
    build(pipeline, &row)
}

/// Decodes, puts the sound on the recording's line, encodes.
pub(super) fn convert(
    pipeline: &gst::Pipeline,
    a: &AudioScan,
    track: TrackId,
    plan: &Plan,
    shared: &Arc<Shared>,
) -> Result<gst::Element, Error> {
    match plan.gain {
        None => convert_in::<i16>(pipeline, a, track, plan, shared, None),
        // In floats, so that what is louder than full scale is brought down instead of cut off.
        Some(gain) => {
            let limiter =
                Limiter::new(plan.channels as usize, rate_hz(a), gain.db, loudness::CEILING_DB);
            convert_in::<f32>(pipeline, a, track, plan, shared, Some(limiter))
        }
    }
}

fn convert_in<S: Sample>(
    pipeline: &gst::Pipeline,
    a: &AudioScan,
    track: TrackId,
    plan: &Plan,
    shared: &Arc<Shared>,
    limiter: Option<Limiter>,
) -> Result<gst::Element, Error> {
    let (channels, rate_hz) = (plan.channels, rate_hz(a));
    let first_ns = Arc::new(Mutex::new(0i64));
    let encoded = encode(pipeline, S::FORMAT, channels, rate_hz, track, shared, &first_ns)?;
    let mut row = decoded::<S>(a, channels)?;
    if plan.waveform {
        draw::<S>(&row[row.len() - 1], channels, rate_hz, shared)?;
    }
    row.push(
        retime_sink::<S>(channels, rate_hz, track, shared, encoded, first_ns, limiter).upcast(),
    );
    build(pipeline, &row)
}

/// Samples a second that a film gets.
pub(super) fn rate_hz(a: &AudioScan) -> u32 {
    let opus = a.codec.name == "opus";
    if !opus && RATES.contains(&a.rate_hz) { a.rate_hz } else { RATES[0] }
}

/// From packets to samples in so many channels.
pub(super) fn decoded<S: Sample>(a: &AudioScan, channels: u32) -> Result<Vec<gst::Element>, Error> {
    let decoder = a.codec.decoder().ok_or_else(|| {
        Error::Unsupported(format!("No decoder for {} is installed on this node.", a.codec.name))
    })?;
    let mut row = vec![queue(PACKETS_BYTES, PACKETS_SECONDS, 0)?];
    if let Some(parser) = a.codec.parser.filter(|_| !a.framed) {
        row.push(make(parser)?);
    }
    let filter = make("capsfilter")?;
    filter.set_property("caps", pcm(S::FORMAT, channels, rate_hz(a)));
    let convert = make("audioconvert")?;
    downmix::set(&convert, channels);
    row.extend([make(decoder)?, convert, make("audioresample")?, filter]);
    Ok(row)
}

/// Lets the waveform hear what leaves an element.
fn draw<S: Sample>(
    element: &gst::Element,
    channels: u32,
    rate_hz: u32,
    shared: &Arc<Shared>,
) -> Result<(), Error> {
    let pad = element.static_pad("src");
    let pad = pad.ok_or_else(|| Error::Internal("a filter without a pad".into()))?;
    let shared = Arc::clone(shared);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
        let segment = pad.sticky_event::<gst::event::Segment>(0);
        let pts = segment.and_then(|s| running_ns(s.segment(), buffer.pts()));
        let at = pts.map(|ns| ns - shared.base_ns);
        shared.activity.saw(at);
        if let (Ok(data), Ok(mut pictures)) = (buffer.map_readable(), shared.pictures.lock())
            && let Some(waveform) = pictures.waveform()
        {
            let samples = data.chunks_exact(S::BYTES).map(|b| S::read(b).loudness());
            waveform.hear(at, samples, channels, rate_hz);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
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
    format: &str,
    channels: u32,
    rate_hz: u32,
    track: TrackId,
    shared: &Arc<Shared>,
    first_ns: &Arc<Mutex<i64>>,
) -> Result<gst_app::AppSrc, Error> {
    let aac = encoders::aac()?;
    let src = gst_app::AppSrc::builder()
        .caps(&pcm(format, channels, rate_hz))
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

/// Retimed samples on their way to the encoder.
struct Feed {
    source: gst_app::AppSrc,
    channels: usize,
    rate_hz: u32,
    limiter: Option<Limiter>,
    sent: u64,
}

impl Feed {
    fn send<S: Sample>(&mut self, samples: Vec<S>) {
        match &mut self.limiter {
            None => self.push(&samples),
            Some(limiter) => {
                let floats: Vec<f32> = samples.into_iter().map(Sample::loudness).collect();
                let limited = limiter.push(&floats);
                self.push(&limited);
            }
        }
    }

    fn push<S: Sample>(&mut self, samples: &[S]) {
        if samples.is_empty() {
            return;
        }
        let mut bytes = Vec::with_capacity(samples.len() * S::BYTES);
        samples.iter().for_each(|s| s.write(&mut bytes));
        let mut buffer = gst::Buffer::from_mut_slice(bytes);
        if let Some(b) = buffer.get_mut() {
            let ns = self.sent * 1_000_000_000 / u64::from(self.rate_hz);
            b.set_pts(gst::ClockTime::from_nseconds(ns));
        }
        self.sent += (samples.len() / self.channels) as u64;
        // Refused only while the pipeline shuts down.
        let _ = self.source.push_buffer(buffer);
    }

    /// Sends the rest, and the end.
    fn end<S: Sample>(&mut self) {
        if let Some(rest) = self.limiter.as_mut().map(Limiter::finish) {
            self.push(&rest);
        }
        // Encoders keep the last of their lead-in to themselves; the edit list ends the film.
        self.push(&vec![S::default(); (2 * AAC_FRAME + TAIL) as usize * self.channels]);
        let _ = self.source.end_of_stream();
    }
}

/// The first half's end: decoded samples into the retimer and on to the encoder.
fn retime_sink<S: Sample>(
    channels: u32,
    rate_hz: u32,
    track: TrackId,
    shared: &Arc<Shared>,
    source: gst_app::AppSrc,
    first_ns: Arc<Mutex<i64>>,
    limiter: Option<Limiter>,
) -> gst_app::AppSink {
    let feed = Feed { source, channels: channels as usize, rate_hz, limiter, sent: 0 };
    let state = Arc::new(Mutex::new((Retimer::<S>::new(channels as usize, rate_hz), feed)));
    let (last, shared_last) = (Arc::clone(&state), Arc::clone(shared));
    let shared = Arc::clone(shared);
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let (Some(buffer), Some(segment)) = (sample.buffer(), sample.segment()) else {
                return Ok(gst::FlowSuccess::Ok);
            };
            let pts = running_ns(segment, buffer.pts()).map(|ns| ns - shared.base_ns);
            shared.activity.saw(pts);
            let data = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
            let samples = data.chunks_exact(S::BYTES).map(S::read).collect();
            let mut state = state.lock().map_err(|_| gst::FlowError::Error)?;
            let (retimer, feed) = &mut *state;
            retimer.push(pts, samples, &mut |s| feed.send(s));
            if let (Some(ns), Ok(mut first)) = (retimer.first_ns(), first_ns.lock()) {
                *first = ns;
            }
            Ok(gst::FlowSuccess::Ok)
        })
        .eos(move |_| {
            let Ok(mut state) = last.lock() else { return };
            let (retimer, feed) = &mut *state;
            retimer.finish(&mut |s| feed.send(s));
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
            feed.end::<S>();
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

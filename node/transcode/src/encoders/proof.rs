//! Proofs: a clip is encoded, taken apart, decoded in software and compared; decoders are compared with
//! software that decodes the same stream; and where frames can stay in the device's memory, the whole
//! way is gone once, at half the size.
//!
//! This runs in a child of its own, which its parent ends when it takes too long.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use holdfast_core::hardware::{Candidate, DecoderProof, Proof, Verdict};
use holdfast_core::transform::Quality;

use super::chains::{self, Size};
use super::clip::{self, Clip};
use super::families::Found;
use super::{candidates, check_packet};
use crate::clock::Stopwatch;
use crate::codec;
use crate::probe::avc_filter;
use crate::source::make;

/// Least likeness of an encoded clip, in decibels. Quantizers of today's settings give 35 and more;
/// frames that are shifted, green, swapped or late give less than 25.
const ENCODED_DB_MIN: f32 = 28.0;
/// Least likeness of two decoders' output: H.264, VP8, VP9 and AV1 leave no freedom, MPEG-2 little.
const DECODED_DB_MIN: f32 = 40.0;
/// Longest that a pipeline may stand still.
const STANDSTILL: Duration = Duration::from_secs(10);

/// A codec, an encoder, and its settings.
type Maker = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Software that makes a stream of each codec.
const MAKERS: &[Maker] = &[
    ("h264", "x264enc", &[("speed-preset", "ultrafast")]),
    ("h265", "x265enc", &[("speed-preset", "ultrafast")]),
    ("vp8", "vp8enc", &[("deadline", "1"), ("cpu-used", "8"), ("target-bitrate", "2000000")]),
    ("vp9", "vp9enc", &[("deadline", "1"), ("cpu-used", "8"), ("target-bitrate", "2000000")]),
    ("av1", "av1enc", &[("usage-profile", "realtime"), ("cpu-used", "8")]),
    ("mpeg2", "avenc_mpeg2video", &[("bitrate", "4000000")]),
    ("mpeg4", "avenc_mpeg4", &[("bitrate", "4000000")]),
];

/// Proves a candidate and whatever else its device can do.
pub(crate) fn prove(candidate: Candidate) -> Proof {
    let Some(found) = candidates::find(&candidate.name) else {
        return Proof::failed(candidate, "there is no such candidate here");
    };
    let clip = clip::long();
    let device = device(&found);
    let (verdict, pixels_per_s) = match encoder(&found, &clip) {
        Ok(Encoded { psnr_db, marks }) => {
            (Verdict::Works { psnr_db }, marks.pixels_per_s(clip.pixels_of_a_frame()))
        }
        Err(reason) => (Verdict::fails(reason), 0),
    };
    let decoders = found
        .parts
        .decoders
        .iter()
        .filter_map(|(codec, _)| found.decoder(codec).map(|element| (*codec, element)))
        .map(|(codec, element)| decoder(&found, codec, element, verdict.works(), &clip))
        .collect();
    Proof { candidate, device, encoder: verdict, pixels_per_s, decoders }
}

/// The device as the element names it.
fn device(found: &Found) -> Option<String> {
    let property = found.parts.device?;
    let element = make(&found.candidate.encoder).ok()?;
    let known = element.find_property(property)?;
    let value = element.property_value(property);
    if let Ok(number) = value.get::<u32>() {
        return Some(format!("cuda{number}"));
    }
    let path = value.get::<Option<String>>().ok().flatten();
    path.filter(|path| !path.is_empty() && known.flags().contains(gst::glib::ParamFlags::READABLE))
}

/// An encoder that works.
#[derive(Debug)]
pub(super) struct Encoded {
    psnr_db: f32,
    marks: Marks,
}

/// When frames went into a row of elements and came out of it.
#[derive(Debug, Default)]
struct Marks {
    went_in: Vec<Duration>,
    came_out: Vec<Duration>,
}

impl Marks {
    /// Speed once it runs: a driver's start takes longer than a clip. It is told from the slower of
    /// both ends, since an encoder may take in or give out many frames at once. The second frame goes
    /// in when the first, with which drivers start, was taken.
    fn pixels_per_s(&self, pixels_of_a_frame: u64) -> u64 {
        let nanos_of_a_frame = |marks: &[Duration]| {
            let (first, last) = (marks.first()?, marks.last()?);
            let frames = (marks.len() as u128).checked_sub(1).filter(|frames| *frames > 0)?;
            Some(last.saturating_sub(*first).as_nanos() / frames)
        };
        let after_the_first = self.went_in.get(1..).unwrap_or_default();
        let ends = [nanos_of_a_frame(after_the_first), nanos_of_a_frame(&self.came_out)];
        let Some(nanos) = ends.into_iter().flatten().max() else { return 0 };
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX).max(1);
        pixels_of_a_frame.saturating_mul(1_000_000_000) / nanos
    }
}

/// Notes when buffers pass a pad.
fn note_times(pad: &gst::Pad, watch: Stopwatch) -> Arc<Mutex<Vec<Duration>>> {
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        if let Ok(mut times) = noted.lock() {
            times.push(watch.elapsed());
        }
        gst::PadProbeReturn::Ok
    });
    times
}

/// The times noted so far.
fn noted(times: &Mutex<Vec<Duration>>) -> Vec<Duration> {
    times.lock().map(|times| times.clone()).unwrap_or_default()
}

/// Encodes a clip, takes the result apart, decodes it and compares.
pub(super) fn encoder(found: &Found, clip: &Clip) -> Result<Encoded, String> {
    let size = Size { width: clip.width, height: clip.height, fps: 30 };
    let mut row = chains::encode(found, size, Quality::Standard).map_err(|e| e.to_string())?;
    row.extend(to_avc()?);
    let pad = |element: Option<&gst::Element>, name| element.and_then(|e| e.static_pad(name));
    let ends = pad(row.first(), "sink").zip(pad(row.last(), "src"));
    let (first, last) = ends.ok_or("it has no ends")?;
    let watch = Stopwatch::start();
    let (went_in, came_out) = (note_times(&first, watch), note_times(&last, watch));
    let samples = run(&clip.caps(), clip.buffers(), row)?;
    let psnr_db = compare(clip, &samples)?;
    let marks = Marks { went_in: noted(&went_in), came_out: noted(&came_out) };
    Ok(Encoded { psnr_db, marks })
}

fn decoder(
    found: &Found,
    codec: &'static str,
    element: String,
    encodes: bool,
    clip: &Clip,
) -> DecoderProof {
    let stream = match stream(codec, clip) {
        Ok(stream) => stream,
        Err(reason) => {
            let verdict = Verdict::fails(format!("there was nothing to try it with: {reason}"));
            return DecoderProof {
                codec: codec.into(),
                element,
                decode: verdict.clone(),
                whole: verdict,
            };
        }
    };
    let told = |result: Result<f32, String>| match result {
        Ok(psnr_db) => Verdict::Works { psnr_db },
        Err(reason) => Verdict::fails(reason),
    };
    let decode = told(decodes(&element, &stream));
    let whole = if !encodes || !decode.works() {
        Verdict::fails("one of its ends does not work")
    } else if found.postproc().is_none() {
        Verdict::fails("nothing scales in its memory")
    } else {
        told(goes_whole(found, &element, &stream))
    };
    DecoderProof { codec: codec.into(), element, decode, whole }
}

/// A stream to decode, and what software makes of it.
struct Stream {
    caps: gst::Caps,
    packets: Vec<gst::Buffer>,
    parser: Option<&'static str>,
    reference: Clip,
}

fn stream(codec: &str, clip: &Clip) -> Result<Stream, String> {
    let (_, maker, settings) =
        MAKERS.iter().find(|(c, _, _)| *c == codec).ok_or("no software makes this codec")?;
    let encoder = make(maker).map_err(|e| e.to_string())?;
    for (name, value) in *settings {
        if encoder.find_property(name).is_some() {
            encoder.set_property_from_str(name, value);
        }
    }
    let samples = run(&clip.caps(), clip.buffers(), vec![encoder])?;
    let caps = samples.first().and_then(|s| s.caps_owned()).ok_or("it made nothing")?;
    let packets: Vec<_> = samples.iter().filter_map(|s| s.buffer_owned()).collect();
    let known = codec::of_caps(&caps).ok_or("an unknown codec")?;
    let software = known.decoder().ok_or("no software decodes this codec")?;
    let row = software_row(known.parser, software)?;
    let reference = Clip::of_samples(&run(&caps, packets.clone(), row)?)?;
    Ok(Stream { caps, packets, parser: known.parser, reference })
}

fn software_row(parser: Option<&str>, decoder: &str) -> Result<Vec<gst::Element>, String> {
    let names = parser.into_iter().chain([decoder, "videoconvert"]);
    let mut row = names.map(make).collect::<Result<Vec<_>, _>>().map_err(|e| e.to_string())?;
    row.push(i420()?);
    Ok(row)
}

fn decodes(element: &str, stream: &Stream) -> Result<f32, String> {
    let mut row = Vec::new();
    for name in stream.parser.into_iter().chain([element]) {
        row.push(make(name).map_err(|e| e.to_string())?);
    }
    row.push(chains::download().map_err(|e| e.to_string())?);
    row.extend([make("videoconvert").map_err(|e| e.to_string())?, i420()?]);
    let made = Clip::of_samples(&run(&stream.caps, stream.packets.clone(), row)?)?;
    like(&stream.reference, &made, DECODED_DB_MIN)
}

fn goes_whole(found: &Found, element: &str, stream: &Stream) -> Result<f32, String> {
    let half = stream.reference.halved();
    let size = Size { width: half.width, height: half.height, fps: 30 };
    let mut row = Vec::new();
    if let Some(parser) = stream.parser {
        row.push(make(parser).map_err(|e| e.to_string())?);
    }
    row.push(make(element).map_err(|e| e.to_string())?);
    row.extend(chains::whole(found, size, Quality::Standard).map_err(|e| e.to_string())?);
    row.extend(to_avc()?);
    compare(&half, &run(&stream.caps, stream.packets.clone(), row)?)
}

/// Takes H.264 apart, decodes it in software, and compares with what it should be.
fn compare(clip: &Clip, samples: &[gst::Sample]) -> Result<f32, String> {
    for (i, sample) in samples.iter().enumerate() {
        check_packet(sample, (clip.width, clip.height), i == 0)?;
    }
    if samples.len() != clip.frames.len() {
        return Err(format!("{} of {} frames", samples.len(), clip.frames.len()));
    }
    let caps = samples.first().and_then(|s| s.caps_owned()).ok_or("it made nothing")?;
    let known = codec::of_caps(&caps).ok_or("it made no H.264")?;
    let software = known.decoder().ok_or("no software decodes H.264 here")?;
    let packets = samples.iter().filter_map(|s| s.buffer_owned()).collect();
    let decoded = run(&caps, packets, software_row(known.parser, software)?)
        .map_err(|reason| format!("what it made cannot be decoded: {reason}"))?;
    like(clip, &Clip::of_samples(&decoded)?, ENCODED_DB_MIN)
}

fn like(wanted: &Clip, made: &Clip, least_db: f32) -> Result<f32, String> {
    let psnr_db = wanted.likeness(made)?;
    if psnr_db < least_db {
        return Err(format!(
            "what it made does not look like what it was given ({psnr_db:.1} dB, at least \
             {least_db:.0} wanted)"
        ));
    }
    Ok(psnr_db)
}

fn to_avc() -> Result<[gst::Element; 2], String> {
    let parser = make("h264parse").map_err(|e| e.to_string())?;
    Ok([parser, avc_filter().map_err(|e| e.to_string())?])
}

fn i420() -> Result<gst::Element, String> {
    let filter = make("capsfilter").map_err(|e| e.to_string())?;
    filter.set_property("caps", gst::Caps::builder("video/x-raw").field("format", "I420").build());
    Ok(filter)
}

/// Sends buffers through a row of elements; gives what comes out. What stands still is left as it is:
/// stopping it could hang as well.
fn run(
    caps: &gst::Caps,
    buffers: Vec<gst::Buffer>,
    row: Vec<gst::Element>,
) -> Result<Vec<gst::Sample>, String> {
    let pipeline = gst::Pipeline::new();
    let src = gst_app::AppSrc::builder().caps(caps).format(gst::Format::Time).build();
    let sink = gst_app::AppSink::builder().sync(false).build();
    let mut all = vec![src.clone().upcast::<gst::Element>()];
    all.extend(row);
    all.push(sink.clone().upcast());
    pipeline.add_many(&all).map_err(|e| e.to_string())?;
    gst::Element::link_many(&all).map_err(|e| e.to_string())?;
    let result = play(&pipeline, &src, &sink, buffers);
    if let Err(Broken::Still) = result {
        Box::leak(Box::new(pipeline));
    } else {
        let _ = pipeline.set_state(gst::State::Null);
    }
    result.map_err(|broken| match broken {
        Broken::Still => format!("it stood still for {} s", STANDSTILL.as_secs()),
        Broken::Said(what) => what,
    })
}

enum Broken {
    Still,
    Said(String),
}

fn play(
    pipeline: &gst::Pipeline,
    src: &gst_app::AppSrc,
    sink: &gst_app::AppSink,
    buffers: Vec<gst::Buffer>,
) -> Result<Vec<gst::Sample>, Broken> {
    let bus = pipeline.bus().ok_or_else(|| Broken::Said("a pipeline without a bus".into()))?;
    let said = || {
        let message = bus.pop_filtered(&[gst::MessageType::Error])?;
        let gst::MessageView::Error(e) = message.view() else { return None };
        Some(Broken::Said(e.error().to_string()))
    };
    if pipeline.set_state(gst::State::Playing).is_err() {
        return Err(said().unwrap_or_else(|| Broken::Said("it does not start".into())));
    }
    for buffer in buffers {
        // Why it is refused is told on the bus.
        if src.push_buffer(buffer).is_err() {
            break;
        }
    }
    let _ = src.end_of_stream();
    let mut samples = Vec::new();
    let mut still = Stopwatch::start();
    loop {
        if let Some(sample) = sink.try_pull_sample(gst::ClockTime::from_mseconds(100)) {
            samples.push(sample);
            still = Stopwatch::start();
        } else if let Some(broken) = said() {
            return Err(broken);
        } else if sink.is_eos() {
            return Ok(samples);
        } else if still.elapsed() > STANDSTILL {
            return Err(Broken::Still);
        }
    }
}

#[cfg(test)]
mod tests {
    use holdfast_core::hardware::Family;

    use super::*;

    #[test]
    fn software_of_this_machine_proves_itself() {
        gst::init().unwrap();
        for family in [Family::X264, Family::Openh264] {
            let found = candidates::software(family).unwrap();
            let proof = prove(found.candidate);
            assert!(proof.encoder.works() && proof.pixels_per_s > 0, "{proof:?}");
        }
    }

    #[test]
    fn speed_is_that_of_an_encoder_that_has_started() {
        let at = |all: &[u64]| all.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        let speed = |went_in: &[u64], came_out: &[u64]| {
            Marks { went_in: at(went_in), came_out: at(came_out) }.pixels_per_s(1000)
        };
        // Two seconds of start, then a frame each 10 ms.
        let steady = [2000, 2010, 2020, 2030];
        assert_eq!(speed(&[0, 2000, 2010, 2020], &steady), 100_000);
        // It takes all at once, or gives all at once.
        assert_eq!(speed(&[0, 2000, 2000, 2000], &steady), 100_000);
        assert_eq!(speed(&[0, 2000, 2010, 2020], &[2030; 4]), 100_000);
        assert_eq!(speed(&[0], &[1]), 0);
    }

    #[test]
    fn what_does_not_encode_is_refused() {
        gst::init().unwrap();
        let mut found = candidates::software(Family::X264).unwrap();
        found.candidate.encoder = "identity".into();
        assert!(encoder(&found, &clip::short()).is_err());
        found.candidate.encoder = "nvh264enc-none".into();
        assert!(encoder(&found, &clip::short()).is_err());
    }
}

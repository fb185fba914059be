//! What a recording is, learnt by reading it to its end without decoding it.
//!
//! Recorders write no duration, or that of the first fragment; sizes in headers are those of the
//! first frame. So the whole file is taken apart once (cheap: nothing is decoded) and what came
//! through is what counts: streams with at least one packet, first and last times, sizes.
//! Everything later relies on this: the muxer is only told of streams that have data, and no
//! decoder sees a recording whose frames exceed the limit.
//!
//! All times are running times in nanoseconds and may be negative (an edit list's lead-in).

use std::fs::File;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;

use crate::codec::{self, Codec, Kind};
use crate::container::{self, Container};
use crate::error::{Error, at};
use crate::even::Even;
use crate::geometry::Orientation;
use crate::mp4::reader;
use crate::nesting;
use crate::source::{self, Input};
use crate::stream::{Packets, Stream};
use crate::tone::Curve;
use crate::truncation::shape;
use crate::watch::{Activity, Ended, Watch};

/// What there is to know of the video before decoding it.
#[derive(Debug, Clone)]
pub(crate) struct VideoScan {
    /// Codec.
    pub(crate) codec: &'static Codec,
    /// Name of the demuxer's pad.
    pub(crate) pad: String,
    /// Packets in it.
    pub(crate) packets: u64,
    /// Time of the first frame.
    pub(crate) first_ns: i64,
    /// End of the last frame.
    pub(crate) end_ns: i64,
    /// How long the last frame shows.
    pub(crate) last_frame_ns: i64,
    /// Times of the key frames, rising.
    pub(crate) keyframes: Vec<i64>,
    /// Sizes in the order seen; neighbours differ.
    pub(crate) sizes: Vec<(u32, u32)>,
    /// Shape of a pixel.
    pub(crate) par: (u32, u32),
    /// Clockwise rotation for showing, in degrees.
    pub(crate) rotation: u16,
    /// Whether left and right change places after that.
    pub(crate) mirrored: bool,
    /// Colours as the container names them.
    pub(crate) colorimetry: Option<String>,
    /// H.264 of a profile that every player reads.
    pub(crate) plain_h264: bool,
    /// Some packets have no time.
    pub(crate) pts_missing: bool,
    /// Parameter sets come with the key frames (`avc3`, byte streams).
    pub(crate) sets_in_band: bool,
    /// The rate, where the frames' distances are all the same.
    pub(crate) even: Option<Even>,
    /// H.264 frames larger than the only parameter set says: the sets of a later size are lost.
    pub(crate) lost_sets: bool,
    /// Where each key frame lies, of a recording that is still coming in.
    pub(crate) places: Vec<u64>,
}

impl VideoScan {
    /// How it is to be shown, by its own matrix.
    pub(crate) fn orientation(&self) -> Orientation {
        Orientation { degrees: self.rotation, mirrored: self.mirrored }
    }

    /// How light is written down, where it is another way than the .mp4's.
    pub(crate) fn curve(&self) -> Option<Curve> {
        use gstreamer_video::{VideoColorPrimaries, VideoColorimetry, VideoTransferFunction};
        let colours: VideoColorimetry = self.colorimetry.as_ref()?.parse().ok()?;
        match (colours.transfer(), colours.primaries()) {
            (VideoTransferFunction::Smpte2084, _) => Some(Curve::Pq),
            (VideoTransferFunction::AribStdB67, _) => Some(Curve::Hlg),
            (_, VideoColorPrimaries::Bt2020) => Some(Curve::Television),
            _ => None,
        }
    }
}

impl VideoScan {
    fn is_built_like(&self, whole: &Self) -> bool {
        let built = |v: &Self| (v.par, v.rotation, v.mirrored, v.plain_h264, v.sets_in_band);
        self.codec == whole.codec
            && self.pad == whole.pad
            && self.sizes == whole.sizes
            && self.sizes.len() == 1
            && self.colorimetry == whole.colorimetry
            && built(self) == built(whole)
            && !whole.pts_missing
            && !whole.lost_sets
    }
}

/// What there is to know of the audio before decoding it.
#[derive(Debug, Clone)]
pub(crate) struct AudioScan {
    /// Codec.
    pub(crate) codec: &'static Codec,
    /// Name of the demuxer's pad.
    pub(crate) pad: String,
    /// Time of the first packet.
    pub(crate) first_ns: i64,
    /// End of the last packet.
    pub(crate) end_ns: i64,
    /// Channels, where the container says.
    pub(crate) channels: u32,
    /// Samples per second, where the container says.
    pub(crate) rate_hz: u32,
    /// Some packets have no time.
    pub(crate) pts_missing: bool,
    /// AAC that comes in whole frames with its configuration.
    pub(crate) framed: bool,
}

impl AudioScan {
    fn is_built_like(&self, whole: &Self) -> bool {
        let built = |a: &Self| (a.codec.name, a.channels, a.rate_hz, a.framed);
        self.pad == whole.pad && built(self) == built(whole) && !whole.pts_missing
    }
}

/// A recording, read to its end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scan {
    /// Container.
    pub(crate) container: Option<Container>,
    /// The first video stream with data.
    pub(crate) video: Option<VideoScan>,
    /// The first audio stream with data.
    pub(crate) audio: Option<AudioScan>,
    /// It is cut off, or cannot be read to its end.
    pub(crate) cut: bool,
    /// Sentences for people.
    pub(crate) remarks: Vec<String>,
}

impl Scan {
    /// The recording's zero: where its first stream begins.
    pub(crate) fn base_ns(&self) -> i64 {
        let firsts =
            [self.video.as_ref().map(|v| v.first_ns), self.audio.as_ref().map(|a| a.first_ns)];
        // A lead-in before zero is no part of the film.
        firsts.into_iter().flatten().min().unwrap_or(0).max(0)
    }

    /// Its length.
    pub(crate) fn duration_ns(&self) -> i64 {
        let ends = [self.video.as_ref().map(|v| v.end_ns), self.audio.as_ref().map(|a| a.end_ns)];
        ends.into_iter().flatten().max().unwrap_or(0) - self.base_ns()
    }

    /// Whether the recording itself says that its times cannot be relied upon.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.cut
            || self.video.as_ref().is_some_and(|v| v.pts_missing || v.lost_sets)
            || self.audio.as_ref().is_some_and(|a| a.pts_missing)
    }

    /// Whether a film that was begun by the scan of a recording's beginning goes on to its end: all that
    /// a pipeline is built by is the same.
    pub(crate) fn check_same(&self, whole: &Self) -> Result<(), Error> {
        let other = |what: &str| Error::NotLive(format!("{what} is not what its beginning said"));
        match (&self.video, &whole.video) {
            (None, None) => {}
            (Some(a), Some(b)) if a.is_built_like(b) => {}
            _ => return Err(other("its picture")),
        }
        match (&self.audio, &whole.audio) {
            (None, None) => {}
            (Some(a), Some(b)) if a.is_built_like(b) => {}
            _ => return Err(other("its sound")),
        }
        if self.base_ns() == whole.base_ns() { Ok(()) } else { Err(other("where it begins")) }
    }

    /// Pixels in an average second, were all frames of the largest size; 0 without video.
    pub(crate) fn pixels_per_s(&self) -> u64 {
        let Some(v) = &self.video else { return 0 };
        let pixels = v.sizes.iter().map(|&(w, h)| u64::from(w) * u64::from(h)).max().unwrap_or(0);
        let length_ns = self.duration_ns().max(1_000_000_000).unsigned_abs();
        let all = u128::from(pixels) * u128::from(v.packets) * 1_000_000_000;
        u64::try_from(all / u128::from(length_ns)).unwrap_or(u64::MAX)
    }
}

/// Reads a recording to its end.
pub(crate) fn probe(input: &Arc<Input>, watch: &mut Watch<'_>) -> Result<Scan, Error> {
    let container = container::identify(input)?;
    if container == Container::Quicktime {
        nesting::check(&input.file, input.bytes)?;
    }
    let shape = shape(&input.file, input.bytes, container);
    if shape.header_only && matches!(container, Container::Quicktime | Container::Matroska) {
        return Err(header_only(input));
    }
    if let Some(end) = shape.meant_end.filter(|_| shape.cut_in_media) {
        input.meant_end.store(end, Ordering::Relaxed);
    }
    let (streams, ended) = read_through(input, container, watch)?;
    let mut scan = summarize(container, input, &streams, &ended)?;
    turn_by_matrix(&mut scan, &input.file, input.bytes);
    scan.cut = shape.meant_end.is_some() || matches!(ended, Ended::Error { .. });
    if shape.meant_end.is_some() && matches!(ended, Ended::Eos) {
        scan.remarks.push(format!(
            "The recording is cut off at {}, in the middle of a frame; all whole frames were kept.",
            at(scan.duration_ns())
        ));
    }
    Ok(scan)
}

/// Notes that a film is mirrored: qtdemux of GStreamer 1.22 tells of turning, but not of that.
pub(crate) fn turn_by_matrix(scan: &mut Scan, file: &File, bytes: u64) {
    let is_mp4 = scan.container == Some(Container::Quicktime);
    if let Some(v) = scan.video.as_mut().filter(|_| is_mp4)
        && let Some(own) = reader::orientation(file, bytes).filter(|o| o.mirrored)
    {
        (v.rotation, v.mirrored) = (own.degrees, true);
    }
}

/// The streams of a recording as they are found.
pub(crate) type Streams = Arc<Mutex<Vec<Arc<Mutex<Stream>>>>>;

/// The streams as they are now.
pub(crate) fn seen(streams: &Streams) -> Result<Vec<Stream>, Error> {
    let streams = streams.lock().map_err(Error::internal("reading"))?;
    Ok(streams.iter().filter_map(|s| s.lock().ok().map(|s| s.clone())).collect())
}

/// Reads what there is to its end.
pub(crate) fn read_through(
    input: &Arc<Input>,
    container: Container,
    watch: &mut Watch<'_>,
) -> Result<(Vec<Stream>, Ended), Error> {
    let pipeline = gst::Pipeline::new();
    let activity = Arc::new(Activity::default());
    let streams: Streams = Arc::default();
    let on_pad = {
        let (pipeline, activity, streams) =
            (pipeline.downgrade(), Arc::clone(&activity), Arc::clone(&streams));
        let pixels_max = watch.limits.frame_pixels_max;
        move |pad: &gst::Pad| {
            let Some(pipeline) = pipeline.upgrade() else { return };
            let caps = pad.current_caps().unwrap_or_else(gst::Caps::new_empty);
            let (tell, seen) = (Arc::clone(&activity), Arc::clone(&activity));
            let on_packet = move |_: &mut Stream, observed: Result<(), Error>| {
                if let Err(e) = observed {
                    tell.fail(e);
                }
            };
            let what = Followed { name: &pad.name(), caps: &caps, pixels_max };
            if let Err(e) = follow(&pipeline, pad, &what, &seen, &streams, on_packet) {
                activity.fail(e);
            }
        }
    };
    source::attach(&pipeline, input, container, on_pad)?;
    let ended = watch.play(&pipeline, &activity, input, None, |_, _| false);
    let ended = match ended {
        Ok(e) => e,
        Err(e) => {
            // Stopping a wedged pipeline can hang; the process ends soon anyway.
            Box::leak(Box::new(pipeline));
            return Err(e);
        }
    };
    pipeline.set_state(gst::State::Null).map_err(Error::internal("cannot stop the reading"))?;
    Ok((seen(&streams)?, ended))
}

/// One of the demuxer's pads, and the limit of its frames.
pub(crate) struct Followed<'a> {
    /// The pad's name.
    pub(crate) name: &'a str,
    /// What it says that comes out.
    pub(crate) caps: &'a gst::Caps,
    /// Largest frame, in pixels.
    pub(crate) pixels_max: u64,
}

/// Puts a parser and a counter behind what comes out of one of the demuxer's pads. `on_packet` sees the
/// stream after each packet, and what was found wrong with it.
pub(crate) fn follow(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    what: &Followed<'_>,
    activity: &Arc<Activity>,
    streams: &Streams,
    on_packet: impl Fn(&mut Stream, Result<(), Error>) + Send + Sync + 'static,
) -> Result<(), Error> {
    let Followed { name, caps, pixels_max } = *what;
    let codec = codec::of_caps(caps);
    let stream = Stream::new(name, caps, codec);
    let mut row = Vec::new();
    if let Some(codec) = codec {
        if let Some(parser) = codec.parser_for(caps) {
            row.push(source::make(parser)?);
        }
        if codec.name == "h264" {
            row.push(avc_filter()?);
        }
    }
    let sink = source::make("fakesink")?;
    sink.set_property("async", false);
    sink.set_property("sync", false);
    row.push(sink.clone());
    source::add_row(pipeline, &row).map_err(Error::internal("cannot read a stream"))?;
    let stream = Arc::new(Mutex::new(stream));
    if let Ok(mut all) = streams.lock() {
        all.push(Arc::clone(&stream));
    }
    if let Some(counted) = sink.static_pad("sink") {
        let activity = Arc::clone(activity);
        let types = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        counted.add_probe(types, move |pad, info| {
            if let Ok(mut stream) = stream.lock() {
                let observed = stream.observe(pad, info, pixels_max, &activity);
                on_packet(&mut stream, observed);
            }
            gst::PadProbeReturn::Ok
        });
    }
    let first = row[0].static_pad("sink");
    let linked = first.map(|sink| pad.link(&sink));
    if !matches!(linked, Some(Ok(_))) {
        return Err(Error::Internal(format!("cannot read the stream {name}")));
    }
    Ok(())
}

/// A filter that makes h264parse deliver whole frames with lengths instead of start codes.
pub(crate) fn avc_filter() -> Result<gst::Element, Error> {
    let filter = source::make("capsfilter")?;
    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", "avc")
        .field("alignment", "au")
        .build();
    filter.set_property("caps", caps);
    Ok(filter)
}

/// What there is to know of a recording of which all went by.
pub(crate) fn summarize(
    container: Container,
    input: &Input,
    streams: &[Stream],
    ended: &Ended,
) -> Result<Scan, Error> {
    let mut scan = Scan { container: Some(container), ..Scan::default() };
    let mut unknown = Vec::new();
    let mut extra = 0;
    for s in streams.iter().filter(|s| s.packets.count > 0) {
        match s.codec {
            Some(c) if c.kind == Kind::Video && scan.video.is_none() => {
                scan.video = Some(video_scan(c, s));
            }
            Some(c) if c.kind == Kind::Audio && scan.audio.is_none() => {
                scan.audio = Some(audio_scan(c, s));
            }
            Some(_) => extra += 1,
            None => unknown.push(s.caps_name.clone()),
        }
    }
    if let Some(v) = scan.video.as_ref().filter(|v| v.sizes.is_empty()) {
        return Err(Error::Unsupported(format!(
            "The size of the pictures ({}) cannot be told.",
            v.codec.name
        )));
    }
    if scan.video.is_none() && scan.audio.is_none() {
        return Err(nothing_found(input, streams, &unknown, ended));
    }
    if extra > 0 {
        scan.remarks.push(format!("{extra} further streams were left out; the first were taken."));
    }
    for name in unknown.iter().take(3) {
        scan.remarks.push(format!("A stream of the kind {name} was left out."));
    }
    if let Ended::Error { .. } = ended {
        scan.remarks.push(format!(
            "The recording cannot be read beyond {}; what comes before was kept.",
            at(scan.duration_ns())
        ));
    }
    Ok(scan)
}

fn nothing_found(input: &Input, streams: &[Stream], unknown: &[String], ended: &Ended) -> Error {
    if let Some(name) = unknown.first() {
        return Error::Unsupported(format!("This node cannot read streams of the kind {name}."));
    }
    match ended {
        Ended::Error { element, message, .. } if streams.is_empty() => Error::Damaged(format!(
            "The recording's header cannot be read ({} bytes, {element}: {message}).",
            input.bytes
        )),
        _ => header_only(input),
    }
}

fn header_only(input: &Input) -> Error {
    Error::NoMedia(format!(
        "The recording has a header but not one frame of picture or sound ({} bytes).",
        input.bytes
    ))
}

/// What there is to know of the video.
fn video_scan(codec: &'static Codec, s: &Stream) -> VideoScan {
    let p: &Packets = &s.packets;
    let last_frame_ns = p.last_frame_ns();
    VideoScan {
        codec,
        pad: s.pad.clone(),
        packets: p.count,
        first_ns: p.first_ns,
        end_ns: p.end_ns(),
        last_frame_ns,
        keyframes: s.keyframes.clone(),
        sizes: s.sizes.clone(),
        par: s.par,
        rotation: s.rotation,
        mirrored: false,
        colorimetry: s.colorimetry.clone(),
        plain_h264: s.config_profile.is_some_and(|p| [66, 77, 88, 100].contains(&p)),
        pts_missing: p.pts_missing,
        sets_in_band: s.sets_in_band,
        even: p.even(),
        lost_sets: s.lost_sets,
        places: s.places.clone(),
    }
}

fn audio_scan(codec: &'static Codec, s: &Stream) -> AudioScan {
    let p = &s.packets;
    AudioScan {
        codec,
        pad: s.pad.clone(),
        first_ns: p.first_ns,
        end_ns: p.end_ns(),
        channels: s.channels,
        rate_hz: s.rate_hz,
        pts_missing: p.pts_missing,
        framed: s.framed,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn codec(caps: &str) -> &'static Codec {
        gst::init().unwrap();
        codec::of_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap()
    }

    /// A second of 640x480 at 30 frames per second.
    pub(crate) fn video(caps: &'static str) -> VideoScan {
        VideoScan {
            codec: codec(caps),
            pad: "video_0".into(),
            packets: 30,
            first_ns: 0,
            end_ns: 1_000_000_000,
            last_frame_ns: 33_333_333,
            keyframes: vec![0],
            sizes: vec![(640, 480)],
            par: (1, 1),
            rotation: 0,
            mirrored: false,
            colorimetry: None,
            plain_h264: true,
            pts_missing: false,
            sets_in_band: false,
            even: None,
            lost_sets: false,
            places: Vec::new(),
        }
    }

    /// A second of mono at 48 kHz.
    pub(crate) fn audio(caps: &'static str) -> AudioScan {
        AudioScan {
            codec: codec(caps),
            pad: "audio_0".into(),
            first_ns: 0,
            end_ns: 1_000_000_000,
            channels: 1,
            rate_hz: 48_000,
            pts_missing: false,
            framed: true,
        }
    }

    #[test]
    fn zero_is_where_the_first_stream_begins() {
        let mut scan = Scan {
            video: Some(video("video/x-vp8")),
            audio: Some(audio("audio/x-opus")),
            ..Scan::default()
        };
        assert_eq!(scan.pixels_per_s(), 640 * 480 * 30);
        scan.video.as_mut().unwrap().first_ns = 300;
        scan.audio.as_mut().unwrap().first_ns = 200;
        assert_eq!(scan.base_ns(), 200);
        scan.audio.as_mut().unwrap().first_ns = -21_000_000;
        assert_eq!(scan.base_ns(), 0);
    }
}

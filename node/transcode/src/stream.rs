//! One stream as it passes by while a recording is read: counts, times, sizes.
//!
//! Costs a few integers for each packet and eight bytes for each key frame; nothing is kept of
//! the data. The limit on a frame's size is held here, before any decoder exists.

use gst::prelude::*;
use gstreamer as gst;

use crate::aac;
use crate::codec::{self, Codec, Kind};
use crate::error::{Error, at};
use crate::even::{Even, Steps};
use crate::frame_size::{jpeg_size, vp8_key_size, vp9_key_size};
use crate::h264::{self, AvcConfig};
use crate::watch::Activity;

const RECENT: usize = 64;
const MS: i64 = 1_000_000;
/// Most packets of one stream for each second of it. Opus comes in 400 at most, pictures in 240.
const PACKETS_PER_SECOND: u64 = 500;
/// And so many beside that, whenever they come.
const PACKETS_AT_ONCE: u64 = 50_000;

/// Times of a stream's packets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Packets {
    /// How many.
    pub(crate) count: u64,
    /// Earliest time.
    pub(crate) first_ns: i64,
    /// Latest time.
    pub(crate) last_ns: i64,
    /// Some came without a time.
    pub(crate) pts_missing: bool,
    last_duration_ns: Option<i64>,
    last_dts_ns: i64,
    least_delay_ns: Option<i64>,
    steps: Steps,
    recent: Vec<i64>,
}

impl Packets {
    fn add(&mut self, pts: Option<i64>, dts: Option<i64>, duration: Option<i64>) {
        self.count += 1;
        if let Some(dts) = dts {
            self.last_dts_ns = dts;
            if let Some(delay) = pts.map(|pts| pts - dts) {
                self.least_delay_ns = Some(self.least_delay_ns.map_or(delay, |d| d.min(delay)));
            }
        }
        let Some(pts) = pts else {
            self.pts_missing = true;
            return;
        };
        self.steps.add(pts);
        if self.recent.is_empty() {
            (self.first_ns, self.last_ns) = (pts, pts);
        }
        self.first_ns = self.first_ns.min(pts);
        if pts >= self.last_ns {
            self.last_ns = pts;
            self.last_duration_ns = duration;
        }
        if self.recent.len() == RECENT {
            self.recent.remove(0);
        }
        self.recent.push(pts);
    }

    /// A recording has no more packets than come in its time. Files of a few megabytes can hold
    /// millions of nothing, each of which costs as much as a real one.
    fn check(&self) -> Result<(), Error> {
        let span_ns = self.last_ns.max(self.last_dts_ns) - self.first_ns;
        let seconds = u64::try_from(span_ns / 1_000_000_000).unwrap_or(0);
        if self.count <= PACKETS_AT_ONCE + seconds.saturating_mul(PACKETS_PER_SECOND) {
            return Ok(());
        }
        Err(Error::Limit(format!(
            "A stream of the recording has {} frames in its first {}, more than {} frames a second \
             for long.",
            self.count,
            at(span_ns),
            PACKETS_PER_SECOND
        )))
    }

    /// When the last packet ends. Where packets come without times (MPEG program streams write one
    /// for a few frames) the last of them are counted on by when they are decoded.
    pub(crate) fn end_ns(&self) -> i64 {
        let counted = self.least_delay_ns.filter(|_| self.pts_missing);
        let last = counted.map_or(self.last_ns, |d| self.last_ns.max(self.last_dts_ns + d));
        last + self.last_frame_ns()
    }

    /// The rate of the packets, where their distances are all the same but for a container's rounding
    /// (Matroska: whole milliseconds).
    pub(crate) fn even(&self) -> Option<Even> {
        self.steps.even().filter(|_| !self.pts_missing)
    }

    /// How long the last packet lasts: as declared where that is credible (recorders write 1 ms
    /// or nothing), else the usual distance of its neighbours.
    pub(crate) fn last_frame_ns(&self) -> i64 {
        if let Some(d) = self.last_duration_ns.filter(|d| (5 * MS..=1000 * MS).contains(d)) {
            return d;
        }
        let mut times = self.recent.clone();
        times.sort_unstable();
        let mut steps: Vec<i64> =
            times.windows(2).map(|w| w[1] - w[0]).filter(|&d| d > 0).collect();
        steps.sort_unstable();
        steps.get(steps.len() / 2).copied().unwrap_or(33 * MS).clamp(MS, 100 * MS)
    }
}

/// One stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    /// Name of the demuxer's pad.
    pub(crate) pad: String,
    /// Name of its caps, for people.
    pub(crate) caps_name: String,
    /// Codec, where it is one this node reads.
    pub(crate) codec: Option<&'static Codec>,
    /// Times.
    pub(crate) packets: Packets,
    /// Times of key frames.
    pub(crate) keyframes: Vec<i64>,
    /// Sizes; neighbours differ.
    pub(crate) sizes: Vec<(u32, u32)>,
    /// Shape of a pixel.
    pub(crate) par: (u32, u32),
    /// Clockwise rotation for showing.
    pub(crate) rotation: u16,
    /// Colours as the container names them.
    pub(crate) colorimetry: Option<String>,
    /// `profile_idc` of H.264.
    pub(crate) config_profile: Option<u8>,
    /// See [`crate::probe::VideoScan::sets_in_band`].
    pub(crate) sets_in_band: bool,
    /// See [`crate::probe::VideoScan::lost_sets`].
    pub(crate) lost_sets: bool,
    /// Channels.
    pub(crate) channels: u32,
    /// Samples per second.
    pub(crate) rate_hz: u32,
    /// See [`crate::probe::AudioScan::framed`].
    pub(crate) framed: bool,
    /// Where each key frame lies, of a recording that is still coming in; see [`crate::live`].
    pub(crate) places: Vec<u64>,
    avc: Option<AvcConfig>,
    macroblocks: u32,
}

impl Stream {
    /// A stream of which nothing was seen yet.
    pub(crate) fn new(pad: &str, caps: &gst::Caps, codec: Option<&'static Codec>) -> Self {
        Self {
            pad: pad.to_owned(),
            caps_name: caps.structure(0).map_or("unknown".into(), |s| s.name().to_string()),
            codec,
            packets: Packets::default(),
            keyframes: Vec::new(),
            sizes: Vec::new(),
            par: (1, 1),
            rotation: 0,
            colorimetry: None,
            config_profile: None,
            sets_in_band: caps
                .structure(0)
                .and_then(|s| s.get::<String>("stream-format").ok())
                .is_some_and(|f| f != "avc"),
            lost_sets: false,
            channels: 0,
            rate_hz: 0,
            framed: codec::is_framed(caps),
            places: Vec::new(),
            avc: None,
            macroblocks: 0,
        }
    }

    /// Sees what passes a pad. An error means that the job must not go on.
    pub(crate) fn observe(
        &mut self,
        pad: &gst::Pad,
        info: &gst::PadProbeInfo<'_>,
        pixels_max: u64,
        activity: &Activity,
    ) -> Result<(), Error> {
        match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let segment = pad.sticky_event::<gst::event::Segment>(0);
                let time = |t| segment.as_ref().and_then(|s| running_ns(s.segment(), t));
                let pts = time(buffer.pts());
                self.packet(buffer, pts, time(buffer.dts()), pixels_max)?;
                activity.saw(pts);
            }
            Some(gst::PadProbeData::Event(event)) => match event.view() {
                gst::EventView::Caps(c) => self.caps(c.caps(), pixels_max)?,
                gst::EventView::Tag(t) => self.tags(t.tag()),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn packet(
        &mut self,
        buffer: &gst::Buffer,
        pts: Option<i64>,
        dts: Option<i64>,
        pixels_max: u64,
    ) -> Result<(), Error> {
        let duration = buffer.duration().map(|d| d.nseconds() as i64);
        self.packets.add(pts, dts, duration);
        self.packets.check()?;
        let Some(codec) = self.codec.filter(|c| c.kind == Kind::Video) else { return Ok(()) };
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        if let Some(pts) = pts.filter(|_| key) {
            self.keyframes.push(pts);
        }
        let size = match codec.name {
            "vp8" | "vp9" | "mjpeg" | "h264" => {
                let Ok(data) = buffer.map_readable() else { return Ok(()) };
                match codec.name {
                    "vp8" => vp8_key_size(&data),
                    "vp9" => vp9_key_size(&data),
                    "mjpeg" => jpeg_size(&data),
                    _ => {
                        self.access_unit(&data, pixels_max)?;
                        None
                    }
                }
            }
            _ => None,
        };
        size.map_or(Ok(()), |(w, h)| self.size(w, h, pixels_max))
    }

    fn access_unit(&mut self, au: &[u8], pixels_max: u64) -> Result<(), Error> {
        let Some(length_bytes) = self.avc.as_ref().map(|c| c.length_bytes) else { return Ok(()) };
        for nal in h264::nals(au, length_bytes) {
            match nal[0] & 31 {
                h264::SPS => {
                    if let Some(s) = h264::sps_size(nal) {
                        self.macroblocks = s.macroblocks;
                        self.size(s.width, s.height, pixels_max)?;
                    }
                }
                1 | 5 if self.macroblocks > 0 => {
                    let first = h264::first_macroblock(nal).unwrap_or(0);
                    self.lost_sets |= first >= self.macroblocks;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn caps(&mut self, caps: &gst::CapsRef, pixels_max: u64) -> Result<(), Error> {
        let Some(s) = caps.structure(0) else { return Ok(()) };
        // Parsers know better than MPEG-TS: it takes camcorders' AC-3 for E-AC-3, and MP2 for MP3.
        let told = codec::of_caps(caps);
        if let (Some(told), Some(own)) = (told, self.codec)
            && (told.kind, told.parser) == (own.kind, own.parser)
        {
            self.codec = Some(told);
        }
        let field = |name| s.get::<i32>(name).ok().and_then(|v| u32::try_from(v).ok()).unwrap_or(0);
        (self.channels, self.rate_hz) = (field("channels"), field("rate"));
        let (width, height) = (field("width"), field("height"));
        if let Ok(par) = s.get::<gst::Fraction>("pixel-aspect-ratio")
            && par.numer() > 0
            && par.denom() > 0
        {
            self.par = (par.numer() as u32, par.denom() as u32);
        }
        if let Ok(c) = s.get::<String>("colorimetry") {
            self.colorimetry = Some(c);
        }
        match self.codec.map(|c| c.name) {
            Some("h264") => {
                let Ok(record) = s.get::<gst::Buffer>("codec_data") else { return Ok(()) };
                let Ok(record) = record.map_readable() else { return Ok(()) };
                self.config_profile = record.get(1).copied();
                self.avc = h264::avc_config(&record);
                if let Some(s) = self.avc.as_ref().and_then(AvcConfig::size) {
                    self.macroblocks = s.macroblocks;
                    self.size(s.width, s.height, pixels_max)?;
                }
                Ok(())
            }
            Some("aac") => {
                let record = s.get::<gst::Buffer>("codec_data").ok();
                let record = record.as_ref().and_then(|r| r.map_readable().ok());
                if let Some(c) = record.and_then(|r| aac::config(&r)) {
                    self.rate_hz = c.rate_hz;
                    self.channels = if c.channels > 0 { c.channels } else { self.channels };
                }
                Ok(())
            }
            // Frames say it themselves; the header only has to be within the limit.
            Some("vp8") => check_pixels(width, height, pixels_max, 0),
            _ if width > 0 && height > 0 => self.size(width, height, pixels_max),
            _ => Ok(()),
        }
    }

    fn size(&mut self, width: u32, height: u32, pixels_max: u64) -> Result<(), Error> {
        check_pixels(width, height, pixels_max, self.packets.last_ns)?;
        // A recording with thousands of sizes is an attack; the plan needs the largest and a count.
        if self.sizes.last() != Some(&(width, height)) && self.sizes.len() < 4096 {
            self.sizes.push((width, height));
        }
        Ok(())
    }

    fn tags(&mut self, tags: &gst::TagListRef) {
        if let Some(orientation) = tags.get::<gst::tags::ImageOrientation>() {
            self.rotation = match orientation.get() {
                "rotate-90" => 90,
                "rotate-180" => 180,
                "rotate-270" => 270,
                _ => 0,
            };
        }
    }
}

fn check_pixels(width: u32, height: u32, pixels_max: u64, ns: i64) -> Result<(), Error> {
    if u64::from(width) * u64::from(height) > pixels_max {
        return Err(Error::Limit(format!(
            "Frames of {width}x{height} pixels at {} exceed the {pixels_max} pixels allowed.",
            at(ns)
        )));
    }
    Ok(())
}

/// A buffer's time on the recording's own line; negative before an edit list's start.
pub(crate) fn running_ns(segment: &gst::Segment, pts: Option<gst::ClockTime>) -> Option<i64> {
    let segment = segment.downcast_ref::<gst::ClockTime>()?;
    Some(match segment.to_running_time_full(pts?)? {
        gst::Signed::Positive(t) => i64::try_from(t.nseconds()).unwrap_or(i64::MAX),
        gst::Signed::Negative(t) => -i64::try_from(t.nseconds()).unwrap_or(i64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incredible_last_duration_is_replaced_by_the_usual_distance() {
        let mut p = Packets::default();
        for i in 0..10 {
            p.add(Some(i * 40 * MS), None, Some(MS));
        }
        assert_eq!(p.last_frame_ns(), 40 * MS);
        p.add(Some(400 * MS), None, Some(20 * MS));
        assert_eq!(p.last_frame_ns(), 20 * MS);
    }

    #[test]
    fn packets_without_times_are_counted_to_the_end() {
        let mut p = Packets::default();
        for i in 0..10i64 {
            let pts = (i + 1) * 40 * MS;
            p.add((i < 8).then_some(pts), Some(i * 40 * MS), Some(40 * MS));
        }
        assert_eq!((p.last_ns, p.end_ns()), (320 * MS, 440 * MS));
    }

    #[test]
    fn no_stream_has_more_packets_than_come_in_its_time() {
        let mut sound = Packets::default();
        for i in 0..400_000 {
            sound.add(Some(i * 5 * MS / 2), None, None);
            sound.check().unwrap();
        }
        let mut nothing = Packets::default();
        let mut frames = (0..400_000).map(|i| {
            nothing.add(Some(i * MS), None, None);
            nothing.check()
        });
        assert!(frames.any(|checked| checked.is_err()));
    }
}

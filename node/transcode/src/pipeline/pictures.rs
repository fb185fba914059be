//! Snapshot and filmstrip as a pair of eyes on the decoder's output.
//!
//! Runs in the decoder's thread and costs nothing for a frame that neither wants.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use holdfast_core::job::{FILMSTRIP_NAME, FILMSTRIP_VTT_NAME, MadePicture, SNAPSHOT_NAME};
use holdfast_core::transform::Transform;

use super::Shared;
use crate::error::{Error, at};
use crate::filmstrip::{self, Filmstrip, Wanted};
use crate::pictures::Frame;
use crate::plan::Plan;
use crate::probe::Scan;
use crate::snapshot::{self, Snapshot};
use crate::stream::running_ns;
use crate::vtt;
use crate::waveform::Waveform;

/// Snapshot and filmstrip in the making.
#[derive(Default)]
pub(crate) struct Pictures {
    snapshot: Option<Snapshot>,
    filmstrip: Option<Filmstrip>,
    waveform: Option<Waveform>,
    wanted: Option<Wanted>,
    want: Transform,
    duration_ns: i64,
    info: Option<(gst::Caps, gst_video::VideoInfo)>,
    frames: u64,
    damaged: u64,
    first_damage_ns: i64,
    remarks: Vec<String>,
}

/// What was written.
#[derive(Default)]
pub(crate) struct Written {
    /// The snapshot.
    pub(crate) snapshot: Option<MadePicture>,
    /// The filmstrip.
    pub(crate) filmstrip: Option<MadePicture>,
    /// Size of the filmstrip's WebVTT, in bytes.
    pub(crate) filmstrip_vtt: Option<u64>,
    /// Sentences for people.
    pub(crate) remarks: Vec<String>,
}

impl Pictures {
    /// What the plan asks for.
    pub(crate) fn new(scan: &Scan, plan: &Plan) -> Self {
        let (want, duration_ns) = (plan.want.clone(), scan.duration_ns());
        let waveform = plan.waveform.then(Waveform::new);
        let Some(v) = &scan.video else {
            return Self { waveform, want, duration_ns, ..Self::default() };
        };
        let base = scan.base_ns();
        let (first, end) = (v.first_ns - base, v.end_ns - base);
        let keys: Vec<i64> = v.keyframes.iter().map(|k| k - base).collect();
        let (parts, remark) = filmstrip::parts(&want.filmstrip, first, end);
        let at = snapshot::time(want.snapshot.at, first, end);
        let tiles = || plan.share.take(&filmstrip::middles(&parts));
        let mut times = if plan.filmstrip { tiles() } else { Vec::new() };
        if plan.share.number > 0 && !v.codec.shows_in_order() {
            // Frames that show before a key frame may be made of the group before it.
            let key = times.first().and_then(|first| keys.iter().filter(|k| *k <= first).max());
            times.splice(..0, key.map(|key| key - 1));
        }
        times.extend(at.filter(|_| plan.snapshot));
        Self {
            snapshot: plan.snapshot.then(|| Snapshot::new(at, &want.snapshot, plan.rotation)),
            remarks: remark.filter(|_| plan.filmstrip).into_iter().collect(),
            filmstrip: plan
                .filmstrip
                .then(|| Filmstrip::new(parts, plan.share, &want.filmstrip, plan.rotation)),
            wanted: Some(Wanted::new(times, keys)),
            want,
            duration_ns,
            ..Self::default()
        }
    }

    /// The same where only parts of the recording are read; see [`Wanted::sparse`].
    pub(crate) fn sparse(mut self, in_order: bool) -> Self {
        self.wanted = self.wanted.map(|wanted| wanted.sparse(in_order));
        self
    }

    /// Takes over what another share of the same filmstrip drew; see [`Filmstrip::join`].
    pub(crate) fn join(&mut self, other: Self) -> Result<bool, Error> {
        self.frames += other.frames;
        self.damaged += other.damaged;
        match (&mut self.filmstrip, other.filmstrip) {
            (Some(strip), Some(other)) => strip.join(other),
            _ => Ok(false),
        }
    }

    /// The same of a recording that turned out to be so long.
    pub(crate) fn lasting(self, duration_ns: i64) -> Self {
        Self { duration_ns, ..self }
    }

    /// The key frames whose groups have something to be seen of; see [`Wanted::groups`].
    pub(crate) fn groups(&self) -> Vec<usize> {
        self.wanted.as_ref().map(Wanted::groups).unwrap_or_default()
    }

    /// Whether their key frames all came, and no other: see [`Wanted::has_all_groups`].
    pub(crate) fn has_all_groups(&self) -> bool {
        self.wanted.as_ref().is_none_or(Wanted::has_all_groups)
    }

    /// Frames seen.
    pub(crate) fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames that the decoder marked as damaged.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// A sentence about damaged frames.
    pub(crate) fn damage_remark(&self) -> Option<String> {
        (self.damaged > 0).then(|| {
            format!(
                "{} of {} decoded frames are damaged, the first at {}.",
                self.damaged,
                self.frames,
                at(self.first_damage_ns)
            )
        })
    }

    /// Whether a packet has to be decoded for the pictures' sake.
    fn needs(&mut self, pts_ns: Option<i64>, key: bool) -> bool {
        let searching = self.snapshot.as_ref().is_some_and(Snapshot::is_searching);
        let Some(pts) = pts_ns else { return true };
        let strip = self.wanted.as_mut().is_none_or(|w| w.needs(pts, key));
        searching || strip
    }

    /// The sound's picture in the making.
    pub(crate) fn waveform(&mut self) -> Option<&mut Waveform> {
        self.waveform.as_mut()
    }

    fn count(&mut self, buffer: &gst::BufferRef, pts_ns: i64) {
        self.frames += 1;
        if buffer.flags().contains(gst::BufferFlags::CORRUPTED) {
            if self.damaged == 0 {
                self.first_damage_ns = pts_ns;
            }
            self.damaged += 1;
        }
    }

    fn look(&mut self, caps: &gst::Caps, buffer: &gst::Buffer, pts_ns: i64) -> Result<(), Error> {
        if self.info.as_ref().is_none_or(|(c, _)| c != caps) {
            let info = gst_video::VideoInfo::from_caps(caps)
                .map_err(Error::internal("cannot understand a decoder's frames"))?;
            self.info = Some((caps.clone(), info));
        }
        let Some((_, info)) = &self.info else { return Ok(()) };
        let frame = Frame { pts_ns, info: info.clone(), buffer: buffer.clone() };
        self.snapshot.as_mut().map_or(Ok(()), |s| s.offer(&frame))?;
        self.filmstrip.as_mut().map_or(Ok(()), |f| f.offer(&frame))
    }

    /// Writes them; makes each file only when there is a picture for it. `link`: what the filmstrip is
    /// called at destinations.
    pub(crate) fn write(
        self,
        link: &str,
        open: impl Fn(&str) -> Result<File, Error>,
    ) -> Result<Written, Error> {
        let mut written = Written { remarks: self.remarks, ..Written::default() };
        if let Some(waveform) = self.waveform {
            let want = &self.want.snapshot;
            let file = open(SNAPSHOT_NAME)?;
            written.snapshot =
                waveform.write(self.duration_ns, want.max_width, want.quality, &file)?;
        }
        if self.frames == 0 {
            return Ok(written);
        }
        if let Some(snapshot) = self.snapshot {
            written.snapshot = snapshot.write(&open(SNAPSHOT_NAME)?)?;
        }
        let Some(strip) = self.filmstrip else { return Ok(written) };
        if let Some(made) = strip.write(self.duration_ns, &open(FILMSTRIP_NAME)?)? {
            written.filmstrip = Some(made.picture);
            written.remarks.extend(made.remark);
            if self.want.filmstrip.vtt {
                let text = vtt::text(link, &made.cues);
                let file = open(FILMSTRIP_VTT_NAME)?;
                file.write_all_at(text.as_bytes(), 0)
                    .and_then(|()| file.sync_all())
                    .map_err(Error::disk(format!("cannot write {FILMSTRIP_VTT_NAME}")))?;
                written.filmstrip_vtt = Some(text.len() as u64);
            }
        }
        Ok(written)
    }
}

/// Counts what passes a decoder's source pad.
pub(super) fn count(pad: &gst::Pad, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
        let pts = time_at(pad, buffer).map_or(0, |ns| ns - shared.base_ns);
        shared.activity.saw(Some(pts));
        if let Ok(mut pictures) = shared.pictures.lock() {
            pictures.count(buffer, pts);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Lets the pictures look at the frames that pass a pad.
pub(super) fn look_at(pad: &gst::Pad, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
        let pts = time_at(pad, buffer).map_or(0, |ns| ns - shared.base_ns);
        if let (Some(caps), Ok(mut pictures)) = (pad.current_caps(), shared.pictures.lock())
            && let Err(e) = pictures.look(&caps, buffer, pts)
        {
            shared.activity.fail(e);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Lets only those packets through that the pictures need.
pub(super) fn gate(pad: &gst::Pad, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
        let pts = time_at(pad, buffer).map(|ns| ns - shared.base_ns);
        shared.activity.saw(pts);
        let key = !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let needed = shared.pictures.lock().is_ok_and(|mut p| p.needs(pts, key));
        // Not Drop: GStreamer 1.22 prints a critical for each buffer dropped so.
        if needed { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Handled }
    });
}

fn time_at(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<i64> {
    let segment = pad.sticky_event::<gst::event::Segment>(0)?;
    running_ns(segment.segment(), buffer.pts())
}

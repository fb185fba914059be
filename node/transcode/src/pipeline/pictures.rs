//! Snapshot and filmstrip as a pair of eyes on the decoder's output.
//!
//! Runs in the decoder's thread and costs nothing for a frame that neither wants.

use std::fs::File;
use std::sync::Arc;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use holdfast_core::job::MadePicture;

use super::Shared;
use crate::error::{Error, at};
use crate::filmstrip::{self, Filmstrip, Wanted};
use crate::pictures::Frame;
use crate::plan::Plan;
use crate::probe::Scan;
use crate::snapshot::Snapshot;
use crate::stream::running_ns;

/// Snapshot and filmstrip in the making.
#[derive(Default)]
pub(crate) struct Pictures {
    snapshot: Option<Snapshot>,
    filmstrip: Option<Filmstrip>,
    wanted: Option<Wanted>,
    rotation: u16,
    info: Option<(gst::Caps, gst_video::VideoInfo)>,
    frames: u64,
    damaged: u64,
    first_damage_ns: i64,
}

impl Pictures {
    /// What the plan asks for.
    pub(crate) fn new(scan: &Scan, plan: &Plan) -> Self {
        let Some(v) = &scan.video else { return Self::default() };
        let base = scan.base_ns();
        let times = filmstrip::times(v.first_ns - base, v.end_ns - base);
        let keys = v.keyframes.iter().map(|k| k - base).collect();
        let tiles = if plan.filmstrip { times.clone() } else { Vec::new() };
        Self {
            snapshot: plan.snapshot.then(Snapshot::default),
            filmstrip: plan.filmstrip.then(|| Filmstrip::new(times, v.rotation)),
            wanted: Some(Wanted::new(tiles, keys)),
            rotation: v.rotation,
            ..Self::default()
        }
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
        let searching = self.snapshot.as_ref().is_some_and(|s| !s.is_found());
        let Some(pts) = pts_ns else { return true };
        let strip = self.wanted.as_mut().is_none_or(|w| w.needs(pts, key));
        searching || strip
    }

    fn look(&mut self, caps: &gst::Caps, buffer: &gst::Buffer, pts_ns: i64) -> Result<(), Error> {
        self.frames += 1;
        if buffer.flags().contains(gst::BufferFlags::CORRUPTED) {
            if self.damaged == 0 {
                self.first_damage_ns = pts_ns;
            }
            self.damaged += 1;
        }
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

    /// Writes both; makes each file only when there is a picture for it.
    pub(crate) fn write(
        self,
        open: impl Fn(&str) -> Result<File, Error>,
    ) -> Result<(Option<MadePicture>, Option<MadePicture>), Error> {
        use holdfast_core::job::{FILMSTRIP_NAME, SNAPSHOT_NAME};
        if self.frames == 0 {
            return Ok((None, None));
        }
        let snapshot = match self.snapshot {
            Some(s) => s.write(self.rotation, &open(SNAPSHOT_NAME)?)?,
            None => None,
        };
        let filmstrip = match self.filmstrip {
            Some(f) => f.write(&open(FILMSTRIP_NAME)?)?,
            None => None,
        };
        Ok((snapshot, filmstrip))
    }
}

/// Lets the pictures look at what passes a decoder's source pad.
pub(super) fn look_at(pad: &gst::Pad, shared: &Arc<Shared>) {
    let shared = Arc::clone(shared);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(buffer) = info.buffer() else { return gst::PadProbeReturn::Ok };
        let pts = time_at(pad, buffer).map_or(0, |ns| ns - shared.base_ns);
        shared.activity.saw(Some(pts));
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

//! The one pass: demuxer in, .mp4 and pictures out.
//!
//! ```text
//!             ┌ video ─ remux:   tee ┬ parser ─────────────────────────────┐
//!             │                      └ (only what pictures need) decoder   ├─ mp4::Writer
//! demuxer ────┤         convert: decoder ─ pictures ─ size ─ encoder ──────┤
//!             │                  decoder ─ changes ─ pictures ─ encoder ───┤
//!             │                                                            │
//!             └ audio ─ remux:   parser ───────────────────────────────────┤
//!                       convert: decoder ─ retimer ─ encoder ──────────────┘
//! ```
//!
//! Where frames are changed (cut, scaled, turned, marked: [`changes`]), the pictures look at changed ones.
//! Loudness is measured before, in a pass over the sound alone ([`measure`]). A recording that is still
//! coming in goes the same way, with a tap behind the demuxer ([`live`]).
//!
//! Video is decoded once; the pictures look at the decoder's output as it passes. Streams meet
//! only in the writer, which takes them in any order, so no branch can wait for another and a
//! bounded queue is never a deadlock. Streams are known from [`crate::probe`]: a branch that gets
//! no data is never built.

mod audio;
mod changes;
mod downmix;
mod hold;
mod live;
mod measure;
mod pace;
mod pictures;
mod rate;
mod renamed;
mod tonemap;
mod video;

use std::fs::File;
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;
use holdfast_core::job::Treatment;

use crate::encoders::{self, Choice, Wish, chains::Size};
use crate::error::{Error, at};
use crate::mp4::{Format, TrackId, Writer};
use crate::plan::{Plan, VideoPlan};
use crate::probe::{Scan, VideoScan};
use crate::retime::Mended;
use crate::source::{self, Input};
use crate::watch::{Activity, Ended, Watch};
use crate::watermark::Picture;
use live::Tap;
pub(crate) use live::run_live;
pub(crate) use measure::measure;
pub(crate) use pictures::{Pictures, Written};

/// What came out, besides the files themselves.
pub(crate) struct Outcome {
    /// Snapshot and filmstrip, to be written.
    pub(crate) pictures: Pictures,
    /// The H.264 encoder used.
    pub(crate) encoder: Option<String>,
    /// The decoder of hardware used.
    pub(crate) decoder: Option<String>,
    /// Sentences for people.
    pub(crate) remarks: Vec<String>,
    /// The recording could not be read or decoded to its end.
    pub(crate) cut: bool,
    /// Frames did not come out of their packets, or sound had holes or overlapped.
    pub(crate) lost: bool,
}

/// What all branches share.
pub(crate) struct Shared {
    /// Signs of life.
    pub(crate) activity: Arc<Activity>,
    /// The .mp4, where one is wanted; taken away at the end.
    pub(crate) writer: Mutex<Option<Writer>>,
    /// Snapshot and filmstrip.
    pub(crate) pictures: Mutex<Pictures>,
    /// What is laid over the film.
    pub(crate) watermark: Option<Arc<Picture>>,
    /// The recording's zero on the demuxer's line.
    pub(crate) base_ns: i64,
    /// What was done to the sound.
    pub(crate) mended: Mutex<Mended>,
}

impl Shared {
    /// Does something with the writer; an error ends the job.
    pub(crate) fn write(
        &self,
        what: impl FnOnce(&mut Writer) -> Result<(), Error>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let mut writer = self.writer.lock().map_err(|_| gst::FlowError::Error)?;
        let done = writer.as_mut().map_or(Ok(()), what);
        done.map(|()| gst::FlowSuccess::Ok).map_err(|e| {
            self.activity.fail(e);
            gst::FlowError::Error
        })
    }

    /// Tells the muxer a format.
    pub(crate) fn format(&self, track: TrackId, format: Format) -> Result<(), gst::FlowError> {
        self.write(|w| {
            w.format(track, format);
            Ok(())
        })
        .map(|_| ())
    }
}

/// Runs the pass.
pub(crate) fn run(
    input: &Arc<Input>,
    scan: &Scan,
    plan: &Plan,
    watermark: Option<&Arc<Picture>>,
    main: Option<File>,
    wish: &Wish,
    watch: &mut Watch<'_>,
) -> Result<Outcome, Error> {
    let activity = Arc::new(Activity::default());
    if plan.video.is_none() && plan.audio.is_none() && !plan.waveform {
        return Ok(Outcome {
            pictures: Pictures::default(),
            encoder: None,
            decoder: None,
            remarks: Vec::new(),
            cut: false,
            lost: false,
        });
    }
    let writer = main.map(|file| {
        let packets = scan.video.as_ref().map_or(0, |v| v.packets);
        let sound = scan.audio.as_ref().map_or(0, |a| a.end_ns.max(0) as u64 / 20_000_000 + 64);
        let max = watch.limits.output_bytes_max;
        Writer::new(file, packets + sound, scan.duration_ns(), max, Arc::clone(&activity))
    });
    let mut pictures = Pictures::new(scan, plan);
    if input.is_sparse() {
        let in_order = scan.video.as_ref().is_some_and(|v| v.codec.shows_in_order());
        pictures = pictures.sparse(in_order);
    }
    let parts = Parts { scan, plan, pictures, watermark, wish };
    let pass = prepare(input, parts, writer, None, &activity)?;
    if let (Some(t), Ok(mut writer)) = (pass.video_track, pass.shared.writer.lock())
        && let Some(w) = writer.as_mut()
    {
        tell_end(w, t, scan, plan);
    }
    let choice = pass.choice.as_ref();
    let on_error = |ended: &Ended, message: &gst::Message| {
        blamed(ended, scan, choice).is_none() && drain(ended, message, &pass.demuxer)
    };
    let ended = pass.play(input, Some(scan.duration_ns()), watch, on_error)?;
    finish(&pass, scan, plan, &ended)
}

/// Tells the writer when the picture ends.
fn tell_end(writer: &mut Writer, track: TrackId, scan: &Scan, plan: &Plan) {
    let Some(v) = &scan.video else { return };
    writer.last_frame(track, v.last_frame_ns);
    let end_ns = v.end_ns - scan.base_ns();
    match (plan.even_mfps, plan.max_fps) {
        (Some(mfps), _) => writer.even(track, mfps, end_ns),
        (None, Some(fps)) => writer.until(track, end_ns, 1_000_000_000 / i64::from(fps)),
        _ => {}
    }
}

/// What a pass is made of.
struct Parts<'a> {
    scan: &'a Scan,
    plan: &'a Plan,
    pictures: Pictures,
    watermark: Option<&'a Arc<Picture>>,
    wish: &'a Wish,
}

/// A pass that is ready to run.
struct Pass {
    pipeline: gst::Pipeline,
    demuxer: gst::Element,
    shared: Arc<Shared>,
    choice: Option<Choice>,
    video_track: Option<TrackId>,
    audio_track: Option<TrackId>,
}

impl Pass {
    /// Runs it to its end.
    fn play(
        &self,
        input: &Arc<Input>,
        duration_ns: Option<i64>,
        watch: &mut Watch<'_>,
        on_error: impl FnMut(&Ended, &gst::Message) -> bool,
    ) -> Result<Ended, Error> {
        let activity = &self.shared.activity;
        let ended = match watch.play(&self.pipeline, activity, input, duration_ns, on_error) {
            Ok(ended) => ended,
            Err(e) => {
                // Stopping a wedged pipeline can hang; the process ends soon anyway.
                Box::leak(Box::new(self.pipeline.clone()));
                return Err(e);
            }
        };
        let stopped = self.pipeline.set_state(gst::State::Null);
        stopped.map_err(Error::internal("cannot stop the pipeline"))?;
        Ok(ended)
    }
}

fn prepare(
    input: &Arc<Input>,
    parts: Parts<'_>,
    mut writer: Option<Writer>,
    tap: Option<Tap>,
    activity: &Arc<Activity>,
) -> Result<Pass, Error> {
    let Parts { scan, plan, pictures, watermark, wish } = parts;
    let choice = match plan.video {
        Some(VideoPlan::Convert { width, height, fps }) => {
            Some(encoders::choose(wish, Size { width, height, fps })?)
        }
        _ => None,
    };
    let video_track = writer.as_mut().filter(|_| plan.video.is_some()).map(Writer::track);
    let audio_track = writer.as_mut().filter(|_| plan.audio.is_some()).map(Writer::track);
    let shared = Arc::new(Shared {
        activity: Arc::clone(activity),
        writer: Mutex::new(writer),
        pictures: Mutex::new(pictures),
        watermark: watermark.cloned(),
        base_ns: scan.base_ns(),
        mended: Mutex::default(),
    });
    let pipeline = gst::Pipeline::new();
    let tracks = (video_track, audio_track);
    let demuxer = build(&pipeline, input, (scan, plan), choice.as_ref(), tracks, &shared, tap)?;
    Ok(Pass { pipeline, demuxer, shared, choice, video_track, audio_track })
}

fn build(
    pipeline: &gst::Pipeline,
    input: &Arc<Input>,
    (scan, plan): (&Scan, &Plan),
    choice: Option<&Choice>,
    (video_track, audio_track): (Option<TrackId>, Option<TrackId>),
    shared: &Arc<Shared>,
    tap: Option<Tap>,
) -> Result<gst::Element, Error> {
    let container = scan.container.ok_or_else(|| Error::Internal("no container".into()))?;
    let mut branches: Vec<(String, gst::Element)> = Vec::new();
    if let (Some(v), Some(treat)) = (&scan.video, plan.video) {
        let head = match (treat, video_track, choice) {
            (VideoPlan::Remux, Some(t), _) => video::remux(pipeline, v, t, plan, shared)?,
            (VideoPlan::Convert { width, height, fps }, Some(t), Some(choice)) => {
                let target = video::Target { size: Size { width, height, fps }, choice };
                if video::stays_in_device(v, plan, choice) {
                    video::convert_in_device(pipeline, v, t, &target, plan, shared)?
                } else {
                    video::convert(pipeline, v, t, &target, plan, shared)?
                }
            }
            _ => video::pictures_only(pipeline, v, plan, shared)?,
        };
        branches.push((v.pad.clone(), head));
    }
    if let (Some(a), Some(treat), Some(t)) = (&scan.audio, plan.audio, audio_track) {
        let head = match treat {
            Treatment::Remuxed => audio::remux(pipeline, a, t, plan, shared)?,
            _ => audio::convert(pipeline, a, t, plan, shared)?,
        };
        branches.push((a.pad.clone(), head));
    } else if let Some(a) = scan.audio.as_ref().filter(|_| plan.waveform) {
        branches.push((a.pad.clone(), audio::drawn_only(pipeline, a, shared)?));
    }
    let weak = pipeline.downgrade();
    let activity = Arc::clone(&shared.activity);
    source::attach(pipeline, input, container, move |pad| {
        let Some(pipeline) = weak.upgrade() else { return };
        let branch = branches.iter().find(|(name, _)| *name == pad.name());
        open_end(pad);
        let pad = match &tap {
            Some(tap) => tap.insert(&pipeline, pad, &activity),
            None => Ok(pad.clone()),
        };
        let connected = pad.and_then(|pad| connect(&pipeline, &pad, branch.map(|(_, head)| head)));
        if let Err(e) = connected {
            activity.fail(e);
        }
    })
}

/// Links a demuxer's pad to its branch, or to nothing.
fn connect(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    head: Option<&gst::Element>,
) -> Result<(), Error> {
    let head = match head {
        Some(head) => head.clone(),
        None => {
            let sink = source::make("fakesink")?;
            sink.set_property("async", false);
            source::add_row(pipeline, std::slice::from_ref(&sink))
                .map_err(Error::internal("cannot leave out a stream"))?;
            sink
        }
    };
    let linked = renamed::entrance(pipeline, pad, &head)?.map(|sink| pad.link(&sink));
    match linked {
        Some(Ok(_)) => Ok(()),
        _ => Err(Error::Internal(format!("cannot link the stream {}", pad.name()))),
    }
}

/// Takes the end off segments: in a fragmented file it is that of what was read so far, and
/// decoders cut the last sound off there.
fn open_end(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        if let Some(event) = info.event()
            && let gst::EventView::Segment(s) = event.view()
            && let Some(segment) = s.segment().downcast_ref::<gst::ClockTime>()
            && segment.stop().is_some()
        {
            let mut segment = segment.clone();
            segment.set_stop(gst::ClockTime::NONE);
            let open = gst::event::Segment::builder(&segment).seqnum(event.seqnum()).build();
            info.data = Some(gst::PadProbeData::Event(open));
        }
        gst::PadProbeReturn::Ok
    });
}

/// After an error in reading or decoding: sends the end down every branch, so that what came
/// through is finished. Says whether it is worth waiting for.
fn drain(ended: &Ended, message: &gst::Message, demuxer: &gst::Element) -> bool {
    let Ended::Error { element, .. } = ended else { return false };
    if is_ours(element) {
        return false;
    }
    if let Some(failed) = message.src().and_then(|s| s.downcast_ref::<gst::Element>()) {
        for pad in failed.src_pads() {
            pad.push_event(gst::event::Eos::new());
        }
    }
    for pad in demuxer.src_pads() {
        if let Some(peer) = pad.peer() {
            peer.send_event(gst::event::Eos::new());
        }
    }
    true
}

/// What of the hardware failed, where it was hardware. Some drivers' elements fail without a word: then
/// a queue or the demuxer tells of it, although the probe read the same recording to its end.
fn blamed<'a>(ended: &'a Ended, scan: &Scan, choice: Option<&'a Choice>) -> Option<&'a str> {
    let Ended::Error { element, is_passed_on, .. } = ended else { return None };
    let choice = choice.filter(|choice| choice.is_hardware())?;
    if choice.owns(element) {
        return Some(element);
    }
    (*is_passed_on && scan.remarks.is_empty()).then(|| choice.name())
}

/// A device's decoder bridges damage in ways of its own, or leaves frames out, and a device's encoder may
/// be why a film is cut: whatever is not whole is for software to do again.
fn check_whole(made: u64, cut: bool, v: &VideoScan, choice: Option<&Choice>) -> Result<(), Error> {
    let Some(choice) = choice.filter(|choice| choice.is_hardware()) else { return Ok(()) };
    let decodes = choice.decoder_used(v).is_some();
    if !cut && (!decodes || made >= v.packets) {
        return Ok(());
    }
    if !decodes {
        return Err(Error::Damaged(format!(
            "the film that {} encoded is not whole.",
            choice.name()
        )));
    }
    Err(Error::Damaged(format!(
        "{} decoded {made} of the recording's {} frames whole.",
        choice.name(),
        v.packets
    )))
}

/// Whether an element's failure is a fault of this node rather than of the recording.
fn is_ours(element: &str) -> bool {
    element.ends_with("enc") || element.starts_with("avenc_") || element.starts_with("app")
}

fn finish(pass: &Pass, scan: &Scan, plan: &Plan, ended: &Ended) -> Result<Outcome, Error> {
    let Pass { shared, choice, video_track, audio_track, .. } = pass;
    let (choice, video_track, audio_track) = (choice.as_ref(), *video_track, *audio_track);
    let mut remarks = Vec::new();
    let position = shared.activity.position_ns.load(std::sync::atomic::Ordering::Relaxed);
    if let Ended::Error { element, message, .. } = ended {
        if let Some(failed) = blamed(ended, scan, choice) {
            return Err(Error::Hardware(format!("{failed} failed at {}: {message}", at(position))));
        }
        if is_ours(element) {
            return Err(Error::Internal(format!(
                "{element} failed at {}: {message}",
                at(position)
            )));
        }
        if scan.remarks.is_empty() {
            remarks.push(format!("Reading stopped at {}: {message}.", at(position)));
        }
    }
    let lock = |_| Error::Internal("a streaming thread died".into());
    let writer = shared.writer.lock().map_err(|e| lock(e.to_string()))?.take();
    let pictures = std::mem::take(&mut *shared.pictures.lock().map_err(|e| lock(e.to_string()))?);
    let mut cut = matches!(ended, Ended::Error { .. });
    let mut lost = false;
    if let Some(v) = &scan.video {
        let made = match (&writer, video_track, plan.video) {
            (Some(w), Some(t), _) => Some(w.samples(t) as u64),
            (_, _, Some(VideoPlan::PicturesOnly)) => Some(pictures.frames()),
            _ => None,
        };
        if made == Some(0) {
            return Err(Error::Damaged(format!(
                "Not one of the recording's {} frames ({}) could be decoded.",
                v.packets, v.codec.name
            )));
        }
        cut |= pictures.damaged() > 0;
        let all = if video::keeps_all_frames(plan) { made.unwrap_or(0) } else { v.packets };
        check_whole(all, cut, v, choice)?;
        // Where all frames are decoded, the pictures have seen each.
        let converts = matches!(plan.video, Some(VideoPlan::Convert { .. }));
        let seen = pictures.frames();
        lost |= video_track.is_some() && all != v.packets;
        lost |= converts && seen > 0 && seen != v.packets;
        remarks.extend(pictures.damage_remark());
    }
    if let Some(w) = writer {
        let lost_sound = audio_track.is_some_and(|t| w.samples(t) == 0);
        if lost_sound {
            cut = true;
            remarks.push("The sound could not be decoded; the film has none.".to_owned());
        }
        if [video_track, audio_track].into_iter().flatten().all(|t| w.samples(t) == 0) {
            return Err(Error::Damaged("Nothing in the recording could be decoded.".into()));
        }
        w.finish()?;
    }
    let mended = *shared.mended.lock().map_err(|e| lock(e.to_string()))?;
    remarks.extend(audio::remark(mended));
    let encoder = choice.map(|c| c.encoder().to_owned());
    let decoder = choice.zip(scan.video.as_ref()).and_then(|(c, v)| c.decoder_used(v));
    lost |= mended != Mended::default();
    Ok(Outcome { pictures, encoder, decoder, remarks, cut, lost })
}

/// A queue of this many bytes and seconds.
pub(crate) fn queue(bytes: u32, seconds: u64, buffers: u32) -> Result<gst::Element, Error> {
    let queue = source::make("queue")?;
    queue.set_property("max-size-bytes", bytes);
    queue.set_property("max-size-time", seconds * 1_000_000_000);
    queue.set_property("max-size-buffers", buffers);
    Ok(queue)
}

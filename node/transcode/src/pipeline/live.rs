//! The pass over a recording that is still coming in.
//!
//! What the probe finds out beforehand of a whole recording is found out here as it passes: behind the
//! demuxer each stream is forked to the probe's own counter, and to its branch. At the end there is the
//! same scan as after reading it all, and it is told then whether the plan was right.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;

use super::{Outcome, Parts, Pictures, finish, prepare, tell_end};
use crate::encoders::Wish;
use crate::error::{Error, at};
use crate::feed::Feed;
use crate::mp4::Writer;
use crate::plan::Plan;
use crate::probe::{self, Followed, Scan, Streams};
use crate::source::{self, Input};
use crate::stream::{Stream, running_ns};
use crate::watch::{Activity, Ended, Watch};
use crate::watermark::Picture;

/// More packets than any parser holds back.
const PLACES: usize = 64;

/// Times of packets, and where the part of the recording begins that has them.
type Places = Arc<Mutex<VecDeque<(i64, u64)>>>;

/// What looks at each stream before its branch does.
pub(super) struct Tap {
    input: Arc<Input>,
    streams: Streams,
    pixels_max: u64,
    /// Nothing goes on to a branch any more.
    is_shut: Arc<AtomicBool>,
}

impl Tap {
    /// Forks what comes out of a demuxer's pad; gives where the branch's share comes out. The counter's
    /// share goes first, so that nothing gets to a decoder that the counter has not passed.
    pub(super) fn insert(
        &self,
        pipeline: &gst::Pipeline,
        pad: &gst::Pad,
        activity: &Arc<Activity>,
    ) -> Result<gst::Pad, Error> {
        let caps = pad.current_caps().unwrap_or_else(gst::Caps::new_empty);
        let tee = source::make("tee")?;
        source::add_row(pipeline, std::slice::from_ref(&tee))
            .map_err(Error::internal("cannot fork a stream"))?;
        let fork = || {
            tee.request_pad_simple("src_%u")
                .ok_or_else(|| Error::Internal("a tee without another pad".into()))
        };
        let places = Arc::new(Mutex::new(VecDeque::new()));
        self.note_places(pad, &places);
        let what = Followed { name: &pad.name(), caps: &caps, pixels_max: self.pixels_max };
        // Its own signs of life: what was only counted was not transcoded.
        let seen = Arc::new(Activity::default());
        let on_packet = self.on_packet(places, activity);
        probe::follow(pipeline, &fork()?, &what, &seen, &self.streams, on_packet)?;
        let branch = fork()?;
        let is_shut = Arc::clone(&self.is_shut);
        branch.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            // Not Drop: GStreamer 1.22 prints a critical for each buffer dropped so.
            let shut = is_shut.load(Ordering::Acquire);
            if shut { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
        });
        let sink = tee.static_pad("sink");
        match sink.map(|sink| pad.link(&sink)) {
            Some(Ok(_)) => Ok(branch),
            _ => Err(Error::Internal(format!("cannot fork the stream {}", pad.name()))),
        }
    }

    /// Notes where the last packets that came out of a demuxer's pad lie.
    fn note_places(&self, pad: &gst::Pad, places: &Places) {
        let (input, places) = (Arc::clone(&self.input), Arc::clone(places));
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let segment = pad.sticky_event::<gst::event::Segment>(0);
            if let Feed::Growing(growing) = &input.feed
                && let Some((segment, buffer)) = segment.zip(info.buffer())
                && let Some(pts) = running_ns(segment.segment(), buffer.pts())
                && let Ok(mut places) = places.lock()
            {
                if places.len() == PLACES {
                    places.pop_front();
                }
                places.push_back((pts, growing.part()));
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Notes where key frames lie, and ends the pass with what no plan made beforehand can know of.
    fn on_packet(
        &self,
        places: Places,
        activity: &Arc<Activity>,
    ) -> impl Fn(&mut Stream, Result<(), Error>) + Send + Sync + 'static {
        let (input, activity) = (Arc::clone(&self.input), Arc::clone(activity));
        let is_shut = Arc::clone(&self.is_shut);
        move |stream, observed| {
            if let Feed::Growing(growing) = &input.feed
                && stream.places.len() < stream.keyframes.len()
            {
                // In clusters what a parser held back is found by reading one more.
                let pts = stream.keyframes.last().filter(|_| growing.is_by_place());
                let noted = |pts| {
                    let places = places.lock().ok()?;
                    places.iter().rev().find(|(at, _)| at == pts).map(|(_, place)| *place)
                };
                stream.places.push(match pts {
                    None => growing.part(),
                    // From the beginning, where a parser gave it another time.
                    Some(pts) => noted(pts).unwrap_or(0),
                });
            }
            let checked = observed.and_then(|()| match stream.sizes.len() {
                0 | 1 => Ok(()),
                _ => Err(Error::NotLive(format!(
                    "the picture's size changes at {}",
                    at(stream.packets.last_ns)
                ))),
            });
            if let Err(e) = checked {
                is_shut.store(true, Ordering::Release);
                activity.fail(e);
            }
        }
    }
}

/// Runs the pass over what comes in, by a plan made of its beginning. `settle` is shown the streams once
/// all went by: it gives the scan and the plan of the whole, or an error where the plan was not right.
pub(crate) fn run_live(
    input: &Arc<Input>,
    (head, plan): (&Scan, &Plan),
    watermark: Option<&Arc<Picture>>,
    main: File,
    wish: &Wish,
    watch: &mut Watch<'_>,
    settle: impl FnOnce(&[Stream], &Ended) -> Result<(Scan, Plan), Error>,
) -> Result<(Outcome, Scan, Plan), Error> {
    let activity = Arc::new(Activity::default());
    let writer = Writer::growing(main, watch.limits.output_bytes_max, Arc::clone(&activity));
    let streams = Streams::default();
    let tap = Tap {
        input: Arc::clone(input),
        streams: Arc::clone(&streams),
        pixels_max: watch.limits.frame_pixels_max,
        is_shut: Arc::default(),
    };
    let pictures = Pictures::new(head, plan);
    let parts = Parts { scan: head, plan, pictures, watermark, wish };
    let pass = prepare(input, parts, Some(writer), Some(tap), &activity)?;
    let ended = pass.play(input, None, watch, |_, _| false)?;
    if let Ended::Error { element, message, .. } = &ended {
        return Err(Error::NotLive(format!("{element} gave up: {message}")));
    }
    let (scan, plan) = settle(&probe::seen(&streams)?, &ended)?;
    if let (Some(t), Ok(mut writer)) = (pass.video_track, pass.shared.writer.lock())
        && let Some(w) = writer.as_mut()
    {
        tell_end(w, t, &scan, &plan);
    }
    let outcome = finish(&pass, &scan, &plan, &ended)?;
    Ok((outcome, scan, plan))
}

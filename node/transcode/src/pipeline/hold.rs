//! What shows until the next frame comes, for `videorate`.
//!
//! It puts the nearest frame in each place, so that a frame behind a long pause would show half the pause
//! too early, and it fills no more than 25 places at the end. So in a pause of more than two steps,
//! and before the end, the frame that shows is told to it once more.

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;

use super::Shared;
use crate::probe::VideoScan;
use crate::stream::running_ns;

/// Tells frames once more on the source pad in front of `videorate`.
pub(super) fn hold(pad: &gst::Pad, v: &VideoScan, mfps: u32, shared: &Arc<Shared>) {
    let (end_ns, last_frame_ns) = (v.end_ns, v.last_frame_ns);
    let step = 1_000_000_000_000 / u64::from(mfps.max(1));
    let held: Mutex<Option<gst::Buffer>> = Mutex::new(None);
    let shared = Arc::clone(shared);
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(kinds, move |pad, info| {
        let next = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => Some(buffer.clone()),
            Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Eos => None,
            _ => return gst::PadProbeReturn::Ok,
        };
        let last = held.lock().ok().and_then(|mut held| std::mem::replace(&mut held, next.clone()));
        if let Some(last) = last {
            let until = match &next {
                Some(next) => next.pts().map(gst::ClockTime::nseconds),
                // Only behind the recording's own last frame: what could not be decoded is missing.
                None => end(pad, &last, end_ns, last_frame_ns + 2 * step as i64),
            };
            // At the end one more, which is the last that is shown.
            let copies = if next.is_some() { 1..=1 } else { 1..=2 };
            for number in copies.rev() {
                shared.activity.saw(None);
                push_again(pad, &last, until, number * step, step);
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// The recording's end as one of a buffer's times, where a frame is at most so far from it.
fn end(pad: &gst::Pad, last: &gst::Buffer, end_ns: i64, most_ns: i64) -> Option<u64> {
    let segment = pad.sticky_event::<gst::event::Segment>(0)?;
    let left = end_ns - running_ns(segment.segment(), last.pts())?;
    if left > most_ns {
        return None;
    }
    Some(last.pts()?.nseconds() + u64::try_from(left).ok()?)
}

/// Pushes a frame again, so long before a time, where it has shown for more than two steps until then.
fn push_again(pad: &gst::Pad, last: &gst::Buffer, until: Option<u64>, before: u64, step: u64) {
    let (Some(until), Some(from)) = (until, last.pts().map(gst::ClockTime::nseconds)) else {
        return;
    };
    if until.saturating_sub(from) <= step * 2 + before.saturating_sub(step) {
        return;
    }
    let mut again = last.copy();
    if let Some(again) = again.get_mut() {
        again.set_pts(gst::ClockTime::from_nseconds(until - before));
        again.set_duration(gst::ClockTime::from_nseconds(step));
    }
    // To the pad behind, because this one takes nothing more once the end is there. Whatever comes of
    // it comes of the next frame as well.
    if let Some(behind) = pad.peer() {
        let _ = behind.chain(again);
    }
}

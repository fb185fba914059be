//! What shows until the next frame comes, for `videorate`.
//!
//! It puts the nearest frame in each place, so that a frame behind a long pause would show half the pause
//! too early, and it fills no more than 25 places at the end. So in a pause of more than two steps,
//! and before the end, the frame that shows is told to it once more.

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;

use super::Shared;
use crate::stream::running_ns;

#[derive(Default)]
struct State {
    last: Option<gst::Buffer>,
    pushing: bool,
}

/// Tells frames once more on the source pad in front of `videorate`; `end_ns`: when the last one ends.
pub(super) fn hold(pad: &gst::Pad, mfps: u32, end_ns: i64, shared: &Arc<Shared>) {
    let step = 1_000_000_000_000 / u64::from(mfps.max(1));
    let state = Mutex::new(State::default());
    let shared = Arc::clone(shared);
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(kinds, move |pad, info| {
        let next = match &info.data {
            Some(gst::PadProbeData::Buffer(buffer)) => Some(buffer.clone()),
            Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Eos => None,
            _ => return gst::PadProbeReturn::Ok,
        };
        let Ok(mut held) = state.lock() else { return gst::PadProbeReturn::Ok };
        if held.pushing {
            return gst::PadProbeReturn::Ok;
        }
        let last = std::mem::replace(&mut held.last, next.clone());
        held.pushing = true;
        drop(held);
        if let Some(last) = last {
            let until = match &next {
                Some(next) => next.pts().map(gst::ClockTime::nseconds),
                None => end(pad, &last, end_ns),
            };
            // At the end one more, which is the last that is shown.
            let copies = if next.is_some() { 1..=1 } else { 1..=2 };
            for number in copies.rev() {
                shared.activity.saw(None);
                push_again(pad, &last, until, number * step, step);
            }
        }
        if let Ok(mut held) = state.lock() {
            held.pushing = false;
        }
        gst::PadProbeReturn::Ok
    });
}

/// A time on the recording's line as one of a buffer's.
fn end(pad: &gst::Pad, last: &gst::Buffer, end_ns: i64) -> Option<u64> {
    let segment = pad.sticky_event::<gst::event::Segment>(0)?;
    let left = end_ns - running_ns(segment.segment(), last.pts())?;
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
    // Whatever comes of it comes of the next frame as well.
    let _ = pad.push(again);
}

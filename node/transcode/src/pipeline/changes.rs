//! What happens to decoded frames where more is wanted than another codec.
//!
//! ```text
//! (BT.709) ─ I420 ─ cut ─ scale ─ turn ─ watermark ─┬─ film
//!                                                   └─ pictures
//! ```
//!
//! Film and pictures see the same frames, so what is true of one is true of the other. Frames of
//! another size than the film's are cut by their own middle; where their shape still differs, they are
//! fitted in with black borders.

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use holdfast_core::transform::Watermark;

use super::{Shared, tonemap, video};
use crate::error::Error;
use crate::geometry::{margins, same_shape, squared, swapped_by};
use crate::plan::Changes;
use crate::probe::VideoScan;
use crate::source::make;
use crate::watermark::{Mark, Picture};

/// The elements, to be linked in a row behind decoded frames.
pub(super) fn elements(v: &VideoScan, changes: &Changes) -> Result<Vec<gst::Element>, Error> {
    let stored = swapped_by(changes.size, changes.turn);
    let (convert, crop, scale) = (make("videoconvert")?, make("videocrop")?, make("videoscale")?);
    let filter = make("capsfilter")?;
    filter.set_property("caps", video::film_caps(v, stored.0, stored.1));
    let mut row = Vec::new();
    if let Some(curve) = v.curve() {
        row.extend([make("videoconvert")?, tonemap::element(curve)]);
    }
    row.extend([convert, crop.clone(), scale.clone(), filter]);
    fit_each_size(&row[0], &crop, &scale, *changes)?;
    if !changes.turn.is_upright() {
        let flip = make("videoflip")?;
        flip.set_property_from_str("video-direction", changes.turn.direction());
        row.push(flip);
    }
    Ok(row)
}

/// Sets what is cut off, and whether there are borders, before a new size comes to the first element:
/// it asks those behind it what they take, and with the old margins a smaller size is refused.
fn fit_each_size(
    first: &gst::Element,
    crop: &gst::Element,
    scale: &gst::Element,
    changes: Changes,
) -> Result<(), Error> {
    let pad = video::pad(first, "sink")?;
    let (crop, scale) = (crop.downgrade(), scale.downgrade());
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let (Some(event), Some(crop), Some(scale)) =
            (info.event(), crop.upgrade(), scale.upgrade())
            && let gst::EventView::Caps(c) = event.view()
            && let Ok(frame) = gst_video::VideoInfo::from_caps(c.caps())
        {
            let size = (frame.width(), frame.height());
            let part = |n: i32| u32::try_from(n).unwrap_or(1).max(1);
            let par = (part(frame.par().numer()), part(frame.par().denom()));
            let cut = changes.crop.map_or([0; 4], |a| margins(size, par, changes.turn, a));
            for (side, pixels) in ["left", "right", "top", "bottom"].into_iter().zip(cut) {
                crop.set_property(side, pixels as i32);
            }
            let kept = (size.0 - cut[0] - cut[1], size.1 - cut[2] - cut[3]);
            let shape = swapped_by(squared(kept, par), changes.turn);
            scale.set_property("add-borders", !same_shape(shape, changes.size));
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Lays the watermark over every frame that passes a pad.
pub(super) fn mark(pad: &gst::Pad, picture: &Arc<Picture>, want: &Watermark, shared: &Arc<Shared>) {
    let (picture, want, shared) = (Arc::clone(picture), want.clone(), Arc::clone(shared));
    let made: Mutex<Option<(gst::Caps, gst_video::VideoInfo, Mark)>> = Mutex::new(None);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let (Some(caps), Some(buffer)) = (pad.current_caps(), info.buffer_mut()) else {
            return gst::PadProbeReturn::Ok;
        };
        let Ok(mut made) = made.lock() else { return gst::PadProbeReturn::Ok };
        if let Err(e) = lay_over(buffer, &caps, &mut made, &picture, &want) {
            shared.activity.fail(e);
        }
        gst::PadProbeReturn::Ok
    });
}

fn lay_over(
    buffer: &mut gst::Buffer,
    caps: &gst::Caps,
    made: &mut Option<(gst::Caps, gst_video::VideoInfo, Mark)>,
    picture: &Picture,
    want: &Watermark,
) -> Result<(), Error> {
    if made.as_ref().is_none_or(|(known, ..)| known != caps) {
        let info = gst_video::VideoInfo::from_caps(caps)
            .map_err(Error::internal("cannot understand the film's frames"))?;
        let mark = Mark::new(picture, want, &info);
        *made = Some((caps.clone(), info, mark));
    }
    let Some((_, info, mark)) = made else { return Ok(()) };
    let writable = buffer.make_mut();
    let mut frame = gst_video::VideoFrameRef::from_buffer_ref_writable(writable, info)
        .map_err(Error::internal("cannot write on a frame"))?;
    mark.blend(&mut frame)
}

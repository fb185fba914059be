//! Streams that a demuxer takes for another codec than their parser does.

use gst::prelude::*;
use gstreamer as gst;

use crate::error::Error;
use crate::source::{add_row, make};

/// Where to link a demuxer's pad to a branch: the branch itself, or before it an element that gives the
/// stream the name that the branch knows. (tsdemux calls the AC-3 of camcorders E-AC-3; `crate::stream` has
/// what the parser said.)
pub(super) fn entrance(
    pipeline: &gst::Pipeline,
    pad: &gst::Pad,
    head: &gst::Element,
) -> Result<Option<gst::Pad>, Error> {
    let Some(first) = head.static_pad("sink") else { return Ok(None) };
    if pad.can_link(&first) {
        return Ok(Some(first));
    }
    let known = first.query_caps(None);
    let name = known.structure(0).map(gst::StructureRef::name);
    let setter = make("capssetter")?;
    setter
        .set_property("caps", name.map_or_else(gst::Caps::new_empty, gst::Caps::new_empty_simple));
    setter.set_property("replace", true);
    add_row(pipeline, std::slice::from_ref(&setter))
        .and_then(|()| setter.link(head))
        .map_err(Error::internal("cannot name a stream's codec"))?;
    Ok(setter.static_pad("sink"))
}

//! An element that does to frames what [`crate::tone`] says: 10 bits in, 8 bits of BT.709 out.

use std::sync::OnceLock;

use gst::glib;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_base as gst_base;
use gstreamer_video as gst_video;

use crate::tone::{Curve, Table};

/// What comes in.
const FORMAT: &str = "I420_10LE";
/// What goes out.
const FORMAT_OUT: &str = "I420";

fn caps(format: &str) -> gst::Caps {
    let mut caps = gst_video::VideoCapsBuilder::new().build();
    caps.make_mut().set("format", format);
    caps
}

#[allow(unsafe_code)] // expanded from glib's macros; none of it is written here
mod element {
    use std::sync::Mutex;

    use gst_base::subclass::prelude::*;
    use gst_video::subclass::prelude::*;

    use super::{Curve, FORMAT, FORMAT_OUT, OnceLock, Table, caps, glib, gst, gst_base, gst_video};

    #[derive(Default)]
    pub(crate) struct ToneMap {
        pub(super) curve: OnceLock<Curve>,
        table: Mutex<Option<Table>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for ToneMap {
        const NAME: &'static str = "HoldfastToneMap";
        type Type = super::ToneMap;
        type ParentType = gst_video::VideoFilter;
    }

    impl ObjectImpl for ToneMap {}

    impl GstObjectImpl for ToneMap {}

    impl ElementImpl for ToneMap {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: OnceLock<gst::subclass::ElementMetadata> = OnceLock::new();
            Some(METADATA.get_or_init(|| {
                gst::subclass::ElementMetadata::new(
                    "Tone mapping",
                    "Filter/Converter/Video",
                    "Brings high dynamic range down to BT.709",
                    "Holdfast",
                )
            }))
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: OnceLock<Vec<gst::PadTemplate>> = OnceLock::new();
            TEMPLATES.get_or_init(|| {
                let always = gst::PadPresence::Always;
                [
                    ("sink", gst::PadDirection::Sink, FORMAT),
                    ("src", gst::PadDirection::Src, FORMAT_OUT),
                ]
                .into_iter()
                .filter_map(|(name, direction, format)| {
                    gst::PadTemplate::new(name, direction, always, &caps(format)).ok()
                })
                .collect()
            })
        }
    }

    impl BaseTransformImpl for ToneMap {
        const MODE: gst_base::subclass::BaseTransformMode =
            gst_base::subclass::BaseTransformMode::NeverInPlace;
        const PASSTHROUGH_ON_SAME_CAPS: bool = false;
        const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

        fn transform_caps(
            &self,
            direction: gst::PadDirection,
            caps: &gst::Caps,
            filter: Option<&gst::Caps>,
        ) -> Option<gst::Caps> {
            let to_film = direction == gst::PadDirection::Sink;
            let mut other = caps.clone();
            for s in other.make_mut().iter_mut() {
                s.set("format", if to_film { FORMAT_OUT } else { FORMAT });
                s.remove_fields(["colorimetry", "chroma-site", "hdr-format"]);
                s.remove_fields(["mastering-display-info", "content-light-level"]);
                if to_film {
                    s.set("colorimetry", "bt709");
                }
            }
            Some(filter.map_or_else(
                || other.clone(),
                |f| f.intersect_with_mode(&other, gst::CapsIntersectMode::First),
            ))
        }
    }

    impl VideoFilterImpl for ToneMap {
        fn set_info(
            &self,
            _incaps: &gst::Caps,
            in_info: &gst_video::VideoInfo,
            _outcaps: &gst::Caps,
            _out_info: &gst_video::VideoInfo,
        ) -> Result<(), gst::LoggableError> {
            let full = in_info.colorimetry().range() == gst_video::VideoColorRange::Range0_255;
            let curve = self.curve.get().copied().unwrap_or(Curve::Television);
            if let Ok(mut table) = self.table.lock() {
                *table = Some(Table::new(curve, 10, full));
            }
            Ok(())
        }

        fn transform_frame(
            &self,
            from: &gst_video::VideoFrameRef<&gst::BufferRef>,
            to: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
        ) -> Result<gst::FlowSuccess, gst::FlowError> {
            let table = self.table.lock().map_err(|_| gst::FlowError::Error)?;
            let table = table.as_ref().ok_or(gst::FlowError::NotNegotiated)?;
            super::convert(table, from, to).ok_or(gst::FlowError::Error)
        }
    }
}

/// Block by block of two by two; sizes that are odd end in half a block.
fn convert(
    table: &Table,
    from: &gst_video::VideoFrameRef<&gst::BufferRef>,
    to: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
) -> Option<gst::FlowSuccess> {
    use gst_video::prelude::*;
    let (w, h) = (from.width() as usize, from.height() as usize);
    let (half_w, half_h) = (w.div_ceil(2), h.div_ceil(2));
    let row = |plane: u32, y: usize, samples: usize| {
        let stride = *from.plane_stride().get(plane as usize)? as usize;
        from.plane_data(plane).ok()?.get(y * stride..)?.get(..samples * 2)
    };
    let sample = |row: &[u8], x: usize| u16::from_le_bytes([row[x * 2], row[x * 2 + 1]]) & 0x3ff;
    let mut lumas = [vec![0; half_w * 2], vec![0; half_w * 2]];
    let mut chromas = [vec![0; half_w], vec![0; half_w]];
    for y in 0..half_h {
        let (first, second) = (row(0, y * 2, w)?, row(0, (y * 2 + 1).min(h - 1), w)?);
        let (us, vs) = (row(1, y, half_w)?, row(2, y, half_w)?);
        for x in 0..half_w {
            let (left, right) = (x * 2, (x * 2 + 1).min(w - 1));
            let four = [
                sample(first, left),
                sample(first, right),
                sample(second, left),
                sample(second, right),
            ];
            let (luma, u, v) = table.block(four, sample(us, x), sample(vs, x));
            lumas[0][x * 2..x * 2 + 2].copy_from_slice(&luma[..2]);
            lumas[1][x * 2..x * 2 + 2].copy_from_slice(&luma[2..]);
            (chromas[0][x], chromas[1][x]) = (u, v);
        }
        put(to, 0, y * 2, &lumas[0][..w])?;
        if y * 2 + 1 < h {
            put(to, 0, y * 2 + 1, &lumas[1][..w])?;
        }
        put(to, 1, y, &chromas[0])?;
        put(to, 2, y, &chromas[1])?;
    }
    Some(gst::FlowSuccess::Ok)
}

/// Writes one row of a plane.
fn put(
    frame: &mut gst_video::VideoFrameRef<&mut gst::BufferRef>,
    plane: u32,
    y: usize,
    row: &[u8],
) -> Option<()> {
    use gst_video::prelude::*;
    let stride = *frame.plane_stride().get(plane as usize)? as usize;
    let target = frame.plane_data_mut(plane).ok()?.get_mut(y * stride..)?.get_mut(..row.len())?;
    target.copy_from_slice(row);
    Some(())
}

glib::wrapper! {
    /// Brings high dynamic range down to BT.709.
    pub(crate) struct ToneMap(ObjectSubclass<element::ToneMap>)
        @extends gst_video::VideoFilter, gst_base::BaseTransform, gst::Element, gst::Object;
}

/// Makes one for a curve.
pub(super) fn element(curve: Curve) -> gst::Element {
    use gst::subclass::prelude::ObjectSubclassIsExt as _;
    let element: ToneMap = glib::Object::new();
    let _ = element.imp().curve.set(curve);
    element.upcast()
}

//! Where a pipeline's bytes come from: an element that reads the descriptor handed over by the
//! service, and behind it what [`crate::container`] chose to take them apart.
//!
//! The descriptor is read by position and never reopened by a path, so this process needs no
//! right to any name in the file system.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use gst::glib;
use gst::prelude::*;
use gstreamer as gst;
use gstreamer_base as gst_base;

use crate::container::{Container, Front};
use crate::error::Error;
use crate::feed::{Feed, Growing};
use crate::growth::Growth;
use crate::layout::Layout;
use crate::mp4::without_length;

/// A recording opened for reading.
#[derive(Debug)]
pub(crate) struct Input {
    /// The recording.
    pub(crate) file: File,
    /// Its size in bytes when the job began; of one that is still coming in what of it may be read. Nothing
    /// behind that is read, except of one that grows.
    pub(crate) bytes: u64,
    /// Where what is to be read begins: behind a tag.
    pub(crate) start: AtomicU64,
    /// Where its last element was meant to end, if its end is missing.
    pub(crate) meant_end: AtomicU64,
    /// Where the furthest byte read so far lies; a sign of getting on.
    pub(crate) furthest: AtomicU64,
    /// How it is read.
    pub(crate) feed: Feed,
}

impl Input {
    /// Takes over an open file.
    pub(crate) fn new(file: File) -> Result<Arc<Self>, Error> {
        let bytes = file.metadata().map_err(Error::disk("cannot look at the recording"))?.len();
        Ok(Self::fed(file, bytes, Feed::Whole))
    }

    /// The beginning of a file.
    pub(crate) fn beginning(file: &File, bytes: u64) -> Result<Arc<Self>, Error> {
        Ok(Self::fed(again(file)?, bytes, Feed::Whole))
    }

    /// A file that is still coming in, laid out so.
    pub(crate) fn growing(
        file: &File,
        growth: &Arc<Growth>,
        layout: Layout,
    ) -> Result<Arc<Self>, Error> {
        Ok(Self::fed(again(file)?, 0, Feed::Growing(Growing::new(growth, layout))))
    }

    /// Parts of a file of so many bytes.
    pub(crate) fn parts(
        file: &File,
        bytes: u64,
        parts: Vec<Range<u64>>,
    ) -> Result<Arc<Self>, Error> {
        Ok(Self::fed(again(file)?, bytes, Feed::Parts(Mutex::new(parts.into()))))
    }

    /// A file of so many bytes but for these parts, which begin and end where its boxes do.
    pub(crate) fn skipping(
        file: &File,
        bytes: u64,
        parts: Vec<Range<u64>>,
    ) -> Result<Arc<Self>, Error> {
        Ok(Self::fed(again(file)?, bytes, Feed::Skipping(parts)))
    }

    fn fed(file: File, bytes: u64, feed: Feed) -> Arc<Self> {
        Arc::new(Self {
            file,
            bytes,
            start: AtomicU64::new(0),
            meant_end: AtomicU64::new(0),
            furthest: AtomicU64::new(0),
            feed,
        })
    }

    /// Whether only parts of it are read.
    pub(crate) fn is_sparse(&self) -> bool {
        matches!(self.feed, Feed::Parts(_) | Feed::Skipping(_))
    }

    /// Whether a reader waits for more of it to come in.
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(&self.feed, Feed::Growing(growing) if growing.growth.is_awaited())
    }

    /// The first bytes, at most `max`.
    pub(crate) fn head(&self, max: usize) -> Result<Vec<u8>, Error> {
        let start = self.start.load(Ordering::Relaxed);
        let there = self.bytes.saturating_sub(start);
        let max = usize::try_from(there).unwrap_or(usize::MAX).min(max);
        let mut head = vec![0; max];
        let mut len = 0;
        while len < max {
            match self.file.read_at(&mut head[len..], start + len as u64) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(e) => return Err(Error::disk("cannot read the recording")(e)),
            }
        }
        head.truncate(len);
        Ok(head)
    }
}

fn again(file: &File) -> Result<File, Error> {
    file.try_clone().map_err(Error::disk("cannot open the recording again"))
}

#[allow(unsafe_code)] // expanded from glib's macros; none of it is written here
mod element {
    use std::sync::{Arc, OnceLock};

    use gst::glib;
    use gst_base::subclass::prelude::*;
    use gstreamer as gst;
    use gstreamer_base as gst_base;
    use gstreamer_base::prelude::*;

    use std::os::unix::fs::FileExt as _;

    use super::{Feed, Input, Ordering};
    use crate::feed::skip;

    #[derive(Default)]
    pub(crate) struct DescriptorSrc {
        pub(super) input: OnceLock<Arc<Input>>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for DescriptorSrc {
        const NAME: &'static str = "HoldfastDescriptorSrc";
        type Type = super::DescriptorSrc;
        type ParentType = gst_base::BaseSrc;
    }

    impl ObjectImpl for DescriptorSrc {
        fn constructed(&self) {
            self.parent_constructed();
            self.obj().set_format(gst::Format::Bytes);
            self.obj().set_blocksize(256 * 1024);
        }
    }

    impl GstObjectImpl for DescriptorSrc {}

    impl ElementImpl for DescriptorSrc {
        fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
            static METADATA: OnceLock<gst::subclass::ElementMetadata> = OnceLock::new();
            Some(METADATA.get_or_init(|| {
                gst::subclass::ElementMetadata::new(
                    "Descriptor source",
                    "Source/File",
                    "Reads an open file by position",
                    "Holdfast",
                )
            }))
        }

        fn pad_templates() -> &'static [gst::PadTemplate] {
            static TEMPLATES: OnceLock<Vec<gst::PadTemplate>> = OnceLock::new();
            TEMPLATES.get_or_init(|| {
                gst::PadTemplate::new(
                    "src",
                    gst::PadDirection::Src,
                    gst::PadPresence::Always,
                    &gst::Caps::new_any(),
                )
                .into_iter()
                .collect()
            })
        }
    }

    impl DescriptorSrc {
        /// Lets go of whoever waits for a recording to come in.
        fn release(&self, released: bool) {
            if let Some(Feed::Growing(growing)) = self.input.get().map(|input| &input.feed) {
                growing.growth.release(released);
            }
        }
    }

    impl BaseSrcImpl for DescriptorSrc {
        fn start(&self) -> Result<(), gst::ErrorMessage> {
            Ok(())
        }

        fn stop(&self) -> Result<(), gst::ErrorMessage> {
            Ok(())
        }

        fn unlock(&self) -> Result<(), gst::ErrorMessage> {
            self.release(true);
            Ok(())
        }

        fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
            self.release(false);
            Ok(())
        }

        fn is_seekable(&self) -> bool {
            self.input.get().is_none_or(|input| match &input.feed {
                Feed::Whole | Feed::Skipping(_) => true,
                Feed::Growing(growing) => growing.is_by_place(),
                Feed::Parts(_) => false,
            })
        }

        fn size(&self) -> Option<u64> {
            let is_known = |i: &&Arc<Input>| matches!(i.feed, Feed::Whole | Feed::Skipping(_));
            // A demuxer leaves a whole fragment out where the file is shorter than the fragment says.
            let end = |i: &Arc<Input>| i.bytes.max(i.meant_end.load(Ordering::Relaxed));
            let input = self.input.get().filter(is_known);
            input.map(|i| end(i).saturating_sub(i.start.load(Ordering::Relaxed)))
        }

        fn fill(
            &self,
            offset: u64,
            length: u32,
            buffer: &mut gst::BufferRef,
        ) -> Result<gst::FlowSuccess, gst::FlowError> {
            let input = self.input.get().ok_or(gst::FlowError::Error)?;
            let (offset, length) = match &input.feed {
                Feed::Whole | Feed::Skipping(_) => (offset, length as usize),
                Feed::Growing(growing) if growing.is_by_place() => {
                    let there = growing.there(&input.file, offset, length.into());
                    (offset, there.ok_or(gst::FlowError::Eos)? as usize)
                }
                feed => {
                    let next = feed.next(&input.file, length.into());
                    let next = next.ok_or(gst::FlowError::Eos)?;
                    (next.start, (next.end - next.start) as usize)
                }
            };
            let mut map = buffer.map_writable().map_err(|_| gst::FlowError::Error)?;
            let bytes = map.get_mut(..length).ok_or(gst::FlowError::Error)?;
            let start = input.start.load(Ordering::Relaxed);
            let there = match &input.feed {
                Feed::Whole | Feed::Skipping(_) => input.bytes.saturating_sub(start + offset),
                _ => u64::MAX,
            };
            let there = usize::try_from(there).unwrap_or(usize::MAX).min(bytes.len());
            let mut len = 0;
            while len < there {
                match input.file.read_at(&mut bytes[len..there], start + offset + len as u64) {
                    Ok(0) => break,
                    Ok(n) => len += n,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(e) => {
                        gst::element_imp_error!(
                            self,
                            gst::ResourceError::Read,
                            ["the disk refused to read the recording: {e}"]
                        );
                        return Err(gst::FlowError::Error);
                    }
                }
            }
            if let Feed::Skipping(parts) = &input.feed {
                skip(&mut bytes[..len], offset, parts);
            }
            let end = input.meant_end.load(Ordering::Relaxed);
            let missing = len < bytes.len() && offset + bytes.len() as u64 <= end;
            if len == 0 && !missing {
                return Err(gst::FlowError::Eos);
            }
            if missing {
                // Some other stream's frames may still be whole, so reading goes on; what is
                // marked here is dropped behind the demuxer.
                bytes[len..].fill(0);
                len = bytes.len();
            }
            input.furthest.fetch_max(offset + len as u64, Ordering::Relaxed);
            drop(map);
            buffer.set_size(len);
            if missing {
                buffer.set_flags(gst::BufferFlags::CORRUPTED);
            }
            buffer.set_offset(offset);
            buffer.set_offset_end(offset + len as u64);
            Ok(gst::FlowSuccess::Ok)
        }
    }
}

glib::wrapper! {
    /// Reads an open file by position.
    pub(crate) struct DescriptorSrc(ObjectSubclass<element::DescriptorSrc>)
        @extends gst_base::BaseSrc, gst::Element, gst::Object;
}

/// Makes an element by its factory's name.
pub(crate) fn make(factory: &str) -> Result<gst::Element, Error> {
    gst::ElementFactory::make(factory).build().map_err(|_| {
        Error::Internal(format!("the GStreamer element {factory} is not installed on this node"))
    })
}

/// Puts source and demuxer into a pipeline; `on_pad` sees each stream's pad as it appears. Gives
/// the element that has these pads.
pub(crate) fn attach(
    pipeline: &gst::Pipeline,
    input: &Arc<Input>,
    container: Container,
    on_pad: impl Fn(&gst::Pad) + Send + Sync + 'static,
) -> Result<gst::Element, Error> {
    use gst::subclass::prelude::ObjectSubclassIsExt as _;
    let src: DescriptorSrc = glib::Object::new();
    let _ = src.imp().input.set(Arc::clone(input));
    if let Some(pad) = src.static_pad("src").filter(|_| container == Container::Quicktime) {
        without_length(&pad, &input.file);
    }
    let on_pad = move |pad: &gst::Pad| {
        without_alpha(pad);
        without_missing(pad);
        on_pad(pad);
    };
    let mut row = vec![src.upcast()];
    match container.front() {
        Front::Demuxer(name) => {
            let demuxer = make(name)?;
            demuxer.connect_pad_added(move |_, pad| {
                if pad.direction() == gst::PadDirection::Src {
                    on_pad(pad);
                }
            });
            row.push(demuxer);
        }
        Front::Parser(name, caps) => {
            row.push(make(name)?);
            if let Some(caps) = caps {
                let filter = make("capsfilter")?;
                filter.set_property_from_str("caps", caps);
                row.push(filter);
            }
            when_known(&row[row.len() - 1], on_pad)?;
        }
    }
    pipeline.add_many(&row).map_err(Error::internal("cannot build the pipeline"))?;
    gst::Element::link_many(&row).map_err(Error::internal("cannot link the demuxer"))?;
    Ok(row[row.len() - 1].clone())
}

/// Shows the pad of an element that always has one as soon as it has caps, as a demuxer would.
fn when_known(
    element: &gst::Element,
    on_pad: impl Fn(&gst::Pad) + Send + Sync + 'static,
) -> Result<(), Error> {
    let pad = element.static_pad("src");
    let pad = pad.ok_or_else(|| Error::Internal("a parser without a pad".into()))?;
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
        if info.event().is_some_and(|e| e.type_() == gst::EventType::Caps) {
            on_pad(pad);
            return gst::PadProbeReturn::Remove;
        }
        gst::PadProbeReturn::Ok
    });
    Ok(())
}

/// Takes the mark of an alpha channel off a stream's caps: Chrome sets it without having one, and
/// vp9parse of GStreamer 1.22 turns in circles over it.
fn without_alpha(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        if let Some(event) = info.event()
            && let gst::EventView::Caps(c) = event.view()
            && c.caps().structure(0).is_some_and(|s| s.has_field("codec-alpha"))
        {
            let mut caps = c.caps_owned();
            for s in caps.make_mut().iter_mut() {
                s.remove_field("codec-alpha");
            }
            let plain = gst::event::Caps::builder(&caps).seqnum(event.seqnum()).build();
            info.data = Some(gst::PadProbeData::Event(plain));
        }
        gst::PadProbeReturn::Ok
    });
}

/// Drops frames whose data lie behind the end of a recording that was cut off.
fn without_missing(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        let missing =
            info.buffer().is_some_and(|b| b.flags().contains(gst::BufferFlags::CORRUPTED));
        if missing { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
    });
}

/// Adds elements to a running pipeline, links them in a row and starts them.
pub(crate) fn add_row(
    pipeline: &gst::Pipeline,
    row: &[gst::Element],
) -> Result<(), glib::BoolError> {
    pipeline.add_many(row)?;
    gst::Element::link_many(row)?;
    row.iter().rev().try_for_each(gst::Element::sync_state_with_parent)
}

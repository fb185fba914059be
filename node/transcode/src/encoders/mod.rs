//! The one place where encoders are chosen, and hardware with them.
//!
//! * [`families`] says what there could be: elements, memory and settings of each family, as data.
//! * [`candidates`] finds which of it GStreamer has registered here, for which devices.
//! * [`proof`] encodes and decodes a clip and compares: an element that exists, or even starts, proves
//!   nothing (`avenc_h264_omx` fails on its first frame, `openh264enc` can end well having printed
//!   an error).
//! * [`chains`] builds the rows of elements, for a proof and for a job alike.
//!
//! Hardware is used only where the service names a proven chain. Software proves itself in each job:
//! that takes 60 ms.

mod aac;
pub(crate) mod candidates;
pub(crate) mod chains;
mod clip;
mod families;
pub(crate) mod proof;

pub(crate) use aac::{aac, make_aac};
use gstreamer as gst;
use holdfast_core::hardware::{Candidate, Chain, Family};
use holdfast_core::transform::Quality;

use crate::error::Error;
use crate::h264;
use crate::probe::VideoScan;
use chains::Size;
use families::Found;

/// What a job encodes with, and perhaps decodes with.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    /// The encoder and what belongs to it.
    found: Found,
    /// What the service knows to work of it; nothing for software.
    proven: Option<Chain>,
    quality: Quality,
}

impl Choice {
    /// The H.264 encoder's element.
    pub(crate) fn encoder(&self) -> &str {
        &self.found.candidate.encoder
    }

    /// Whether there is hardware in it.
    pub(crate) fn is_hardware(&self) -> bool {
        self.found.candidate.family.is_hardware()
    }

    /// Its name, such as `va`.
    pub(crate) fn name(&self) -> &str {
        &self.found.candidate.name
    }

    /// Whether an element is one of its hardware's.
    pub(crate) fn owns(&self, element: &str) -> bool {
        self.is_hardware() && self.found.owns(element)
    }

    /// A row that takes frames of this size in the machine's memory (I420) and gives H.264.
    pub(crate) fn encode(&self, size: Size) -> Result<Vec<gst::Element>, Error> {
        chains::encode(&self.found, size, self.quality)
    }

    /// The hardware's decoder of a codec, where it was proven.
    fn decoder(&self, codec: &str, size: (u32, u32)) -> Option<String> {
        let proven = self.proven.as_ref()?;
        let element = self.found.decoder(codec)?;
        let is_proven = proven.decodes.iter().any(|c| c == codec);
        (is_proven && chains::takes_stream(&element, size)).then_some(element)
    }

    /// The hardware's decoder of a stream, where there is one that takes all of its sizes.
    pub(crate) fn decoder_used(&self, v: &VideoScan) -> Option<String> {
        let largest = v.sizes.iter().copied().max_by_key(|(w, h)| u64::from(*w) * u64::from(*h));
        self.decoder(v.codec.name, largest.unwrap_or_default())
    }

    /// Whether frames of a codec can stay in the device's memory all the way.
    pub(crate) fn goes_whole(&self, codec: &str, from: (u32, u32)) -> bool {
        self.proven.as_ref().is_some_and(|p| p.whole.iter().any(|c| c == codec))
            && self.decoder(codec, from).is_some()
    }

    /// A row that takes frames in the device's memory, scales them to `size` and gives H.264.
    pub(crate) fn whole(&self, size: Size) -> Result<Vec<gst::Element>, Error> {
        chains::whole(&self.found, size, self.quality)
    }
}

/// What a job wants to be encoded with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wish {
    /// The chain that the service names.
    pub(crate) hardware: Option<Chain>,
    /// How much is spent on how it looks.
    pub(crate) quality: Quality,
}

/// What to encode a film of this size with: the chain that the service names, if it is there and
/// takes such frames; else the first of the software that proves itself.
pub(crate) fn choose(wish: &Wish, size: Size) -> Result<Choice, Error> {
    let quality = wish.quality;
    if let Some(chain) = &wish.hardware {
        match candidates::find(&chain.name) {
            Some(found) if chains::takes(&found, size) => {
                return Ok(Choice { found, proven: Some(chain.clone()), quality });
            }
            Some(_) => {}
            None => {
                return Err(Error::Hardware(format!("there is no {} here any more", chain.name)));
            }
        }
    }
    let mut reasons = Vec::new();
    for family in [Family::X264, Family::Openh264] {
        let Some(found) = candidates::software(family) else {
            reasons.push(format!("{}: not installed", family.as_str()));
            continue;
        };
        match proof::encoder(&found, &clip::short()) {
            Ok(_) => return Ok(Choice { found, proven: None, quality }),
            Err(reason) => reasons.push(format!("{}: {reason}", family.as_str())),
        }
    }
    Err(Error::Internal(format!("no H.264 encoder works on this node ({})", reasons.join("; "))))
}

/// The candidate that a name means, for a proof.
pub(crate) fn named(name: &str) -> Result<Candidate, Error> {
    candidates::find(name).map(|found| found.candidate).ok_or_else(|| {
        let known: Vec<_> = candidates::all().into_iter().map(|c| c.candidate.name).collect();
        Error::Internal(format!("no candidate is called {name}; here are: {}", known.join(", ")))
    })
}

/// Whether parameter sets and frames are what an encoder of this size has to give.
fn check_packet(sample: &gst::Sample, size: (u32, u32), is_first: bool) -> Result<(), String> {
    let caps = sample.caps().and_then(|c| c.structure(0));
    let record = caps.and_then(|s| s.get::<gst::Buffer>("codec_data").ok());
    let record = record.as_ref().and_then(|r| r.map_readable().ok()).ok_or("no parameter sets")?;
    let config = h264::avc_config(&record).ok_or("unreadable parameter sets")?;
    let made = config.size().map(|s| (s.width, s.height));
    if made != Some(size) {
        return Err(format!("it encoded {made:?} instead of {size:?}"));
    }
    let data = sample.buffer().and_then(|b| b.map_readable().ok()).ok_or("an empty frame")?;
    let kinds: Vec<u8> = h264::nals(&data, config.length_bytes).map(|n| n[0] & 31).collect();
    if !kinds.iter().any(|k| matches!(k, 1 | 5)) || is_first && !kinds.contains(&5) {
        return Err("a frame is not a picture".into());
    }
    Ok(())
}

//! Which container a recording is in, by its first bytes.
//!
//! Nothing but the demuxers named here ever sees a recording: GStreamer's hundred type finders
//! are not asked, so a picture or a script that calls itself .webm goes no further than this.

use std::sync::atomic::Ordering;

use holdfast_core::names;
use holdfast_core::sniff::{HEAD_BYTES, audio_frames, id3_bytes, sniff};

use crate::error::Error;
use crate::source::Input;

/// Some programs write a tag before the tag.
const TAGS_MAX: usize = 4;

/// A container this node reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    /// Matroska and WebM.
    Matroska,
    /// MP4, MOV, 3GP, whole or fragmented.
    Quicktime,
    /// Ogg.
    Ogg,
    /// MPEG transport stream.
    MpegTs,
    /// Flash video.
    Flv,
    /// AVI.
    Avi,
    /// WAV.
    Wav,
    /// Advanced Systems Format: WMV and WMA.
    Asf,
    /// MPEG program stream.
    MpegPs,
    /// MPEG audio, layer 3, without a container.
    Mp3,
    /// AAC in ADTS frames, without a container.
    Adts,
}

/// What takes a container apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// An element whose pads appear one by one.
    Demuxer(&'static str),
    /// An element with one pad that is always there, and the caps to ask of it.
    Parser(&'static str, Option<&'static str>),
}

impl From<names::Container> for Container {
    fn from(container: names::Container) -> Self {
        match container {
            names::Container::Webm | names::Container::Matroska => Self::Matroska,
            names::Container::Mp4 | names::Container::Mov | names::Container::ThreeGp => {
                Self::Quicktime
            }
            names::Container::Avi => Self::Avi,
            names::Container::Wav => Self::Wav,
            names::Container::Ogg => Self::Ogg,
            names::Container::Flv => Self::Flv,
            names::Container::Asf => Self::Asf,
            names::Container::MpegTs => Self::MpegTs,
            names::Container::MpegPs => Self::MpegPs,
            names::Container::Mp3 => Self::Mp3,
            names::Container::Adts => Self::Adts,
        }
    }
}

impl Container {
    /// Name in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Matroska => "matroska",
            Self::Quicktime => "quicktime",
            Self::Ogg => "ogg",
            Self::MpegTs => "mpegts",
            Self::Flv => "flv",
            Self::Avi => "avi",
            Self::Wav => "wav",
            Self::Asf => "asf",
            Self::MpegPs => "mpegps",
            Self::Mp3 => "mp3",
            Self::Adts => "adts",
        }
    }

    /// The GStreamer element that takes it apart.
    pub(crate) fn front(self) -> Front {
        match self {
            Self::Matroska => Front::Demuxer("matroskademux"),
            Self::Quicktime => Front::Demuxer("qtdemux"),
            Self::Ogg => Front::Demuxer("oggdemux"),
            Self::MpegTs => Front::Demuxer("tsdemux"),
            Self::Flv => Front::Demuxer("flvdemux"),
            Self::Avi => Front::Demuxer("avidemux"),
            Self::Asf => Front::Demuxer("asfdemux"),
            Self::MpegPs => Front::Demuxer("mpegpsdemux"),
            Self::Wav => Front::Parser("wavparse", None),
            Self::Mp3 => Front::Parser("mpegaudioparse", None),
            // Without its frames' headers it is what an .mp4 holds.
            Self::Adts => {
                Front::Parser("aacparse", Some("audio/mpeg,mpegversion=4,stream-format=raw"))
            }
        }
    }
}

/// Tells what a recording is in; one that begins with tags is read from behind them.
pub(crate) fn identify(input: &Input) -> Result<Container, Error> {
    let mut head = input.head(HEAD_BYTES)?;
    let mut tagged = false;
    for _ in 0..TAGS_MAX {
        let Some(bytes) = id3_bytes(&head) else { break };
        input.start.fetch_add(bytes, Ordering::Relaxed);
        head = input.head(HEAD_BYTES)?;
        tagged = true;
    }
    if tagged {
        return behind_tag(&head).ok_or_else(|| {
            Error::Damaged("The recording is a tag (ID3) without any sound behind it.".into())
        });
    }
    match sniff(&head) {
        Some(container) => Ok(container.into()),
        None if input.bytes == 0 => Err(Error::NoMedia("The recording is empty (0 bytes).".into())),
        None if head.iter().all(|&byte| byte == 0) => {
            Err(Error::NoMedia("The recording begins with nothing but zeros.".into()))
        }
        None => Err(Error::Unsupported(
            "This is no recording in a container that this node reads (WebM, Matroska, MP4, Ogg, \
             MPEG-TS, MPEG-PS, FLV, AVI, ASF, WAV, MP3, AAC)."
                .into(),
        )),
    }
}

/// Only sound without a container carries such tags; zeros may come before the first frame.
fn behind_tag(head: &[u8]) -> Option<Container> {
    (0..head.len()).find_map(|at| audio_frames(&head[at..])).map(Container::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_found_behind_a_tag_and_some_zeros() {
        let mut frames = vec![0; 1_000];
        for at in [0, 417] {
            frames[at..at + 4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
        }
        assert_eq!(behind_tag(&[&[0; 9], frames.as_slice()].concat()), Some(Container::Mp3));
        assert_eq!(behind_tag(b""), None);
    }
}

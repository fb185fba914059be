//! Which container a recording is in, by its first bytes.
//!
//! Nothing but the demuxers named here ever sees a recording: GStreamer's hundred type finders
//! are not asked, so a picture or a script that calls itself .webm goes no further than this.

use std::sync::atomic::Ordering;

use crate::error::Error;
use crate::source::Input;

/// How many bytes [`sniff`] wants to see: two frames of any sound without a container.
const HEAD_BYTES: usize = 4096;
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

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sniffed {
    /// A container this node reads.
    Known(Container),
    /// No bytes, or only zeros.
    Nothing,
    /// Something else.
    Unknown,
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
    match sniff(&head) {
        _ if tagged => behind_tag(&head).ok_or_else(|| {
            Error::Damaged("The recording is a tag (ID3) without any sound behind it.".into())
        }),
        Sniffed::Known(c) => Ok(c),
        Sniffed::Nothing if input.bytes == 0 => {
            Err(Error::NoMedia("The recording is empty (0 bytes).".into()))
        }
        Sniffed::Nothing => {
            Err(Error::NoMedia("The recording begins with nothing but zeros.".into()))
        }
        Sniffed::Unknown => Err(Error::Unsupported(
            "This is no recording in a container that this node reads (WebM, Matroska, MP4, Ogg, \
             MPEG-TS, MPEG-PS, FLV, AVI, ASF, WAV, MP3, AAC)."
                .into(),
        )),
    }
}

/// Tells a container by its head, by the same marks as the service does at its door.
fn sniff(head: &[u8]) -> Sniffed {
    let fourcc = head.get(4..8);
    let atoms: [&[u8]; 10] =
        [b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"sidx"];
    if head.iter().all(|&b| b == 0) {
        return Sniffed::Nothing;
    }
    if fourcc.is_some_and(|f| atoms.contains(&f)) {
        return Sniffed::Known(Container::Quicktime);
    }
    match head {
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Sniffed::Known(Container::Matroska),
        [b'O', b'g', b'g', b'S', ..] => Sniffed::Known(Container::Ogg),
        [b'F', b'L', b'V', 1, ..] => Sniffed::Known(Container::Flv),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => {
            Sniffed::Known(Container::Avi)
        }
        [b'R', b'I', b'F', b'F' | b'X', _, _, _, _, b'W', b'A', b'V', b'E', ..] => {
            Sniffed::Known(Container::Wav)
        }
        [0x30, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11, ..] => Sniffed::Known(Container::Asf),
        [0, 0, 1, 0xba, ..] => Sniffed::Known(Container::MpegPs),
        _ if is_transport_stream(head) => Sniffed::Known(Container::MpegTs),
        _ => audio_frames(head).map_or(Sniffed::Unknown, Sniffed::Known),
    }
}

/// 188 bytes a packet; 192 with the time code that cameras put before each.
fn is_transport_stream(head: &[u8]) -> bool {
    [(0, 188), (4, 192)].into_iter().any(|(start, step)| {
        let mut marks = head.iter().skip(start).step_by(step).take(4);
        marks.len() >= 3 && marks.all(|&mark| mark == 0x47)
    })
}

/// Length of the ID3 tag that the head begins with.
fn id3_bytes(head: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', 2..=4, _, flags, size @ ..] = head else { return None };
    let size = size.get(..4)?.iter().fold(0u64, |sum, &b| (sum << 7) | u64::from(b & 0x7f));
    let footer = if flags & 0x10 == 0 { 0 } else { 10 };
    Some(10 + size + footer)
}

/// Only sound without a container carries such tags; zeros may come before the first frame.
fn behind_tag(head: &[u8]) -> Option<Container> {
    (0..head.len()).find_map(|at| audio_frames(&head[at..]))
}

/// MPEG audio has no magic number: two frames must stand where the first one says.
fn audio_frames(head: &[u8]) -> Option<Container> {
    let (container, length) = audio_frame(head)?;
    let (next, _) = audio_frame(head.get(length..)?)?;
    (next == container).then_some(container)
}

/// An ADTS or layer 3 frame's kind and length.
fn audio_frame(bytes: &[u8]) -> Option<(Container, usize)> {
    const KBPS_V1: [usize; 16] =
        [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0];
    const KBPS_V2: [usize; 16] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0];
    const HZ_V1: [usize; 4] = [44_100, 48_000, 32_000, 0];
    let [0xff, b1, b2, b3, b4, b5, ..] = *bytes else { return None };
    if b1 & 0xf6 == 0xf0 {
        let length = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5 >> 5);
        return (length >= 7 && b2 >> 2 & 0xf < 13).then_some((Container::Adts, length));
    }
    let divisor = match b1 & 0x18 {
        0x18 => 1,
        0x10 => 2,
        0x00 => 4,
        _ => return None,
    };
    let (table, per_frame) = if divisor == 1 { (KBPS_V1, 144_000) } else { (KBPS_V2, 72_000) };
    let kbps = table[usize::from(b2 >> 4)];
    let hz = HZ_V1[usize::from(b2 >> 2 & 3)] / divisor;
    if b1 & 0xe6 != 0xe2 || kbps == 0 || hz == 0 {
        return None;
    }
    Some((Container::Mp3, per_frame * kbps / hz + usize::from(b2 >> 1 & 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_told_apart() {
        assert_eq!(sniff(b""), Sniffed::Nothing);
        assert_eq!(sniff(&[0; 64]), Sniffed::Nothing);
        assert_eq!(sniff(b"\x1a\x45\xdf\xa3rest"), Sniffed::Known(Container::Matroska));
        assert_eq!(sniff(b"\0\0\0\x20ftypisom"), Sniffed::Known(Container::Quicktime));
        assert_eq!(sniff(b"\xff\xd8\xff\xe0\0\x10JFIF"), Sniffed::Unknown);
        assert_eq!(sniff(b"RIFF....WAVE"), Sniffed::Known(Container::Wav));
        assert_eq!(sniff(b"RIFF....WEBP"), Sniffed::Unknown);
        assert_eq!(sniff(b"\0\0\x01\xba\x44"), Sniffed::Known(Container::MpegPs));
    }

    #[test]
    fn what_has_no_magic_number_must_repeat() {
        let known = |head: &[u8], c| assert_eq!(sniff(head), c);
        let mut frames = vec![0; 1_000];
        for at in [0, 417] {
            frames[at..at + 4].copy_from_slice(&[0xff, 0xfb, 0x90, 0x00]);
        }
        known(&frames, Sniffed::Known(Container::Mp3));
        assert_eq!(behind_tag(&[&[0; 9], frames.as_slice()].concat()), Some(Container::Mp3));
        frames[417] = 0;
        known(&frames, Sniffed::Unknown);
        for (start, step) in [(0, 188), (4, 192)] {
            let mut packets = vec![0; step * 4];
            packets.iter_mut().skip(start).step_by(step).for_each(|byte| *byte = 0x47);
            known(&packets, Sniffed::Known(Container::MpegTs));
            packets[start + step] = 0;
            known(&packets, Sniffed::Unknown);
        }
    }

    #[test]
    fn tags_are_measured() {
        assert_eq!(id3_bytes(b"ID3\x03\0\0\0\0\x01\x02rest"), Some(140));
        assert_eq!(id3_bytes(b"ID3\x04\0\x10\0\0\0\x05"), Some(25));
        assert_eq!(id3_bytes(b"ID3\x03\0\0\0"), None);
        assert_eq!(behind_tag(b""), None);
    }
}

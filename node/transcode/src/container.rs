//! Which container a recording is in, by its first bytes.
//!
//! Nothing but the demuxers named here ever sees a recording: GStreamer's hundred type finders
//! are not asked, so a picture or a script that calls itself .webm goes no further than this.

/// How many bytes [`sniff`] wants to see.
pub(crate) const HEAD_BYTES: usize = 1024;

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
}

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sniffed {
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
        }
    }

    /// The GStreamer element that takes it apart.
    pub(crate) fn demuxer(self) -> &'static str {
        match self {
            Self::Matroska => "matroskademux",
            Self::Quicktime => "qtdemux",
            Self::Ogg => "oggdemux",
            Self::MpegTs => "tsdemux",
            Self::Flv => "flvdemux",
            Self::Avi => "avidemux",
        }
    }
}

/// Tells a container by its head.
pub(crate) fn sniff(head: &[u8]) -> Sniffed {
    let fourcc = head.get(4..8);
    let atoms: [&[u8]; 9] =
        [b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot"];
    if head.iter().all(|&b| b == 0) {
        Sniffed::Nothing
    } else if head.starts_with(&[0x1a, 0x45, 0xdf, 0xa3]) {
        Sniffed::Known(Container::Matroska)
    } else if fourcc.is_some_and(|f| atoms.contains(&f)) {
        Sniffed::Known(Container::Quicktime)
    } else if head.starts_with(b"OggS") {
        Sniffed::Known(Container::Ogg)
    } else if head.starts_with(b"FLV\x01") {
        Sniffed::Known(Container::Flv)
    } else if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"AVI ") {
        Sniffed::Known(Container::Avi)
    } else if head.len() > 376 && [0, 188, 376].iter().all(|&i| head[i] == 0x47) {
        Sniffed::Known(Container::MpegTs)
    } else {
        Sniffed::Unknown
    }
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
        assert_eq!(sniff(b"RIFF....WAVE"), Sniffed::Unknown);
    }
}

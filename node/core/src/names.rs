//! Identifiers, and the names of files in the vault and at a destination (rule 4).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::recording::FileKind;

/// Identifies a recording: a UUID, version 7, so that ids sort by the time they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
#[cfg_attr(feature = "schema", schema(value_type = String, format = "uuid"))]
pub struct RecordingId(Uuid);

impl RecordingId {
    /// An id for an instant, in milliseconds since 1970, and ten bytes of randomness.
    #[must_use]
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid())
    }

    /// The sixteen bytes, which sort as the id does.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The id that has these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// Identifies a volume that recordings lie on: what was written onto it when a node first used it,
/// whatever it is called and wherever it is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
#[cfg_attr(feature = "schema", schema(value_type = String, format = "uuid"))]
pub struct VolumeId(Uuid);

impl VolumeId {
    /// An id of sixteen bytes of randomness.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(random).into_uuid())
    }

    /// The sixteen bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.into_bytes()
    }

    /// The id that has these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// A text that is no recording id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a recording id: expected 36 characters like 0193a7b2-6c1e-7d7e-8a3f-0123456789ab",
        )
    }
}

impl std::error::Error for NotAnId {}

impl FromStr for RecordingId {
    type Err = NotAnId;

    /// Takes the 36-character lower-case form only: an id is also a folder's name, so each
    /// recording has exactly one spelling.
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let id = Uuid::try_parse(text).map(Self).map_err(|_| NotAnId)?;
        if id.to_string() == text { Ok(id) } else { Err(NotAnId) }
    }
}

/// A container, as its first bytes tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Container {
    /// EBML with document type `webm`.
    Webm,
    /// EBML with any other document type.
    Matroska,
    /// ISO BMFF.
    Mp4,
    /// ISO BMFF with the brand `qt  `.
    Mov,
    /// ISO BMFF with a `3gp` or `3g2` brand.
    ThreeGp,
    /// RIFF `AVI `.
    Avi,
    /// RIFF `WAVE`.
    Wav,
    /// Ogg.
    Ogg,
    /// Flash video.
    Flv,
    /// Advanced Systems Format (WMV, WMA).
    Asf,
    /// MPEG transport stream.
    MpegTs,
    /// MPEG program stream.
    MpegPs,
    /// MPEG audio, layer 3.
    Mp3,
    /// AAC in ADTS frames.
    Adts,
}

impl Container {
    /// The name's ending that people expect, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Webm => "webm",
            Self::Matroska => "mkv",
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::ThreeGp => "3gp",
            Self::Avi => "avi",
            Self::Wav => "wav",
            Self::Ogg => "ogg",
            Self::Flv => "flv",
            Self::Asf => "wmv",
            Self::MpegTs => "ts",
            Self::MpegPs => "mpg",
            Self::Mp3 => "mp3",
            Self::Adts => "aac",
        }
    }

    /// The media type to serve it with.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Webm => "video/webm",
            Self::Matroska => "video/x-matroska",
            Self::Mp4 => "video/mp4",
            Self::Mov => "video/quicktime",
            Self::ThreeGp => "video/3gpp",
            Self::Avi => "video/x-msvideo",
            Self::Wav => "audio/wav",
            Self::Ogg => "application/ogg",
            Self::Flv => "video/x-flv",
            Self::Asf => "video/x-ms-asf",
            Self::MpegTs => "video/mp2t",
            Self::MpegPs => "video/mpeg",
            Self::Mp3 => "audio/mpeg",
            Self::Adts => "audio/aac",
        }
    }
}

/// The media type of a recording's file.
#[must_use]
pub fn media_type(kind: FileKind, raw: Option<Container>) -> &'static str {
    match kind {
        FileKind::Main => "video/mp4",
        FileKind::Raw => raw.map_or("application/octet-stream", Container::media_type),
        FileKind::Snapshot | FileKind::Filmstrip => "image/jpeg",
        FileKind::FilmstripVtt => "text/vtt",
    }
}

/// The name of a file at a destination, relative to it: `{folder}/{name}.mp4` and so on (rule 4).
///
/// `folder` may be empty or have several parts; slashes at its ends don't count.
#[must_use]
pub fn at_destination(folder: &str, name: &str, kind: FileKind, raw: Option<Container>) -> String {
    let folder = folder.trim_matches('/');
    let file = match kind {
        FileKind::Main => format!("{name}.mp4"),
        FileKind::Raw => format!("{name}_raw.{}", raw.map_or("bin", Container::extension)),
        FileKind::Snapshot => format!("{name}.jpg"),
        FileKind::Filmstrip => format!("{name}_filmstrip.jpg"),
        FileKind::FilmstripVtt => format!("{name}_filmstrip.vtt"),
    };
    if folder.is_empty() { file } else { format!("{folder}/{file}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_4_names_at_a_destination() {
        let at = |kind| at_destination("/acme/2026/", "talk", kind, Some(Container::Webm));
        assert_eq!(at(FileKind::Main), "acme/2026/talk.mp4");
        assert_eq!(at(FileKind::Raw), "acme/2026/talk_raw.webm");
        assert_eq!(at(FileKind::Snapshot), "acme/2026/talk.jpg");
        assert_eq!(at(FileKind::Filmstrip), "acme/2026/talk_filmstrip.jpg");
        assert_eq!(at(FileKind::FilmstripVtt), "acme/2026/talk_filmstrip.vtt");
        assert_eq!(at_destination("", "talk", FileKind::Main, None), "talk.mp4");
    }

    #[test]
    fn an_id_has_one_spelling_and_is_never_a_path() {
        let id = RecordingId::new(1_764_000_000_000, [7; 10]);
        assert_eq!(id.to_string().parse(), Ok(id));
        let upper = id.to_string().to_uppercase();
        for bad in
            ["", "..", "../../etc/passwd", upper.as_str(), "0193a7b26c1e7d7e8a3f0123456789ab"]
        {
            assert_eq!(bad.parse::<RecordingId>(), Err(NotAnId), "{bad}");
        }
    }

    #[test]
    fn ids_sort_by_time() {
        assert!(RecordingId::new(1_000, [0xff; 10]) < RecordingId::new(1_001, [0; 10]));
    }
}

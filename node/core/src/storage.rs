//! Our own storage: where it is, and how files lie there (rule 9).

use serde::{Deserialize, Serialize};

use crate::recording::FileKind;

/// A region of our own storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Region {
    /// Amazon S3, N. California.
    #[serde(rename = "US1", alias = "us1")]
    Us1,
    /// Amazon S3, N. Virginia.
    #[serde(rename = "US2", alias = "us2")]
    Us2,
    /// Scaleway Object Storage, Amsterdam.
    #[serde(rename = "EU2", alias = "eu2")]
    Eu2,
}

/// Who runs the storage of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Amazon S3.
    Amazon,
    /// Scaleway Object Storage.
    Scaleway,
}

/// How files are encrypted at rest by the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtRest {
    /// With keys that S3 manages (SSE-S3).
    SseS3,
    /// Not by the provider.
    None,
}

impl Region {
    /// Every region.
    pub const ALL: [Self; 3] = [Self::Us1, Self::Us2, Self::Eu2];

    /// Its word in configuration, API and on screens.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Us1 => "US1",
            Self::Us2 => "US2",
            Self::Eu2 => "EU2",
        }
    }

    /// Who runs it.
    #[must_use]
    pub fn provider(self) -> Provider {
        match self {
            Self::Us1 | Self::Us2 => Provider::Amazon,
            Self::Eu2 => Provider::Scaleway,
        }
    }

    /// What the provider calls the region.
    #[must_use]
    pub fn provider_region(self) -> &'static str {
        match self {
            Self::Us1 => "us-west-1",
            Self::Us2 => "us-east-1",
            Self::Eu2 => "nl-ams",
        }
    }

    /// How the provider encrypts files there.
    #[must_use]
    pub fn at_rest(self) -> AtRest {
        match self.provider() {
            Provider::Amazon => AtRest::SseS3,
            Provider::Scaleway => AtRest::None,
        }
    }

    /// The storage class of a file there; nothing for the provider's default.
    #[must_use]
    pub fn storage_class(self, kind: FileKind) -> Option<&'static str> {
        match (self.provider(), kind) {
            (Provider::Scaleway, _) => None,
            (Provider::Amazon, FileKind::Main) => Some("INTELLIGENT_TIERING"),
            (
                Provider::Amazon,
                FileKind::Snapshot | FileKind::Filmstrip | FileKind::FilmstripVtt,
            ) => Some("STANDARD"),
            (Provider::Amazon, FileKind::Raw) => Some("STANDARD_IA"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rule_9_regions() {
        let of = |region: Region| (region.provider(), region.provider_region(), region.at_rest());
        assert_eq!(of(Region::Us1), (Provider::Amazon, "us-west-1", AtRest::SseS3));
        assert_eq!(of(Region::Us2), (Provider::Amazon, "us-east-1", AtRest::SseS3));
        assert_eq!(of(Region::Eu2), (Provider::Scaleway, "nl-ams", AtRest::None));
        for region in Region::ALL {
            let word = serde_json::to_string(&region).unwrap();
            assert_eq!(word.trim_matches('"'), region.as_str());
        }
    }

    #[test]
    fn rule_9_storage_classes() {
        for region in [Region::Us1, Region::Us2] {
            assert_eq!(region.storage_class(FileKind::Main), Some("INTELLIGENT_TIERING"));
            assert_eq!(region.storage_class(FileKind::Snapshot), Some("STANDARD"));
            assert_eq!(region.storage_class(FileKind::Filmstrip), Some("STANDARD"));
            assert_eq!(region.storage_class(FileKind::Raw), Some("STANDARD_IA"));
        }
        assert_eq!(Region::Eu2.storage_class(FileKind::Main), None);
    }
}

//! What a webhook can hear of.

use std::collections::BTreeSet;

use holdfast_core::happening::Happening;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The event with which a webhook is tried out. It cannot be chosen, because nobody needs to.
pub const PING: &str = "webhook.ping";

/// Something that happened to a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Event {
    /// It was saved.
    #[serde(rename = "video_recorded")]
    Recorded,
    /// Its `.mp4` was made.
    #[serde(rename = "video_converted")]
    Converted,
    /// It is in our own storage.
    #[serde(rename = "video_copied_pipe_s3")]
    CopiedOwn,
    /// It is in a bucket of the customer's.
    #[serde(rename = "video_copied_s3")]
    CopiedS3,
    /// It is on a server for FTP, FTPS or SFTP.
    #[serde(rename = "video_copied_ftp")]
    CopiedFtp,
    /// It is in a Dropbox.
    #[serde(rename = "video_copied_dbox")]
    CopiedDropbox,
    /// It is in a directory of the node's machine, or a share that is mounted there.
    #[serde(rename = "video_copied_directory")]
    CopiedDirectory,
    /// Its client never came back, and it was saved as far as its bytes reach.
    #[serde(rename = "recording.recovered")]
    Recovered,
    /// A step used up its attempts, and what it did until then does not count as done.
    #[serde(rename = "recording.failed")]
    Failed,
    /// Nothing of it is left with us.
    #[serde(rename = "recording.deleted")]
    Deleted,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 10] = [
        Self::Recorded,
        Self::Converted,
        Self::CopiedOwn,
        Self::CopiedS3,
        Self::CopiedFtp,
        Self::CopiedDropbox,
        Self::CopiedDirectory,
        Self::Recovered,
        Self::Failed,
        Self::Deleted,
    ];

    /// Its name in payloads and settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "video_recorded",
            Self::Converted => "video_converted",
            Self::CopiedOwn => "video_copied_pipe_s3",
            Self::CopiedS3 => "video_copied_s3",
            Self::CopiedFtp => "video_copied_ftp",
            Self::CopiedDropbox => "video_copied_dbox",
            Self::CopiedDirectory => "video_copied_directory",
            Self::Recovered => "recording.recovered",
            Self::Failed => "recording.failed",
            Self::Deleted => "recording.deleted",
        }
    }

    /// What something that happened is called. `kind_of` says which kind of destination has a name.
    #[must_use]
    pub fn of(
        happening: &Happening,
        own: Option<&str>,
        kind_of: impl Fn(&str) -> Option<&'static str>,
    ) -> Self {
        match happening {
            Happening::Recorded => Self::Recorded,
            Happening::Recovered => Self::Recovered,
            Happening::Converted => Self::Converted,
            Happening::Copied { destination } if own == Some(destination) => Self::CopiedOwn,
            Happening::Copied { destination } => Self::copied(kind_of(destination)),
            Happening::Failed => Self::Failed,
            Happening::Deleted => Self::Deleted,
        }
    }

    /// By the kind of a destination, as settings and configuration call it. One whose settings are
    /// gone since counts as a directory, the kind that says least.
    fn copied(kind: Option<&str>) -> Self {
        match kind {
            Some("s3") => Self::CopiedS3,
            Some("ftp" | "ftps" | "sftp") => Self::CopiedFtp,
            Some("dropbox") => Self::CopiedDropbox,
            _ => Self::CopiedDirectory,
        }
    }
}

/// How a payload is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// As `application/json`.
    #[default]
    Json,
    /// As the field `payload` of `application/x-www-form-urlencoded`.
    Form,
}

/// Whether a webhook that chose these events hears of one. Who chose none hears of all.
#[must_use]
pub fn hears(chosen: &BTreeSet<Event>, event: Event) -> bool {
    chosen.is_empty() || chosen.contains(&event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_called_by_the_kind_of_its_destination() {
        let copied = Happening::Copied { destination: "there".into() };
        for (kind, event) in [
            ("s3", Event::CopiedS3),
            ("ftp", Event::CopiedFtp),
            ("ftps", Event::CopiedFtp),
            ("sftp", Event::CopiedFtp),
            ("dropbox", Event::CopiedDropbox),
            ("directory", Event::CopiedDirectory),
        ] {
            assert_eq!(Event::of(&copied, None, |_| Some(kind)), event);
            assert_eq!(Event::of(&copied, Some("elsewhere"), |_| Some(kind)), event);
            assert_eq!(Event::of(&copied, Some("there"), |_| Some(kind)), Event::CopiedOwn);
        }
    }

    #[test]
    fn every_event_has_one_name_everywhere() {
        for event in Event::ALL {
            assert_eq!(serde_json::to_value(event).unwrap(), event.as_str());
        }
        assert!(hears(&BTreeSet::new(), Event::Failed));
        assert!(!hears(&BTreeSet::from([Event::Deleted]), Event::Failed));
    }
}

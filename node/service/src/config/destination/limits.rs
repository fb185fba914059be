//! `limits`: how much of the line and of the server a destination may have.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::Timetable;

/// Most files at once that can be set.
const FILES_MAX: u16 = 64;

/// How much of the line and of the server a destination may have.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Files pushed there at once, 1 to 64; as many as the node pushes at all where none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 64)]
    pub files_max: Option<u16>,
    /// How fast, by weekday and time of day in the node's time zone: `mon-fri 08:00-18:00 5 MiB/s`.
    /// The first line that fits holds; where none fits there is no limit. At most 32 lines.
    #[serde(skip_serializing_if = "Timetable::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub bandwidth: Timetable,
}

impl Limits {
    /// Whether nothing is limited.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.files_max.is_some_and(|files| files == 0 || files > FILES_MAX) {
            return Err(format!("limits.files_max: must be 1 to {FILES_MAX}"));
        }
        Ok(())
    }
}

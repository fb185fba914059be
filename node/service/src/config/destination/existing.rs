//! What is done where a file with the same name lies at a destination already.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is done where another file with the same name is there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// It is replaced. Names follow from a recording's id, so it is an older push of the same
    /// recording.
    #[default]
    Overwrite,
    /// It stays, and the new file is called `name (2).mp4`.
    Rename,
    /// It stays, and the push fails.
    Refuse,
}

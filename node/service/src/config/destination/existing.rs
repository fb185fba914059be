//! What happens where a file of that name lies at the destination already.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What happens where another file of that name is there. The same file counts as pushed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// It is replaced. A recording's names are its own, so this is the default.
    #[default]
    Overwrite,
    /// The new one gets a number: `name (2).mp4`.
    Rename,
    /// The push fails, and says so.
    Refuse,
}

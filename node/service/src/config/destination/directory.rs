//! `kind = "directory"`

use std::path::{Component, PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Deliver, Existing, Limits, Settings};

/// A directory of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DirectoryDestination {
    /// The name by which environments speak of it.
    pub name: String,
    /// The directory, in full from `/`; it must exist. Over the API it must lie below one of the
    /// folders in `[deliver] directories`.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Where the file system is mounted that it lies in: this folder or one above it. Where nothing
    /// is mounted there, nothing is pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub mount_point: Option<PathBuf>,
    /// What happens where another file of that name is there.
    #[serde(default)]
    pub existing: Existing,
    /// How much of the line and of the server it may have.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
}

impl Settings for DirectoryDestination {
    fn name(&self) -> &str {
        &self.name
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whoever has a key to the API must not be able to write anywhere on the node.
    fn check_made(&self, deliver: &Deliver) -> Result<(), String> {
        let is_step = |part| matches!(part, Component::RootDir | Component::Normal(_));
        let is_plain = self.path.is_absolute() && self.path.components().all(is_step);
        let allowed = &deliver.directories;
        if is_plain && allowed.iter().any(|root| self.path.starts_with(root)) {
            return Ok(());
        }
        Err(if allowed.is_empty() {
            "path: this node takes no directories over the API; declare it in the configuration \
             file, or name the folders it may lie below in [deliver] directories"
                .into()
        } else {
            let roots: Vec<_> = allowed.iter().map(|root| root.display().to_string()).collect();
            format!("path: must lie below {}", roots.join(" or "))
        })
    }
}

//! `[[environments]]`: customers' settings.

use std::collections::BTreeSet;

use holdfast_core::push_order::Success;
use serde::Deserialize;

use super::unique;

/// `[[environments]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Its id, which clients send.
    pub id: String,
    /// Its hash, which clients send.
    pub hash: String,
    /// Whether to make the `.mp4`.
    #[serde(default = "yes")]
    pub mp4: bool,
    /// Whether to make the snapshot.
    #[serde(default = "yes")]
    pub snapshot: bool,
    /// Whether to make the filmstrip.
    #[serde(default = "yes")]
    pub filmstrip: bool,
    /// Whether to push the raw file beside the `.mp4`.
    #[serde(default)]
    pub push_raw: bool,
    /// Names of destinations, in the order in which they are served.
    #[serde(default)]
    pub destinations: Vec<String>,
    /// Folder at the destinations; the environment's id where none is given.
    #[serde(default)]
    pub folder: Option<String>,
    /// Nothing stays with us once it is delivered.
    #[serde(default)]
    pub store_nothing: bool,
    /// When a push counts: `main` or `all`.
    #[serde(default)]
    pub success: Success,
}

fn yes() -> bool {
    true
}

impl Environment {
    /// The environment of a recording of which nobody knows whose it is.
    #[must_use]
    pub fn nobody() -> Self {
        Self {
            id: String::new(),
            hash: String::new(),
            mp4: false,
            snapshot: false,
            filmstrip: false,
            push_raw: false,
            destinations: Vec::new(),
            folder: None,
            store_nothing: false,
            success: Success::default(),
        }
    }

    pub(super) fn check(&self, destinations: &BTreeSet<&str>) -> Result<(), String> {
        let id = &self.id;
        if let Some(unknown) = self.destinations.iter().find(|d| !destinations.contains(d.as_str()))
        {
            return Err(format!("environment {id:?}: no destination is called {unknown:?}"));
        }
        unique(
            &format!("environment {id:?}: destinations"),
            self.destinations.iter().map(String::as_str),
        )?;
        if self.store_nothing && self.destinations.is_empty() {
            return Err(format!(
                "environment {id:?}: store_nothing needs a destination, or its recordings would have nowhere to go"
            ));
        }
        let folder = self.folder.as_deref().unwrap_or(id);
        let is_plain =
            |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
        if !folder.is_empty() && !folder.trim_matches('/').split('/').all(is_plain) {
            return Err(format!(
                "environment {id:?}: folder {folder:?} must be plain names between slashes"
            ));
        }
        Ok(())
    }
}

//! What came of it: for the page and for programs (`outcome.json`), and in plain sentences for a
//! console and for whoever puts the stick into a PC (`outcome.txt`).

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::check::Settings;
use super::files;

/// How it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A configuration was taken.
    Taken,
    /// There is one, and nothing new.
    Unchanged,
    /// What is new cannot be used; what was taken earlier stays.
    Kept,
    /// What was found cannot be used, and there is nothing earlier.
    Broken,
    /// Nothing was found, and there is nothing earlier.
    Nothing,
    /// This machine could not take what was found.
    Failed,
}

/// What a folder held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Which folder.
    pub folder: PathBuf,
    /// What was there, in words.
    pub found: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it stands.
    pub state: State,
    /// The same in a sentence.
    pub summary: String,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
    /// What to do, a sentence each.
    pub advice: Vec<String>,
    /// Where was looked, in this order.
    pub looked_at: Vec<Seen>,
    /// The folder that the current configuration came from.
    pub source: Option<PathBuf>,
    /// What `provision.toml` said, of the current configuration.
    pub settings: Option<Settings>,
}

impl Outcome {
    /// In plain sentences, each on its line.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("Holdfast setup: {}\n", self.summary);
        let mut part = |title: &str, lines: &[String]| {
            if !lines.is_empty() {
                let _ = writeln!(text, "\n{title}");
            }
            for line in lines {
                let _ = writeln!(text, "  - {line}");
            }
        };
        part("What is wrong:", &self.problems);
        part("What to do:", &self.advice);
        let seen = |seen: &Seen| format!("{}: {}", seen.folder.display(), seen.found);
        part("Where the box looked:", &self.looked_at.iter().map(seen).collect::<Vec<_>>());
        text
    }

    /// Writes both forms into a folder.
    ///
    /// # Errors
    /// That a file cannot be written.
    pub fn write(&self, folder: &Path, mode: u32) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        files::replace(&folder.join("outcome.json"), &json, mode, None)?;
        // Windows' editor of old shows line ends without a carriage return as none.
        let text = self.text().replace('\n', "\r\n");
        files::replace(&folder.join("outcome.txt"), text.as_bytes(), mode, None)
    }

    /// Writes what units need to know, as `EnvironmentFile=` reads it.
    ///
    /// # Errors
    /// That the file cannot be written.
    pub fn write_environment(&self, folder: &Path) -> io::Result<()> {
        let settings = self.settings.clone().unwrap_or_default();
        let mut text = format!("HOLDFAST_RECOVERY_KEY={}\n", settings.recovery_key.as_str());
        if let Some(name) = &settings.hostname {
            let _ = writeln!(text, "HOLDFAST_HOSTNAME={name}");
        }
        for (name, list) in
            [("DATA_DISKS", &settings.data_disks), ("TIME_SERVERS", &settings.time_servers)]
        {
            if !list.is_empty() {
                let _ = writeln!(text, "HOLDFAST_{name}=\"{}\"", list.join(" "));
            }
        }
        files::replace(&folder.join("provision.env"), text.as_bytes(), 0o644, None)
    }
}

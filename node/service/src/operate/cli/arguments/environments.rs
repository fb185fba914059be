//! `holdfast environments`

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Args, Subcommand};

use super::{Settings, Sure};

/// What to do with environments.
#[derive(Debug, Subcommand)]
pub enum Environments {
    /// List environments
    List,
    /// Show everything about an environment
    Show {
        /// The environment
        id: String,
    },
    /// Make an environment
    Create {
        /// Its id, which clients send
        id: Option<String>,
        /// Its settings
        #[command(flatten)]
        flags: Box<EnvironmentFlags>,
        /// The same from a file
        #[command(flatten)]
        settings: Settings,
    },
    /// Change an environment; what is not named stays as it is
    Set {
        /// The environment
        id: String,
        /// What to change
        #[command(flatten)]
        flags: Box<EnvironmentFlags>,
        /// The same from a file
        #[command(flatten)]
        settings: Settings,
    },
    /// Delete an environment. Its recordings stay, and keep the rules that they have
    Delete {
        /// The environment
        id: String,
        /// Whether to ask
        #[command(flatten)]
        sure: Sure,
    },
}

/// An environment's settings.
#[derive(Debug, Clone, Args)]
pub struct EnvironmentFlags {
    /// Its hash, which clients send; it stands in web pages and is no secret
    #[arg(long, value_name = "TEXT")]
    pub hash: Option<String>,
    /// The account it belongs to
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// Its region
    #[arg(long, value_parser = ["us1", "us2", "eu2"])]
    pub region: Option<String>,
    /// Whether to make the .mp4
    #[arg(long, value_name = "BOOL")]
    pub mp4: Option<bool>,
    /// Whether to make the snapshot
    #[arg(long, value_name = "BOOL")]
    pub snapshot: Option<bool>,
    /// Whether to make the filmstrip
    #[arg(long, value_name = "BOOL")]
    pub filmstrip: Option<bool>,
    /// Whether to push the raw file beside the .mp4
    #[arg(long, value_name = "BOOL")]
    pub push_raw: Option<bool>,
    /// A destination; repeat it for several, in the order in which they are served
    #[arg(long = "destination", value_name = "NAME")]
    pub destinations: Vec<String>,
    /// Folder at the destinations
    #[arg(long, value_name = "NAME")]
    pub folder: Option<String>,
    /// Whether to delete all files here once they are pushed
    #[arg(long, value_name = "BOOL")]
    pub store_nothing: Option<bool>,
    /// When a push counts: once the main file is up, or all files
    #[arg(long, value_parser = ["main", "all"])]
    pub success: Option<String>,
    /// Delete recordings after so many whole days, or `never`
    #[arg(long, value_name = "N")]
    pub lifecycle_days: Option<LifecycleDays>,
    /// Whether something of a person is stored, such as `camera=false`: camera, microphone,
    /// referrer, user_agent or ip; repeat it for several
    #[arg(long, value_name = "NAME=BOOL", action = ArgAction::Append)]
    pub personal_data: Vec<PersonalSwitch>,
    /// A file with what is wanted of the film and the pictures, as JSON; what it does not name stays
    #[arg(long, value_name = "FILE")]
    pub transcoding: Option<PathBuf>,
    /// A PNG that is laid over the film and the pictures, at most 32 KiB
    #[arg(long, value_name = "PNG")]
    pub watermark: Option<PathBuf>,
}

/// A number of days, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifecycleDays(pub Option<u32>);

impl FromStr for LifecycleDays {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        match text.parse() {
            Ok(days) if (1..=36_500).contains(&days) => Ok(Self(Some(days))),
            _ => Err("must be a number of days, 1 to 36500, or `never`".into()),
        }
    }
}

/// Whether one thing about a person is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonalSwitch {
    /// Which.
    pub name: String,
    /// Whether it is.
    pub stored: bool,
}

impl FromStr for PersonalSwitch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const NAMES: [&str; 5] = ["camera", "microphone", "referrer", "user_agent", "ip"];
        let (name, stored) = text.split_once('=').ok_or("must be NAME=true or NAME=false")?;
        if !NAMES.contains(&name) {
            return Err(format!("there is no {name}; there are {}", NAMES.join(", ")));
        }
        let stored = stored.parse().map_err(|_| "must end in =true or =false")?;
        Ok(Self { name: name.into(), stored })
    }
}

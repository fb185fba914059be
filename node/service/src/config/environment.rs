//! `[[environments]]`: customers' settings.

use std::collections::BTreeSet;

use holdfast_core::push_order::Success;
use holdfast_core::recording::Metadata;
use holdfast_core::storage::Region;
use holdfast_core::transform::Transform;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{unique, watermark};

/// Longest lifecycle rule, in days.
pub const LIFECYCLE_DAYS_MAX: u32 = 36_500;

/// `[[environments]]`: a customer's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Its id, which clients send.
    pub id: String,
    /// Its hash, which clients send.
    pub hash: String,
    /// The account it belongs to.
    #[serde(default)]
    pub account: Option<String>,
    /// Which region of our own storage its recordings are pushed to, if any.
    #[serde(default)]
    pub region: Option<Region>,
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
    /// After how many whole days its recordings are deleted (rule 8), 1 to 36,500.
    #[serde(default)]
    pub lifecycle_days: Option<u32>,
    /// What of a person is stored with a recording.
    #[serde(default)]
    pub personal_data: PersonalData,
    /// What is wanted of the film and the pictures, as it stands when an attempt begins.
    #[serde(default)]
    pub transcoding: Transform,
}

/// `[environments.personal_data]`: what of a person is stored with a recording, and what is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PersonalData {
    /// Name of the camera.
    pub camera: bool,
    /// Name of the microphone.
    pub microphone: bool,
    /// Page on which it was recorded.
    pub referrer: bool,
    /// The browser's or app's name for itself.
    pub user_agent: bool,
    /// Address that it came from.
    pub ip: bool,
}

impl Default for PersonalData {
    fn default() -> Self {
        Self { camera: true, microphone: true, referrer: true, user_agent: true, ip: true }
    }
}

impl PersonalData {
    /// Leaves out what is not to be stored.
    #[must_use]
    pub fn keep(&self, metadata: Metadata) -> Metadata {
        Metadata {
            ip: metadata.ip.filter(|_| self.ip),
            user_agent: metadata.user_agent.filter(|_| self.user_agent),
            referrer: metadata.referrer.filter(|_| self.referrer),
            camera: metadata.camera.filter(|_| self.camera),
            microphone: metadata.microphone.filter(|_| self.microphone),
            title: metadata.title,
        }
    }
}

/// What there is beside an environment.
pub(crate) struct Around<'a> {
    /// Names of all destinations.
    pub(crate) destinations: BTreeSet<&'a str>,
    /// Names of those that are our own storage.
    pub(crate) ours: BTreeSet<&'a str>,
    /// Ids of all accounts.
    pub(crate) accounts: BTreeSet<&'a str>,
    /// Regions in which we have storage.
    pub(crate) regions: BTreeSet<Region>,
    /// Whether the environment may name files of the node: who may change settings over the API has
    /// not the keys to its file system.
    pub(crate) may_name_files: bool,
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
            account: None,
            region: None,
            mp4: false,
            snapshot: false,
            filmstrip: false,
            push_raw: false,
            destinations: Vec::new(),
            folder: None,
            store_nothing: false,
            success: Success::default(),
            lifecycle_days: None,
            personal_data: PersonalData::default(),
            transcoding: Transform::default(),
        }
    }

    /// Checks that it makes sense beside these destinations and accounts.
    ///
    /// # Errors
    /// A sentence that names the environment, the member and what to do.
    pub(crate) fn check(&self, around: &Around<'_>) -> Result<(), String> {
        let Around { destinations, ours, accounts, regions, .. } = around;
        let id = &self.id;
        if let Some(account) = self.account.as_deref().filter(|id| !accounts.contains(id)) {
            return Err(format!(
                "environment {id:?}: account: there is no account {account:?}; make it first"
            ));
        }
        if let Some(region) = self.region.filter(|region| !regions.contains(region)) {
            let region = region.as_str();
            return Err(format!(
                "environment {id:?}: region: no destination is our storage in {region}; the \
                 configuration file declares it, with ours = {region:?}"
            ));
        }
        if self.lifecycle_days.is_some_and(|days| !(1..=LIFECYCLE_DAYS_MAX).contains(&days)) {
            return Err(format!(
                "environment {id:?}: lifecycle_days: must be 1 to {LIFECYCLE_DAYS_MAX}"
            ));
        }
        if self.hash.is_empty() || self.hash.len() > 128 {
            return Err(format!("environment {id:?}: hash: must have 1 to 128 characters"));
        }
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
        if self.store_nothing
            && let Some(own) = self.destinations.iter().find(|to| ours.contains(to.as_str()))
        {
            return Err(format!(
                "environment {id:?}: destinations: {own:?} is our own storage, to which nothing is pushed \
                 with store_nothing (rule 9); take it out, or turn store_nothing off"
            ));
        }
        self.check_transcoding(around.may_name_files)
            .map_err(|what| format!("environment {id:?}: transcoding.{what}"))?;
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
    fn check_transcoding(&self, may_name_files: bool) -> Result<(), String> {
        self.transcoding.check()?;
        let Some(mark) = &self.transcoding.watermark else { return Ok(()) };
        if watermark::is_file(&mark.image) && !may_name_files {
            return Err("watermark.image: must be data:image/png;base64,… over the API; only the \
                configuration file can name a file"
                .into());
        }
        watermark::read(&mark.image).map(drop).map_err(|what| format!("watermark.image: {what}"))
    }
}

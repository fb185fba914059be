//! `[vault]`: where recordings lie.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Node, Profile};
use crate::vault::Demands;
use crate::vault::erasure::Means;

/// What the one volume of a vault that is a plain folder is called.
pub const PLAIN_VOLUME: &str = "vault";
/// Most volumes of a node.
const VOLUMES_MAX: usize = 16;

/// `[vault]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// A plain folder, made where it is missing; for development.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Or volumes, which may come and go.
    #[serde(default)]
    pub volumes: Vec<VaultVolume>,
    /// Space that is kept free on each volume, in bytes. Below it the volume takes nothing new.
    #[serde(default = "free_bytes_min")]
    pub free_bytes_min: u64,
    /// Space that has to be free again until it does, in bytes; a quarter more than the least where
    /// none is given.
    #[serde(default)]
    pub free_bytes_again: Option<u64>,
    /// What happens when space runs out.
    #[serde(default)]
    pub when_full: WhenFull,
    /// What deleting a recording does to its bytes.
    #[serde(default)]
    pub erasure: Erasure,
    /// How long after a deletion the key may last that opens an older image of the disk, in
    /// milliseconds.
    #[serde(default = "erasure_epoch_ms")]
    pub erasure_epoch_ms: u64,
}

/// `[vault] when_full`: what happens when space runs out. Never is anything lost that was acknowledged and
/// that a destination still has to get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// What is new is refused until there is room again.
    #[default]
    RefuseNew,
    /// Files that every destination has go first, although the push of others of their recording has not
    /// ended.
    DropDeliveredFirst,
}

impl WhenFull {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RefuseNew => "refuse_new",
            Self::DropDeliveredFirst => "drop_delivered_first",
        }
    }
}

/// `[vault] erasure`: what deleting a recording does to its bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Erasure {
    /// They are left for the file system to overwrite some day.
    #[default]
    Unlink,
    /// Each recording is encrypted with a key of its own, which is destroyed.
    Keys,
}

/// `[[vault.volumes]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultVolume {
    /// What people call it; as in the configuration of holdfast-volume. 1 to 16 of a-z and 0-9.
    pub name: String,
    /// Where it is mounted.
    pub path: PathBuf,
    /// Whether something has to be mounted there; only for development it may be a plain folder.
    #[serde(default = "yes")]
    pub mount_point: bool,
}

const fn yes() -> bool {
    true
}

fn erasure_epoch_ms() -> u64 {
    24 * 3_600_000
}

fn free_bytes_min() -> u64 {
    512 << 20
}

impl Vault {
    /// What its recordings are erased with.
    #[must_use]
    pub fn means<'a>(&self, node: &'a Node, now: Timestamp) -> Means<'a> {
        let makes_keys = self.erasure == Erasure::Keys;
        Means { makes_keys, state_path: &node.state_path, now }
    }

    /// What is asked of each volume.
    #[must_use]
    pub fn demands(&self, profile: Profile) -> Vec<Demands> {
        let demands = |name: &str, path: &Path, is_mount_point| Demands {
            name: name.to_owned(),
            path: path.into(),
            is_mount_point,
            is_encrypted: profile == Profile::Appliance,
            free_bytes_min: self.free_bytes_min,
            free_bytes_again: self.free_bytes_again(),
        };
        let plain = self.path.iter().map(|path| demands(PLAIN_VOLUME, path, false));
        plain
            .chain(self.volumes.iter().map(|it| demands(&it.name, &it.path, it.mount_point)))
            .collect()
    }

    /// Space that has to be free again until a full volume takes something new, in bytes.
    #[must_use]
    pub fn free_bytes_again(&self) -> u64 {
        let a_quarter_more = self.free_bytes_min.saturating_add(self.free_bytes_min / 4);
        self.free_bytes_again.unwrap_or(a_quarter_more)
    }

    /// The places of its volumes, for people.
    #[must_use]
    pub fn places(&self) -> String {
        let all = self.path.iter().chain(self.volumes.iter().map(|volume| &volume.path));
        all.map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    pub(super) fn check(&self, profile: Profile) -> Result<(), String> {
        match (&self.path, self.volumes.len()) {
            (None, 0) => {
                return Err("vault: give path, or name volumes with [[vault.volumes]]".into());
            }
            (Some(_), 1..) => {
                return Err("vault: give either path or [[vault.volumes]], not both".into());
            }
            (Some(_), 0) if profile == Profile::Appliance => {
                return Err("vault.path: a plain folder is for development; an appliance wants \
                     [[vault.volumes]], made and opened by holdfast-volume"
                    .into());
            }
            (None, too_many) if too_many > VOLUMES_MAX => {
                return Err(format!(
                    "vault.volumes: there are {too_many}, and {VOLUMES_MAX} at most"
                ));
            }
            _ => {}
        }
        if self.free_bytes_again() < self.free_bytes_min {
            return Err("vault.free_bytes_again: is less than free_bytes_min".into());
        }
        let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
        self.volumes.iter().try_for_each(|volume| {
            let VaultVolume { name, path, mount_point } = volume;
            let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let problem = if !(1..=16).contains(&name.len()) || !name.chars().all(is_plain) {
                "a name has 1 to 16 of a-z and 0-9"
            } else if !names.insert(name) {
                "there are two of this name"
            } else if !paths.insert(path) {
                "another volume has the same path"
            } else if !path.is_absolute() {
                "path has to be absolute"
            } else if !mount_point && profile == Profile::Appliance {
                "mount_point = false is for development"
            } else {
                return Ok(());
            };
            Err(format!("vault.volumes {name:?}: {problem}"))
        })
    }
}

//! Keys: where they come from, and what they look like.
//!
//! A key here is what opens a slot, never a volume's own key, which libcryptsetup keeps to itself
//! and the kernel. The machine's keys come from [`Source`]s in the order that the configuration
//! says; a person's is a [`RecoveryKey`].
//!
//! A source may have two keys at once, `KEY` and `KEY.new`: while a key is being replaced both are
//! tried, so that the box opens whichever moment the power goes.

mod credential;
mod recovery;
mod secret;
mod site;
mod stick;
pub mod tpm2;

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use recovery::{Mistyped, RecoveryKey};
pub use secret::{KeyFile, Secret};

use crate::config::{Config, Name};

/// Fewest bytes of a machine's key. The key derivation is pinned to what small boxes can do, so it
/// is the key that has to be strong.
pub const KEY_BYTES_MIN: usize = 32;
/// Most bytes of a machine's key.
pub const KEY_BYTES_MAX: usize = 4096;

/// The kinds of source, as the configuration and the tokens in the header name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// Sealed in the header to the TPM2 of this machine, as `systemd-cryptenroll` does it.
    Tpm2,
    /// A file that `systemd-creds` encrypted for this machine: `NAME`.
    Credential,
    /// A file on the provisioning stick: `NAME.key`.
    Stick,
    /// A Tang server in the site's network, by what `clevis luks bind` put into the header.
    Site,
}

/// What a key slot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// The box opens itself with it.
    Machine,
    /// A person opens it, when the box cannot.
    Recovery,
    /// Something in the site's network opens it.
    Site,
    /// Nothing says what for; made by another program, or its making was cut off.
    Unknown,
}

impl std::fmt::Display for Purpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Machine => "machine",
            Self::Recovery => "recovery",
            Self::Site => "site",
            Self::Unknown => "unknown",
        })
    }
}

impl SourceKind {
    /// Its name, as the configuration has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tpm2 => "tpm2",
            Self::Credential => "credential",
            Self::Stick => "stick",
            Self::Site => "site",
        }
    }

    /// What the slots of its keys are for.
    #[must_use]
    pub const fn purpose(self) -> Purpose {
        match self {
            Self::Site => Purpose::Site,
            Self::Tpm2 | Self::Credential | Self::Stick => Purpose::Machine,
        }
    }

    /// The source itself.
    #[must_use]
    pub fn of(self, config: &Config) -> Box<dyn Source + '_> {
        match self {
            Self::Tpm2 => Box::new(tpm2::Tpm2::new(&config.tpm2)),
            Self::Credential => Box::new(credential::Credential::new(&config.credentials)),
            Self::Stick => Box::new(stick::Stick::new(&config.stick.partition_label)),
            Self::Site => Box::new(site::Site),
        }
    }
}

/// The recovery key on the provisioning stick, if there is one.
///
/// # Errors
/// Why it cannot be read, in words.
pub fn recovery_on_stick(config: &Config, volume: &Name) -> Result<Option<RecoveryKey>, String> {
    stick::recovery(&config.stick.partition_label, volume)
}

/// What a source is asked for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Whose key.
    pub volume: &'a Name,
    /// The device or file with its header.
    pub header: &'a Path,
    /// The tokens in it, with their numbers: what is sealed there is for the source to unseal.
    pub tokens: &'a [(u32, Value)],
}

/// The keys that a source has.
#[derive(Debug, Default)]
pub struct Found {
    /// The key.
    pub current: Option<Secret>,
    /// The one that is to replace it.
    pub next: Option<Secret>,
}

impl Found {
    /// The one that is or will be in use.
    #[must_use]
    pub fn newest(self) -> Option<Secret> {
        self.next.or(self.current)
    }

    /// Those that are there, the one in use first.
    pub fn each(&self) -> impl Iterator<Item = &Secret> {
        self.current.iter().chain(&self.next)
    }
}

/// Where a machine's key comes from.
pub trait Source {
    /// Gets the keys.
    ///
    /// # Errors
    /// Why not, in words that go to the journal: they never have a key in them.
    fn fetch(&self, asked: &Asked<'_>) -> Result<Found, String>;

    /// Whether what leads to its keys is in the header. Then whoever writes one could bring a key along.
    fn is_in_header(&self) -> bool {
        false
    }

    /// Whether it makes its keys itself.
    fn seals(&self) -> bool {
        false
    }

    /// Adds a slot with a new key of its own to a header, with the right of a key that opens another. With
    /// none: whether it could.
    ///
    /// # Errors
    /// Why not, in words.
    fn seal(&self, _header: &Path, _by: Option<&Secret>) -> Result<(), String> {
        Err("has keys of its own making in files only".to_owned())
    }
}

/// Reads `PATH` and `PATH.new`.
fn read_both(path: &Path) -> Result<Found, String> {
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    let found = Found { current: Secret::read(path)?, next: Secret::read(next.as_ref())? };
    if found.each().next().is_none() {
        return Err(format!("{} is not there", path.display()));
    }
    Ok(found)
}

//! The configuration: which volumes there are. Keys it does not know are refused, with their line.
//!
//! ```toml
//! profile = "appliance"                  # or "development"
//! service_user = "holdfast"              # whom the volumes belong to; may ask over the socket
//! header_backups = "/var/lib/holdfast-volume"
//! credentials = "/etc/holdfast/volume-keys"
//!
//! [stick]
//! partition_label = "HOLDFAST-KEYS"
//!
//! [tpm2]
//! pcrs = [7]                             # what its state is measured by
//! device = "auto"                        # or swtpm:path=SOCKET, for development only
//! # public_key = "/etc/holdfast/pcr.pem" # of signed PCR policies (PCR 11)
//!
//! [[volumes]]
//! name = "data0"
//! device = { partition_label = "holdfast.data0" }
//! mount = "/srv/holdfast/data0"
//! keys = ["credential", "stick"]         # tried in this order
//! cipher = "auto"                        # or "aes", "adiantum"
//! integrity = false
//! discards = false
//! workqueues = true
//! optional = false
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::keys::{Purpose, SourceKind};
use crate::luks::Choice;

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 16;
/// Most volumes of one node.
const VOLUMES_MAX: usize = 32;

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What kind of machine this is.
    #[serde(default)]
    pub profile: Profile,
    /// User that volumes belong to and that may ask over the socket, beside root.
    #[serde(default = "service_user")]
    pub service_user: String,
    /// Folder of the header backups. It must not be on one of the volumes.
    #[serde(default = "header_backups")]
    pub header_backups: PathBuf,
    /// Folder of the keys that `systemd-creds` encrypted: `NAME`, and `NAME.new`.
    #[serde(default = "credentials")]
    pub credentials: PathBuf,
    /// Where the provisioning stick is looked for.
    #[serde(default)]
    pub stick: Stick,
    /// How keys are sealed to the TPM2.
    #[serde(default)]
    pub tpm2: Tpm2,
    /// Settings that only tests may use.
    pub testing: Option<Testing>,
    /// The volumes.
    #[serde(default)]
    pub volumes: Vec<VolumeSettings>,
}

/// What kind of machine this is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// A node that holds people's recordings.
    #[default]
    Appliance,
    /// A developer's machine, or a test.
    Development,
}

/// The provisioning stick.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stick {
    /// Label of the partition whose file system holds `NAME.key`.
    pub partition_label: String,
}

impl Default for Stick {
    fn default() -> Self {
        Self { partition_label: "HOLDFAST-KEYS".to_owned() }
    }
}

/// How keys are sealed to the TPM2.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tpm2 {
    /// The PCRs that have to be as they were when the key was sealed; 0 to 23, one at least.
    pub pcrs: BTreeSet<u8>,
    /// `auto`, or, on a development machine, one that is simulated: `swtpm:path=SOCKET`.
    pub device: String,
    /// Public key of PCR values that are signed (PCR 11), for `systemd-cryptenroll`.
    pub public_key: Option<PathBuf>,
}

impl Default for Tpm2 {
    fn default() -> Self {
        Self { pcrs: BTreeSet::from([7]), device: "auto".to_owned(), public_key: None }
    }
}

impl Tpm2 {
    fn problem(&self, profile: Profile) -> Option<&'static str> {
        let is_simulated = self.device.starts_with("swtpm:path=/");
        if self.pcrs.is_empty() || self.pcrs.iter().any(|pcr| *pcr > 23) {
            Some(
                "tpm2: pcrs wants some of 0 to 23: without any, whatever boots could unseal the key",
            )
        } else if self.device != "auto" && !(is_simulated && profile == Profile::Development) {
            Some("tpm2: device is \"auto\", or for development only swtpm:path=SOCKET")
        } else if self.public_key.as_ref().is_some_and(|it| !it.is_absolute()) {
            Some("tpm2: public_key wants an absolute path")
        } else {
            None
        }
    }
}

/// What only tests may set: a key derivation that is too cheap for anybody else.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Testing {
    /// Memory that argon2id takes, in KiB.
    pub kdf_memory_kib: u32,
}

/// One volume.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeSettings {
    /// What it is called: 1 to 16 of a-z and 0-9.
    pub name: Name,
    /// How its block device is found.
    pub device: DeviceName,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Where its key is looked for, in this order.
    pub keys: Vec<SourceKind>,
    /// Which cipher. Only at formatting.
    #[serde(default)]
    pub cipher: Choice,
    /// Whether each sector is authenticated with HMAC-SHA256. Only at formatting.
    #[serde(default)]
    pub integrity: bool,
    /// Whether the device is told which blocks are free.
    #[serde(default)]
    pub discards: bool,
    /// Whether dm-crypt uses its work queues; off is faster on fast NVMe.
    #[serde(default = "yes")]
    pub workqueues: bool,
    /// Whether the machine may do without it: while it was never made, it is not called missing.
    #[serde(default)]
    pub optional: bool,
}

impl VolumeSettings {
    /// The sources whose keys are the machine's own, in their order.
    pub fn machine_keys(&self) -> impl Iterator<Item = &SourceKind> {
        self.keys.iter().filter(|it| it.purpose() == Purpose::Machine)
    }
}

/// How a block device is found. Never by its device node, which changes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceName {
    /// By the label of its GPT partition.
    PartitionLabel(String),
    /// By the UUID of its GPT partition.
    PartitionUuid(String),
    /// By the UUID of the LUKS2 header that is on it already.
    Uuid(String),
}

/// A volume's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Name(String);

impl Name {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the device mapper calls the opened volume.
    #[must_use]
    pub fn mapped(&self) -> String {
        format!("holdfast-{}", self.0)
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let is_known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if (1..=16).contains(&text.len()) && text.chars().all(is_known) {
            return Ok(Self(text));
        }
        Err("a volume's name is 1 to 16 of a-z and 0-9".to_owned())
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Config {
    /// Reads a file, which nobody but root may be able to change.
    ///
    /// # Errors
    /// If it cannot be read or used, with the line where there is one.
    pub fn read(path: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::MetadataExt;
        let wrong = |why: String| Error::Config(format!("{}: {why}", path.display()));
        let meta = fs::metadata(path).map_err(|e| wrong(e.to_string()))?;
        if meta.len() > FILE_BYTES_MAX {
            return Err(wrong(format!("longer than {FILE_BYTES_MAX} bytes")));
        }
        if meta.uid() != 0 && meta.uid() != nix::unistd::geteuid().as_raw() {
            return Err(wrong("belongs to another user than root".to_owned()));
        }
        if meta.mode() & 0o022 != 0 {
            return Err(wrong("others may write it: chmod go-w".to_owned()));
        }
        Self::parse(&fs::read_to_string(path).map_err(|e| wrong(e.to_string()))?).map_err(wrong)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|e| e.to_string())?;
        if config.testing.is_some() && config.profile == Profile::Appliance {
            return Err("[testing] is refused with profile = \"appliance\"".to_owned());
        }
        if let Some(problem) = config.tpm2.problem(config.profile) {
            return Err(problem.to_owned());
        }
        if config.volumes.len() > VOLUMES_MAX {
            return Err(format!("more than {VOLUMES_MAX} volumes"));
        }
        let (mut seen, mut devices) = (BTreeSet::new(), BTreeSet::new());
        for volume in &config.volumes {
            let name = &volume.name;
            let is_plain = volume.mount.is_absolute()
                && volume.mount.components().all(|part| part != std::path::Component::ParentDir)
                && !volume
                    .mount
                    .to_string_lossy()
                    .contains(|c: char| c.is_whitespace() || c == '\\');
            let problem = if !seen.insert(name) {
                "there are two of this name"
            } else if !devices.insert(volume.device.tag()) {
                "its device is another volume's too"
            } else if volume.machine_keys().next().is_none() {
                "keys has none of the machine's: with what should it be made?"
            } else if !is_plain || volume.mount == Path::new("/") {
                "mount wants the absolute path of a folder, without .. and spaces"
            } else if volume.integrity && volume.discards {
                "integrity and discards exclude each other: dm-crypt passes none on with integrity"
            } else if volume.integrity && volume.cipher == Choice::Adiantum {
                "integrity is with aes only"
            } else if config.header_backups.starts_with(&volume.mount) {
                "header_backups would be on this volume, and lost with it"
            } else {
                continue;
            };
            return Err(format!("volume {name}: {problem}"));
        }
        Ok(config)
    }

    /// The volume of a name, or whose partition has this label.
    ///
    /// # Errors
    /// If there is none, with the names that there are.
    pub fn volume(&self, asked: &str) -> Result<&VolumeSettings, Error> {
        let label = DeviceName::PartitionLabel(asked.to_owned());
        let is_it = |v: &&VolumeSettings| v.name.as_str() == asked || v.device == label;
        self.volumes.iter().find(is_it).ok_or_else(|| {
            let names: Vec<_> = self.volumes.iter().map(|v| v.name.as_str()).collect();
            let names = names.join(", ");
            Error::Config(format!("the configuration names no volume {asked:?}; it has: {names}"))
        })
    }
}

fn service_user() -> String {
    "holdfast".to_owned()
}

fn header_backups() -> PathBuf {
    "/var/lib/holdfast-volume".into()
}

fn credentials() -> PathBuf {
    "/etc/holdfast/volume-keys".into()
}

const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: &str = "[[volumes]]\nname = \"data0\"\nmount = \"/srv/data0\"\n\
        keys = [\"credential\"]\ndevice = { partition_label = \"holdfast.data0\" }\n";

    #[test]
    fn a_cheap_key_derivation_is_refused_on_an_appliance() {
        let testing = format!("[testing]\nkdf_memory_kib = 64\n{VOLUME}");
        let refused = Config::parse(&testing).unwrap_err();
        assert!(refused.contains("appliance"), "{refused}");
        assert!(Config::parse(&format!("profile = \"development\"\n{testing}")).is_ok());
    }

    #[test]
    fn a_volume_is_found_by_its_name_and_by_its_partitions_label() {
        let config = Config::parse(VOLUME).unwrap();
        assert_eq!(config.volume("data0").unwrap().name.as_str(), "data0");
        assert_eq!(config.volume("holdfast.data0").unwrap().name.as_str(), "data0");
        assert_eq!(config.volume("/dev/sda").unwrap_err().code(), 3);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_volume() {
        for (from, to, expected) in [
            ("\"data0\"", "\"../data\"", "1 to 16"),
            ("\"/srv/data0\"", "\"/srv/../etc\"", "without .."),
            ("\"/srv/data0\"", "\"/\"", "without .."),
            ("\"/srv/data0\"", "\"/var/lib\"", "header_backups"),
            ("[\"credential\"]", "[]", "none of the machine's"),
            ("[\"credential\"]", "[\"site\"]", "none of the machine's"),
            ("[[volumes]]", "[tpm2]\npcrs = []\n[[volumes]]", "pcrs wants"),
            ("[[volumes]]", "[tpm2]\ndevice = \"swtpm:path=/s\"\n[[volumes]]", "development only"),
            ("keys", "integrity = true\ndiscards = true\nkeys", "exclude each other"),
            ("keys", "cipher = \"adiantum\"\nintegrity = true\nkeys", "with aes only"),
            ("keys", "cipher = \"null\"\nkeys", "unknown variant"),
            ("keys", "path = \"/dev/sda\"\nkeys", "unknown field"),
        ] {
            let refused = Config::parse(&VOLUME.replace(from, to)).unwrap_err();
            assert!(refused.contains(expected), "{to}: {refused}");
        }
        let twice = format!("{VOLUME}{VOLUME}");
        assert!(Config::parse(&twice).unwrap_err().contains("two of this name"));
        let shared = format!("{VOLUME}{}", VOLUME.replace("name = \"data0\"", "name = \"data1\""));
        let refused = Config::parse(&shared).unwrap_err();
        assert!(refused.contains("data1") && refused.contains("another volume's"), "{refused}");
    }
}

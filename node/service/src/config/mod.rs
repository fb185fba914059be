//! The configuration: one TOML file. Keys it does not know are refused, with their line.
//!
//! Sizes are in bytes and times in milliseconds, as the ends of their names say. Secrets are never
//! in the file: it names files that hold them (systemd credentials, for one).

mod destination;
mod environment;
mod node;
mod timetable;
mod vault;
pub(crate) mod watermark;
mod webhook;
mod work;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use holdfast_core::account::Account;
use holdfast_core::retention;
use holdfast_core::storage::Region;
use serde::Deserialize;

use crate::keys::{KEY_PREFIX, check_limits};
use crate::webhooks::target::Targets;

pub use destination::{
    Acl, Checksum, Destination, DirectoryDestination, DropboxDestination, Existing, FtpDestination,
    KeySource, Limits, Preset, S3Destination, Sealed, SftpDestination, Sse, StorageClasses, Verify,
};
pub(crate) use destination::{SecretMember, Settings};
pub(crate) use environment::Around;
pub use environment::{Environment, LIFECYCLE_DAYS_MAX, PersonalData};
pub use node::{ApiKey, ClockSource, Node, Operate, Profile, Tls};
pub use timetable::{Timetable, TimetableError};
pub use vault::{Erasure, PLAIN_VOLUME, Vault, VaultVolume, WhenFull};
pub use webhook::{Notify, PrivateTargets, Webhook};
pub use work::{Deliver, Ingest, Transcode};

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What can be wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no TOML, or has a key or value that is not known. Says the line.
    #[error("{path}: {message}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// What and where, with the line.
        message: String,
    },
    /// Each value is well-formed, but together they make no sense.
    #[error("{path}: {problem}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node itself.
    #[serde(default)]
    pub node: Node,
    /// Where recordings lie.
    pub vault: Vault,
    /// TLS. Without a certificate the node makes itself one at first start.
    #[serde(default)]
    pub tls: Tls,
    /// Taking recordings in.
    #[serde(default)]
    pub ingest: Ingest,
    /// Transcoding.
    #[serde(default)]
    pub transcode: Transcode,
    /// Pushing.
    #[serde(default)]
    pub deliver: Deliver,
    /// API and pages.
    #[serde(default)]
    pub operate: Operate,
    /// Where webhooks may lead.
    #[serde(default)]
    pub notify: Notify,
    /// Where recordings can be pushed to.
    #[serde(default)]
    pub destinations: Vec<Destination>,
    /// Whoever pays, or tries.
    #[serde(default)]
    pub accounts: Vec<Account>,
    /// Customers' settings.
    #[serde(default)]
    pub environments: Vec<Environment>,
    /// Who is told what happens.
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
}

impl Config {
    /// Reads and checks a configuration file.
    ///
    /// # Errors
    /// [`ConfigError`], with the path and what to do.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.into(), source };
        if std::fs::metadata(path).map_err(read)?.len() > FILE_BYTES_MAX {
            let problem = format!("larger than {FILE_BYTES_MAX} bytes: not a configuration");
            return Err(ConfigError::Invalid { path: path.into(), problem });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::parse(&text, path)
    }

    /// Parses and checks a configuration; `path` is for messages.
    ///
    /// # Errors
    /// [`ConfigError`], with the line where it is known.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| ConfigError::Parse {
            path: path.into(),
            message: error.to_string(),
        })?;
        config.check().map_err(|problem| ConfigError::Invalid { path: path.into(), problem })?;
        Ok(config)
    }

    /// The environment that has this id.
    #[must_use]
    pub fn environment(&self, id: &str) -> Option<&Environment> {
        self.environments.iter().find(|environment| environment.id == id)
    }

    /// The node's name: the configured one, else the host's.
    #[must_use]
    pub fn node_name(&self) -> String {
        let host = || nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        self.node.name.clone().or_else(host).unwrap_or_else(|| "holdfast".into())
    }

    /// At most one destination is our own storage in a region. Answers the regions.
    fn check_ours(&self) -> Result<BTreeSet<Region>, String> {
        let mut seen = BTreeSet::new();
        for destination in &self.destinations {
            if let Some(region) = destination.ours().filter(|region| !seen.insert(*region)) {
                return Err(format!(
                    "destination {:?}: ours: another destination is our storage in {} already",
                    destination.name(),
                    region.as_str()
                ));
            }
        }
        Ok(seen)
    }

    fn check(&self) -> Result<(), String> {
        if !retention::is_zone(&self.node.zone) {
            return Err(format!("node.zone: no time zone is called {:?}", self.node.zone));
        }
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err("tls: give both certificate and key, or neither".into());
        }
        if self.node.listen.is_empty() {
            return Err("node.listen: name at least one address, such as \"[::]:8443\"".into());
        }
        self.vault.check(self.node.profile)?;
        self.transcode.check()?;
        let connections = self.node.connections_per_address_max as u64;
        check_range("node.connections_per_address_max", connections, 8, 1_000_000)?;
        check_range("node.idle_ms_max", self.node.idle_ms_max, 1_000, 3_600_000)?;
        let month_ms = 31 * 86_400_000;
        check_range("vault.erasure_epoch_ms", self.vault.erasure_epoch_ms, 1_000, month_ms)?;
        check_range("ingest.commit_ms", self.ingest.commit_ms, 1, 10_000)?;
        check_range("ingest.stall_ms_max", self.ingest.stall_ms_max, 100, 3_600_000)?;
        check_range("ingest.chunk_bytes_max", self.ingest.chunk_bytes_max as u64, 1_024, 16 << 20)?;
        let around = Around {
            destinations: unique("destinations", self.destinations.iter().map(Destination::name))?,
            ours: self
                .destinations
                .iter()
                .filter(|to| to.ours().is_some())
                .map(Destination::name)
                .collect(),
            accounts: unique("accounts", self.accounts.iter().map(|a| a.id.as_str()))?,
            regions: self.check_ours()?,
            may_name_files: true,
        };
        self.destinations.iter().try_for_each(Destination::check_declared)?;
        let environments = unique("environments", self.environments.iter().map(|e| e.id.as_str()))?;
        for environment in &self.environments {
            environment.check(&around)?;
        }
        unique("webhooks", self.webhooks.iter().map(|webhook| webhook.id.as_str()))?;
        let targets = Targets::new(&self.notify);
        for webhook in &self.webhooks {
            webhook.check(&environments, &targets)?;
        }
        if let Some(demo) = &self.operate.demo_environment {
            self.environment(demo)
                .ok_or_else(|| format!("operate.demo_environment: no environment {demo:?}"))?;
        }
        self.check_operate()
    }

    fn check_operate(&self) -> Result<(), String> {
        let Operate { requests_per_minute, requests_burst, keys, .. } = &self.operate;
        check_range("operate.requests_per_minute", (*requests_per_minute).into(), 1, 60_000_000)?;
        check_range("operate.requests_burst", (*requests_burst).into(), 1, 1_000_000)?;
        unique("operate.keys", keys.iter().map(|key| key.name.as_str()))?;
        for key in keys {
            check_limits(key.scope, key.env_ids.as_deref())
                .map_err(|problem| format!("operate.keys {:?}: {problem}", key.name))?;
            if key.name.starts_with(KEY_PREFIX) {
                return Err(format!(
                    "operate.keys {:?}: names that begin with {KEY_PREFIX} are for keys that the API \
                     makes; choose another",
                    key.name
                ));
            }
            if key.sha256.len() != 64 || !key.sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(format!(
                    "operate.keys {:?}: sha256 is not 64 hex digits; make it with \
                     `printf %s KEY | sha256sum`",
                    key.name
                ));
            }
        }
        Ok(())
    }
}

fn check_range(key: &str, value: u64, min: u64, max: u64) -> Result<(), String> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(format!("{key} = {value}: must be {min} to {max}"))
    }
}

pub(crate) fn unique<'a>(
    what: &str,
    names: impl Iterator<Item = &'a str>,
) -> Result<BTreeSet<&'a str>, String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if name.is_empty() || name.len() > 128 {
            return Err(format!("{what}: a name must have 1 to 128 characters"));
        }
        if !seen.insert(name) {
            return Err(format!("{what}: {name:?} is named twice"));
        }
    }
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [vault]
        path = "/v"
        [[destinations]]
        kind = "directory"
        name = "folder"
        path = "/d"
        [[environments]]
        id = "demo"
        hash = "h"
        destinations = ["folder"]
    "#;

    fn problem(text: &str) -> String {
        Config::parse(text, Path::new("node.toml")).unwrap_err().to_string()
    }

    #[test]
    fn a_small_file_is_enough() {
        let config = Config::parse(GOOD, Path::new("node.toml")).unwrap();
        let demo = config.environment("demo").unwrap();
        assert!(demo.mp4 && demo.filmstrip && !demo.push_raw);
        assert!(demo.personal_data.ip && demo.lifecycle_days.is_none());
        assert_eq!(config.node.zone, "Europe/Bucharest");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let text = GOOD.replace("path = \"/v\"", "path = \"/v\"\n        pth = 1");
        let said = problem(&text);
        assert!(said.contains("line 4") && said.contains("pth"), "{said}");
    }

    #[test]
    fn secrets_do_not_stand_in_the_file() {
        let bucket = |more: &str| {
            let s3 = "[[destinations]]\nkind = \"s3\"\nname = \"b\"\nendpoint = \"https://s\"\n";
            let text = format!("{GOOD}\n{s3}region = \"r\"\nbucket = \"b\"\n{more}");
            problem(&text)
        };
        let said = bucket("access_key_file = \"/a\"\nsecret_key = \"hunter2\"");
        assert!(said.contains("secret_key_file") && !said.contains("hunter2"), "{said}");
        assert!(bucket("access_key_file = \"/a\"").contains("secret_key_file: is missing"));
        let both = "access_key_file = \"/a\"\ncredentials = \"instance\"";
        assert!(
            bucket(both).contains("access_key_file: is not used with credentials = \"instance\"")
        );
        let class = "preset = \"scaleway\"\nstorage_class = \"GLACIER_IR\"";
        assert!(bucket(class).contains("storage_class: Scaleway has no class GLACIER_IR"));
        let own = "credentials = \"environment\"\nprefix = \"{year}/{month}/{name}\"";
        let s3 = "[[destinations]]\nkind = \"s3\"\nname = \"b\"\nendpoint = \"https://s\"\n";
        let text = format!("{GOOD}\n{s3}region = \"r\"\nbucket = \"b\"\n{own}");
        Config::parse(&text, Path::new("node.toml")).unwrap();
    }

    #[test]
    fn transcoding_is_confined_as_the_profile_says_unless_told_otherwise() {
        use holdfast_core::job::Jail;
        let with = |transcode: &str| format!("{GOOD}\n[transcode]\n{transcode}");
        let jail = |text: &str, profile| {
            Config::parse(text, Path::new("node.toml")).unwrap().transcode.jail(profile)
        };
        assert_eq!(jail(GOOD, Profile::Appliance), Jail::Required);
        assert_eq!(jail(GOOD, Profile::Development), Jail::BestEffort);
        assert_eq!(jail(&with("jail = \"required\""), Profile::Development), Jail::Required);
        let said = problem(&with("jail = \"besteffort\""));
        assert!(said.contains("best_effort"), "{said}");
        let said = problem(&with("socket = \"/run/t.socket\"\nprogram = \"/usr/bin/t\""));
        assert!(said.contains("socket or program, not both"), "{said}");
        assert!(problem(&with("socket = \"t.socket\"")).contains("the whole path"));
        assert!(problem(&with("wall_factor = 0")).contains("1 to 10000"));
    }

    #[test]
    fn contradictions_are_refused_by_name() {
        let with = |from: &str, to: &str| problem(&GOOD.replace(from, to));
        assert!(
            with("[\"folder\"]", "[\"fodler\"]").contains("no destination is called \"fodler\"")
        );
        assert!(
            with("destinations = [\"folder\"]", "store_nothing = true").contains("store_nothing")
        );
        assert!(with("hash = \"h\"", "hash = \"h\"\nfolder = \"a/../b\"").contains("plain names"));
        assert!(with("hash = \"h\"", "hash = \"h\"\nregion = \"EU2\"").contains("storage in EU2"));
        assert!(with("hash = \"h\"", "hash = \"h\"\naccount = \"a\"").contains("no account \"a\""));
        assert!(with("hash = \"h\"", "hash = \"h\"\nlifecycle_days = 0").contains("1 to 36500"));
        assert!(with("[vault]", "[node]\nzone = \"Mars/Base\"\n[vault]").contains("Mars/Base"));
        let key = format!("[[operate.keys]]\nname = \"a\"\nsha256 = \"{}\"\n", "0".repeat(64));
        let limited = format!("{key}env_ids = [\"demo\"]\n[vault]");
        assert!(with("[vault]", &limited).contains("scope read or manage"));
        let named = key.replace("\"a\"", "\"hfk_a\"");
        assert!(with("[vault]", &format!("{named}[vault]")).contains("choose another"));
        assert!(with("[vault]", &format!("{key}{key}[vault]")).contains("named twice"));
        assert!(with("[vault]", "[operate]\nrequests_burst = 0\n[vault]").contains("must be 1"));
        assert!(with("[vault]", "[tls]\nkey = \"/k\"\n[vault]").contains("both"));
    }
}

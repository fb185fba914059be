//! The configuration: one TOML file. Keys it does not know are refused, with their line.
//!
//! Sizes are in bytes and times in milliseconds, as the ends of their names say. Secrets are never
//! in the file: it names files that hold them (systemd credentials, for one).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use holdfast_core::job::Outputs;
use holdfast_core::push_order::Success;
use holdfast_core::recording::Policy;
use holdfast_core::retention;
use serde::Deserialize;

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
    /// Where recordings can be pushed to.
    #[serde(default)]
    pub destinations: Vec<Destination>,
    /// Customers' settings.
    #[serde(default)]
    pub environments: Vec<Environment>,
}

/// `[node]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Its name; the host's where none is given.
    pub name: Option<String>,
    /// Time zone in which the rules count days.
    pub zone: String,
    /// Folder for the ledger, keys and a self-made certificate.
    pub state_path: PathBuf,
    /// Address to serve https and wss at.
    pub listen: Vec<SocketAddr>,
    /// Longest an orderly stop may take, in milliseconds.
    pub stop_ms_max: u64,
    /// Most connections of one address at a time; a /64 of IPv6 counts as one address.
    pub connections_per_address_max: usize,
    /// Longest that a connection may stay open without a request, in milliseconds.
    pub idle_ms_max: u64,
    /// What makes the clock right (rule 10).
    pub clock: ClockSource,
}

/// `[node] clock`: what makes the clock right (rule 10).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// The kernel says that a time service keeps it.
    #[default]
    Synchronised,
    /// Whoever runs the node vouches for it: a guest whose host keeps its clock, a container.
    AsIs,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            name: None,
            zone: retention::DEFAULT_ZONE.into(),
            state_path: "/var/lib/holdfast".into(),
            listen: vec![SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 0], 8443))],
            stop_ms_max: 20_000,
            // An office behind one address that streams 200 recordings, each with its page's
            // connections, and no more than two fifths of all places.
            connections_per_address_max: 600,
            idle_ms_max: 75_000,
            clock: ClockSource::default(),
        }
    }
}

/// `[vault]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// A folder on a file system of its own, or a plain directory.
    pub path: PathBuf,
    /// Space that is kept free, in bytes. Below it nothing new is taken in.
    #[serde(default = "free_bytes_min")]
    pub free_bytes_min: u64,
}

fn free_bytes_min() -> u64 {
    512 << 20
}

/// `[tls]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// PEM file with the certificate chain.
    pub certificate: Option<PathBuf>,
    /// PEM file with its private key.
    pub key: Option<PathBuf>,
    /// More names and addresses for a self-made certificate.
    pub names: Vec<String>,
}

/// `[ingest]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// Largest recording, in bytes.
    pub recording_bytes_max: u64,
    /// Longest silence of a client, in milliseconds.
    pub stall_ms_max: u64,
    /// Most recordings arriving at once.
    pub recordings_max: usize,
    /// How long a client may take to come back, in milliseconds.
    pub reconnect_ms: u64,
    /// How long after SAVED the recorder can still play back the raw file, in milliseconds.
    pub playback_ms: u64,
    /// Longest time from a byte's arrival to its fsync round, in milliseconds.
    pub commit_ms: u64,
    /// Largest chunk of a stream, in bytes.
    pub chunk_bytes_max: usize,
    /// Most bytes of a stream under way unacknowledged, in bytes.
    pub window_bytes_max: u64,
    /// Origins that may embed the recorder; `*` for any.
    pub origins: Vec<String>,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            recording_bytes_max: 50 << 30,
            stall_ms_max: 60_000,
            recordings_max: 1_000,
            reconnect_ms: 300_000,
            playback_ms: 60_000,
            commit_ms: 200,
            chunk_bytes_max: 1 << 20,
            window_bytes_max: 8 << 20,
            origins: vec!["*".into()],
        }
    }
}

/// `[transcode]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Transcode {
    /// The transcoding program; beside the node's own where none is given.
    pub program: Option<PathBuf>,
    /// Jobs at once; half the cores, at least one, where none is given.
    pub jobs_max: Option<usize>,
    /// Longest a job may take, in milliseconds.
    pub wall_ms_max: u64,
    /// Longest a job may stand still, in milliseconds.
    pub stall_ms_max: u64,
    /// Largest memory of a job, in bytes.
    pub memory_bytes_max: u64,
}

impl Default for Transcode {
    fn default() -> Self {
        Self {
            program: None,
            jobs_max: None,
            wall_ms_max: 6 * 3600 * 1000,
            stall_ms_max: 60_000,
            memory_bytes_max: 2 << 30,
        }
    }
}

/// `[deliver]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deliver {
    /// Recordings pushed at once.
    pub pushes_max: usize,
}

impl Default for Deliver {
    fn default() -> Self {
        Self { pushes_max: 4 }
    }
}

/// `[operate]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Operate {
    /// Keys that open the API.
    pub keys: Vec<ApiKey>,
    /// An environment that the node's own page uses without asking; for trying out.
    pub demo_environment: Option<String>,
}

/// `[[operate.keys]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Whose it is.
    pub name: String,
    /// SHA-256 of the key, in hex (`printf %s KEY | sha256sum`).
    pub sha256: String,
}

/// `[[destinations]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Destination {
    /// `kind = "directory"`
    Directory(DirectoryDestination),
    /// `kind = "s3"`
    S3(S3Destination),
}

impl Destination {
    /// The name by which environments speak of it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Directory(directory) => &directory.name,
            Self::S3(s3) => &s3.name,
        }
    }
}

/// A directory of this machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryDestination {
    /// The name by which environments speak of it.
    pub name: String,
    /// The directory; it must exist.
    pub path: PathBuf,
}

/// A bucket of Amazon S3 or a compatible store.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Destination {
    /// The name by which environments speak of it.
    pub name: String,
    /// The store's address, such as `https://s3.us-west-1.amazonaws.com`.
    pub endpoint: String,
    /// Region, such as `us-west-1`.
    pub region: String,
    /// Bucket.
    pub bucket: String,
    /// Put before every key.
    #[serde(default)]
    pub prefix: String,
    /// `https://endpoint/bucket/key` instead of `https://bucket.endpoint/key`.
    #[serde(default)]
    pub path_style: bool,
    /// File that holds the access key's id.
    pub access_key_file: PathBuf,
    /// File that holds the secret access key.
    pub secret_key_file: PathBuf,
    /// PEM file with the authority to trust for this endpoint, beside the usual ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Files up to this size go in one request, in bytes; larger ones in parts of this size or more.
    #[serde(default = "part_bytes")]
    pub part_bytes: u64,
    /// Storage class for every file; the bucket's own where none is given.
    #[serde(default)]
    pub storage_class: Option<String>,
}

fn part_bytes() -> u64 {
    16 << 20
}

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

    /// The rules that a new recording of an environment lives by.
    #[must_use]
    pub fn policy(&self, environment: &Environment) -> Policy {
        Policy {
            outputs: Outputs {
                mp4: environment.mp4,
                snapshot: environment.snapshot,
                filmstrip: environment.filmstrip,
            },
            push_raw: environment.push_raw,
            destinations: environment.destinations.clone(),
            own: None,
            copies: false,
            folder: environment.folder.clone().unwrap_or_else(|| environment.id.clone()),
            store_nothing: environment.store_nothing,
            success: environment.success,
            reconnect_ms: self.ingest.reconnect_ms,
            playback_ms: self.ingest.playback_ms,
            zone: self.node.zone.clone(),
        }
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
        let connections = self.node.connections_per_address_max as u64;
        check_range("node.connections_per_address_max", connections, 8, 1_000_000)?;
        check_range("node.idle_ms_max", self.node.idle_ms_max, 1_000, 3_600_000)?;
        check_range("ingest.commit_ms", self.ingest.commit_ms, 1, 10_000)?;
        check_range("ingest.stall_ms_max", self.ingest.stall_ms_max, 100, 3_600_000)?;
        check_range("ingest.chunk_bytes_max", self.ingest.chunk_bytes_max as u64, 1_024, 16 << 20)?;
        let names = unique("destinations", self.destinations.iter().map(Destination::name))?;
        unique("environments", self.environments.iter().map(|e| e.id.as_str()))?;
        for environment in &self.environments {
            environment.check(&names)?;
        }
        if let Some(demo) = &self.operate.demo_environment {
            self.environment(demo)
                .ok_or_else(|| format!("operate.demo_environment: no environment {demo:?}"))?;
        }
        for key in &self.operate.keys {
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

    fn check(&self, destinations: &BTreeSet<&str>) -> Result<(), String> {
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

fn check_range(key: &str, value: u64, min: u64, max: u64) -> Result<(), String> {
    if (min..=max).contains(&value) {
        Ok(())
    } else {
        Err(format!("{key} = {value}: must be {min} to {max}"))
    }
}

fn unique<'a>(
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
        let policy = config.policy(config.environment("demo").unwrap());
        assert!(policy.outputs.mp4 && policy.outputs.filmstrip && !policy.push_raw);
        assert_eq!(policy.folder, "demo");
        assert_eq!(policy.zone, "Europe/Bucharest");
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let text = GOOD.replace("path = \"/v\"", "path = \"/v\"\n        pth = 1");
        let said = problem(&text);
        assert!(said.contains("line 4") && said.contains("pth"), "{said}");
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
        assert!(with("[vault]", "[node]\nzone = \"Mars/Base\"\n[vault]").contains("Mars/Base"));
        assert!(with("[vault]", "[tls]\nkey = \"/k\"\n[vault]").contains("both"));
    }
}

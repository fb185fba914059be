//! `[node]`, `[tls]` and `[operate]`: the node itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use holdfast_core::retention;
use serde::Deserialize;

use crate::keys::Scope;

/// `[node]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Its name; the host's where none is given.
    pub name: Option<String>,
    /// What it is run as.
    pub profile: Profile,
    /// Time zone in which the rules count days.
    pub zone: String,
    /// Folder for the ledger, keys and a self-made certificate.
    pub state_path: PathBuf,
    /// Address to serve https and wss at.
    pub listen: Vec<SocketAddr>,
    /// Whether HTTP/3 is served too, over UDP at the same addresses.
    pub http3: bool,
    /// Longest an orderly stop may take, in milliseconds.
    pub stop_ms_max: u64,
    /// Most connections of one address at a time; a /64 of IPv6 counts as one address.
    pub connections_per_address_max: usize,
    /// Longest that a connection may stay open without a request, in milliseconds.
    pub idle_ms_max: u64,
    /// What makes the clock right (rule 10).
    pub clock: ClockSource,
}

/// `[node] profile`: what a node is run as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// For trying out: recordings may lie in a plain folder.
    #[default]
    Development,
    /// For people's recordings: nothing is used that is not encrypted.
    Appliance,
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
            profile: Profile::default(),
            zone: retention::DEFAULT_ZONE.into(),
            state_path: "/var/lib/holdfast".into(),
            listen: vec![SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 0], 8443))],
            http3: false,
            stop_ms_max: 20_000,
            // An office behind one address that streams 200 recordings, each with its page's
            // connections, and no more than two fifths of all places.
            connections_per_address_max: 600,
            idle_ms_max: 75_000,
            clock: ClockSource::default(),
        }
    }
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

/// `[operate]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Operate {
    /// Keys that open the API, beside those that the API makes.
    pub keys: Vec<ApiKey>,
    /// How many requests each key, and each address without one, has in a minute over time.
    pub requests_per_minute: u32,
    /// How many of them may come at once.
    pub requests_burst: u32,
    /// An environment that the node's own page uses without asking; for trying out.
    pub demo_environment: Option<String>,
}

impl Default for Operate {
    fn default() -> Self {
        // A page that shows 200 recordings asks for each picture once, and then every few seconds.
        Self {
            keys: Vec::new(),
            requests_per_minute: 3_000,
            requests_burst: 1_000,
            demo_environment: None,
        }
    }
}

/// `[[operate.keys]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Whose it is. It identifies the key.
    pub name: String,
    /// SHA-256 of the key, in hex (`printf %s KEY | sha256sum`).
    pub sha256: String,
    /// What it opens.
    #[serde(default)]
    pub scope: Scope,
    /// Only in these environments; everywhere where none are named.
    #[serde(default)]
    pub env_ids: Option<Vec<String>>,
}

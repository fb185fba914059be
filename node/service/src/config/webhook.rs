//! `[notify]` and `[[webhooks]]`: who is told what happens.

use std::collections::BTreeSet;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;

use crate::webhooks::event::{Event, Format};
use crate::webhooks::target::Targets;
use crate::webhooks::{self, Keys};

/// `[notify]`: where webhooks may lead.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// Whether private, loopback and link-local addresses are allowed: all, or these networks.
    pub private_targets: PrivateTargets,
    /// Whether a webhook may be spoken to without TLS.
    pub plain_http: bool,
    /// PEM file with an authority to trust for receivers, beside the usual ones.
    pub ca_file: Option<PathBuf>,
    /// Who answers in a simulation.
    #[cfg(test)]
    #[serde(skip)]
    pub(crate) simulated: Option<crate::simulation::receivers::Receivers>,
}

/// Which private, loopback and link-local addresses webhooks may lead to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub enum PrivateTargets {
    /// All, or none.
    All(bool),
    /// Those in these networks.
    Nets(Vec<IpNet>),
}

impl Default for PrivateTargets {
    fn default() -> Self {
        Self::All(false)
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(untagged, expecting = "true, false, or a list of networks such as \"10.1.0.0/16\"")]
enum Written {
    All(bool),
    Nets(Vec<String>),
}

impl TryFrom<Written> for PrivateTargets {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::All(all) => Ok(Self::All(all)),
            Written::Nets(nets) => {
                let net = |text: &String| {
                    text.parse().map_err(|_| {
                        format!("{text:?} is no network; write one like \"10.1.0.0/16\"")
                    })
                };
                Ok(Self::Nets(nets.iter().map(net).collect::<Result<_, _>>()?))
            }
        }
    }
}

/// `[[webhooks]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Identifies it.
    pub id: String,
    /// The environment whose recordings it hears of.
    pub env_id: String,
    /// Where to.
    pub url: String,
    /// What it hears of; of everything where none is given.
    #[serde(default)]
    pub events: BTreeSet<Event>,
    /// How: `json` or `form`.
    #[serde(default)]
    pub format: Format,
    /// Whether it is told anything.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// File that holds the secret; and behind it the one before, for as long as a receiver needs it.
    pub secret_file: PathBuf,
    /// File that holds the key of `X-Pipe-Signature`; the secret is the key where none is given.
    #[serde(default)]
    pub pipe_key_file: Option<PathBuf>,
}

fn yes() -> bool {
    true
}

impl Webhook {
    /// Checks that it makes sense beside these environments.
    ///
    /// # Errors
    /// A sentence that names the webhook, the member and what to do.
    pub(super) fn check(
        &self,
        environments: &BTreeSet<&str>,
        targets: &Targets,
    ) -> Result<(), String> {
        let id = &self.id;
        if !environments.contains(self.env_id.as_str()) {
            let env_id = &self.env_id;
            return Err(format!("webhook {id:?}: env_id: no environment is called {env_id:?}"));
        }
        let checked = targets.check_url(&self.url);
        checked.map(|_| ()).map_err(|problem| format!("webhook {id:?}: {problem}"))
    }

    /// The webhook that it declares.
    #[must_use]
    pub fn declared(&self) -> webhooks::Webhook {
        webhooks::Webhook {
            id: self.id.clone(),
            env_id: self.env_id.clone(),
            url: self.url.clone(),
            events: self.events.clone(),
            format: self.format,
            enabled: self.enabled,
            keys: Keys::Files {
                secret_file: self.secret_file.clone(),
                pipe_key_file: self.pipe_key_file.clone(),
            },
        }
    }
}

//! All settings at one moment, of both origins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holdfast_core::account::Account;
use holdfast_core::storage::Region;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::store::{Kind, Rows, Thing};
use crate::config::{self, Config, Environment};
use crate::deliver::{self, Destination, FileToPush, PushError, Reading};
use crate::nodekey::NodeKey;
use crate::webhooks::{Audience, Webhook};

/// Where a setting comes from. The two kinds do not mix: each is changed where it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The configuration file.
    Config,
    /// The API, or the command line.
    Api,
}

/// A setting, and where it comes from.
#[derive(Debug, Clone)]
pub struct From<T> {
    /// Where it comes from.
    pub origin: Origin,
    /// The setting.
    pub of: T,
}

/// A destination: how it is shown, and what pushes to it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// As they may be shown.
    pub(super) settings: config::Destination,
    pub(super) destination: Arc<dyn Destination>,
}

/// All settings at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Picture {
    pub(super) accounts: BTreeMap<String, From<Arc<Account>>>,
    pub(super) environments: BTreeMap<String, From<Arc<Environment>>>,
    pub(super) destinations: BTreeMap<String, From<Place>>,
    pub(super) webhooks: BTreeMap<String, From<Arc<Webhook>>>,
    /// What the API made, also where the file has something of the same name.
    pub(super) made: Rows,
}

impl Picture {
    /// What the configuration file declares, and what the API made beside it.
    ///
    /// # Errors
    /// [`PushError`] where a destination of the file cannot be built. One of the API that cannot is
    /// there all the same, and says so at each push: it must not keep the node from starting.
    ///
    /// A destination that is as it was `before` is not built again.
    pub(super) fn new(
        config: &Config,
        made: Rows,
        key: &NodeKey,
        before: Option<&Self>,
    ) -> Result<Self, PushError> {
        let state_path = &config.node.state_path;
        let mut picture = Self::default();
        for declared in &config.destinations {
            let name = declared.name().to_owned();
            let place = match before.and_then(|before| before.destinations.get(&name)) {
                Some(before) if before.origin == Origin::Config => before.of.clone(),
                _ => Place {
                    settings: declared.shown(),
                    destination: Arc::from(deliver::build(declared, key, state_path)?),
                },
            };
            picture.destinations.insert(name, From { origin: Origin::Config, of: place });
        }
        for declared in &config.accounts {
            let of = Arc::new(declared.clone());
            picture.accounts.insert(declared.id.clone(), From { origin: Origin::Config, of });
        }
        for declared in &config.environments {
            let of = Arc::new(declared.clone());
            picture.environments.insert(declared.id.clone(), From { origin: Origin::Config, of });
        }
        for declared in &config.webhooks {
            let of = Arc::new(declared.declared());
            picture.webhooks.insert(declared.id.clone(), From { origin: Origin::Config, of });
        }
        for thing in made.values() {
            picture.add(thing, before, |made| built(made, key, state_path));
        }
        picture.made = made;
        Ok(picture)
    }

    fn add(
        &mut self,
        thing: &Thing,
        before: Option<&Self>,
        build: impl FnOnce(&config::Destination) -> Arc<dyn Destination>,
    ) {
        let origin = Origin::Api;
        let is_new = match thing {
            Thing::Account(account) => insert(&mut self.accounts, &account.id, || From {
                origin,
                of: Arc::new(account.clone()),
            }),
            Thing::Environment(environment) => {
                insert(&mut self.environments, &environment.id, || From {
                    origin,
                    of: Arc::new(environment.clone()),
                })
            }
            Thing::Destination(made) => insert(&mut self.destinations, made.name(), || From {
                origin,
                of: before
                    .and_then(|before| before.built(made))
                    .unwrap_or_else(|| Place { settings: made.shown(), destination: build(made) }),
            }),
            Thing::Webhook(made) => insert(&mut self.webhooks, &made.id, || From {
                origin,
                of: Arc::new(made.webhook()),
            }),
        };
        if !is_new {
            let (kind, id) = (thing.kind().as_str(), thing.id());
            tracing::warn!(
                kind,
                id,
                "the configuration file has one of this name; the API's rests"
            );
        }
    }

    /// What pushes to a destination that the API made, if it is built already.
    fn built(&self, made: &config::Destination) -> Option<Place> {
        let name = (Kind::Destination, made.name().to_owned());
        let is_same = matches!(self.made.get(&name), Some(Thing::Destination(of)) if of == made);
        let place = self.destinations.get(made.name()).filter(|_| is_same)?;
        (place.origin == Origin::Api).then(|| place.of.clone())
    }

    /// Who hears of what.
    pub(super) fn audience(&self) -> Audience {
        let mut audience = Audience::default();
        for (name, found) in &self.destinations {
            audience.kinds.insert(name.clone(), found.of.settings.kind());
        }
        for hook in self.webhooks.values().map(|found| &found.of).filter(|hook| hook.enabled) {
            let hooks = audience.by_env.entry(hook.env_id.clone()).or_default();
            hooks.push((hook.id.clone(), hook.events.clone()));
        }
        audience
    }

    /// Names of all destinations.
    pub(super) fn destination_names(&self) -> BTreeSet<&str> {
        self.destinations.keys().map(String::as_str).collect()
    }

    /// Names of destinations that are our own storage.
    pub(super) fn own_names(&self) -> BTreeSet<&str> {
        let own = self.destinations.iter().filter(|(_, found)| found.of.settings.ours().is_some());
        own.map(|(name, _)| name.as_str()).collect()
    }

    /// Regions in which we have storage.
    pub(super) fn regions(&self) -> BTreeSet<Region> {
        self.destinations.values().filter_map(|found| found.of.settings.ours()).collect()
    }

    /// Ids of all accounts.
    pub(super) fn account_ids(&self) -> BTreeSet<&str> {
        self.accounts.keys().map(String::as_str).collect()
    }
}

fn insert<T>(all: &mut BTreeMap<String, T>, id: &str, make: impl FnOnce() -> T) -> bool {
    if all.contains_key(id) {
        return false;
    }
    all.insert(id.to_owned(), make());
    true
}

fn built(made: &config::Destination, key: &NodeKey, state_path: &Path) -> Arc<dyn Destination> {
    match deliver::build(made, key, state_path) {
        Ok(destination) => Arc::from(destination),
        Err(error) => {
            tracing::error!(destination = made.name(), %error, "cannot be pushed to until this is mended");
            Arc::new(Unusable { name: made.name().to_owned(), error })
        }
    }
}

/// A destination whose settings do not work any more, such as secrets that another key sealed.
#[derive(Debug)]
struct Unusable {
    name: String,
    error: PushError,
}

impl Unusable {
    fn refuse<T: Send + 'static>(&self) -> BoxFuture<'static, Result<T, PushError>> {
        let (fault, sentence) = (self.error.fault, self.error.sentence.clone());
        std::future::ready(Err(PushError { fault, sentence })).boxed()
    }
}

impl Destination for Unusable {
    fn name(&self) -> &str {
        &self.name
    }

    fn push<'a>(&'a self, _file: &'a FileToPush) -> BoxFuture<'a, Result<String, PushError>> {
        self.refuse()
    }

    fn read<'a>(
        &'a self,
        _location: &'a str,
        _range: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Reading, PushError>> {
        self.refuse()
    }

    fn withdraw<'a>(
        &'a self,
        _name: &'a str,
        _location: Option<&'a str>,
    ) -> BoxFuture<'a, Result<(), PushError>> {
        self.refuse()
    }
}

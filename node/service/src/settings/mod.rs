//! What customers and their integrators set: environments and destinations, as they stand now.
//!
//! Invariants: whoever asks gets a consistent picture that does not change under them; a change is
//! durable before anyone sees it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use holdfast_core::job::Outputs;
use holdfast_core::recording::Policy;

use crate::config::{self, Config, Environment};
use crate::deliver::{self, Destination, PushError};

/// The settings as they stand now. Cheap to ask; asked anew for each recording.
#[derive(Debug)]
pub struct Settings {
    now: RwLock<Arc<Picture>>,
    ingest: config::Ingest,
    zone: String,
}

/// All settings at one moment.
#[derive(Debug, Default)]
struct Picture {
    environments: BTreeMap<String, Arc<Environment>>,
    destinations: BTreeMap<String, Arc<dyn Destination>>,
}

impl Settings {
    /// The settings that a configuration declares.
    ///
    /// # Errors
    /// [`PushError`] where a destination cannot be built: its secrets cannot be read, for one.
    pub fn new(config: &Config) -> Result<Self, PushError> {
        let mut picture = Picture::default();
        for settings in &config.destinations {
            let destination = Arc::from(deliver::build(settings)?);
            picture.destinations.insert(settings.name().to_owned(), destination);
        }
        for environment in &config.environments {
            picture.environments.insert(environment.id.clone(), Arc::new(environment.clone()));
        }
        Ok(Self {
            now: RwLock::new(Arc::new(picture)),
            ingest: config.ingest.clone(),
            zone: config.node.zone.clone(),
        })
    }

    /// The environment that has this id.
    #[must_use]
    pub fn environment(&self, id: &str) -> Option<Arc<Environment>> {
        self.picture().environments.get(id).cloned()
    }

    /// The destination that has this name.
    #[must_use]
    pub fn destination(&self, name: &str) -> Option<Arc<dyn Destination>> {
        self.picture().destinations.get(name).cloned()
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
            zone: self.zone.clone(),
        }
    }

    fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }
}

//! The keys that sign: given, from the environment, or from the machine's metadata service.
//!
//! They are asked for at every request. Given ones are read from their files each time, so they can be
//! replaced at any time; those of a machine are kept until shortly before they expire.

mod instance;

use std::collections::BTreeMap;
use std::sync::Arc;

use rusty_s3::Credentials;

pub(super) use self::instance::{Instance, MetadataError};
use super::error::Error;
use crate::clock::Clock;
use crate::config::KeySource;
use crate::deliver::secret::Secrets;

/// Variables of an environment, as the AWS tools know them.
#[derive(Debug, Clone, Default)]
pub struct Variables(Option<BTreeMap<String, String>>);

/// Where the keys come from.
pub(super) enum Keys {
    Given(Secrets),
    Environment(Variables),
    Instance(Box<Instance>),
}

impl Variables {
    /// Others than the node's own, for tests.
    #[must_use]
    pub fn of<const N: usize>(variables: [(&str, String); N]) -> Self {
        let owned = variables.map(|(name, value)| (name.to_owned(), value));
        Self(Some(BTreeMap::from(owned)))
    }

    fn get(&self, name: &str) -> Option<String> {
        let value = match &self.0 {
            Some(variables) => variables.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }
}

impl Keys {
    /// # Errors
    /// [`Error::Settings`] where the HTTP client cannot be made.
    pub(super) fn new(
        source: KeySource,
        secrets: Secrets,
        variables: &Variables,
    ) -> Result<Self, Error> {
        Ok(match source {
            KeySource::Static => Self::Given(secrets),
            KeySource::Environment => Self::Environment(variables.clone()),
            KeySource::Instance => Self::Instance(Box::new(Instance::new(variables.clone())?)),
        })
    }

    /// The keys as they are now.
    ///
    /// # Errors
    /// [`Error::Secret`], [`Error::Environment`], [`Error::Metadata`].
    pub(super) async fn get(&self, clock: &Clock) -> Result<Arc<Credentials>, Error> {
        match self {
            Self::Given(secrets) => {
                let (key, secret) = (secrets.word("access_key")?, secrets.word("secret_key")?);
                Ok(Arc::new(Credentials::new(key.as_str(), secret.as_str())))
            }
            Self::Environment(variables) => {
                let needed = |name| variables.get(name).ok_or(Error::Environment { name });
                let (id, secret) = (needed("AWS_ACCESS_KEY_ID")?, needed("AWS_SECRET_ACCESS_KEY")?);
                Ok(Arc::new(match variables.get("AWS_SESSION_TOKEN") {
                    Some(token) => Credentials::new_with_token(id, secret, token),
                    None => Credentials::new(id, secret),
                }))
            }
            Self::Instance(instance) => Ok(instance.get(clock).await?),
        }
    }

    /// The store says that these keys are not good any more. Answers whether newer ones may be had.
    pub(super) fn forget(&self, expired: &Arc<Credentials>) -> bool {
        match self {
            Self::Given(_) | Self::Environment(_) => false,
            Self::Instance(instance) => instance.forget(expired),
        }
    }
}

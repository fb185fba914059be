//! Keys of the API: who may use it, and what each key opens.
//!
//! Declared in the configuration file by their SHA-256, or made over the API and kept in the ledger
//! ([`store`]); the two kinds do not mix. A key that the API makes is `hfk_`, twelve hex digits, `_`
//! and 256 random bits in hex. What stands before the second `_` is its id, which is no secret: a key
//! is found by it, and then compared by digest in constant time. Nothing keeps the key itself.
//!
//! Invariants: a key opens something only while it stands in the picture; making and revoking are
//! durable, and in the audit log, before the picture changes, and hold from then on for every
//! request. A ledger that was made anew from the vault has none of the API's keys: what was revoked
//! cannot come back.

mod store;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::audit::Act;
use crate::config::ApiKey;
use crate::digest;
use crate::ledger::{Ledger, LedgerError};
use crate::node::Node;
use crate::settings::Origin;

/// Most keys that the API makes.
pub const KEYS_MAX: usize = 200;
/// Most environments that a key is limited to.
pub const KEY_ENVIRONMENTS_MAX: usize = 100;
/// Longest name of a key, in characters.
pub const KEY_NAME_CHARS_MAX: usize = 128;
/// That a key was used is noted, and enters the audit log, this often at most.
const USE_NOTED_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// What keys that the API makes begin with.
pub(crate) const KEY_PREFIX: &str = "hfk_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;

/// What a key opens; each scope includes those before it.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Looking.
    Read,
    /// Acting on recordings; environments, accounts, destinations and webhooks.
    Manage,
    /// Keys and the audit log too.
    #[default]
    Admin,
}

impl Scope {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Manage => "manage",
            Self::Admin => "admin",
        }
    }
}

/// A key, without what opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Identifies it: of a declared key, its name.
    pub id: String,
    /// Whose it is.
    pub name: String,
    /// What it opens.
    pub scope: Scope,
    /// Only in these environments; everywhere where nothing is said.
    pub env_ids: Option<Vec<String>>,
    /// Where it comes from.
    pub origin: Origin,
    /// When it was made; not known of a declared one.
    pub created_at: Option<Timestamp>,
    /// SHA-256 of the key, in lower-case hex.
    sha256: String,
}

/// A key that is to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Whose it is.
    pub name: String,
    /// What it opens.
    pub scope: Scope,
    /// Only in these environments.
    pub env_ids: Option<Vec<String>>,
}

/// Why nothing was done with a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyRefused {
    /// There is none of this id.
    #[error("there is no key {0:?}")]
    NotFound(String),
    /// The configuration file declares it.
    #[error(
        "the configuration file declares the key {0:?}; remove it there and start the node anew"
    )]
    Declared(String),
    /// There are as many as there may be.
    #[error("there are {KEYS_MAX} keys already; revoke one that nobody uses")]
    TooMany,
    /// It is well-formed, but makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The machine gives no random numbers.
    #[error("this machine gives no random numbers")]
    NoRandomness,
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// The keys as they stand now.
#[derive(Debug)]
pub struct Keys {
    declared: Vec<Arc<Key>>,
    made: RwLock<BTreeMap<String, Arc<Key>>>,
    /// When each was last noted to be used, by id.
    used: Mutex<HashMap<String, Timestamp>>,
    /// Held while one is made or revoked.
    changing: tokio::sync::Mutex<()>,
}

impl Keys {
    /// The keys that the configuration declares, and those that the ledger keeps.
    ///
    /// # Errors
    /// [`LedgerError::Read`].
    pub fn open(declared: &[ApiKey], ledger: &Ledger) -> Result<Self, LedgerError> {
        let (made, used) = ledger.read(store::load)?;
        Ok(Self {
            declared: declared.iter().map(|key| Arc::new(Key::declared(key))).collect(),
            made: RwLock::new(
                made.into_iter().map(|key| (key.id.clone(), Arc::new(key))).collect(),
            ),
            used: Mutex::new(used),
            changing: tokio::sync::Mutex::default(),
        })
    }

    /// Writes into the audit log which keys the configuration file declares differently since the
    /// last start.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn start(&self, node: &Node) -> Result<(), LedgerError> {
        let declared: Vec<Arc<Key>> = self.declared.clone();
        let (audit, now) = (node.audit.clone(), node.clock.now());
        let noting = node.ledger.write(move |write| {
            for (id, is) in store::note_declared(write, &declared)? {
                let act = is.map_or_else(|| Act::KeyRevoked { key: id }, |key| key.as_made());
                audit.append(write, now, "configuration file", &act)?;
            }
            Ok(())
        });
        noting.await
    }

    /// Whose key this is.
    #[must_use]
    pub fn whose(&self, key: &[u8]) -> Option<Arc<Key>> {
        let sha256 = digest::of(key);
        let is_it = |known: &Key| {
            verify_slices_are_equal(sha256.as_bytes(), known.sha256.as_bytes()).is_ok()
        };
        if let Some(made) = id_of(key).and_then(|id| self.made().get(id).cloned()) {
            return is_it(&made).then_some(made);
        }
        // All of them are compared, so that the time it takes says nothing.
        let fits =
            |found, known: &Arc<Key>| if is_it(known) { Some(Arc::clone(known)) } else { found };
        self.declared.iter().fold(None, fits)
    }

    /// All keys, by id, with when each was last used, to the hour.
    #[must_use]
    pub fn all(&self) -> Vec<(Arc<Key>, Option<Timestamp>)> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let made = self.made();
        let mut all: Vec<_> = self.declared.iter().chain(made.values()).cloned().collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        all.into_iter().map(|key| (Arc::clone(&key), used.get(&key.id).copied())).collect()
    }

    /// Makes a key. Answers with it and with what opens, which nobody can ask for again.
    ///
    /// # Errors
    /// [`KeyRefused`] where none was made.
    pub async fn make(
        &self,
        node: &Node,
        by: &str,
        new: NewKey,
    ) -> Result<(Arc<Key>, Zeroizing<String>), KeyRefused> {
        let _one_at_a_time = self.changing.lock().await;
        check(node, &new)?;
        if self.made().len() >= KEYS_MAX {
            return Err(KeyRefused::TooMany);
        }
        let id = format!("{KEY_PREFIX}{}", digest::hex(random::<ID_BYTES>()?.as_slice()));
        if self.all().iter().any(|(key, _)| key.id == id) {
            return Err(KeyRefused::NoRandomness);
        }
        let secret = Zeroizing::new(digest::hex(random::<SECRET_BYTES>()?.as_slice()));
        let opens = Zeroizing::new(format!("{id}_{}", secret.as_str()));
        let now = node.clock.now();
        let key = Arc::new(Key {
            id,
            name: new.name,
            scope: new.scope,
            env_ids: new.env_ids,
            origin: Origin::Api,
            created_at: Some(now),
            sha256: digest::of(opens.as_bytes()),
        });
        let (audit, by, row) = (node.audit.clone(), by.to_owned(), Arc::clone(&key));
        let writing = node.ledger.write(move |write| {
            store::put(write, &row)?;
            audit.append(write, now, &by, &row.as_made())
        });
        writing.await?;
        let mut made = self.made.write().unwrap_or_else(PoisonError::into_inner);
        made.insert(key.id.clone(), Arc::clone(&key));
        Ok((key, opens))
    }

    /// Revokes a key: from now on it opens nothing.
    ///
    /// # Errors
    /// [`KeyRefused`] where it was not revoked.
    pub async fn revoke(&self, node: &Node, by: &str, id: &str) -> Result<(), KeyRefused> {
        let _one_at_a_time = self.changing.lock().await;
        if self.declared.iter().any(|key| key.id == id) {
            return Err(KeyRefused::Declared(id.into()));
        }
        if !self.made().contains_key(id) {
            return Err(KeyRefused::NotFound(id.into()));
        }
        let (audit, now) = (node.audit.clone(), node.clock.now());
        let (by, key) = (by.to_owned(), id.to_owned());
        let writing = node.ledger.write(move |write| {
            store::remove(write, &key)?;
            audit.append(write, now, &by, &Act::KeyRevoked { key })
        });
        writing.await?;
        self.made.write().unwrap_or_else(PoisonError::into_inner).remove(id);
        self.used.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        Ok(())
    }

    /// Notes that a key was used, unless that was noted within the last hour. The request does not
    /// wait for it: a disk that hangs or is full must not lock out who comes to mend it.
    pub fn note_use(&self, node: &Arc<Node>, key: &Arc<Key>) {
        let now = node.clock.now();
        let before = {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            let before = used.get(&key.id).copied();
            // A clock that was set back is no reason to note each use.
            if before.is_some_and(|at| now.duration_since(at) < USE_NOTED_EVERY) {
                return;
            }
            used.insert(key.id.clone(), now);
            before
        };
        let (node, key) = (Arc::clone(node), Arc::clone(key));
        tokio::spawn(async move {
            let (audit, used_by) = (node.audit.clone(), Arc::clone(&key));
            let known: Vec<String> =
                node.keys.all().into_iter().map(|(known, _)| known.id.clone()).collect();
            let noting = node.ledger.write(move |write| {
                if !known.contains(&used_by.id) {
                    return Ok(());
                }
                store::note_use(write, &used_by.id, now, &known)?;
                let act = Act::SignedIn { key: used_by.id.clone() };
                audit.append(write, now, &used_by.name, &act)
            });
            if let Err(error) = noting.await {
                tracing::warn!(key = key.id, %error, "that it was used is not noted");
                node.keys.forget_use(&key.id, before);
            }
        });
    }

    fn forget_use(&self, id: &str, before: Option<Timestamp>) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        match before {
            Some(before) => used.insert(id.into(), before),
            None => used.remove(id),
        };
    }

    fn made(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Arc<Key>>> {
        self.made.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Key {
    fn declared(key: &ApiKey) -> Self {
        Self {
            id: key.name.clone(),
            name: key.name.clone(),
            scope: key.scope,
            env_ids: key.env_ids.clone(),
            origin: Origin::Config,
            created_at: None,
            sha256: key.sha256.to_ascii_lowercase(),
        }
    }

    fn as_made(&self) -> Act {
        Act::KeyMade {
            key: self.id.clone(),
            name: self.name.clone(),
            scope: self.scope.as_str().into(),
        }
    }
}

/// Checks what a key may be limited to, wherever it comes from.
///
/// # Errors
/// A sentence that says what to do.
pub(crate) fn check_limits(scope: Scope, env_ids: Option<&[String]>) -> Result<(), String> {
    let Some(env_ids) = env_ids else { return Ok(()) };
    if scope == Scope::Admin {
        return Err(
            "a key with the scope admin cannot be limited to environments, because it could \
             make itself another; give it the scope read or manage"
                .into(),
        );
    }
    if env_ids.is_empty() || env_ids.len() > KEY_ENVIRONMENTS_MAX {
        return Err(format!(
            "env_ids: name 1 to {KEY_ENVIRONMENTS_MAX} environments, or leave it out for all"
        ));
    }
    Ok(())
}

fn check(node: &Node, new: &NewKey) -> Result<(), KeyRefused> {
    let length = new.name.chars().count();
    if !(1..=KEY_NAME_CHARS_MAX).contains(&length) || new.name.chars().any(char::is_control) {
        return Err(KeyRefused::Invalid(format!(
            "name: give one of 1 to {KEY_NAME_CHARS_MAX} characters, without control characters"
        )));
    }
    check_limits(new.scope, new.env_ids.as_deref()).map_err(KeyRefused::Invalid)?;
    let mut env_ids = new.env_ids.iter().flatten();
    match env_ids.find(|id| node.settings.environment(id).is_none()) {
        None => Ok(()),
        Some(id) => Err(KeyRefused::Invalid(format!(
            "env_ids: there is no environment {id:?}; make it first"
        ))),
    }
}

/// The id in a key that the API may have made.
fn id_of(key: &[u8]) -> Option<&str> {
    let key = std::str::from_utf8(key).ok()?;
    let (id, secret) = key.split_at_checked(KEY_PREFIX.len() + 2 * ID_BYTES)?;
    (id.starts_with(KEY_PREFIX) && secret.starts_with('_')).then_some(id)
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, KeyRefused> {
    let mut bytes = Zeroizing::new([0; N]);
    rand::fill(bytes.as_mut_slice()).map_err(|_| KeyRefused::NoRandomness)?;
    Ok(bytes)
}

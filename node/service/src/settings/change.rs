//! Making, changing and deleting settings over the API.

use holdfast_core::recording::State;
use redb::WriteTransaction;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::destination;
use super::picture::{Origin, Picture};
use super::store::{self, Kind, Rows, Thing};
use super::webhook::MadeWebhook;
use super::{Settings, digest};
use crate::audit::{Act, Configured};
use crate::config::{Around, unique};
use crate::ledger::{Filter, LedgerError};
use crate::node::Node;
use crate::webhooks;

/// Most settings of each kind that the API makes.
const THINGS_MAX: usize = 10_000;
/// Recordings looked at in one go.
const PAGE: usize = 500;
/// Bytes of randomness in a hash that nobody gave.
const HASH_BYTES: usize = 16;

/// Why a setting was not changed. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is none of this name.
    #[error("there is no {kind} {id:?}")]
    NotFound {
        /// Which kind.
        kind: &'static str,
        /// Which name.
        id: String,
    },
    /// There is one of this name already.
    #[error("there is a {kind} {id:?} already; change it, or choose another name")]
    Exists {
        /// Which kind.
        kind: &'static str,
        /// Which name.
        id: String,
    },
    /// The configuration file declares it.
    #[error("the configuration file declares the {kind} {id:?}; change it there")]
    Declared {
        /// Which kind.
        kind: &'static str,
        /// Which name.
        id: String,
    },
    /// Something needs it.
    #[error("{0}")]
    InUse(String),
    /// It is well-formed, but makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl Settings {
    /// Makes a setting. Answers with its name.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn create(
        &self,
        node: &Node,
        by: &str,
        kind: Kind,
        mut given: Map<String, Value>,
    ) -> Result<String, Refused> {
        let _one_at_a_time = self.changing.lock().await;
        if kind == Kind::Environment && given.get("hash").is_none_or(Value::is_null) {
            given.insert("hash".into(), Value::String(new_hash()?));
        }
        let named: Vec<String> = given.keys().cloned().collect();
        let thing = read(node, kind, given, &named)?;
        let id = thing.id().to_owned();
        check_name(kind, &id)?;
        match self.origin(kind, &id) {
            Some(Origin::Config) => return Err(Refused::Declared { kind: kind.as_str(), id }),
            Some(Origin::Api) => return Err(Refused::Exists { kind: kind.as_str(), id }),
            None => {}
        }
        let members = members(&Map::new(), &told(&thing));
        self.put(node, by, thing, Configured::Created, members).await?;
        Ok(id)
    }

    /// Changes a setting: members that are named take their new value, `null` their default.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn change(
        &self,
        node: &Node,
        by: &str,
        kind: Kind,
        id: &str,
        patch: Map<String, Value>,
    ) -> Result<(), Refused> {
        let _one_at_a_time = self.changing.lock().await;
        let before = self.made(kind, id)?;
        let mut given = told(&before);
        let name = if kind == Kind::Destination { "name" } else { "id" };
        if patch.get(name).is_some_and(|named| named.as_str() != Some(id)) {
            return Err(Refused::Invalid(format!(
                "{name}: cannot be changed; make another {} and delete this one",
                kind.as_str()
            )));
        }
        let named: Vec<String> = patch.keys().cloned().collect();
        if kind == Kind::Webhook && patch.contains_key("secret") {
            return Err(Refused::Invalid(
                "secret: give it a new one with rotate-secret, so that nothing is lost".into(),
            ));
        }
        merge(&mut given, patch);
        let after = read(node, kind, given, &named)?;
        if let (Thing::Destination(before), Thing::Destination(after)) = (&before, &after) {
            destination::check_keys_stay(before, after, &named)?;
        }
        let members = members(&told(&before), &told(&after));
        if members.is_empty() {
            return Ok(());
        }
        self.put(node, by, after, Configured::Changed, members).await
    }

    /// Deletes a setting that nothing needs any more.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn delete(&self, node: &Node, by: &str, kind: Kind, id: &str) -> Result<(), Refused> {
        let _one_at_a_time = self.changing.lock().await;
        self.made(kind, id)?;
        self.check_unused(node, kind, id)?;
        let mut rows = self.picture().made.clone();
        rows.remove(&(kind, id.to_owned()));
        let picture = self.draw(node, rows)?;
        let act = Act::Configured {
            kind: kind.as_str().into(),
            id: id.into(),
            change: Configured::Deleted,
            members: Vec::new(),
        };
        let (audit, by, now) = (node.audit.clone(), by.to_owned(), node.clock.now());
        let id = id.to_owned();
        let writing = node.ledger.write(move |write| {
            store::remove(write, kind, &id)?;
            forget(write, kind, &id)?;
            audit.append(write, now, &by, &act)
        });
        writing.await?;
        self.shown(node, picture).await;
        Ok(())
    }

    /// Writes a setting down, and shows it.
    pub(super) async fn put(
        &self,
        node: &Node,
        by: &str,
        thing: Thing,
        change: Configured,
        members: Vec<String>,
    ) -> Result<(), Refused> {
        let (kind, id) = (thing.kind(), thing.id().to_owned());
        let mut rows = self.picture().made.clone();
        let of_kind = rows.keys().filter(|(of, _)| *of == kind).count();
        if change == Configured::Created && of_kind >= THINGS_MAX {
            let what = kind.as_str();
            return Err(Refused::InUse(format!("this node keeps at most {THINGS_MAX} {what}s")));
        }
        rows.insert((kind, id.clone()), thing.clone());
        let picture = self.draw(node, rows)?;
        check(&picture, &thing)?;
        let act = Act::Configured { kind: kind.as_str().into(), id, change, members };
        let (audit, by, now) = (node.audit.clone(), by.to_owned(), node.clock.now());
        let writing = node.ledger.write(move |write| {
            store::put(write, &thing)?;
            if change == Configured::Created {
                forget(write, kind, thing.id())?;
            }
            audit.append(write, now, &by, &act)
        });
        writing.await?;
        self.shown(node, picture).await;
        Ok(())
    }

    fn draw(&self, node: &Node, rows: Rows) -> Result<Picture, Refused> {
        let before = self.picture();
        let picture = Picture::new(&node.config, rows, &node.key, Some(&before));
        picture.map_err(|e| Refused::Invalid(e.sentence))
    }

    /// Shows a change that is durable, and copies it into the vault.
    async fn shown(&self, node: &Node, picture: Picture) {
        let rows = picture.made.clone();
        self.show(picture);
        let copying = node.with_vault(move |vault| store::write_copy(vault, &rows));
        if let Err(error) = copying.await {
            tracing::error!(%error, "the vault has no copy of the changed settings; the ledger has them");
        }
    }

    fn origin(&self, kind: Kind, id: &str) -> Option<Origin> {
        let picture = self.picture();
        match kind {
            Kind::Account => picture.accounts.get(id).map(|found| found.origin),
            Kind::Environment => picture.environments.get(id).map(|found| found.origin),
            Kind::Destination => picture.destinations.get(id).map(|found| found.origin),
            Kind::Webhook => picture.webhooks.get(id).map(|found| found.origin),
        }
    }

    /// One that the API made.
    pub(super) fn made(&self, kind: Kind, id: &str) -> Result<Thing, Refused> {
        let word = kind.as_str();
        let missing = || Refused::NotFound { kind: word, id: id.to_owned() };
        if self.origin(kind, id).ok_or_else(missing)? == Origin::Config {
            return Err(Refused::Declared { kind: word, id: id.to_owned() });
        }
        self.picture().made.get(&(kind, id.to_owned())).cloned().ok_or_else(missing)
    }

    fn check_unused(&self, node: &Node, kind: Kind, id: &str) -> Result<(), Refused> {
        let picture = self.picture();
        let user = picture.environments.values().find(|environment| match kind {
            Kind::Account => environment.of.account.as_deref() == Some(id),
            Kind::Destination => environment.of.destinations.iter().any(|name| name == id),
            Kind::Environment | Kind::Webhook => false,
        });
        if let Some(user) = user {
            let (word, user) = (kind.as_str(), &user.of.id);
            return Err(Refused::InUse(format!(
                "the environment {user:?} names the {word} {id:?}; take it out there first"
            )));
        }
        let hook = picture.webhooks.values().find(|hook| hook.of.env_id == id);
        if let Some(hook) = hook.filter(|_| kind == Kind::Environment) {
            return Err(Refused::InUse(format!(
                "the webhook {:?} hears of the environment {id:?}; delete it first",
                hook.of.id
            )));
        }
        match kind {
            Kind::Destination => check_not_awaited(node, id),
            _ => Ok(()),
        }
    }
}

/// What was to be told to a webhook goes with it, and one that is made inherits nothing.
fn forget(write: &WriteTransaction, kind: Kind, id: &str) -> Result<(), LedgerError> {
    if kind == Kind::Webhook { webhooks::forget(write, id) } else { Ok(()) }
}

/// No recording under way still needs a destination.
fn check_not_awaited(node: &Node, name: &str) -> Result<(), Refused> {
    use State::{Copying, Delivering, Processing, Receiving, Saved, Stopped};
    for state in [Receiving, Stopped, Saved, Copying, Processing, Delivering] {
        let filter = Filter { state: Some(state), ..Filter::default() };
        let mut before = None;
        loop {
            let (page, next) = node.ledger.list(&filter, before, PAGE)?;
            if let Some(rec) = page.iter().find(|r| r.policy.destinations.iter().any(|d| d == name))
            {
                return Err(Refused::InUse(format!(
                    "recording {} has still to be delivered to {name:?}; wait, or delete it",
                    rec.id
                )));
            }
            if next.is_none() {
                break;
            }
            before = next;
        }
    }
    Ok(())
}

/// Reads a thing. Secrets among the members that are `named` are new, and not sealed yet.
fn read(
    node: &Node,
    kind: Kind,
    given: Map<String, Value>,
    named: &[String],
) -> Result<Thing, Refused> {
    Ok(match kind {
        Kind::Account => Thing::Account(parse(given)?),
        Kind::Environment => Thing::Environment(parse(given)?),
        Kind::Destination => {
            Thing::Destination(destination::read(given, named, &node.key, &node.config)?)
        }
        Kind::Webhook => Thing::Webhook(MadeWebhook::read(given, named, &node.key, &node.config)?),
    })
}

/// Reads a thing; what is wrong is said with the member that it is wrong with.
pub(super) fn parse<T: DeserializeOwned>(given: Map<String, Value>) -> Result<T, Refused> {
    serde_path_to_error::deserialize(Value::Object(given)).map_err(|error| {
        Refused::Invalid(match error.path().to_string().as_str() {
            "." => error.inner().to_string(),
            path => format!("{path}: {}", error.inner()),
        })
    })
}

/// Checks that a thing makes sense beside everything else.
fn check(picture: &Picture, thing: &Thing) -> Result<(), Refused> {
    let checked = match thing {
        Thing::Environment(environment) => environment.check(&Around {
            destinations: picture.destination_names(),
            ours: picture.own_names(),
            accounts: picture.account_ids(),
            regions: picture.regions(),
            may_name_files: false,
        }),
        Thing::Webhook(made) if !picture.environments.contains_key(&made.env_id) => {
            Err(format!("env_id: there is no environment {:?}; make it first", made.env_id))
        }
        _ => Ok(()),
    };
    checked.map_err(Refused::Invalid)
}

/// Names that the API makes stand in addresses and as folders.
fn check_name(kind: Kind, id: &str) -> Result<(), Refused> {
    unique(kind.as_str(), std::iter::once(id)).map_err(Refused::Invalid)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if id.chars().all(is_plain) && !id.starts_with('.') {
        return Ok(());
    }
    Err(Refused::Invalid(format!(
        "{} {id:?}: a name has letters, digits, dots, dashes and underscores, and begins with no dot",
        kind.as_str()
    )))
}

/// A thing's members, for comparing.
fn told(thing: &Thing) -> Map<String, Value> {
    let value = match thing {
        Thing::Account(account) => serde_json::to_value(account),
        Thing::Environment(environment) => serde_json::to_value(environment),
        Thing::Destination(made) => serde_json::to_value(made),
        Thing::Webhook(made) => serde_json::to_value(made),
    };
    match value {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// Names of the members that differ.
fn members(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let absent =
        |members: &Map<String, Value>, name: &str| members.get(name).is_none_or(Value::is_null);
    let mut names: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| {
        before.get(name) != after.get(name) && !(absent(before, name) && absent(after, name))
    });
    names
}

/// A JSON merge patch (RFC 7396).
fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match (target.get_mut(&name), value) {
            (_, Value::Null) => {
                target.remove(&name);
            }
            (Some(Value::Object(inner)), Value::Object(patch)) => merge(inner, patch),
            (_, value) => {
                target.insert(name, value);
            }
        }
    }
}

fn new_hash() -> Result<String, Refused> {
    let mut bytes = [0; HASH_BYTES];
    let filled = aws_lc_rs::rand::fill(&mut bytes);
    filled.map_err(|_| Refused::Invalid("the system gives no random numbers".into()))?;
    Ok(digest::hex(&bytes))
}

//! Webhooks that were made over the API, and how any webhook is shown.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use crate::config::Config;
use crate::nodekey::NodeKey;
use crate::webhooks::event::{Event, Format};
use crate::webhooks::target::Targets;
use crate::webhooks::{Keys, Webhook, sign};

/// How long requests are signed with the secret before as well.
const OLD_SECRET_TIME: SignedDuration = SignedDuration::from_hours(24);
/// Members that are sealed.
const SECRETS: [&str; 2] = ["secret", "pipe_key"];

/// A webhook that was made over the API, as the ledger keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MadeWebhook {
    pub(super) id: String,
    pub(super) env_id: String,
    url: String,
    #[serde(default)]
    events: BTreeSet<Event>,
    #[serde(default)]
    format: Format,
    #[serde(default = "yes")]
    enabled: bool,
    /// Sealed with the node's key for this webhook's id.
    secret: String,
    /// The same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pipe_key: Option<String>,
    /// The secret before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old: Option<OldSecret>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OldSecret {
    sealed: String,
    until: Timestamp,
}

/// A webhook to be made over the API.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct WebhookBody {
    /// Identifies it; made where none is given.
    pub id: Option<String>,
    /// The environment whose recordings it hears of.
    pub env_id: String,
    /// Where to: `https`, and no private address unless the node's configuration allows it.
    pub url: String,
    /// What it hears of; of everything where none is given.
    pub events: Option<BTreeSet<Event>>,
    /// As JSON, or as the form field `payload`.
    pub format: Option<Format>,
    /// Whether it is told anything.
    pub enabled: Option<bool>,
    /// What requests are signed with: `whsec_` and the base64 of 24 to 64 bytes. Made where none is
    /// given. Kept sealed, never shown again.
    pub secret: Option<String>,
    /// The key of `X-Pipe-Signature`; the secret is the key where none is given. Kept sealed, never
    /// shown.
    pub pipe_key: Option<String>,
}

fn yes() -> bool {
    true
}

impl MadeWebhook {
    /// Reads what the API was given; secrets in it are sealed at once.
    ///
    /// # Errors
    /// What is wrong with which member.
    pub(super) fn from_given(
        mut given: Map<String, Value>,
        key: &NodeKey,
        config: &Config,
    ) -> Result<Self, String> {
        let id = given.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        for member in SECRETS {
            let Some(value) = given.get_mut(member) else { continue };
            let plain = Zeroizing::new(match std::mem::take(value) {
                Value::String(plain) => plain,
                // A sealed one that a change leaves as it is.
                Value::Object(sealed) => {
                    *value = sealed.get("sealed").cloned().unwrap_or_default();
                    continue;
                }
                Value::Null => continue,
                _ => return Err(format!("{member}: must be a text")),
            });
            let checked = match member {
                "secret" => sign::secret_bytes(&plain).map(|_| ()),
                _ => sign::check_pipe_key(&plain),
            };
            checked.map_err(|problem| format!("{member}: {problem}"))?;
            *value = Value::String(seal(key, &id, member, &plain)?);
        }
        let made: Self =
            serde_json::from_value(Value::Object(given)).map_err(|error| error.to_string())?;
        Targets::new(&config.notify).check_url(&made.url)?;
        Ok(made)
    }

    /// As it was given, for a change: secrets stay sealed, marked as such.
    pub(super) fn to_given(&self) -> Result<Map<String, Value>, String> {
        let Ok(Value::Object(mut given)) = serde_json::to_value(self) else {
            return Err("the webhook cannot be read".into());
        };
        for secret in SECRETS {
            if let Some(value) = given.get_mut(secret).filter(|value| !value.is_null()) {
                *value = serde_json::json!({ "sealed": std::mem::take(value) });
            }
        }
        Ok(given)
    }

    /// Refuses members that only the node sets, and a mark that only the node makes.
    ///
    /// # Errors
    /// Which member.
    pub(super) fn check_given(given: &Map<String, Value>) -> Result<(), String> {
        if given.contains_key("old") {
            return Err("unknown field `old`".into());
        }
        match SECRETS.iter().find(|member| given.get(**member).is_some_and(Value::is_object)) {
            Some(member) => Err(format!("{member}: must be a text")),
            None => Ok(()),
        }
    }

    /// The same with a new secret; the old one goes on to be used beside it for 24 hours.
    pub(super) fn rotated(
        &self,
        key: &NodeKey,
        secret: &str,
        now: Timestamp,
    ) -> Result<Self, String> {
        let old = OldSecret { sealed: self.secret.clone(), until: now + OLD_SECRET_TIME };
        let secret = seal(key, &self.id, "secret", secret)?;
        Ok(Self { secret, old: Some(old), ..self.clone() })
    }

    /// The webhook that it is.
    pub(super) fn webhook(&self) -> Webhook {
        Webhook {
            id: self.id.clone(),
            env_id: self.env_id.clone(),
            url: self.url.clone(),
            events: self.events.clone(),
            format: self.format,
            enabled: self.enabled,
            keys: Keys::Sealed {
                secret: self.secret.clone(),
                old: self.old.as_ref().map(|old| (old.sealed.clone(), old.until)),
                pipe_key: self.pipe_key.clone(),
            },
        }
    }
}

fn seal(key: &NodeKey, id: &str, member: &str, plain: &str) -> Result<String, String> {
    let sealed = key.seal(&Webhook::context(id, member), plain.as_bytes());
    sealed.map_err(|error| error.to_string())
}

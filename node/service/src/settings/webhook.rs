//! Webhooks that were made over the API, and how any webhook is shown.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::Settings;
use super::change::{Refused, parse};
use super::store::{Kind, Thing};
use crate::audit::Configured;
use crate::config::Config;
use crate::node::Node;
use crate::nodekey::NodeKey;
use crate::webhooks::event::{Event, Format};
use crate::webhooks::target::Targets;
use crate::webhooks::{Keys, Webhook, sign};

/// How long requests are signed with the secret before as well.
const OLD_SECRET_TIME: SignedDuration = SignedDuration::from_hours(24);

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
    /// Reads what the API was given. Secrets among the members that are `named` are sealed; others
    /// are so already.
    ///
    /// # Errors
    /// [`Refused::Invalid`]: what is wrong with which member.
    pub(super) fn read(
        mut given: Map<String, Value>,
        named: &[String],
        key: &NodeKey,
        config: &Config,
    ) -> Result<Self, Refused> {
        let is_named = |member: &str| named.iter().any(|named| named == member);
        if is_named("old") {
            return Err(Refused::Invalid("old: unknown field".into()));
        }
        given.retain(|_, value| !value.is_null());
        let mut made: Self = parse(given)?;
        if is_named("secret") {
            let plain = Zeroizing::new(std::mem::take(&mut made.secret));
            let checked = sign::secret_bytes(&plain);
            checked.map_err(|problem| Refused::Invalid(format!("secret: {problem}")))?;
            made.secret = seal(key, &made.id, "secret", &plain)?;
        }
        if let Some(plain) = made.pipe_key.take_if(|_| is_named("pipe_key")).map(Zeroizing::new) {
            let checked = sign::check_pipe_key(&plain);
            checked.map_err(|problem| Refused::Invalid(format!("pipe_key: {problem}")))?;
            made.pipe_key = Some(seal(key, &made.id, "pipe_key", &plain)?);
        }
        let checked = Targets::new(&config.notify).check_url(&made.url);
        checked.map_err(Refused::Invalid)?;
        Ok(made)
    }

    /// The same with a new secret; the old one goes on to be used beside it for 24 hours.
    pub(super) fn rotated(
        &self,
        key: &NodeKey,
        secret: &str,
        now: Timestamp,
    ) -> Result<Self, Refused> {
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

impl Settings {
    /// Gives a webhook a new secret, and answers with it. The old one is used beside it for 24 hours.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn rotate(
        &self,
        node: &Node,
        by: &str,
        id: &str,
    ) -> Result<Zeroizing<String>, Refused> {
        let _one_at_a_time = self.changing.lock().await;
        let Thing::Webhook(before) = self.made(Kind::Webhook, id)? else {
            return Err(Refused::NotFound { kind: Kind::Webhook.as_str(), id: id.to_owned() });
        };
        let secret = sign::new_secret().map_err(Refused::Invalid)?;
        let after = before.rotated(&node.key, &secret, node.clock.now());
        let after = Thing::Webhook(after?);
        self.put(node, by, after, Configured::Changed, vec!["secret".into()]).await?;
        Ok(secret)
    }
}

fn seal(key: &NodeKey, id: &str, member: &str, plain: &str) -> Result<String, Refused> {
    let sealed = key.seal(&Webhook::context(id, member), plain.as_bytes());
    sealed.map_err(|error| Refused::Invalid(error.to_string()))
}

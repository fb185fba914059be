//! Whose recordings a world's node takes in, and where they go: accounts, environments, stores.

use std::path::PathBuf;
use std::sync::Arc;

use holdfast_core::storage::Region;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::chance::Chance;
use super::chores::Chore;
use super::disk::Disk;
use super::receivers::{self, Receivers};
use super::storage::Store;
use crate::config::{Config, Destination};
use crate::node::Node;
use crate::settings::Kind;
use crate::webhooks::event::Event;

/// What the requests of all webhooks are signed with.
pub(super) const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Accounts and environments, as they were made, and whether they have to be looked at again.
pub(super) struct Places {
    accounts: Vec<Value>,
    environments: Vec<Value>,
    webhooks: Vec<Value>,
    zone: &'static str,
    /// Whether the clock is believed without a time service.
    pub(super) is_as_is: bool,
    pub(super) sweep_failed: bool,
}

/// Our own storage, and two of customers'.
pub(super) fn stores(disk: &Disk, chance: &mut Chance) -> [Store; 3] {
    [("ours", Some(Region::Us1)), ("theirs", None), ("another", None)]
        .map(|(name, ours)| Store::new(name, ours, disk, chance.split()))
}

fn in_days(now: Timestamp, days: u64) -> Timestamp {
    now + SignedDuration::from_hours(24 * days.cast_signed())
}

/// A webhook of an environment, with some of all that it could hear of.
fn webhook(env: usize, chance: &mut Chance) -> Value {
    let id = receivers::HOOKS[env];
    let hears_of_all = chance.percent(60);
    let events = Event::ALL.into_iter().filter(|_| hears_of_all || chance.percent(60));
    json!({
        "id": id,
        "env_id": format!("env{env}"),
        "url": receivers::url_of(id),
        "events": events.collect::<Vec<_>>(),
        "format": if chance.percent(70) { "json" } else { "form" },
        "enabled": chance.percent(90),
        "secret": WEBHOOK_SECRET,
    })
}

impl Places {
    pub(super) fn new(start: Timestamp, chance: &mut Chance) -> Self {
        let accounts = ["first", "second"].map(|id| {
            let expires_at = chance.percent(30).then(|| in_days(start, chance.from(1, 30)));
            json!({ "id": id, "plan": "paid", "expires_at": expires_at })
        });
        let environments = (0..3).map(|number| {
            let destinations: Vec<&str> =
                ["theirs", "another"].into_iter().filter(|_| chance.percent(50)).collect();
            let account = [Value::Null, json!("first"), json!("second")][chance.index(3)].clone();
            let store_nothing = !destinations.is_empty() && chance.percent(40);
            let region = if chance.percent(50) { json!("US1") } else { Value::Null };
            let mp4 = chance.percent(75);
            let (snapshot, filmstrip) = (chance.percent(50), chance.percent(40));
            json!({
                "id": format!("env{number}"),
                "hash": format!("hash{number}"),
                "account": account,
                "region": region,
                "mp4": mp4,
                "snapshot": snapshot,
                "filmstrip": filmstrip,
                "transcoding": { "filmstrip": { "vtt": snapshot } },
                "push_raw": chance.percent(40),
                "destinations": destinations,
                "store_nothing": store_nothing,
                "success": if chance.percent(60) { "main" } else { "all" },
                "lifecycle_days": chance.percent(30).then(|| chance.from(1, 30)),
            })
        });
        let environments = environments.collect();
        let webhooks = (0..3).filter(|_| chance.percent(70)).collect::<Vec<_>>();
        let webhooks = webhooks.into_iter().map(|number| webhook(number, chance));
        Self {
            webhooks: webhooks.collect(),
            environments,
            accounts: accounts.into(),
            zone: ["Europe/Bucharest", "UTC", "America/New_York"][chance.index(3)],
            is_as_is: chance.percent(25),
            sweep_failed: false,
        }
    }

    pub(super) fn config(&self, stores: &[Store], receivers: &Receivers) -> Config {
        let (zone, clock) = (self.zone, if self.is_as_is { "as_is" } else { "synchronised" });
        let text =
            format!("[node]\nzone = \"{zone}\"\nclock = \"{clock}\"\n[vault]\npath = \"/vault\"\n");
        let mut config =
            Config::parse(&text, &PathBuf::from("node.toml")).expect("a configuration");
        config.notify.simulated = Some(receivers.clone());
        // Whatever machine it is lived on.
        config.transcode.jobs_max = Some(2);
        config.destinations = stores.iter().cloned().map(Destination::Simulated).collect();
        config
    }

    /// Makes them, over the API.
    pub(super) async fn make(&self, node: &Arc<Node>) {
        let accounts = self.accounts.iter().map(|account| (Kind::Account, account));
        let environments = self.environments.iter().map(|env| (Kind::Environment, env));
        let webhooks = self.webhooks.iter().map(|hook| (Kind::Webhook, hook));
        for (kind, thing) in accounts.chain(environments).chain(webhooks) {
            let Value::Object(given) = thing.clone() else { continue };
            node.settings.create(node, "an admin", kind, given).await.expect("a setting");
        }
    }

    /// The id of a webhook, if there is one.
    pub(super) fn any_webhook(&self, chance: &mut Chance) -> Option<String> {
        let which = chance.index(self.webhooks.len());
        self.webhooks.get(which).and_then(|hook| hook["id"].as_str()).map(str::to_owned)
    }

    /// A webhook is turned on or off.
    pub(super) fn change_webhook(&self, id: Option<String>, chance: &mut Chance) -> Chore {
        let patch = json!({ "enabled": chance.percent(50) });
        id.map_or(Chore::Sweep, |id| Chore::Change(Kind::Webhook, id, patch))
    }

    /// Has all webhooks told things from now on, also those whose receivers said that they are gone.
    pub(super) fn turn_webhooks_on(&self) -> impl Iterator<Item = Chore> + '_ {
        let ids = self.webhooks.iter().filter_map(|hook| hook["id"].as_str());
        ids.map(|id| Chore::Change(Kind::Webhook, id.to_owned(), json!({ "enabled": true })))
    }

    /// Id and hash of an environment.
    pub(super) fn any_environment(&self, chance: &mut Chance) -> (String, String) {
        let number = chance.index(self.environments.len());
        (format!("env{number}"), format!("hash{number}"))
    }

    /// An account that expired long ago, or an environment that keeps for a day: much is due by the
    /// calendar then.
    pub(super) fn expire(&self, now: Timestamp, chance: &mut Chance) -> Chore {
        if chance.percent(50) {
            let expires_at = now - SignedDuration::from_hours(24 * 40);
            let id = ["first", "second"][chance.index(2)].to_owned();
            Chore::Change(Kind::Account, id, json!({ "expires_at": expires_at }))
        } else {
            let (id, _) = self.any_environment(chance);
            Chore::Change(Kind::Environment, id, json!({ "lifecycle_days": 1 }))
        }
    }

    /// A change of an account or an environment.
    pub(super) fn change(&self, now: Timestamp, chance: &mut Chance) -> Chore {
        if chance.percent(50) {
            let expires_at = chance
                .percent(60)
                .then(|| in_days(now, chance.from(0, 20)) - SignedDuration::from_hours(24 * 10));
            let id = ["first", "second"][chance.index(2)].to_owned();
            Chore::Change(Kind::Account, id, json!({ "expires_at": expires_at }))
        } else {
            let days = chance.percent(60).then(|| chance.from(1, 30));
            let (id, _) = self.any_environment(chance);
            Chore::Change(Kind::Environment, id, json!({ "lifecycle_days": days }))
        }
    }
}

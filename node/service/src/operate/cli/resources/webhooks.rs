//! Webhooks: who is told what happens to recordings.

use serde_json::{Map, Value, json};

use super::super::arguments::{WebhookFlags, Webhooks};
use super::super::client::Target;
use super::super::input::{confirm, secret, settings};
use super::super::output::{note, print, print_json};
use super::super::table::Column;
use super::super::words::words;
use super::keys::without;
use super::{Desk, Given, Kind};

pub(super) const KIND: Kind = Kind {
    many: "webhooks",
    one: "webhook",
    id: "id",
    columns: &[
        Column::whole("WEBHOOK", "/id"),
        Column::cut("ENVIRONMENT", "/env_id"),
        Column::cut("URL", "/url"),
        Column::cut("EVENTS", "/events"),
        Column::whole("ON", "/enabled"),
        Column::whole("FROM", "/origin"),
    ],
    first: &["env_id", "url", "events", "format", "enabled", "origin"],
};

pub(super) const DELIVERIES: Kind = Kind {
    many: "deliveries",
    one: "delivery",
    id: "id",
    columns: &[
        Column::whole("DELIVERY", "/id"),
        Column::whole("HAPPENED", "/created_at"),
        Column::whole("EVENT", "/event"),
        Column::cut("RECORDING", "/recording_id"),
        Column::whole("STATE", "/state"),
        Column::whole("ATTEMPTS", "/attempts"),
        Column::whole("STATUS", "/status"),
        Column::millis("TOOK", "/duration_ms"),
        Column::whole("NEXT", "/next_at"),
        Column::cut("WHY NOT", "/error"),
        Column::cut("ANSWER", "/response_head"),
    ],
    first: &[],
};

pub(in super::super) fn act(desk: &Desk, act: &Webhooks) -> anyhow::Result<()> {
    match act {
        Webhooks::List { env } => {
            KIND.list(desk, &KIND.all()?.query("env_id", env.as_deref()), usize::MAX)
        }
        Webhooks::Show { id } => KIND.show(desk, id),
        Webhooks::Create { id, flags, settings: file } => {
            let mut given = Given(settings(file)?);
            given.put("id", id.as_deref());
            let given = with_flags(given, flags)?;
            let made = desk.client.post(&KIND.all()?, &Value::Object(given))?;
            secret_once(desk, &made)
        }
        Webhooks::Set { id, flags, settings: file } => {
            KIND.set(desk, id, with_flags(Given(settings(file)?), flags)?)
        }
        Webhooks::Delete { id, sure } => {
            KIND.delete(desk, id, *sure, "What waits to be delivered to it goes with it.")
        }
        Webhooks::Deliveries { id, limit } => {
            DELIVERIES.list(desk, &KIND.below(id, "deliveries")?, usize::try_from(*limit)?)
        }
        Webhooks::Redeliver { id, delivery } => {
            let target = Target::new(["webhooks", id, "deliveries", delivery, "redeliver"])?;
            KIND.done(desk, &desk.client.post(&target, &json!({}))?, "sent once more")
        }
        Webhooks::Ping { id } => {
            let answer = desk.client.post(&KIND.below(id, "ping")?, &json!({}))?;
            if answer.is_null() { print("sent\n") } else { DELIVERIES.answer(desk, &answer) }
        }
        Webhooks::RotateSecret { id, sure } => {
            confirm(
                &format!("Give webhook {id} a new secret? Its receiver needs it, too."),
                *sure,
            )?;
            secret_once(desk, &desk.client.post(&KIND.below(id, "rotate-secret")?, &json!({}))?)
        }
    }
}

/// A webhook with a secret that is shown this once; it alone goes to standard output.
fn secret_once(desk: &Desk, webhook: &Value) -> anyhow::Result<()> {
    if desk.json {
        return print_json(webhook);
    }
    note(&KIND.words(&without(webhook, "secret")))?;
    note("The secret follows. It is not shown again: its receiver checks signatures with it.\n")?;
    print(&format!("{}\n", words(webhook, "/secret").unwrap_or_default()))
}

fn with_flags(mut given: Given, flags: &WebhookFlags) -> anyhow::Result<Map<String, Value>> {
    given.put("env_id", flags.env.as_deref());
    given.put("url", flags.url.as_deref());
    given.put_list("events", &flags.events);
    given.put("format", flags.format.as_deref());
    given.put("enabled", flags.enabled);
    given.put("pipe_key", flags.pipe_key_from.as_deref().map(secret).transpose()?);
    Ok(given.0)
}

//! Accounts: trials and subscriptions.

use serde_json::{Map, Value};

use super::super::arguments::{AccountFlags, Accounts};
use super::super::input::{confirm, settings};
use super::super::table::Column;
use super::{Desk, Given, Kind, instant_or_never};

pub(super) const KIND: Kind = Kind {
    many: "accounts",
    one: "account",
    id: "id",
    columns: &[
        Column::whole("ACCOUNT", "/id"),
        Column::cut("NAME", "/name"),
        Column::whole("PLAN", "/plan"),
        Column::whole("EXPIRES", "/expires_at"),
        Column::whole("FROM", "/origin"),
    ],
    first: &["name", "origin", "plan", "expires_at"],
};

pub(in super::super) fn act(desk: &Desk, act: &Accounts) -> anyhow::Result<()> {
    match act {
        Accounts::List => KIND.list(desk, &KIND.all()?, usize::MAX),
        Accounts::Show { id } => KIND.show(desk, id),
        Accounts::Create { id, flags, settings: file } => {
            let mut given = Given(settings(file)?);
            given.put("id", id.as_deref());
            KIND.create(desk, with_flags(given, flags)?)
        }
        Accounts::Set { id, flags, settings: file, sure } => {
            let given = with_flags(Given(settings(file)?), flags)?;
            if let Some(Value::String(until)) = given.get("expires_at") {
                let so = "All its recordings go 28 days after that.";
                confirm(&format!("Let account {id} expire at {until}? {so}"), *sure)?;
            }
            KIND.set(desk, id, given)
        }
        Accounts::Delete { id, sure } => KIND.delete(desk, id, *sure, ""),
    }
}

fn with_flags(mut given: Given, flags: &AccountFlags) -> anyhow::Result<Map<String, Value>> {
    given.put("name", flags.name.as_deref());
    given.put("plan", flags.plan.as_deref());
    given.put("expires_at", flags.expires_at.as_deref().map(instant_or_never).transpose()?);
    Ok(given.0)
}

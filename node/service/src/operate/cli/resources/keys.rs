//! Keys that open the API.

use serde_json::{Map, Value};

use super::super::arguments::Keys;
use super::super::input::confirm;
use super::super::output::{note, print, print_json};
use super::super::table::Column;
use super::super::words::words;
use super::{Desk, Given, Kind};

pub(super) const KIND: Kind = Kind {
    many: "keys",
    one: "key",
    id: "id",
    columns: &[
        Column::whole("KEY", "/id"),
        Column::cut("NAME", "/name"),
        Column::whole("SCOPE", "/scope"),
        Column::cut("ENVIRONMENTS", "/env_ids"),
        Column::whole("MADE", "/created_at"),
        Column::whole("FROM", "/origin"),
    ],
    first: &["name", "scope", "env_ids", "origin", "created_at"],
};

pub(in super::super) fn act(desk: &Desk, act: &Keys) -> anyhow::Result<()> {
    match act {
        Keys::List => KIND.list(desk, &KIND.all()?, usize::MAX),
        Keys::Show { id } => KIND.show(desk, id),
        Keys::Create { name, scope, envs } => {
            let mut given = Given(Map::new());
            given.put("name", Some(name.as_str()));
            given.put("scope", Some(scope.as_str()));
            given.put_list("env_ids", envs);
            let made = desk.client.post(&KIND.all()?, &Value::Object(given.0))?;
            if desk.json {
                return print_json(&made);
            }
            // The key alone goes to standard output, so that it can go straight into a file.
            note(&KIND.words(&without(&made, "key")))?;
            note(
                "The key follows. It is not shown again: keep it where only its user reads it.\n",
            )?;
            print(&format!("{}\n", words(&made, "/key").unwrap_or_default()))
        }
        Keys::Revoke { id, sure } => {
            confirm(&format!("Revoke key {id}? Whoever uses it is locked out at once."), *sure)?;
            KIND.done(desk, &desk.client.delete(&KIND.target(id)?)?, "revoked")
        }
    }
}

/// A thing without one of its members.
pub(super) fn without(thing: &Value, name: &str) -> Value {
    let mut thing = thing.clone();
    if let Some(members) = thing.as_object_mut() {
        members.remove(name);
    }
    thing
}

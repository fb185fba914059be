//! Environments: customers' settings.

use serde_json::{Map, Value};

use super::super::arguments::{EnvironmentFlags, Environments};
use super::super::input::{object, png, settings};
use super::super::table::Column;
use super::{Desk, Given, Kind};

pub(super) const KIND: Kind = Kind {
    many: "environments",
    one: "environment",
    id: "id",
    columns: &[
        Column::whole("ENVIRONMENT", "/id"),
        Column::cut("ACCOUNT", "/account"),
        Column::cut("DESTINATIONS", "/destinations"),
        Column::whole("STORE NOTHING", "/store_nothing"),
        Column::whole("DAYS", "/lifecycle_days"),
        Column::whole("FROM", "/origin"),
    ],
    first: &[
        "origin",
        "account",
        "region",
        "hash",
        "mp4",
        "snapshot",
        "filmstrip",
        "push_raw",
        "destinations",
        "folder",
        "store_nothing",
        "success",
        "lifecycle_days",
    ],
};

pub(in super::super) fn act(desk: &Desk, act: &Environments) -> anyhow::Result<()> {
    match act {
        Environments::List => KIND.list(desk, &KIND.all()?, usize::MAX),
        Environments::Show { id } => KIND.show(desk, id),
        Environments::Create { id, flags, settings: file } => {
            let mut given = Given(settings(file)?);
            given.put("id", id.as_deref());
            KIND.create(desk, with_flags(given, flags)?)
        }
        Environments::Set { id, flags, settings: file } => {
            KIND.set(desk, id, with_flags(Given(settings(file)?), flags)?)
        }
        Environments::Delete { id, sure } => {
            KIND.delete(desk, id, *sure, "Its recordings stay, but no new ones are taken in.")
        }
    }
}

fn with_flags(mut given: Given, flags: &EnvironmentFlags) -> anyhow::Result<Map<String, Value>> {
    given.put("hash", flags.hash.as_deref());
    given.put("account", flags.account.as_deref());
    given.put("region", flags.region.as_deref());
    given.put("mp4", flags.mp4);
    given.put("snapshot", flags.snapshot);
    given.put("filmstrip", flags.filmstrip);
    given.put("push_raw", flags.push_raw);
    given.put_list("destinations", &flags.destinations);
    given.put("folder", flags.folder.as_deref());
    given.put("store_nothing", flags.store_nothing);
    given.put("success", flags.success.as_deref());
    given.put("lifecycle_days", flags.lifecycle_days.map(|days| Value::from(days.0)));
    if !flags.personal_data.is_empty() {
        let mut switches = taken(&mut given, "personal_data");
        let named = flags.personal_data.iter();
        switches.extend(named.map(|switch| (switch.name.clone(), switch.stored.into())));
        given.put("personal_data", Some(switches));
    }
    if flags.transcoding.is_some() || flags.watermark.is_some() {
        let mut wanted = taken(&mut given, "transcoding");
        if let Some(path) = &flags.transcoding {
            wanted.extend(object(path)?);
        }
        if let Some(path) = &flags.watermark {
            let mut mark = match wanted.remove("watermark") {
                Some(Value::Object(mark)) => mark,
                _ => Map::new(),
            };
            mark.insert("image".into(), png(path)?.into());
            wanted.insert("watermark".into(), mark.into());
        }
        given.put("transcoding", Some(wanted));
    }
    Ok(given.0)
}

/// A member that is an object, to be added to.
fn taken(given: &mut Given, member: &str) -> Map<String, Value> {
    match given.0.remove(member) {
        Some(Value::Object(there)) => there,
        _ => Map::new(),
    }
}

//! Destinations: where recordings are pushed to.

use anyhow::bail;
use serde_json::{Map, Value, json};

use super::super::arguments::{DestinationFlags, Destinations};
use super::super::input::{ask_secret, secret, settings};
use super::super::output::{print, print_json};
use super::super::pushes;
use super::super::table::Column;
use super::super::words::Plain;
use super::{Desk, Given, Kind};

pub(super) const KIND: Kind = Kind {
    many: "destinations",
    one: "destination",
    id: "name",
    columns: &[
        Column::whole("DESTINATION", "/name"),
        Column::whole("KIND", "/kind"),
        Column::cut("BUCKET", "/bucket"),
        Column::cut("ENDPOINT", "/endpoint"),
        Column::cut("HOST", "/host"),
        Column::cut("PATH", "/path"),
        Column::whole("WELL", "/health/open"),
        Column::whole("FROM", "/origin"),
    ],
    first: &[
        "kind",
        "origin",
        "host",
        "port",
        "user",
        "path",
        "directory",
        "app_key",
        "endpoint",
        "region",
        "bucket",
        "preset",
        "prefix",
    ],
};

pub(in super::super) fn act(desk: &Desk, act: &Destinations) -> anyhow::Result<()> {
    match act {
        Destinations::List => KIND.list(desk, &KIND.all()?, usize::MAX),
        Destinations::Show { name } => KIND.show(desk, name),
        Destinations::Create { name, flags, settings: file } => {
            let mut given = Given(settings(file)?);
            given.put("name", name.as_deref());
            let mut given = Given(with_flags(given, flags)?);
            match given.0.get("kind").and_then(Value::as_str) {
                Some("s3") => {
                    ask(&mut given, "access_key", "Access key's id")?;
                    ask(&mut given, "secret_key", "Secret access key")?;
                }
                Some("ftps" | "ftp") => ask(&mut given, "password", "Password")?,
                Some("sftp") if !given.0.contains_key("private_key") => {
                    ask(&mut given, "password", "Password")?;
                }
                Some("dropbox") => ask(&mut given, "refresh_token", "Refresh token")?,
                _ => {}
            }
            KIND.create(desk, given.0)
        }
        Destinations::Set { name, flags, settings: file } => {
            KIND.set(desk, name, with_flags(Given(settings(file)?), flags)?)
        }
        Destinations::Test { name } => test(desk, name),
        Destinations::Delete { name, sure } => {
            KIND.delete(desk, name, *sure, "What was pushed there stays there.")
        }
    }
}

/// Says how each step went; where one failed, the command fails.
fn test(desk: &Desk, name: &str) -> anyhow::Result<()> {
    let done = desk.client.post(&KIND.below(name, "test")?, &json!({}))?;
    if desk.json {
        print_json(&done)?;
    } else {
        print(&pushes::check(&done))?;
    }
    match done["ok"].as_bool() {
        Some(true) => Ok(()),
        _ => bail!("destination {} does not work as it is", Plain(name)),
    }
}

/// Asks for a secret that was not given.
fn ask(given: &mut Given, name: &str, what: &str) -> anyhow::Result<()> {
    if !given.0.contains_key(name) {
        given.put(name, ask_secret(what)?);
    }
    Ok(())
}

/// What only kind `s3` has.
fn put_s3(given: &mut Given, flags: &DestinationFlags) {
    given.put("preset", flags.preset.as_deref());
    given.put("storage_class", flags.storage_class.as_deref());
    given.put("storage_classes", object(&flags.storage_class_of));
    given.put("sse", flags.sse.as_deref());
    given.put("sse", flags.kms_key.as_deref().map(|key| json!({ "kms_key": key })));
    given.put("acl", flags.acl.as_deref());
    given.put("tags", object(&flags.tag));
    given.put("checksum", flags.checksum.as_deref());
    given.put("part_bytes", flags.part_bytes);
    given.put("parts_at_once", flags.parts_at_once);
}

fn object(pairs: &[(String, String)]) -> Option<Value> {
    let members = pairs.iter().map(|(name, value)| (name.clone(), value.as_str().into()));
    (!pairs.is_empty()).then(|| Value::Object(members.collect()))
}

fn with_flags(mut given: Given, flags: &DestinationFlags) -> anyhow::Result<Map<String, Value>> {
    given.put("kind", flags.kind.as_deref());
    given.put("path", flags.path.as_deref());
    given.put("mount_point", flags.mount_point.as_deref());
    given.put("endpoint", flags.endpoint.as_deref());
    given.put("region", flags.region.as_deref());
    given.put("bucket", flags.bucket.as_deref());
    given.put("prefix", flags.prefix.as_deref());
    given.put("path_style", flags.path_style);
    put_s3(&mut given, flags);
    given.put("host", flags.host.as_deref());
    given.put("port", flags.port);
    given.put("user", flags.user.as_deref());
    given.put("directory", flags.directory.as_deref());
    given.put("existing", flags.existing.as_deref());
    let mut limits = Given(Map::new());
    limits.put("files_max", flags.files_max);
    limits.put_list("bandwidth", &flags.bandwidth);
    if !limits.0.is_empty() {
        given.put("limits", Some(limits.0));
    }
    given.put("host_key", flags.host_key.as_deref());
    given.put("verify", flags.verify.as_deref());
    given.put("file_mode", flags.file_mode.as_deref());
    given.put("folder_mode", flags.folder_mode.as_deref());
    given.put("app_key", flags.app_key.as_deref());
    given.put("mute", flags.mute);
    given.put("path_root", flags.path_root.as_deref());
    for (name, from) in [
        ("access_key", &flags.access_key_from),
        ("secret_key", &flags.secret_key_from),
        ("password", &flags.password_from),
        ("private_key", &flags.private_key_from),
        ("passphrase", &flags.passphrase_from),
        ("app_secret", &flags.app_secret_from),
        ("refresh_token", &flags.refresh_token_from),
    ] {
        given.put(name, from.as_deref().map(secret).transpose()?);
    }
    Ok(given.0)
}

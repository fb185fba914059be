//! Recordings.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_json::{Value, json};

use super::super::arguments::{ListFilter, Recordings, Sure};
use super::super::client::{Coming, Target};
use super::super::input::confirm;
use super::super::output::{NewFile, note, print, print_json, stdout_bytes};
use super::super::table::Column;
use super::super::words::{Bytes, Plain, instant, words};
use super::super::{pushes, show};
use super::{Desk, Kind};
use crate::digest::Sha256;

pub(super) const KIND: Kind = Kind {
    many: "recordings",
    one: "recording",
    id: "id",
    columns: &[
        Column::whole("RECORDING", "/id"),
        Column::whole("STATE", "/state"),
        Column::whole("RECEIVED", "/received_at"),
        Column::bytes("SIZE", "/bytes"),
        Column::cut("ENVIRONMENT", "/env_id"),
    ],
    first: &[],
};

pub(in super::super) fn act(desk: &Desk, act: &Recordings) -> anyhow::Result<()> {
    match act {
        Recordings::List { filter, limit } => list(desk, filter, usize::try_from(*limit)?),
        Recordings::Show { id } => {
            let recording = desk.client.get(&KIND.target(id)?)?;
            if desk.json { print_json(&recording) } else { print(&show::recording(&recording)) }
        }
        Recordings::Explain { id } => {
            let outlook = desk.client.get(&KIND.below(id, "explain")?)?;
            if desk.json { print_json(&outlook) } else { print(&show::outlook(id, &outlook)) }
        }
        Recordings::Attempts { id } => {
            let tried = desk.client.get(&KIND.below(id, "attempts")?)?;
            if desk.json { print_json(&tried) } else { print(&pushes::attempts(&tried)) }
        }
        Recordings::Delete { id, sure } => delete(desk, id, *sure),
        Recordings::Hold { id, reason } => {
            let now = desk.client.put(&KIND.below(id, "hold")?, &json!({ "reason": reason }))?;
            KIND.done(desk, &now, "held: nothing deletes it until the hold is lifted")
        }
        Recordings::Lift { id, sure } => {
            let question =
                format!("Lift the legal hold from {id}? What it has put off is deleted then.");
            confirm(&question, *sure)?;
            KIND.done(desk, &desk.client.delete(&KIND.below(id, "hold")?)?, "lifted")
        }
        Recordings::Retry { id } => {
            let now = desk.client.post(&KIND.below(id, "retry")?, &json!({}))?;
            KIND.done(desk, &now, "trying now")
        }
        Recordings::Push { id } => {
            let now = desk.client.post(&KIND.below(id, "push")?, &json!({}))?;
            KIND.done(desk, &now, "pushing now")
        }
        Recordings::Get { id, kind, to } => get(desk, id, kind, to.as_deref()),
    }
}

fn list(desk: &Desk, filter: &ListFilter, limit: usize) -> anyhow::Result<()> {
    let from = filter.from.as_deref().map(super::instant).transpose()?;
    let to = filter.to.as_deref().map(super::instant).transpose()?;
    let target = KIND
        .all()?
        .query("state", filter.state.as_deref())
        .query("env_id", filter.env.as_deref())
        .query("account_id", filter.account.as_deref())
        .query("from", from.as_deref())
        .query("to", to.as_deref());
    KIND.list(desk, &target, limit)
}

fn delete(desk: &Desk, id: &str, sure: Sure) -> anyhow::Result<()> {
    if !sure.yes {
        let recording = desk.client.get(&KIND.target(id)?)?;
        confirm(&question(&recording), sure)?;
    }
    let deleted = desk.client.delete(&KIND.target(id)?)?;
    let already = words(&deleted, "/outcome") == Some("already_gone");
    KIND.done(desk, &deleted, if already { "already gone" } else { "deleted" })
}

/// What to ask before a recording is deleted.
fn question(rec: &Value) -> String {
    let word = |place| Plain(words(rec, place).unwrap_or("?"));
    let (id, env, state) = (word("/id"), word("/env_id"), word("/state"));
    let received = rec.get("received_at").and_then(instant).unwrap_or_default();
    let size = Bytes(rec.get("bytes").and_then(Value::as_u64).unwrap_or(0));
    format!("Delete recording {id} of {env} ({state}, received {received}, {size}) for good?")
}

/// Fetches a file; what was fetched is what the node said it is, or the command fails.
fn get(desk: &Desk, id: &str, kind: &str, to: Option<&Path>) -> anyhow::Result<()> {
    let recording = desk.client.get(&KIND.target(id)?)?;
    let files = recording.get("files").and_then(Value::as_array);
    let find = |kind: &str| {
        files.and_then(|all| all.iter().find(|file| words(file, "/kind") == Some(kind)))
    };
    // Where no .mp4 is made, the main file is the raw file.
    let file = find(kind).or_else(|| (kind == "main").then(|| find("raw")).flatten());
    let sha256 = file.and_then(|file| words(file, "/sha256"));
    let coming = desk.client.open(&Target::new(["recordings", id, "files", kind])?)?;
    if to == Some(Path::new("-")) {
        return stdout_bytes(|stdout| receive(coming, sha256, stdout).map(drop));
    }
    let path = to.map_or_else(|| file_name(coming.file_name(), id, kind), Path::to_owned);
    let mut new = NewFile::create(&path)?;
    let bytes = receive(coming, sha256, &mut new)?;
    new.keep()?;
    let checked = if sha256.is_some() { ", its digest is right" } else { "" };
    note(&format!("{}: {}{checked}\n", Plain(path.display()), Bytes(bytes)))
}

fn receive(coming: Coming<'_>, sha256: Option<&str>, to: &mut impl Write) -> anyhow::Result<u64> {
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    coming.read(|piece| {
        digest.update(piece);
        bytes += piece.len() as u64;
        to.write_all(piece)
    })?;
    let (got, wanted) = (digest.finish(), sha256.unwrap_or_default());
    if sha256.is_some() && got != wanted {
        bail!(
            "what came has the digest {got} instead of {wanted}; nothing was kept, fetch it again"
        );
    }
    Ok(bytes)
}

/// What the node calls the file, which is its name at destinations; in this folder.
fn file_name(given: Option<&str>, id: &str, kind: &str) -> PathBuf {
    // Names that people choose don't decide about folders.
    let is_tame =
        |name: &&str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
    given.filter(is_tame).map_or_else(|| format!("{id}_{kind}").into(), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_this_folder() {
        let called = |given| file_name(given, "one", "raw");
        assert_eq!(called(Some("talk_raw.ts")), Path::new("talk_raw.ts"));
        for wild in [None, Some(""), Some(".profile"), Some(".."), Some("a/b"), Some("/etc/passwd")]
        {
            assert_eq!(called(wild), Path::new("one_raw"), "{wild:?}");
        }
    }
}

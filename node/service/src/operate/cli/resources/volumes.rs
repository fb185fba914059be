//! Volumes: how they are, opening them; and the evidence of how recordings are kept.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::super::arguments::{Evidence, Volumes};
use super::super::client::Target;
use super::super::failure::Failure;
use super::super::headers;
use super::super::input::{ask_secret, read};
use super::super::output::terminal_width;
use super::super::output::{print, print_json};
use super::super::table::{Column, table};
use super::super::words::{Lines, shown, words};
use super::Desk;
use crate::audit::PublicKey;
use crate::operate::evidence;

/// Largest file of evidence, of keys, and largest recovery key, in bytes.
const EVIDENCE_BYTES_MAX: u64 = 4 << 20;
const KEY_BYTES_MAX: u64 = 64 << 10;

pub(super) const COLUMNS: &[Column] = &[
    Column::whole("VOLUME", "/name"),
    Column::whole("STATE", "/state"),
    Column::cut("ENCRYPTION", "/encryption"),
    Column::whole("FREE BYTES", "/free_bytes"),
    Column::cut("PATH", "/path"),
];

pub(in super::super) fn act(desk: &Desk, act: &Volumes) -> anyhow::Result<()> {
    match act {
        Volumes::List => list(desk),
        Volumes::Open { name } => {
            desk.client.post(&Target::new(["volumes", name, "open"])?, &json!({}))?;
            done(desk, name)
        }
        Volumes::Recover { name } => {
            let key = match ask_secret("Recovery key")? {
                Some(key) => key,
                None if std::io::stdin().is_terminal() => bail!(Failure::called_wrongly("no key")),
                None => String::from_utf8(read(Path::new("-"), KEY_BYTES_MAX)?)
                    .map_err(|_| Failure::called_wrongly("the recovery key is no text"))?,
            };
            let body = json!({ "key": key.trim() });
            desk.client.post(&Target::new(["volumes", name, "recover"])?, &body)?;
            done(desk, name)
        }
        Volumes::EndEpoch => {
            let erasure = desk.client.post(&Target::new(["erasure", "end-epoch"])?, &json!({}))?;
            if desk.json {
                return print_json(&erasure);
            }
            let (began, destroyed) = (shown(&erasure["epoch_began_at"]), &erasure["destroyed"]);
            print(&format!(
                "a new epoch began at {began}; all up to the {destroyed}th are destroyed\n"
            ))
        }
    }
}

fn done(desk: &Desk, name: &str) -> anyhow::Result<()> {
    if desk.json {
        return print_json(&json!({ "volume": name, "state": "open" }));
    }
    print(&format!("{name} is open\n"))
}

fn list(desk: &Desk) -> anyhow::Result<()> {
    let answer: Value = desk.client.get(&Target::new(["volumes"])?)?;
    if desk.json {
        return print_json(&answer);
    }
    let all = |name: &str| answer[name].as_array().cloned().unwrap_or_default();
    let volumes = all("volumes");
    let mut text = table(COLUMNS, &volumes, terminal_width());
    let mut lines = Lines::default();
    for volume in volumes.iter().filter(|volume| volume["why"].is_string()) {
        lines.line(&format!("{}:", shown(&volume["name"])), shown(&volume["why"]));
    }
    headers::lines(&mut lines, &all("luks"));
    for missing in all("missing") {
        let (name, at) = (shown(&missing["name"]), shown(&missing["seen_at"]));
        lines.line("not here:", format!("{name} ({}), last seen at {at}", shown(&missing["id"])));
    }
    if let Some(problem) = words(&answer, "/luks_problem") {
        lines.line("headers:", problem);
    }
    text.push_str(&lines.0);
    print(&text)
}

/// Prints a node's evidence as it is: a file for an auditor.
pub(in super::super) fn evidence(desk: &Desk) -> anyhow::Result<()> {
    print_json(&desk.client.get(&Target::new(["evidence"])?)?)
}

/// Checks a file of evidence; needs no node.
pub(in super::super) fn check(file: &Path, asked: &Evidence) -> anyhow::Result<()> {
    let text = |path: &Path, bytes_max| -> anyhow::Result<String> {
        String::from_utf8(read(path, bytes_max)?)
            .map_err(|_| Failure::called_wrongly(format!("{}: no text", path.display())).into())
    };
    let keys = match &asked.key {
        None => Vec::new(),
        Some(path) => PublicKey::all_of(&text(path, KEY_BYTES_MAX)?)
            .map_err(|problem| Failure::called_wrongly(format!("{}: {problem}", path.display())))?,
    };
    let evidence = text(file, EVIDENCE_BYTES_MAX)?;
    let by = evidence::check(&evidence, &keys)
        .map_err(|why| anyhow::anyhow!("{}: {why}", file.display()))?;
    let evidence: Value = serde_json::from_str(&evidence).context("no JSON")?;
    if asked.ask.json {
        return print_json(&json!({ "key": by, "promises": evidence["promises"] }));
    }
    let mut lines = Lines("ok\n".into());
    lines.line("of", format!("{}, {}", shown(&evidence["node"]), shown(&evidence["made_at"])));
    lines.line("signed with", by);
    for promise in evidence["promises"].as_array().into_iter().flatten() {
        let holds = match promise["holds"].as_bool() {
            Some(true) => "kept",
            Some(false) => "NOT KEPT",
            None => "NOT KNOWN",
        };
        lines.line(&shown(&promise["name"]), format!("{holds}: {}", shown(&promise["found"])));
    }
    if keys.is_empty() {
        lines.0.push_str(
            "No key was given, so the one that it names was believed: nothing was damaged by accident.\n",
        );
    }
    print(&lines.0)
}

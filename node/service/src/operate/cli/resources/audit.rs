//! The audit log: exported from the node, verified anywhere.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use anyhow::{Context, bail};

use super::super::arguments::Audit;
use super::super::client::Target;
use super::super::failure::Failure;
use super::super::input::read;
use super::super::output::{NewFile, print, print_json, stdout_bytes};
use super::super::words::{Lines, words};
use super::{Desk, instant};
use crate::audit::PublicKey;
use crate::audit::verify::{self as checking, Report, With};

/// Largest file of public keys, in bytes.
const KEY_BYTES_MAX: u64 = 64 << 10;
/// Faults that people are shown.
const FAULTS_SHOWN_MAX: usize = 20;

pub(in super::super) fn export(
    desk: &Desk,
    from: Option<&str>,
    to: Option<&str>,
    out: Option<&Path>,
) -> anyhow::Result<()> {
    let from = from.map(instant).transpose()?;
    let to = to.map(instant).transpose()?;
    let target = Target::new(["audit"])?.query("from", from.as_deref()).query("to", to.as_deref());
    let Some(path) = out else {
        return stdout_bytes(|stdout| desk.client.copy(&target, stdout));
    };
    let mut file = NewFile::create(path)?;
    desk.client.copy(&target, &mut file)?;
    file.keep()
}

pub(in super::super) fn key(desk: &Desk) -> anyhow::Result<()> {
    let key = desk.client.get(&Target::new(["audit", "key"])?)?;
    match words(&key, "/public_key_pem").or_else(|| words(&key, "/public_key")) {
        Some(text) if !desk.json => print(&format!("{}\n", text.trim_end())),
        _ => print_json(&key),
    }
}

pub(in super::super) fn act(desk: &Desk, act: &Audit) -> anyhow::Result<()> {
    match act {
        Audit::Export { from, to, out } => {
            export(desk, from.as_deref(), to.as_deref(), out.as_deref())
        }
        Audit::Key => key(desk),
        Audit::Verify { .. } => anyhow::bail!("verifying needs no node"),
    }
}

/// Checks an export; needs no node.
pub(in super::super) fn verify(
    export: &Path,
    key: Option<&Path>,
    known: Option<&str>,
    json: bool,
) -> anyhow::Result<()> {
    let mut with = With { keys: Vec::new(), known: known.map(|text| text.trim().to_lowercase()) };
    if let Some(path) = key {
        let text = String::from_utf8_lossy(&read(path, KEY_BYTES_MAX)?).into_owned();
        with.keys = PublicKey::all_of(&text)
            .map_err(|problem| Failure::called_wrongly(format!("{}: {problem}", path.display())))?;
    }
    if with.known.as_deref().is_some_and(|known| !checking::is_digest(known)) {
        bail!(Failure::called_wrongly("--known: give the 64 hex digits of an entry's digest"));
    }
    let report = match export.to_str() {
        Some("-") => checking::verify(io::stdin().lock(), with),
        _ => File::open(export).and_then(|file| checking::verify(BufReader::new(file), with)),
    };
    let report = report.with_context(|| format!("cannot check {}", export.display()))?;
    if json {
        print_json(&report)?;
    } else {
        print(&said(&report))?;
    }
    if !report.is_sound {
        bail!("{}: this is not what the node wrote", export.display());
    }
    Ok(())
}

fn said(report: &Report) -> String {
    if report.is_sound { sound(report) } else { unsound(report) }
}

fn sound(report: &Report) -> String {
    let mut lines = Lines("ok\n".into());
    let (Some(first), Some(last)) = (report.first, report.last) else {
        lines.line("entries", "none in this stretch of time");
        return lines.0;
    };
    let which = match (first.seq, Some(last.seq) == report.newest) {
        (1, true) => "the whole log up to the export".into(),
        (1, false) => format!("the log's beginning, up to entry {}", last.seq),
        (_, true) => format!("a part without gaps, from entry {} up to the export", first.seq),
        _ => format!("a part without gaps, entries {} to {}", first.seq, last.seq),
    };
    lines.line("entries", format!("{} ({which})", report.entries));
    lines.line("first", format!("{}, entry {}", first.at, first.seq));
    lines.line("last", format!("{}, entry {}", last.at, last.seq));
    lines.line("last digest", crate::digest::hex(&last.hash));
    lines.line("signed with", report.keys.join(", "));
    if let Some(keys) = report.erased_keys {
        let until = keys.destroyed.map_or_else(String::new, |destroyed| {
            format!(
                "; the newest end of an epoch is that of {}, at {}",
                destroyed.epoch, destroyed.at
            )
        });
        lines.line(
            "erased keys",
            format!(
                "{} receipts, {} of keys that ceased to exist{until}",
                keys.receipts, keys.ceased
            ),
        );
    }
    if report.key_was_believed {
        lines.0.push_str(
            "No key was given, so the export's own was believed: nothing was damaged by accident.\n",
        );
    }
    lines.0
}

fn unsound(report: &Report) -> String {
    let shown = report.faults.iter().take(FAULTS_SHOWN_MAX);
    let mut text: String = shown.map(|fault| format!("{}\n", fault.sentence)).collect();
    let more = report.faults.len().saturating_sub(FAULTS_SHOWN_MAX);
    if more > 0 {
        text.push_str(&format!("{more} more things are wrong; --json names them\n"));
    }
    if report.gave_up {
        text.push_str("So much is wrong that the rest was not looked at\n");
    }
    text
}

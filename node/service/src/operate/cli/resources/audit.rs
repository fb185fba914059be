//! The audit log: exported from the node, verified anywhere.

use std::path::Path;

use super::super::arguments::Audit;
use super::super::client::Target;
use super::super::output::{NewFile, print, print_json, stdout_bytes};
use super::super::words::words;
use super::{Desk, instant};

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

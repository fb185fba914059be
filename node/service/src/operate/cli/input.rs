//! What the command line is given beside its arguments: answers to questions, settings, secrets.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use serde_json::{Map, Value};

use super::arguments::{Settings, Sure};
use super::failure::Failure;
use crate::config::watermark;

/// Largest file of settings, in bytes.
const SETTINGS_BYTES_MAX: u64 = 1 << 20;
/// Largest picture, in bytes: a request to the API has at most 64 KiB.
const PNG_BYTES_MAX: u64 = 32 << 10;
/// Largest secret, in bytes.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// Asks whoever sits at the terminal, unless they said that they are sure. Without a terminal, the
/// command was called wrongly.
pub(super) fn confirm(question: &str, sure: Sure) -> anyhow::Result<()> {
    if sure.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        bail!(Failure::called_wrongly(
            "this asks first, and there is nobody to ask: add --yes where you are sure"
        ));
    }
    let answer = prompt(&format!("{question} [y/N] "))?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("nothing was changed");
    }
    Ok(())
}

/// The settings that a file holds; none where none is named.
pub(super) fn settings(from: &Settings) -> anyhow::Result<Map<String, Value>> {
    from.settings.as_deref().map_or_else(|| Ok(Map::new()), object)
}

/// The JSON object that a file holds.
pub(super) fn object(path: &Path) -> anyhow::Result<Map<String, Value>> {
    let text = read(path, SETTINGS_BYTES_MAX)?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(settings)) => Ok(settings),
        Ok(_) => bail!("{}: this is JSON, but no object of settings", path.display()),
        Err(error) => bail!("{}: no JSON: {error}", path.display()),
    }
}

/// The picture in a file, as a setting can hold it.
pub(super) fn png(path: &Path) -> anyhow::Result<String> {
    let bytes = read(path, PNG_BYTES_MAX)?;
    let setting = format!("data:image/png;base64,{}", BASE64_STANDARD.encode(bytes));
    if let Err(what) = watermark::read(&setting) {
        bail!("{}: {what}", path.display());
    }
    Ok(setting)
}

/// The secret in a file, without the end of its line.
pub(super) fn secret(path: &Path) -> anyhow::Result<String> {
    let text = String::from_utf8(read(path, SECRET_BYTES_MAX)?);
    let text = text.map_err(|_| anyhow::anyhow!("{}: no text", path.display()))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        bail!("{}: there is nothing in it", path.display());
    }
    Ok(text.into())
}

/// Asks for a secret at the terminal, unseen; nothing where there is no terminal.
pub(super) fn ask_secret(what: &str) -> anyhow::Result<Option<String>> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    let _unseen = Unseen::new();
    let answer = prompt(&format!("{what}: "))?;
    eprintln!();
    let answer = answer.trim_end_matches(['\r', '\n']);
    Ok((!answer.is_empty()).then(|| answer.into()))
}

fn prompt(question: &str) -> anyhow::Result<String> {
    let mut stderr = io::stderr();
    write!(stderr, "{question}")?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().lock().take(SECRET_BYTES_MAX).read_line(&mut answer)?;
    Ok(answer)
}

/// A file or, for `-`, standard input.
pub(super) fn read(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = match path.to_str() {
        Some("-") => io::stdin().lock().take(bytes_max + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(path)
            .and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes)),
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() as u64 > bytes_max {
        bail!("{}: larger than {bytes_max} bytes", path.display());
    }
    Ok(bytes)
}

/// While it lives, the terminal does not show what is typed.
struct Unseen(Option<Termios>);

impl Unseen {
    fn new() -> Self {
        let Ok(seen) = tcgetattr(io::stdin()) else { return Self(None) };
        let mut unseen = seen.clone();
        unseen.local_flags.remove(LocalFlags::ECHO);
        match tcsetattr(io::stdin(), SetArg::TCSADRAIN, &unseen) {
            Ok(()) => Self(Some(seen)),
            Err(_) => Self(None),
        }
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if let Some(seen) = &self.0 {
            // A terminal that is gone has nothing to be put back.
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, seen);
        }
    }
}

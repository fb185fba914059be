//! Other people's programs: `blkid`, `mkfs.ext4` and their like, by fixed paths, with an empty
//! environment. None of them is ever given a key; one gives a key, into a pipe ([`secret`]).

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::error::Error;
use crate::keys::{KeyFile, Secret};

/// Most that is shown of what a program complained of, in characters.
const COMPLAINT_CHARS_MAX: usize = 600;

/// Runs a program of `/usr/sbin`, or one that is named by its whole path, to its end.
///
/// # Errors
/// If it cannot be started.
pub fn output<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<Output, Error> {
    command(&Path::new("/usr/sbin").join(program), arguments)
        .output()
        .map_err(|e| Error::failed(format!("starting {program}"), e))
}

fn command<A: AsRef<OsStr>>(path: &Path, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    // The TPM's libraries would tell stderr of each refusal.
    command.env("LC_ALL", "C").env("TSS2_LOG", "all+NONE").stdin(Stdio::null());
    command
}

/// Runs a program whose output is a key: it comes through a pipe, and no buffer keeps a copy.
///
/// # Errors
/// What it ended with, if it failed; else, if it cannot be started or gave no key, why, in words.
pub fn secret<A: AsRef<OsStr>>(
    path: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<Secret, Result<Output, String>> {
    let mut child = command(path.as_ref(), arguments);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|e| Err(format!("starting {path}: {e}")))?;
    let key = match child.stdout.take() {
        Some(mut pipe) => Secret::read_from(&mut pipe),
        None => Err("no pipe".to_owned()),
    };
    let output = child.wait_with_output().map_err(|e| Err(format!("running {path}: {e}")))?;
    if output.status.success() { key.map_err(Err) } else { Err(Ok(output)) }
}

/// Where a program that [`keyed`] runs finds the key.
pub const KEY_FILE: &str = "/proc/self/fd/0";

/// Runs a program that reads a key from [`KEY_FILE`] and has to succeed. It is a file, since
/// `systemd-cryptenroll` seeks in it, of memory that is locked like all of this process's and is zeroed after.
///
/// # Errors
/// If it cannot be started or fails, in words.
pub fn keyed<A: AsRef<OsStr>>(
    path: &str,
    arguments: impl IntoIterator<Item = A>,
    key: &Secret,
) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("running {path}: {e}");
    let file = KeyFile::new(key).map_err(failed)?;
    let output = command(path.as_ref(), arguments).stdin(file.opened().map_err(failed)?).output();
    drop(file);
    let output = output.map_err(failed)?;
    if output.status.success() { Ok(()) } else { Err(format!("{path}: {}", complaint(&output))) }
}

/// Runs a program as [`output`] does, which has to succeed, and returns what it printed.
///
/// # Errors
/// If it cannot be started or fails, with what it complained of.
pub fn run<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<String, Error> {
    let output = output(program, arguments)?;
    if !output.status.success() {
        return Err(Error::failed(format!("running {program}"), complaint(&output)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What a program complained of, for people.
#[must_use]
pub fn complaint(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(COMPLAINT_CHARS_MAX).collect();
    format!("{}: {said}", output.status)
}

//! Other people's programs: `blkid`, `mkfs.ext4` and their like, by fixed paths, with an empty
//! environment. None of them is ever given a key; one gives a key, into a pipe ([`secret`]).

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use crate::error::Error;
use crate::keys::Secret;

/// Most that is shown of what a program complained of, in characters.
const COMPLAINT_CHARS_MAX: usize = 600;

/// Runs a program of `/usr/sbin` to its end.
///
/// # Errors
/// If it cannot be started.
pub fn output<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<Output, Error> {
    command(&format!("/usr/sbin/{program}"), arguments)
        .output()
        .map_err(|e| Error::failed(format!("starting {program}"), e))
}

fn command<A: AsRef<OsStr>>(path: &str, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(path);
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Runs a program of `/usr/bin` whose output is a key: it comes through a pipe, and no buffer keeps a
/// copy.
///
/// # Errors
/// If it cannot be started or fails, or what it gave is no key, in words.
pub fn secret<A: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<Secret, String> {
    let mut child = command(&format!("/usr/bin/{program}"), arguments);
    let child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|e| format!("starting {program}: {e}"))?;
    let key = match child.stdout.take() {
        Some(mut pipe) => Secret::read_from(&mut pipe),
        None => Err("no pipe".to_owned()),
    };
    let output = child.wait_with_output().map_err(|e| format!("running {program}: {e}"))?;
    if output.status.success() { key } else { Err(format!("{program}: {}", complaint(&output))) }
}

/// Runs a program of `/usr/sbin`, which has to succeed, and returns what it printed.
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

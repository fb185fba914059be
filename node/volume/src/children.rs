//! Other people's programs: `blkid`, `mkfs.ext4` and their like, by fixed paths, with an empty
//! environment. None of them is ever given a key.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use crate::error::Error;

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
    let mut command = Command::new(format!("/usr/sbin/{program}"));
    command.args(arguments).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command.output().map_err(|e| Error::failed(format!("starting {program}"), e))
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

//! Small things: digests, folders, other people's programs.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use aws_lc_rs::digest;

/// The folder with the programs under test: `HOLDFAST_BIN_DIR`, or where this test was built.
///
/// # Panics
/// If the test's own path cannot be told.
#[must_use]
pub fn bin_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("HOLDFAST_BIN_DIR") {
        return dir.into();
    }
    let me = std::env::current_exe().expect("a test knows its own path");
    let here = me.parent().expect("a program lies in a folder");
    if here.ends_with("deps") { here.parent().unwrap_or(here).into() } else { here.into() }
}

/// The folder with what `scripts/test` fetched: `HOLDFAST_TOOLS`, or `target/tools`.
#[must_use]
pub fn tools_dir() -> PathBuf {
    std::env::var_os("HOLDFAST_TOOLS").map_or_else(|| repo().join("target/tools"), PathBuf::from)
}

/// The checkout that this was built from.
///
/// # Panics
/// Never: the crate lies in a folder of the workspace.
#[must_use]
pub fn repo() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// SHA-256 in hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// SHA-256 of a file in hex.
///
/// # Errors
/// If it cannot be read.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut context = digest::Context::new(&digest::SHA256);
    let mut buffer = vec![0; 1 << 18];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hex(context.finish().as_ref()));
        }
        context.update(&buffer[..n]);
    }
}

/// Bytes in hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every regular file under a folder, sorted. What vanishes meanwhile is left out.
///
/// # Errors
/// If a folder cannot be read.
pub fn files_under(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            other => other.with_context(|| folder.display().to_string())?,
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(_) => found.push(entry.path()),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// If it is missing or fails, with what it complained of.
pub fn output(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("running {command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {complaint}", output.status);
    Ok(output.stdout)
}

/// As [`output`], without blocking the other things that a test does.
///
/// # Errors
/// If it is missing or fails, with what it complained of.
pub async fn output_of(mut command: Command) -> Result<Vec<u8>> {
    tokio::task::spawn_blocking(move || output(&mut command)).await?
}

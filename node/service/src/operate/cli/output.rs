//! Where answers go: standard output, standard error, new files.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

/// Prints to stdout. That whoever reads has read enough (`| head`) is no failure.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    stdout_bytes(|stdout| Ok(stdout.write_all(text.as_bytes())?))
}

/// Prints a value as programs read it.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Says something beside the answer.
pub(super) fn note(text: &str) -> anyhow::Result<()> {
    io::stderr().write_all(text.as_bytes()).context("cannot say")
}

/// Writes to stdout as it comes.
pub(super) fn stdout_bytes(
    write: impl FnOnce(&mut io::StdoutLock<'static>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let done = write(&mut stdout).and_then(|()| Ok(stdout.flush()?));
    match done {
        Err(error) if has_read_enough(&error) => Ok(()),
        done => done,
    }
}

fn has_read_enough(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}

/// How wide the terminal is that reads; nothing where something else reads.
pub(super) fn terminal_width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let (terminal_size::Width(width), _) = terminal_size::terminal_size()?;
    Some(usize::from(width).max(1))
}

/// A file that is made new, readable by its owner alone, and goes again unless it is kept.
pub(super) struct NewFile {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl NewFile {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.with_context(|| match path.exists() {
            true => format!("{} is there already; name another file", path.display()),
            false => format!("cannot make {}", path.display()),
        })?;
        Ok(Self { path: path.into(), file, keep: false })
    }

    /// Keeps it, once it is whole.
    pub(super) fn keep(mut self) -> anyhow::Result<()> {
        let synced = self.file.sync_all();
        synced.with_context(|| format!("cannot write {}", self.path.display()))?;
        self.keep = true;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    #[expect(clippy::disallowed_methods, reason = "a copy that broke off, outside the vault")]
    fn drop(&mut self) {
        if !self.keep {
            // A half file that stays is named by the error that this follows.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

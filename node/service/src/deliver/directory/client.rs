//! Copies a file into a directory, on a thread that may block.
//!
//! - It grows as `.{name}.part` in its own folder, is synced, checked, and renamed.
//! - What a push of the same file that was cut short left is gone on with, once its beginning and its
//!   last [`TRUSTED_BYTES`] and more have been read back. It was synced every [`STEP_BYTES`], so what a
//!   power cut took is at most that far from the end; what differs there is copied again. To read all
//!   of it back from a share would take as long as to copy it anew.
//! - A file that has the name already and is the same, byte by byte, counts as pushed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Opened;
use super::copy::{Pair, STEP_BYTES};
use super::error::Error;
use super::folder::{Folder, Found};
use crate::config::Existing;
use crate::deliver::names::{NUMBER_MAX, numbered, temporary};
use crate::deliver::progress::Progress;

/// Of a file's beginning, how much is read back to know it again, in bytes.
const BEGINNING_BYTES: u64 = 64 << 10;

/// Of what a push that was cut short left, how much is read back at its end, in bytes: everything
/// that may not have been synced, and a little that was.
const TRUSTED_BYTES: u64 = 2 * STEP_BYTES + BEGINNING_BYTES;

/// Smallest file that is worth going on with, in bytes.
pub(super) const RESUMED_BYTES_MIN: u64 = STEP_BYTES + 1;

/// Where it all goes.
#[derive(Debug, Clone)]
pub(super) struct Root {
    pub(super) path: PathBuf,
    pub(super) mount_point: Option<PathBuf>,
}

/// What to copy where.
pub(super) struct Job {
    pub(super) source: PathBuf,
    pub(super) bytes: u64,
    pub(super) root: Root,
    /// The folders below the root and, last, the file's name.
    pub(super) parts: Vec<String>,
    pub(super) existing: Existing,
    /// What lies under the temporary name is this file's, as far as it goes.
    pub(super) goes_on: bool,
    pub(super) progress: Progress,
    pub(super) is_stopped: Arc<AtomicBool>,
}

/// Where a file goes.
enum Place {
    /// It is there already.
    There(String),
    /// To this name, which another file may have that is to be replaced.
    At { name: String, replaces: bool },
}

impl Job {
    /// Does it; answers the name below the root. Afterwards the file is there, whole and durably; or
    /// it failed, and what was there under its name before is as it was.
    pub(super) fn run(&self, is_open: Opened) -> Result<String, Error> {
        let source = self.open_source()?;
        let (name, folders) = self.parts.split_last().ok_or(Error::Crashed)?;
        let mut folder = self.root.open()?;
        for part in folders {
            folder = folder.enter(part)?;
        }
        is_open.tell();
        let temporary = temporary(name);
        // Before anything is copied: a name that is taken may mean that nothing is.
        if let Place::There(chosen) = self.place(&source, &folder, name)? {
            folder.remove(&temporary)?;
            return Ok(below(folders, &chosen));
        }
        let (target, start) = self.target(&source, &folder, &temporary)?;
        let path = folder.path.join(&temporary);
        let pair = self.pair(&source, &target, &path);
        let copied = pair.copy(start, self.bytes);
        let result = copied.and_then(|()| self.give_name(&source, &folder, &temporary, &target));
        if let Err(error) = &result
            && !(self.bytes >= RESUMED_BYTES_MIN && error.leaves_part())
        {
            // What is left over takes space and is of no use.
            drop(folder.remove(&temporary));
        }
        result.map(|chosen| below(folders, &chosen))
    }

    /// Gives the copy its name; answers which. Another file may have come there meanwhile.
    fn give_name(
        &self,
        source: &File,
        folder: &Folder,
        temporary: &str,
        target: &File,
    ) -> Result<String, Error> {
        let (name, _) = self.parts.split_last().ok_or(Error::Crashed)?;
        for _ in 0..NUMBER_MAX {
            match self.place(source, folder, name)? {
                Place::There(chosen) => {
                    folder.remove(temporary)?;
                    return Ok(chosen);
                }
                Place::At { name: chosen, replaces } => {
                    if folder.rename(temporary, &chosen, target, replaces)? {
                        return Ok(chosen);
                    }
                }
            }
        }
        Err(self.exists(folder, name))
    }

    fn open_source(&self) -> Result<File, Error> {
        let failed = |source| Error::Source { path: self.source.clone(), source };
        let file = File::open(&self.source).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        if found == 0 {
            return Err(Error::SourceEmpty { path: self.source.clone() });
        }
        if found != self.bytes {
            return Err(Error::SourceBytes {
                path: self.source.clone(),
                expected: self.bytes,
                found,
            });
        }
        Ok(file)
    }

    fn pair<'a>(&'a self, source: &'a File, target: &'a File, path: &'a Path) -> Pair<'a> {
        Pair {
            source,
            source_path: &self.source,
            target,
            target_path: path,
            progress: &self.progress,
            is_stopped: &self.is_stopped,
        }
    }

    fn place(&self, source: &File, folder: &Folder, name: &str) -> Result<Place, Error> {
        for number in 1..=NUMBER_MAX {
            let chosen = numbered(name, number);
            let found = folder.look(&chosen)?;
            if matches!(found, Found::Nothing) {
                // What comes there meanwhile is replaced as well, where that is wanted.
                let replaces = self.existing == Existing::Overwrite;
                return Ok(Place::At { name: chosen, replaces });
            }
            if matches!(found, Found::File(bytes) if bytes == self.bytes)
                && self.is_same(source, folder, &chosen)?
            {
                return Ok(Place::There(chosen));
            }
            match self.existing {
                Existing::Overwrite => return Ok(Place::At { name: chosen, replaces: true }),
                Existing::Refuse => return Err(self.exists(folder, &chosen)),
                Existing::Rename => {}
            }
        }
        let path = folder.path.join(name);
        Err(Error::Exists { path, existing: "\"rename\" has no number left" })
    }

    /// Whether what lies there, of the same size, is this file. One that may not be read is not.
    fn is_same(&self, source: &File, folder: &Folder, name: &str) -> Result<bool, Error> {
        let path = folder.path.join(name);
        let file = match folder.open(name) {
            Ok(file) => file,
            Err(Error::Target { source, .. })
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        let differs = self.pair(source, &file, &path).first_difference(0..self.bytes)?;
        if differs.is_none() {
            // Whoever gave it its name may have ended before it was durable.
            file.sync_all().map_err(|error| Error::target("sync", &path, error))?;
            folder.sync()?;
        }
        Ok(differs.is_none())
    }

    fn exists(&self, folder: &Folder, name: &str) -> Error {
        let existing = match self.existing {
            Existing::Overwrite => "\"overwrite\"",
            Existing::Rename => "\"rename\"",
            Existing::Refuse => "\"refuse\"",
        };
        Error::Exists { path: folder.path.join(name), existing }
    }

    /// The temporary file, and from which byte on to copy.
    fn target(&self, source: &File, folder: &Folder, name: &str) -> Result<(File, u64), Error> {
        if self.goes_on
            && let Found::File(found) = folder.look(name)?
            && (1..=self.bytes).contains(&found)
        {
            let (file, path) = (folder.reopen(name)?, folder.path.join(name));
            let pair = self.pair(source, &file, &path);
            let start = start(&pair, found)?;
            if start > 0 {
                tracing::debug!(path = %path.display(), start, "going on with what is there");
                file.set_len(start).map_err(|error| Error::target("write", &path, error))?;
                // So that what is not synced never grows beyond what is read back.
                if let Err(error) = pair.sync_data() {
                    drop(folder.remove(name));
                    return Err(error);
                }
                return Ok((file, start));
            }
        }
        folder.remove(name)?;
        Ok((folder.create(name)?, 0))
    }
}

/// From which byte on to copy: behind what is there and known to be ours.
fn start(pair: &Pair<'_>, found: u64) -> Result<u64, Error> {
    let tail = found.saturating_sub(TRUSTED_BYTES);
    if pair.first_difference(0..found.min(BEGINNING_BYTES).min(tail))?.is_some() {
        return Ok(0);
    }
    Ok(match pair.first_difference(tail..found)? {
        None => found,
        // It differs where everything was synced: it is another file's.
        Some(at) if tail > 0 && at < tail + BEGINNING_BYTES => 0,
        Some(at) => at,
    })
}

impl Root {
    fn open(&self) -> Result<Folder, Error> {
        Folder::root(&self.path, self.mount_point.as_deref())
    }

    /// Removes a file from below it, durably. One that is not there, or whose folder is not, is
    /// removed.
    pub(super) fn remove(&self, parts: &[String]) -> Result<(), Error> {
        let Some((folder, name)) = self.folder_of(parts)? else { return Ok(()) };
        folder.remove(name)?;
        folder.sync()
    }

    /// Removes what a push left under the temporary name of a file.
    pub(super) fn remove_part(&self, parts: &[String]) -> Result<(), Error> {
        let Some((folder, name)) = self.folder_of(parts)? else { return Ok(()) };
        folder.remove(&temporary(name))
    }

    /// Opens a file for a moment: what hangs or is not mounted is told from what is gone.
    pub(super) fn touch(&self, parts: &[String]) -> Result<(), Error> {
        let Some((folder, name)) = self.folder_of(parts)? else { return Ok(()) };
        match folder.look(name)? {
            Found::File(_) => folder.open(name).map(drop),
            // Whoever reads it finds out what it is, and doesn't wait for it.
            Found::Nothing | Found::Other => Ok(()),
        }
    }

    fn folder_of<'a>(&self, parts: &'a [String]) -> Result<Option<(Folder, &'a str)>, Error> {
        let Some((name, folders)) = parts.split_last() else { return Ok(None) };
        let mut folder = self.open()?;
        for part in folders {
            let Some(next) = folder.open_folder(part)? else { return Ok(None) };
            folder = next;
        }
        Ok(Some((folder, name)))
    }
}

fn below(folders: &[String], name: &str) -> String {
    folders.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/")
}

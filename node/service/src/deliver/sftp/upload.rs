//! Sends a file, on a thread that may block.
//!
//! - It grows as `.{name}.part` in its own folder, is synced, checked, and renamed: under its name it
//!   is whole or not there.
//! - What a push that was cut short left is gone on with, once it is known to be ours: its beginning
//!   and its last [`TRUSTED_BYTES`] and more are read back. Writes are under way in parallel, and a
//!   server may have done a later one but not an earlier, so a hole is at most one window from the
//!   end; what differs there is sent again.
//! - A file that is there whole already counts as pushed: the answer to an earlier push was lost.

use std::fs::File as Local;
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use ssh2::{File, OpenFlags};

use super::client::Session;
use super::error::Error;
use super::remote::{Found, Remote};
use super::replace;
use super::window::{WINDOW_BYTES, Window};
use crate::config::Existing;
use crate::deliver::names::{NUMBER_MAX, numbered, temporary};
use crate::deliver::progress::Progress;

/// Sent between two syncs, in bytes: one at the end of a large file could take minutes, which nobody
/// can tell from a hang.
const SYNC_BYTES: u64 = 256 << 20;

/// Of a file's beginning and end, how much is read back to know it again, in bytes.
const END_BYTES: u64 = 64 << 10;

/// Of what a push that was cut short left, how much is read back at its end, in bytes: everything that
/// may have been under way, and a little that was not.
const TRUSTED_BYTES: u64 = WINDOW_BYTES as u64 + END_BYTES;

/// What to send where.
pub(super) struct Job {
    pub(super) source: PathBuf,
    pub(super) bytes: u64,
    /// The destination's folder, without a slash at its end unless it is `/`.
    pub(super) root: String,
    /// The folders below it and, last, the file's name.
    pub(super) parts: Vec<String>,
    pub(super) existing: Existing,
    pub(super) reads_back: bool,
    pub(super) file_mode: Option<i32>,
    pub(super) folder_mode: Option<i32>,
}

/// Where a file goes.
enum Place {
    /// It is there already.
    There(String),
    /// The name is free.
    Free(String),
    /// Another file has the name, and is to be replaced.
    Taken(String),
}

impl Job {
    /// Does it. Afterwards the server has the file whole; answers its path, below the destination's
    /// folder.
    pub(super) fn run(&self, session: &Session, progress: &Progress) -> Result<String, Error> {
        let source = self.open_source()?;
        let remote = Remote { sftp: &session.sftp, progress };
        let (name, folders) = self.parts.split_last().ok_or(Error::Crashed)?;
        let folder = folders.iter().fold(self.root.clone(), |path, part| join(&path, part));
        let place = self.place(&remote, &source, &folder, name)?;
        let (chosen, is_taken) = match place {
            Place::There(chosen) => return Ok(self.below(folders, &chosen)),
            Place::Free(chosen) => (chosen, false),
            Place::Taken(chosen) => (chosen, true),
        };
        let temporary = join(&folder, &temporary(name));
        let was_whole = self.fill(&remote, &source, folders, &temporary)?;
        let target = join(&folder, &chosen);
        if is_taken {
            replace::replace(session, &remote, &temporary, &target)?;
        } else {
            self.name(session, &remote, &temporary, &target)?;
        }
        if was_whole {
            // An earlier push may have ended between two steps of replacing.
            remote.remove(&replace::aside(&temporary))?;
        }
        Ok(self.below(folders, &chosen))
    }

    fn below(&self, folders: &[String], name: &str) -> String {
        folders.iter().map(String::as_str).chain([name]).collect::<Vec<_>>().join("/")
    }

    fn open_source(&self) -> Result<Local, Error> {
        let path = || self.source.clone();
        let failed = |source| Error::Source { path: path(), source };
        let file = Local::open(&self.source).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        if found == 0 {
            return Err(Error::SourceEmpty { path: path() });
        }
        if found != self.bytes {
            return Err(Error::SourceBytes { path: path(), expected: self.bytes, found });
        }
        Ok(file)
    }

    fn place(
        &self,
        remote: &Remote<'_>,
        source: &Local,
        folder: &str,
        name: &str,
    ) -> Result<Place, Error> {
        for number in 1..=NUMBER_MAX {
            let chosen = numbered(name, number);
            let path = join(folder, &chosen);
            let bytes = match remote.look(&path)? {
                Found::Nothing => return Ok(Place::Free(chosen)),
                Found::File { bytes } => bytes,
                _ => return Err(Error::InTheWay { path, wanted: "file" }),
            };
            if bytes == self.bytes && self.reads_back && self.is_same(remote, source, &path)? {
                return Ok(Place::There(chosen));
            }
            match self.existing {
                Existing::Overwrite => return Ok(Place::Taken(chosen)),
                Existing::Refuse => return Err(Error::Exists { path, existing: "\"refuse\"" }),
                Existing::Rename => {}
            }
        }
        let path = join(folder, name);
        Err(Error::Exists { path, existing: "\"rename\" has no number left" })
    }

    /// Whether what lies there, of the same size, is this file. A small one is read whole.
    fn is_same(&self, remote: &Remote<'_>, source: &Local, path: &str) -> Result<bool, Error> {
        let mut file = match remote.open(path, OpenFlags::READ, 0) {
            Ok(file) => file,
            Err(error) if error.leaves_session() => return Ok(false),
            Err(error) => return Err(error),
        };
        self.is_known(remote, &mut file, path, source, self.bytes, TRUSTED_BYTES)
    }

    /// Whether the beginning of an open file and `tail` bytes before `end` are this file's.
    fn is_known(
        &self,
        remote: &Remote<'_>,
        file: &mut File,
        path: &str,
        source: &Local,
        end: u64,
        tail: u64,
    ) -> Result<bool, Error> {
        let start = end.saturating_sub(tail);
        let beginning = 0..end.min(END_BYTES).min(start);
        Ok(remote.first_difference(file, path, source, beginning)?.is_none()
            && remote.first_difference(file, path, source, start..end)?.is_none())
    }

    /// Makes the temporary file whole, going on with what is there of it. Answers whether it was.
    fn fill(
        &self,
        remote: &Remote<'_>,
        source: &Local,
        folders: &[String],
        path: &str,
    ) -> Result<bool, Error> {
        let (mut file, there) = self.open_temporary(remote, folders, path)?;
        let start = self.start(remote, &mut file, path, source, there)?;
        if start == 0 && there > 0 {
            file = self.open(remote, path, OpenFlags::READ | OpenFlags::TRUNCATE)?;
        }
        if start > 0 {
            tracing::debug!(path, start, "going on with what is there");
        }
        self.send(remote, &mut file, path, source, start)?;
        if let Some(mode) = self.file_mode {
            remote.set_mode(&mut file, path, mode)?;
        }
        self.check(remote, &mut file, path, source)?;
        file.close().map_err(|error| Error::step("close", path, &error))?;
        Ok(start == self.bytes)
    }

    /// Opens the temporary file, which is made if it is missing; answers also how many bytes are there of it.
    ///
    /// One that is new has none, which need not be asked: over a long line that is a tenth of a small file's
    /// time. It is truncated too, for servers that take no notice of "exclusive".
    fn open_temporary(
        &self,
        remote: &Remote<'_>,
        folders: &[String],
        path: &str,
    ) -> Result<(File, u64), Error> {
        let anew = match self.reads_back {
            true => OpenFlags::READ | OpenFlags::EXCLUSIVE | OpenFlags::TRUNCATE,
            false => OpenFlags::TRUNCATE,
        };
        let mut opened = self.open(remote, path, anew);
        if opened.as_ref().is_err_and(Error::is_missing) {
            self.make_folders(remote, folders)?;
            opened = self.open(remote, path, anew);
        }
        match opened {
            // It is there, which servers say in various ways, or cannot be made, which they say again.
            Err(error) if self.reads_back && error.leaves_session() => {
                let mut file = self.open(remote, path, OpenFlags::READ)?;
                let there = remote.bytes(&mut file, path)?;
                Ok((file, there))
            }
            opened => Ok((opened?, 0)),
        }
    }

    fn open(&self, remote: &Remote<'_>, path: &str, flags: OpenFlags) -> Result<File, Error> {
        let mode = self.file_mode.unwrap_or(0o644);
        remote.open(path, OpenFlags::WRITE | OpenFlags::CREATE | flags, mode)
    }

    /// Whether the open temporary file is the whole of ours.
    fn check(
        &self,
        remote: &Remote<'_>,
        file: &mut File,
        path: &str,
        source: &Local,
    ) -> Result<(), Error> {
        // Whoever has read it to its end knows its size.
        if self.reads_back
            && self.is_known(remote, file, path, source, self.bytes, END_BYTES)?
            && remote.ends(file, path)?
        {
            return Ok(());
        }
        let found = remote.bytes(file, path)?;
        let altered = |problem: String| Error::Altered { path: path.into(), problem };
        if found != self.bytes {
            return Err(altered(format!("it has {found} bytes instead of {}", self.bytes)));
        }
        if self.reads_back {
            remote.remove(path)?;
            return Err(altered("its beginning or end reads differently".into()));
        }
        Ok(())
    }

    fn make_folders(&self, remote: &Remote<'_>, folders: &[String]) -> Result<(), Error> {
        match remote.look(&self.root)? {
            Found::Folder => {}
            Found::Nothing => return Err(Error::Root { path: self.root.clone() }),
            _ => return Err(Error::InTheWay { path: self.root.clone(), wanted: "folder" }),
        }
        let mut path = self.root.clone();
        for part in folders {
            path = join(&path, part);
            remote.make_folder(&path, self.folder_mode)?;
        }
        Ok(())
    }

    /// From which byte on to send: behind what is there, `found` bytes, and known to be ours.
    fn start(
        &self,
        remote: &Remote<'_>,
        file: &mut File,
        path: &str,
        source: &Local,
        found: u64,
    ) -> Result<u64, Error> {
        if found == 0 || found > self.bytes {
            return Ok(0);
        }
        let tail = found.saturating_sub(TRUSTED_BYTES);
        let beginning = 0..found.min(END_BYTES).min(tail);
        if remote.first_difference(file, path, source, beginning)?.is_some() {
            return Ok(0);
        }
        match remote.first_difference(file, path, source, tail..found)? {
            None => Ok(found),
            // It differs where nothing was under way: it is another file's.
            Some(at) if tail > 0 && at < tail + END_BYTES => Ok(0),
            Some(at) => Ok(at),
        }
    }

    fn send(
        &self,
        remote: &Remote<'_>,
        file: &mut File,
        path: &str,
        source: &Local,
        start: u64,
    ) -> Result<(), Error> {
        let unread = |source| Error::Source { path: self.source.clone(), source };
        let failed = |error: &std::io::Error| Error::moved("write", path, error);
        file.seek(SeekFrom::Start(start)).map_err(|error| failed(&error))?;
        remote.progress.start_at(start);
        let mut at = start;
        while at < self.bytes {
            let end = self.bytes.min(at + SYNC_BYTES);
            let mut window = Window::new(source, at, end, remote.progress);
            loop {
                let under_way = window.fill().map_err(unread)?;
                if under_way.is_empty() {
                    break;
                }
                match file.write(under_way) {
                    Ok(confirmed) => {
                        window.confirm(confirmed);
                        remote.progress.moved(confirmed as u64);
                    }
                    Err(error) => return Err(remote.explain(failed(&error), file)),
                }
            }
            remote.sync(file, path)?;
            at = end;
        }
        Ok(())
    }

    /// Gives the file its name, which was free when it was looked at.
    fn name(
        &self,
        session: &Session,
        remote: &Remote<'_>,
        from: &str,
        to: &str,
    ) -> Result<(), Error> {
        let Err(error) = remote.rename(from, to) else { return Ok(()) };
        if !error.leaves_session() || remote.look(to)? == Found::Nothing {
            return Err(error);
        }
        match self.existing {
            Existing::Overwrite => replace::replace(session, remote, from, to),
            // The next attempt finds another number.
            Existing::Rename => Err(Error::Exists { path: to.into(), existing: "\"rename\"" }),
            Existing::Refuse => Err(Error::Exists { path: to.into(), existing: "\"refuse\"" }),
        }
    }
}

/// A path below a folder.
pub(super) fn join(folder: &str, name: &str) -> String {
    if folder.ends_with('/') { format!("{folder}{name}") } else { format!("{folder}/{name}") }
}

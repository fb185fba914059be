//! Files and folders of the server, each step with an error that says which it was. Blocks.

use std::fs::File as Local;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use ssh2::{File, FileStat, OpenFlags, OpenType, RenameFlags, Sftp};

use super::error::Error;
use super::status;
use crate::deliver::progress::Progress;

/// Read back at once, in bytes.
const PIECE_BYTES: usize = 256 << 10;

/// What stands under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    File { bytes: u64 },
    Folder,
    Other,
}

/// The server's files, as a transfer sees them.
pub(super) struct Remote<'a> {
    pub(super) sftp: &'a Sftp,
    pub(super) progress: &'a Progress,
}

impl Remote<'_> {
    /// What stands under a name. Links are followed.
    pub(super) fn look(&self, path: &str) -> Result<Found, Error> {
        let found = self.sftp.stat(Path::new(path));
        self.progress.advance(1);
        match found.map_err(|error| Error::step("look at", path, &error)) {
            Ok(stat) => Ok(found_of(&stat)),
            Err(error) if error.is_missing() => Ok(Found::Nothing),
            Err(error) => Err(error),
        }
    }

    /// Opens a file, to be made if it is missing.
    pub(super) fn open(&self, path: &str, flags: OpenFlags, mode: i32) -> Result<File, Error> {
        let opened = self.sftp.open_mode(path, flags, mode, OpenType::File);
        self.progress.advance(1);
        opened.map_err(|error| Error::step("write", path, &error))
    }

    /// Makes a folder, if it is missing.
    pub(super) fn make_folder(&self, path: &str, mode: Option<i32>) -> Result<(), Error> {
        match self.look(path)? {
            Found::Folder => return Ok(()),
            Found::Nothing => {}
            _ => return Err(Error::InTheWay { path: path.into(), wanted: "folder" }),
        }
        if let Err(error) = self.sftp.mkdir(Path::new(path), mode.unwrap_or(0o755)) {
            let failed = Error::step("make the folder", path, &error);
            // Somebody else made it meanwhile.
            let is_there = failed.leaves_session() && self.look(path)? == Found::Folder;
            return if is_there { Ok(()) } else { Err(failed) };
        }
        let Some(mode) = mode else { return Ok(()) };
        let set = self.sftp.setstat(Path::new(path), mode_alone(mode));
        set.map_err(|error| Error::step("set the mode of", path, &error))
    }

    /// Gives a file its name. Where something has it, servers differ: most refuse.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        let flags = RenameFlags::ATOMIC | RenameFlags::NATIVE;
        let renamed = self.sftp.rename(Path::new(from), Path::new(to), Some(flags));
        self.progress.advance(1);
        renamed.map_err(|error| Error::step("give the file its name", to, &error))
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &str) -> Result<(), Error> {
        let removed = self.sftp.unlink(Path::new(path));
        self.progress.advance(1);
        match removed.map_err(|error| Error::step("remove", path, &error)) {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        }
    }

    /// Sets the mode of an open file.
    pub(super) fn set_mode(&self, file: &mut File, path: &str, mode: i32) -> Result<(), Error> {
        let set = file.setstat(mode_alone(mode));
        self.progress.advance(1);
        set.map_err(|error| Error::step("set the mode of", path, &error))
    }

    /// Puts an open file onto the server's disk, where the server can be asked to.
    pub(super) fn sync(&self, file: &mut File, path: &str) -> Result<(), Error> {
        let synced = file.fsync();
        self.progress.advance(1);
        match synced {
            Err(error) if matches!(error.code(), ssh2::ErrorCode::SFTP(of) if status::is_unsupported(of)) => {
                Ok(())
            }
            result => result.map_err(|error| Error::step("sync", path, &error)),
        }
    }

    /// The size of an open file.
    pub(super) fn bytes(&self, file: &mut File, path: &str) -> Result<u64, Error> {
        let stat = file.stat().map_err(|error| Error::step("look at", path, &error))?;
        self.progress.advance(1);
        stat.size.ok_or_else(|| Error::Refused {
            verb: "learn the size of",
            path: path.into(),
            status: UNSAID,
        })
    }

    /// Where an open file first differs from the vault's within a range, if it does.
    pub(super) fn first_difference(
        &self,
        file: &mut File,
        path: &str,
        source: &Local,
        range: Range<u64>,
    ) -> Result<Option<u64>, Error> {
        let failed = |error: &std::io::Error| Error::moved("read back", path, error);
        file.seek(SeekFrom::Start(range.start)).map_err(|error| failed(&error))?;
        let piece_bytes = |from| {
            usize::try_from(range.end.saturating_sub(from)).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)
        };
        let length = piece_bytes(range.start);
        let (mut theirs, mut ours) = (vec![0; length], vec![0; length]);
        let mut at = range.start;
        while at < range.end {
            let wanted = piece_bytes(at);
            let read = file.read(&mut theirs[..wanted]).map_err(|error| failed(&error))?;
            self.progress.advance(read as u64);
            if read == 0 || source.read_exact_at(&mut ours[..read], at).is_err() {
                return Ok(Some(at));
            }
            let mut pairs = theirs[..read].iter().zip(&ours[..read]);
            if let Some(same) = pairs.position(|(theirs, ours)| theirs != ours) {
                return Ok(Some(at + same as u64));
            }
            at += read as u64;
        }
        Ok(None)
    }

    /// Whether an open file ends where it was read to. The library has asked for more than was wanted, so
    /// this costs no wait.
    pub(super) fn ends(&self, file: &mut File, path: &str) -> Result<bool, Error> {
        let read = file.read(&mut [0]);
        self.progress.advance(1);
        read.map(|read| read == 0).map_err(|error| Error::moved("read back", path, &error))
    }

    /// Says more of a write that the server refused, where that is for want of space.
    pub(super) fn explain(&self, error: Error, file: &mut File) -> Error {
        let Error::Refused { verb, path, status } = error else { return error };
        if !status::is_failure(status) {
            return Error::Refused { verb, path, status };
        }
        match file.statvfs() {
            Ok(of) if of.f_bavail < ROOM_BLOCKS_MIN => {
                let free = format!(" ({} bytes are free)", of.f_bavail.saturating_mul(of.f_frsize));
                Error::NoRoom { verb, path, free }
            }
            _ => Error::Refused { verb, path, status },
        }
    }
}

/// A disk with fewer blocks than this is full.
const ROOM_BLOCKS_MIN: u64 = 64;

/// Stands where a server sent no status.
const UNSAID: i32 = -1;

fn mode_alone(mode: i32) -> FileStat {
    let perm = u32::try_from(mode).ok();
    FileStat { size: None, uid: None, gid: None, perm, atime: None, mtime: None }
}

fn found_of(stat: &FileStat) -> Found {
    // A server need not say what it is; then it is taken for a file.
    match stat.perm {
        Some(_) if stat.is_dir() => Found::Folder,
        Some(perm) if perm & 0o170_000 != 0 && !stat.is_file() => Found::Other,
        _ => Found::File { bytes: stat.size.unwrap_or(0) },
    }
}

//! What can go wrong with a directory, whose fault it is and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use holdfast_core::attempts::Fault;
use nix::errno::Errno;

use crate::deliver::PushError;

/// Why a file did not get into the directory.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The configured path is relative.
    #[error("its path is relative; give it in full, from /")]
    Relative,
    /// The mount point cannot be right.
    #[error("mount_point = {mount_point:?}: must be a folder other than /, and path lie in it")]
    MountPoint { mount_point: PathBuf },
    /// The file system that it is to lie in is not there.
    #[error(
        "nothing is mounted at {mount_point}, so what is pushed would fill the disk underneath; mount it"
    )]
    NotMounted { mount_point: PathBuf },
    /// The file's name cannot be used.
    #[error("cannot use the name {name:?}: {problem}")]
    Name { name: String, problem: String },
    /// The vault's file cannot be read.
    #[error("cannot read {path} on this node: {source}")]
    Source { path: PathBuf, source: io::Error },
    /// The vault's file is not what the ledger says.
    #[error("{path} on this node has {found} bytes instead of {expected}")]
    SourceBytes { path: PathBuf, expected: u64, found: u64 },
    /// The vault's file is empty, so it is none of a recording's.
    #[error("{path} on this node is empty")]
    SourceEmpty { path: PathBuf },
    /// The directory itself cannot be opened.
    #[error("cannot open it: {source}")]
    Root { source: io::Error },
    /// Something below the directory failed.
    #[error("cannot {verb} {path}: {source}")]
    Target { verb: &'static str, path: PathBuf, source: io::Error },
    /// What was written did not get onto the disk.
    #[error("cannot sync {path}: {source}")]
    Unsynced { path: PathBuf, source: io::Error },
    /// A symbolic link stands where a folder should.
    #[error("{path} is a symbolic link, and links are not followed; put a real folder there")]
    Link { path: PathBuf },
    /// What was written is not what is there.
    #[error("{path} has {found} bytes after writing {expected}; check the disk or file server")]
    TargetBytes { path: PathBuf, expected: u64, found: u64 },
    /// Nothing moved for too long.
    #[error(
        "nothing moved for {stall_ms} ms; check whether the disk or the file server behind it hangs"
    )]
    Stalled { stall_ms: u64 },
    /// It cannot even be opened.
    #[error(
        "it does not answer: opening it takes more than {wait_ms} ms; check the disk or the file \
         server behind it"
    )]
    Unanswered { wait_ms: u64 },
    /// Too much hangs there already.
    #[error(
        "{left} earlier calls to it still hang; check the file server behind it. Where it was \
         mounted anew meanwhile, restart the node"
    )]
    Hangs { left: usize },
    /// An earlier push of the same name has not ended.
    #[error(
        "an earlier push of the same file still hangs there; check the disk or the file server \
         behind it"
    )]
    Waits,
    /// Another file is there.
    #[error(
        "another file is called {path} already, and existing = {existing}; move it away, or \
         choose another setting of existing"
    )]
    Exists { path: PathBuf, existing: &'static str },
    /// What is begun cannot be noted.
    #[error(transparent)]
    Memo(PushError),
    /// There is no thread for it.
    #[error("the node is short of threads: {source}")]
    Thread { source: io::Error },
    /// The location belongs to another directory.
    #[error("{location:?} does not lie in it; has the destination's path been changed?")]
    Elsewhere { location: String },
    /// The push was dropped.
    #[error("the push was stopped")]
    Stopped,
    /// The copying thread panicked.
    #[error("copying crashed; the node's log has more")]
    Crashed,
}

impl Error {
    pub(super) fn name(name: &str, problem: String) -> Self {
        Self::Name { name: name.into(), problem }
    }

    pub(super) fn target(verb: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Target { verb, path: path.into(), source: source.into() }
    }

    /// Whether what was copied so far is worth going on with: its file system is well, but does not
    /// answer now, or nobody waits any more. After a sync that failed it is not: what was lost may
    /// still read well, from the page cache, and no later sync would tell.
    pub(super) fn leaves_part(&self) -> bool {
        match self {
            Self::Stopped => true,
            Self::Target { source, .. } => judge(source).0 == Fault::Networks,
            _ => false,
        }
    }

    /// Says it to the customer's admin.
    pub(super) fn into_push_error(self, name: &str, root: &Path) -> PushError {
        let (fault, advice) = match &self {
            Self::Name { .. }
            | Self::Source { .. }
            | Self::SourceBytes { .. }
            | Self::SourceEmpty { .. }
            | Self::Memo(_)
            | Self::Thread { .. }
            | Self::Stopped
            | Self::Crashed => (Fault::Ours, ""),
            Self::Relative
            | Self::MountPoint { .. }
            | Self::NotMounted { .. }
            | Self::Link { .. }
            | Self::Exists { .. }
            | Self::Elsewhere { .. } => (Fault::Customers, ""),
            Self::TargetBytes { .. }
            | Self::Stalled { .. }
            | Self::Unanswered { .. }
            | Self::Hangs { .. }
            | Self::Waits => (Fault::Networks, ""),
            Self::Root { source } => judge_root(source),
            Self::Target { source, .. } | Self::Unsynced { source, .. } => judge(source),
        };
        let root = root.display();
        let sentence = if advice.is_empty() {
            format!("destination {name:?} (directory {root}): {self}")
        } else {
            format!("destination {name:?} (directory {root}): {self}; {advice}")
        };
        PushError { fault, sentence }
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(0))
}

fn judge_root(error: &io::Error) -> (Fault, &'static str) {
    match errno(error) {
        Errno::ENOENT | Errno::ENOTDIR => (
            Fault::Customers,
            "the node does not make it: make it, or mount the file system that holds it",
        ),
        _ => judge(error),
    }
}

/// Whose fault an error of the operating system is, and what to do about it.
fn judge(error: &io::Error) -> (Fault, &'static str) {
    match errno(error) {
        Errno::ENOSPC => (Fault::Customers, "make room on it, or move it to a larger disk"),
        Errno::EDQUOT => (Fault::Customers, "raise the quota of the node's user, or make room"),
        Errno::EACCES | Errno::EPERM => {
            (Fault::Customers, "let the node's user write there (see the service's User=)")
        }
        Errno::EROFS => (
            Fault::Customers,
            "it is mounted read-only: check the disk, mount it for writing, and list it in the \
             service's ReadWritePaths=",
        ),
        Errno::EFBIG => (Fault::Customers, "its file system does not take files this large"),
        Errno::ENAMETOOLONG | Errno::EINVAL | Errno::EILSEQ => {
            (Fault::Customers, "its file system does not take this name")
        }
        Errno::EISDIR | Errno::ENOTDIR | Errno::ENOTEMPTY | Errno::EEXIST | Errno::EBUSY => {
            (Fault::Customers, "something else stands under that name: move it away")
        }
        Errno::ENOENT => (Fault::Customers, "its folder was taken away meanwhile"),
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM => {
            (Fault::Ours, "the node is short of memory or file handles")
        }
        Errno::EIO => (Fault::Networks, "check the disk or the file server behind it"),
        _ => (Fault::Networks, "check the mount and the file server behind it"),
    }
}

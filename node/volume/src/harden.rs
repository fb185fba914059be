//! What this process gives up before it touches a key.

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};

use crate::error::Error;

/// No core dump, no other process of the same user that reads this one's memory, no page of it
/// swapped out (libcryptsetup's own buffers included), no file for others to read.
///
/// # Errors
/// If the kernel refuses. Memory is locked where the process may: without the right to
/// (`CAP_IPC_LOCK`, or a limit that suffices) it has no right to open a volume either.
pub fn this_process() -> Result<(), Error> {
    umask(Mode::from_bits_truncate(0o077));
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
        .and_then(|()| prctl::set_dumpable(false))
        .map_err(|e| Error::failed("turning core dumps off", e))?;
    if nix::unistd::geteuid().is_root() {
        mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
            .map_err(|e| Error::failed("locking memory", e))?;
    }
    Ok(())
}

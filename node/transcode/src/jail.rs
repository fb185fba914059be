//! What this process gives up before it looks at a recording.
//!
//! * It dies with its parent, gains no privileges and dumps no core. The service starts it with
//!   an environment that holds GStreamer's own variables only.
//! * Files it writes and descriptors it opens are bounded. The limit on a file's size lies above
//!   the muxer's own, which reports properly; the signal comes only if that failed.
//! * RLIMIT_AS is not set: good jobs map far more than they use. Memory is watched while the job
//!   runs ([`crate::watch`]), and the service's unit has the last word with a cgroup.
//! * Only the demuxers, parsers and decoders of [`crate::container`] and [`crate::codec`] are ever
//!   made; nothing is plugged automatically.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;

use crate::error::Error;

/// To be called first, while there is one thread.
pub(crate) fn enter() -> Result<(), Error> {
    let os = |what: &'static str| Error::internal::<nix::Error>(what);
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(os("cannot tie this process to its parent"))?;
    prctl::set_no_new_privs().map_err(os("cannot give up new privileges"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(os("cannot forbid core dumps"))?;
    setrlimit(Resource::RLIMIT_NOFILE, 512, 512).map_err(os("cannot limit descriptors"))?;
    Ok(())
}

/// To be called when the job's limits are known.
pub(crate) fn limit_files(output_bytes_max: u64) -> Result<(), Error> {
    let bytes = output_bytes_max.saturating_add(1 << 20);
    setrlimit(Resource::RLIMIT_FSIZE, bytes, bytes)
        .map_err(Error::internal("cannot limit the size of files"))
}

//! What this process gives up before it looks at a recording.
//!
//! The service that starts it has no privilege to confine it with, so it confines itself, in an
//! order that cannot be changed without a hole:
//!
//! 1. [`tie`], first of all: it dies with its parent, gains no privileges, dumps no core, nobody
//!    may look into it, and it moves into a network without interfaces.
//! 2. The job arrives, with its descriptors.
//! 3. [`confine`], still with one thread: capabilities, limits, files ([`files`], landlock) and
//!    system calls ([`calls`], seccomp). Landlock holds for the thread that enters it and those
//!    that it starts; GStreamer starts threads in its first function. So this comes before it.
//! 4. [`plugins::start_gstreamer`]: of all plugins installed only those on the list stay.
//! 5. The recording.
//!
//! A kernel without landlock or seccomp is told of in [`Confinement`]; the job says whether it may
//! go on then. On an appliance a unit and a cgroup of its own lie around all of this.
//!
//! RLIMIT_AS is not set: good jobs map far more than they use. Memory is watched while the job
//! runs, and the unit has the last word with its cgroup.

pub mod calls;
pub mod files;
pub mod plugins;
pub mod process;

use std::os::fd::BorrowedFd;

use holdfast_core::job::{Confinement, Jail, Limits};

pub use process::{give_way, tie};

/// Why the jail could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// A step that every kernel can do failed.
    #[error("cannot {what}: {source}")]
    Step {
        /// What was to be done.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// Part of the jail is not to be had here, and the job asks for all of it.
    #[error(
        "this kernel has no {0}, without which no recording may be read here: use a kernel that \
         has it, or set transcode.jail to \"best_effort\""
    )]
    Missing(&'static str),
    /// Threads run already, which would stay outside.
    #[error("{0} threads run before the jail is entered; there may be one")]
    Threads(usize),
}

pub(crate) fn step<E: Into<std::io::Error>>(what: &'static str) -> impl FnOnce(E) -> JailError {
    move |e| JailError::Step { what, source: e.into() }
}

/// Enters the jail. `output` is the only folder in which files can be made from here on;
/// without one there is none.
///
/// # Errors
/// [`JailError`]; nothing may be done with a recording then.
pub fn confine(output: Option<BorrowedFd<'_>>, limits: &Limits) -> Result<Confinement, JailError> {
    let tasks = std::fs::read_dir("/proc/self/task").map_err(step("count threads"))?.count();
    if tasks != 1 {
        return Err(JailError::Threads(tasks));
    }
    let network = process::has_network();
    process::give_up_capabilities()?;
    process::limit(limits)?;
    let required = limits.jail == Jail::Required;
    let landlock = files::confine(output)?;
    if landlock == 0 && required {
        return Err(JailError::Missing("landlock"));
    }
    let seccomp = calls::confine();
    if required && seccomp.is_err() {
        return Err(JailError::Missing("seccomp with filters"));
    }
    Ok(Confinement { landlock, seccomp: seccomp.is_ok(), network })
}

/// What is missing, in one line for the log; `None` where nothing is.
#[must_use]
pub fn missing(confinement: &Confinement) -> Option<String> {
    let parts = [
        (confinement.landlock == 0).then_some("landlock (it could open files by name)"),
        (!confinement.seccomp).then_some("seccomp (every system call is open to it)"),
    ];
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| {
        format!("this kernel has no {}; going on, as transcode.jail allows it", parts.join(", no "))
    })
}

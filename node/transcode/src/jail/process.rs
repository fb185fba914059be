//! The process itself: parent, privileges, network, limits.

use holdfast_core::job::Limits;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{getegid, geteuid, getppid};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::{JailError, step};

/// Most tasks of a job: some for each core and codec. Counted within the process's own user
/// namespace, where it has one, since Linux 5.14; as root of the whole system it is no limit, and
/// otherwise it would count the service too, so it is not set then.
const TASKS_MAX: u64 = 1024;
/// Most open descriptors.
const DESCRIPTORS_MAX: u64 = 512;

/// To be called first, while there is one thread.
///
/// # Errors
/// [`JailError::Step`] where something failed that no kernel refuses.
pub fn tie() -> Result<(), JailError> {
    let parent = getppid();
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(step("tie this process to its parent"))?;
    // A parent that died before that line sends no signal. (One that died before the line before
    // has closed its socket: waiting for the job ends.)
    if getppid() != parent {
        return Err(step("go on without a parent")(std::io::Error::from(
            std::io::ErrorKind::BrokenPipe,
        )));
    }
    prctl::set_no_new_privs().map_err(step("give up new privileges"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(step("forbid core dumps"))?;
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX, DESCRIPTORS_MAX)
        .map_err(step("limit descriptors"))?;
    leave_network()?;
    // After the namespace, whose maps a process that nobody may look into cannot write.
    prctl::set_dumpable(false).map_err(step("hide this process's memory"))
}

/// Moves into a network that has no interface but a loopback that is down. Refused where user
/// namespaces are forbidden (some kernels, a unit's RestrictNamespaces): the unit has its own
/// PrivateNetwork, and the filter of system calls leaves no way to a socket in any case.
fn leave_network() -> Result<(), JailError> {
    let (user, group) = (geteuid(), getegid());
    if unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).is_err() {
        return Ok(());
    }
    // The same user inside, to whoever asks: to the kernel it stays the same in any case. The order
    // is the kernel's. Some systems give a namespace but no power in it (AppArmor's restriction of
    // unprivileged user namespaces); nothing that a job does needs the maps.
    let map = |file: &str, line: String| std::fs::write(format!("/proc/self/{file}"), line);
    let mapped = map("setgroups", "deny".to_owned())
        .and_then(|()| map("uid_map", format!("{user} {user} 1")))
        .and_then(|()| map("gid_map", format!("{group} {group} 1")));
    if mapped.is_err() || !counts_tasks_by_namespace() {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NPROC, TASKS_MAX, TASKS_MAX).map_err(step("limit threads"))
}

fn counts_tasks_by_namespace() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    version(&release).is_some_and(|version| version >= (5, 14))
}

/// Major and minor number of a kernel's release, such as `6.1.0-13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether there is any network interface besides loopback. Asked before files are out of reach.
pub(super) fn has_network() -> bool {
    // Two lines of headings, then one for each interface.
    std::fs::read_to_string("/proc/self/net/dev").map_or(true, |lines| {
        lines.lines().skip(2).any(|line| line.split(':').next().map(str::trim) != Some("lo"))
    })
}

/// Capabilities, of root or of the new user namespace. Where there are none, as in the appliance's unit, the
/// call that would change them is not made: the unit need not allow it.
pub(super) fn give_up_capabilities() -> Result<(), JailError> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    if capabilities(None).is_ok_and(|own| own == sets) {
        return Ok(());
    }
    set_capabilities(None, sets).map_err(step("give up capabilities"))
}

/// To be called when the job's limits are known. Those on the size of files and on processor time
/// lie above what the program itself holds to, and reports properly; the signals come only if
/// that failed.
pub(super) fn limit(limits: &Limits) -> Result<(), JailError> {
    let bytes = limits.output_bytes_max.saturating_add(1 << 20);
    setrlimit(Resource::RLIMIT_FSIZE, bytes, bytes).map_err(step("limit the size of files"))?;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let seconds = (limits.wall_ms_max / 1000 + 60).saturating_mul(cores);
    setrlimit(Resource::RLIMIT_CPU, seconds, seconds).map_err(step("limit processor time"))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn kernels_are_told_apart_by_their_numbers() {
        assert_eq!(version("6.1.0-13-amd64\n"), Some((6, 1)));
        assert_eq!(version("5.4\n"), Some((5, 4)));
        assert!(version("5.14-rc1") >= Some((5, 14)) && version("5.9.16") < Some((5, 14)));
        assert_eq!(version("unknown"), None);
    }
}

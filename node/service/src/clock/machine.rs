//! The machine's own clocks, and what its kernel says of them.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use nix::errno::Errno;
use nix::libc;
use nix::time::{ClockId, clock_gettime};

use super::witness;

/// The kernel draws this anew at each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Longest time between reading one clock and the other.
const APART_MAX: Duration = Duration::from_millis(100);
/// How often that is tried.
const TRIES_MAX: u32 = 10;

/// The wall clock and `CLOCK_BOOTTIME` at one instant: not with a suspended machine between them,
/// which would look like a clock that was set.
pub(super) fn both() -> (Timestamp, Duration) {
    let mut before = boot();
    for _ in 0..TRIES_MAX {
        let (wall, after) = (wall(), boot());
        if after.saturating_sub(before) < APART_MAX {
            return (wall, after);
        }
        before = after;
    }
    (wall(), boot())
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn wall() -> Timestamp {
    Timestamp::now()
}

/// `CLOCK_BOOTTIME`.
pub(super) fn boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// Which boot of the machine this is: the first 64 bits of the kernel's boot id.
pub(super) fn boot_id() -> Option<u64> {
    let text = std::fs::read_to_string(BOOT_ID).ok()?;
    let hex: String = text.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 16)
}

/// Whether the kernel says that a time service keeps the wall clock right; where this process may not ask it,
/// whether its [`witness`](super::witness) does.
///
/// A kernel that does not say, and a witness that is not there, count as one that says no.
pub(super) fn is_synchronised() -> bool {
    match asked() {
        Some(Errno::EPERM) => witness::says(Path::new(witness::WITNESS), boot()),
        said => said.is_none(),
    }
}

/// Nothing where the kernel says that the wall clock is kept right, else why it does not.
///
/// adjtimex(2) answers `TIME_ERROR` until a time service has vouched for the clock, after anyone has
/// set it, and once nobody has corrected it for so long that it may be 16 s off.
#[expect(unsafe_code, reason = "no safe wrapper of adjtimex(2) is among the crates here")]
pub(super) fn asked() -> Option<Errno> {
    // SAFETY: `timex` is a plain C structure, for which all zeroes is a value.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a `timex` of ours; `modes` is 0, so nothing is changed.
    match unsafe { libc::adjtimex(&raw mut asked) } {
        libc::TIME_ERROR => Some(Errno::ETIME),
        state if state >= 0 => None,
        _ => Some(Errno::last()),
    }
}

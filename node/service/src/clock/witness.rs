//! Whether the clock is synchronised, said by a process of its own.
//!
//! adjtimex(2) tells it and, to those with the capability, sets the clock. A unit that takes the call away
//! (`ProtectClock=`) cannot tell the one from the other, so on an appliance `holdfast clock witness` asks
//! (`holdfast-clock.service`) and writes one line: when it asked, by `CLOCK_BOOTTIME`, which nobody can set, and what
//! it was told. A witness that has gone is one that says no.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::machine;

/// Where a node looks; what `holdfast clock witness` writes to unless it is told otherwise.
pub const WITNESS: &str = "/run/holdfast-clock/synchronised";
/// How often it is asked.
const PAUSE: Duration = Duration::from_secs(1);
/// How long what it said counts.
const AGE_MAX: Duration = Duration::from_secs(10);
/// Longest line that is read, in bytes.
const BYTES_MAX: u64 = 64;

/// Asks the kernel once a second and writes down what it says, for ever.
///
/// # Errors
/// Where that cannot be written.
pub fn run(to: &Path) -> anyhow::Result<()> {
    loop {
        write(to, machine::boot(), machine::asked().is_none())?;
        std::thread::sleep(PAUSE);
    }
}

#[expect(clippy::disallowed_methods, reason = "what it replaces is its own line of before")]
fn write(to: &Path, at: Duration, yes: bool) -> io::Result<()> {
    let new = to.with_extension("new");
    fs::write(&new, format!("{} {}\n", at.as_millis(), if yes { "yes" } else { "no" }))?;
    fs::rename(new, to)
}

/// What the witness says at this time since boot.
pub(super) fn says(path: &Path, now: Duration) -> bool {
    let small = fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() <= BYTES_MAX);
    let text = small.then(|| fs::read_to_string(path).ok()).flatten().unwrap_or_default();
    let Some((at, "yes")) = text.trim_end().split_once(' ') else { return false };
    let Ok(at) = at.parse().map(Duration::from_millis) else { return false };
    // A stamp of the future is of another boot.
    now.checked_sub(at).is_some_and(|age| age <= AGE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_looks_where_the_witness_writes() {
        use crate::operate::cli::arguments::Clock;
        use crate::operate::cli::{Arguments, Command};
        let said = <Arguments as clap::Parser>::parse_from(["holdfast", "clock", "witness"]);
        let Command::Clock(on) = said.command else { panic!("{said:?}") };
        assert!(matches!(on.act, Clock::Witness { to } if to == Path::new(WITNESS)));
    }

    #[test]
    fn a_witness_counts_while_it_is_fresh() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("synchronised");
        let at = |s| Duration::from_secs(s);
        assert!(!says(&path, at(100)), "there is none");
        write(&path, at(100), true).unwrap();
        assert!(says(&path, at(100)) && says(&path, at(110)));
        assert!(!says(&path, at(111)), "it has gone");
        assert!(!says(&path, at(99)), "it is another boot's");
        write(&path, at(100), false).unwrap();
        assert!(!says(&path, at(100)));
        for nonsense in ["", "yes", "100 yes yes", "-1 yes", &"1".repeat(100)] {
            fs::write(&path, nonsense).unwrap();
            assert!(!says(&path, at(100)), "{nonsense}");
        }
    }
}

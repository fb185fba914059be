//! What the kernel says of a process.

use std::fs;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// CPU time of a process, all its threads and the children it has waited for, in seconds.
pub(crate) fn cpu_seconds(pid: Pid) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no such line as proc(5) describes")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // proc(5): utime, stime, cutime and cstime are fields 14 to 17, the state after `)` being 3.
    let ticks: u64 = fields[11..15].iter().map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
    Ok(ticks as f64 / per_second as f64)
}

/// CPU time of all children that this process has waited for, in seconds.
pub(crate) fn cpu_seconds_of_children() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: TimeVal| time.num_microseconds() as f64 / 1e6;
    Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
}

/// A figure in KiB of `/proc/PID/status`, such as `VmRSS`.
pub(crate) fn memory_kib(pid: Pid, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(name)).context(name.to_owned())?;
    line.split_whitespace().nth(1).context(line.to_owned())?.parse().context(line.to_owned())
}

/// Lets `VmHWM`, the most memory ever held, begin anew.
pub(crate) fn forget_peak(pid: Pid) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("clear_refs")
}

/// The children of a process.
pub(crate) fn children(pid: Pid) -> Result<Vec<Pid>> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    text.split_whitespace().map(|child| Ok(Pid::from_raw(child.parse()?))).collect()
}

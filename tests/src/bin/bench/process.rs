//! What the kernel says of a process.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{Pid, SysconfVar, sysconf};

/// How often a process's memory is looked at, and whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a process cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_kib: u64,
}

/// Runs a command, which has to succeed within `patience`. Nothing else may be waited for meanwhile.
pub(crate) fn costs(mut command: Command, patience: Duration) -> Result<Cost> {
    let (cpu, begun) = (cpu_seconds_of_children()?, Instant::now());
    let complaints = tempfile::NamedTempFile::new()?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(complaints.reopen()?);
    let mut child = command.spawn().with_context(|| format!("running {command:?}"))?;
    let pid = Pid::from_raw(child.id().try_into()?);
    let mut peak_kib = 0;
    while child.try_wait()?.is_none() {
        if begun.elapsed() > patience {
            child.kill()?;
        }
        // It may have ended meanwhile.
        peak_kib = memory_kib(pid, "VmHWM").unwrap_or(0).max(peak_kib);
        std::thread::sleep(LOOK_EVERY);
    }
    let wall_s = begun.elapsed().as_secs_f64();
    let status = child.wait()?;
    let complaint = fs::read_to_string(complaints.path())?;
    ensure!(status.success(), "{command:?}: {status}: {complaint}");
    Ok(Cost { wall_s, cpu_s: cpu_seconds_of_children()? - cpu, peak_kib })
}

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

/// CPU time of the whole machine, whoever took it, in seconds.
pub(crate) fn cpu_seconds_of_machine() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<u64> = line.split_whitespace().skip(1).flat_map(str::parse).collect();
    // proc(5): user, nice, system, idle, iowait, irq and softirq; what follows is none of ours, or counted already.
    ensure!(fields.len() > 6, "no such line as proc(5) describes: {line}");
    let ticks: u64 = fields[..3].iter().chain(&fields[5..7]).sum();
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

//! What the kernel says of the machine. Blocks.
//!
//! Lines of the kernel's files are taken by their names, never as a whole. Host names, addresses,
//! serial numbers and what is mounted from where are not among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use serde_json::{Map, Value, json};

use super::plain::LEFT_OUT;
use super::shown::word;

/// Most of a file of the kernel that is read, in bytes.
const FILE_BYTES_MAX: usize = 256 << 10;
/// Most mounts that are listed.
const MOUNTS_MAX: usize = 200;
/// File systems of this machine's own disks and memory: asking one does not wait for a server.
const LOCAL: [&str; 12] = [
    "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "overlay", "squashfs", "tmpfs",
    "vfat", "xfs",
];
/// Places that every system has, shown by their names.
const PLACES: [&str; 15] = [
    "/",
    "/boot",
    "/boot/efi",
    "/dev/shm",
    "/efi",
    "/etc",
    "/home",
    "/opt",
    "/root",
    "/run",
    "/srv",
    "/tmp",
    "/usr",
    "/var",
    "/var/lib",
];
const OPTIONS: [&str; 18] = [
    "async",
    "data=journal",
    "data=ordered",
    "data=writeback",
    "discard",
    "errors=panic",
    "errors=remount-ro",
    "noatime",
    "nobarrier",
    "nodev",
    "nodiscard",
    "noexec",
    "nosuid",
    "relatime",
    "ro",
    "rw",
    "sync",
    "x-systemd.growfs",
];
const OS: [&str; 8] = [
    "BUILD_ID",
    "ID",
    "ID_LIKE",
    "IMAGE_ID",
    "IMAGE_VERSION",
    "VARIANT_ID",
    "VERSION_CODENAME",
    "VERSION_ID",
];
const MEMORY: [&str; 11] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "Dirty",
    "Writeback",
    "Slab",
    "SwapTotal",
    "SwapFree",
    "Committed_AS",
];
const PROCESS: [&str; 9] =
    ["State", "FDSize", "VmPeak", "VmSize", "VmHWM", "VmRSS", "VmSwap", "Threads", "NoNewPrivs"];
const IO: [&str; 4] = ["read_bytes", "write_bytes", "syscr", "syscw"];
const LIMITS: [&str; 6] = [
    "Max cpu time",
    "Max file size",
    "Max core file size",
    "Max processes",
    "Max open files",
    "Max locked memory",
];
const CGROUP: [&str; 9] = [
    "cpu.max",
    "cpu.stat",
    "io.max",
    "memory.current",
    "memory.events",
    "memory.high",
    "memory.max",
    "memory.peak",
    "pids.max",
];

/// Kernel, system, processor, memory.
pub(super) fn machine() -> Value {
    json!({
        "architecture": std::env::consts::ARCH,
        "kernel": line("/proc/sys/kernel/osrelease"),
        "system": system(),
        "processor": processor(),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "load": line("/proc/loadavg"),
        "uptime_s": line("/proc/uptime").split('.').next().and_then(|it| it.parse::<u64>().ok()),
        "memory": pairs("/proc/meminfo", ':', &MEMORY),
        "pressure": {
            "cpu": read("/proc/pressure/cpu").lines().map(word).collect::<Vec<_>>(),
            "io": read("/proc/pressure/io").lines().map(word).collect::<Vec<_>>(),
            "memory": read("/proc/pressure/memory").lines().map(word).collect::<Vec<_>>(),
        },
    })
}

/// The process: what it uses, and what it may.
pub(super) fn process() -> Value {
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let uses = json!({
        "open_files": open,
        "status": pairs("/proc/self/status", ':', &PROCESS),
        "io": pairs("/proc/self/io", ':', &IO),
        "cpu_ticks": cpu_ticks(),
    });
    json!({ "process": uses, "limits": { "process": limits(), "cgroup": cgroup() } })
}

/// What is mounted, and how full it is. Places that the node uses are called what `roles` says.
pub(super) fn mounts(roles: &[(PathBuf, String)]) -> Value {
    let table = read("/proc/self/mountinfo");
    let places: Vec<&str> = table.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    let roles =
        roles.iter().filter_map(|(path, role)| Some((holder(path, &places)?, role.as_str())));
    let roles: Vec<(&str, &str)> = roles.collect();
    let all = table.lines().filter_map(|line| mount(line, &roles));
    let all: Vec<Value> = all.take(MOUNTS_MAX).collect();
    json!({ "mounts": all })
}

/// One line: id, parent, device, root, place, options, tags, `-`, kind, source, more options.
fn mount(line: &str, roles: &[(&str, &str)]) -> Option<Value> {
    let (first, second) = line.split_once(" - ")?;
    let first: Vec<&str> = first.split(' ').collect();
    let second: Vec<&str> = second.split(' ').collect();
    let (device, place) = (first.get(2)?, first.get(4)?);
    let kind = *second.first()?;
    let roles = roles.iter().filter(|(at, _)| at == place).map(|(_, role)| *role);
    let roles: Vec<&str> = roles.collect();
    // The kernel's own, such as /proc and /sys, say nothing of the machine.
    if roles.is_empty() && !LOCAL.contains(&kind) && !is_remote(kind) {
        return None;
    }
    let options = first.get(5)?.split(',').chain(second.get(2)?.split(','));
    let options: BTreeSet<&str> = options.filter(|option| OPTIONS.contains(option)).collect();
    let space = LOCAL.contains(&kind).then(|| space(Path::new(place))).flatten();
    let shown = if PLACES.contains(place) { place } else { LEFT_OUT };
    Some(json!({
        "at": shown, "used_for": roles, "kind": word(kind), "device": word(device),
        "options": options, "space": space,
    }))
}

fn is_remote(kind: &str) -> bool {
    kind.starts_with("nfs")
        || kind.starts_with("fuse")
        || matches!(kind, "cifs" | "smb3" | "9p" | "virtiofs")
}

/// The place of what is mounted that a path lies on.
fn holder<'a>(path: &Path, places: &[&'a str]) -> Option<&'a str> {
    let above = places.iter().copied().filter(|place| path.starts_with(place));
    above.max_by_key(|place| place.len())
}

fn space(place: &Path) -> Option<Value> {
    let found = statvfs(place).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
    Some(json!({
        "bytes": bytes(found.blocks()), "free_bytes": bytes(found.blocks_available()),
        "files": found.files(), "free_files": found.files_available(),
    }))
}

fn system() -> Value {
    let text = read("/etc/os-release");
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let named = pairs.filter(|(name, _)| OS.contains(name));
    let rows = named.map(|(name, value)| (name.to_owned(), json!(word(value.trim_matches('"')))));
    Value::Object(rows.collect())
}

fn processor() -> String {
    let text = read("/proc/cpuinfo");
    let mut names = text.lines().filter_map(|line| line.split_once(':'));
    let name = names.find(|(name, _)| name.trim() == "model name");
    name.map_or_else(String::new, |(_, name)| word(name.trim()).to_owned())
}

/// Time that the process has had: in user mode and in the kernel, in ticks of 1/100 s.
fn cpu_ticks() -> Option<[u64; 2]> {
    let stat = read("/proc/self/stat");
    // The name in parentheses may have spaces in it; what follows begins with the third field.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some([fields.next()?.parse().ok()?, fields.next()?.parse().ok()?])
}

fn limits() -> Value {
    let text = read("/proc/self/limits");
    let rows = text.lines().filter_map(|line| {
        let name = LIMITS.iter().find(|name| line.starts_with(**name))?;
        let values: Vec<&str> = line[name.len()..].split_whitespace().take(2).map(word).collect();
        Some(((*name).to_owned(), values.into()))
    });
    Value::Object(rows.collect())
}

/// What the process's cgroup may use, and uses.
fn cgroup() -> Value {
    let own = read("/proc/self/cgroup");
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let folder = Path::new("/sys/fs/cgroup").join(own);
    let rows = CGROUP.iter().filter_map(|name| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        Some(((*name).to_owned(), text.lines().take(20).map(word).collect::<Vec<_>>().into()))
    });
    Value::Object(rows.collect::<Map<String, Value>>())
}

/// Rows of a file of `name: value` that are named.
fn pairs(path: &str, between: char, named: &[&str]) -> BTreeMap<String, String> {
    let text = read(path);
    let rows = text.lines().filter_map(|line| line.split_once(between));
    let rows = rows.filter(|(name, _)| named.contains(name));
    rows.map(|(name, value)| (name.to_owned(), word(value.trim()).to_owned())).collect()
}

fn line(path: &str) -> String {
    word(read(path).lines().next().unwrap_or_default()).to_owned()
}

/// A file of the kernel; nothing where it cannot be read.
fn read(path: &str) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    let file = fs::File::open(path);
    let _ = file.and_then(|file| file.take(FILE_BYTES_MAX as u64).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_shown_by_what_it_is_used_for_and_not_by_what_people_called_it() {
        let line = "36 25 0:51 / /media/anna/Family rw,nosuid,user=anna shared:1 - cifs \
                    //nas.example.net/anna rw,username=anna,password=hunter2";
        let shown = mount(line, &[]).unwrap();
        assert_eq!(shown["at"], LEFT_OUT);
        assert_eq!(shown["options"], json!(["nosuid", "rw"]));
        let text = shown.to_string();
        for never in ["anna", "nas", "hunter2", "Family"] {
            assert!(!text.contains(never), "{never}: {text}");
        }
        assert!(mount("22 25 0:20 / /proc rw shared:1 - proc proc rw", &[]).is_none());
    }

    #[test]
    fn the_kernel_is_asked_for_what_is_named() {
        let machine = machine();
        assert!(!machine["kernel"].as_str().unwrap().is_empty());
        assert!(machine["memory"]["MemTotal"].as_str().unwrap().ends_with("kB"));
        let metrics = process();
        let uses = &metrics["process"];
        assert!(uses["open_files"].as_u64().unwrap() > 0 && uses["cpu_ticks"][0].is_u64());
        assert!(metrics["limits"]["process"]["Max open files"][0].is_string(), "{metrics}");
        let roles = [(std::env::temp_dir(), "state".to_owned())];
        let mounts = mounts(&roles);
        let used = mounts["mounts"].as_array().unwrap().iter();
        assert!(used.filter(|it| it["used_for"] == json!(["state"])).count() >= 1, "{mounts}");
    }
}

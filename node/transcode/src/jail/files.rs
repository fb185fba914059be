//! Which files can be opened by name: landlock.
//!
//! To read: what GStreamer and drivers are made of, and what they ask about the machine. To read
//! and write: the devices that encode and decode. To make files in: the output folder, which is
//! named by its descriptor. Nothing else. The recording is open already.
//!
//! Landlock 4 (Linux 6.7) refuses TCP as well, 5 commands to devices, 6 abstract sockets and
//! signals to others; what an older kernel lacks of these, [`super::calls`] refuses.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{JailError, step};

/// The newest version that these rules make use of.
const RULES: ABI = ABI::V6;

/// Read, with everything in them; what is not there is left out.
const READ: &[&str] = &[
    // Libraries: GStreamer's plugins, which are loaded when they are needed, codecs, drivers.
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    // Settings and tables of drivers; nobody's data.
    "/usr/share",
    "/etc/libva.conf",
    "/etc/drirc",
    "/etc/localtime",
    // Which processor and which graphics card this is.
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/devices",
    "/proc/modules",
    "/proc/driver/nvidia",
    "/proc/driver/nvidia-uvm",
    "/sys/devices",
    "/sys/dev/char",
    "/sys/bus",
    "/sys/module",
    "/sys/class/drm",
    "/sys/class/video4linux",
    "/run/udev/data",
    "/dev/urandom",
    "/dev/random",
];

/// Read, write and command.
const DEVICES: &[&str] = &["/dev/null"];
/// Where cards are. Only their render nodes are opened: `card0` would give mastery of the screen
/// to whoever opens it first.
const CARDS: &str = "/dev/dri";
/// Present where NVIDIA's driver is. Since version 570 it names its threads by their files.
const NVIDIA: &str = "/dev/nvidiactl";
const THREADS: &str = "/proc/self/task";
/// Beginnings of names in `/dev` of devices that encode and decode.
const DEVICE_NAMES: &[&str] = &["nvidia", "video", "media"];

/// Enters landlock. Gives the version in force; 0 where the kernel has none.
pub(super) fn confine(output: Option<BorrowedFd<'_>>) -> Result<u32, JailError> {
    let status = restrict(output).map_err(|e| step("confine files")(std::io::Error::other(e)))?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _) => 0,
        (_, LandlockStatus::Available { effective_abi, .. }) => effective_abi.min(RULES) as u32,
        _ => 0,
    })
}

fn restrict(output: Option<BorrowedFd<'_>>) -> Result<landlock::RestrictionStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = read | AccessFs::WriteFile | AccessFs::IoctlDev;
    let make = AccessFs::MakeReg | AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(RULES))?
        .handle_access(AccessNet::from_all(RULES))?
        .scope(Scope::from_all(RULES))?
        .create()?;
    if let Some(folder) = output {
        rules = rules.add_rule(PathBeneath::new(folder, make))?;
    }
    let readable = READ.iter().map(PathBuf::from).chain(gstreamer_paths());
    for path in readable {
        rules = allow(rules, &path, read)?;
    }
    for path in DEVICES.iter().map(PathBuf::from).chain(codec_devices()) {
        rules = allow(rules, &path, device)?;
    }
    rules = allow(rules, Path::new(CARDS), AccessFs::ReadDir.into())?;
    if Path::new(NVIDIA).exists() {
        // No other process is in there, and to this one its own memory is open anyway.
        rules = allow(rules, Path::new(THREADS), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    rules.restrict_self()
}

fn allow<R: RulesetCreatedAttr>(
    rules: R,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<R, RulesetError> {
    let Ok(fd) = PathFd::new(path) else { return Ok(rules) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(RULES) };
    rules.add_rule(PathBeneath::new(fd, access))
}

/// GStreamer's registry, and plugins in places of their own.
fn gstreamer_paths() -> impl Iterator<Item = PathBuf> {
    let set = |name| std::env::var_os(name);
    let registry = set("GST_REGISTRY_1_0").or_else(|| set("GST_REGISTRY")).map_or_else(
        || {
            let cache = set("XDG_CACHE_HOME").map(PathBuf::from);
            cache
                .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))
                .map(|cache| cache.join("gstreamer-1.0"))
        },
        |file| Some(PathBuf::from(file)),
    );
    let places = ["GST_PLUGIN_PATH_1_0", "GST_PLUGIN_PATH", "GST_PLUGIN_SYSTEM_PATH_1_0"];
    let plugins = places.into_iter().filter_map(set);
    let plugins = plugins.flat_map(|p| std::env::split_paths(&p).collect::<Vec<_>>());
    // What lies there may be links to elsewhere.
    let plugins = plugins.flat_map(|place| {
        let inside = std::fs::read_dir(&place).into_iter().flatten().flatten();
        inside.map(|entry| entry.path()).chain([place]).collect::<Vec<_>>()
    });
    registry.into_iter().chain(plugins).filter(|path| path.is_absolute())
}

fn codec_devices() -> impl Iterator<Item = PathBuf> {
    let codec = |name: &str| DEVICE_NAMES.iter().any(|b| name.starts_with(b)) && !is_camera(name);
    let render = |name: &str| name.starts_with("renderD");
    named("/dev", codec).chain(named(CARDS, render))
}

fn named(folder: &str, wanted: impl Fn(&str) -> bool) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let name = entry.file_name().into_string().ok()?;
        wanted(&name).then(|| entry.path())
    })
}

/// A decoder that was broken into must not film the room. Codecs sit on the board; cameras that
/// somebody plugs in on USB.
fn is_camera(name: &str) -> bool {
    let bus = Path::new("/sys/class/video4linux").join(name).join("device/subsystem");
    std::fs::canonicalize(bus).is_ok_and(|bus| bus.ends_with("usb"))
}

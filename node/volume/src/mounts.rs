//! Who mounts. Where systemd runs, it is asked to: the units of this program have a mount namespace of their own, in
//! which what they mounted themselves would be there for nobody else, and no system call that mounts. Elsewhere, as in
//! a rescue shell, this process does.
//!
//! systemd stops such a mount by itself when its device is gone, and when the machine goes down.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount as mount_it, umount2};

use crate::children;
use crate::error::Error;

/// Where systemd takes units from that are there until the next start. The folder is there where systemd is the
/// first process (sd_booted(3)), and only there.
const UNITS: &str = "/run/systemd/system";
/// How systemd is asked.
const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// When it is unmounted as the machine goes down: once every ordinary service has ended. What comes by default waits for
/// the end of this program's own unit as well, which waits for this.
const ORDER: [&str; 4] = [
    "--property=DefaultDependencies=no",
    "--property=Conflicts=umount.target",
    "--property=Before=umount.target",
    "--property=Before=sysinit.target",
];
/// What the kernel has a flag for; other options are the file system's own.
const FLAGS: [(&str, MsFlags); 5] = [
    ("ro", MsFlags::MS_RDONLY),
    ("nodev", MsFlags::MS_NODEV),
    ("nosuid", MsFlags::MS_NOSUID),
    ("noexec", MsFlags::MS_NOEXEC),
    ("noatime", MsFlags::MS_NOATIME),
];

/// Mounts a device at a folder, which is made if it is not there. The options are as mount(8) has them.
///
/// # Errors
/// If the kernel or systemd refuses.
pub fn mount(device: &Path, kind: &str, folder: &Path, options: &str) -> Result<(), Error> {
    let failed = |why: String| {
        Error::failed(format!("mounting {} at {}", device.display(), folder.display()), why)
    };
    if systemd_runs() {
        forget_lazily(&unit(folder)?);
        let (kind, options) = (format!("--type={kind}"), format!("--options={options}"));
        let how = ["--quiet", "--no-ask-password", "--collect", "--fsck=no", &kind, &options];
        let how = how.iter().chain(&ORDER).map(AsRef::as_ref);
        let what = [device.as_os_str(), folder.as_os_str()];
        children::run("/usr/bin/systemd-mount", how.chain(what))?;
        if !is_mounted(folder) {
            return Err(failed(
                "systemd says that it did, but it is not to be seen here".to_owned(),
            ));
        }
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.map_err(|e| failed(e.to_string()))?;
    let flag = |option: &str| FLAGS.iter().find(|(name, _)| *name == option).map(|(_, flag)| *flag);
    let flags = options.split(',').filter_map(flag).collect();
    let own: Vec<_> = options.split(',').filter(|it| flag(it).is_none()).collect();
    mount_it(Some(device), folder, Some(kind), flags, Some(own.join(",").as_str()))
        .map_err(|e| failed(e.to_string()))
}

/// Unmounts what is mounted there, if anything is. If lazily, the folder is free at once, the file system once its last
/// file is closed.
///
/// # Errors
/// `None` if it is in use; else why not.
pub fn unmount(folder: &Path, lazily: bool) -> Result<(), Option<Error>> {
    let failed = |why: String| Some(Error::failed(format!("unmounting {}", folder.display()), why));
    if !is_mounted(folder) {
        return Ok(());
    }
    if systemd_runs() {
        let unit = unit(folder)?;
        let mut stopped = stop(&unit);
        if lazily && is_mounted(folder) {
            stopped = stop_lazily(&unit);
        }
        return match stopped {
            Ok(()) if !is_mounted(folder) => Ok(()),
            Ok(()) => Err(failed("systemd says that it did, but it is to be seen here".to_owned())),
            // systemd was there, and the kernel did not want to.
            Err(_) if !lazily && asked(&["is-active", "--quiet", &unit]).is_ok() => Err(None),
            Err(e) => Err(failed(e.to_string())),
        };
    }
    let flags = if lazily { MntFlags::MNT_DETACH } else { MntFlags::UMOUNT_NOFOLLOW };
    umount2(folder, flags).map_err(|e| match e {
        Errno::EBUSY => None,
        e => failed(e.to_string()),
    })
}

/// Whether systemd is the first process.
fn systemd_runs() -> bool {
    Path::new(UNITS).is_dir()
}

fn asked(arguments: &[&str]) -> Result<(), Error> {
    children::run(SYSTEMCTL, ["--no-ask-password"].iter().chain(arguments)).map(drop)
}

fn stop(unit: &str) -> Result<(), Error> {
    asked(&["--quiet", "stop", "--", unit])
}

/// systemd's unit of what is mounted at a folder.
fn unit(folder: &Path) -> Result<String, Error> {
    let arguments = ["--path".as_ref(), "--suffix=mount".as_ref(), folder.as_os_str()];
    Ok(children::run("/usr/bin/systemd-escape", arguments)?.trim_end().to_owned())
}

/// The file that has a unit unmount lazily: how it unmounts is a setting, which one that is there takes from beside it.
fn lazily_file(unit: &str) -> PathBuf {
    Path::new(UNITS).join(format!("{unit}.d/lazily.conf"))
}

fn stop_lazily(unit: &str) -> Result<(), Error> {
    let file = lazily_file(unit);
    let folder = file.parent().unwrap_or(Path::new(UNITS));
    let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
    made.and_then(|()| fs::write(&file, "[Mount]\nLazyUnmount=yes\n"))
        .map_err(|e| Error::failed(format!("writing {}", file.display()), e))?;
    let stopped = asked(&["daemon-reload"]).and_then(|()| stop(unit));
    forget_lazily(unit);
    stopped
}

/// Also what a run that was killed left: it would hold for what is mounted next.
fn forget_lazily(unit: &str) {
    let file = lazily_file(unit);
    if file.exists() {
        crate::state::remove(&file);
        let _ = file.parent().map(fs::remove_dir);
        let _ = asked(&["daemon-reload"]);
    }
}

/// Whether something is mounted at a folder, as this process sees it.
fn is_mounted(folder: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let at = |line: &str| line.split(' ').nth(1).map(Path::new) == Some(folder);
    mounts.lines().any(at)
}

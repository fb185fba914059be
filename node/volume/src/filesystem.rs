//! ext4 on an opened volume: made for large files, checked, mounted so that nothing on it runs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::Error;
use crate::{children, mounts};

/// Bytes of the volume for each inode. A recording takes six files of some MiB each.
const BYTES_PER_INODE: u32 = 128 * 1024;
/// How it is mounted.
const OPTIONS: &str = "nodev,nosuid,noexec,noatime,errors=remount-ro";

/// Makes an empty ext4 that belongs to this user. Takes no blocks away for root: the service keeps
/// space free by itself.
///
/// # Errors
/// If `mkfs.ext4` refuses.
pub fn make(device: &Path, label: &str, owner: (u32, u32), discards: bool) -> Result<(), Error> {
    let (uid, gid) = owner;
    let discard = if discards { "discard" } else { "nodiscard" };
    let extended = format!("{discard},root_owner={uid}:{gid}");
    let inodes = BYTES_PER_INODE.to_string();
    let device = device.to_string_lossy();
    let sizes = ["-q", "-F", "-m", "0", "-b", "4096", "-i", &inodes, "-E", &extended];
    // So that each recording can have a key of its own (docs/security/erasure.md).
    let rest = ["-O", "encrypt", "-L", label, &device];
    children::run("mkfs.ext4", sizes.into_iter().chain(rest)).map(drop)
}

/// Replays the journal and mends what can be mended without asking, then mounts.
///
/// # Errors
/// If the file system needs a person, or the kernel refuses.
pub fn mount(device: &Path, folder: &Path) -> Result<(), Error> {
    let checked = children::output("e2fsck", ["-p".as_ref(), device.as_os_str()])?;
    // 0 is well, 1 mended; from 4 on something is left.
    if !matches!(checked.status.code(), Some(0 | 1)) {
        let said = String::from_utf8_lossy(&checked.stdout).trim().to_owned();
        let by_hand = format!("e2fsck wants a person: {said} {}", children::complaint(&checked));
        return Err(Error::failed(format!("checking {}", device.display()), by_hand));
    }
    let doing = || format!("mounting {} at {}", device.display(), folder.display());
    is_safe(folder).map_err(|why| Error::failed(doing(), why))?;
    mounts::mount(device, "ext4", folder, OPTIONS)
}

/// Whether only root can say where a folder is: no link on its way, and nothing that others own or
/// write. Else the service, once taken over, could have its volume mounted over `/etc`.
fn is_safe(folder: &Path) -> Result<(), String> {
    let there = folder.ancestors().find(|it| it.symlink_metadata().is_ok()).unwrap_or(folder);
    let real = there.canonicalize().map_err(|e| e.to_string())?;
    if real != there {
        return Err(format!("there is a link on the way; it leads to {}", real.display()));
    }
    // The folder itself is covered by what is mounted there.
    for above in there.ancestors().skip(usize::from(there == folder)) {
        let meta = above.symlink_metadata().map_err(|e| e.to_string())?;
        if meta.uid() != 0 || meta.mode() & 0o022 != 0 {
            return Err(format!("others than root can change {}", above.display()));
        }
    }
    Ok(())
}

/// Grows the file system, mounted or not, to the end of its device.
///
/// # Errors
/// If `resize2fs` refuses.
pub fn grow(device: &Path) -> Result<(), Error> {
    children::run("resize2fs", [device]).map(drop)
}

/// The options of what is mounted here from this device, as the kernel tells them.
#[must_use]
pub fn mounted(device: &Path, folder: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let is_it = words.next().map(Path::new) == Some(device)
            && words.next().map(Path::new) == Some(folder);
        is_it.then(|| words.nth(1).unwrap_or_default().to_owned())
    })
}

//! A key on a provisioning stick: `NAME.key` in the file system of the partition with the
//! configured label. The stick is mounted read-only while its file is read, and can be pulled out
//! once the volume is open.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Asked, Found, RecoveryKey, Secret, Source, read_both};
use crate::config::{DeviceName, Name};
use crate::{children, mounts, state};

/// File systems that a stick may have; no others are handed to the kernel to parse.
const FILE_SYSTEMS: [&str; 2] = ["vfat", "ext4"];
/// How it is mounted.
const OPTIONS: &str = "ro,nodev,nosuid,noexec";

/// The provisioning stick.
#[derive(Debug)]
pub(super) struct Stick {
    device: DeviceName,
}

impl Stick {
    pub(super) fn new(label: &str) -> Self {
        Self { device: DeviceName::PartitionLabel(label.to_owned()) }
    }
}

impl Source for Stick {
    fn fetch(&self, asked: &Asked<'_>) -> Result<Found, String> {
        let mounted = Mounted::new(&self.device.find()?, asked.volume)?;
        read_both(&mounted.0.join(format!("{}.key", asked.volume)))
    }
}

/// The recovery key that a person put onto the stick as `NAME.recovery`; `None` if there is no stick, or no such file.
///
/// # Errors
/// Why it cannot be read, in words, without anything of it.
pub(super) fn recovery(label: &str, volume: &Name) -> Result<Option<RecoveryKey>, String> {
    let Ok(device) = Stick::new(label).device.find() else { return Ok(None) };
    let mounted = Mounted::new(&device, volume)?;
    let Some(typed) = Secret::read(&mounted.0.join(format!("{volume}.recovery")))? else {
        return Ok(None);
    };
    RecoveryKey::parse(typed.bytes()).map(Some).map_err(|e| e.to_string())
}

/// A mounted stick; it is unmounted when it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(device: &Path, volume: &Name) -> Result<Self, String> {
        let arguments = ["-p", "-o", "value", "-s", "TYPE"].map(AsRef::as_ref);
        let kind = children::run("blkid", arguments.into_iter().chain([device.as_os_str()]));
        let kind = kind.map_err(|e| e.to_string())?;
        let Some(kind) = FILE_SYSTEMS.iter().find(|it| **it == kind.trim()) else {
            return Err(format!("{}: {:?} is not read here", device.display(), kind.trim()));
        };
        let folder = Path::new(state::RUN).join(format!("stick-{volume}"));
        state::folder(&folder).map_err(|e| e.to_string())?;
        // One that a killed run left mounted would be hidden, and stay.
        let _ = mounts::unmount(&folder, true);
        mounts::mount(device, kind, &folder, OPTIONS).map_err(|e| e.to_string())?;
        Ok(Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = mounts::unmount(&self.0, true);
        let _ = fs::remove_dir(&self.0);
    }
}

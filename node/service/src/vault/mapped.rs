//! What lies between a file system and its disk, as the kernel tells it.
//!
//! Nothing that a configuration or a header says counts here: `/sys/dev/block/MAJOR:MINOR/dm/uuid` is
//! the kernel's own word for what it does with each block. A file system is encrypted if its device is
//! a LUKS2 mapping, or stands on such devices alone (a logical volume within one).

use std::path::Path;

use nix::sys::stat::{major, minor};

/// Where the kernel tells of block devices.
const BLOCK_DEVICES: &str = "/sys/dev/block";
/// What `cryptsetup` has the kernel call a LUKS2 mapping: this, the header's UUID, its name.
const LUKS2: &str = "CRYPT-LUKS2-";
/// Deepest stack of devices that is looked through.
const DEPTH_MAX: usize = 8;

/// Whether what lies on a volume is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// It is not: whoever has the disk has the recordings.
    None,
    /// By LUKS2.
    Luks2 {
        /// What the device mapper calls the opened volume.
        mapped: String,
        /// The UUID in its header, in hex without dashes.
        uuid: String,
    },
}

impl Encryption {
    /// Whether it is.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        matches!(self, Self::Luks2 { .. })
    }

    /// In words, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::None => "unencrypted (plain directory)".to_owned(),
            Self::Luks2 { mapped, .. } => format!("encrypted (LUKS2, {mapped})"),
        }
    }

    /// Of the file system that a path is on.
    ///
    /// # Errors
    /// Where it cannot be looked at.
    pub fn of_path(path: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        Ok(Self::of_device(std::fs::metadata(path)?.dev()))
    }

    /// Of a place that memory is swapped to: a block device, or a file.
    #[must_use]
    pub fn of_swap(path: &Path) -> Self {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        match std::fs::metadata(path) {
            Ok(data) if data.file_type().is_block_device() => Self::of_device(data.rdev()),
            Ok(data) => Self::of_device(data.dev()),
            Err(_) => Self::None,
        }
    }

    /// Of the file system that has this device number.
    pub(super) fn of_device(device: u64) -> Self {
        let name = format!("{}:{}", major(device), minor(device));
        Self::look(Path::new(BLOCK_DEVICES), &name, DEPTH_MAX)
    }

    fn look(devices: &Path, name: &str, depth: usize) -> Self {
        let device = devices.join(name);
        let read = |member: &str| {
            let text = std::fs::read_to_string(device.join(member)).ok()?;
            Some(text.trim_end().to_owned())
        };
        if let Some(uuid) = read("dm/uuid")
            && let Some(rest) = uuid.strip_prefix(LUKS2)
        {
            let uuid = rest.split('-').next().unwrap_or_default().to_owned();
            return Self::Luks2 { mapped: read("dm/name").unwrap_or_default(), uuid };
        }
        let Some(depth) = depth.checked_sub(1) else { return Self::None };
        let below = std::fs::read_dir(device.join("slaves")).into_iter().flatten().flatten();
        let mut found = Self::None;
        for slave in below {
            let number = std::fs::read_to_string(slave.path().join("dev")).unwrap_or_default();
            found = Self::look(devices, number.trim_end(), depth);
            // Part of it in the clear is in the clear.
            if found == Self::None {
                return found;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A tree as the kernel shows it: for each device its `dm/uuid` and what it stands on.
    fn devices(test: &str, all: &[(&str, &str, &[&str])]) -> std::path::PathBuf {
        let folder =
            std::env::temp_dir().join(format!("holdfast-sys-{}-{test}", std::process::id()));
        for (name, uuid, below) in all {
            let device = folder.join(name);
            fs::create_dir_all(device.join("slaves")).unwrap();
            if !uuid.is_empty() {
                fs::create_dir_all(device.join("dm")).unwrap();
                fs::write(device.join("dm/uuid"), format!("{uuid}\n")).unwrap();
                fs::write(device.join("dm/name"), "holdfast-data0\n").unwrap();
            }
            for (at, number) in below.iter().enumerate() {
                let slave = device.join(format!("slaves/s{at}"));
                fs::create_dir_all(&slave).unwrap();
                fs::write(slave.join("dev"), format!("{number}\n")).unwrap();
            }
        }
        folder
    }

    const LUKS: &str = "CRYPT-LUKS2-0123456789abcdef0123456789abcdef-holdfast-data0";

    #[test]
    fn a_luks2_mapping_is_encrypted_and_a_plain_disk_is_not() {
        let sys = devices("plain", &[("254:0", LUKS, &["8:1"]), ("8:1", "", &[])]);
        let found = Encryption::look(&sys, "254:0", DEPTH_MAX);
        let uuid = "0123456789abcdef0123456789abcdef".to_owned();
        assert_eq!(found, Encryption::Luks2 { mapped: "holdfast-data0".to_owned(), uuid });
        assert_eq!(Encryption::look(&sys, "8:1", DEPTH_MAX), Encryption::None);
        assert_eq!(Encryption::look(&sys, "0:27", DEPTH_MAX), Encryption::None);
    }

    #[test]
    fn what_stands_on_encrypted_devices_alone_is_encrypted() {
        let lvm = "LVM-abcdef";
        let all: &[(&str, &str, &[&str])] = &[
            ("254:0", LUKS, &["8:1"]),
            ("254:1", lvm, &["254:0"]),
            ("254:2", lvm, &["254:0", "8:1"]),
            ("254:3", "CRYPT-PLAIN-x", &["8:1"]),
            ("8:1", "", &[]),
        ];
        let sys = devices("stacked", all);
        assert!(Encryption::look(&sys, "254:1", DEPTH_MAX).is_encrypted());
        assert!(!Encryption::look(&sys, "254:2", DEPTH_MAX).is_encrypted());
        assert!(!Encryption::look(&sys, "254:3", DEPTH_MAX).is_encrypted());
    }

    #[test]
    fn devices_that_stand_on_each_other_end() {
        let sys =
            devices("loop", &[("254:0", "LVM-a", &["254:1"]), ("254:1", "LVM-b", &["254:0"])]);
        assert_eq!(Encryption::look(&sys, "254:0", DEPTH_MAX), Encryption::None);
    }
}

//! Finding a volume's block device, and saying what is on it.
//!
//! Devices are found by asking every block device (`blkid` without its cache), not by the links
//! that udev makes: of two disks that claim the same name a link shows only one, and one of them
//! may be somebody's stick.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::children;
use crate::config::DeviceName;
use crate::error::Error;

/// Bytes that are written and read at once.
const CHUNK_BYTES: usize = 1 << 20;
/// How often it is looked whether a device is unused, and how long between.
const UNUSED_TRIES_MAX: u32 = 100;
const UNUSED_PAUSE: Duration = Duration::from_millis(100);

impl DeviceName {
    /// What `blkid` looks for; the same for the same name.
    pub(crate) fn tag(&self) -> String {
        match self {
            Self::PartitionLabel(label) => format!("PARTLABEL={label}"),
            Self::PartitionUuid(uuid) => format!("PARTUUID={}", uuid.to_lowercase()),
            Self::Uuid(uuid) => format!("UUID={}", uuid.to_lowercase()),
        }
    }

    /// The one block device of this name.
    ///
    /// # Errors
    /// If there is none, or there are several, in words.
    pub fn find(&self) -> Result<PathBuf, String> {
        let tag = self.tag();
        let arguments = ["-c", "/dev/null", "-o", "device", "-t", &tag];
        let output = children::output("blkid", arguments).map_err(|e| e.to_string())?;
        // 2 is how it says that there is none.
        if !output.status.success() && output.status.code() != Some(2) {
            return Err(children::complaint(&output));
        }
        let found: Vec<PathBuf> =
            String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect();
        match found.as_slice() {
            [] => Err(format!("no block device has {tag}. Is its disk there?")),
            [one] if is_block_device(one) => Ok(one.clone()),
            [one] => Err(format!("{} is no block device", one.display())),
            several => Err(format!(
                "{} devices have {tag}: {several:?}. Remove one, or name it by UUID",
                several.len()
            )),
        }
    }
}

/// What every block device is known by, each as [`DeviceName::tag`] has it.
///
/// # Errors
/// If `blkid` cannot be run, or complains.
pub(crate) fn tags() -> Result<BTreeSet<String>, Error> {
    let all = children::run("blkid", ["-c", "/dev/null", "-o", "export"])?;
    Ok(all.lines().map(str::to_owned).collect())
}

fn is_block_device(path: &Path) -> bool {
    path.metadata().is_ok_and(|meta| meta.file_type().is_block_device())
}

/// How many bytes it has.
///
/// # Errors
/// If it cannot be opened.
pub fn bytes(device: &Path) -> std::io::Result<u64> {
    use std::io::{Seek, SeekFrom};
    OpenOptions::new().read(true).open(device)?.seek(SeekFrom::End(0))
}

/// Waits until nothing has it mounted or mapped: the kernel lets go of what was closed a little later.
#[must_use]
pub fn becomes_unused(device: &Path) -> bool {
    for _ in 0..UNUSED_TRIES_MAX {
        if is_unused(device) {
            return true;
        }
        std::thread::sleep(UNUSED_PAUSE);
    }
    false
}

/// Whether nothing has it mounted or mapped.
#[must_use]
pub fn is_unused(device: &Path) -> bool {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_EXCL).open(device).is_ok()
}

/// What `wipefs` knows of a device.
#[derive(Debug, Deserialize)]
struct Signatures {
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Signature {
    #[serde(rename = "type")]
    kind: String,
    label: Option<String>,
    uuid: Option<String>,
}

/// A device as it was when a person was shown it: to be compared with what has its name later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its node.
    pub path: PathBuf,
    number: u64,
    /// Its size, in bytes.
    pub bytes: u64,
    /// The UUID of its partition; empty if it is none.
    pub partition: String,
    signatures: Vec<Signature>,
}

impl Shown {
    /// Looks at a device.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn of(device: &Path) -> Result<Self, Error> {
        use std::os::unix::fs::MetadataExt;
        let doing = |e| Error::failed(format!("looking at {}", device.display()), e);
        let arguments = ["-c", "/dev/null", "-p", "-s", "PART_ENTRY_UUID", "-o", "value"];
        let arguments = arguments.into_iter().map(AsRef::as_ref).chain([device.as_os_str()]);
        // It fails where there is nothing to tell.
        let partition = children::output("blkid", arguments)?;
        Ok(Self {
            path: device.to_owned(),
            number: device.metadata().map_err(doing)?.rdev(),
            bytes: bytes(device).map_err(doing)?,
            partition: String::from_utf8_lossy(&partition.stdout).trim().to_owned(),
            signatures: signatures(device)?,
        })
    }

    /// What it holds, as [`contents`] says it.
    #[must_use]
    pub fn contents(&self) -> Vec<String> {
        named(&self.signatures)
    }

    /// What it holds beside the header with this UUID.
    #[must_use]
    pub fn contents_beside(&self, uuid: &str) -> Vec<String> {
        let is_it = |it: &&Signature| it.kind == "crypto_LUKS" && it.uuid.as_deref() == Some(uuid);
        let others: Vec<_> = self.signatures.iter().filter(|it| !is_it(it)).cloned().collect();
        named(&others)
    }
}

/// The file systems, partition tables, RAID members and the like that a device shows, each with
/// its label or UUID where it has one: `ext4 "photos"`. Each once.
///
/// # Errors
/// If it cannot be looked at.
pub fn contents(device: &Path) -> Result<Vec<String>, Error> {
    signatures(device).map(|found| named(&found))
}

fn signatures(device: &Path) -> Result<Vec<Signature>, Error> {
    let arguments = ["--no-act".as_ref(), "--json".as_ref(), device.as_os_str()];
    let json = children::run("wipefs", arguments)?;
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    let found: Signatures = serde_json::from_str(&json)
        .map_err(|e| Error::failed(format!("looking at {}", device.display()), e))?;
    Ok(found.signatures)
}

fn named(signatures: &[Signature]) -> Vec<String> {
    let name = |it: &Signature| match it.label.as_ref().or(it.uuid.as_ref()) {
        // A label is somebody else's text: it must not paint the terminal.
        Some(name) => format!("{} {:?}", it.kind, name.replace('\'', "_")),
        None => it.kind.clone(),
    };
    let mut names: Vec<String> = signatures.iter().map(name).collect();
    names.sort();
    names.dedup();
    names
}

/// Overwrites the front of a device, and reads from the device itself that it is zeros: what the
/// kernel's cache holds is dropped before. What the device's own cache and spare blocks hold nobody
/// can read back.
///
/// # Errors
/// If the device fails, or something else than zeros is read.
pub fn overwrite(device: &Path, bytes: u64) -> Result<(), Error> {
    let doing = |e: std::io::Error| Error::failed(format!("overwriting {}", device.display()), e);
    let mut file = OpenOptions::new().write(true).open(device).map_err(doing)?;
    let zeros = vec![0; CHUNK_BYTES];
    for length in chunks(bytes) {
        std::io::Write::write_all(&mut file, &zeros[..length]).map_err(doing)?;
    }
    file.sync_all().map_err(doing)?;
    children::run("blockdev", ["--flushbufs".as_ref(), device.as_os_str()])?;
    let mut file = OpenOptions::new().read(true).open(device).map_err(doing)?;
    let mut read = vec![0xff; CHUNK_BYTES];
    for length in chunks(bytes) {
        std::io::Read::read_exact(&mut file, &mut read[..length]).map_err(doing)?;
        if read[..length].iter().any(|byte| *byte != 0) {
            return Err(doing(std::io::Error::other("what was written is not what is read back")));
        }
    }
    Ok(())
}

/// The lengths of the pieces in which so many bytes are written and read.
fn chunks(bytes: u64) -> impl Iterator<Item = usize> {
    // Each at most CHUNK_BYTES.
    (0..bytes.div_ceil(CHUNK_BYTES as u64))
        .map(move |n| (bytes - n * CHUNK_BYTES as u64).min(CHUNK_BYTES as u64) as usize)
}

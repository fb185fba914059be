//! A small image made of real parts, as the image builder hands it out, and disks to flash.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{output, repo, sha256_of};
use serde_json::Value;
use tempfile::TempDir;

pub(super) const MIB: u64 = 1 << 20;
pub(super) const IMAGE: u64 = 24 * MIB;
/// Where the parts of the image lie, in bytes.
pub(super) const ESP: (u64, u64) = (MIB, 4 * MIB);
pub(super) const ROOT_A: (u64, u64) = (5 * MIB, 8 * MIB);
pub(super) const ROOT_B: (u64, u64) = (13 * MIB, 8 * MIB);
/// A block of root A that is a hole in the image's file, between others that are not.
pub(super) const HOLE: u64 = ROOT_A.0 + 2 * MIB;

const TABLE: &str = "label: gpt
start=2048, size=8192, type=uefi, name=esp
start=10240, size=16384, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=holdfast_1.2.3
start=26624, size=16384, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=_empty
";

/// A folder with an image, and room for targets.
pub(super) struct Place {
    pub(super) dir: TempDir,
}

impl Place {
    /// Makes keys and an image that they signed.
    pub(super) fn new() -> Result<Self> {
        let place = Self { dir: tempfile::Builder::new().prefix("holdfast-flash-").tempdir()? };
        fs::create_dir(place.path("out"))?;
        for name in ["update", "other"] {
            let key = place.path(&format!("{name}.pem"));
            let new =
                ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out"];
            output(Command::new("openssl").args(new).arg(&key))?;
            let public = place.path(&format!("{name}.pub.pem"));
            output(
                Command::new("openssl")
                    .args(["pkey", "-pubout", "-in"])
                    .arg(&key)
                    .arg("-out")
                    .arg(public),
            )?;
        }
        place.make_disk()?;
        place.pack("raw")?;
        place.sign("update")?;
        Ok(place)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The image as it was before it was packed.
    pub(super) fn raw(&self) -> PathBuf {
        self.path("raw")
    }

    pub(super) fn packed(&self) -> PathBuf {
        self.path("out/holdfast_1.2.3.raw.zst")
    }

    fn make_disk(&self) -> Result<()> {
        let raw = sized(&self.raw(), IMAGE)?;
        sfdisk(&self.raw(), TABLE)?;
        let esp = self.path("esp");
        sized(&esp, ESP.1)?;
        output(Command::new("/sbin/mkfs.vfat").args(["-n", "ESP"]).arg(&esp))?;
        fs::write(self.path("kernel"), noise(MIB)?)?;
        output(Command::new("mmd").arg("-i").arg(&esp).args(["::/EFI", "::/EFI/BOOT"]))?;
        let into = "::/EFI/BOOT/BOOTX64.EFI";
        output(Command::new("mcopy").arg("-i").arg(&esp).arg(self.path("kernel")).arg(into))?;
        // Blocks of zeros stay holes, as in an image that was put together of sparse files.
        for (index, block) in fs::read(&esp)?.chunks(4096).enumerate() {
            if block.iter().any(|byte| *byte != 0) {
                raw.write_all_at(block, ESP.0 + 4096 * index as u64)?;
            }
        }
        raw.write_all_at(&noise(2 * MIB)?, ROOT_A.0)?;
        raw.write_all_at(&noise(2 * MIB)?, HOLE + 4096)?;
        raw.sync_all()?;
        Ok(())
    }

    /// Makes what is handed out of a disk in this folder.
    pub(super) fn pack(&self, name: &str) -> Result<()> {
        let raw = self.path(name);
        let bmap = self.path("out/holdfast_1.2.3.raw.bmap");
        output(Command::new("bmaptool").arg("create").arg(&raw).arg("-o").arg(bmap))?;
        output(Command::new("zstd").arg("-qf").arg(&raw).arg("-o").arg(self.packed()))?;
        let sums: String = ["holdfast_1.2.3.raw.zst", "holdfast_1.2.3.raw.bmap"]
            .iter()
            .map(|name| Ok(format!("{}  {name}\n", sha256_of(&self.path("out").join(name))?)))
            .collect::<Result<_>>()?;
        fs::write(self.path("out/SHA256SUMS"), sums)?;
        Ok(())
    }

    /// Signs what is handed out.
    pub(super) fn sign(&self, key: &str) -> Result<()> {
        let sign = ["dgst", "-sha256", "-sign"];
        let key = self.path(&format!("{key}.pem"));
        let (to, sums) = (self.path("out/SHA256SUMS.sig"), self.path("out/SHA256SUMS"));
        output(Command::new("openssl").args(sign).arg(key).arg("-out").arg(to).arg(sums))?;
        Ok(())
    }

    /// A disk of this size that was used: other bytes everywhere, another partition table, and a
    /// LUKS header where the first start would make a partition of its own.
    pub(super) fn used_disk(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.path(name);
        let mut disk = File::create(&path)?;
        for _ in 0..bytes / MIB {
            disk.write_all(&[0xa5; MIB as usize])?;
        }
        drop(disk);
        if bytes >= 64 * MIB {
            sfdisk(&path, "label: gpt\nstart=2048, size=8192\nstart=55296, size=4096\n")?;
            let disk = File::options().write(true).open(&path)?;
            disk.write_all_at(b"LUKS\xba\xbe\x00\x02", 55296 * 512)?;
        }
        Ok(path)
    }

    /// `flash` with the image's key.
    pub(super) fn flash(&self, target: &Path) -> Command {
        let mut command = script("flash");
        command.arg("--key").arg(self.path("update.pub.pem"));
        command.arg(self.path("out")).arg(target);
        command
    }

    /// The same, confirmed.
    pub(super) fn flash_file(&self, target: &Path) -> Command {
        let mut command = self.flash(target);
        command.arg("--confirm").arg(format!("erase {}", target.display()));
        command
    }
}

/// One of the technicians' scripts, with nobody to ask.
pub(super) fn script(name: &str) -> Command {
    let mut command = Command::new(repo().join("scripts").join(name));
    command.stdin(Stdio::null());
    command
}

/// Runs it and hands back how it ended, and what it said.
pub(super) fn said(command: &mut Command) -> Result<(bool, String)> {
    let Output { status, stdout, stderr } =
        command.output().with_context(|| format!("{command:?}"))?;
    Ok((status.success(), String::from_utf8([stdout, stderr].concat())?))
}

/// Runs it and expects it to refuse.
pub(super) fn refused(command: &mut Command, because: &str) -> Result<String> {
    let (is_fine, said) = said(command)?;
    ensure!(!is_fine && said.contains(because), "{command:?}\nwanted: {because}\nsaid: {said}");
    Ok(said)
}

/// Runs it and reads what it printed as JSON.
pub(super) fn json(command: &mut Command) -> Result<Value> {
    Ok(serde_json::from_slice(&output(command.arg("--json"))?)?)
}

pub(super) fn sfdisk(disk: &Path, table: &str) -> Result<()> {
    let mut sfdisk = Command::new("/sbin/sfdisk");
    sfdisk.args(["-q", "--wipe", "never"]).arg(disk).stdin(Stdio::piped());
    let mut child = sfdisk.stdout(Stdio::null()).spawn()?;
    child.stdin.take().context("no stdin")?.write_all(table.as_bytes())?;
    ensure!(child.wait()?.success(), "sfdisk {}", disk.display());
    Ok(())
}

pub(super) fn sized(path: &Path, bytes: u64) -> Result<File> {
    let file = File::create(path)?;
    file.set_len(bytes)?;
    Ok(file)
}

pub(super) fn noise(bytes: u64) -> Result<Vec<u8>> {
    let mut noise = Vec::new();
    File::open("/dev/urandom")?.take(bytes).read_to_end(&mut noise)?;
    Ok(noise)
}

/// Bytes of a disk.
pub(super) fn bytes(disk: &Path, (start, length): (u64, u64)) -> Result<Vec<u8>> {
    let mut file = File::open(disk)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A file on the ESP, read with mtools.
pub(super) fn on_esp(disk: &Path, name: &str) -> Result<Vec<u8>> {
    let at = format!("{}@@{}", disk.display(), ESP.0);
    output(Command::new("mtype").args(["-i", &at, &format!("::/{name}")]))
}

/// A loop device over a file; it is detached when it is dropped.
pub(super) struct Loop(pub(super) PathBuf);

impl Loop {
    pub(super) fn of(file: &Path) -> Result<Self> {
        let path = output(Command::new("/sbin/losetup").args(["-f", "--show"]).arg(file))?;
        Ok(Self(String::from_utf8(path)?.trim().into()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("/sbin/losetup").arg("-d").arg(&self.0).status();
    }
}

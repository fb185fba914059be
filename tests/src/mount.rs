//! A small disk of its own: a file with ext4 in it, mounted.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::tools::output;
use crate::wait::until;

/// A mounted disk; it is unmounted when it is dropped.
#[derive(Debug)]
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    /// Makes and mounts a disk of this size. Needs root, or `sudo`.
    ///
    /// # Errors
    /// If it cannot be made or mounted.
    pub fn new(bytes: u64) -> Result<Self> {
        Self::made_with(bytes, &[])
    }

    /// The same, whose file system can encrypt folders.
    ///
    /// # Errors
    /// If it cannot be made or mounted, or the kernel cannot encrypt folders.
    pub fn encrypting(bytes: u64) -> Result<Self> {
        let feature = "/sys/fs/ext4/features/encryption";
        ensure!(
            fs::exists(feature)?,
            "this kernel cannot encrypt folders (no {feature}): run the tests on one with \
             CONFIG_FS_ENCRYPTION"
        );
        Self::made_with(bytes, &["-O", "encrypt"])
    }

    fn made_with(bytes: u64, options: &[&str]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-disk-").tempdir()?;
        let image = dir.path().join("image");
        File::create(&image)?.set_len(bytes)?;
        let mkfs = ["-q", "-m", "0"].iter().chain(options);
        output(Command::new("/sbin/mkfs.ext4").args(mkfs).arg(&image))?;
        Self::of(dir)
    }

    /// A disk that is a copy of this image.
    ///
    /// # Errors
    /// If it cannot be mounted.
    pub fn copy_of(image: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-disk-").tempdir()?;
        output(Command::new("cp").arg("--sparse=always").arg(image).arg(dir.path().join("image")))?;
        Self::of(dir)
    }

    fn of(dir: TempDir) -> Result<Self> {
        let disk = Self { dir };
        fs::create_dir(disk.path())?;
        disk.put_back()?;
        let me = format!("{}:{}", nix::unistd::getuid(), nix::unistd::getgid());
        output(as_root("chown").arg(me).arg(disk.path()))?;
        Ok(disk)
    }

    /// Unmounts it, whoever uses it. What is open on it stays so.
    ///
    /// # Errors
    /// If it is not mounted.
    pub fn pull(&self) -> Result<()> {
        output(as_root("umount").arg("-l").arg(self.path()))?;
        Ok(())
    }

    /// Mounts it, on whatever loop device is free.
    ///
    /// # Errors
    /// If it cannot be mounted.
    pub fn put_back(&self) -> Result<()> {
        self.mount_at(&self.path())
    }

    /// Mounts it in another place, such as that of another disk that was pulled.
    ///
    /// # Errors
    /// If it cannot be mounted.
    pub fn mount_at(&self, path: &Path) -> Result<()> {
        let image = self.dir.path().join("image");
        output(as_root("mount").args(["-o", "loop"]).arg(&image).arg(path))?;
        Ok(())
    }

    /// Waits until the kernel has let go of it after [`pull`](Self::pull): nothing on it is open, and
    /// its loop device is free.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn let_go(&self) -> Result<()> {
        let image = self.dir.path().join("image");
        until("the kernel to let go of a disk", async || {
            let held = output(Command::new("/sbin/losetup").arg("-j").arg(&image))?;
            Ok(held.is_empty().then_some(()))
        })
        .await
    }

    /// Makes its file system read-only, or not.
    ///
    /// # Errors
    /// If the kernel does not.
    pub fn set_read_only(&self, is_read_only: bool) -> Result<()> {
        let how = if is_read_only { "remount,ro" } else { "remount,rw" };
        output(as_root("mount").args(["-o", how]).arg(self.path()))?;
        Ok(())
    }

    /// The file that it is in.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    /// Unmounts it, does something with its image, and mounts it again. Nothing on it may be open.
    ///
    /// # Errors
    /// If it is in use, or what was to be done fails.
    pub fn unmounted<T>(&self, act: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        output(as_root("umount").arg(self.path()))?;
        let done = act(&self.image());
        self.put_back()?;
        done
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// If the disk cannot be asked.
    pub fn free_bytes(&self) -> Result<u64> {
        let stat = nix::sys::statvfs::statvfs(&self.path())?;
        Ok(stat.blocks_available() * stat.fragment_size())
    }

    /// Fills it until at most this much is free; the file that does it, to be removed later.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn fill_to(&self, free_bytes: u64) -> Result<PathBuf> {
        let filler = self.path().join("filler");
        let bytes = self.free_bytes()?.saturating_sub(free_bytes);
        let file = File::create(&filler)?;
        nix::fcntl::posix_fallocate(&file, 0, bytes.try_into()?)?;
        Ok(filler)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left a program behind that still ends.
        let _ = output(as_root("umount").arg("-l").arg(self.path()));
    }
}

fn as_root(program: &str) -> Command {
    if nix::unistd::getuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

//! A machine of its own: User Mode Linux, a whole kernel as a process, with the device mapper that
//! the host's kernel may lack, and with disks that are files.
//!
//! It starts from the host's own root, read-only, runs a script as root, and is off again in some
//! seconds. Two guests run at once at most, whichever process starts them: each takes a core and
//! 256 MiB. [`Running::cut_power`] ends one as a power cut does: what the guest's kernel had not
//! handed to its disks is lost.
//!
//! In the script, `$W` is the guest's folder, shared with the host; `step NAME COMMAND…` runs a
//! command and keeps its exit code and output for [`Ran::step`]; what is printed to `/dev/console`
//! is with the host at once, in order, and [`Running::console`] has it. [`Guest::run_with_systemd`] starts systemd
//! first, with udev, so that units are what they are on a box.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::tools::output;

/// Longest that a guest may run; on a busy machine it is five times slower than on a quiet one.
const PATIENCE: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(20);
/// Guests at once: each takes a core.
const AT_ONCE_MAX: u32 = 2;
/// Most that is kept of what a guest prints, in bytes.
const CONSOLE_BYTES_MAX: usize = 4 << 20;

/// What the kernel starts first. `@W@` is the folder on the host, `@IN@` where the guest has it, `@FIRST@` what comes then.
const INIT: &str = r#"#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run W=@IN@
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mount -t tmpfs -o mode=755 run /run
mkdir -p "$W"
mount -t hostfs -o "@W@" none "$W"
ip link set lo up
# The host has no /lib/modules; the guest's lie elsewhere.
mkdir -p /run/mods/lib/modules
ln -s "/usr/lib/uml/modules/$(uname -r)" /run/mods/lib/modules/
printf '#!/bin/sh\nexec /sbin/modprobe -d /run/mods "$@"\n' >/run/modprobe
chmod 755 /run/modprobe
echo /run/modprobe >/proc/sys/kernel/modprobe
@FIRST@
"#;

/// Makes up for registers of newer processors that its kernel does not know.
const XSTATE: &str = include_str!("guest/xstate.c");

/// A script alone: the device mapper has to do without udev.
const FIRST_SCRIPT: &str = "DM_DISABLE_UDEV=1 exec bash $W/run";

/// systemd, as the first process, and udev. What is written in the guest is gone with it.
const FIRST_SYSTEMD: &str = r#"
for folder in /tmp /var/tmp /var/lib /srv; do mount -t tmpfs -o mode=755 none $folder; done
chmod 1777 /tmp /var/tmp
mkdir -p /run/systemd/system
cat >/run/systemd/system/script.service <<UNIT
[Unit]
DefaultDependencies=no
Wants=systemd-udevd.service systemd-tmpfiles-setup.service
After=systemd-udevd.service
[Service]
Type=oneshot
Environment=PATH=$PATH HOME=$HOME W=$W
ExecStart=bash $W/run
StandardOutput=tty
TTYPath=/dev/console
UNIT
# It takes the host's /.dockerenv, if there is one, for its own unless it is told.
export container=
exec /lib/systemd/systemd --unit=script.service --log-target=console --show-status=no
"#;

/// What runs the script, and turns the machine off.
const RUN: &str = r#"step() {
    local name=$1 code=0
    shift
    "$@" >"$W/steps/$name.out" 2>"$W/steps/$name.err" || code=$?
    echo $code >"$W/steps/$name.code"
}
export -f step
bash "$W/script" >"$W/out" 2>&1
echo $? >"$W/code"
sync
echo o >/proc/sysrq-trigger
sleep 600
"#;

/// Where a guest with systemd has its folder: not in /tmp, which its units may have one of their own of.
const SYSTEMD_W: &str = "/run/w";

/// A machine that is off, with its disks.
#[derive(Debug)]
pub struct Guest {
    dir: TempDir,
    disks: Vec<PathBuf>,
}

/// A machine that runs.
#[derive(Debug)]
pub struct Running<'a> {
    guest: &'a Guest,
    child: Child,
    console: Arc<Mutex<Vec<u8>>>,
    begun: Instant,
    _place: Flock<File>,
}

/// What became of a script.
#[derive(Debug)]
pub struct Ran {
    /// Exit code of the script.
    pub code: i32,
    /// What it printed, its errors too.
    pub output: String,
    steps: PathBuf,
}

/// What became of a step.
#[derive(Debug)]
pub struct Step {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Guest {
    /// A machine without disks.
    ///
    /// # Errors
    /// If its folder cannot be made.
    pub fn new() -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("hf-guest-").tempdir()?;
        Ok(Self { dir, disks: Vec::new() })
    }

    /// The folder that it shares with the host.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Gives it one more disk, which is empty and takes no space: `/dev/ubda`, then `/dev/ubdb`, ….
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn add_disk(&mut self, bytes: u64) -> Result<PathBuf> {
        let path = self.path().join(format!("disk{}", self.disks.len()));
        File::create(&path)?.set_len(bytes)?;
        self.disks.push(path.clone());
        Ok(path)
    }

    /// Writes a partition table on a disk of a machine that is off, in `sfdisk`'s language.
    ///
    /// # Errors
    /// If `sfdisk` refuses.
    pub fn partition(disk: &Path, table: &str) -> Result<()> {
        let script = disk.with_extension("table");
        fs::write(&script, table)?;
        let mut sfdisk = Command::new("/usr/sbin/sfdisk");
        sfdisk.args(["-q", "--no-reread", "--no-tell-kernel"]).arg(disk);
        output(sfdisk.stdin(File::open(&script)?)).map(drop)
    }

    /// Starts it, runs a script, and waits until it is off.
    ///
    /// # Errors
    /// If it does not come up, or does not end.
    pub fn run(&self, script: &str) -> Result<Ran> {
        self.start(script)?.wait()
    }

    /// As [`Guest::run`], under systemd with udev.
    ///
    /// # Errors
    /// If it does not come up, or does not end.
    pub fn run_with_systemd(&self, script: &str) -> Result<Ran> {
        self.start_with_systemd(script)?.wait()
    }

    /// As [`Guest::start`], under systemd with udev.
    ///
    /// # Errors
    /// If User Mode Linux is not there.
    pub fn start_with_systemd(&self, script: &str) -> Result<Running<'_>> {
        self.begin(script, SYSTEMD_W, FIRST_SYSTEMD)
    }

    /// Starts it with a script.
    ///
    /// # Errors
    /// If User Mode Linux is not there.
    pub fn start(&self, script: &str) -> Result<Running<'_>> {
        self.begin(script, &self.path().to_string_lossy(), FIRST_SCRIPT)
    }

    fn begin(&self, script: &str, inside: &str, first: &str) -> Result<Running<'_>> {
        let w = self.path();
        for old in ["code", "out", "steps"] {
            let old = w.join(old);
            if old.is_dir() { fs::remove_dir_all(old)? } else { drop(fs::remove_file(old)) }
        }
        fs::create_dir(w.join("steps"))?;
        fs::write(w.join("script"), script)?;
        fs::write(w.join("run"), RUN)?;
        let init = w.join("init");
        let text = INIT.replace("@W@", &w.to_string_lossy()).replace("@IN@", inside);
        fs::write(&init, text.replace("@FIRST@", first))?;
        fs::set_permissions(&init, Permissions::from_mode(0o755))?;
        let place = place()?;
        let mut linux = Command::new("linux.uml");
        let mut name = String::from("hf");
        write!(name, "{}", std::process::id())?;
        linux.arg("mem=256M").arg(format!("umid={name}"));
        linux.arg(format!("uml_dir={}/uml/", w.display()));
        for (number, disk) in self.disks.iter().enumerate() {
            linux.arg(format!("ubd{number}={}", disk.display()));
        }
        linux.args(["rootfstype=hostfs", "rootflags=/", "root=/dev/root", "ro", "quiet"]);
        linux.args(["loglevel=3", "panic=-1", "con=null", "con0=null,fd:1"]);
        linux.arg(format!("init={}", init.display()));
        linux.env("LD_PRELOAD", xstate(w)?);
        // A group of its own, so that all its processes can be ended at once.
        linux.env_remove("TMPDIR").stdin(Stdio::null()).process_group(0);
        let mut child = linux
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting linux.uml: is the package user-mode-linux installed?")?;
        let console = Arc::new(Mutex::new(Vec::new()));
        let pipe = child.stdout.take().context("no console")?;
        let heard = Arc::clone(&console);
        std::thread::spawn(move || listen(pipe, &heard));
        Ok(Running { guest: self, child, console, begun: Instant::now(), _place: place })
    }
}

/// Compiles what is preloaded into the guest's kernel.
fn xstate(folder: &Path) -> Result<PathBuf> {
    let (source, library) = (folder.join("xstate.c"), folder.join("xstate.so"));
    if !library.exists() {
        fs::write(&source, XSTATE)?;
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2", "-o"]).args([&library, &source]);
        output(&mut compile)?;
    }
    Ok(library)
}

impl Running<'_> {
    /// What was printed to the console so far.
    #[must_use]
    pub fn console(&self) -> String {
        let console = self.console.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&console).replace('\r', "")
    }

    /// Waits until the console shows a text.
    ///
    /// # Errors
    /// If the machine is off before, or it takes too long.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        while !self.console().contains(text) {
            let ended = self.child.try_wait()?;
            ensure!(ended.is_none(), "it went off before it showed {text:?}: {}", self.console());
            ensure!(self.begun.elapsed() < PATIENCE, "{text:?} never came: {}", self.console());
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Pulls the plug. Returns what the console had shown.
    ///
    /// # Errors
    /// If it was off already.
    pub fn cut_power(mut self) -> Result<String> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "it was off before the power was cut: {}", self.console());
        self.end()?;
        // The pipe's last words are there once its reader has seen its end.
        while Arc::strong_count(&self.console) > 1 {
            std::thread::sleep(POLL);
        }
        Ok(self.console())
    }

    /// Waits until it is off.
    ///
    /// # Errors
    /// If that takes too long, or the script was not run to its end.
    pub fn wait(mut self) -> Result<Ran> {
        while self.child.try_wait()?.is_none() {
            ensure!(self.begun.elapsed() < PATIENCE, "it never went off: {}", self.console());
            std::thread::sleep(POLL);
        }
        let w = self.guest.path();
        let output = fs::read(w.join("out")).unwrap_or_default();
        let output = String::from_utf8_lossy(&output).into_owned();
        let Ok(code) = fs::read_to_string(w.join("code")) else {
            bail!("the machine broke down: {}{output}", self.console());
        };
        Ok(Ran { code: code.trim().parse()?, output, steps: w.join("steps") })
    }

    fn end(&mut self) -> Result<()> {
        // Its main process alone would leave others behind, which hold the disks.
        let _ = killpg(Pid::from_raw(self.child.id().try_into()?), Signal::SIGKILL);
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

impl Ran {
    /// What became of a step.
    ///
    /// # Errors
    /// If it was not reached.
    pub fn step(&self, name: &str) -> Result<Step> {
        let read = |ending: &str| {
            let bytes = fs::read(self.steps.join(format!("{name}.{ending}")))
                .with_context(|| format!("no step {name}: {}", self.output))?;
            Ok::<_, anyhow::Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Step { code: read("code")?.trim().parse()?, out: read("out")?, err: read("err")? })
    }

    /// Fails unless each of these steps ended with 0.
    ///
    /// # Errors
    /// What the first other one said.
    pub fn all_well(&self, names: &[&str]) -> Result<()> {
        for name in names {
            let step = self.step(name)?;
            ensure!(step.code == 0, "{name}: {step:?}\n{}", self.output);
        }
        Ok(())
    }

    /// Everything that was printed in it: by the script and by each step.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn everything(&self) -> Result<Vec<u8>> {
        let mut all = self.output.clone().into_bytes();
        for entry in fs::read_dir(&self.steps)? {
            all.extend(fs::read(entry?.path())?);
        }
        Ok(all)
    }
}

fn listen(mut pipe: impl Read, heard: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = pipe.read(&mut buffer) {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < CONSOLE_BYTES_MAX {
            heard.extend_from_slice(&buffer[..n]);
        }
    }
}

/// Waits until fewer than [`AT_ONCE_MAX`] guests run on this machine.
fn place() -> Result<Flock<File>> {
    loop {
        for number in 0..AT_ONCE_MAX {
            let path = std::env::temp_dir().join(format!("holdfast-guest-{number}.lock"));
            let file = File::options().create(true).append(true).mode(0o666).open(path)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(place) => return Ok(place),
                Err((_, Errno::EWOULDBLOCK)) => {}
                Err((_, error)) => return Err(error.into()),
            }
        }
        std::thread::sleep(POLL);
    }
}

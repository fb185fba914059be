//! A guest with one data volume, and the files that its box has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::Guest;
use holdfast_tests::guest::Ran;
use holdfast_tests::tools::{bin_dir, output, repo};

/// User that the volumes belong to in a guest: a Debian has it always.
pub(crate) const SERVICE_UID: u32 = 65534;
/// Bytes of the disk of a box.
pub(crate) const DISK_BYTES: u64 = 160 << 20;
/// The unit that opens a volume, and where in it that begins which confines.
pub(crate) const UNIT: &str = "holdfast-volume@.service";
pub(crate) const CONFINING: &str = "# What is mounted";
/// Seed and size of what is written to be looked for.
pub(crate) const KNOWN: &str = "3000000 77";

/// What each script begins with: the configuration at a place that only root can write, and names.
const PRELUDE: &str = r#"
install -m 600 "$W/volume.toml" /run/volume.toml
mkdir -p /run/data0 "$W/backups"
export CREDENTIALS_DIRECTORY=$W/credentials
# With CONFINED in a unit that confines it as a volume's does.
hv() { ${CONFINED:-} "$BIN/holdfast-volume" --config /run/volume.toml "$@"; }
guest() { "$BIN/guest" "$@"; }
uuid() { blkid -c /dev/null -p -s UUID -o value "${1:-/dev/ubda1}"; }
export -f hv guest uuid
"#;

/// Runs a command in a unit of systemd's, `verb.service`.
const CONFINED: &str = r#"#!/bin/bash
[ /dev/null -ef /dev/stdin ] || [ -t 0 ] || cat >/run/verb/in
{
    declare -px | grep -E '^declare -x (W|CREDENTIALS_DIRECTORY)='
    printf '%q ' "$@"
} >/run/verb/command
systemctl start verb.service
cat /run/verb/out; cat /run/verb/err >&2
: >/run/verb/in
exit "$(cat /run/verb/code)"
"#;

/// What comes first where systemd is: the unit that confines, and programs where every unit sees them.
const SYSTEMD: &str = r#"
export BIN=/run/bin CONFINED=/run/bin/confine
mkdir -p /run/bin /run/verb /var/lib/holdfast-volume /srv/holdfast
install "$W"/{confine,guest,holdfast-volume} $BIN; : >/run/verb/in
{
    printf '[Unit]\nDefaultDependencies=no\nCollectMode=inactive-or-failed\n[Service]\nType=oneshot\n'
    printf 'Standard%s=file:/run/verb/%s\n' Input in
    printf 'Standard%s=truncate:/run/verb/%s\n' Output out Error err
    echo 'ExecStart=/bin/bash -c "bash /run/verb/command; echo $$? >/run/verb/code"'
    cat "$W/confined"
} >/run/systemd/system/verb.service
systemctl daemon-reload
# The list of devices wants the node, which the host has not asked for.
modprobe -d /run/mods dm_mod
udevadm trigger --subsystem-match=block; udevadm settle
"#;

/// A box with one disk and one volume, `data0`.
pub(crate) struct Machine {
    pub(crate) guest: Guest,
    pub(crate) disk: PathBuf,
}

impl Machine {
    /// Its disk is empty but for the partition table; the machine's key is a credential.
    pub(crate) fn new() -> Result<Self> {
        Self::with("")
    }

    /// As [`Machine::new`], with more lines in the volume's settings.
    pub(crate) fn with(settings: &str) -> Result<Self> {
        Self::of(DISK_BYTES, settings)
    }

    /// As [`Machine::with`], with a disk of so many bytes.
    pub(crate) fn of(bytes: u64, settings: &str) -> Result<Self> {
        let mut guest = Guest::new()?;
        let disk = guest.add_disk(bytes)?;
        Guest::partition(&disk, "label: gpt\nname=holdfast.data0\n")?;
        let machine = Self { guest, disk };
        let keys = if settings.contains("keys =") { "" } else { "keys = [\"credential\"]" };
        fs::write(
            machine.path("volume.toml"),
            format!(
                "profile = \"development\"\nservice_user = \"nobody\"\n\
                 header_backups = {:?}\ncredentials = {:?}\n[testing]\nkdf_memory_kib = 64\n\
                 [[volumes]]\nname = \"data0\"\nmount = \"/run/data0\"\n{keys}\n\
                 device = {{ partition_label = \"holdfast.data0\" }}\n{settings}\n",
                machine.path("backups"),
                machine.path("encrypted"),
            ),
        )?;
        fs::create_dir(machine.path("credentials"))?;
        machine.set_key("holdfast-volume_data0", 1)?;
        Ok(machine)
    }

    /// A file in the folder that the guest shares.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.guest.path().join(name)
    }

    /// Sets a credential to a key that follows from a number.
    pub(crate) fn set_key(&self, credential: &str, number: u8) -> Result<()> {
        Ok(fs::write(self.path("credentials").join(credential), key(number))?)
    }

    /// The script with what it needs before it.
    pub(crate) fn script(script: &str) -> String {
        format!("export BIN={:?}\n{PRELUDE}\n{script}", bin_dir())
    }

    /// Runs a script to its end, which has to be an exit code of 0.
    pub(crate) fn run(&self, script: &str) -> Result<Ran> {
        let ran = self.guest.run(&Self::script(script))?;
        ensure!(ran.code == 0, "exit code {}: {}", ran.code, ran.output);
        Ok(ran)
    }

    /// As [`Machine::run`], with systemd and udev, where `hv` is confined as by the units.
    pub(crate) fn run_confined(&self, script: &str) -> Result<Ran> {
        let ran = self.guest.run_with_systemd(&self.with_systemd(script)?)?;
        ensure!(ran.code == 0, "exit code {}: {}", ran.code, ran.output);
        Ok(ran)
    }

    /// The script with what it needs before it, where systemd is.
    pub(crate) fn with_systemd(&self, script: &str) -> Result<String> {
        for program in ["holdfast-volume", "guest"] {
            let mut strip = Command::new("strip");
            output(strip.arg("-o").arg(self.path(program)).arg(bin_dir().join(program)))?;
        }
        let confined = unit(UNIT)?;
        let at = confined.find(CONFINING).context("no confinement")?;
        fs::write(self.path("confined"), &confined[at..])?;
        fs::write(self.path("confine"), CONFINED)?;
        let moved = format!("sed -i \"s#{}#$W#\" /run/volume.toml", self.guest.path().display());
        Ok(format!("{SYSTEMD}\n{PRELUDE}\n{moved}\n{script}"))
    }

    /// Formats the volume, and returns the recovery key that was shown.
    pub(crate) fn format(&self) -> Result<String> {
        let ran = self.run("step format hv format data0 --confirm 'format data0'")?;
        ran.all_well(&["format"])?;
        recovery_key(&ran.step("format")?.out)
    }
}

/// A unit file.
pub(crate) fn unit(name: &str) -> Result<String> {
    let path = repo().join("node/volume/systemd").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A machine's key, as a file has it: text, so that a search finds it.
pub(crate) fn key(number: u8) -> String {
    format!("machine-key-{number:02}-").repeat(4)
}

/// The recovery key in what was printed.
pub(crate) fn recovery_key(out: &str) -> Result<String> {
    let is_key = |line: &&str| line.len() == 80 && line.split('-').count() == 9;
    Ok(out.lines().find(is_key).context("no recovery key was shown")?.to_owned())
}

/// Whether bytes are anywhere in a file.
pub(crate) fn is_in(file: &Path, bytes: &[u8]) -> Result<bool> {
    let all = fs::read(file)?;
    let first = bytes.first().copied();
    let mut at = 0;
    while let Some(next) = all[at..].iter().position(|byte| Some(*byte) == first) {
        if all[at + next..].starts_with(bytes) {
            return Ok(true);
        }
        at += next + 1;
    }
    Ok(false)
}

//! A guest with the disk of a box in it, laid out as the appliance lays it out, and one more disk.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::Guest;
use holdfast_tests::guest::{Ran, Running};
use holdfast_tests::tools::{bin_dir, output, repo, sha256_of};

pub(crate) const MIB: u64 = 1 << 20;
/// Bytes of a box's disk, and of a disk to export to.
pub(crate) const DISK_BYTES: u64 = 208 * MIB;
const TARGET_BYTES: u64 = 176 * MIB;
pub(crate) const SERIAL: &str = "HF-TEST-0001";

/// As `image/build/disk.sh` and `image/root/usr/lib/repart.d` make it, but small.
const TABLE: &str = "label: gpt
size=8MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=ESP
size=1MiB, type=2c7357ed-ebd2-46d9-aec1-23d437ec2bf5, name=holdfast_1.2.3_verity
size=2MiB, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709, name=holdfast_1.2.3
size=1MiB, type=2c7357ed-ebd2-46d9-aec1-23d437ec2bf5, name=_empty
size=2MiB, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709, name=_empty
size=48MiB, type=linux, name=holdfast-state
type=68942507-4646-4e28-bf56-e1135aeac4f0, name=holdfast.data0
";
const ESP_AT: u64 = MIB;
const ESP_BYTES: u64 = 8 * MIB;

/// What each script begins with. The box's programs are its own; the technician's are the scripts.
const PRELUDE: &str = r#"
export TMPDIR=/run MTOOLS_SKIP_CHECK=1
# What udev would have made.
for module in loop dm-mod; do /run/modprobe $module; done
ln -sf /proc/self/fd /dev/fd
mkdir -p /run/data0 /run/var
hv() { "$BIN/holdfast-volume" --config /run/volume.toml "$@"; }
guest() { "$BIN/guest" "$@"; }
rescue() { "$SCRIPTS/rescue" "$@"; }
key() { rescue "$@" --recovery-file "$W/recovery.txt"; }
uuid() { blkid -c /dev/null -p -s UUID -o value "${1:-/dev/ubda7}"; }
open_var() { cryptsetup open --key-file "$W/state.key" /dev/ubda6 box-var && mount /dev/mapper/box-var /run/var; }
close_var() { umount /run/var && cryptsetup close box-var; }
install -m 600 "$W/volume.toml" /run/volume.toml
export CREDENTIALS_DIRECTORY=$W/credentials
export -f hv guest rescue key uuid open_var close_var
"#;

/// Makes `/var` as `/usr/lib/holdfast/state` does on a board without a TPM, the data volume by the real
/// program, and gives both one recovery key.
const SET_UP: &str = r#"
set -e
cheap='--pbkdf pbkdf2 --pbkdf-force-iterations 1000'
cryptsetup luksFormat --batch-mode --type luks2 --cipher aes-xts-plain64 --key-size 512 --sector-size 4096 $cheap \
    --label holdfast-state --key-file "$W/state.key" /dev/ubda6
cryptsetup open --key-file "$W/state.key" /dev/ubda6 box-var
mkfs.ext4 -q -L var /dev/mapper/box-var
mount /dev/mapper/box-var /run/var
mkdir -p /run/var/lib
hv format data0 --confirm 'format data0' | grep -xE '([cbdefghijklnrtuv]{8}-){8}[cbdefghijklnrtuv]{8}' >"$W/recovery.txt"
head -c 71 "$W/recovery.txt" >/run/passphrase
cryptsetup luksAddKey --batch-mode --key-file "$W/state.key" $cheap /dev/ubda6 /run/passphrase
echo '{"type":"systemd-recovery","keyslots":["1"]}' | cryptsetup token import --json-file - /dev/ubda6
if [ -e "$W/vault" ]; then
    hv open data0
    umount /run/data0
    dd if="$W/vault" of=/dev/mapper/holdfast-data0 bs=1M conv=fsync status=none
    hv close data0
fi
close_var
"#;

/// A PC with the disk of a box, and a disk to export to.
pub(crate) struct Machine {
    pub(crate) guest: Guest,
    pub(crate) disk: PathBuf,
    pub(crate) target: PathBuf,
}

impl Machine {
    /// Its box has this image of a vault on its data volume.
    pub(crate) fn new(vault: Option<&Path>) -> Result<Self> {
        let mut guest = Guest::new()?;
        let disk = guest.add_disk(DISK_BYTES)?;
        let target = guest.add_disk(TARGET_BYTES)?;
        Guest::partition(&disk, TABLE)?;
        let machine = Self { guest, disk, target };
        machine.make_esp()?;
        let mut random = vec![0; 64];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        fs::write(machine.path("state.key"), random)?;
        fs::create_dir(machine.path("credentials"))?;
        let machines_key = machine.path("credentials/holdfast-volume_data0");
        fs::write(machines_key, "machine-key-01-".repeat(4))?;
        fs::write(
            machine.path("volume.toml"),
            "profile = \"development\"\nservice_user = \"nobody\"\n\
             header_backups = \"/run/var/lib/holdfast-volume\"\n[testing]\nkdf_memory_kib = 64\n\
             [[volumes]]\nname = \"data0\"\nmount = \"/run/data0\"\nkeys = [\"credential\"]\n\
             device = { partition_label = \"holdfast.data0\" }\n",
        )?;
        if let Some(vault) = vault {
            let to = machine.path("vault");
            output(Command::new("cp").arg("--sparse=always").arg(vault).arg(to))?;
        }
        machine.run(SET_UP)?;
        Ok(machine)
    }

    fn make_esp(&self) -> Result<()> {
        let esp = self.path("esp");
        File::create(&esp)?.set_len(ESP_BYTES)?;
        output(Command::new("/sbin/mkfs.vfat").args(["-n", "ESP"]).arg(&esp))?;
        fs::write(self.path("label.json"), format!("{{\"serial\": \"{SERIAL}\"}}"))?;
        fs::write(self.path("kernel"), "a kernel")?;
        let mtools = |program: &str, from: &[PathBuf], to: &[&str]| {
            output(Command::new(program).arg("-i").arg(&esp).args(from).args(to)).map(drop)
        };
        mtools("mmd", &[], &["::/EFI", "::/EFI/Linux"])?;
        mtools("mcopy", &[self.path("label.json")], &["::/label.json"])?;
        for name in ["holdfast_1.2.3.efi", "holdfast_1.2.4+2-1.efi"] {
            mtools("mcopy", &[self.path("kernel")], &[&format!("::/EFI/Linux/{name}")])?;
        }
        let disk = File::options().write(true).open(&self.disk)?;
        Ok(disk.write_all_at(&fs::read(&esp)?, ESP_AT)?)
    }

    /// A file in the folder that the guest shares.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.guest.path().join(name)
    }

    fn script(script: &str) -> String {
        let scripts = repo().join("scripts");
        format!("export BIN={:?} SCRIPTS={scripts:?}\n{PRELUDE}\n{script}", bin_dir())
    }

    /// Runs a script to its end, which has to be an exit code of 0.
    pub(crate) fn run(&self, script: &str) -> Result<Ran> {
        let ran = self.guest.run(&Self::script(script))?;
        ensure!(ran.code == 0, "exit code {}: {}", ran.code, ran.output);
        Ok(ran)
    }

    /// Starts it with a script.
    pub(crate) fn start(&self, script: &str) -> Result<Running<'_>> {
        self.guest.start(&Self::script(script))
    }

    /// What the box's disk is, all of it.
    pub(crate) fn sum(&self) -> Result<String> {
        sha256_of(&self.disk)
    }

    /// The recovery key of the box.
    pub(crate) fn recovery_key(&self) -> Result<String> {
        Ok(fs::read_to_string(self.path("recovery.txt"))?.trim().to_owned())
    }

    /// Writes a recovery key that is one, and not this box's.
    pub(crate) fn write_wrong_key(&self) -> Result<()> {
        let key = self.recovery_key()?;
        let (rest, last) = key.get(..71).context("no recovery key")?.split_at(70);
        let other = if last == "c" { "b" } else { "c" };
        Ok(fs::write(self.path("wrong.txt"), format!("{rest}{other}\n"))?)
    }
}

/// What a step said, which has to have ended with this code and to have this in it.
pub(crate) fn said(ran: &Ran, name: &str, code: i32, because: &str) -> Result<String> {
    let step = ran.step(name)?;
    let all = format!("{}{}", step.out, step.err);
    ensure!(step.code == code && all.contains(because), "{name}: wanted {because:?}: {step:?}");
    Ok(all)
}

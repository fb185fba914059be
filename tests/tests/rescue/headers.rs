//! Headers that are damaged, and backups that are put back, or are not.

use std::fs;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::sha256_of;
use serde_json::Value;

use crate::machine::{Machine, said};

/// Overwrites 4 KiB of the data volume, from a KiB on.
fn damage(kib: u32) -> String {
    format!(
        "dd if=/dev/urandom of=/dev/ubda7 bs=1k seek={kib} count=4 conv=notrunc,fsync status=none\n"
    )
}

#[test]
fn a_header_comes_back_from_the_kept_backup_and_the_one_before_is_kept() -> Result<()> {
    let machine = Machine::new(None)?;
    machine.write_wrong_key()?;
    let (first, second) = (damage(0), damage(16));
    let ran = machine.run(&format!(
        "hv open data0; guest fill /run/data0/film 3000000 77; hv close data0
         {first}
         sync; cp /dev/ubda $W/was
         step first key status --json /dev/ubda
         step looked cmp $W/was /dev/ubda; rm $W/was
         {second}
         head -c 16M /dev/ubda7 >$W/damaged
         uuid=$(key status --json /dev/ubda | jq -r '.header_backups[0].of')
         step both key status /dev/ubda
         sync; step before sha256sum /dev/ubda
         cd /run
         step export key export --force-fixed --dry-run /dev/ubda /dev/ubdb
         step unconfirmed key restore-header /dev/ubda data0 </dev/null
         step dry key restore-header --dry-run /dev/ubda data0
         step wrong rescue restore-header --recovery-file $W/wrong.txt --confirm \"restore data0 $uuid\" /dev/ubda data0
         step state key restore-header --confirm \"restore data0 $uuid\" /dev/ubda state
         step after sha256sum /dev/ubda"
    ))?;
    ran.all_well(&["first", "looked", "dry"])?;
    let first: Value = serde_json::from_str(&ran.step("first")?.out)?;
    ensure!(first["volumes"][0]["header"] == "first copy damaged, second whole", "{first}");
    ensure!(first["volumes"][0]["recovery_key_opens"] == true, "{first}");
    said(&ran, "both", 0, "none: it was wiped, or never made")?;
    said(&ran, "both", 0, "restore-header /dev/ubda data0")?;
    said(&ran, "export", 1, "its header is gone")?;
    let uuid = first["volumes"][0]["uuid"].as_str().context("no UUID")?;
    said(&ran, "unconfirmed", 1, &format!("--confirm 'restore data0 {uuid}'"))?;
    said(&ran, "wrong", 1, "which does not open")?;
    said(&ran, "state", 1, "--file")?;
    ensure!(ran.step("before")?.out == ran.step("after")?.out, "what was refused changed the disk");

    let ran = machine.run(&format!(
        "uuid={uuid}; cd /run
         step restore key restore-header --json --confirm \"restore data0 $uuid\" --keep $W/kept /dev/ubda data0
         step kept cmp $W/kept $W/damaged
         step mode stat -c %a $W/kept
         step whole key status --json /dev/ubda
         step again key restore-header --confirm \"restore data0 $uuid\" --keep $W/kept /dev/ubda data0
         open_var; hv open data0; step same guest same /run/data0/film 3000000 77
         step open key restore-header --confirm \"restore data0 $uuid\" /dev/ubda data0
         hv close data0; close_var
         step left dmsetup ls"
    ))?;
    ran.all_well(&["restore", "kept", "whole", "same"])?;
    ensure!(ran.step("mode")?.out.trim() == "600", "{:?}", ran.step("mode")?);
    let whole: Value = serde_json::from_str(&ran.step("whole")?.out)?;
    ensure!(whole["volumes"][0]["header"] == "whole", "{whole}");
    said(&ran, "again", 1, "is there already")?;
    said(&ran, "open", 1, "is in use")?;
    ensure!(ran.step("left")?.out.contains("No devices"), "{:?}", ran.step("left")?);
    Ok(())
}

#[test]
fn backups_that_are_not_of_this_volume_and_its_key_are_refused() -> Result<()> {
    let machine = Machine::new(None)?;
    let other = Machine::new(None)?;
    other.run("open_var; cp /run/var/lib/holdfast-volume/*.luks2 $W/backup; close_var")?;
    fs::copy(other.path("backup"), machine.path("other"))?;
    fs::copy(other.path("recovery.txt"), machine.path("other.txt"))?;
    let (first, second) = (damage(0), damage(16));
    let ran = machine.run(&format!(
        "open_var; cp /run/var/lib/holdfast-volume/*.luks2 $W/own; close_var
         head -c 9000000 $W/own >$W/half
         cp $W/own $W/bad; printf x | dd of=$W/bad bs=1 seek=5000 conv=notrunc status=none
         # The same UUID and recovery key, another volume key: what is behind it is noise.
         head -c 71 $W/recovery.txt >/run/passphrase; truncate -s 20M /run/made
         cryptsetup luksFormat -q --type luks2 -c aes-xts-plain64 -s 512 --sector-size 4096 --pbkdf pbkdf2 \
             --pbkdf-force-iterations 1000 --uuid $(uuid) --key-file /run/passphrase /run/made
         head -c 16M /run/made >$W/reencrypted
         cryptsetup luksFormat -q --type luks2 -c cipher_null-ecb -s 256 --pbkdf pbkdf2 \
             --pbkdf-force-iterations 1000 --uuid $(uuid) --key-file /run/passphrase /run/made
         head -c 16M /run/made >$W/null
         sync; sha256sum /dev/ubda >$W/before; uuid=$(uuid)
         cd /run
         for name in half bad reencrypted null; do
             step $name key restore-header --file $W/$name --confirm \"restore data0 $uuid\" /dev/ubda data0
         done
         step other rescue restore-header --recovery-file $W/other.txt --file $W/other --confirm \"restore data0 $uuid\" /dev/ubda data0
         step after sha256sum /dev/ubda
         {first} {second}
         # Nothing on the disk says whose it is; what is behind the header does.
         step blind rescue restore-header --recovery-file $W/other.txt --file $W/other \
             --confirm \"restore data0 $(uuid $W/other)\" /dev/ubda data0
         step exported key restore-header --file $W/own --confirm \"restore data0 $uuid\" /dev/ubda data0
         step status key status /dev/ubda"
    ))?;
    said(&ran, "half", 1, "cut off")?;
    said(&ran, "bad", 1, "no whole header backup")?;
    said(&ran, "reencrypted", 1, "noise")?;
    said(&ran, "null", 1, "has the cipher cipher_null-ecb")?;
    said(&ran, "other", 1, "another volume")?;
    let before = fs::read_to_string(machine.path("before"))?;
    ensure!(ran.step("after")?.out == before, "what was refused changed the disk");
    said(&ran, "blind", 1, "noise")?;
    ran.all_well(&["exported"])?;
    said(&ran, "status", 0, "volume data0: header whole")?;
    ensure!(sha256_of(&machine.path("own"))? != sha256_of(&machine.path("other"))?);
    Ok(())
}

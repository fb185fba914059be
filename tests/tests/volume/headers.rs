//! Damaged headers, backups, and erasing.

use anyhow::{Result, ensure};
use holdfast_tests::tools::sha256_of;

use crate::common::{KNOWN, Machine, is_in};

/// Overwrites 4 KiB of the volume's device, from a KiB on.
fn damage(kib: u32) -> String {
    format!(
        "dd if=/dev/urandom of=/dev/ubda1 bs=1k seek={kib} count=4 conv=notrunc,fsync status=none\n"
    )
}

#[test]
fn a_damaged_header_is_mended_from_its_copy_or_from_a_backup() -> Result<()> {
    let machine = Machine::new()?;
    machine.format()?;
    let (first, second) = (damage(0), damage(16));
    let ran = machine.run(&format!(
        "hv open data0; guest fill /run/data0/film {KNOWN}; hv close data0
         {first} step first hv open data0; hv close data0
         {second} step second hv open data0; hv close data0
         {first} {second}
         step dry hv header restore data0 --dry-run
         step both hv open data0
         step status hv status data0
         step format hv format data0 --confirm 'format data0'
         step unconfirmed hv header restore data0 </dev/null
         step restore hv header restore data0 --confirm \"restore data0 $(uuid $W/backups/*.luks2)\"
         step open hv open data0
         step same guest same /run/data0/film {KNOWN}
         step whileopen hv header restore data0 --confirm \"restore data0 $(uuid)\"
         hv close data0
         mkfs.ext4 -q -F -L photos /dev/ubda1 20M
         step over hv header restore data0 --confirm \"restore data0 $(uuid $W/backups/*.luks2)\"
         wipefs -qa /dev/ubda1
         # Nothing on the disk says any more that the backup is this disk's; and with the backup it
         # could be read after an erasure.
         {first} {second}
         uuid=$(uuid $W/backups/*.luks2)
         step blank hv erase data0 --confirm \"erase data0 $uuid\"
         step kept hv header check data0
         hv header restore data0 --confirm \"restore data0 $uuid\"
         step erase hv erase data0 --confirm \"erase data0 $uuid\"
         step empty sh -c 'cmp -n $((16 << 20)) /dev/ubda1 /dev/zero'"
    ))?;
    ran.all_well(&["first", "second", "dry", "restore", "open", "same", "kept", "erase", "empty"])?;
    let blank = ran.step("blank")?;
    ensure!(blank.code == 9 && blank.err.contains("header restore data0"), "{blank:?}");
    let both = ran.step("both")?;
    ensure!(both.code == 9 && both.err.contains("header restore data0"), "{both:?}");
    let status = ran.step("status")?;
    ensure!(status.code == 1 && status.out.contains("\"damaged\""), "{status:?}");
    ensure!(status.out.contains("header restore data0"), "{status:?}");
    let format = ran.step("format")?;
    ensure!(format.code == 4 && format.err.contains("and lose volume "), "{format:?}");
    let over = ran.step("over")?;
    ensure!(over.code == 4 && over.err.contains("and lose ext4 \"photos\""), "{over:?}");
    ensure!(ran.step("dry")?.out.contains("opens that backup: yes"), "{:?}", ran.step("dry")?);
    ensure!(ran.step("unconfirmed")?.code == 4, "{:?}", ran.step("unconfirmed")?);
    ensure!(ran.step("whileopen")?.code == 8, "{:?}", ran.step("whileopen")?);
    Ok(())
}

#[test]
fn slots_that_are_damaged_under_whole_headers_come_back_from_the_kept_backup() -> Result<()> {
    let machine = Machine::new()?;
    machine.format()?;
    // The areas of both slots; both copies of the JSON end at 32 KiB.
    let ran = machine.run(&format!(
        "hv open data0; guest fill /run/data0/film {KNOWN}; hv close data0
         cp $W/backups/*.luks2 $W/good
         dd if=/dev/urandom of=/dev/ubda1 bs=1k seek=32 count=600 conv=notrunc,fsync status=none
         step damaged hv open data0
         step backup hv header backup data0 </dev/null
         step untouched cmp $W/good $W/backups/*.luks2
         step restore hv header restore data0 --confirm \"restore data0 $(uuid)\"
         step open hv open data0; step same guest same /run/data0/film {KNOWN}; hv close data0
         step check hv header check data0
         step before ls $W/backups
         # An exported one that is put back is kept anew.
         rm $W/backups/*.luks2
         step file hv header restore data0 --file $W/good --confirm \"restore data0 $(uuid)\"
         step anew hv header check data0"
    ))?;
    ran.all_well(&["untouched", "restore", "open", "same", "check", "file", "anew"])?;
    ensure!(ran.step("damaged")?.code == 7, "{:?}", ran.step("damaged")?);
    let backup = ran.step("backup")?;
    ensure!(backup.code == 4 && backup.err.contains("back up data0 unproven"), "{backup:?}");
    ensure!(ran.step("before")?.out.contains(".before"), "{:?}", ran.step("before")?);
    Ok(())
}

#[test]
fn a_backup_of_another_volume_or_half_a_backup_changes_nothing() -> Result<()> {
    let machine = Machine::new()?;
    machine.format()?;
    let other = Machine::new()?;
    other.format()?;
    let entry = std::fs::read_dir(other.path("backups"))?.next();
    let backup = entry.ok_or_else(|| anyhow::anyhow!("no backup was kept"))??.path();
    std::fs::copy(&backup, machine.path("other"))?;
    std::fs::copy(&backup, machine.path("half"))?;
    std::fs::File::options().write(true).open(machine.path("half"))?.set_len(9_000_000)?;
    let before = sha256_of(&machine.disk)?;
    let confirm = "--confirm \"restore data0 $(uuid $W/other)\"";
    let damage = damage(0) + &damage(16);
    let ran = machine.run(&format!(
        "step other hv header restore data0 --file $W/other {confirm}
         step half hv header restore data0 --file $W/half {confirm}
         step none hv header restore data0 --file $W/nothing {confirm}
         step check hv header check data0
         step open hv open data0 && hv close data0
         {damage}
         # Nothing on the disk says whose it is: the kept backup still does.
         step blind hv header restore data0 --file $W/other {confirm}"
    ))?;
    ran.all_well(&["check", "open"])?;
    for name in ["other", "half", "none", "blind"] {
        ensure!(ran.step(name)?.code == 9, "{name}: {:?}", ran.step(name)?);
    }
    ensure!(ran.step("other")?.err.contains("another volume"), "{:?}", ran.step("other")?);
    ensure!(before != sha256_of(&machine.disk)?, "the test itself damaged nothing");
    Ok(())
}

#[test]
fn an_erased_volume_has_no_slot_no_key_and_no_bytes_left() -> Result<()> {
    let machine = Machine::new()?;
    machine.format()?;
    let ran = machine.run(&format!(
        "hv open data0; guest fill /run/data0/film {KNOWN}
         step old hv header backup data0 --file $W/old
         uuid=$(uuid)
         step dry hv erase data0 --dry-run
         step stillopen guest same /run/data0/film {KNOWN}
         step wrong hv erase data0 --confirm 'erase data0'
         exec 9</run/data0/film
         step erase hv erase data0 --confirm \"erase data0 $uuid\"
         step table dmsetup table holdfast-data0
         echo 3 >/proc/sys/vm/drop_caches
         step held sh -c 'cat <&9 | cmp -n 100 - /dev/zero'; exec 9<&-
         step mounted sh -c '! grep data0 /proc/mounts'
         # Of the backups nothing, and the receipt.
         step backups [ \"$(ls $W/backups)\" = data0.$uuid.erased ]
         step status hv status data0
         step open hv open data0
         step empty sh -c 'cmp -n $((16 << 20)) /dev/ubda1 /dev/zero'
         step twice hv erase data0 --confirm \"erase data0 $uuid\"
         step restore hv header restore data0 --file $W/old --confirm \"restore data0 $uuid\"
         step key cryptsetup open --test-passphrase -d $CREDENTIALS_DIRECTORY/holdfast-volume_data0 /dev/ubda1
         step reopen hv open data0
         cp --sparse=always /dev/mapper/holdfast-data0 $W/plain"
    ))?;
    ran.all_well(&["old", "dry", "stillopen", "erase", "mounted", "backups", "empty"])?;
    let held = ran.step("held")?;
    ensure!(held.err.contains("Input/output error"), "{held:?} {:?}", ran.step("table")?);
    ensure!(ran.step("wrong")?.code == 4 && ran.step("open")?.code == 6, "{ran:?}");
    let twice = ran.step("twice")?;
    ensure!(twice.code == 6 && twice.err.contains("nothing to erase"), "{twice:?}");
    ensure!(ran.step("status")?.out.contains("unformatted"), "{:?}", ran.step("status")?);
    let receipt: serde_json::Value = serde_json::from_str(&ran.step("erase")?.out)?;
    ensure!(receipt["slots_left"] == 0, "{receipt}");
    ensure!(receipt["slots_destroyed"].as_array().map(Vec::len) == Some(2), "{receipt}");
    ensure!(receipt["keys_refused"][0] == "credential", "{receipt}");
    ensure!(receipt["header_backups_destroyed"] == 1, "{receipt}");
    ensure!(receipt["discarded"].get("Ok").is_some(), "{receipt}");
    // What an exported backup can do: with its own day's key it opens what the disk still has. The
    // discard is what took the bytes from it.
    ran.all_well(&["restore", "key"])?;
    ensure!(ran.step("reopen")?.code == 1, "{:?}", ran.step("reopen")?);
    let mut random = fastrand::Rng::with_seed(77);
    let known: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(2000).collect();
    ensure!(!is_in(&machine.path("plain"), &known[1000..1064])?, "the recording is still there");
    Ok(())
}

#[test]
fn a_device_that_something_else_maps_is_erased_but_gets_no_receipt_until_that_is_gone() -> Result<()>
{
    let machine = Machine::new()?;
    machine.format()?;
    let ran = machine.run(
        "hv open data0; uuid=$(uuid)
         sectors=$(blockdev --getsz /dev/ubda1)
         dmsetup create --noudevsync other --table \"0 $sectors linear /dev/ubda1 0\"
         step mapped dmsetup info other
         step left hv erase data0 --confirm \"erase data0 $uuid\"
         step empty cmp -n $((16 << 20)) /dev/ubda1 /dev/zero
         step status hv status data0
         dmsetup remove --noudevsync other
         step erase hv erase data0 --confirm \"erase data0 $uuid\"",
    )?;
    ran.all_well(&["mapped", "empty", "erase"])?;
    let left = ran.step("left")?;
    ensure!(left.code == 10 && left.out.is_empty() && left.err.contains("mapped"), "{left:?}");
    ensure!(ran.step("status")?.out.contains("was cut off"), "{:?}", ran.step("status")?);
    ensure!(ran.step("erase")?.out.contains("slots_left"), "{:?}", ran.step("erase")?);
    Ok(())
}

#[test]
fn a_blank_disk_in_the_place_of_another_gets_no_receipt_and_leaves_the_others_backup() -> Result<()>
{
    let drawer = Machine::new()?;
    drawer.format()?;
    let entry = std::fs::read_dir(drawer.path("backups"))?.next();
    let entry = entry.ok_or_else(|| anyhow::anyhow!("no backup was kept"))??;
    let machine = Machine::new()?;
    std::fs::create_dir(machine.path("backups"))?;
    std::fs::copy(entry.path(), machine.path("backups").join(entry.file_name()))?;
    let before = sha256_of(&machine.disk)?;
    let ran = machine.run(
        "uuid=$(uuid $W/backups/*.luks2)
         step erase hv erase data0 --confirm \"erase data0 $uuid\"
         step unknown hv erase data0 --confirm 'erase data0 unknown'
         step status hv status data0
         step plain hv format data0 --confirm 'format data0'",
    )?;
    for name in ["erase", "unknown"] {
        let step = ran.step(name)?;
        ensure!(step.code == 9 && step.out.is_empty(), "{name}: {step:?}");
    }
    ensure!(ran.step("status")?.out.contains("\"damaged\""), "{:?}", ran.step("status")?);
    ensure!(ran.step("plain")?.code == 4, "{:?}", ran.step("plain")?);
    ensure!(sha256_of(&machine.disk)? == before, "a disk that was refused was written to");
    let ran = machine.run(
        "kept=$(ls $W/backups); uuid=$(uuid $W/backups/*.luks2)
         step format hv format data0 --confirm \"format data0 and lose volume $uuid\"
         step erase hv erase data0 --confirm \"erase data0 $(uuid)\"
         step still test -s $W/backups/$kept
         step one sh -c 'ls $W/backups/*.luks2 | wc -l'
         cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 \
             /dev/ubda1 $CREDENTIALS_DIRECTORY/holdfast-volume_data0
         step luks1 hv erase data0 --confirm \"erase data0 $(uuid)\"
         step foreign hv status data0
         step test cryptsetup open --test-passphrase \
             -d $CREDENTIALS_DIRECTORY/holdfast-volume_data0 /dev/ubda1",
    )?;
    ran.all_well(&["format", "erase", "still", "test"])?;
    let receipt: serde_json::Value = serde_json::from_str(&ran.step("erase")?.out)?;
    ensure!(receipt["header_backups_destroyed"] == 1, "{receipt}");
    ensure!(ran.step("one")?.out.trim() == "1", "{:?}", ran.step("one")?);
    ensure!(ran.step("luks1")?.code == 6, "{:?}", ran.step("luks1")?);
    ensure!(ran.step("foreign")?.out.contains("\"foreign\""), "{:?}", ran.step("foreign")?);
    Ok(())
}

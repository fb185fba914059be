//! Integrity, discards, and work queues.

use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use holdfast_tests::Guest;

use crate::common::{KNOWN, Machine};

#[test]
fn with_integrity_a_changed_sector_is_an_error_and_never_a_changed_recording() -> Result<()> {
    let machine = Machine::with("integrity = true\nworkqueues = false")?;
    Guest::partition(&machine.disk, "label: gpt\nsize=48MiB, name=holdfast.data0\n")?;
    machine.format()?;
    let ran = machine.run(&format!(
        "step open hv open data0
         step status hv status data0
         step table dmsetup table holdfast-data0
         step fill guest fill /run/data0/film {KNOWN}
         step same guest same /run/data0/film {KNOWN}
         step close hv close data0
         # All of the second half but the last MiB, wherever the film lies.
         dd if=/dev/urandom of=/dev/ubda1 bs=1M seek=17 count=29 conv=notrunc,fsync status=none
         step damaged hv open data0
         step changed guest same /run/data0/film {KNOWN}
         step log dmesg
         # Nothing of it stays in the kernel: it can be made anew at once.
         step erase hv erase data0 --confirm \"erase data0 $(uuid)\"
         step mapped dmsetup ls
         step again hv format data0 --confirm 'format data0'
         step reopen hv open data0"
    ))?;
    ran.all_well(&["open", "fill", "same", "close", "erase", "again", "reopen"])?;
    ensure!(!ran.step("mapped")?.out.contains("holdfast"), "{:?}", ran.step("mapped")?);
    let status: serde_json::Value = serde_json::from_str(&ran.step("status")?.out)?;
    ensure!(status[0]["header"]["integrity"] == "hmac(sha256)", "{status}");
    ensure!(status[0]["header"]["key_bits"] == 768, "{status}");
    ensure!(status[0]["kernel"]["is_as_header"] == true, "{status}");
    let table = ran.step("table")?.out;
    ensure!(table.contains("no_read_workqueue no_write_workqueue"), "{table}");
    ensure!(ran.step("changed")?.code != 0, "changed bytes were read");
    ensure!(ran.step("log")?.out.contains("INTEGRITY AEAD ERROR"), "{:?}", ran.step("log")?);
    Ok(())
}

#[test]
fn discards_reach_the_disk_only_where_they_are_allowed() -> Result<()> {
    for (settings, is_allowed) in [("discards = true", true), ("discards = false", false)] {
        let machine = Machine::with(settings)?;
        machine.format()?;
        let ran = machine.run(&format!(
            "step open hv open data0; step status hv status data0
             step fill guest fill /run/data0/film {}; sync; step before stat -c %b $W/disk0
             rm /run/data0/film; sync
             step trim fstrim /run/data0
             step close hv close data0
             sed -i 's/^discards = .*/discards = true/' /run/volume.toml; hv open data0
             step later hv status data0; hv close data0",
            KNOWN.replace("3000000", "40000000"),
        ))?;
        ran.all_well(&["open", "status", "fill", "close"])?;
        let status: serde_json::Value = serde_json::from_str(&ran.step("status")?.out)?;
        ensure!(status[0]["kernel"]["discards"] == is_allowed, "{status}");
        let later: serde_json::Value = serde_json::from_str(&ran.step("later")?.out)?;
        ensure!(later[0]["kernel"]["discards"] == true, "a later setting was not heeded: {later}");
        ensure!((ran.step("trim")?.code == 0) == is_allowed, "{:?}", ran.step("trim")?);
        let bytes = machine.disk.metadata()?.blocks() * 512;
        ensure!((bytes < 40_000_000) == is_allowed, "{settings}: the disk takes {bytes} bytes");
    }
    Ok(())
}

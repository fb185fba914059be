//! Integrity, discards, and work queues.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Result, ensure};
use holdfast_tests::Guest;

use crate::common::{KNOWN, Machine, is_in};

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

#[test]
fn a_volume_with_adiantum_is_opened_filled_and_given_another_key() -> Result<()> {
    let machine = Machine::of(72 << 20, "cipher = \"adiantum\"\ndiscards = true")?;
    machine.format()?;
    let ran = machine.run(&format!(
        "step open hv open data0
         step status hv status data0
         step dump cryptsetup luksDump --dump-json-metadata /dev/ubda1
         step table dmsetup table holdfast-data0
         step fill guest fill /run/data0/film {KNOWN}
         step reencrypt hv reencrypt data0 --confirm 'reencrypt data0'
         step same guest same /run/data0/film {KNOWN}
         step close hv close data0
         step theirs cryptsetup open --test-passphrase -d $W/credentials/holdfast-volume_data0 /dev/ubda1
         step again hv open data0
         step still guest same /run/data0/film {KNOWN}
         cp /run/data0/film $W/film
         step cpu cat /proc/cpuinfo"
    ))?;
    ran.all_well(&["open", "fill", "reencrypt", "same", "close", "theirs", "again", "still"])?;
    let status: serde_json::Value = serde_json::from_str(&ran.step("status")?.out)?;
    let (header, kernel) = (&status[0]["header"], &status[0]["kernel"]);
    ensure!(header["cipher"] == "xchacha12,aes-adiantum-plain64", "{status}");
    ensure!(header["key_bits"] == 256 && kernel["is_as_header"] == true, "{status}");
    let dump: serde_json::Value = serde_json::from_str(&ran.step("dump")?.out)?;
    for slot in ["0", "1"] {
        let slot = &dump["keyslots"][slot];
        ensure!(
            slot["area"]["encryption"] == "aes-xts-plain64",
            "it opens only with this kernel: {slot}"
        );
    }
    let table = ran.step("table")?.out;
    ensure!(table.contains("crypt xchacha12,aes-adiantum-plain64 :32:"), "{table}");
    let film = fs::read(machine.path("film"))?;
    ensure!(!is_in(&machine.disk, &film[1000..1064])?, "known bytes are on the disk");
    Ok(())
}

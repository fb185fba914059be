//! What is said of a disk, with the recovery key and without.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::machine::{Machine, SERIAL, said};

#[test]
fn a_disk_is_described_with_the_key_and_without_and_stays_as_it_was() -> Result<()> {
    let machine = Machine::new(None)?;
    machine.write_wrong_key()?;
    let mistyped = machine.recovery_key()?.replacen('-', "z", 1);
    fs::write(machine.path("mistyped.txt"), mistyped)?;
    let before = machine.sum()?;
    let ran = machine.run(
        "step all key status --json /dev/ubda
         step words key status /dev/ubda
         step without rescue status --json /dev/ubda </dev/null
         step wrong rescue status --json --recovery-file $W/wrong.txt /dev/ubda
         step mistyped rescue status --recovery-file $W/mistyped.txt /dev/ubda
         step none rescue status /dev/ubdb
         step left dmsetup ls
         step loops losetup -l
         # The same disk as a file that belongs to nobody's root.
         step file key status --json $W/disk0",
    )?;
    ran.all_well(&["all", "words", "without", "wrong", "file"])?;
    ensure!(machine.sum()? == before, "looking changed the disk");
    let all: Value = serde_json::from_str(&ran.step("all")?.out)?;
    ensure!(all["serial"] == SERIAL && all["partition_table"] == "whole", "{all}");
    ensure!(all["slots"][0]["version"] == "1.2.3", "{all}");
    let boot = all["boot"].as_array().map_or(&[][..], Vec::as_slice);
    let tried = boot.iter().find(|it| it["version"] == "1.2.4");
    ensure!(tried.is_some_and(|it| it["tries_left"] == 2 && it["tries_done"] == 1), "{all}");
    ensure!(boot.iter().any(|it| it["version"] == "1.2.3" && it["tries_left"].is_null()), "{all}");
    for volume in [&all["volumes"][0], &all["volumes"][1]] {
        ensure!(volume["header"] == "whole" && volume["recovery_key_opens"] == true, "{all}");
        let slots = volume["slots"].to_string();
        ensure!(slots.contains("\"recovery\""), "{all}");
    }
    ensure!(all["volumes"][0]["name"] == "data0" && all["volumes"][1]["name"] == "state", "{all}");
    let backup = &all["header_backups"][0];
    ensure!(backup["is_whole"] == true && backup["of"] == all["volumes"][0]["uuid"], "{all}");
    let file: Value = serde_json::from_str(&ran.step("file")?.out)?;
    ensure!(file["volumes"] == all["volumes"], "{file}");

    let without: Value = serde_json::from_str(&ran.step("without")?.out)?;
    ensure!(without["volumes"][0]["recovery_key_opens"].is_null(), "{without}");
    ensure!(without["volumes"][0]["header"] == "whole", "{without}");
    let wrong: Value = serde_json::from_str(&ran.step("wrong")?.out)?;
    ensure!(wrong["volumes"][0]["recovery_key_opens"] == false, "{wrong}");
    said(&ran, "words", 0, "2 tries left")?;
    said(&ran, "words", 0, "the recovery key opens it")?;
    said(&ran, "mistyped", 1, "group 2 has a character")?;
    said(&ran, "none", 1, "no partition table")?;
    ensure!(ran.step("left")?.out.contains("No devices"), "{:?}", ran.step("left")?);
    ensure!(ran.step("loops")?.out.trim().is_empty(), "{:?}", ran.step("loops")?);
    let key = machine.recovery_key()?;
    let everything = String::from_utf8_lossy(&ran.everything()?).into_owned();
    ensure!(!everything.contains(&key[..17]), "the recovery key was shown");
    Ok(())
}

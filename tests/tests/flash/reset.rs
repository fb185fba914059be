//! `scripts/factory-reset`, on a box's disk and as an order on a stick.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use holdfast_tests::tools::output;

use super::disk::{MIB, Place, json, refused, script, sfdisk, sized};

/// First byte and length of the two volumes on the disk of this test.
const STATE: (u64, u64) = (8 * MIB, 24 * MIB);
const DATA: (u64, u64) = (32 * MIB, 28 * MIB);
const TABLE: &str = "label: gpt
start=2048, size=8192, type=uefi, name=ESP
start=16384, size=49152, name=holdfast-state
start=65536, size=57344, name=holdfast.data0
";

/// A disk with two real LUKS2 volumes, which a key opens.
fn disk(place: &Place) -> Result<PathBuf> {
    let (disk, key) = (place.path("disk"), place.path("key"));
    sized(&disk, 64 * MIB)?;
    sfdisk(&disk, TABLE)?;
    fs::write(&key, "a key of 32 bytes for the volumes")?;
    for (at, bytes) in [STATE, DATA] {
        let volume = place.path("volume");
        sized(&volume, bytes)?;
        let mut format = Command::new("cryptsetup");
        format.args(["luksFormat", "-q", "--type=luks2", "--pbkdf=pbkdf2"]);
        output(
            format.args(["--pbkdf-force-iterations=1000", "--key-file"]).arg(&key).arg(&volume),
        )?;
        let mut out = OpenOptions::new().write(true).open(&disk)?;
        out.seek(SeekFrom::Start(at))?;
        out.write_all(&fs::read(&volume)?)?;
    }
    let esp = format!("{}@@{MIB}", disk.display());
    output(Command::new("mformat").args(["-i", &esp, "-T", "8192", "::"]))?;
    for name in ["holdfast.toml", "label.json"] {
        let file = place.path(name);
        fs::write(&file, "{}")?;
        output(Command::new("mcopy").args(["-i", &esp]).arg(&file).arg("::/"))?;
    }
    Ok(disk)
}

fn part(disk: &Path, (at, bytes): (u64, u64)) -> Result<Vec<u8>> {
    let (mut file, mut found) = (File::open(disk)?, Vec::new());
    file.seek(SeekFrom::Start(at))?;
    file.take(bytes).read_to_end(&mut found)?;
    Ok(found)
}

#[test]
fn a_disk_is_destroyed_after_its_phrase_and_the_receipt_names_its_volumes() -> Result<()> {
    let place = Place::new()?;
    let disk = disk(&place)?;
    let before = fs::read(&disk)?;
    let phrase = format!("destroy {}", disk.display());
    refused(script("factory-reset").arg(&disk), &phrase)?;
    refused(
        script("factory-reset").args(["--confirm", "destroy it"]).arg(&disk),
        "nothing was changed",
    )?;
    output(script("factory-reset").arg("--dry-run").arg(&disk))?;
    ensure!(fs::read(&disk)? == before, "something was written");

    let receipt = json(script("factory-reset").args(["--confirm", &phrase]).arg(&disk))?;
    let volumes = receipt["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure!(volumes.len() == 2, "{receipt}");
    for (volume, name) in volumes.iter().zip(["holdfast-state", "holdfast.data0"]) {
        ensure!(volume["volume"] == name && volume["key_slots_left"] == 0, "{receipt}");
        ensure!(volume["luks_uuid"].as_str().is_some_and(|it| it.len() == 36), "{receipt}");
    }
    for volume in [STATE, DATA] {
        ensure!(part(&disk, volume)?.iter().all(|byte| *byte == 0), "something is left");
    }
    let esp = format!("{}@@{MIB}", disk.display());
    let left = output(Command::new("mdir").args(["-b", "-i", &esp, "::"]))?;
    let left = String::from_utf8(left)?;
    ensure!(left.contains("label.json") && !left.contains("holdfast.toml"), "{left}");
    // What lies before the volumes, the table with it, is as it was but for that.
    ensure!(part(&disk, (0, MIB))? == before[..MIB as usize], "the table is another");
    Ok(())
}

#[test]
fn a_disk_without_volumes_has_nothing_to_destroy() -> Result<()> {
    let place = Place::new()?;
    refused(script("factory-reset").arg(place.raw()), "nothing to destroy")?;
    refused(script("factory-reset").arg(place.path("none")), "does not exist")?;
    refused(&mut script("factory-reset"), "say which disk")?;
    Ok(())
}

#[test]
fn an_order_names_one_box_and_each_is_another() -> Result<()> {
    let place = Place::new()?;
    let stick = place.path("stick");
    sized(&stick, 8 * MIB)?;
    let order = |serial: &str| {
        let mut command = script("factory-reset");
        command.args(["--stick", "--serial", serial, "--confirm", &format!("reset {serial}")]);
        command.arg(&stick);
        command
    };
    output(Command::new("mkfs.vfat").args(["-n", "OTHER"]).arg(&stick))?;
    refused(&mut order("HF-1234-5678"), "HF-SETUP")?;
    output(Command::new("mkfs.vfat").args(["-n", "HF-SETUP"]).arg(&stick))?;
    refused(&mut order("1234"), "on the box's label")?;
    let first = json(&mut order("HF-1234-5678"))?;
    let second = json(&mut order("HF-1234-5678"))?;
    ensure!(first["order"] != second["order"], "{first} {second}");
    let text = output(Command::new("mtype").arg("-i").arg(&stick).arg("::/factory-reset.txt"))?;
    let wanted = format!("serial = \"HF-1234-5678\"\norder = {}\n", second["order"]);
    ensure!(String::from_utf8(text)? == wanted);
    Ok(())
}

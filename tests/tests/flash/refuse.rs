//! What is refused, in words that say what to do, with the disk as it was before.

use std::fs::{self, File};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{output, sha256_of};

use super::disk::{IMAGE, Loop, MIB, Place, refused, said, script, sfdisk, sized};

#[test]
fn images_that_are_not_what_was_signed_are_refused_and_touch_nothing() -> Result<()> {
    let place = Place::new()?;
    let disk = place.used_disk("disk", 40 * MIB)?;
    let before = sha256_of(&disk)?;

    let mut flash = script("flash");
    flash.arg("--key").arg(place.path("other.pub.pem")).arg(place.path("out")).arg(&disk);
    refused(&mut flash, "the signature of")?;
    let sums = fs::read_to_string(place.path("out/SHA256SUMS"))?;
    fs::write(place.path("out/SHA256SUMS"), sums.replace("1.2.3", "1.2.4"))?;
    refused(&mut place.flash_file(&disk), "the signature of")?;
    // Signed, but of other files.
    place.sign("update")?;
    refused(&mut place.flash_file(&disk), "it was not signed")?;
    fs::write(place.path("out/SHA256SUMS"), &sums)?;
    place.sign("update")?;

    for name in ["holdfast_1.2.3.raw.zst", "holdfast_1.2.3.raw.bmap"] {
        let path = place.path("out").join(name);
        let good = fs::read(&path)?;
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        fs::write(&path, bad)?;
        refused(&mut place.flash_file(&disk), "is damaged")?;
        fs::remove_file(&path)?;
        refused(
            &mut place.flash_file(&disk),
            if name.ends_with("zst") { "there is no" } else { "is missing" },
        )?;
        fs::write(&path, good)?;
    }
    ensure!(sha256_of(&disk)? == before, "a refused image changed the disk");
    Ok(())
}

#[test]
fn images_of_another_kind_are_refused_and_touch_nothing() -> Result<()> {
    let place = Place::new()?;
    let disk = place.used_disk("disk", 40 * MIB)?;
    let before = sha256_of(&disk)?;

    // A part of an update.
    let part = place.path("out/holdfast_1.2.3.root.zst");
    fs::copy(place.packed(), &part)?;
    let mut flash = script("flash");
    flash.arg("--key").arg(place.path("update.pub.pem")).arg(&part).arg(&disk);
    refused(&mut flash, "is no image of a disk")?;
    // Signed disks that nothing would start from.
    fs::write(place.path("blank"), vec![1; (4 * MIB) as usize])?;
    place.pack("blank")?;
    place.sign("update")?;
    refused(&mut place.flash_file(&disk), "it has no GPT")?;
    sized(&place.path("data"), 4 * MIB)?;
    sfdisk(&place.path("data"), "label: gpt\nstart=2048, size=2048\n")?;
    place.pack("data")?;
    place.sign("update")?;
    refused(&mut place.flash_file(&disk), "it has no ESP")?;
    ensure!(sha256_of(&disk)? == before, "a refused image changed the disk");
    Ok(())
}

#[test]
fn targets_that_do_not_fit_or_are_not_confirmed_are_refused_and_left_as_they_were() -> Result<()> {
    let place = Place::new()?;
    let small = place.used_disk("small", 8 * MIB)?;
    let disk = place.used_disk("disk", 40 * MIB)?;
    let before = (sha256_of(&small)?, sha256_of(&disk)?);

    let said_of_small = refused(&mut place.flash_file(&small), "too small")?;
    let (has, needs) = ((8 * MIB).to_string(), IMAGE.to_string());
    ensure!(said_of_small.contains(&has) && said_of_small.contains(&needs), "{said_of_small}");
    let phrase = format!("--confirm 'erase {}'", disk.display());
    refused(&mut place.flash(&disk), &phrase)?;
    refused(place.flash(&disk).args(["--confirm", "erase it"]), &phrase)?;
    refused(&mut place.flash_file(&place.path("absent")), "does not exist")?;
    refused(&mut place.flash_file(place.dir.path()), "neither a disk nor a file")?;

    // What the box would not take is found before anything is written.
    fs::write(place.path("holdfast.toml"), "x = '/run/credentials/holdfast.service/s3.key'\n")?;
    let mut flash = place.flash_file(&disk);
    refused(flash.arg("--config").arg(place.path("holdfast.toml")), "no such secret")?;
    fs::write(place.path("latin"), b"x = '\xe9'\n")?;
    let mut flash = place.flash_file(&disk);
    refused(flash.arg("--config").arg(place.path("latin")), "not UTF-8")?;

    let (is_fine, dry) = said(place.flash(&disk).arg("--dry-run"))?;
    ensure!(is_fine && dry.contains("nothing was changed") && dry.contains(&phrase), "{dry}");
    ensure!((sha256_of(&small)?, sha256_of(&disk)?) == before, "a refused target was changed");
    Ok(())
}

#[test]
fn disks_in_use_are_refused() -> Result<()> {
    let place = Place::new()?;
    // The disk that this machine runs from, if / is on one. Dry, in case the test is right.
    let root = output(Command::new("findmnt").args(["-nvo", "SOURCE", "/"]))?;
    let root = String::from_utf8(root)?.trim().to_owned();
    if root.starts_with("/dev/") {
        let own = output(Command::new("lsblk").args(["-rnso", "PATH", &root]))?;
        let own = String::from_utf8(own)?;
        let own = own.lines().last().context("no disk under /")?.to_owned();
        let mut flash = place.flash(own.as_ref());
        refused(flash.args(["--dry-run", "--force-fixed"]), "this machine runs from")?;
    }

    let disk = place.path("disk");
    sized(&disk, 40 * MIB)?;
    output(Command::new("/sbin/mkfs.ext4").arg("-q").arg(&disk))?;
    let device = Loop::of(&disk)?;
    let folder = place.path("mounted");
    fs::create_dir(&folder)?;
    output(Command::new("mount").arg(&device.0).arg(&folder))?;
    File::create(folder.join("precious"))?.sync_all()?;
    let phrase = format!("erase fixed disk {}", disk.display());
    let mut flash = place.flash(&device.0);
    let result = refused(flash.args(["--force-fixed", "--confirm", &phrase]), "is mounted at");
    let is_there = folder.join("precious").exists();
    output(Command::new("umount").arg(&folder))?;
    ensure!(is_there, "a mounted disk was written to");
    result.map(drop)
}

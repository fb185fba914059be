//! What is on a disk after flashing, and after flashing was cut off.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{output, sha256};
use holdfast_tests::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::disk::{
    ESP, HOLE, IMAGE, Loop, MIB, Place, ROOT_A, ROOT_B, bytes, json, on_esp, refused, said,
};

/// Whether other people's tools find the image's partitions, and the table's backup at the end.
fn is_whole(disk: &Path) -> Result<()> {
    let (is_fine, verified) = said(Command::new("/sbin/sfdisk").arg("--verify").arg(disk))?;
    ensure!(is_fine && verified.contains("No errors detected"), "{verified}");
    let length = fs::metadata(disk)?.len();
    ensure!(bytes(disk, (length - 512, 8))? == b"EFI PART", "no backup at the end");
    let esp = format!("{}@@{}", disk.display(), ESP.0);
    output(Command::new("minfo").args(["-i", &esp, "::"]))?;
    Ok(())
}

#[test]
fn a_used_disk_becomes_the_image_with_its_label_and_configuration() -> Result<()> {
    let place = Place::new()?;
    let disk = place.used_disk("disk", 64 * MIB)?;
    fs::write(place.path("holdfast.toml"), "x = '/run/credentials/holdfast.service/s3.key'\n")?;
    fs::write(place.path("key"), "hush")?;
    let mut flash = place.flash_file(&disk);
    flash.arg("--config").arg(place.path("holdfast.toml")).arg("--secret");
    flash.arg(format!("s3.key={}", place.path("key").display()));
    flash.arg("--label-out").arg(place.path("label")).args(["--serial", "HF-0042"]);
    let result = json(&mut flash)?;

    is_whole(&disk)?;
    let used = (ROOT_A.0, 4 * MIB + 4096);
    ensure!(bytes(&disk, used)? == bytes(&place.raw(), used)?, "root A differs");
    ensure!(bytes(&disk, (HOLE, 4096))? == [0; 4096], "what dm-verity reads as zeros is not");
    ensure!(bytes(&disk, (ROOT_B.0, MIB))?.iter().all(|byte| *byte == 0), "slot B has old bytes");
    let behind = bytes(&disk, (IMAGE, 32 * MIB))?;
    ensure!(behind.iter().all(|byte| *byte == 0), "old headers are where the data will be");
    ensure!(on_esp(&disk, "EFI/BOOT/BOOTX64.EFI")? == fs::read(place.path("kernel"))?);
    // Nothing of what was there before is left on the ESP, not even in free clusters.
    ensure!(!bytes(&disk, ESP)?.windows(512).any(|w| w == [0xa5; 512]), "old bytes on the ESP");

    ensure!(on_esp(&disk, "holdfast.toml")? == fs::read(place.path("holdfast.toml"))?);
    ensure!(on_esp(&disk, "secrets/s3.key")? == b"hush");
    let label: serde_json::Value = serde_json::from_slice(&on_esp(&disk, "label.json")?)?;
    let code = result["code"].as_str().context("no code")?;
    ensure!(code.len() == 19 && code.split('-').count() == 4, "{code}");
    ensure!(label["code_sha256"] == sha256(code.replace('-', "").as_bytes()), "{label}");
    ensure!(label["serial"] == "HF-0042" && result["serial"] == "HF-0042");
    fs::write(place.path("page.crt"), on_esp(&disk, "page.crt")?)?;
    let show = ["x509", "-noout", "-fingerprint", "-sha256", "-in"];
    let print = output(Command::new("openssl").args(show).arg(place.path("page.crt")))?;
    let print = String::from_utf8(print)?;
    let wanted = result["fingerprint_sha256"].as_str().context("no fingerprint")?;
    ensure!(print.trim().ends_with(wanted), "{print} {wanted}");
    let printed = fs::read_to_string(place.path("label"))?;
    ensure!(printed.contains(code) && printed.contains("HF-0042"), "{printed}");
    ensure!(
        printed.contains(&wanted[..32]) && printed.contains('█'),
        "no fingerprint or QR: {printed}"
    );
    ensure!(fs::metadata(place.path("label"))?.permissions().mode() & 0o777 == 0o600);
    // The code is on the label and nowhere on the disk.
    let whole = fs::read(&disk)?;
    for code in [code, &code.replace('-', "")] {
        ensure!(
            !whole.windows(code.len()).any(|w| w == code.as_bytes()),
            "the code is on the disk"
        );
    }
    Ok(())
}

#[test]
fn verifying_tells_a_flashed_disk_from_one_that_is_not_the_image() -> Result<()> {
    let place = Place::new()?;
    let disk = place.used_disk("disk", 40 * MIB)?;
    output(&mut place.flash_file(&disk))?;
    let verify = || {
        let mut verify = place.flash(&disk);
        verify.arg("--verify");
        verify
    };
    ensure!(json(&mut verify())?["verified"] == true);

    let file = File::options().read(true).write(true).open(&disk)?;
    for (at, what) in [
        (ROOT_A.0 + MIB, "differs at byte"),
        (HOLE + 7, "differs at byte"),
        (40 * MIB - 512, "partition table"),
    ] {
        let was = bytes(&disk, (at, 1))?[0];
        file.write_all_at(&[was ^ 1], at)?;
        refused(&mut verify(), what)?;
        file.write_all_at(&[was], at)?;
    }
    output(&mut verify())?;
    // Something that neither the image nor provisioning brought.
    let esp = format!("{}@@{}", disk.display(), ESP.0);
    output(Command::new("mcopy").args(["-i", &esp]).arg(place.path("kernel")).arg("::/EVIL.EFI"))?;
    let said = refused(&mut verify(), "ESP")?;
    ensure!(said.contains("EVIL.EFI"), "{said}");
    Ok(())
}

/// A zstd in front of the real one that stops in the middle of the image, as a stick does that is
/// slow or gone. It leaves its process ids.
fn stalling(place: &Place) -> Result<String> {
    let folder = place.path("bin");
    fs::create_dir_all(&folder)?;
    let real = String::from_utf8(output(Command::new("sh").args(["-c", "command -v zstd"]))?)?;
    let text = format!(
        "#!/bin/sh\necho $$ >>{0}/pids\n{1} \"$@\" | head -c 8000000\necho >{0}/stalled\nexec sleep 600\n",
        folder.display(),
        real.trim()
    );
    fs::write(folder.join("zstd"), text)?;
    fs::set_permissions(folder.join("zstd"), Permissions::from_mode(0o755))?;
    Ok(format!("{}:{}", folder.display(), std::env::var("PATH")?))
}

#[tokio::test]
async fn a_flashing_that_is_cut_off_leaves_nothing_that_starts_and_can_be_done_again() -> Result<()>
{
    let place = Place::new()?;
    let path = stalling(&place)?;
    let disk = place.used_disk("disk", 64 * MIB)?;
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let _ = fs::remove_file(place.path("bin/stalled"));
        let mut flash = place.flash_file(&disk);
        // What a killed script leaves goes with the place.
        flash.env("TMPDIR", place.dir.path());
        flash.env("PATH", &path).stderr(File::create(place.path("said"))?).stdout(Stdio::null());
        let mut child = flash.spawn()?;
        // The first zstd reads the head only; what is written stalls in the second.
        until("the middle of the image", async || {
            let said = fs::read_to_string(place.path("said"))?;
            ensure!(!said.contains("error:"), "{said}");
            let is_written =
                bytes(&disk, (ROOT_A.0, MIB))? == bytes(&place.raw(), (ROOT_A.0, MIB))?;
            Ok((is_written && place.path("bin/stalled").exists()).then_some(()))
        })
        .await?;
        kill(Pid::from_raw(child.id().cast_signed()), signal)?;
        child.wait()?;

        let table = Command::new("/sbin/sfdisk").arg("-J").arg(&disk).output()?;
        ensure!(!table.status.success(), "half written, with a partition table: {table:?}");
        let first = bytes(&disk, (0, 512))?;
        ensure!(first.starts_with(b"holdfast: ") && first[510..] != [0x55, 0xaa]);
        let end = bytes(&disk, (64 * MIB - 512, 8))?;
        ensure!(end != b"EFI PART", "the old table's backup is still there");
        let mut verify = place.flash(&disk);
        refused(verify.arg("--verify"), "half written")?;
        if signal == Signal::SIGTERM {
            let said = fs::read_to_string(place.path("said"))?;
            ensure!(said.contains("does not start. Flash it again"), "{said}");
        }
        // What still sleeps is ours.
        for pid in fs::read_to_string(place.path("bin/pids"))?.lines() {
            let _ = kill(Pid::from_raw(pid.parse()?), Signal::SIGKILL);
        }
    }
    output(&mut place.flash_file(&disk))?;
    is_whole(&disk)
}

#[test]
fn a_loop_device_counts_as_a_fixed_disk_and_is_flashed_by_its_name() -> Result<()> {
    let place = Place::new()?;
    let disk = place.used_disk("disk", 40 * MIB)?;
    let device = Loop::of(&disk)?;
    refused(&mut place.flash(&device.0), "is not removable")?;
    refused(&mut place.flash_file(&disk), "is attached as")?;
    let phrase = format!("erase fixed disk {}", disk.display());
    let mut flash = place.flash(&device.0);
    output(flash.args(["--force-fixed", "--confirm", &phrase]))?;
    output(place.flash(&device.0).arg("--verify"))?;
    drop(device);
    is_whole(&disk)
}

//! Names of bays, as systemd's own tools read them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use holdfast_tests::tools::{output, repo};

/// What a place is called by the tables in a folder.
fn named(root: &Path, place: &str) -> Result<String> {
    let key = format!("holdfast-bay:{place}");
    let said = output(Command::new("systemd-hwdb").arg("--root").arg(root).args(["query", &key]))?;
    Ok(String::from_utf8(said)?.trim().to_owned())
}

#[test]
fn a_place_has_a_name_and_a_board_may_give_it_another() -> Result<()> {
    let root = tempfile::tempdir()?;
    let tables = root.path().join("etc/udev/hwdb.d");
    fs::create_dir_all(&tables)?;
    fs::copy(repo().join("udev/60-holdfast-bay.hwdb"), tables.join("60-holdfast-bay.hwdb"))?;
    let update = || {
        output(
            Command::new("systemd-hwdb")
                .arg("--root")
                .arg(root.path())
                .args(["--strict", "update"]),
        )
    };
    update()?;
    for (place, name) in [
        ("pci-0000:00:17.0-ata-1", "HOLDFAST_BAY=sata-1"),
        ("pci-0000:00:1f.2-ata-3.0", "HOLDFAST_BAY=sata-3"),
        ("pci-0000:00:1f.2-ata-10", ""),
        ("pci-0000:00:14.0-usb-0:3:1.0-scsi-0:0:0:0", ""),
        ("pci-0000:01:00.0-nvme-1", ""),
    ] {
        let said = named(root.path(), place)?;
        ensure!(said == name, "{place}: {said}");
    }
    let board = "holdfast-bay:pci-0000:00:17.0-ata-1*\n HOLDFAST_BAY=left\n\n\
                 holdfast-bay:pci-0000:01:00.0-nvme-1\n HOLDFAST_BAY=inside\n";
    fs::write(tables.join("70-holdfast-bay-front.hwdb"), board)?;
    update()?;
    ensure!(named(root.path(), "pci-0000:00:17.0-ata-1")? == "HOLDFAST_BAY=left");
    ensure!(named(root.path(), "pci-0000:01:00.0-nvme-1")? == "HOLDFAST_BAY=inside");
    ensure!(named(root.path(), "pci-0000:00:17.0-ata-2")? == "HOLDFAST_BAY=sata-2");
    Ok(())
}

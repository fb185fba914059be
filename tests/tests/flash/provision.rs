//! Changing what a box is set up with, and the papers of the scripts.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use holdfast_tests::tools::{output, repo};

use super::disk::{ESP, MIB, Place, json, on_esp, refused, said, script, sized};

fn provision(target: &Path) -> Command {
    let mut command = script("provision");
    command.arg(target);
    command
}

#[test]
fn what_is_named_changes_and_the_rest_stays() -> Result<()> {
    let place = Place::new()?;
    let disk = place.raw();
    let (config, secret) = (place.path("holdfast.toml"), place.path("hush"));
    fs::write(&config, "a = '/run/credentials/holdfast.service/key'\n")?;
    fs::write(&secret, "secret 1")?;
    let with_secret = format!("key={}", secret.display());
    let mut first = provision(&disk);
    first.arg("--config").arg(&config).args(["--secret", &with_secret, "--new-label"]);
    let label = json(&mut first)?;
    ensure!(label["serial"].as_str().is_some_and(|serial| serial.starts_with("HF-")), "{label}");

    // A changed configuration finds the secret that is there; label and certificate stay.
    let (before, page) = (on_esp(&disk, "label.json")?, on_esp(&disk, "page.key")?);
    fs::write(&config, "b = '/run/credentials/holdfast.service/key'\n")?;
    let mut dry = provision(&disk);
    output(dry.arg("--config").arg(&config).arg("--dry-run"))?;
    ensure!(on_esp(&disk, "holdfast.toml")?.starts_with(b"a"), "a dry run wrote");
    output(provision(&disk).arg("--config").arg(&config))?;
    ensure!(on_esp(&disk, "holdfast.toml")? == fs::read(&config)?);
    ensure!(on_esp(&disk, "label.json")? == before && on_esp(&disk, "page.key")? == page);
    ensure!(on_esp(&disk, "EFI/BOOT/BOOTX64.EFI")? == fs::read(place.path("kernel"))?);

    let (_, shown) = said(provision(&disk).arg("--show"))?;
    ensure!(shown.contains("secrets/key") && !shown.contains("secret 1"), "{shown}");
    output(provision(&disk).args(["--remove", "secrets/key"]))?;
    ensure!(on_esp(&disk, "secrets/key").is_err(), "a removed secret is there");
    refused(provision(&disk).arg("--config").arg(&config), "no such secret")?;
    refused(
        provision(&disk).args(["--remove", "EFI/BOOT/BOOTX64.EFI"]),
        "is not what this removes",
    )?;
    refused(provision(&disk).args(["--secret", "../x=/dev/null"]), "no name of a secret")?;
    refused(&mut provision(&disk), "nothing to do")?;
    let esp = format!("{}@@{}", disk.display(), ESP.0);
    output(Command::new("minfo").args(["-i", &esp, "::"]))?;
    Ok(())
}

#[test]
fn a_stick_is_told_by_its_label() -> Result<()> {
    let place = Place::new()?;
    let (stick, config) = (place.path("stick"), place.path("holdfast.toml"));
    fs::write(&config, "a = 1\n")?;
    sized(&stick, 2 * MIB)?;
    output(Command::new("/sbin/mkfs.vfat").args(["-n", "HOLIDAYS"]).arg(&stick))?;
    refused(provision(&stick).arg("--config").arg(&config), "the label HF-SETUP")?;
    output(Command::new("mlabel").arg("-i").arg(&stick).arg("::HF-SETUP"))?;
    output(provision(&stick).arg("--config").arg(&config))?;
    let text = output(Command::new("mtype").arg("-i").arg(&stick).arg("::/holdfast.toml"))?;
    ensure!(text == b"a = 1\n");
    refused(provision(&stick).arg("--new-label"), "is a stick")?;
    Ok(())
}

#[test]
fn mandoc_has_nothing_to_say_about_the_man_pages_and_they_have_every_option() -> Result<()> {
    for name in ["flash", "provision", "factory-reset", "rescue"] {
        let page = repo().join(format!("docs/man/{name}.1"));
        let (_, complaint) =
            said(Command::new("mandoc").args(["-T", "lint", "-W", "style"]).arg(&page))?;
        ensure!(complaint.is_empty(), "{complaint}");
        let text = fs::read_to_string(&page)?;
        let usage = String::from_utf8(output(script(name).arg("--help"))?)?;
        for option in usage.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
            let option = option.trim_end_matches(|c: char| !c.is_ascii_lowercase());
            ensure!(text.contains(&format!("Fl -{option}")), "{name}.1 lacks --{option}");
        }
    }
    Ok(())
}

//! FAT sticks get the name that the box looks for, from udev in a guest.

use std::fs;
use std::process::Command;

use anyhow::{Result, ensure};
use holdfast_tests::Guest;
use holdfast_tests::tools::{output, repo};

use super::disk::{MIB, sized};

const RULES: &str = "92-holdfast-stick.rules";

#[test]
fn a_fat_stick_is_known_by_its_short_label_or_the_name_of_its_partition() -> Result<()> {
    let mut guest = Guest::new()?;
    let disk = guest.add_disk(16 * MIB)?;
    let table = "label: gpt\n\
                 start=2048, size=4096, name=a\n\
                 start=6144, size=4096, name=b\n\
                 start=10240, size=4096, name=HOLDFAST-SETUP\n\
                 start=14336, size=4096, name=HOLDFAST-UPDATE\n";
    Guest::partition(&disk, table)?;
    for (sector, label) in [(2048, "HF-SETUP"), (6144, "HOLIDAYS"), (10240, "OTHER")] {
        let fat = guest.path().join("fat");
        sized(&fat, 2 * MIB)?;
        output(Command::new("/sbin/mkfs.vfat").args(["-n", label]).arg(&fat))?;
        let mut dd = Command::new("dd");
        dd.arg(format!("if={}", fat.display())).arg(format!("of={}", disk.display()));
        output(dd.args(["conv=notrunc", "status=none", &format!("seek={sector}")]))?;
    }
    fs::copy(repo().join("udev").join(RULES), guest.path().join(RULES))?;
    let ran = guest.run(&format!(
        "mkdir -p /run/udev/rules.d; cp $W/{RULES} /run/udev/rules.d
         for n in 1 2 3 4; do step $n udevadm test /sys/class/block/ubda$n; done"
    ))?;
    // The last has the name, but nothing that is a stick's: no file system.
    for (name, is_stick) in [("1", true), ("2", false), ("3", true), ("4", false)] {
        let step = ran.step(name)?;
        let all = format!("{}{}", step.out, step.err);
        ensure!(all.contains("ID_PART_ENTRY_TYPE="), "udev saw no partition: {all}");
        // A line of the rules is named where it makes a link, or is wrong.
        let complaint =
            all.lines().find(|it| it.contains(&format!("{RULES}:")) && !it.contains("LINK"));
        ensure!(complaint.is_none(), "a rule is wrong: {complaint:?}");
        let has = all.contains("created symlink '/dev/disk/by-label/HOLDFAST-SETUP'");
        ensure!(has == is_stick, "partition {name}: {all}");
    }
    Ok(())
}

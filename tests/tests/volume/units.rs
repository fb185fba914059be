//! The unit files and the udev rule, judged by systemd's own tools.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{bin_dir, output, repo};
use holdfast_tests::{Guest, guest::Ran};

use crate::common::{CONFINING, KNOWN, Machine, unit};

const UNITS: [&str; 5] = [
    "holdfast-volume@.service",
    "holdfast-volume-ask@.service",
    "holdfast-volume-site@.service",
    "holdfast-volume-ask.socket",
    "holdfast-volume-site.socket",
];
/// Highest exposures that `systemd-analyze security` may find, of 100; docs/volumes.md has the reasons.
const EXPOSURES_MAX: [&str; 3] = ["16", "16", "20"];

/// The units in a folder, with the program where it was built.
fn installed(folder: &Path) -> Result<()> {
    let program = bin_dir().join("holdfast-volume").display().to_string();
    for name in UNITS {
        fs::write(folder.join(name), unit(name)?.replace("/usr/bin/holdfast-volume", &program))?;
    }
    Ok(())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() -> Result<()> {
    let folder = tempfile::tempdir()?;
    installed(folder.path())?;
    for name in UNITS {
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).arg(folder.path().join(name));
        let done = verify.output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success() && said.trim().is_empty(), "{name}: {said}");
    }
    for (name, most) in UNITS.into_iter().zip(EXPOSURES_MAX) {
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", "--no-pager", "--threshold", most]);
        output(security.arg(folder.path().join(name)))?;
    }
    Ok(())
}

#[test]
fn both_services_are_confined_alike_and_cannot_mount() -> Result<()> {
    let confined = |name: &str| -> Result<String> {
        let text = unit(name)?;
        let at = text.find(CONFINING).context("no confinement")?;
        Ok(text[at..].to_owned())
    };
    let (of, ask) = (confined(UNITS[0])?, confined(UNITS[1])?);
    ensure!(of == ask, "{UNITS:?} are confined differently");
    ensure!(!of.contains("@mount"), "{of}");
    let is = |line: &str| of.lines().any(|it| it == line);
    for name in &UNITS[..2] {
        let loads = unit(name)?.contains("LoadCredential");
        ensure!(!loads, "{name}: one that cannot be decrypted would keep it from starting");
    }
    ensure!(is("RestrictAddressFamilies=AF_UNIX AF_ALG") && is("LimitCORE=0"), "{of}");
    Ok(())
}

#[test]
fn what_the_units_leave_suffices_for_every_verb() -> Result<()> {
    let machine = Machine::new()?;
    let ran = machine.run_confined(&format!(
        "step caps $CONFINED grep -E 'CapEff|Seccomp:' /proc/self/status
         step calls $CONFINED mount -t tmpfs none /run/data0
         step network $CONFINED ip link
         step writes $CONFINED touch /srv/x /etc/x
         step format hv format data0 --confirm 'format data0'
         step open hv open data0
         step options grep ' /run/data0 ' /proc/mounts
         step fill guest fill /run/data0/film {KNOWN}
         step grow hv grow data0
         step status hv status data0
         step keys hv keys data0
         step check hv header check data0
         step export hv header backup data0 --file $W/sealed --encrypt
         grep -o '^[a-z-]\\{{80\\}}$' $W/steps/export.out >/run/key
         step sealed hv header check data0 --file $W/sealed </run/key
         step typo sh -c \"tr cb bc </run/key | $CONFINED $BIN/holdfast-volume --config /run/volume.toml \\
             header check data0 --file $W/sealed\"
         step rotate hv rotate recovery data0 --confirm 'rotate recovery of data0'
         step reencrypt hv reencrypt data0 --confirm 'reencrypt data0'
         step mounted guest same /run/data0/film {KNOWN}
         exec 3</run/data0/film
         step busy hv close data0
         exec 3<&-
         step close hv close data0
         step old hv header restore data0 --file $W/sealed --dry-run </run/key
         step erase hv erase data0 --confirm \"erase data0 $(uuid)\"
         step receipt hv status data0"
    ))?;
    ran.all_well(&["format", "open", "fill", "grow", "status", "keys", "check", "export"])?;
    ran.all_well(&["sealed", "rotate", "reencrypt", "mounted", "close", "old", "erase"])?;
    let caps = ran.step("caps")?.out;
    ensure!(caps.contains("CapEff:\t0000000000200002") && caps.contains("Seccomp:\t2"), "{caps}");
    for denied in ["calls", "writes"] {
        ensure!(ran.step(denied)?.code != 0, "{denied}: {:?}", ran.step(denied)?);
    }
    ensure!(ran.step("network")?.err.contains("not supported"), "{:?}", ran.step("network")?);
    let options = ran.step("options")?.out;
    for option in ["ext4 rw,", "nodev", "nosuid", "noexec", "noatime", "errors=remount-ro"] {
        ensure!(options.contains(option), "{option} is missing: {options}");
    }
    ensure!(ran.step("typo")?.code == 9, "{:?}", ran.step("typo")?);
    ensure!(ran.step("busy")?.code == 8, "{:?}", ran.step("busy")?);
    let erased: serde_json::Value = serde_json::from_str(&ran.step("erase")?.out)?;
    let status: serde_json::Value = serde_json::from_str(&ran.step("receipt")?.out)?;
    let kept = &status[0]["erased"][0];
    ensure!(kept["uuid"] == erased["uuid"] && kept["slots_destroyed"] == 2, "{status}");
    Ok(())
}

#[test]
fn udev_starts_a_volume_by_the_type_and_label_of_its_partition() -> Result<()> {
    let rules = repo().join("udev/90-holdfast-volume.rules");
    let rules_text = fs::read_to_string(&rules)?;
    let guid = rules_text.split('"').find(|it| it.len() == 36).context("no type in the rules")?;
    let mut guest = Guest::new()?;
    let disk = guest.add_disk(40 << 20)?;
    let table = format!(
        "label: gpt\n\
         size=8MiB, type={guid}, name=holdfast.data0\n\
         size=8MiB, type=linux, name=holdfast.data0\n\
         size=8MiB, type={guid}, name=other\n\
         type={guid}, name=\"holdfast.x y.service\"\n"
    );
    Guest::partition(&disk, &table)?;
    fs::copy(&rules, guest.path().join("90-holdfast-volume.rules"))?;
    let ran: Ran = guest.run(
        "mkdir -p /run/udev/rules.d; cp $W/90-holdfast-volume.rules /run/udev/rules.d
         for n in 1 2 3 4; do step $n udevadm test /sys/class/block/ubda$n; done",
    )?;
    let wants = |name: &str| -> Result<Option<String>> {
        let step = ran.step(name)?;
        let all = format!("{}{}", step.out, step.err);
        ensure!(all.contains("ID_PART_ENTRY_TYPE="), "udev saw no partition: {all}");
        ensure!(!all.contains("90-holdfast-volume.rules:"), "a rule is wrong: {all}");
        Ok(all.lines().find_map(|it| it.strip_prefix("SYSTEMD_WANTS=")).map(str::to_owned))
    };
    ensure!(wants("1")?.as_deref() == Some("holdfast-volume@holdfast.data0.service"), "{ran:?}");
    ensure!(wants("2")?.is_none(), "{:?}", wants("2")?);
    ensure!(wants("3")?.is_none(), "{:?}", wants("3")?);
    let odd = wants("4")?.unwrap_or_default();
    ensure!(odd.split_whitespace().count() <= 1, "a label named a unit of its own: {odd}");
    Ok(())
}

#[test]
fn udev_understands_the_rules_for_what_encodes() -> Result<()> {
    const RULES: &str = "91-holdfast-transcode.rules";
    let guest = Guest::new()?;
    fs::copy(repo().join("udev").join(RULES), guest.path().join(RULES))?;
    let ran: Ran = guest.run(&format!(
        "mkdir -p /run/udev/rules.d; cp $W/{RULES} /run/udev/rules.d
         cp /etc/group /run/group; echo holdfast-transcode:x:990: >> /run/group
         mount --bind /run/group /etc/group
         step right udevadm test /sys/class/mem/null
         echo 'KERNEL==\"null\", GROUPS=\"x\"' >> /run/udev/rules.d/{RULES}
         step wrong udevadm test /sys/class/mem/null"
    ))?;
    let said = |name: &str| -> Result<String> {
        let step = ran.step(name)?;
        Ok(format!("{}{}", step.out, step.err))
    };
    ensure!(said("right")?.contains(RULES), "udev did not read it: {}", said("right")?);
    let complaint = format!("{RULES}:");
    ensure!(!said("right")?.contains(&complaint), "a rule is wrong: {}", said("right")?);
    ensure!(said("wrong")?.contains(&complaint), "this test sees no mistakes");
    Ok(())
}

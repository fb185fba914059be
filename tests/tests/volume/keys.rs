//! Keys: where they come from, how they are replaced, and where they never show.

use std::fs;

use anyhow::{Result, ensure};
use holdfast_tests::Guest;

use crate::common::{Machine, is_in, key, recovery_key};

const STICK: &str = "keys = [\"stick\", \"credential\"]";

#[test]
fn sources_are_tried_in_their_order_and_a_stick_can_be_pulled_once_it_is_open() -> Result<()> {
    let mut machine = Machine::with(STICK)?;
    let stick = machine.guest.add_disk(40 << 20)?;
    Guest::partition(&stick, "label: gpt\nname=HOLDFAST-KEYS\n")?;
    fs::write(machine.path("key"), key(2))?;
    let ran = machine.run(
        "mkfs.vfat /dev/ubdb1 >&2; mkdir -p /run/s; mount /dev/ubdb1 /run/s
         cp $W/key /run/s/data0.key; umount /run/s
         step format hv format data0 --confirm 'format data0'
         step open hv open data0
         step pulled sh -c '! grep ubdb /proc/mounts'
         step close hv close data0
         step slots hv keys data0
         mount /dev/ubdb1 /run/s; rm /run/s/data0.key; ln -s /etc/shadow /run/s/x 2>/dev/null; umount /run/s
         step without hv open data0
         cp $W/key $W/credentials/holdfast-volume_data0
         step credential hv open data0; hv close data0
         mkfs.ext4 -q /dev/ubdb1; mount /dev/ubdb1 /run/s; ln -s $W/key /run/s/data0.key; umount /run/s
         rm $W/credentials/holdfast-volume_data0
         step link hv open data0",
    )?;
    ran.all_well(&["format", "open", "pulled", "close", "credential"])?;
    ensure!(ran.step("open")?.out.contains("by stick"), "{:?}", ran.step("open")?);
    ensure!(ran.step("slots")?.out.contains("\"stick\""), "{:?}", ran.step("slots")?);
    let without = ran.step("without")?;
    ensure!(without.code == 7 && without.err.contains("data0.key is not there"), "{without:?}");
    ensure!(without.err.contains("credential: its key fits no slot"), "{without:?}");
    ensure!(ran.step("credential")?.out.contains("by credential"), "{ran:?}");
    ensure!(ran.step("link")?.code == 7, "a link on a stick was followed");
    Ok(())
}

#[test]
fn a_credential_is_decrypted_for_its_volume_and_one_that_is_not_keeps_no_other_source_out()
-> Result<()> {
    let mut machine = Machine::with("keys = [\"credential\", \"stick\"]")?;
    let stick = machine.guest.add_disk(40 << 20)?;
    Guest::partition(&stick, "label: gpt\nname=HOLDFAST-KEYS\n")?;
    for number in 1..=2 {
        fs::write(machine.path(&format!("key{number}")), key(number))?;
    }
    let script = "unset CREDENTIALS_DIRECTORY; mkdir $W/encrypted
         mkdir -p /var/lib/systemd
         encrypt() { systemd-creds encrypt --with-key=host --name=$1 $2 $3; }
         step encrypt encrypt holdfast-volume_data0 $W/key1 $W/encrypted/data0
         step format hv format data0 --confirm 'format data0'
         step open hv open data0; hv close data0
         encrypt holdfast-volume_data0 $W/key2 $W/encrypted/data0.new
         step rotate hv rotate machine data0 --confirm 'rotate machine of data0'
         mv $W/encrypted/data0.new $W/encrypted/data0
         step renamed hv open data0; hv close data0
         # Encrypted for another name, and no credential at all.
         encrypt holdfast-volume_data1 $W/key2 $W/encrypted/data0
         step other hv open data0; step status hv status data0
         head -c 300 /dev/urandom >$W/encrypted/data0
         mkfs.vfat /dev/ubdb1 >&2; mkdir -p /run/s; mount /dev/ubdb1 /run/s
         cp $W/key2 /run/s/data0.key; umount /run/s
         step stick hv open data0
         rm $W/encrypted/data0; hv close data0
         step without hv header check data0";
    // What decrypts is a child: the unit's confinement is its too. The stick is mounted by systemd.
    let ran = machine.run_confined(script)?;
    ran.all_well(&[
        "encrypt", "format", "open", "rotate", "renamed", "status", "stick", "without",
    ])?;
    for name in ["open", "renamed"] {
        ensure!(ran.step(name)?.out.contains("by credential"), "{:?}", ran.step(name)?);
    }
    let other = ran.step("other")?;
    ensure!(other.code == 7 && other.err.contains("systemd-creds"), "{other:?}");
    ensure!(ran.step("stick")?.out.contains("by stick"), "{:?}", ran.step("stick")?);
    Ok(())
}

#[test]
fn a_recovery_key_on_the_stick_opens_a_box_that_lost_its_own_key_and_gives_it_another() -> Result<()>
{
    let mut machine = Machine::with("keys = [\"credential\", \"stick\"]")?;
    let stick = machine.guest.add_disk(40 << 20)?;
    Guest::partition(&stick, "label: gpt\nname=HOLDFAST-KEYS\n")?;
    let recovery = machine.format()?;
    fs::write(machine.path("recovery"), recovery.to_uppercase())?;
    fs::write(machine.path("typo"), recovery.replacen('-', "-c", 1))?;
    machine.set_key("holdfast-volume_data0", 2)?;
    let ran = machine.run(
        "put() { mount /dev/ubdb1 /run/s; rm -f /run/s/*; [ -z \"$1\" ] || cp $1 /run/s/data0.recovery; umount /run/s; }
         mkfs.vfat /dev/ubdb1 >&2; mkdir -p /run/s
         step without hv open data0
         put $W/typo; step typo hv open data0
         put $W/recovery; step open hv open data0
         step status hv status data0; step close hv close data0
         put ''; step again hv open data0; hv close data0
         # Not where the stick is none of the volume's sources.
         printf 'machine-key-03-machine-key-03-machine-key' >$W/credentials/holdfast-volume_data0
         put $W/recovery; sed -i 's/, \"stick\"//' /run/volume.toml; step unasked hv open data0",
    )?;
    ran.all_well(&["open", "status", "close", "again"])?;
    ensure!(ran.step("without")?.code == 7 && ran.step("unasked")?.code == 7, "{ran:?}");
    let typo = ran.step("typo")?;
    ensure!(typo.code == 7 && typo.err.contains("data0.recovery"), "{typo:?}");
    let open = ran.step("open")?;
    ensure!(open.out.contains("by the recovery key on the stick"), "{open:?}");
    ensure!(open.err.contains("its key fits no slot"), "the journal does not say why: {open:?}");
    ensure!(!open.out.contains(&recovery) && !open.err.contains(&recovery), "the key shows");
    ensure!(ran.step("again")?.out.contains("by credential"), "{:?}", ran.step("again")?);
    Ok(())
}

#[test]
fn a_person_opens_it_with_the_recovery_key_and_is_told_which_group_is_mistyped() -> Result<()> {
    let machine = Machine::new()?;
    let recovery = machine.format()?;
    fs::write(machine.path("recovery"), recovery.to_uppercase().replace('-', " "))?;
    fs::write(machine.path("short"), recovery.rsplit_once('-').map_or("", |it| it.0))?;
    let mut mistyped = recovery.clone().into_bytes();
    mistyped[20] = if mistyped[20] == b'c' { b'b' } else { b'c' };
    fs::write(machine.path("mistyped"), mistyped)?;
    let other = recovery_key(&format!("{}\n", "cccccccc-".repeat(9).trim_end_matches('-')))?;
    fs::write(machine.path("other"), other)?;
    machine.set_key("holdfast-volume_data0", 9)?;
    let ran = machine.run(
        "step drifted hv open data0
         for it in mistyped other recovery; do step $it hv recover data0 <$W/$it; done
         step status hv status data0
         step close hv close data0
         step stillnot hv open data0
         step enrol hv recover data0 --enrol <$W/short
         step slots hv keys data0
         step again hv recover data0 --enrol <$W/short
         hv close data0
         step enrolled hv open data0
         hv close data0
         mv $W/credentials/holdfast-volume_data0 $W/kept
         step nothing hv recover data0 --enrol <$W/short
         mv $W/kept $W/credentials/holdfast-volume_data0
         hv close data0
         step cryptsetup sh -c 'tr -d \"\\n\" <$W/short | cryptsetup open --test-passphrase -d - /dev/ubda1'",
    )?;
    ran.all_well(&["recovery", "status", "close", "enrol", "again", "enrolled", "cryptsetup"])?;
    for name in ["drifted", "mistyped", "other", "stillnot"] {
        ensure!(ran.step(name)?.code == 7, "{name}: {:?}", ran.step(name)?);
    }
    let nothing = ran.step("nothing")?;
    ensure!(nothing.code == 7 && nothing.err.contains("could be enrolled"), "{nothing:?}");
    ensure!(ran.step("mistyped")?.err.contains("group 3 is mistyped"), "{ran:?}");
    ensure!(ran.step("status")?.out.contains("\"by\": \"recovery\""), "{ran:?}");
    let slots: serde_json::Value = serde_json::from_str(&ran.step("slots")?.out)?;
    let slots = slots.as_array().map_or(0, Vec::len);
    ensure!(slots == 2, "the machine's old slot is still there: {:?}", ran.step("slots")?);
    machine.set_key("holdfast-volume_data0", 1)?;
    let ran = machine.run("step old hv open data0")?;
    ensure!(ran.step("old")?.code == 7, "the machine's old key opens it");
    Ok(())
}

#[test]
fn a_replaced_key_opens_no_more_and_the_new_one_does() -> Result<()> {
    let machine = Machine::new()?;
    let recovery = machine.format()?;
    machine.set_key("holdfast-volume_data0.new", 2)?;
    fs::write(machine.path("recovery"), recovery)?;
    let ran = machine.run(
        "step dry hv rotate machine data0 --dry-run; step none hv rotate machine data0 </dev/null
         step before hv keys data0
         step machine hv rotate machine data0 --confirm 'rotate machine of data0'
         step both hv open data0; hv close data0
         step check hv header check data0
         mv $W/credentials/holdfast-volume_data0 $W/old
         mv $W/credentials/holdfast-volume_data0.new $W/credentials/holdfast-volume_data0
         step new hv open data0; hv close data0
         step twice hv rotate machine data0 --confirm 'rotate machine of data0'
         step recovery hv rotate recovery data0 --confirm 'rotate recovery of data0'
         step oldrecovery hv recover data0 <$W/recovery
         grep -o '^[a-z-]\\{80\\}$' $W/steps/recovery.out >$W/newrecovery
         step newrecovery hv recover data0 <$W/newrecovery; hv close data0
         step last hv keys data0
         step drylast hv keys data0 --remove 0 --dry-run
         new=$W/credentials/holdfast-volume_data0
         step newraw cryptsetup open --test-passphrase -d $new /dev/ubda1
         step newbackup cryptsetup open --test-passphrase -d $new --header $W/backups/*.luks2 /dev/ubda1
         cp $W/old $W/credentials/holdfast-volume_data0
         step oldkey hv open data0
         step oldraw cryptsetup open --test-passphrase -d $W/old /dev/ubda1
         step oldbackup cryptsetup open --test-passphrase -d $W/old --header $W/backups/*.luks2 /dev/ubda1",
    )?;
    ran.all_well(&["dry", "machine", "both", "check", "new", "recovery", "newrecovery", "last"])?;
    ran.all_well(&["newraw", "newbackup"])?;
    ensure!(ran.step("none")?.code == 4 && ran.step("twice")?.code == 7, "{ran:?}");
    ensure!(ran.step("oldkey")?.code == 7 && ran.step("oldrecovery")?.code == 7, "{ran:?}");
    ensure!(ran.step("oldraw")?.code == 2, "cryptsetup opens with the old key");
    ensure!(ran.step("oldbackup")?.code == 2, "the kept backup opens with the old key");
    ensure!(ran.step("drylast")?.out.contains("remove"), "{:?}", ran.step("drylast")?);
    let purposes = |name: &str| -> Result<Vec<String>> {
        let slots: Vec<serde_json::Value> = serde_json::from_str(&ran.step(name)?.out)?;
        let mut all: Vec<_> = slots.iter().map(|it| it["purpose"].to_string()).collect();
        all.sort();
        Ok(all)
    };
    ensure!(purposes("before")? == purposes("last")?, "{ran:?}");
    Ok(())
}

#[test]
fn a_process_that_holds_a_key_shows_it_nowhere_and_leaves_no_core() -> Result<()> {
    let machine = Machine::new()?;
    let recovery = machine.format()?;
    fs::write(machine.path("recovery"), &recovery)?;
    let ran = machine.run(
        "echo '/run/core.%p' >/proc/sys/kernel/core_pattern; ulimit -c unlimited
         sleep 600 & kill -ABRT $!; wait $!
         step control ls /run/core.$!; rm -f /run/core.*
         mkfifo /run/fifo
         $BIN/holdfast-volume --config /run/volume.toml recover data0 </run/fifo >&2 &
         pid=$!; exec 8>/run/fifo; cat $W/recovery >&8
         until [ $(awk '/VmLck/ {print $2}' /proc/$pid/status) -gt 0 ]; do sleep 0.1; done
         sleep 1
         step shows cat /proc/$pid/cmdline /proc/$pid/environ
         step limits cat /proc/$pid/limits
         step locked cat /proc/$pid/status
         kill -ABRT $pid; wait $pid; step ended test $? = 134
         step core sh -c '! ls /run/core.*'
         exec 8>&-
         step open hv open data0
         step log dmesg",
    )?;
    ran.all_well(&["control", "shows", "ended", "core", "open"])?;
    let limits = ran.step("limits")?.out;
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    ensure!(core.is_some_and(|line| line.split_whitespace().nth(4) == Some("0")), "{limits}");
    let everything = machine.path("everything");
    fs::write(&everything, ran.everything()?)?;
    for part in [&recovery[..26], &key(1)[..20]] {
        ensure!(!is_in(&everything, part.as_bytes())?, "a key shows");
    }
    Ok(())
}

//! Getting recordings off a box: which, whole, again after an interruption, and never onto its own disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use holdfast_tests::guest::Ran;
use holdfast_tests::tools::sha256_of;
use serde_json::Value;

use crate::machine::{MIB, Machine, said};
use crate::vault::{Known, Vault};

/// Opens the target with the key that was shown, and shows what is on it.
const LOOK: &str = r#"
look() {
    cryptsetup open --key-file /run/target.key "$1" looked && mount -o ro /dev/mapper/looked /mnt || return
    (cd /mnt && sha256sum -c --quiet SHA256SUMS && cat index.json) || return
    cp /mnt/index.csv /mnt/SHA256SUMS "$W/"
    (cd /mnt && find . -type f | sort) >"$W/files"
    umount /mnt; cryptsetup close looked
}
shown() { grep -xE ' *([cbdefghijklnrtuv]{8}-){8}[cbdefghijklnrtuv]{8}' "$1" | tr -d ' \n' | head -c 71 >/run/target.key; cp /run/target.key "$W/"; }
mount -t tmpfs mnt /mnt
"#;

/// The names of the recordings that an index has, with the digests of their raw files.
fn copied(index: &Value) -> Result<BTreeMap<String, String>> {
    let all = index["recordings"].as_array().context("no recordings")?;
    let raw = all.iter().map(|entry| {
        let files = entry["files"].as_array().context("no files")?;
        let names: Vec<_> = files.iter().map(|file| file["name"].as_str().unwrap_or("")).collect();
        ensure!(names == ["manifest.json", "raw"], "{entry}");
        let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
        Ok((text(&entry["id"])?, text(&files[1]["sha256"])?))
    });
    raw.collect()
}

fn expected<'a>(known: impl IntoIterator<Item = &'a Known>) -> BTreeMap<String, String> {
    known.into_iter().map(|it| (it.id.clone(), it.sha256.clone())).collect()
}

fn json(ran: &Ran, step: &str) -> Result<Value> {
    let out = ran.step(step)?.out;
    serde_json::from_str(&out).with_context(|| format!("{step}: {out:?}"))
}

fn is_empty(target: &Path) -> Result<bool> {
    Ok(fs::read(target)?.iter().all(|byte| *byte == 0))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_delivered_is_copied_through_an_interruption_and_nothing_else() -> Result<()>
{
    let vault = Vault::new().await?;
    let machine = vault.disk.unmounted(|image| Machine::new(Some(image)))?;
    machine.write_wrong_key()?;
    let before = machine.sum()?;
    what_is_refused_leaves_both_disks_as_they_are(&machine)?;
    ensure!(machine.sum()? == before, "the box's disk was changed");
    the_same_command_goes_on_after_a_kill(&machine, &vault)?;
    ensure!(machine.sum()? == before, "the box's disk was changed");
    everything_is_copied_where_that_is_asked_for(&machine, &vault)?;
    ensure!(machine.sum()? == before, "the box's disk was changed");
    Ok(())
}

fn what_is_refused_leaves_both_disks_as_they_are(machine: &Machine) -> Result<()> {
    File::create(machine.path("small"))?.set_len(54 * MIB)?;
    let ran = machine.run(&format!(
        "{LOOK}
         phrase='erase fixed disk /dev/ubdb'
         step wrong rescue export --force-fixed --recovery-file $W/wrong.txt --confirm \"$phrase\" /dev/ubda /dev/ubdb
         step own key export --force-fixed --confirm 'erase fixed disk /dev/ubda' /dev/ubda /dev/ubda
         step part key export --force-fixed /dev/ubda /dev/ubda7
         step small key export --confirm \"erase $W/small\" /dev/ubda $W/small
         step fixed key export --confirm \"$phrase\" /dev/ubda /dev/ubdb
         step unconfirmed key export --force-fixed /dev/ubda /dev/ubdb </dev/null
         step dry key export --force-fixed --dry-run /dev/ubda /dev/ubdb
         step left dmsetup ls"
    ))?;
    said(&ran, "wrong", 1, "the recovery key does not open it")?;
    said(&ran, "own", 1, "is the box's own disk")?;
    said(&ran, "part", 1, "is the box's own disk")?;
    let small = said(&ran, "small", 1, "too small")?;
    ensure!(small.contains(&(54 * MIB).to_string()), "{small}");
    said(&ran, "fixed", 1, "--force-fixed")?;
    said(&ran, "unconfirmed", 1, "--confirm 'erase fixed disk /dev/ubdb'")?;
    said(&ran, "dry", 0, "Dry run, nothing was changed")?;
    ensure!(ran.step("left")?.out.contains("No devices"), "{:?}", ran.step("left")?);
    ensure!(is_empty(&machine.target)? && is_empty(&machine.path("small"))?, "it was written to");
    Ok(())
}

/// Ended by force after its first recording; then the same command again.
fn the_same_command_goes_on_after_a_kill(machine: &Machine, vault: &Vault) -> Result<()> {
    let ran = machine.run(&format!(
        "{LOOK}
         phrase='erase fixed disk /dev/ubdb'
         mkfifo /run/told
         setsid \"$SCRIPTS/rescue\" export --force-fixed --recovery-file $W/recovery.txt --confirm \"$phrase\" \
             /dev/ubda /dev/ubdb >$W/first.out 2>/run/told & pid=$!
         while read -r line; do
             echo \"$line\" >>$W/first.err
             case $line in *'files copied'*) kill -9 -- -$pid; break ;; esac
         done </run/told
         wait $pid; echo $? >$W/killed
         step mapped dmsetup ls
         step mounted grep holdfast-rescue /proc/mounts
         shown $W/first.err
         step again key export --json --force-fixed --passphrase-file /run/target.key /dev/ubda /dev/ubdb
         step index look /dev/ubdb
         step bad rescue export --force-fixed --recovery-file $W/recovery.txt --passphrase-file $W/wrong.txt /dev/ubda /dev/ubdb
         step still look /dev/ubdb"
    ))?;
    ensure!(fs::read_to_string(machine.path("killed"))?.trim() == "137", "it was not killed");
    ensure!(!fs::read_to_string(machine.path("first.err"))?.contains("verified"));
    ensure!(ran.step("mapped")?.out.contains("No devices"), "{:?}", ran.step("mapped")?);
    ensure!(ran.step("mounted")?.code == 1, "{:?}", ran.step("mounted")?);
    // 2: it names what it could not copy.
    let told = said(&ran, "again", 2, "vault.erasure = \"keys\"")?;
    ensure!(told.contains(&vault.keyed), "{told}");
    ensure!(told.contains(&format!("DAMAGED: {}/raw", vault.changed)), "{told}");
    let again = json(&ran, "again")?;
    ensure!(again["files_there"].as_u64() >= Some(2), "nothing was there already: {again}");
    ensure!(again["files_copied"].as_u64() >= Some(1), "nothing was left to copy: {again}");
    let index = json(&ran, "index")?;
    let wanted = vault.waiting.iter().chain([&vault.kept, &vault.held, &vault.arriving]);
    ensure!(copied(&index)? == expected(wanted), "{index}");
    let states: BTreeSet<_> = index["recordings"]
        .as_array()
        .context("no recordings")?
        .iter()
        .filter_map(|entry| Some((entry["state"].as_str()?, entry["why"].as_str()?)))
        .collect();
    ensure!(states.contains(&("delivering", "not delivered: delivering")), "{states:?}");
    ensure!(states.contains(&("stored", "legal hold")), "{states:?}");
    ensure!(index["not_copied"][0]["id"] == vault.keyed.as_str(), "{index}");
    ensure!(index["left_out"]["delivered"] == 1, "{index}");
    said(&ran, "bad", 1, "does not open with this passphrase")?;
    ran.all_well(&["still"])?;
    let csv = fs::read_to_string(machine.path("index.csv"))?;
    ensure!(csv.lines().count() == 1 + 2 * copied(&index)?.len() + 1, "{csv}");
    let files = fs::read_to_string(machine.path("files"))?;
    for text in [&csv, &index.to_string(), &files] {
        ensure!(!text.contains("127.0.0.1") && !text.contains("a test"), "personal data: {text}");
        ensure!(!text.contains(&vault.deleted), "{text}");
    }
    ensure!(!files.contains(".part") && !files.contains(&vault.delivered), "{files}");
    let key = machine.recovery_key()?;
    let everything = String::from_utf8_lossy(&ran.everything()?).into_owned();
    ensure!(!everything.contains(&key[..17]), "the recovery key was shown");
    Ok(())
}

/// Onto a file; what was there of an export of less is not copied again.
fn everything_is_copied_where_that_is_asked_for(machine: &Machine, vault: &Vault) -> Result<()> {
    File::create(machine.path("image"))?.set_len(176 * MIB)?;
    let ran = machine.run(&format!(
        "{LOOK}
         cp $W/target.key /run/target.key
         step all key export --json --all --passphrase-file /run/target.key --confirm \"erase $W/image\" /dev/ubda $W/image
         step index look $W/image
         step more key export --json --all --force-fixed --passphrase-file /run/target.key /dev/ubda /dev/ubdb
         step open key open /dev/ubda
         step seen sh -c 'ls /run/holdfast-rescue/ubda/data0/recordings /run/holdfast-rescue/ubda/state/lib/holdfast-volume'
         step readonly touch /run/holdfast-rescue/ubda/data0/x
         step busy key export --force-fixed --dry-run /dev/ubda /dev/ubdb
         step close rescue close /dev/ubda
         step left dmsetup ls
         step loops losetup -l"
    ))?;
    let index = json(&ran, "index")?;
    let all = copied(&index)?;
    ensure!(all.contains_key(&vault.delivered), "{index}");
    ensure!(!all.contains_key(&vault.deleted) && !all.contains_key(&vault.keyed), "{index}");
    ensure!(all.len() == vault.waiting.len() + 4, "{index}");
    let more = json(&ran, "more")?;
    ensure!(more["files_copied"] == 2, "{more}");
    ran.all_well(&["open", "seen", "close"])?;
    let seen = ran.step("seen")?.out;
    ensure!(seen.contains(&vault.kept.id) && seen.contains(".luks2"), "{seen}");
    said(&ran, "readonly", 1, "Read-only file system")?;
    said(&ran, "busy", 1, "rescue close")?;
    ensure!(ran.step("left")?.out.contains("No devices"), "{:?}", ran.step("left")?);
    ensure!(ran.step("loops")?.out.trim().is_empty(), "{:?}", ran.step("loops")?);
    ensure!(sha256_of(&machine.target)? != sha256_of(&machine.path("image"))?);
    Ok(())
}

#[test]
fn what_only_the_journal_has_after_a_power_cut_is_copied_and_the_journal_left_alone() -> Result<()>
{
    const ID: &str = "0193a7b2-6c1e-7d7e-8a3f-0123456789ab";
    let machine = Machine::new(None)?;
    let mut running = machine.start(&format!(
        "open_var; hv open data0
         mkdir -p /run/data0/recordings/{ID}; sync
         # No manifest, as when the power went with the first byte.
         guest fill /run/data0/recordings/{ID}/raw 500000 7
         sync /run/data0/recordings/{ID}
         echo durable >/dev/console
         sleep 600"
    ))?;
    running.wait_for("durable")?;
    running.cut_power()?;
    let before = machine.sum()?;
    let ran = machine.run(&format!(
        "{LOOK}
         key export --json --force-fixed --confirm 'erase fixed disk /dev/ubdb' /dev/ubda /dev/ubdb >$W/out.json 2>$W/told
         step told cat $W/told
         shown $W/told
         step index look /dev/ubdb
         cryptsetup open --key-file /run/target.key /dev/ubdb looked; mount -o ro /dev/mapper/looked /mnt
         step same guest same /mnt/recordings/{ID}/raw 500000 7
         umount /mnt; cryptsetup close looked
         # That it is in the journal alone is what makes this a test.
         head -c 71 $W/recovery.txt >/run/recovery.pass
         cryptsetup open --readonly --key-file /run/recovery.pass /dev/ubda7 raw
         step features dumpe2fs -h /dev/mapper/raw
         cryptsetup close raw"
    ))?;
    said(&ran, "told", 0, "Copied and verified")?;
    let index = json(&ran, "index")?;
    ensure!(index["recordings"][0]["state"] == "unknown", "{index}");
    ran.all_well(&["same"])?;
    said(&ran, "features", 0, "needs_recovery")?;
    ensure!(machine.sum()? == before, "the box's disk was changed");

    // A volume with another UUID is another box's.
    let ran = machine.run(
        "cryptsetup luksUUID -q --uuid 0193a7b2-6c1e-4d7e-8a3f-0123456789ab /dev/ubda7
         step other key export --force-fixed --passphrase-file $W/target.key /dev/ubda /dev/ubdb",
    )?;
    said(&ran, "other", 1, "of another box (HF-TEST-0001)")?;
    Ok(())
}

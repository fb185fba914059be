//! The real service on real LUKS2 volumes, as an appliance runs it: unprivileged, with nothing that is
//! not encrypted.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_tests::Guest;
use holdfast_tests::guest::Ran;
use holdfast_tests::media::webm_noise;
use holdfast_tests::tools::sha256;
use serde_json::Value;

use crate::common::{DISK_BYTES, Machine, SERVICE_UID, is_in, recovery_key};
use crate::power::cuts;

/// The power goes at a random instant of this span after the first recording was acknowledged.
const SPAN_MS: std::ops::Range<u64> = 0..4000;

/// A node on volumes, and how a script speaks with it. `up` starts it and waits until it is ready;
/// `put FILE` uploads, and prints the id of what was acknowledged; `hf` is its command line.
const NODE: &str = r#"
mkdir -p /run/data1
cat >/run/node.toml <<END
[node]
profile = "appliance"
state_path = "/run/data0/state"
listen = ["127.0.0.1:8443"]
clock = "as_is"
[vault]
free_bytes_min = 8388608
[[vault.volumes]]
name = "data0"
path = "/run/data0"
@DATA1@
[ingest]
playback_ms = 0
[transcode]
program = "$BIN/holdfast-transcode"
[[environments]]
id = "kept"
hash = "kept-hash"
mp4 = false
snapshot = false
filmstrip = false
destinations = []
END
up() {
    setpriv --reuid @UID@ --regid @UID@ --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs \
        "$BIN/holdfast" run --config /run/node.toml >>"$W/node.log" 2>&1 &
    node=$!
    until curl -skf -o /dev/null https://127.0.0.1:8443/ready; do
        kill -0 $node || { cat "$W/node.log"; return 1; }
        sleep 0.1
    done
}
down() { kill $node; wait $node; }
hf() { "$BIN/holdfast" --config /run/node.toml "$@"; }
put() {
    curl -skf -T "$1" 'https://127.0.0.1:8443/api/v1/ingest/upload?env_id=kept&env_hash=kept-hash' |
        sed -n 's/^{"id":"\([0-9a-f-]*\)".*/\1/p' | grep .
}
until_is() {
    until hf volumes list --json | jq -e --arg n $1 --arg s $2 \
        '.volumes[] | select(.name == $n and .state == $s)' >/dev/null; do sleep 0.2; done
}
listen() {
    systemd-socket-activate -E CREDENTIALS_DIRECTORY -E DM_DISABLE_UDEV -l /run/holdfast-volume.socket \
        --accept --inetd $BIN/holdfast-volume --config /run/volume.toml serve >/dev/null 2>&1 &
    until [ -S /run/holdfast-volume.socket ]; do sleep 0.1; done
    chmod 666 /run/holdfast-volume.socket
}
export -f hf put
"#;

const DATA1: &str = "[[vault.volumes]]\nname = \"data1\"\npath = \"/run/data1\"\n";

/// A box with two disks and a volume on each.
fn two_volumes() -> Result<Machine> {
    let mut machine = Machine::new()?;
    let disk = machine.guest.add_disk(DISK_BYTES * 2)?;
    Guest::partition(&disk, "label: gpt\nname=holdfast.data1\n")?;
    let mut settings = fs::read_to_string(machine.path("volume.toml"))?;
    settings.push_str(
        "[[volumes]]\nname = \"data1\"\nmount = \"/run/data1\"\nkeys = [\"credential\"]\n\
         device = { partition_label = \"holdfast.data1\" }\n",
    );
    fs::write(machine.path("volume.toml"), settings)?;
    machine.set_key("holdfast-volume_data1", 2)?;
    Ok(machine)
}

fn script(data1: &str, script: &str) -> String {
    let node = NODE.replace("@DATA1@", data1).replace("@UID@", &SERVICE_UID.to_string());
    format!("{node}\n{script}")
}

#[test]
fn an_appliance_records_onto_volumes_that_go_and_come_and_shows_an_auditor() -> Result<()> {
    let machine = two_volumes()?;
    let recording = webm_noise(11, 600_000);
    fs::write(machine.path("first.webm"), &recording)?;
    fs::write(machine.path("second.webm"), webm_noise(12, 600_000))?;
    let ran = machine.run(&script(
        DATA1,
        r#"
        step format0 hv format data0 --confirm 'format data0'
        step format1 hv format data1 --confirm 'format data1'
        hv open data0 && hv open data1 && listen && up
        put $W/first.webm >$W/first || exit 1
        hf evidence >$W/evidence.json; hf volumes list --json >$W/volumes.json
        step check hf evidence --check $W/evidence.json
        hf audit key >/run/key.pem; step signed hf evidence --check $W/evidence.json --key /run/key.pem
        sed s/aes-xts/aes-cbc/ $W/evidence.json >/run/forged.json
        step forged hf evidence --check /run/forged.json
        step where ls /run/data1/recordings/$(cat $W/first)/raw
        step tested hf selftest --only volume
        # The second disk goes while the node runs, and comes back at its word.
        hv close data1 --force; until_is data1 away
        step untested hf selftest --only volume
        step gone hf recordings get $(cat $W/first) --kind raw --to /run/gone
        put $W/second.webm >/run/second; step other ls /run/data0/recordings/$(cat /run/second)/raw
        step open hf volumes open data1; until_is data1 ready
        # It goes once more, and the box has lost its key.
        hv close data1 --force; until_is data1 away
        sed -i s/machine/another/ $W/credentials/holdfast-volume_data1
        step refused hf volumes open data1
        grep -o '^[a-z-]\{80\}$' $W/steps/format1.out >/run/recovery
        step typo sh -c "tr c d </run/recovery | $BIN/holdfast --config /run/node.toml volumes recover data1"
        step recover sh -c "$BIN/holdfast --config /run/node.toml volumes recover data1 </run/recovery"
        until_is data1 ready
        step file hf recordings get $(cat $W/first) --kind raw --to /run/out
        step same cmp /run/out $W/first.webm
        hf audit export >$W/audit.jsonl
        # The node's memory has what belongs there, and no key that opens a volume.
        step memory guest holds $node kept-hash
        step key0 guest holds $node "$(head -c 20 $W/credentials/holdfast-volume_data0)"
        step key1 guest holds $node "$(head -c 20 $W/credentials/holdfast-volume_data1)"
        down; hv close data0; hv close data1
        hv open data1; step again hv close data1
        # A technician erases the second disk. The node says so in its log, once.
        hv open data0 && up
        step erase hv erase data1 --confirm "erase data1 $(uuid /dev/ubdb1)"
        hf volumes list >$W/erased.txt; hf status >$W/status.txt; hf volumes list >/dev/null
        hf audit export >$W/erased.jsonl; step verified hf audit verify $W/erased.jsonl --key /run/key.pem
        down; hv close data0
        "#,
    ))?;
    ran.all_well(&[
        "format0", "format1", "check", "signed", "where", "other", "open", "recover", "file",
        "same", "again", "memory", "tested", "erase", "verified",
    ])?;
    was_erased(&machine, &ran)?;
    let tested = &ran.step("tested")?.out;
    ensure!(tested.matches("passed        volume data").count() == 2, "{tested}");
    let untested = ran.step("untested")?;
    ensure!(
        untested.code == 1 && untested.out.contains("volume data1: It is away"),
        "{untested:?}"
    );
    recovery_key(&ran.step("format1")?.out)?;
    ensure!(
        ran.step("forged")?.err.contains("changed after it was signed"),
        "{:?}",
        ran.step("forged")
    );
    ensure!(ran.step("gone")?.err.contains("data1"), "{:?}", ran.step("gone")?);
    ensure!(ran.step("refused")?.code != 0, "{:?}", ran.step("refused")?);
    ensure!(ran.step("typo")?.err.contains("group"), "{:?}", ran.step("typo")?);

    for key in ["key0", "key1"] {
        ensure!(ran.step(key)?.err.contains("not in"), "{key}: {:?}", ran.step(key)?);
    }
    let evidence: Value = serde_json::from_slice(&fs::read(machine.path("evidence.json"))?)?;
    for promise in evidence["promises"].as_array().context("no promises")? {
        ensure!(promise["holds"] == true, "{promise}");
    }
    let volumes: Value = serde_json::from_slice(&fs::read(machine.path("volumes.json"))?)?;
    ensure!(volumes["luks"][1]["kernel"]["key_in_keyring"] == true, "{volumes}");
    let audit = fs::read_to_string(machine.path("audit.jsonl"))?;
    ensure!(audit.contains("volume_opened") && audit.contains("recovery"), "{audit}");

    // Closed, the disks have nothing of the recording; 64 bytes of noise are nowhere by chance.
    for disk in ["disk0", "disk1"] {
        ensure!(!is_in(&machine.path(disk), &recording[300_000..300_064])?, "{disk} shows it");
    }
    Ok(())
}

/// Whether the log has the receipt, and people are shown it and what the other volume's header says.
fn was_erased(machine: &Machine, ran: &Ran) -> Result<()> {
    let receipt: Value = serde_json::from_str(&ran.step("erase")?.out)?;
    let log = fs::read_to_string(machine.path("erased.jsonl"))?;
    let lines = log.lines().map(serde_json::from_str::<Value>).collect::<Result<Vec<_>, _>>()?;
    let of = |line: &&Value| line["what"]["act"] == "volume_erased";
    let erased: Vec<_> = lines.iter().filter(of).collect();
    let [entry] = erased[..] else { anyhow::bail!("{} receipts: {log}", erased.len()) };
    let what = &entry["what"];
    ensure!(what["volume"] == "data1" && what["uuid"] == receipt["uuid"], "{entry}");
    ensure!(what["slots_destroyed"] == 2 && what["keys_refused"] == 1, "{entry}");
    ensure!(entry["by"] == "holdfast-volume" && entry["sig"].is_string(), "{entry}");
    let (listed, status) = (
        fs::read_to_string(machine.path("erased.txt"))?,
        fs::read_to_string(machine.path("status.txt"))?,
    );
    let uuid = receipt["uuid"].as_str().context("no UUID")?;
    for shown in [&listed, &status] {
        ensure!(shown.contains(uuid), "the erasure is not shown: {shown}");
        for part in ["aes-xts-plain64, 512 bits", "mapped as the header says", "header backup of "]
        {
            ensure!(shown.contains(part), "{part:?} is missing: {shown}");
        }
        ensure!(shown.contains("opened by credential"), "{shown}");
    }
    Ok(())
}

#[test]
fn every_recording_that_was_acknowledged_is_there_after_every_power_cut() -> Result<()> {
    let machine = Machine::new()?;
    machine.format()?;
    let recordings: Vec<Vec<u8>> = (0..4).map(|it| webm_noise(it, 150_000)).collect();
    for (number, bytes) in recordings.iter().enumerate() {
        fs::write(machine.path(&format!("{number}.webm")), bytes)?;
    }
    machine.run("hv open data0 && rm -rf /run/data0/* && hv close data0")?;
    let (mut kept, mut deleted): (Vec<(String, String)>, Vec<String>) = (Vec::new(), Vec::new());
    for cut in 0..cuts()?.div_ceil(5) {
        // Recordings come in; every third is deleted again.
        let mut running = machine.guest.start(&Machine::script(&script(
            "",
            r#"
            hv open data0 && up || { cat $W/node.log >/dev/console; exit 1; }
            for round in {1..12}; do for number in 0 1 2 3; do
                id=$(put $W/$number.webm) || continue
                echo "kept $id $number end" >/dev/console
                if [ $number = 2 ]; then
                    until hf recordings delete $id --yes >/dev/null 2>&1; do sleep 0.1; done
                    echo "deleted $id end" >/dev/console
                fi
            done; done; sleep 60"#,
        )))?;
        running.wait_for("kept ")?;
        std::thread::sleep(Duration::from_millis(fastrand::u64(SPAN_MS)));
        let console = running.cut_power()?;
        for line in console.lines().filter_map(|line| line.strip_suffix(" end")) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["kept", id, number] => {
                    let bytes = &recordings[number.parse::<usize>()?];
                    kept.push((id.to_owned(), sha256(bytes)));
                }
                ["deleted", id] => deleted.push(id.to_owned()),
                _ => {}
            }
        }
        let ran = machine.run(&script(
            "",
            r#"
            hv open data0
            step up up
            sleep 2; down
            (cd /run/data0/recordings && sha256sum */raw) >$W/sums
            umount /run/data0; step fsck e2fsck -fn /dev/mapper/holdfast-data0; step close hv close data0"#,
        ))?;
        ran.all_well(&["up", "fsck", "close"]).with_context(|| format!("cut {cut}"))?;
        let sums = fs::read_to_string(machine.path("sums"))?;
        for (id, sum) in &kept {
            let line = format!("{sum}  {id}/raw");
            let is_there = sums.contains(&line);
            // What was being deleted may be there, as long as it was not said to be gone.
            let may_go = recordings.get(2).is_some_and(|bytes| sha256(bytes) == *sum);
            ensure!(is_there || may_go, "cut {cut}: {id} was acknowledged and is lost:\n{sums}");
        }
        for id in &deleted {
            ensure!(
                !sums.contains(id.as_str()),
                "cut {cut}: {id} was deleted and is there:\n{sums}"
            );
        }
    }
    ensure!(!kept.is_empty(), "nothing was acknowledged");
    println!("{} recordings acknowledged, {} deleted, none lost", kept.len(), deleted.len());
    Ok(())
}

#[test]
fn a_disk_that_fails_to_write_is_never_answered_with_an_acknowledgement() -> Result<()> {
    let machine = Machine::new()?;
    let bytes = webm_noise(5, 150_000);
    fs::write(machine.path("rec.webm"), &bytes)?;
    let ran = machine.run(&script(
        "",
        r#"
        modprobe dm-flakey
        size=$(blockdev --getsz /dev/ubda1)
        good="0 $size linear /dev/ubda1 0"
        bad="0 $size flakey /dev/ubda1 0 0 3600 1 error_writes"
        dmsetup create flaky --table "$good"
        mkfs.ext4 -q -m 0 /dev/mapper/flaky && mount /dev/mapper/flaky /run/data0
        chown @UID@ /run/data0
        install -d -o @UID@ /run/state
        sed -i 's/appliance/development/; s#/run/data0/state#/run/state#' /run/node.toml
        table() { dmsetup suspend --nolockfs flaky && dmsetup load flaky --table "$1" && dmsetup resume flaky; }
        up
        for i in 1 2 3; do put $W/rec.webm >>$W/before; done
        table "$bad"
        for i in 1 2 3 4 5 6; do put $W/rec.webm >>$W/during && echo acknowledged >>$W/during; done
        hf volumes list --json >$W/volumes.json
        table "$good"
        down; umount /run/data0
        e2fsck -fy /dev/mapper/flaky >$W/fsck 2>&1
        mount /dev/mapper/flaky /run/data0; up
        put $W/rec.webm >>$W/after
        sleep 1; down
        (cd /run/data0/recordings && sha256sum */raw) >$W/sums
        umount /run/data0; dmsetup remove flaky"#,
    ).replace("@UID@", &SERVICE_UID.to_string()))?;
    let lines = |name: &str| fs::read_to_string(machine.path(name)).unwrap_or_default();
    let (sums, sum) = (lines("sums"), sha256(&bytes));
    let acknowledged: Vec<String> = ["before", "during", "after"]
        .iter()
        .flat_map(|it| lines(it).lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let ids = || acknowledged.iter().filter(|line| line.len() == 36);
    ensure!(ids().count() >= 4, "{acknowledged:?}: {}", ran.output);
    for id in ids() {
        ensure!(
            sums.contains(&format!("{sum}  {id}/raw")),
            "{id} was acknowledged and is lost:\n{sums}"
        );
    }
    let volumes: Value = serde_json::from_str(&lines("volumes.json")).context("volumes.json")?;
    let state = &volumes["volumes"][0]["state"];
    ensure!(state == "read_only" || state == "failing" || state == "away", "{volumes}");
    Ok(())
}

//! Another volume key while recordings come in: the power is cut, it goes on, the old key is worth nothing.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_tests::guest::Ran;
use serde_json::Value;

use crate::common::{KNOWN, Machine, recovery_key};
use crate::power::acknowledged;

/// How long the re-encryption goes on between being seen under way and the cut.
const SPAN_MS: std::ops::Range<u64> = 0..400;

/// `data` waits until some has the new key; `with_old` opens the disk by the old volume key, past the header.
const TOOLS: &str = r#"
done_bytes() { hv status data0 2>/dev/null | jq '.[0].reencryption.bytes_done // 0'; }
under_way() { until [ "$(done_bytes)" -gt 0 ]; do kill -0 $1 || return 1; sleep 0.1; done; }
with_old() {
    cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 512 --key-file $W/vk --offset 32768 \
        --sector-size 4096 /dev/ubda1 old || return 2
    local kind=$(blkid -c /dev/null -p -s TYPE -o value /dev/mapper/old)
    cryptsetup close old; [ "$kind" = ext4 ]
}
# What was shown is kept past a power cut.
keep() { while sleep 0.1; do sync $1; done; }
export -f with_old
"#;

fn run(machine: &Machine, script: &str) -> Result<Ran> {
    machine.run(&format!("{TOOLS}\n{script}"))
}

fn status(ran: &Ran, name: &str) -> Result<Value> {
    Ok(serde_json::from_str::<Value>(&ran.step(name)?.out)?[0].clone())
}

#[test]
fn a_volume_gets_another_key_while_it_is_written_and_a_power_cut_in_the_middle_loses_nothing()
-> Result<()> {
    // So large that the power goes before it is done.
    let machine = Machine::of(768 << 20, "")?;
    let old = machine.format()?;
    fs::write(machine.path("old"), old)?;
    let ran = run(
        &machine,
        "k=$W/credentials/holdfast-volume_data0
         step closed hv reencrypt data0 --confirm 'reencrypt data0'
         step dump cryptsetup luksDump -q --dump-volume-key --volume-key-file $W/vk -d $k /dev/ubda1
         step control with_old
         step open hv open data0; step not hv reencrypt data0 </dev/null; step dry hv reencrypt data0 --dry-run
         step slots hv keys data0; hv close data0",
    )?;
    ran.all_well(&["dump", "control", "open", "dry"])?;
    ensure!(ran.step("closed")?.code == 8 && ran.step("not")?.code == 4, "{ran:?}");

    let seed = fastrand::u32(..);
    let mut running = machine.guest.start(&Machine::script(&format!(
        "{TOOLS}
         hv open data0 && guest fill /run/data0/film {KNOWN} && mkdir /run/data0/f && sync
         $BIN/guest write /run/data0/f {seed} >/dev/console &
         hv reencrypt data0 --confirm 'reencrypt data0' >$W/new 2>$W/why & pid=$!
         keep $W/new & under_way $pid && echo middle >/dev/console; wait $pid; echo it ended: $? $(cat $W/why) >/dev/console; sleep 600"
    )))?;
    running.wait_for("middle")?;
    std::thread::sleep(Duration::from_millis(fastrand::u64(SPAN_MS)));
    let console = running.cut_power()?;
    let count = acknowledged(&console).with_context(|| console.clone())?;
    let was_ended = console.contains("it ended: 0");
    ensure!(was_ended || !console.contains("it ended"), "{console}");
    let recovery = recovery_key(&fs::read_to_string(machine.path("new"))?)?;
    fs::write(machine.path("recovery"), recovery)?;

    let ran = run(
        &machine,
        &format!(
            "step told hv status data0
             step open hv open data0; step between hv status data0
             step film guest same /run/data0/film {KNOWN}
             step check guest check /run/data0/f {seed} {count}
             step restore hv header restore data0 --confirm \"restore data0 $(uuid)\"; hv close data0
             step refused hv header restore data0 --confirm \"restore data0 $(uuid)\"
             step rotate hv rotate machine data0 --confirm 'rotate machine of data0'
             step person hv recover data0 <$W/recovery
             mkdir /run/data0/g; $BIN/guest write /run/data0/g 7 >/run/acks & writer=$!
             if grep -q 'reencryption.: null' $W/steps/between.out; then step resume true; else step resume hv reencrypt data0 </dev/null; fi
             kill $writer; wait $writer
             acks=$(sed -n 's/^ack \\([0-9]*\\) end$/\\1/p' /run/acks | tail -n 1); echo $acks >&2
             step done hv status data0; step table dmsetup table
             step film2 guest same /run/data0/film {KNOWN}
             step check2 guest check /run/data0/f {seed} {count}
             step check3 guest check /run/data0/g 7 $((acks + 1))
             step close hv close data0; step again hv open data0
             step film3 guest same /run/data0/film {KNOWN}; umount /run/data0
             step fsck e2fsck -fn /dev/mapper/holdfast-data0; step closed hv close data0
             step header hv header check data0
             step old hv recover data0 <$W/old; step new hv recover data0 <$W/recovery; hv close data0
             step volumekey cryptsetup open --test-passphrase --volume-key-file $W/vk /dev/ubda1
             step useless with_old; step slots hv keys data0"
        ),
    )?;
    ran.all_well(&["open", "film", "check", "person", "resume", "film2", "check2", "check3"])?;
    ran.all_well(&["close", "again", "film3", "fsck", "closed", "header", "new"])?;
    let (told, between) = (status(&ran, "told")?, status(&ran, "between")?);
    println!("cut at {}, goes on at {}", told["reencryption"], between["reencryption"]);
    ensure!(was_ended || told["reencryption"].is_object(), "{told}");
    if between["reencryption"].is_object() {
        let (done, all) =
            (&told["reencryption"]["bytes_done"], &told["reencryption"]["bytes_total"]);
        // All of it has the new key for a moment before the header says so.
        ensure!(done.as_u64() > Some(0) && done.as_u64() <= all.as_u64(), "{told}");
        ensure!(told["state"] == "closed" && told["problem"].is_null(), "{told}");
        let refused = ran.step("refused")?;
        ensure!(refused.code == 6 && refused.err.contains("re-encryption"), "{refused:?}");
        ensure!(ran.step("rotate")?.code != 0, "a slot was changed in the middle");
    }
    let done = status(&ran, "done")?;
    ensure!(done["reencryption"].is_null() && done["state"] == "open", "{done}");
    ensure!(done["problem"].is_null() && done["kernel"]["key_in_keyring"] == true, "{done}");
    ensure!(ran.step("old")?.code == 7, "the old recovery key opens it");
    ensure!(ran.step("volumekey")?.code != 0, "the old volume key is taken");
    ensure!(
        ran.step("useless")?.code == 1,
        "what the old volume key shows: {:?}",
        ran.step("useless")
    );
    let slots: Value = serde_json::from_str(&ran.step("slots")?.out)?;
    let purposes: Vec<_> =
        slots.as_array().into_iter().flatten().map(|it| &it["purpose"]).collect();
    ensure!(purposes.len() == 2 && purposes.iter().any(|it| *it == "machine"), "{slots}");
    Ok(())
}

#[test]
fn an_erasure_does_not_wait_for_a_re_encryption_and_leaves_nothing_of_it() -> Result<()> {
    // So large that it is not done before the erasure begins.
    let machine = Machine::of(2 << 30, "")?;
    machine.format()?;
    let ran = run(
        &machine,
        "step open hv open data0
         $BIN/holdfast-volume --config /run/volume.toml reencrypt data0 --confirm 'reencrypt data0' >/run/new 2>/run/why & pid=$!
         step under under_way $pid
         step alive kill -0 $pid
         step erase hv erase data0 --confirm \"erase data0 $(uuid)\"
         code=0; wait $pid || code=$?; echo \"reencrypt ended with $code: $(cat /run/why)\"
         step failed test $code != 0
         step empty cmp -n $((16 << 20)) /dev/ubda1 /dev/zero
         step mapped sh -c '! dmsetup ls | grep holdfast'
         step status hv status data0",
    )?;
    ran.all_well(&["open", "under", "alive", "erase", "failed", "empty", "mapped"])
        .with_context(|| ran.output.clone())?;
    ensure!(ran.step("erase")?.out.contains("\"slots_left\": 0"), "{:?}", ran.step("erase")?);
    ensure!(status(&ran, "status")?["state"] == "unformatted", "{:?}", ran.step("status")?);
    Ok(())
}

/// Whether the header says that all data has the new key, but not yet that it is over; and the old key's slots.
const AT_END: &str = r#"
json() { cryptsetup luksDump --dump-json-metadata /dev/ubda1; }
at_end() { json | jq -e '(.segments | to_entries[] | select(.value.flags == ["backup-final"]).key) as $last
    | ([.segments[] | select(.flags == null)] | length == 1)
      and ([.digests[] | select((.segments | index("0")) and (.segments | index($last)))] | length == 1)' >/dev/null; }
old_slots() { json | jq -r '(.segments | to_entries[] | select(.value.flags == ["backup-previous"]).key) as $old
    | .digests[] | select(.segments | index($old)).keyslots[]'; }
export -f json at_end
"#;
/// How often it is tried to have the power cut at that moment, which is short.
const TRIES: u32 = 12;

/// libcryptsetup destroys the old key's slots before it writes that all is done.
#[test]
fn a_re_encryption_that_is_cut_off_with_its_last_write_opens_again() -> Result<()> {
    let machine = Machine::new()?;
    machine.format()?;
    let mut is_caught = false;
    for _ in 0..TRIES {
        let mut running = machine.guest.start(&Machine::script(&format!(
            "{AT_END}
             hv open data0; guest fill /run/data0/film {KNOWN}
             hv reencrypt data0 --confirm 'reencrypt data0' >$W/new & pid=$!
             (while sleep 0.1; do sync $W/new; done) &
             until at_end || ! kill -0 $pid; do :; done 2>/dev/null
             echo reached >/dev/console; sleep 600"
        )))?;
        running.wait_for("reached")?;
        running.cut_power()?;
        let ran = run(&machine, &format!("{AT_END}\nstep caught at_end"))?;
        is_caught = ran.step("caught")?.code == 0;
        if is_caught {
            break;
        }
    }
    ensure!(is_caught, "in {TRIES} tries the power never went at the end");
    let ran = run(
        &machine,
        &format!(
            "{AT_END}
             for slot in $(old_slots); do cryptsetup luksKillSlot -q /dev/ubda1 $slot; done
             step none cryptsetup open --test-passphrase -d $W/credentials/holdfast-volume_data0 /dev/ubda1
             dd if=/dev/ubda1 of=$W/front bs=1M count=16 status=none; cp -r $W/backups $W/kept
             step open hv open data0; step film guest same /run/data0/film {KNOWN}
             step status hv status data0; step close hv close data0
             step header hv header check data0
             dd if=$W/front of=/dev/ubda1 bs=1M conv=fsync status=none; cp $W/kept/* $W/backups/
             grep -o '^[a-z-]\\{{80\\}}$' $W/new >/run/recovery
             step person hv recover data0 --enrol </run/recovery
             step film2 guest same /run/data0/film {KNOWN}"
        ),
    )?;
    ran.all_well(&["open", "film", "close", "header", "person", "film2"])?;
    ensure!(ran.step("none")?.code != 0, "libcryptsetup opens it by itself: {}", ran.output);
    let status = status(&ran, "status")?;
    ensure!(status["reencryption"].is_null() && status["problem"].is_null(), "{status}");
    ensure!(status["slots"].as_array().map(Vec::len) == Some(2), "{status}");
    Ok(())
}

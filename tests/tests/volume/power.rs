//! Power cuts while files are written to a volume and acknowledged.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::common::{Machine, key};

/// Cuts where `HOLDFAST_TEST_CUTS` says nothing.
const CUTS: u32 = 10;
/// The power goes at a random instant of this span after the first file was acknowledged.
const SPAN_MS: std::ops::Range<u64> = 0..1500;
/// The same after the first key began to be replaced, which takes a second or two.
const KEYS_SPAN_MS: std::ops::Range<u64> = 0..6000;
/// The same after an erasure began.
const ERASE_SPAN_MS: std::ops::Range<u64> = 0..2000;

#[test]
fn what_was_acknowledged_is_there_after_every_power_cut() -> Result<()> {
    let cuts = cuts()?;
    let machine = Machine::new()?;
    machine.format()?;
    let mut acknowledged_in_all = 0;
    for cut in 0..cuts {
        let seed = fastrand::u32(..);
        let mut running = machine.guest.start(&Machine::script(&format!(
            "hv open data0 && rm -rf /run/data0/* && mkdir /run/data0/f && sync &&
             $BIN/guest write /run/data0/f {seed} >/dev/console"
        )))?;
        running.wait_for("ack 0 end")?;
        std::thread::sleep(Duration::from_millis(fastrand::u64(SPAN_MS)));
        let console = running.cut_power()?;
        let count = acknowledged(&console).with_context(|| console.clone())?;
        let ran = machine.run(&format!(
            "step open hv open data0
             step check guest check /run/data0/f {seed} {count}
             umount /run/data0
             step fsck e2fsck -fn /dev/mapper/holdfast-data0
             step close hv close data0"
        ))?;
        ran.all_well(&["open", "check", "fsck", "close"])
            .with_context(|| format!("cut {cut}, seed {seed}, {count} acknowledged"))?;
        acknowledged_in_all += count;
    }
    println!("{cuts} power cuts, {acknowledged_in_all} files acknowledged, none lost");
    Ok(())
}

#[test]
fn a_power_cut_while_keys_are_replaced_leaves_a_volume_that_opens() -> Result<()> {
    let cuts = cuts()?.div_ceil(2);
    let machine = Machine::new()?;
    machine.format()?;
    std::fs::create_dir(machine.path("history"))?;
    std::fs::write(machine.path("history/first"), key(1))?;
    for cut in 0..cuts {
        let mut running = machine.guest.start(&Machine::script(
            "echo begun >/dev/console
             while hv rotate recovery data0 --confirm 'rotate recovery of data0'; do
                 cp $CREDENTIALS_DIRECTORY/holdfast-volume_data0 /run/key
                 tr 0-9 1-90 </run/key >$W/next; cp $W/next $W/history/$(cksum <$W/next | cut -b 1-4)
                 mv $W/next $CREDENTIALS_DIRECTORY/holdfast-volume_data0.new
                 sync; hv rotate machine data0 --confirm 'rotate machine of data0' || break
                 mv $CREDENTIALS_DIRECTORY/holdfast-volume_data0{.new,}; sync
             done; echo failed >/dev/console",
        ))?;
        running.wait_for("begun")?;
        std::thread::sleep(Duration::from_millis(fastrand::u64(KEYS_SPAN_MS)));
        let console = running.cut_power()?;
        ensure!(!console.contains("failed"), "a key could not be replaced");
        let ran = machine.run(
            "step open hv open data0; step close hv close data0
             step backup hv header backup data0; step check hv header check data0
             key=$CREDENTIALS_DIRECTORY/holdfast-volume_data0
             if [ -e $key.new ]; then
                 step machine hv rotate machine data0 --confirm 'rotate machine of data0'
                 mv $key.new $key
             else step machine true; fi
             step rotate hv rotate recovery data0 --confirm 'rotate recovery of data0'
             step keys hv keys data0
             opens() { cryptsetup open --test-passphrase -d $1 /dev/ubda1; }
             step current opens $key
             grep -o '^[a-z-]\\{80\\}$' $W/steps/rotate.out | cut -d - -f 1-8 | tr -d '\\n' >/run/recovery
             step recovery opens /run/recovery
             retired() {
                 for it in $W/history/*; do
                     cmp -s $it $key && continue
                     local code=0; opens $it || code=$?
                     [ $code = 2 ] || { echo $it: $code; return 1; }
                 done
             }
             step retired retired",
        )?;
        let well = ran.all_well(&[
            "open", "close", "backup", "check", "machine", "rotate", "keys", "current", "recovery",
            "retired",
        ]);
        well.with_context(|| format!("cut {cut}"))?;
        let slots: Vec<serde_json::Value> = serde_json::from_str(&ran.step("keys")?.out)?;
        let recovery = slots.iter().filter(|it| it["purpose"] == "recovery").count();
        let machines = slots.iter().filter(|it| it["purpose"] == "machine").count();
        ensure!(recovery == 1 && machines == 1, "cut {cut}: {slots:?}");
    }
    Ok(())
}

#[test]
fn an_erasure_that_the_power_cut_off_is_ended_with_a_receipt_for_the_same_volume() -> Result<()> {
    let machine = Machine::new()?;
    for cut in 0..cuts()?.div_ceil(3) {
        machine.format()?;
        let uuid = machine.run("step uuid uuid")?.step("uuid")?.out.trim().to_owned();
        let mut running = machine.guest.start(&Machine::script(&format!(
            "echo begun >/dev/console
             hv erase data0 --confirm 'erase data0 {uuid}' >/dev/console; sleep 60"
        )))?;
        running.wait_for("begun")?;
        std::thread::sleep(Duration::from_millis(fastrand::u64(ERASE_SPAN_MS)));
        let has_receipt = running.cut_power()?.contains("discarded");
        let ran = machine.run(&format!(
            "step again hv erase data0 --confirm 'erase data0 {uuid}'
             step gone sh -c '! ls $W/backups | grep -v erased$'
             step empty cmp -n $((16 << 20)) /dev/ubda1 /dev/zero"
        ))?;
        ran.all_well(&["gone", "empty"]).with_context(|| format!("cut {cut}"))?;
        let again = ran.step("again")?;
        if !has_receipt || again.code == 0 {
            ensure!(again.code == 0 && again.out.contains(&uuid), "cut {cut}: {again:?}");
        }
    }
    Ok(())
}

pub(crate) fn cuts() -> Result<u32> {
    Ok(std::env::var("HOLDFAST_TEST_CUTS").map_or(Ok(CUTS), |it| it.parse())?)
}

/// How many files were acknowledged: the last line that came whole, plus one.
pub(crate) fn acknowledged(console: &str) -> Option<u64> {
    let whole = console.lines().filter_map(|it| it.strip_prefix("ack ")?.strip_suffix(" end"));
    whole.filter_map(|number| number.parse::<u64>().ok()).max().map(|number| number + 1)
}

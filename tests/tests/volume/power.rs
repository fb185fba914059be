//! Power cuts while files are written to a volume and acknowledged.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::common::Machine;

/// Cuts where `HOLDFAST_TEST_CUTS` says nothing.
const CUTS: u32 = 10;
/// The power goes at a random instant of this span after the first file was acknowledged.
const SPAN_MS: std::ops::Range<u64> = 0..1500;

#[test]
fn what_was_acknowledged_is_there_after_every_power_cut() -> Result<()> {
    let cuts = std::env::var("HOLDFAST_TEST_CUTS").map_or(Ok(CUTS), |it| it.parse())?;
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
             step close hv close data0
             step fsck e2fsck -fn /dev/ubda1"
        ))?;
        ran.all_well(&["open", "check", "close"])
            .with_context(|| format!("cut {cut}, seed {seed}, {count} acknowledged"))?;
        acknowledged_in_all += count;
    }
    println!("{cuts} power cuts, {acknowledged_in_all} files acknowledged, none lost");
    Ok(())
}

/// How many files were acknowledged: the last line that came whole, plus one.
fn acknowledged(console: &str) -> Option<u64> {
    let whole = console.lines().filter_map(|it| it.strip_prefix("ack ")?.strip_suffix(" end"));
    whole.filter_map(|number| number.parse::<u64>().ok()).max().map(|number| number + 1)
}

//! What each verb does.

use anyhow::{Result, ensure};

use crate::common::{KNOWN, Machine, is_in, key};

#[test]
fn a_volume_is_made_opened_filled_closed_and_shows_nothing_of_it_on_the_disk() -> Result<()> {
    let machine = Machine::new()?;
    let before = holdfast_tests::tools::sha256_of(&machine.disk)?;
    let ran =
        machine.run("step dry hv format data0 --dry-run; step none hv format data0 </dev/null")?;
    let (dry, none) = (ran.step("dry")?, ran.step("none")?);
    ensure!(dry.code == 0 && dry.out.contains("format data0"), "{dry:?}");
    ensure!(none.code == 4 && none.err.contains("--confirm 'format data0'"), "{none:?}");
    ensure!(holdfast_tests::tools::sha256_of(&machine.disk)? == before, "a dry run wrote");

    let recovery = machine.format()?;
    let ran = machine.run(&format!(
        "step open hv open data0
         step again hv open holdfast.data0
         step fill guest fill /run/data0/film {KNOWN}
         step options grep /run/data0 /proc/self/mounts
         step owner stat -c %u /run/data0
         step status hv status data0
         cp /bin/true /run/data0/true; chmod 755 /run/data0/true; step exec /run/data0/true
         exec 9</run/data0/film; step busy hv close data0; exec 9<&-
         step close hv close data0
         step closed hv status
         step dmesg dmesg"
    ))?;
    ran.all_well(&["open", "again", "fill", "status", "close", "closed"])?;
    let options = ran.step("options")?.out;
    ensure!(["nodev", "nosuid", "noexec"].iter().all(|it| options.contains(it)), "{options}");
    ensure!(ran.step("owner")?.out.trim() == crate::common::SERVICE_UID.to_string());
    ensure!(ran.step("exec")?.code == 126, "a program on the volume ran");
    ensure!(ran.step("busy")?.code == 8, "{:?}", ran.step("busy")?);
    let status: serde_json::Value = serde_json::from_str(&ran.step("status")?.out)?;
    let status = &status[0];
    ensure!(status["state"] == "open" && status["opened"]["by"] == "credential", "{status}");
    ensure!(status["header"]["cipher"] == "aes-xts-plain64", "{status}");
    ensure!(status["header"]["key_bits"] == 512, "{status}");
    ensure!(status["kernel"]["is_as_header"] == true, "{status}");
    ensure!(status["kernel"]["key_in_keyring"] == true, "{status}");
    let slots = [&status["slots"][0]["purpose"], &status["slots"][1]["purpose"]];
    ensure!(slots == ["machine", "recovery"], "{status}");

    // What was written, and the secrets, are nowhere on the disk or in what was printed.
    let known = known_bytes();
    ensure!(!is_in(&machine.disk, &known[1000..1064])?, "the disk shows what was written");
    let everything = machine.path("everything");
    std::fs::write(&everything, ran.everything()?)?;
    for secret in [key(1), recovery] {
        let part = &secret.as_bytes()[..35];
        ensure!(!is_in(&machine.disk, part)? && !is_in(&everything, part)?, "a key shows");
    }
    let ran = machine.run(&format!(
        "step open hv open data0
         step same guest same /run/data0/film {KNOWN}"
    ))?;
    ran.all_well(&["open", "same"])
}

fn known_bytes() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(77);
    std::iter::repeat_with(|| random.u8(..)).take(2000).collect()
}

//! A box whose key is sealed to its TPM2, with `swtpm` in the guest.

use std::fs;

use anyhow::{Context, Result, ensure};
use holdfast_tests::guest::Ran;
use serde_json::Value;

use crate::common::{KNOWN, Machine, is_in, key, recovery_key};

/// `swtpm` has no device of the kernel's here, so its socket is named.
const TPM: &str =
    "keys = [\"tpm2\", \"credential\"]\n[tpm2]\ndevice = \"swtpm:path=/run/tpm\"\npcrs = [7, 14]";

/// `tpm NAME` puts this TPM into the box and turns it on, `measure PCR` changes what it has measured. One that has
/// measured nothing binds to nothing.
const BOOT: &str = r#"
export TPM2TOOLS_TCTI=swtpm:path=/run/tpm
measure() { tpm2_pcrextend $1:sha256=$(printf %064d 1); }
tpm() {
    out; mkdir -p "$W/$1"
    swtpm socket --tpm2 --tpmstate dir="$W/$1" --server type=unixio,path=/run/swtpm --ctrl type=unixio,path=/run/tpm.ctrl \
        --flags not-need-init,startup-clear --pid file=/run/swtpm.pid --daemon
    guest tpm /run/tpm /run/swtpm & kernel=$!
    until [ -e /run/tpm ]; do sleep 0.05; done
    measure 7; measure 14
}
# takes it out again
out() {
    [ -z "$kernel" ] || { kill $kernel; kill $(cat /run/swtpm.pid); while [ -e /run/swtpm.pid ]; do sleep 0.1; done; }
    rm -f /run/tpm /run/tpm.ctrl /run/swtpm; kernel=
}
tpm own
"#;

fn boxed() -> Result<Machine> {
    let machine = Machine::with(TPM)?;
    // No key of another source: what opens is the TPM.
    fs::remove_file(machine.path("credentials").join("holdfast-volume_data0"))?;
    Ok(machine)
}

fn run(machine: &Machine, script: &str) -> Result<Ran> {
    machine.run(&format!("{BOOT}\n{script}"))
}

fn formatted() -> Result<(Machine, String)> {
    let machine = boxed()?;
    let ran = run(&machine, "step format hv format data0 --confirm 'format data0'")?;
    ran.all_well(&["format"])?;
    let recovery = recovery_key(&ran.step("format")?.out)?;
    fs::write(machine.path("recovery"), &recovery)?;
    Ok((machine, recovery))
}

fn json(ran: &Ran, name: &str) -> Result<Value> {
    serde_json::from_str(&ran.step(name)?.out).with_context(|| format!("{:?}", ran.step(name)))
}

#[test]
fn a_box_opens_by_its_tpm_and_after_a_drift_by_the_recovery_key_which_seals_it_anew() -> Result<()>
{
    let (machine, recovery) = formatted()?;
    let ran = machine.run_confined(&format!(
        "{BOOT}
         step boot hv open data0; step fill guest fill /run/data0/film {KNOWN}
         step status hv status data0; hv close data0
         measure 7
         step drifted hv open data0; step told hv status data0
         install -m 600 $W/recovery /run/r
         step recover hv recover data0 --enrol </run/r
         step bindings hv status data0; hv close data0
         step again hv open data0; step same guest same /run/data0/film {KNOWN}
         step closed hv close data0"
    ))?;
    ran.all_well(&["boot", "fill", "status", "recover", "again", "same", "closed"])?;
    ensure!(ran.step("boot")?.out.contains("by tpm2"), "{:?}", ran.step("boot")?);
    let status = &json(&ran, "status")?[0];
    ensure!(status["tpm2"][0]["pcrs"] == serde_json::json!([7, 14]), "{status}");
    ensure!(status["tpm2"][0]["bank"] == "sha256" && status["tpm2"][0]["unseals"] == true);
    ensure!(status["slots"][1]["purpose"] == "machine", "{status}");
    ensure!(status["slots"][1]["source"] == "tpm2", "{status}");
    let drifted = ran.step("drifted")?;
    ensure!(drifted.code == 7, "{drifted:?}");
    ensure!(drifted.err.contains("the TPM's state has changed (PCR 7, 14)"), "{drifted:?}");
    ensure!(drifted.err.contains("credential:"), "the next source was not asked: {drifted:?}");
    ensure!(json(&ran, "told")?[0]["tpm2"][0]["unseals"] == false, "{:?}", ran.step("told")?);
    let bindings = &json(&ran, "bindings")?[0]["tpm2"];
    ensure!(bindings.as_array().map(Vec::len) == Some(1), "the old slot is there: {bindings}");

    // The next boot measures what the first did: for the slot of now it has drifted once more. This time
    // the service hands over the recovery key.
    let ask = "guest ask /run/s 65534";
    let ran = run(
        &machine,
        &format!(
            "socat UNIX-LISTEN:/run/s,fork,mode=666 EXEC:\"$BIN/holdfast-volume --config /run/volume.toml serve\" 2>/dev/null &
             until [ -e /run/s ]; do sleep 0.1; done
             step open {ask} '{{\"open\":{{\"volume\":\"data0\"}}}}'
             step recover {ask} '{{\"recover\":{{\"volume\":\"data0\",\"key\":\"{recovery}\"}}}}'
             step status {ask} '\"status\"'
             hv close data0; step after hv open data0; kill $!"
        ),
    )?;
    ran.all_well(&["recover", "after"])?;
    let open = ran.step("open")?.out;
    ensure!(open.contains("\"code\":7") && open.contains("TPM's state has changed"), "{open}");
    ensure!(ran.step("status")?.out.contains("\"by\":\"recovery\""), "{:?}", ran.step("status")?);
    ensure!(ran.step("after")?.out.contains("by tpm2"), "{:?}", ran.step("after")?);
    Ok(())
}

#[test]
fn what_systemd_sealed_is_opened_here_and_what_is_sealed_here_by_systemd() -> Result<()> {
    let machine = Machine::with(TPM)?;
    // There is no TPM when it is formatted, so the next source's key is taken.
    let ran = machine.run(
        "step format hv format data0 --confirm 'format data0'; step open hv open data0
         step closed hv close data0",
    )?;
    ran.all_well(&["format", "open", "closed"])?;
    ensure!(ran.step("open")?.out.contains("by credential"), "{:?}", ran.step("open")?);
    let systemd = "/lib/systemd/systemd-cryptsetup attach";
    let ran = run(
        &machine,
        &format!(
            "k=$W/credentials/holdfast-volume_data0
             step enroll systemd-cryptenroll --tpm2-device=swtpm:path=/run/tpm --tpm2-pcrs=7 --unlock-key-file=$k /dev/ubda1
             cp $k /run/k; rm $k
             step theirs hv open data0; step keys hv keys data0; hv close data0
             step rotate hv rotate machine data0 --confirm 'rotate machine of data0'
             step left hv keys data0; step ours hv open data0; hv close data0
             step systemd {systemd} x /dev/ubda1 - tpm2-device=swtpm:path=/run/tpm,headless=1
             step mapped test -b /dev/mapper/x; /lib/systemd/systemd-cryptsetup detach x
             hv open data0; step reencrypt hv reencrypt data0 --confirm 'reencrypt data0'; hv close data0
             step after hv open data0; hv close data0
             step systemd2 {systemd} x /dev/ubda1 - tpm2-device=swtpm:path=/run/tpm,headless=1
             /lib/systemd/systemd-cryptsetup detach x
             step old sh -c '! cryptsetup open --test-passphrase -d /run/k /dev/ubda1'
             step listed systemd-cryptenroll /dev/ubda1
             step dump cryptsetup luksDump /dev/ubda1"
        ),
    )?;
    ran.all_well(&["enroll", "theirs", "rotate", "ours", "systemd", "mapped", "old", "dump"])?;
    ran.all_well(&["reencrypt", "after", "systemd2"])?;
    ensure!(ran.step("after")?.out.contains("by tpm2"), "{:?}", ran.step("after")?);
    ensure!(ran.step("theirs")?.out.contains("by tpm2"), "{:?}", ran.step("theirs")?);
    ensure!(json(&ran, "keys")?.as_array().map(Vec::len) == Some(3), "{:?}", ran.step("keys")?);
    ensure!(json(&ran, "left")?.as_array().map(Vec::len) == Some(2), "{:?}", ran.step("left")?);
    ensure!(ran.step("listed")?.out.contains("tpm2"), "{:?}", ran.step("listed")?);
    ensure!(ran.step("dump")?.out.contains("systemd-tpm2"), "{:?}", ran.step("dump")?);
    Ok(())
}

#[test]
fn another_tpm_none_or_a_wiped_slot_opens_nothing_and_says_which_it_was() -> Result<()> {
    let (machine, _) = formatted()?;
    let ran = run(
        &machine,
        "tpm other; step other hv open data0
         out; step none hv open data0
         tpm own; step own hv open data0; hv close data0
         step cleared tpm2_clear -c p; step gone hv open data0
         step wipe systemd-cryptenroll --wipe-slot=tpm2 /dev/ubda1; step wiped hv open data0
         install -m 600 $W/recovery /run/r
         step recover hv recover data0 --enrol </run/r; hv close data0
         step sealed hv open data0",
    )?;
    ran.all_well(&["own", "cleared", "wipe", "recover", "sealed"])?;
    for (name, says) in [
        ("other", "does not unseal it"),
        ("none", "does not unseal it"),
        ("gone", "does not unseal it"),
        ("wiped", "no slot is bound to a TPM2"),
    ] {
        let step = ran.step(name)?;
        ensure!(step.code == 7 && step.err.contains(says), "{name}: {step:?}");
    }
    Ok(())
}

#[test]
fn a_header_that_somebody_else_had_sealed_to_this_tpm_is_not_opened() -> Result<()> {
    let (machine, _) = formatted()?;
    let ran = run(
        &machine,
        "u=$(uuid); printf thief-thief-thief-thief-thief-thief >/run/k; chmod 600 /run/k
         cryptsetup luksFormat -q --type luks2 --uuid $u --label holdfast-data0 --pbkdf-memory 64 --sector-size 4096 \\
             --pbkdf-force-iterations 4 -s 512 -c aes-xts-plain64 --key-file /run/k /dev/ubda1
         step seal systemd-cryptenroll --tpm2-device=swtpm:path=/run/tpm --tpm2-pcrs=7+14 --unlock-key-file=/run/k /dev/ubda1
         step thief hv open data0
         step closed sh -c '! test -e /dev/mapper/holdfast-data0'
         step restore hv header restore data0 --confirm \"restore data0 $u\"
         step own hv open data0",
    )?;
    ran.all_well(&["seal", "closed", "restore", "own"])?;
    let thief = ran.step("thief")?;
    ensure!(thief.code == 7 && thief.err.contains("somebody else may have written"), "{thief:?}");
    Ok(())
}

#[test]
fn an_unsealed_key_shows_in_no_argument_variable_output_or_file() -> Result<()> {
    let (machine, recovery) = formatted()?;
    // What the child hands over, when it is called as no person would.
    let ran = run(
        &machine,
        "step key sh -c '$BIN/holdfast-volume unseal /dev/ubda1 0 --tpm swtpm:path=/run/tpm >/run/key; \\
             $BIN/holdfast-volume unseal /dev/ubda1 1 --tpm swtpm:path=/run/tpm >>/run/key; true'
         cp /run/key $W/key.secret
         step opens cryptsetup open --test-passphrase -d /run/key /dev/ubda1
         mkdir /run/seen
         ( while :; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; sleep 0.02; done >/run/seen/all 2>/dev/null ) &
         looks=$!
         step open hv open data0; hv close data0
         step rotate hv rotate machine data0 --confirm 'rotate machine of data0'
         kill $looks; cp /run/seen/all $W/seen
         # As a power cut leaves it while the next is sealed.
         id=$(cryptsetup luksDump --dump-json-metadata /dev/ubda1 | jq -r '.tokens | to_entries[] | select(.value.type == \"systemd-tpm2\").key')
         cryptsetup token export --token-id $id /dev/ubda1 | sed s/systemd-tpm2/holdfast-tpm2/ >/run/token
         cryptsetup token remove --token-id $id /dev/ubda1
         step aside cryptsetup token import --json-file /run/token /dev/ubda1
         step cut hv open data0; hv close data0
         step again hv rotate machine data0 --confirm 'rotate machine of data0'
         step slots hv keys data0
         step run sh -c 'cat /run/holdfast-volume/*'
         step status hv status data0",
    )?;
    ran.all_well(&["opens", "open", "rotate", "aside", "cut", "again", "status"])?;
    ensure!(ran.step("cut")?.out.contains("by tpm2"), "{:?}", ran.step("cut")?);
    ensure!(json(&ran, "slots")?.as_array().map(Vec::len) == Some(2), "{:?}", ran.step("slots")?);
    let secret = fs::read(machine.path("key.secret"))?;
    ensure!(secret.len() == 44, "no key was unsealed: {} bytes", secret.len());
    let everything = machine.path("everything");
    let seen = fs::read(machine.path("seen"))?;
    ensure!(!seen.is_empty(), "nobody looked");
    fs::write(&everything, [ran.everything()?, seen].concat())?;
    for part in [&secret[..20], &recovery.as_bytes()[..26], &key(1).as_bytes()[..20]] {
        ensure!(!is_in(&everything, part)?, "a key shows");
    }
    ensure!(is_in(&everything, b"systemd-cryptenroll")?, "the looker saw no child");
    Ok(())
}

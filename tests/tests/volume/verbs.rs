//! What each verb does.

use anyhow::{Context, Result, ensure};
use holdfast_tests::Guest;
use holdfast_tests::guest::Ran;
use holdfast_tests::tools::sha256_of;

use crate::common::{DISK_BYTES, KNOWN, Machine, SERVICE_UID, is_in, key};

#[test]
fn a_volume_is_made_opened_filled_closed_and_shows_nothing_of_it_on_the_disk() -> Result<()> {
    let machine = Machine::new()?;
    let before = sha256_of(&machine.disk)?;
    let ran =
        machine.run("step dry hv format data0 --dry-run; step none hv format data0 </dev/null")?;
    let (dry, none) = (ran.step("dry")?, ran.step("none")?);
    ensure!(dry.code == 0 && dry.out.contains("format data0"), "{dry:?}");
    ensure!(none.code == 4 && none.err.contains("--confirm 'format data0'"), "{none:?}");
    ensure!(sha256_of(&machine.disk)? == before, "a dry run wrote");

    let recovery = machine.format()?;
    let ran = machine.run(&format!(
        "step open hv open data0
         step again hv open holdfast.data0
         step fill guest fill /run/data0/film {KNOWN}
         step options grep /run/data0 /proc/self/mounts
         step owner stat -c %u /run/data0
         step status hv status data0
         cp /bin/true /run/data0/true; chmod 755 /run/data0/true; step exec /run/data0/true
         exec 9</run/data0/film; step busy hv close data0
         step force hv close --force data0
         step free sh -c '! grep /run/data0 /proc/self/mounts'
         exec 9<&-; until ! dmsetup info holdfast-data0; do sleep 0.1; done
         step reopen hv open data0
         step close hv close data0
         step closed hv status
         step dmesg dmesg"
    ))?;
    ran.all_well(&[
        "open", "again", "fill", "status", "force", "free", "reopen", "close", "closed",
    ])?;
    let options = ran.step("options")?.out;
    ensure!(["nodev", "nosuid", "noexec"].iter().all(|it| options.contains(it)), "{options}");
    ensure!(ran.step("owner")?.out.trim() == SERVICE_UID.to_string());
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
    ensure!(slots == ["recovery", "machine"], "{status}");

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

#[test]
fn a_device_that_holds_something_else_is_left_alone_until_that_is_named() -> Result<()> {
    let machine = Machine::new()?;
    let ran = machine.run(
        "mkfs.ext4 -q -L photos /dev/ubda1
         step open hv open data0
         step status hv status data0
         step plain hv format data0 --confirm 'format data0'
         mkdir -p /run/p; mount /dev/ubda1 /run/p
         step mounted hv format data0 --confirm 'format data0 and lose ext4 \"photos\"'
         umount /run/p
         step named hv format data0 --confirm 'format data0 and lose ext4 \"photos\"'
         step again hv format data0 --confirm 'format data0'
         phrase=$(hv format data0 --dry-run | grep -o -e \"--confirm '.*'\" | cut -d \"'\" -f 2)
         step anew hv format data0 --confirm \"$phrase\"
         step backups ls $W/backups
         step device hv open /dev/ubda1
         step other hv format data1 --confirm 'format data1'
         printf 'label: dos\\n,\\n' | sfdisk -q --wipe always /dev/ubda1 >&2
         step table hv format data0 --dry-run",
    )?;
    ensure!(ran.step("open")?.code == 6, "{:?}", ran.step("open")?);
    ensure!(ran.step("status")?.out.contains("foreign"), "{:?}", ran.step("status")?);
    let plain = ran.step("plain")?;
    ensure!(plain.code == 4 && plain.err.contains("ext4 \"photos\""), "{plain:?}");
    ensure!(ran.step("mounted")?.code == 8, "{:?}", ran.step("mounted")?);
    ensure!(ran.step("named")?.code == 0, "{:?}", ran.step("named")?);
    let again = ran.step("again")?;
    ensure!(again.code == 4 && again.err.contains("crypto_LUKS"), "{again:?}");
    ran.all_well(&["anew"])?;
    let backups = ran.step("backups")?.out;
    ensure!(backups.lines().count() == 1, "the old volume's backup is still there: {backups}");
    ensure!(ran.step("device")?.code == 3 && ran.step("other")?.code == 3, "{ran:?}");
    ensure!(ran.step("table")?.out.contains("lose dos"), "{:?}", ran.step("table")?);
    Ok(())
}

#[test]
fn what_changes_while_a_person_types_is_not_harmed_and_nobody_waits_for_the_person() -> Result<()> {
    let machine = Machine::new()?;
    let ran = machine.run(
        "mkdir -p /dev/pts; mount -t devpts devpts /dev/pts
         cat >/run/typist <<'END'
from os import execvp, read, waitpid, waitstatus_to_exitcode, write
from pty import fork as pty_fork
from subprocess import call
from sys import argv, exit
pid, terminal = pty_fork()
if pid == 0:
    execvp(argv[3], argv[3:])
said = b''
while not said.endswith(b'> '):
    said += read(terminal, 1000)
assert call(['bash', '-c', argv[1]]) == 0
write(terminal, argv[2].encode() + b'\\n')
try:
    while True:
        said += read(terminal, 1000)
except OSError:
    pass
print(said.decode())
exit(waitstatus_to_exitcode(waitpid(pid, 0)[1]))
END
         hv=\"$BIN/holdfast-volume --config /run/volume.toml\"
         step format python3 /run/typist 'mkfs.ext4 -q -L photos /dev/ubda1' 'format data0' \\
             $hv format data0
         step photos sh -c 'blkid -c /dev/null -p /dev/ubda1 | grep photos'
         wipefs -qa /dev/ubda1
         step made python3 /run/typist true 'format data0' $hv format data0
         step erase python3 /run/typist 'hv open data0 && hv close data0' \"erase data0 $(uuid)\" \\
             $hv erase data0",
    )?;
    let format = ran.step("format")?;
    ensure!(format.code == 6 && format.out.contains("is not the device"), "{format:?}");
    ran.all_well(&["photos", "made", "erase"])
}

#[test]
fn a_volume_without_its_device_or_key_is_not_opened_and_says_what_is_missing() -> Result<()> {
    let mut machine = Machine::new()?;
    let ran = machine.run(
        "mv $W/credentials/holdfast-volume_data0 $W/kept
         step nokey hv format data0 --confirm 'format data0'
         step untouched test -z \"$(wipefs -n /dev/ubda1)\"
         head -c 16 /dev/urandom >$W/credentials/holdfast-volume_data0
         step weak hv format data0 --confirm 'format data0'
         mv $W/kept $W/credentials/holdfast-volume_data0
         step format hv format data0 --confirm 'format data0'
         mv $W/credentials/holdfast-volume_data0 $W/kept
         step open hv open data0
         mv $W/kept $W/credentials/holdfast-volume_data0
         ln -s /etc /run/link; sed -i s,/run/data0,/run/link/x, /run/volume.toml
         step link hv open data0; hv close data0
         mkdir -p /run/theirs; chown 65534 /run/theirs; sed -i s,/run/link/x,/run/theirs/x, /run/volume.toml
         step theirs hv open data0; hv close data0; sed -i s,/run/theirs/x,/run/data0, /run/volume.toml
         # A header that somebody put there: the machine's key fits, the cipher is none.
         cryptsetup luksFormat -q --type luks2 -c cipher_null-ecb -s 128 --pbkdf pbkdf2 \\
             --pbkdf-force-iterations 1000 --sector-size 4096 --key-slot 0 \\
             --keyslot-cipher aes-xts-plain64 --keyslot-key-size 512 \\
             /dev/ubda1 $W/credentials/holdfast-volume_data0
         step fits cryptsetup open --test-passphrase -d $W/credentials/holdfast-volume_data0 /dev/ubda1
         step null hv open data0
         sfdisk -q --part-label /dev/ubda 1 other; partx -u /dev/ubda
         step gone hv open data0
         # One that the machine may do without: told of only once it was made.
         sed 's/data0/data1/; $a optional = true' /run/volume.toml | sed -n '/^.*volumes/,$p' >/run/more
         cat /run/more >>/run/volume.toml; sed -i '0,/^mount/s//optional = true\\n&/' /run/volume.toml
         step never hv status; step asked hv status data1",
    )?;
    let nokey = ran.step("nokey")?;
    ensure!(nokey.code == 7 && nokey.err.contains("credential"), "{nokey:?}");
    let (link, theirs) = (ran.step("link")?, ran.step("theirs")?);
    ensure!(link.code == 1 && link.err.contains("a link on the way"), "{link:?}");
    ensure!(theirs.code == 1 && theirs.err.contains("others than root"), "{theirs:?}");
    ensure!(ran.step("weak")?.code == 7, "{:?}", ran.step("weak")?);
    ran.all_well(&["untouched", "format", "fits"])?;
    let open = ran.step("open")?;
    ensure!(open.code == 7 && open.err.contains("holdfast-volume recover data0"), "{open:?}");
    let null = ran.step("null")?;
    ensure!(null.code == 6 && null.err.contains("cipher_null"), "{null:?}");
    ensure!(ran.step("gone")?.code == 5, "{:?}", ran.step("gone")?);
    let (never, asked) = (ran.step("never")?, ran.step("asked")?);
    ensure!(never.out.contains("data0") && !never.out.contains("data1"), "{never:?}");
    ensure!(asked.code == 0 && asked.out.contains("\"unmade\""), "{asked:?}");

    // A second disk that claims the same name.
    Guest::partition(&machine.disk, "label: gpt\nname=holdfast.data0\n")?;
    let other = machine.guest.add_disk(DISK_BYTES)?;
    Guest::partition(&other, "label: gpt\nname=holdfast.data0\n")?;
    let ran = machine.run("step two hv open data0; step status hv status")?;
    let two = ran.step("two")?;
    ensure!(two.code == 5 && two.err.contains("2 devices"), "{two:?}");
    ensure!(ran.step("status")?.code == 1, "{:?}", ran.step("status")?);
    Ok(())
}

#[test]
fn the_service_asks_over_the_socket_and_nobody_else_does() -> Result<()> {
    let machine = Machine::new()?;
    let recovery = machine.format()?;
    let ran = machine.run(&format!(
        "systemd-socket-activate -E CREDENTIALS_DIRECTORY -E DM_DISABLE_UDEV -l /run/hv.sock \\
             --accept --inetd $BIN/holdfast-volume --config /run/volume.toml serve >&2 &
         until [ -S /run/hv.sock ]; do sleep 0.1; done; chmod 666 /run/hv.sock
         ask() {{ step $1 guest ask /run/hv.sock $2 \"$3\"; }}
         ask stranger 1000 '\"status\"'
         ask open {SERVICE_UID} '{{\"open\":{{\"volume\":\"data0\"}}}}'
         ask status {SERVICE_UID} '\"status\"'
         ask grow 0 '{{\"grow\":{{\"volume\":\"data0\"}}}}'
         ask path {SERVICE_UID} '{{\"open\":{{\"volume\":\"/dev/ubda1\"}}}}'
         ask other {SERVICE_UID} '{{\"open\":{{\"volume\":\"data1\"}}}}'
         ask verb {SERVICE_UID} '{{\"format\":{{\"volume\":\"data0\"}}}}'
         ask long {SERVICE_UID} '{}'
         ask close {SERVICE_UID} '{{\"close\":{{\"volume\":\"data0\"}}}}'
         mv $W/credentials $W/moved; mkdir $W/credentials; cp $W/moved/* $W/credentials
         sed -i s/machine/another/g $W/credentials/*
         ask drifted {SERVICE_UID} '{{\"open\":{{\"volume\":\"data0\"}}}}'
         ask wrong {SERVICE_UID} '{{\"recover\":{{\"volume\":\"data0\",\"key\":\"{}\"}}}}'
         ask recover {SERVICE_UID} '{{\"recover\":{{\"volume\":\"data0\",\"key\":\"{recovery}\"}}}}'
         ask closed {SERVICE_UID} '{{\"close\":{{\"volume\":\"data0\"}}}}'
         ask enrolled {SERVICE_UID} '{{\"open\":{{\"volume\":\"data0\"}}}}'
         ask notit {SERVICE_UID} '{{\"erase\":{{\"volume\":\"data0\",\"uuid\":\"1\"}}}}'
         ask erase {SERVICE_UID} \"{{\\\"erase\\\":{{\\\"volume\\\":\\\"data0\\\",\\\"uuid\\\":\\\"$(uuid)\\\"}}}}\"
         kill %1",
        "x".repeat(9000),
        recovery.replace(['c', 'b'], "d"),
    ))?;
    let answer = |name: &str| -> Result<serde_json::Value> {
        let step = ran.step(name)?;
        serde_json::from_str(&step.out).with_context(|| format!("{name}: {step:?}"))
    };
    for (name, code) in [
        ("stranger", 2),
        ("path", 2),
        ("other", 3),
        ("verb", 2),
        ("long", 2),
        ("drifted", 7),
        ("wrong", 2),
        ("notit", 6),
    ] {
        ensure!(answer(name)?["error"]["code"] == code, "{name}: {}", answer(name)?);
    }
    for name in ["open", "grow", "close", "recover", "closed", "enrolled"] {
        ensure!(answer(name)?.get("ok").is_some(), "{name}: {}", answer(name)?);
    }
    ensure!(answer("status")?["ok"][0]["state"] == "open", "{}", answer("status")?);
    ensure!(answer("erase")?["ok"]["slots_left"] == 0, "{}", answer("erase")?);
    Ok(())
}

#[test]
fn a_volume_grows_with_its_device_while_it_is_open() -> Result<()> {
    let machine = Machine::new()?;
    Guest::partition(&machine.disk, "label: gpt\nsize=64MiB, name=holdfast.data0\n")?;
    machine.format()?;
    let size = "stat -f -c %b /run/data0";
    let ran = machine.run(&format!(
        "step closed hv grow data0
         step open hv open data0; step fill guest fill /run/data0/film {KNOWN}
         step before {size}
         printf ',100MiB\\n' | sfdisk -q --no-reread --force -N 1 /dev/ubda >&2; partx -u /dev/ubda
         step grow hv grow data0
         step after {size}
         step same guest same /run/data0/film {KNOWN}
         step close hv close data0"
    ))?;
    ran.all_well(&["open", "fill", "grow", "same", "close"])?;
    ensure!(ran.step("closed")?.code == 8, "{:?}", ran.step("closed")?);
    let blocks = |ran: &Ran, name: &str| -> Result<u64> { Ok(ran.step(name)?.out.trim().parse()?) };
    let (before, after) = (blocks(&ran, "before")?, blocks(&ran, "after")?);
    ensure!(after > before + 30_000_000 / 4096, "{before} blocks, then {after}");

    // The disk itself is replaced by a larger one, with the same bytes at its front.
    let disk = std::fs::File::options().write(true).open(&machine.disk)?;
    disk.set_len(2 * DISK_BYTES)?;
    let ran = machine.run(&format!(
        "resize() {{ printf ',%s\\n' $1 | sfdisk -q --no-reread --force -N 1 /dev/ubda >&2; partx -u /dev/ubda; }}
         resize 600001; step odd hv open data0
         resize 300MiB; step open hv open data0; step grow hv grow data0; step larger {size}
         step same guest same /run/data0/film {KNOWN}"
    ))?;
    ran.all_well(&["open", "grow", "same"])?;
    let odd = ran.step("odd")?;
    ensure!(odd.code == 5 && odd.err.contains("no multiple of 4096"), "{odd:?}");
    let larger = blocks(&ran, "larger")?;
    ensure!(larger > after + 100_000_000 / 4096, "{after} blocks, then {larger}");
    Ok(())
}

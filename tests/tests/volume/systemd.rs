//! The units themselves, under systemd and udev: a disk that comes, is used, is pulled out and comes again, and what
//! happens when the machine goes down.

use std::fs;

use anyhow::{Context, Result, ensure};
use holdfast_tests::Guest;
use holdfast_tests::tools::repo;
use serde_json::Value;

use crate::common::{KNOWN, Machine, SERVICE_UID, unit};

const UNITS: [&str; 3] =
    ["holdfast-volume@.service", "holdfast-volume-ask@.service", "holdfast-volume-ask.socket"];
const RULES: &str = "90-holdfast-volume.rules";
/// Where the volume is mounted, and systemd's unit for that.
const FOLDER: &str = "/srv/holdfast/data0";
const MOUNT_UNIT: &str = "srv-holdfast-data0.mount";

/// The volume's unit. `soon COMMAND…` waits until it succeeds; `comes` and `goes` are what udev says of the disk.
const BOX: &str = r#"
folder=/srv/holdfast/data0 of=holdfast-volume@holdfast.data0.service
sed -i "s#/run/data0#$folder#" /run/volume.toml
cp $W/units/* /run/systemd/system/
systemctl daemon-reload
soon() { for n in $(seq 600); do "$@" && return; sleep 0.1; done; return 1; }
mounted() { grep -q " $folder " /proc/mounts; }
not() { ! "$@"; }
mapped() { dmsetup info holdfast-data0 >/dev/null 2>&1; }
is() { [ "$(systemctl show -P ActiveState $of)" = $1 ]; }
comes() { udevadm trigger --action=add /sys/class/block/ubda1; soon is active; }
goes() { udevadm trigger --action=remove /sys/class/block/ubda1; soon not mounted; soon not is deactivating; }
ask() { guest ask /run/holdfast-volume.socket @UID@ "$1"; }
step format hv format data0 --confirm 'format data0'
mkdir -p /run/udev/rules.d
cp $W/rules /run/udev/rules.d/90-holdfast-volume.rules
udevadm control --reload
"#;

/// A box with the units as they are, but for where the program lies and where its key comes from.
fn boxed() -> Result<(Machine, String)> {
    let machine = Machine::new()?;
    let rules = fs::read_to_string(repo().join("udev").join(RULES))?;
    let kind = rules.split('"').find(|it| it.len() == 36).context("no type in the rules")?;
    let table = format!("label: gpt\ntype={kind}, name=holdfast.data0\n");
    Guest::partition(&machine.disk, &table)?;
    fs::write(machine.path("rules"), rules)?;
    fs::create_dir(machine.path("units"))?;
    for name in UNITS {
        let text = unit(name)?
            .replace(
                "/usr/bin/holdfast-volume",
                "/run/bin/holdfast-volume --config /run/volume.toml",
            )
            .replace("[Service]", "[Service]\nEnvironment=CREDENTIALS_DIRECTORY=/run/w/credentials")
            .replace("=holdfast\n", "=nobody\n")
            .replace("SocketGroup=nobody", "SocketGroup=nogroup");
        fs::write(machine.path("units").join(name), text)?;
    }
    Ok((machine, BOX.replace("@UID@", &SERVICE_UID.to_string())))
}

#[test]
fn a_disk_comes_is_pulled_out_with_open_files_and_comes_again() -> Result<()> {
    let (machine, begin) = boxed()?;
    let ran = machine.run_confined(&format!(
        "{begin}
         step comes comes
         step mounted grep \" $folder ext4 \" /proc/mounts
         step fill guest fill $folder/film {KNOWN}
         step socket systemctl start holdfast-volume-ask.socket
         step status ask '\"status\"'
         step close ask '{{\"close\":{{\"volume\":\"data0\"}}}}'
         step closed not mounted; step unmapped not mapped
         step open ask '{{\"open\":{{\"volume\":\"data0\"}}}}'
         step opened guest same $folder/film {KNOWN}
         step grow ask '{{\"grow\":{{\"volume\":\"data0\"}}}}'

         # systemd unmounts it, as when somebody tells it to.
         step behind systemctl stop {MOUNT_UNIT}
         step unmounted ask '\"status\"'
         step again ask '{{\"open\":{{\"volume\":\"data0\"}}}}'
         step there guest same $folder/film {KNOWN}

         exec 3<$folder/film
         step busy ask '{{\"close\":{{\"volume\":\"data0\"}}}}'
         step kept mounted
         step goes goes
         step free not mounted
         step stale ls /run/systemd/system/{MOUNT_UNIT}.d
         step held mapped
         exec 3<&-
         step left soon not mapped

         # What one that was killed in the middle of that leaves.
         mkdir /run/systemd/system/{MOUNT_UNIT}.d
         printf '[Mount]\\nLazyUnmount=yes\\n' >/run/systemd/system/{MOUNT_UNIT}.d/lazily.conf
         systemctl daemon-reload
         step returns comes
         step same guest same $folder/film {KNOWN}
         exec 3<$folder/film
         step still ask '{{\"close\":{{\"volume\":\"data0\"}}}}'
         step erase ask \"{{\\\"erase\\\":{{\\\"volume\\\":\\\"data0\\\",\\\"uuid\\\":\\\"$(uuid)\\\"}}}}\"
         echo 3 >/proc/sys/vm/drop_caches
         step unreadable cat <&3
         exec 3<&-
         step gone not mounted
         step failed systemctl --failed --no-legend --plain"
    ))?;
    ran.all_well(&["format", "comes", "mounted", "fill", "socket", "status", "close", "closed"])?;
    ran.all_well(&["unmapped", "open", "opened", "grow", "behind", "again", "there", "kept"])?;
    ran.all_well(&["goes", "free", "held", "left", "returns", "same", "erase", "gone"])?;
    let mounted = ran.step("mounted")?.out;
    for option in [" rw,", "nodev", "nosuid", "noexec", "noatime", "errors=remount-ro"] {
        ensure!(mounted.contains(option), "{option} is missing: {mounted}");
    }
    let answer = |name: &str| -> Result<Value> { Ok(serde_json::from_str(&ran.step(name)?.out)?) };
    for (name, state) in [("status", "open"), ("unmounted", "unmounted")] {
        let status = answer(name)?;
        ensure!(status["ok"][0]["state"] == state, "{name}: {status}");
    }
    for busy in ["busy", "still"] {
        ensure!(answer(busy)?["error"]["code"] == 8, "{:?}", ran.step(busy)?);
    }
    ensure!(ran.step("stale")?.code != 0, "a file beside the unit was left");
    let erased = answer("erase")?;
    ensure!(erased["ok"]["slots_left"] == 0, "{erased}");
    ensure!(ran.step("unreadable")?.code != 0, "what was erased is read");
    let failed = ran.step("failed")?.out;
    ensure!(!failed.contains(".mount"), "{failed}");
    Ok(())
}

#[test]
fn when_the_machine_goes_down_the_node_ends_first_and_the_volume_is_closed() -> Result<()> {
    let (machine, begin) = boxed()?;
    let node = format!(
        "[Service]\nExecStart=/bin/sh -c 'exec sleep 1000 <{FOLDER}/film'\n\
         ExecStop=+/bin/sh -c 'grep -q \" {FOLDER} \" /proc/mounts && echo node-ends >/dev/console'\n"
    );
    fs::write(machine.path("units/holdfast.service"), node)?;
    let after =
        "[Service]\nExecStopPost=+/bin/sh -c '(cat /proc/mounts; dmsetup ls) >/run/w/left'\n";
    fs::create_dir(machine.path("after"))?;
    fs::write(machine.path("after/after.conf"), after)?;
    let script = machine.with_systemd(&format!(
        "{begin}
         cp -r $W/after /run/systemd/system/holdfast-volume@.service.d; systemctl daemon-reload
         comes && guest fill $folder/film {KNOWN} && systemctl start holdfast.service && echo is-up >/dev/console
         systemctl poweroff --no-block; sleep 600"
    ))?;
    let mut running = machine.guest.start_with_systemd(&script)?;
    for said in ["is-up", "node-ends", "Powering off"] {
        running.wait_for(said)?;
    }
    let left = fs::read_to_string(machine.path("left"))?;
    ensure!(!left.contains("data0"), "the node had ended, and the volume was open: {left}");
    Ok(())
}

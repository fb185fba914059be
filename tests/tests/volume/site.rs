//! A Tang server in the site's network, with `tang` and `clevis` in the guest.

use anyhow::{Result, ensure};

use crate::common::Machine;

/// `socat` stands for systemd: it listens, and runs one process for each connection.
const NETWORK: &str = r#"
export W
tang() {
    mkdir -p $W/tang; [ -n "$(ls $W/tang)" ] || /usr/libexec/tangd-keygen $W/tang
    socat TCP-LISTEN:8000,bind=127.0.0.1,reuseaddr,fork EXEC:"/usr/libexec/tangd $W/tang" 2>/run/tang.log & server=$!
    until curl -s http://127.0.0.1:8000/adv >/run/adv; do sleep 0.1; done
}
site() {
    setpriv --reuid=65534 --regid=65534 --clear-groups socat -t 60 UNIX-LISTEN:/run/dev/site,fork EXEC:"/usr/bin/clevis decrypt" 2>>/run/site.log &
    until [ -e /run/dev/site ]; do sleep 0.1; done
    ln -sf /run/dev/site /run/holdfast-volume-site.socket
}
# What Debian's udev would have made.
ln -s /proc/self/fd /dev/fd
install -d -o 65534 /run/dev
install -d -m 1777 /run/tmp; export TMPDIR=/run/tmp
"#;

#[test]
fn a_box_opens_itself_in_its_sites_network_and_nowhere_else() -> Result<()> {
    let machine = Machine::with("keys = [\"site\", \"credential\"]")?;
    machine.format()?;
    let ran = machine.run(&format!(
        "{NETWORK}
         tang; site; k=$W/credentials/holdfast-volume_data0
         step bind clevis luks bind -y -k $k -d /dev/ubda1 tang '{{\"url\":\"http://127.0.0.1:8000\"}}'
         step before hv open data0; hv close data0
         step backup hv header backup data0
         mv $k /run/k
         step open hv open data0; hv close data0
         step keys hv keys data0
         step list clevis luks list -d /dev/ubda1
         step unlock clevis luks unlock -d /dev/ubda1 -n x; step mapped test -b /dev/mapper/x
         cryptsetup close x
         step recovery hv rotate recovery data0 --confirm 'rotate recovery of data0'
         kill $server
         step elsewhere hv open data0
         tang; rm /run/holdfast-volume-site.socket
         step off hv open data0
         ln -sf /run/dev/site /run/holdfast-volume-site.socket; cp /run/k $k
         step rotate hv rotate machine data0 --confirm 'rotate machine of data0'
         cp /run/k $k.new; printf 2 >>$k.new
         step machine hv rotate machine data0 --confirm 'rotate machine of data0'
         step still hv open data0; hv close data0; step left hv keys data0"
    ))?;
    ran.all_well(&["bind", "backup", "open", "list", "unlock", "mapped", "recovery"])?;
    ran.all_well(&["machine", "still"])?;
    for name in ["open", "still"] {
        ensure!(ran.step(name)?.out.contains("by site"), "{name}: {:?}", ran.step(name)?);
    }
    ensure!(ran.step("before")?.code == 0, "{:?}", ran.step("before")?);
    let keys = ran.step("keys")?.out;
    ensure!(
        keys.contains("\"purpose\": \"site\"") && keys.contains("\"source\": \"site\""),
        "{keys}"
    );
    ensure!(ran.step("list")?.out.contains("tang"), "{:?}", ran.step("list")?);
    for (name, says) in [("elsewhere", "gave no key"), ("off", "holdfast-volume-site.socket on?")] {
        let step = ran.step(name)?;
        ensure!(step.code == 7 && step.err.contains(says), "{name}: {step:?}");
    }
    ensure!(ran.step("rotate")?.code == 7, "{:?}", ran.step("rotate")?);
    let left = ran.step("left")?.out;
    ensure!(left.contains("\"site\"") && left.matches("\"number\"").count() == 3, "{left}");
    Ok(())
}

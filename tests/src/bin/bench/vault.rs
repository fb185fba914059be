//! What encryption at rest costs: dm-crypt as `holdfast-volume` sets it up, beside plain cryptsetup's own
//! defaults and the bare disk; and uploads through the whole node onto either.
//!
//! In a guest, whose kernel has the device mapper; its disks are files on this machine. The absolute
//! figures are the guest's, so only ratios of one run count.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};
use holdfast_tests::Guest;
use holdfast_tests::tools::bin_dir;

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) mib: u64,
    pub(crate) rounds: u32,
}

/// Room on each disk for a header and a file system, in MiB.
const BESIDE_MIB: u64 = 192;
/// The disks, in the guest's order, and what each is called in the table.
const DISKS: [(&str, &str); 4] = [
    ("bare", "bare disk"),
    ("plain", "cryptsetup's defaults"),
    ("ours", "holdfast-volume"),
    ("unqueued", "the same, workqueues = false"),
];
const BASE: &str = "bare";

/// Makes the volumes and says how to reach each.
const VOLUMES: &str = r#"
set -e
install -m 600 "$W/volume.toml" /run/volume.toml
mkdir -p /run/ours /run/unqueued /run/backups
export CREDENTIALS_DIRECTORY=$W/credentials
hv() { "$BIN/holdfast-volume" --config /run/volume.toml "$@"; }
echo benchmark >/run/key
# Only the key's derivation is cheaper than its defaults: it is not what is measured.
cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/ubdb /run/key
cryptsetup open --key-file /run/key /dev/ubdb plain
for each in ours unqueued; do
    hv format $each --confirm "format $each" >/dev/null && hv open $each && umount /run/$each
done
declare -A device=([bare]=/dev/ubda [plain]=/dev/mapper/plain
    [ours]=/dev/mapper/holdfast-ours [unqueued]=/dev/mapper/holdfast-unqueued)
timed() { # NAME COMMAND...: "NAME seconds" to the results
    local name=$1 begun=$EPOCHREALTIME ended; shift
    "$@" || exit 1
    ended=$EPOCHREALTIME
    echo "$name $(( (${ended/./} - ${begun/./}) / 1000 ))" >>$W/results
}
"#;

/// Writes and reads each in turn, past the page cache.
const DEVICES: &str = r#"
for round in $(seq @ROUNDS@); do for each in bare plain ours unqueued; do
    timed "write $each" dd if=/dev/zero of=${device[$each]} bs=4M count=$((@MIB@ / 4)) oflag=direct conv=fsync,notrunc status=none
    timed "read $each" dd if=${device[$each]} of=/dev/null bs=4M count=$((@MIB@ / 4)) iflag=direct status=none
done; done
"#;

/// The same file by PUT to a node on either, until it is acknowledged.
const INGEST: &str = r#"
curl_() { curl -skf "$@"; }
node() { # NAME: starts a node whose state and vault lie on that device
    mkdir -p /run/at && mount -o nodev,nosuid,noexec ${device[$1]} /run/at && mkdir -p /run/at/state /run/at/vault
    cat >/run/node.toml <<END
[node]
state_path = "/run/at/state"
listen = ["127.0.0.1:8443"]
clock = "as_is"
[vault]
path = "/run/at/vault"
free_bytes_min = 8388608
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
    "$BIN/holdfast" run --config /run/node.toml >>"$W/node.log" 2>&1 & pid=$!
    until curl_ -o /dev/null https://127.0.0.1:8443/ready; do kill -0 $pid; sleep 0.1; done
}
off() { kill $pid; wait $pid; umount /run/at; }
for each in bare plain ours unqueued; do mkfs.ext4 -q -F ${device[$each]}; done
for round in $(seq @ROUNDS@); do for each in bare plain ours unqueued; do
    node $each
    timed "put $each" curl_ -o /dev/null -T "$W/film.webm" 'https://127.0.0.1:8443/api/v1/ingest/upload?env_id=kept&env_hash=kept-hash'
    off
    mount ${device[$each]} /run/at && rm -rf /run/at/* && umount /run/at
done; done
"#;

/// Measures and prints a table.
pub(crate) fn measure(plan: Plan) -> Result<()> {
    ensure!(plan.mib >= 4 && plan.rounds >= 1, "--mib of 4 and up, --rounds of 1 and up");
    let mut guest = Guest::new()?;
    for (name, _) in DISKS {
        let disk = guest.add_disk((plan.mib + BESIDE_MIB) << 20)?;
        if matches!(name, "ours" | "unqueued") {
            Guest::partition(&disk, &format!("label: gpt\nname=holdfast.{name}\n"))?;
        }
    }
    fs::create_dir(guest.path().join("credentials"))?;
    for name in ["ours", "unqueued"] {
        let key = guest.path().join(format!("credentials/holdfast-volume_{name}"));
        fs::write(key, "benchmark-".repeat(8))?;
    }
    fs::write(guest.path().join("volume.toml"), settings(&guest))?;
    // Noise that is a recording by its first bytes.
    let film = holdfast_tests::media::webm_noise(1, usize::try_from(plan.mib)? << 20);
    fs::write(guest.path().join("film.webm"), film)?;
    let script = format!("export BIN={:?}\n{VOLUMES}\n{DEVICES}\n{INGEST}", bin_dir());
    let script = script
        .replace("@ROUNDS@", &plan.rounds.to_string())
        .replace("@MIB@", &plan.mib.to_string());
    let ran = guest.run(&script)?;
    let node = fs::read_to_string(guest.path().join("node.log")).unwrap_or_default();
    ensure!(ran.code == 0, "the guest ended with {}: {}\n{node}", ran.code, ran.output);
    let results = fs::read_to_string(guest.path().join("results")).context("no results")?;
    print(&read(&results)?, plan)
}

fn settings(guest: &Guest) -> String {
    let volume = |name: &str, more: &str| {
        format!(
            "[[volumes]]\nname = {name:?}\nmount = \"/run/{name}\"\nkeys = [\"credential\"]\n\
             device = {{ partition_label = \"holdfast.{name}\" }}\n{more}\n"
        )
    };
    format!(
        "profile = \"development\"\nservice_user = \"nobody\"\nheader_backups = \"/run/backups\"\n\
         credentials = {:?}\n[testing]\nkdf_memory_kib = 64\n{}{}",
        guest.path().join("encrypted"),
        volume("ours", ""),
        volume("unqueued", "workqueues = false"),
    )
}

/// Milliseconds by what was done and to which.
fn read(results: &str) -> Result<BTreeMap<(String, String), Vec<u64>>> {
    let mut all: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for line in results.lines() {
        let [act, name, ms] = line.split(' ').collect::<Vec<_>>()[..] else {
            anyhow::bail!("a strange result: {line}");
        };
        all.entry((act.to_owned(), name.to_owned())).or_default().push(ms.parse()?);
    }
    Ok(all)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds and MiB, for people")]
fn print(all: &BTreeMap<(String, String), Vec<u64>>, plan: Plan) -> Result<()> {
    println!(
        "{} MiB, {} rounds in turn, in a guest; the middle round of each",
        plan.mib, plan.rounds
    );
    println!("| | write MiB/s | of bare | read MiB/s | of bare | upload MiB/s | of bare |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let middle = |act: &str, name: &str| -> Result<f64> {
        let mut ms = all.get(&(act.into(), name.into())).context("a missing result")?.clone();
        ms.sort_unstable();
        Ok(ms[ms.len() / 2].max(1) as f64)
    };
    for (name, called) in DISKS {
        print!("| {called} |");
        for act in ["write", "read", "put"] {
            let (ms, bare) = (middle(act, name)?, middle(act, BASE)?);
            print!(" {:.0} | {:.2} |", plan.mib as f64 * 1e3 / ms, bare / ms);
        }
        println!();
    }
    Ok(())
}

//! What an attacker finds inside: compared with lists that are committed, so that a change of them is a decision. The
//! image is the one for debugging, which differs by a shell on the serial line, and by a server of updates that it knows.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::repo;
use holdfast_tests::wait::until_within;

use crate::machine::{Board, START};
use crate::updates::Server;
use crate::world::{BOARD, HEALTHY, World, images, tools};

/// Highest exposure that `systemd-analyze security` may find in a unit, of 10. Where it is more than was asked for, the unit
/// says why.
const EXPOSURE_MAX: [(&str, f32); 8] = [
    ("holdfast.service", 1.2),
    ("holdfast-clock.service", 0.5),
    ("holdfast-volume@holdfast.data0.service", 2.1),
    ("holdfast-volume-ask@.service", 2.1),
    ("holdfast-transcode@.service", 0.5),
    ("holdfast-health.service", 0.3),
    ("holdfast-provision.service", 1.5),
    ("holdfast-provision-page.service", 1.5),
];

/// What a command has to say.
const FACTS: [(&str, &[&str]); 6] = [
    (
        "cd /dev/holdfast/bay && for n in *; do echo $n $(readlink $n); done",
        &["sata-3 ../../sd", "sata-3-part1 ../../sd"],
    ),
    ("cat /sys/kernel/security/lockdown", &["[confidentiality]"]),
    ("bootctl status --no-pager", &["Secure Boot: enabled (user)", "Measured UKI: yes"]),
    ("udevadm verify /usr/lib/udev/rules.d/9*-holdfast-*.rules; echo verified $?", &["verified 0"]),
    (
        "systemctl show -P RuntimeWatchdogUSec; cat /sys/class/watchdog/watchdog0/state",
        &["1min", "active"],
    ),
    ("touch /usr/x 2>&1; echo tried", &["ead-only", "tried"]),
];

/// Each list, and the command that makes it. The network card's name and addresses are the board's.
const LISTS: [(&str, &str); 5] = [
    (
        "listens",
        "ss -Hltun | while read -r a b c d e f; do echo \"$a $e\"; done | \
         sed 's/%e[a-z0-9]*/%card/; s/fe80:[^]%]*/fe80:/' | sort -u",
    ),
    ("setuid", "find / -xdev -type f -perm /6000; getcap -r /usr 2>/dev/null"),
    (
        "writable",
        "findmnt -rno TARGET,FSTYPE,OPTIONS | while read -r t k o; do case ,$o, in *,rw,*) n=; \
         for w in nodev nosuid noexec; do case ,$o, in *,$w,*) n=\"$n $w\" ;; esac; done; \
         case $t in /run/credentials/*) ;; *) echo \"$t $k$n\" ;; esac ;; esac; done | sort -u",
    ),
    (
        "programs",
        "for s in bash dash sh zsh busybox login getty agetty su sudo sshd apt dpkg perl python3 gcc \
         curl wget nc; do command -v $s; done; true",
    ),
    (
        "services",
        // A job of the transcoder and the self-test come and go.
        "systemctl list-units --type=service --state=running --no-legend --plain | \
         while read -r u r; do echo $u; done | sed '/^holdfast-transcode@/d; /^holdfast-selftest/d'",
    ),
];

/// What differs from a list of `tests/tests/image/inside/`.
fn compare(name: &str, found: &str) -> Result<Option<String>> {
    let text = fs::read_to_string(repo().join("tests/tests/image/inside").join(name))?;
    let lines = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().map(str::trim).filter(|it| !it.starts_with('#') && !it.is_empty());
        lines.map(str::to_owned).collect()
    };
    let (found, wanted) = (lines(found), lines(&text));
    let new: Vec<_> = found.difference(&wanted).collect();
    let gone: Vec<_> = wanted.difference(&found).collect();
    let differs = !new.is_empty() || !gone.is_empty();
    Ok(differs.then(|| format!("{name}: not on the list: {new:#?}\nonly on the list: {gone:#?}")))
}

async fn look_around(board: &Board) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for (name, command) in LISTS {
        problems.extend(compare(name, &board.shell(command).await?)?);
    }
    for (command, wanted) in FACTS {
        let said = board.shell(command).await?;
        if !wanted.iter().all(|it| said.contains(it)) {
            problems.push(format!("{command}: wanted {wanted:?}, it said {said}"));
        }
    }
    for (unit, max) in EXPOSURE_MAX {
        let said =
            board.shell(&format!("systemd-analyze security --no-pager {unit} | tail -n 1")).await?;
        eprintln!("{said}");
        let score = said.split_whitespace().filter_map(|it| it.parse::<f32>().ok()).next_back();
        if score.is_none_or(|it| it > max) {
            problems.push(format!("{unit}: {said}, and at most {max} is allowed"));
        }
    }
    let failed = board.shell("systemctl --failed --no-legend --plain").await?;
    if !failed.trim().is_empty() {
        problems.push(format!("failed units: {failed}"));
    }
    let rest = "free -m; systemd-analyze; cat /sys/fs/cgroup/system.slice/holdfast.service/memory.current; df -m /";
    eprintln!("at rest:\n{}", board.shell(rest).await?);
    Ok(problems)
}

#[tokio::test(flavor = "multi_thread")]
async fn inside_is_what_the_lists_say_what_is_plugged_in_is_looked_at_and_updates_come_over_https()
-> Result<()> {
    tools()?;
    let world = World::flashed("debug").await?;
    fs::create_dir(world.file("served"))?;
    let server = Server::start(&world.file("served"))?;
    let mut board = world.board(BOARD)?;
    board.updates_from(server.port);
    let in_bay = world.stick("BAY-DISK", "BAY", 16, &[])?;
    board.has_in_bay(&in_bay);
    board.start(&world.disk, &[])?;
    board.says(&[HEALTHY]).await?;
    let mut problems = look_around(&board).await?;

    // A disk that is plugged in and has not the partition type of a volume starts nothing.
    let bay = world.stick("holdfast.data1", "DATA", 16, &[])?;
    board.plug("bay", &bay, "usb-storage")?;
    until_within(START, "a plugged disk to be there", async || {
        let said = board.shell("udevadm settle; ls /dev/disk/by-partlabel").await?;
        ensure!(said.contains("holdfast.data1"), "{said}");
        Ok(Some(()))
    })
    .await?;
    let journal = "journalctl -b -u holdfast-volume@holdfast.data1.service --no-pager -o cat";
    let said = board.shell(journal).await?;
    if said.contains("Starting") {
        problems.push(format!("a partition of another type was taken for a volume: {said}"));
    }
    board.unplug("bay")?;
    let stick = world.stick("HOLDFAST-UPDATE", "HF-UPDATE", 16, &[])?;
    board.plug("update", &stick, "usb-storage")?;
    board.says(&["no update: 0.1.0 is the newest"]).await?;
    board.unplug("update")?;
    ensure!(problems.is_empty(), "{}", problems.join("\n"));

    // A newer version that the server has, and somebody has tampered with: what is signed is another list of files.
    let forged = world.file("forged");
    fs::create_dir(&forged)?;
    for entry in fs::read_dir(images()?.join("two"))? {
        let path = entry?.path();
        std::os::unix::fs::symlink(&path, forged.join(path.file_name().context("a name")?))?;
    }
    let sums = forged.join("SHA256SUMS");
    let said = fs::read_to_string(&sums)?.replace("holdfast_0.2.0.efi", "holdfast_0.2.1.efi");
    fs::remove_file(&sums)?;
    fs::write(&sums, said)?;
    server.has(&forged)?;
    board.listen_anew()?;
    let update = "systemctl start --no-block holdfast-update.service";
    board.shell(update).await?;
    board.says(&["no update: 0.1.0 is the newest"]).await?;

    // The real one.
    server.has(&images()?.join("two"))?;
    board.shell(update).await?;
    board.says(&["updating from 0.1.0 to 0.2.0"]).await?;
    board.says(&["version 0.2.0 works, and stays"]).await?;
    board.says(&["version 0.2.0 is healthy"]).await?;
    board.off().await
}

//! A node without root's powers, whose user may give the kernel few keys.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use holdfast_tests::mount::Disk;
use holdfast_tests::tools::{bin_dir, output, sha256};
use holdfast_tests::{Node, media, until};
use reqwest::Method;

use super::settings;

/// A user that nobody is.
const USER: u32 = 54_321;
/// More than half of what the kernel takes of a user, unless it was told otherwise.
const RECORDINGS: u64 = 110;

/// Gives the kernel keys until it takes no more, says so, and keeps them while it lives.
const FILL: &str = "
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
at = 0
while libc.syscall(248, b'user', b'full%d' % at, b'x', 1, -2) >= 0:
    at += 1
print(at, flush=True)
sys.stdin.read()
";

/// A node that runs as an ordinary user: its programs, folders and volume are this user's.
async fn unprivileged(disk: &Disk) -> Result<Node> {
    ensure!(nix::unistd::getuid().is_root(), "this test becomes another user: run it as root");
    let mut node = Node::lay_out(settings(disk))?;
    for name in ["holdfast", "holdfast-transcode"] {
        fs::copy(bin_dir().join(name), node.dir().join(name))?;
    }
    let script = node.dir().join("as-user");
    let (me, own) = (USER, node.dir().join("holdfast"));
    fs::write(
        &script,
        format!(
            "#!/bin/sh\nexec setpriv --reuid={me} --regid={me} --clear-groups --no-new-privs \
             {} \"$@\"\n",
            own.display()
        ),
    )?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let transcoder = node.dir().join("holdfast-transcode");
    node.set("transcode.program", transcoder.to_str().context("a path that is text")?)?;
    node.run_by(&script);
    let owner = format!("{USER}:{USER}");
    output(Command::new("chown").arg("-R").arg(&owner).arg(node.dir()).arg(disk.path()))?;
    node.launch().await?;
    Ok(node)
}

/// Another program of the same user, which has used its quota up.
fn fill() -> Result<Child> {
    let mut python = Command::new("setpriv");
    python.args([format!("--reuid={USER}"), "--clear-groups".into()]);
    python.args(["/usr/bin/python3", "-c", FILL]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn()?;
    let mut said = [0; 1];
    child.stdout.as_mut().context("no output")?.read_exact(&mut said)?;
    Ok(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn more_recordings_than_keys_are_read_and_a_full_quota_is_told_of() -> Result<()> {
    let disk = Disk::encrypting(64 << 20)?;
    let node = unprivileged(&disk).await?;

    // Nothing of its own can make room: it says what is to be done.
    let mut filler = fill()?;
    let bytes = media::webm_noise(0, 10_000);
    let request = node.request(Method::PUT, &Node::upload_path("raw"))?.body(bytes.clone());
    let refused = request.send().await?.status();
    ensure!(refused.is_server_error(), "{refused}");
    ensure!(node.log().contains("raise kernel.keys.maxkeys"), "{}", node.log());
    filler.kill()?;
    filler.wait()?;
    // The kernel clears away after those who are gone in its own time.
    let first = until("the kernel to take keys again", async || {
        Ok(node.upload("raw", bytes.clone()).await.ok())
    })
    .await?;
    let mut sums = vec![(first.id, sha256(&bytes))];
    for seed in 1..RECORDINGS {
        let bytes = media::webm_noise(seed, 10_000);
        sums.push((node.upload("raw", bytes.clone()).await?.id, sha256(&bytes)));
    }
    for (id, _) in &sums {
        node.wait_for(id, "stored").await?;
    }
    for (id, sum) in sums.iter().chain(sums.iter().rev()) {
        ensure!(sha256(&node.get_file(id, "raw").await?) == *sum, "{id}");
    }
    let without =
        sums.iter().filter(|(id, _)| !disk.path().join("recordings").join(id).join("raw").exists());
    ensure!(without.count() > 0, "the kernel has all keys: nothing was taken from it");
    Ok(())
}

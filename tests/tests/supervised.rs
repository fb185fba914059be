//! A node under a supervisor: a socket handed over, keep-alives that stop when the ledger hangs,
//! `holdfast health`, and the units that ask for all of this, judged by systemd's own tools.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::fd::IntoRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{bin_dir, output, repo};
use holdfast_tests::{Node, Settings, until};
use nix::sys::ptrace;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

const UNITS: [&str; 6] = [
    "holdfast.service",
    "holdfast.socket",
    "holdfast-http3.socket",
    "holdfast-clock.service",
    "holdfast-health.service",
    "holdfast-selftest.service",
];
/// Highest exposure that `systemd-analyze security` may find in each service, of 100.
const EXPOSURE_MAX: [(&str, &str); 4] = [
    ("holdfast.service", "12"),
    ("holdfast-clock.service", "5"),
    ("holdfast-health.service", "3"),
    ("holdfast-selftest.service", "3"),
];
/// Settings that Debian 13's systemd knows and Debian 12's does not.
const NEWER: [&str; 5] = [
    "ImportCredential",
    "RestartSteps",
    "RestartMaxDelaySec",
    "PollLimitIntervalSec",
    "PollLimitBurst",
];

/// A program that starts the node with a socket as its descriptor 3, as systemd does.
fn starter(folder: &Path, socket: Option<&TcpListener>) -> Result<PathBuf> {
    let path = folder.join("start");
    let mut script = String::from("#!/bin/bash\n");
    if let Some(socket) = socket {
        // Without O_CLOEXEC, so that the program has it.
        let number = nix::unistd::dup(socket)?.into_raw_fd();
        script += &format!("[ \"$1\" = run ] && exec 3<&{number} && ");
        script += "export LISTEN_PID=$$ LISTEN_FDS=1\n";
    }
    script += &format!("exec {} \"$@\"\n", bin_dir().join("holdfast").display());
    fs::write(&path, script)?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_answers_at_the_socket_that_it_was_handed() -> Result<()> {
    let mut node = Node::lay_out(Settings::new())?;
    // Held by this test throughout, so that the node could not open the port itself.
    let socket = TcpListener::bind(("127.0.0.1", node.port()))?;
    node.run_by(&starter(node.dir(), None)?);
    // Nobody would answer at it, so that only the end is waited for.
    node.spawn()?;
    until("the node to end", async || Ok((!node.is_alive()).then_some(()))).await?;
    node.kill()?;
    ensure!(node.log().contains("cannot listen at 127.0.0.1"), "{}", node.log());
    node.run_by(&starter(node.dir(), Some(&socket))?);
    node.launch().await?;
    ensure!(node.stop().await?.success());
    // Handed over again after a restart.
    node.launch().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_the_configuration_does_not_name_is_an_error_that_names_both() -> Result<()> {
    let mut node = Node::lay_out(Settings::new())?;
    let socket = TcpListener::bind(("127.0.0.1", 0))?;
    node.run_by(&starter(node.dir(), Some(&socket))?);
    ensure!(node.launch().await.is_err());
    let log = node.log();
    ensure!(
        log.contains(&socket.local_addr()?.to_string()) && log.contains("ListenStream="),
        "{log}"
    );
    Ok(())
}

fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8(output(command)?)?)
}

/// What a supervisor is told.
struct Supervisor(UnixDatagram);

impl Supervisor {
    fn new(folder: &Path) -> Result<(Self, String)> {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        Ok((Self(socket), path.display().to_string()))
    }

    /// What has come since.
    fn told(&self) -> String {
        let mut all = String::new();
        let mut buffer = [0; 512];
        while let Ok(length) = self.0.recv(&mut buffer) {
            all += &String::from_utf8_lossy(&buffer[..length]);
            all.push('\n');
        }
        all
    }

    async fn until_told(&self, what: &str) -> Result<()> {
        until(what, async || Ok(self.told().lines().any(|line| line == what).then_some(()))).await
    }
}

/// The thread of the node with this name.
fn thread(node: &Node, name: &str) -> Result<Pid> {
    for task in fs::read_dir(format!("/proc/{}/task", node.pid()?))? {
        let task = task?;
        if fs::read_to_string(task.path().join("comm"))?.trim() == name {
            return Ok(Pid::from_raw(task.file_name().to_string_lossy().parse()?));
        }
    }
    anyhow::bail!("no thread is called {name}")
}

#[tokio::test]
async fn keep_alives_end_while_the_ledger_hangs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (supervisor, path) = Supervisor::new(folder.path())?;
    let settings =
        Settings::new().variable("NOTIFY_SOCKET", &path).variable("WATCHDOG_USEC", "400000");
    let mut node = Node::lay_out(settings)?;
    node.spawn()?;
    supervisor.until_told("READY=1").await?;
    supervisor.until_told("WATCHDOG=1").await?;
    supervisor.until_told("WATCHDOG=1").await?;
    // Only the writer stands still; the runtime goes on, and health is still answered.
    let writer = thread(&node, "ledger")?;
    ptrace::attach(writer)?;
    waitpid(writer, Some(nix::sys::wait::WaitPidFlag::__WALL))?;
    node.for_a_while(300).await;
    supervisor.told();
    node.for_a_while(2_000).await;
    let told = supervisor.told();
    ptrace::detach(writer, None)?;
    ensure!(!told.contains("WATCHDOG=1"), "alive without a ledger: {told}");
    supervisor.until_told("WATCHDOG=1").await?;
    ensure!(node.stop().await?.success());
    ensure!(supervisor.told().contains("STOPPING=1"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn health_waits_for_the_node_and_for_a_film() -> Result<()> {
    let mut node = Node::lay_out(Settings::new())?;
    let done = node.command(&["health"]).output()?;
    ensure!(done.status.code() == Some(1), "{done:?}");
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(said.contains("not healthy: no node is running"), "{said}");
    let done = node.command(&["health", "--wait", "1"]).output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.code() == Some(1) && said.contains("not healthy within 1 s"), "{said}");
    node.launch().await?;
    let said = output(&mut node.command(&["health", "--wait", "100"]))?;
    ensure!(said == b"healthy\n", "{said:?}");
    let hardware = text(&mut node.command(&["hardware", "--json"]))?;
    ensure!(hardware.contains("\"proven\""), "{hardware}");
    // Without its vault it is none.
    fs::set_permissions(node.vault().join("recordings"), Permissions::from_mode(0o755))?;
    fs::rename(node.vault().join("recordings"), node.vault().join("elsewhere"))?;
    let done = node.command(&["health"]).output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.code() == Some(1) && said.contains("vault"), "{said}");
    fs::rename(node.vault().join("elsewhere"), node.vault().join("recordings"))?;
    Ok(())
}

/// The units in a folder, with the program where it was built.
fn installed(folder: &Path) -> Result<()> {
    let program = bin_dir().join("holdfast").display().to_string();
    for name in UNITS {
        let path = repo().join("node/service/systemd").join(name);
        let unit = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        fs::write(folder.join(name), unit.replace("/usr/bin/holdfast ", &format!("{program} ")))?;
    }
    Ok(())
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() -> Result<()> {
    let folder = tempfile::tempdir()?;
    installed(folder.path())?;
    for name in UNITS {
        let mut verify = Command::new("systemd-analyze");
        verify.args(["verify", "--man=no"]).arg(folder.path().join(name));
        let done = verify.output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        let is_newer =
            |line: &str| NEWER.iter().any(|key| line.contains(&format!("Unknown key '{key}'")));
        let wrong: Vec<&str> = said.lines().filter(|line| !is_newer(line)).collect();
        ensure!(done.status.success() && wrong.is_empty(), "{name}: {wrong:?}");
    }
    for (name, exposure_max) in EXPOSURE_MAX {
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", "--no-pager", "--threshold", exposure_max]);
        output(security.arg(folder.path().join(name)))?;
    }
    Ok(())
}

#[test]
fn the_node_has_no_capability_and_what_it_does_not_confine_has_a_reason() -> Result<()> {
    let unit = fs::read_to_string(repo().join("node/service/systemd/holdfast.service"))?;
    let has = |line: &str| unit.lines().any(|it| it == line);
    for line in [
        "User=holdfast",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "Type=notify",
        "MountFlags=slave",
    ] {
        ensure!(has(line), "{line}");
    }
    // Each of these breaks something that no test here would notice.
    for (line, breaks) in [
        ("PrivateUsers=yes", "the group of the transcoder's socket"),
        ("ProcSubset=pid", "evidence, which reads /proc/swaps"),
    ] {
        ensure!(!has(line), "{line} breaks {breaks}");
        let key = line.split('=').next().unwrap_or_default();
        ensure!(unit.contains(&format!("Not {key}=")), "{key} without a reason");
    }
    // What takes a call away leaves somebody else to make it.
    ensure!(has("ProtectClock=yes") && unit.contains("holdfast-clock.service"), "{unit}");
    let clock = fs::read_to_string(repo().join("node/service/systemd/holdfast-clock.service"))?;
    ensure!(clock.contains("ExecStart=/usr/bin/holdfast clock witness\n"), "{clock}");
    Ok(())
}

#[test]
fn the_self_test_holds_up_no_boot_and_is_confined_like_health() -> Result<()> {
    let read = |name: &str| fs::read_to_string(repo().join("node/service/systemd").join(name));
    let (health, selftest) = (read("holdfast-health.service")?, read("holdfast-selftest.service")?);
    // Nothing is ordered after it or needs it, and it has started once its program runs.
    for key in ["Before=", "RequiredBy=", "RequisiteOf=", "OnFailure=", "FailureAction="] {
        ensure!(!selftest.lines().any(|line| line.starts_with(key)), "{key}");
    }
    for line in ["Type=exec", "RemainAfterExit=yes", "WantedBy=multi-user.target"] {
        ensure!(selftest.lines().any(|it| it == line), "{line}");
    }
    let confined = health.split_once("NoNewPrivileges=").context("confinement")?.1;
    let confined = confined.split_once("\n\n").context("its end")?.0;
    ensure!(selftest.contains(confined), "holdfast-health.service is confined otherwise");
    Ok(())
}

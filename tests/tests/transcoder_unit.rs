//! The transcoder as an appliance runs it: another user's process for each connection to a socket,
//! started by systemd. Here a few lines stand in for systemd: they accept and start the real
//! program with the connection as its standard input, as `Accept=yes` with `StandardInput=socket`
//! does. The units are judged by systemd's own tools.

use std::fs::{self, Permissions};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_tests::tools::{bin_dir, output, repo};
use holdfast_tests::{Node, Settings, media, until};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket,
};
use nix::unistd::geteuid;
use reqwest::Method;
use tempfile::TempDir;

const UNITS: [&str; 3] = [
    "holdfast-transcode@.service",
    "holdfast-transcode-registry.service",
    "holdfast-transcode.socket",
];
/// Highest exposure that `systemd-analyze security` may find, of 100.
const EXPOSURE_MAX: &str = "5";
/// The transcoder's user and the group of the folders, where this test may choose them.
const USER: u32 = 61_001;
const GROUP: u32 = 61_002;

fn unit(name: &str) -> Result<String> {
    let path = repo().join("node/transcode/systemd").join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// What systemd does with the socket and the service.
struct Units {
    dir: TempDir,
    socket: OwnedFd,
    children: Mutex<Vec<Child>>,
}

impl Units {
    /// Listens.
    fn new() -> Result<Arc<Self>> {
        let dir = tempfile::Builder::new().permissions(Permissions::from_mode(0o755)).tempdir()?;
        // Where the other user can start it, and its list of plugins.
        fs::copy(bin_dir().join("holdfast-transcode"), dir.path().join("holdfast-transcode"))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        let units = Self { dir, socket, children: Mutex::default() };
        output(units.program().arg("--warm").env_remove("GST_REGISTRY_UPDATE"))?;
        fs::set_permissions(units.registry(), Permissions::from_mode(0o644))?;
        bind(units.socket.as_raw_fd(), &UnixAddr::new(&units.path())?)?;
        if geteuid().is_root() {
            chown(units.path(), None, Some(GROUP))?;
        }
        listen(&units.socket, Backlog::new(8)?)?;
        let units = Arc::new(units);
        let weak = Arc::downgrade(&units);
        std::thread::spawn(move || {
            while let Some(units) = weak.upgrade() {
                units.accept().expect("a connection");
                drop(units);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Ok(units)
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("transcode.socket")
    }

    fn registry(&self) -> PathBuf {
        self.dir.path().join("registry.bin")
    }

    fn program(&self) -> Command {
        let mut command = Command::new(self.dir.path().join("holdfast-transcode"));
        command
            .env_clear()
            .env("GST_REGISTRY", self.registry())
            .env("GST_REGISTRY_UPDATE", "no")
            .env("GST_REGISTRY_FORK", "no");
        command
    }

    fn accept(&self) -> Result<()> {
        let connection = match accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
            Err(Errno::EAGAIN) => return Ok(()),
            connection => connection?,
        };
        #[expect(unsafe_code, reason = "nix gives it as a number")]
        // SAFETY: the kernel has just made it, and nothing else knows of it.
        let connection = unsafe { OwnedFd::from_raw_fd(connection) };
        let mut command = self.program();
        if geteuid().is_root() {
            use std::os::unix::process::CommandExt as _;
            // Groups: none but the one of the folders, which setpriv keeps.
            let mut as_user = Command::new("setpriv");
            as_user.args([&format!("--reuid={USER}"), &format!("--regid={USER}")]).args([
                &format!("--groups={GROUP}"),
                "--",
                "env",
                "-i",
            ]);
            for (name, value) in command.get_envs() {
                let value = value.context("a variable")?;
                as_user.arg(format!("{}={}", name.display(), value.display()));
            }
            as_user.arg(command.get_program()).process_group(0);
            command = as_user;
        }
        let child = command.current_dir("/").stdin(connection).stdout(Stdio::null()).spawn()?;
        self.children.lock().expect("children").push(child);
        Ok(())
    }

    /// Waits until the node has asked what there is to encode with, one process for each question. Those of jobs come after.
    async fn proven(&self, node: &Node) -> Result<()> {
        until("the proofs", async || {
            let hardware = node.get("/hardware").await?;
            ensure!(hardware["problem"].is_null(), "{hardware}");
            Ok((hardware["proving"] == false).then_some(()))
        })
        .await?;
        let mut children = self.children.lock().expect("children");
        ensure!(
            children.len() >= 2,
            "{} processes for what there is and its proofs",
            children.len()
        );
        for mut child in children.drain(..) {
            child.wait()?;
        }
        Ok(())
    }

    /// How the first child ended, if one has.
    fn ended(&self) -> Result<Option<std::process::ExitStatus>> {
        let mut children = self.children.lock().expect("children");
        Ok(children.first_mut().map(Child::try_wait).transpose()?.flatten())
    }

    fn settings(&self) -> Settings {
        Settings::new().set("transcode.socket", self.path().to_string_lossy().into_owned())
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for child in self.children.get_mut().expect("children") {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_users_process_makes_a_film_for_the_node() -> Result<()> {
    let units = Units::new()?;
    let node = Node::start(units.settings()).await?;
    units.proven(&node).await?;
    let source = fs::read(media::file("vp8.webm")?)?;
    let uploaded = node.upload("demo", source).await?;
    node.wait_for(&uploaded.id, "stored").await?;
    let film = node.delivered("demo", &uploaded.id, ".mp4");
    ensure!(media::codecs(&film)? == ("h264".into(), "aac".into()));
    let ended = until("the process to end", async || units.ended()).await?;
    ensure!(ended.success(), "{ended}");
    let many = units.children.lock().expect("children").len();
    ensure!(many == 1, "{many} processes for one job");
    node.gone_from_vault(&uploaded.id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_test_goes_the_same_way() -> Result<()> {
    let units = Units::new()?;
    let node = Node::start(units.settings()).await?;
    units.proven(&node).await?;
    let film = ["selftest", "--only", "film"];
    let said = String::from_utf8(output(&mut node.command(&film))?)?;
    ensure!(said.contains("passed        film: "), "{said}");
    let many = units.children.lock().expect("children").len();
    ensure!(many == 1, "{many} processes for one film");
    ensure!(!node.vault().join("selftest").exists());
    // Nobody starts a process for a connection any more.
    fs::remove_file(units.path())?;
    let done = node.command(&film).output()?;
    let said = String::from_utf8_lossy(&done.stdout);
    ensure!(done.status.code() == Some(1) && said.contains("Cannot have a transcoder"), "{said}");
    ensure!(said.contains("holdfast-transcode.socket") && !node.vault().join("selftest").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_given_up_ends_the_process_that_nobody_can_kill() -> Result<()> {
    let units = Units::new()?;
    let node = Node::start(units.settings()).await?;
    units.proven(&node).await?;
    let uploaded = node.upload("demo", fs::read(media::file("av1.webm")?)?).await?;
    let folder = until("files of the job", async || {
        let files = node.in_vault(&uploaded.id)?;
        Ok(files.into_iter().find(|path| path.ends_with("work/main.mp4")))
    })
    .await?;
    let (made, work) = (fs::metadata(&folder)?, fs::metadata(folder.parent().context("work")?)?);
    if geteuid().is_root() {
        ensure!((made.uid(), made.gid()) == (USER, USER), "made by {}", made.uid());
    }
    // What the middle three say is the most that an access list may allow.
    ensure!(made.mode() & 0o777 == 0o640, "{:o}", made.mode());
    ensure!(work.mode() & 0o7777 == 0o770, "{:o}", work.mode());
    let path = format!("/recordings/{}", uploaded.id);
    node.api(Method::DELETE, &path)?.send().await?.error_for_status()?;
    let ended = until("the process to end by itself", async || units.ended()).await?;
    ensure!(!ended.success(), "{ended}");
    node.gone_from_vault(&uploaded.id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_costs_an_attempt_and_says_where_to_look() -> Result<()> {
    let units = Units::new()?;
    let node = Node::start(units.settings()).await?;
    units.proven(&node).await?;
    let uploaded = node.upload("demo", fs::read(media::file("av1.webm")?)?).await?;
    until("a job", async || {
        let mut children = units.children.lock().expect("children");
        let Some(child) = children.first_mut() else { return Ok(None) };
        child.kill()?;
        Ok(Some(()))
    })
    .await?;
    let said = until("the attempt to fail", async || {
        let error = node.recording(&uploaded.id).await?["transcode"]["error"].take();
        Ok((!error.is_null()).then(|| error.to_string()))
    })
    .await?;
    ensure!(said.contains("holdfast-transcode@"), "{said}");
    Ok(())
}

/// The units in a folder, with the program where it was built.
fn installed(folder: &Path) -> Result<()> {
    let program = bin_dir().join("holdfast-transcode").display().to_string();
    for name in UNITS {
        fs::write(folder.join(name), unit(name)?.replace("/usr/bin/holdfast-transcode", &program))?;
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
        ensure!(done.status.success() && said.trim().is_empty(), "{name}: {said}");
    }
    for name in &UNITS[..2] {
        let mut security = Command::new("systemd-analyze");
        security.args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX]);
        output(security.arg(folder.path().join(name)))?;
    }
    Ok(())
}

#[test]
fn both_services_are_confined_alike_and_leave_the_program_what_confines_it() -> Result<()> {
    let (job, registry) = (unit(UNITS[0])?, unit(UNITS[1])?);
    for line in [
        "PrivateNetwork=yes",
        "CapabilityBoundingSet=",
        "ProtectSystem=strict",
        "User=holdfast-transcode",
        "DevicePolicy=closed",
        "SystemCallFilter=seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    ] {
        for text in [&job, &registry] {
            ensure!(text.lines().any(|it| it == line), "{line}: {text}");
        }
    }
    let socket = unit(UNITS[2])?;
    for line in
        ["Accept=yes", "SocketMode=0600", "SocketUser=holdfast", "SocketGroup=holdfast-transcode"]
    {
        ensure!(socket.lines().any(|it| it == line), "{line}: {socket}");
    }
    // What encodes in hardware is its own group's, and no other group's.
    ensure!(!job.contains("SupplementaryGroups="), "{job}");
    let rules = fs::read_to_string(repo().join("udev/91-holdfast-transcode.rules"))?;
    ensure!(rules.matches("GROUP=\"holdfast-transcode\"").count() == 3, "{rules}");
    Ok(())
}

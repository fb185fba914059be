//! A share that this machine mounts from a server of its own, by sshfs: one that can hang.
//!
//! A shell holds what runs: when the test process ends, however it ends, the shell's input closes, and
//! it unmounts the share, which lets go whoever hangs in it, and ends the rest by their ids.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::deliver_common::line::{Line, Then};

pub(crate) struct Share {
    _shell: Child,
    _stdin: ChildStdin,
    dir: TempDir,
    daemon: Pid,
    /// Counts what goes to the server.
    pub(crate) line: Line,
}

impl Share {
    /// Mounts one. Needs root, as all mounts do.
    pub(crate) async fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["mount", "files", "files/below"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let line = Line::to(serve().await, u64::MAX, Then::Good).await;
        let shell = r#"sshfs -f -o directport="$1",dir_cache=no 127.0.0.1:"$2/files" "$2/mount" &
            pid=$!; echo $pid >"$2/pid"; read _; kill -9 $pid; wait $pid 2>/dev/null
            umount -l "$2/mount" 2>/dev/null; rm -rf "$2""#;
        let port = line.address.port().to_string();
        let mut child = Command::new("sh")
            .args(["-c", shell, "sh", &port])
            .arg(dir.path())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let mut share = Self { _shell: child, _stdin: stdin, dir, daemon: Pid::this(), line };
        let underneath = share.dir.path().metadata().unwrap().dev();
        for _ in 0..600 {
            let mounted = std::fs::metadata(share.mount_point());
            if mounted.is_ok_and(|mounted| mounted.dev() != underneath) {
                let pid = std::fs::read_to_string(share.dir.path().join("pid")).unwrap();
                share.daemon = Pid::from_raw(pid.trim().parse().unwrap());
                return share;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nothing was mounted: this test needs root, and sshfs (scripts/test installs it)");
    }

    /// Where it is mounted.
    pub(crate) fn mount_point(&self) -> PathBuf {
        self.dir.path().join("mount")
    }

    /// A folder of it, as this machine sees it.
    pub(crate) fn path(&self) -> PathBuf {
        self.mount_point().join("below")
    }

    /// The same folder at the server, which never hangs.
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.path().join("files/below")
    }

    /// From now on every call to it hangs.
    pub(crate) fn hang(&self) {
        kill(self.daemon, Signal::SIGSTOP).unwrap();
    }

    /// It goes on as if nothing had been.
    pub(crate) fn go_on(&self) {
        kill(self.daemon, Signal::SIGCONT).unwrap();
    }

    /// It is unmounted; what was underneath shows.
    pub(crate) fn vanish(&self) {
        let done = Command::new("umount").arg("-l").arg(self.mount_point()).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Whoever hangs in it is let go, and with it whoever waits for them.
        if self.daemon != Pid::this() {
            let _ = kill(self.daemon, Signal::SIGKILL);
        }
        drop(Command::new("umount").arg("-l").arg(self.mount_point()).output());
    }
}

/// SFTP without SSH around it; answers the port.
async fn serve() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = stream.into_std().unwrap();
            stream.set_nonblocking(false).unwrap();
            let server = Command::new("/usr/lib/openssh/sftp-server")
                .stdin(OwnedFd::from(stream.try_clone().unwrap()))
                .stdout(OwnedFd::from(stream))
                .spawn()
                .unwrap();
            // It ends with its connection.
            std::thread::spawn(move || drop({ server }.wait()));
        }
    });
    port
}

/// Everything below a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = self::names(&entry.path());
            names.extend(below.into_iter().map(|below| format!("{name}/{below}")));
        } else {
            names.push(name);
        }
    }
    names.sort();
    names
}

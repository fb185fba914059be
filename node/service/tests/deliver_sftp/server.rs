//! A real OpenSSH server, one for each test, and asyncssh where a password is to be asked for.
//!
//! A shell holds it: when the test process ends, however it ends, the shell's input closes, and it
//! ends the server by its id and removes the server's folder.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use holdfast::config::{Existing, SftpDestination, Verify};
use holdfast::deliver::sftp::{Limits, Sftp};

use crate::deliver_common::free_port;

/// Password and passphrase; never to be said aloud.
pub(crate) const SECRET: &str = "a Secret that must never be said 01";

pub(crate) struct Server {
    _shell: Child,
    _stdin: ChildStdin,
    pub(crate) dir: PathBuf,
    pub(crate) port: u16,
    pub(crate) user: String,
}

impl Server {
    /// OpenSSH, with these lines at the end of its configuration. `DIR` in them is its folder.
    pub(crate) async fn start(more: &str) -> Self {
        let dir = folder();
        for kind in ["ed25519", "ecdsa", "rsa"] {
            keygen(&dir.join(format!("host-{kind}")), kind, "");
        }
        keygen(&dir.join("id"), "ed25519", "");
        std::fs::copy(dir.join("id.pub"), dir.join("authorized")).unwrap();
        let port = free_port();
        let at = dir.display();
        let more = more.replace("DIR", &dir.display().to_string());
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey {at}/host-ed25519\nHostKey {at}/host-ecdsa\n\
             HostKey {at}/host-rsa\nAuthorizedKeysFile {at}/authorized\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin yes\nPasswordAuthentication no\nMaxStartups 100\n\
             Subsystem sftp internal-sftp\n{more}\n"
        );
        std::fs::write(dir.join("sshd.conf"), config).unwrap();
        // Where it wants to separate its privileges.
        drop(std::fs::create_dir("/run/sshd"));
        let config = dir.join("sshd.conf").display().to_string();
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
        Self::run(dir, port, user, &["/usr/sbin/sshd", "-D", "-e", "-f", &config]).await
    }

    /// asyncssh, which asks for the password in this way: see `password_server.py`.
    pub(crate) async fn with_password(ways: &[&str]) -> Self {
        let dir = folder();
        keygen(&dir.join("host-ed25519"), "ed25519", "");
        keygen(&dir.join("id"), "ed25519", "");
        let port = free_port();
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let tools = std::env::var_os("HOLDFAST_TOOLS").map(PathBuf::from);
        let python =
            tools.unwrap_or_else(|| workspace.join("target/tools")).join("venv/bin/python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/deliver_sftp/password_server.py")
            .display()
            .to_string();
        let (python, at) = (python.display().to_string(), dir.display().to_string());
        let port_word = port.to_string();
        let mut command = vec![python.as_str(), &script, &at, &port_word, SECRET];
        command.extend(ways);
        Self::run(dir.clone(), port, "recorder".into(), &command).await
    }

    async fn run(dir: PathBuf, port: u16, user: String, command: &[&str]) -> Self {
        let shell = r#"dir=$1; shift; cd "$dir"; "$@" >"$dir/log" 2>&1 & pid=$!
            read _; kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null; cd /; chmod -R u+w "$dir"; rm -rf "$dir""#;
        let mut child = Command::new("sh")
            .args(["-c", shell, "sh", &dir.display().to_string()])
            .args(command)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let server = Self { _shell: child, _stdin: stdin, dir, port, user };
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server did not come up (scripts/test installs it); its log:\n{}", server.log());
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Where files go.
    pub(crate) fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    pub(crate) fn content(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.files().join(name)).ok()
    }

    /// Names of everything in a folder below, sorted.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.files().join(folder)) else { return Vec::new() };
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> = entries.map(|entry| name(entry).into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Settings with the key that is let in.
    pub(crate) fn settings(&self) -> SftpDestination {
        SftpDestination {
            name: "films".into(),
            limits: holdfast::config::Limits::default(),
            host: "127.0.0.1".into(),
            port: self.port,
            user: self.user.clone(),
            path: self.files().display().to_string(),
            host_key: None,
            password_file: None,
            password: None,
            private_key_file: Some(self.dir.join("id")),
            private_key: None,
            passphrase_file: None,
            passphrase: None,
            existing: Existing::default(),
            verify: Verify::default(),
            file_mode: None,
            folder_mode: None,
        }
    }

    /// Settings with the password alone.
    pub(crate) fn password_settings(&self) -> SftpDestination {
        let password_file = Some(self.secret("password", SECRET));
        SftpDestination { private_key_file: None, password_file, ..self.settings() }
    }

    /// Puts a secret into a file.
    pub(crate) fn secret(&self, name: &str, secret: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        path
    }

    /// Where the node would keep what it remembers.
    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub(crate) fn sftp(&self, settings: &SftpDestination) -> Sftp {
        Sftp::new(settings, &self.state()).unwrap()
    }

    pub(crate) fn with_limits(&self, settings: &SftpDestination, limits: Limits) -> Sftp {
        Sftp::with_limits(settings, &self.state(), limits).unwrap()
    }

    /// The fingerprint of one of its keys, as ssh-keygen prints it.
    pub(crate) fn fingerprint(&self, kind: &str) -> String {
        let path = self.dir.join(format!("host-{kind}.pub"));
        let output = Command::new("ssh-keygen").arg("-lf").arg(path).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        said.split(' ').nth(1).unwrap().to_owned()
    }
}

fn folder() -> PathBuf {
    let dir = tempfile::Builder::new().prefix("holdfast-sftp-").tempdir().unwrap().keep();
    // Other users of the server's must get in.
    open_to_all(&dir);
    std::fs::create_dir(dir.join("files")).unwrap();
    std::fs::create_dir(dir.join("state")).unwrap();
    dir
}

pub(crate) fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Makes a pair of keys, in place of one that is there.
pub(crate) fn keygen(path: &Path, kind: &str, passphrase: &str) {
    for path in [path.to_path_buf(), path.with_extension("pub")] {
        if path.exists() {
            Command::new("rm").arg(path).status().unwrap();
        }
    }
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-N", passphrase, "-f"])
        .arg(path)
        .output()
        .expect("ssh-keygen is missing: run scripts/test, which installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

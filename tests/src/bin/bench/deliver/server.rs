//! The storage servers that both sides send to: SeaweedFS for S3 over TLS, OpenSSH, and vsftpd, which
//! wants TLS on the data connection too, with the control connection's session.
//!
//! What they store lies in memory (`/dev/shm`), so that it is the senders that are measured and not
//! the disk.

use std::fs::{self, File, Permissions};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use holdfast_tests::node::free_port;
use holdfast_tests::tools::output;
use holdfast_tests::until;
use holdfast_tests::weed::{self, Weed};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, User, getuid};
use tempfile::TempDir;
use toml::Table;

const PASSWORD: &str = "a-password-of-this-measurement";
/// vsftpd's passive ports; they follow its own.
const PASSIVE_PORTS: u16 = 64;
/// User and group `daemon`, on every Debian.
const DAEMON: u32 = 1;

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    S3,
    Sftp,
    Ftps,
}

/// A server that runs. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    protocol: Protocol,
    dir: TempDir,
    port: u16,
    weed: Option<Weed>,
    /// Leads a group of its own, with all that serve its clients.
    child: Option<Child>,
}

impl Server {
    pub(crate) async fn start(protocol: Protocol) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("holdfast-bench-").tempdir_in("/dev/shm")?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        let mut server = Self { protocol, dir, port: free_port()?, weed: None, child: None };
        match protocol {
            Protocol::S3 => {
                let mut weed = Weed::lay_out_in(server.dir.path())?;
                weed.launch().await?;
                server.port = weed.port();
                server.weed = Some(weed);
            }
            Protocol::Sftp => {
                let words = server.openssh()?;
                server.run(&words)?;
            }
            Protocol::Ftps => {
                let words = server.vsftpd()?;
                server.run(&words)?;
            }
        }
        until("the server to listen", async || {
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).ok())
        })
        .await
        .with_context(|| fs::read_to_string(server.dir.path().join("log")).unwrap_or_default())?;
        Ok(server)
    }

    fn run(&mut self, words: &[String]) -> Result<()> {
        use std::os::unix::process::CommandExt;
        let log = File::create(self.dir.path().join("log"))?;
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| words[0].clone())?;
        self.child = Some(child);
        Ok(())
    }

    fn openssh(&self) -> Result<Vec<String>> {
        for name in ["host", "id"] {
            let path = self.file(name);
            output(Command::new("ssh-keygen").args(["-qt", "ed25519", "-N", "", "-f"]).arg(path))?;
        }
        let at = self.dir.path().display();
        let config = format!(
            "ListenAddress 127.0.0.1\nPort {}\nHostKey {at}/host\nAuthorizedKeysFile {at}/id.pub\n\
             StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\nMaxStartups 200\n\
             PasswordAuthentication no\nSubsystem sftp internal-sftp\n",
            self.port
        );
        fs::write(self.file("sshd.conf"), config)?;
        // Where it wants to separate its privileges.
        if getuid().is_root() {
            fs::create_dir_all("/run/sshd")?;
        }
        fs::create_dir(self.files())?;
        let config = self.file("sshd.conf").display().to_string();
        Ok(["/usr/sbin/sshd", "-D", "-e", "-f", &config].map(String::from).into())
    }

    fn vsftpd(&self) -> Result<Vec<String>> {
        for folder in ["root", "root/files", "empty"] {
            fs::create_dir(self.file(folder))?;
        }
        chown(self.files(), Some(DAEMON), Some(DAEMON))?;
        weed::certificates(self.dir.path())?;
        fs::write(self.file("password"), PASSWORD)?;
        let (at, port) = (self.dir.path().display(), self.port);
        let config = format!(
            "listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\n\
             local_enable=NO\nanonymous_enable=YES\nwrite_enable=YES\nanon_upload_enable=YES\n\
             anon_mkdir_write_enable=YES\nanon_other_write_enable=YES\nanon_umask=022\n\
             anon_world_readable_only=NO\nftp_username=daemon\nnopriv_user=nobody\n\
             anon_root={at}/root\nsecure_email_list_enable=YES\nemail_password_file={at}/password\n\
             secure_chroot_dir={at}/empty\nseccomp_sandbox=NO\nmax_per_ip=0\nmax_clients=0\n\
             pasv_min_port={}\npasv_max_port={}\nssl_enable=YES\nallow_anon_ssl=YES\n\
             force_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\nrequire_ssl_reuse=YES\n\
             ssl_ciphers=HIGH\nrsa_cert_file={at}/server.pem\nrsa_private_key_file={at}/server.key\n",
            port + 1,
            port + PASSIVE_PORTS,
        );
        fs::write(self.file("vsftpd.conf"), config)?;
        Ok(vec!["/usr/sbin/vsftpd".into(), self.file("vsftpd.conf").display().to_string()])
    }

    /// The ports that clients connect to.
    pub(crate) fn ports(&self) -> std::ops::RangeInclusive<u16> {
        let more = if self.protocol == Protocol::Ftps { PASSIVE_PORTS } else { 0 };
        self.port..=self.port + more
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Id and secret of the key to an object store.
    pub(crate) fn key(&self) -> Option<[&'static str; 2]> {
        self.weed.as_ref().map(Weed::key)
    }

    /// The user that logs in by FTPS or SFTP.
    pub(crate) fn user(&self) -> Result<String> {
        if self.protocol == Protocol::Ftps {
            return Ok("anonymous".into());
        }
        Ok(User::from_uid(getuid())?.context("this user has no name")?.name)
    }

    pub(crate) fn password(&self) -> &'static str {
        PASSWORD
    }

    /// A file in the server's own folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.weed.as_ref().map_or_else(|| self.file("ca.pem"), Weed::authority)
    }

    /// Where FTPS and SFTP put what they are sent.
    fn files(&self) -> PathBuf {
        self.file(if self.protocol == Protocol::Ftps { "root/files" } else { "files" })
    }

    /// The folder to send to, as a client names it.
    pub(crate) fn folder(&self) -> String {
        match self.protocol {
            Protocol::S3 => weed::BUCKET.into(),
            Protocol::Sftp => self.files().display().to_string(),
            Protocol::Ftps => "/files".into(),
        }
    }

    /// How the node is told of it, reached at this address.
    pub(crate) fn destination(&self, name: &str, at: IpAddr) -> Result<Table> {
        let mut table = Table::new();
        let mut put = |key: &str, value: toml::Value| table.insert(key.into(), value);
        put("name", name.into());
        match self.protocol {
            Protocol::S3 => {
                let mut table = self.weed.as_ref().context("no object store")?.destination(name);
                table.insert("endpoint".into(), format!("https://{at}:{}", self.port).into());
                table.remove("part_bytes");
                // What it has a checksum for beside MD5, as most stores do that Holdfast knows by name.
                table.insert("checksum".into(), "crc32c".into());
                return Ok(table);
            }
            Protocol::Sftp => {
                put("kind", "sftp".into());
                put("path", self.folder().into());
                put("private_key_file", self.file("id").display().to_string().into());
            }
            Protocol::Ftps => {
                put("kind", "ftps".into());
                put("directory", self.folder().into());
                put("password_file", self.file("password").display().to_string().into());
                put("ca_file", self.authority().display().to_string().into());
            }
        }
        put("host", at.to_string().into());
        put("port", i64::from(self.port).into());
        put("user", self.user()?.into());
        Ok(table)
    }

    /// How many bytes of whole files it has, and how many files; then it has none any more.
    pub(crate) async fn take(&self) -> Result<(u64, usize)> {
        if let Some(weed) = &self.weed {
            return weed.take().await;
        }
        let files = holdfast_tests::tools::files_under(&self.files())?;
        let mut bytes = 0;
        for file in &files {
            bytes += fs::metadata(file)?.len();
            fs::remove_file(file)?;
        }
        Ok((bytes, files.len()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            if let Ok(group) = child.id().try_into() {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            let _ = child.wait();
        }
    }
}

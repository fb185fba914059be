//! Real FTP servers: vsftpd, which insists on the control connection's TLS session, and ProFTPD.
//!
//! A shell holds each: when the test process ends, however it ends, the shell's input closes, and it
//! ends the server and its sessions by their group and removes the server's folder. No user of the
//! machine is made: ProFTPD has users of its own, and to vsftpd one logs in as `anonymous` with one
//! of the passwords that it is told.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast::config::{Existing, FtpDestination};
use holdfast::deliver::ftp::{Ftp, Limits, Protection};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};

pub(crate) const PASSWORD: &str = "correct horse-battery+staple";
/// User and group `daemon`, on every Debian: vsftpd wants one whose home is there.
const DAEMON: u32 = 1;
/// Passive ports of each server; they follow its own.
const PASSIVE_PORTS: u16 = 8;

/// Which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Vsftpd,
    Proftpd,
}

pub(crate) const BOTH: [Kind; 2] = [Kind::Vsftpd, Kind::Proftpd];

/// How it is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) kind: Kind,
    /// `None`: plain FTP only.
    pub(crate) certificate: Option<&'static str>,
    pub(crate) host: &'static str,
    /// More lines of its configuration.
    pub(crate) more: &'static str,
    /// Versions of TLS that ProFTPD speaks.
    pub(crate) versions: &'static str,
}

impl Setup {
    pub(crate) fn of(kind: Kind) -> Self {
        let versions = "TLSv1.2 TLSv1.3";
        Self { kind, certificate: Some("server"), host: "127.0.0.1", more: "", versions }
    }

    pub(crate) fn plain(kind: Kind) -> Self {
        Self { certificate: None, ..Self::of(kind) }
    }
}

pub(crate) struct Server {
    _shell: (Child, ChildStdin),
    dir: PathBuf,
    setup: Setup,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) async fn of(kind: Kind) -> Self {
        Self::start(Setup::of(kind)).await
    }

    pub(crate) async fn start(setup: Setup) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        std::fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        for folder in ["root", "root/up", "empty"] {
            std::fs::create_dir(dir.join(folder)).unwrap();
        }
        chown(dir.join("root/up"), Some(DAEMON), Some(DAEMON)).unwrap();
        certificates(&dir);
        let port = free_ports(setup.host);
        let (program, arguments, library) = match setup.kind {
            Kind::Vsftpd => vsftpd(&dir, &setup, port),
            Kind::Proftpd => proftpd(&dir, &setup, port),
        };
        let shell = r#"dir=$1; shift; setsid "$@" >"$dir/log" 2>&1 & pid=$!
            read _; kill -9 -$pid; wait $pid 2>/dev/null
            umount "$dir"/root/up/small 2>/dev/null; rm -rf "$dir""#;
        let mut child = Command::new("sh")
            .args(["-c", shell, "sh"])
            .arg(&dir)
            .arg(program)
            .args(arguments)
            .env("LD_LIBRARY_PATH", library)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let server = Self { _shell: (child, stdin), dir, setup, port };
        for _ in 0..600 {
            if TcpStream::connect((server.setup.host, port)).is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{:?} did not come up: {}", server.setup, server.log());
    }

    fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        ["log", "system.log", "tls.log", "vsftpd.log"].map(read).join("\n")
    }

    pub(crate) fn protection(&self) -> Protection {
        if self.setup.certificate.is_some() { Protection::Tls } else { Protection::None }
    }

    pub(crate) fn settings(&self) -> FtpDestination {
        let password_file = self.dir.join("password");
        std::fs::write(&password_file, format!("{PASSWORD}\n")).unwrap();
        let ca_file = self.setup.certificate.map(|_| self.dir.join("ca.pem"));
        FtpDestination {
            name: "archive".into(),
            limits: holdfast::config::Limits::default(),
            host: self.setup.host.into(),
            port: self.port,
            user: match self.setup.kind {
                Kind::Vsftpd => "anonymous".into(),
                Kind::Proftpd => "node".into(),
            },
            password_file: Some(password_file),
            password: None,
            directory: "/up".into(),
            existing: Existing::Overwrite,
            ca_file,
        }
    }

    pub(crate) fn ftp(&self) -> Ftp {
        Ftp::with_limits(&self.settings(), self.protection(), super::quick()).unwrap()
    }

    pub(crate) fn at(&self, settings: &FtpDestination, limits: Limits) -> Ftp {
        Ftp::with_limits(settings, self.protection(), limits).unwrap()
    }

    /// Where a file of the destination lies on this machine.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join("root/up").join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Option<Vec<u8>> {
        std::fs::read(self.path(name)).ok()
    }

    /// Puts a file there as its users do.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
        chown(self.path(name), Some(DAEMON), Some(DAEMON)).unwrap();
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What lies in a folder of the destination.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// A folder on a file system of its own, 1 MiB large. Needs root, as all mounts do.
    pub(crate) fn make_small(&self) {
        let path = self.path("small");
        std::fs::create_dir(&path).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1M,uid=1,gid=1", "tmpfs"])
            .arg(path)
            .status();
        assert!(mount.unwrap().success(), "cannot mount: this test needs root");
    }

    /// The passive ports.
    pub(crate) fn passive_ports(&self) -> std::ops::Range<u16> {
        self.port + 1..self.port + 1 + PASSIVE_PORTS
    }
}

type Program = (PathBuf, Vec<String>, PathBuf);

fn vsftpd(dir: &Path, setup: &Setup, port: u16) -> Program {
    std::fs::write(dir.join("passwords"), format!("{PASSWORD}\n")).unwrap();
    let d = dir.display();
    let listen = if setup.host.contains(':') {
        format!("listen=NO\nlisten_ipv6=YES\nlisten_address6={}", setup.host)
    } else {
        format!("listen=YES\nlisten_ipv6=NO\nlisten_address={}", setup.host)
    };
    let mut conf = format!(
        "{listen}\nlisten_port={port}\nbackground=NO\nlocal_enable=NO\nanonymous_enable=YES\n\
         write_enable=YES\nanon_upload_enable=YES\nanon_mkdir_write_enable=YES\n\
         anon_other_write_enable=YES\nanon_world_readable_only=NO\nanon_umask=022\n\
         ftp_username=daemon\nnopriv_user=nobody\nanon_root={d}/root\n\
         secure_email_list_enable=YES\nemail_password_file={d}/passwords\n\
         secure_chroot_dir={d}/empty\nseccomp_sandbox=NO\nutf8_filesystem=YES\n\
         pasv_min_port={}\npasv_max_port={}\nvsftpd_log_file={d}/vsftpd.log\nxferlog_enable=YES\n\
         delay_failed_login=0\n",
        port + 1,
        port + PASSIVE_PORTS
    );
    if let Some(certificate) = setup.certificate {
        write!(
            conf,
            "ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\n\
             force_anon_data_ssl=YES\nrequire_ssl_reuse=YES\nssl_ciphers=HIGH\n\
             strict_ssl_read_eof=YES\nrsa_cert_file={d}/{certificate}.pem\n\
             rsa_private_key_file={d}/{certificate}.key\n",
        )
        .unwrap();
    }
    conf.push_str(setup.more);
    std::fs::write(dir.join("vsftpd.conf"), conf).unwrap();
    let program = PathBuf::from("/usr/sbin/vsftpd");
    assert!(program.is_file(), "vsftpd is missing: run scripts/test, which installs it");
    (program, vec![dir.join("vsftpd.conf").display().to_string()], PathBuf::new())
}

fn proftpd(dir: &Path, setup: &Setup, port: u16) -> Program {
    let tools = std::env::var_os("HOLDFAST_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools"),
        PathBuf::from,
    );
    let home = tools.join("proftpd");
    let program = home.join("usr/sbin/proftpd");
    assert!(program.is_file(), "ProFTPD is missing: run scripts/test, which unpacks it");
    let hash = Command::new("openssl").args(["passwd", "-6", PASSWORD]).output().unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    let d = dir.display();
    let user = format!("node:{}:{DAEMON}:{DAEMON}::{d}/root:/bin/false\n", hash.trim());
    std::fs::write(dir.join("users"), user).unwrap();
    std::fs::set_permissions(dir.join("users"), Permissions::from_mode(0o600)).unwrap();
    let is_ipv6 = if setup.host.contains(':') { "on" } else { "off" };
    let modules = home.join("usr/lib/proftpd");
    let mut conf = format!(
        "ModulePath {}\nLoadModule mod_digest.c\nLoadModule mod_tls.c\nServerType standalone\n\
         UseIPv6 {is_ipv6}\nDefaultAddress {}\nSocketBindTight on\nPort {port}\n\
         PassivePorts {} {}\nUser nobody\nGroup nogroup\nAuthUserFile {d}/users\n\
         AuthOrder mod_auth_file.c\nAuthPAM off\nRequireValidShell off\nDefaultRoot ~\n\
         AllowStoreRestart on\nAllowRetrieveRestart on\nAllowOverwrite on\nUmask 022\n\
         UseReverseDNS off\nDelayEngine off\nWtmpLog off\nTransferLog none\n\
         ExtendedLog {d}/logins AUTH\nExtendedLog {d}/commands ALL\nSystemLog {d}/system.log\nScoreboardFile {d}/scoreboard\nPidFile {d}/pid\n\
         MaxInstances 60\nUseFtpUsers off\n",
        modules.display(),
        setup.host,
        port + 1,
        port + PASSIVE_PORTS
    );
    if let Some(certificate) = setup.certificate {
        write!(
            conf,
            "TLSEngine on\nTLSRequired on\nTLSProtocol {}\nTLSLog {d}/tls.log\n\
             TLSRSACertificateFile {d}/{certificate}.pem\n\
             TLSRSACertificateKeyFile {d}/{certificate}.key\nTLSVerifyClient off\n",
            setup.versions
        )
        .unwrap();
    }
    // Of two lines for one thing ProFTPD takes the first.
    let is_given = |line: &&str| {
        let word = line.split(' ').next().unwrap_or_default();
        setup.more.lines().any(|more| more.split(' ').next() == Some(word))
    };
    let conf: Vec<_> = conf.lines().filter(|line| !is_given(line)).collect();
    let conf = format!("{}\n{}", conf.join("\n"), setup.more);
    std::fs::write(dir.join("proftpd.conf"), conf).unwrap();
    let arguments = vec!["-n".into(), "-c".into(), dir.join("proftpd.conf").display().to_string()];
    let libraries = std::fs::read_dir(home.join("usr/lib")).unwrap().map(|e| e.unwrap().path());
    let library = libraries.filter(|path| path.to_string_lossy().contains("linux-gnu")).last();
    (program, arguments, library.unwrap_or_default())
}

/// The first of as many free ports in a row as a server needs, below those that the system hands out.
fn free_ports(host: &str) -> u16 {
    static STATE: AtomicU64 = AtomicU64::new(0);
    let seed = u64::from(std::process::id()) << 32;
    let mut state = seed + STATE.fetch_add(1, Ordering::Relaxed);
    for _ in 0..1_000 {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let first = 10_000 + u16::try_from((state >> 33) % 20_000).unwrap();
        let ports = first..=first + PASSIVE_PORTS;
        // The second is where lines to it stand.
        let is_free =
            |port| [host, "127.0.0.2"].iter().all(|host| TcpListener::bind((*host, port)).is_ok());
        if ports.clone().all(is_free) {
            return first;
        }
    }
    panic!("no ports are free");
}

/// An authority `ca.pem`, certificates by it, and a stranger's authority. RSA, because vsftpd knows
/// nothing else.
fn certificates(dir: &Path) {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        rcgen::CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ca, stranger) = (authority(), authority());
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(dir.join("stranger.pem"), stranger.pem()).unwrap();
    let key = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let here = vec!["127.0.0.1".into(), "127.0.0.2".into(), "::1".into(), "localhost".into()];
    for (name, names, year) in [
        ("server", here.clone(), 2099),
        ("expired", here, 2021),
        ("elsewhere", vec!["ftp.example.com".into()], 2099),
    ] {
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &ca).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

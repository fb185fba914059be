//! A session with the server: connecting, knowing it by its key, logging in.
//!
//! Nothing secret is sent before the server's key is known to be the right one.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ssh2::{KeyboardInteractivePrompt, MethodType, Prompt, Sftp};
use zeroize::Zeroizing;

use super::error::Error;
use super::hosts::{HostKey, Hosts, KeyKind};
use crate::config::SftpDestination;
use crate::deliver::secret::{Secret, Secrets};

/// Bounds on waiting.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest until a connection stands and we are logged in, in milliseconds.
    pub connect_ms_max: u64,
    /// Longest a transfer may stand still, in milliseconds.
    pub stall_ms_max: u64,
    /// Longest a session is kept for the next file, in milliseconds.
    pub idle_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect_ms_max: 30_000, stall_ms_max: 120_000, idle_ms_max: 60_000 }
    }
}

/// What is offered of each, best first: nothing with SHA-1, MD5, CBC or RC4. libssh2 has ChaCha20 done
/// on a whole packet (by aws-lc, see `chacha.c` in `node/openssl-sys`), but AES on 16 bytes at a time,
/// which costs many times the CPU even with instructions for AES.
const METHODS: [(MethodType, &str); 5] = [
    (
        MethodType::Kex,
        "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,\
         ecdh-sha2-nistp521,diffie-hellman-group16-sha512,diffie-hellman-group18-sha512,\
         diffie-hellman-group-exchange-sha256,diffie-hellman-group14-sha256",
    ),
    (MethodType::CryptCs, CIPHERS),
    (MethodType::CryptSc, CIPHERS),
    (MethodType::MacCs, MACS),
    (MethodType::MacSc, MACS),
];
const CIPHERS: &str = "chacha20-poly1305@openssh.com,aes128-gcm@openssh.com,aes256-gcm@openssh.com,\
                       aes128-ctr,aes256-ctr,aes192-ctr";
const MACS: &str = "hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com,hmac-sha2-256,\
                    hmac-sha2-512";

/// A session that is logged in, for one thread at a time. Its calls block until
/// [`Session::line`] is shut down.
pub(super) struct Session {
    pub(super) sftp: Sftp,
    pub(super) ssh: ssh2::Session,
    pub(super) line: Arc<TcpStream>,
}

impl Session {
    /// Takes leave and closes the connection. Blocks for two seconds at most.
    pub(super) fn end(self) {
        self.ssh.set_timeout(2_000);
        drop(self.ssh.disconnect(None, "done", None));
        drop(self.line.shutdown(Shutdown::Both));
    }
}

/// Shuts a connection down when it is dropped, so that whoever blocks on it goes on.
pub(super) struct Cut(Option<Arc<TcpStream>>);

impl Cut {
    pub(super) fn new(line: &Arc<TcpStream>) -> Self {
        Self(Some(Arc::clone(line)))
    }

    /// The connection stays.
    pub(super) fn defuse(mut self) {
        self.0 = None;
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Some(line) = &self.0 {
            drop(line.shutdown(Shutdown::Both));
        }
    }
}

/// What proves who we are.
struct Proofs {
    password: Option<Zeroizing<String>>,
    private_key: Option<Zeroizing<String>>,
    passphrase: Option<Zeroizing<String>>,
}

impl Proofs {
    fn read(secrets: &Secrets) -> Result<Self, Error> {
        let text = |name| secrets.get(name).map(Secret::text).transpose();
        let private_key = text("private_key")?.map(|key| {
            // The library wants the end of the last line, which was trimmed. There is room for it
            // from the start: text that grows leaves copies of itself behind, which nobody clears.
            let mut lines = Zeroizing::new(String::with_capacity(key.len() + 1));
            lines.push_str(&key);
            lines.push('\n');
            lines
        });
        Ok(Self { password: text("password")?, private_key, passphrase: text("passphrase")? })
    }
}

/// Connects and logs in.
///
/// A server has keys of several kinds. If it shows another one than the known, the other kinds are
/// asked for before it is called a stranger.
pub(super) async fn connect(
    settings: &Arc<SftpDestination>,
    secrets: &Secrets,
    hosts: &Arc<Hosts>,
    limits: Limits,
) -> Result<Session, Error> {
    let known = hosts.clone();
    let first = blocking(move || known.kind()).await?;
    let others = KeyKind::ALL.into_iter().filter(|kind| Some(*kind) != first).map(Some);
    let mut stranger = None;
    for kind in [first].into_iter().chain(others) {
        let proofs = Proofs::read(secrets)?;
        match connect_once(settings, proofs, hosts, kind, limits).await {
            Err(error @ Error::HostKey { .. }) => stranger = stranger.or(Some(error)),
            // It has no key of this kind.
            Err(Error::Handshake { .. }) if kind.is_some() && stranger.is_some() => {}
            Err(Error::Handshake { message }) if kind.is_some() && kind == first => {
                tracing::debug!(message, "the server has no key of the kind that it had");
            }
            result => return result,
        }
    }
    Err(stranger.unwrap_or(Error::Handshake { message: "no host key suits".into() }))
}

async fn connect_once(
    settings: &Arc<SftpDestination>,
    proofs: Proofs,
    hosts: &Arc<Hosts>,
    kind: Option<KeyKind>,
    limits: Limits,
) -> Result<Session, Error> {
    let limit = Duration::from_millis(limits.connect_ms_max);
    let connecting = async {
        let line = Arc::new(dial(&settings.host, settings.port).await?);
        // Should this be dropped, the thread below ends at once.
        let cut = Cut::new(&line);
        let (settings, hosts) = (settings.clone(), hosts.clone());
        let session = blocking(move || log_in(line, &settings, &proofs, &hosts, kind)).await?;
        cut.defuse();
        Ok(session)
    };
    let slow = |_| Error::Slow { limit_ms: limits.connect_ms_max };
    tokio::time::timeout(limit, connecting).await.map_err(slow)?
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, Error> {
    let addresses: Vec<_> =
        tokio::net::lookup_host((host, port)).await.map_err(Error::Resolve)?.collect();
    let mut problem = io::Error::other("its name leads to no address");
    for address in addresses {
        match tokio::net::TcpStream::connect(address).await {
            Ok(stream) => {
                let plain = || {
                    stream.set_nodelay(true)?;
                    let stream = stream.into_std()?;
                    stream.set_nonblocking(false)?;
                    Ok(stream)
                };
                return plain().map_err(Error::Connect);
            }
            Err(error) => problem = error,
        }
    }
    Err(Error::Connect(problem))
}

fn log_in(
    line: Arc<TcpStream>,
    settings: &SftpDestination,
    proofs: &Proofs,
    hosts: &Hosts,
    kind: Option<KeyKind>,
) -> Result<Session, Error> {
    let handshake = |error: ssh2::Error| Error::Handshake { message: error.message().to_owned() };
    let mut ssh = ssh2::Session::new().map_err(handshake)?;
    let every = KeyKind::ALL.map(KeyKind::algorithms).join(",");
    let algorithms = match kind {
        Some(kind) => kind.algorithms(),
        None => &every,
    };
    ssh.method_pref(MethodType::HostKey, algorithms).map_err(handshake)?;
    for (of, names) in METHODS {
        ssh.method_pref(of, names).map_err(handshake)?;
    }
    ssh.set_tcp_stream(Arc::clone(&line));
    ssh.handshake().map_err(handshake)?;
    let missing = || Error::Handshake { message: "the server's key is of no known kind".into() };
    hosts.check(&HostKey::of(&ssh).ok_or_else(missing)?)?;
    prove(&ssh, &settings.user, proofs)?;
    let no_sftp = |error: ssh2::Error| Error::NoSftp { message: error.message().to_owned() };
    let sftp = ssh.sftp().map_err(no_sftp)?;
    Ok(Session { sftp, ssh, line })
}

/// Logs in with what there is, in the order key, password; a server may want both.
fn prove(ssh: &ssh2::Session, user: &str, proofs: &Proofs) -> Result<(), Error> {
    let offered = match ssh.auth_methods(user) {
        Ok(offered) => offered.to_owned(),
        // It took the user without any proof.
        Err(_) if ssh.authenticated() => return Ok(()),
        Err(error) => return Err(broken(&error)),
    };
    let takes = |method: &str| offered.split(',').any(|offer| offer == method);
    let mut tried = Vec::new();
    if let Some(key) = &proofs.private_key {
        tried.push("the private key");
        let passphrase = proofs.passphrase.as_deref().map(String::as_str);
        if let Err(error) = ssh.userauth_pubkey_memory(user, None, key, passphrase) {
            judge_key(&error)?;
        }
    }
    if let Some(password) = &proofs.password
        && !ssh.authenticated()
    {
        tried.push("the password");
        let mut result = Ok(());
        if takes("password") {
            result = ssh.userauth_password(user, password);
        }
        if takes("keyboard-interactive") && !ssh.authenticated() {
            let mut answers = Answers(password);
            result = ssh.userauth_keyboard_interactive(user, &mut answers);
        }
        if let Err(error) = result {
            judge(&error)?;
        }
    }
    if ssh.authenticated() {
        return Ok(());
    }
    Err(Error::Login { tried: tried.join(" and "), offered })
}

/// A refusal is not the end yet; a broken connection is.
fn judge(error: &ssh2::Error) -> Result<(), Error> {
    match error.code() {
        ssh2::ErrorCode::Session(SOCKET_SEND | SOCKET_DISCONNECT | SOCKET_RECV | PROTO) => {
            Err(broken(error))
        }
        _ => Ok(()),
    }
}

fn judge_key(error: &ssh2::Error) -> Result<(), Error> {
    match error.code() {
        ssh2::ErrorCode::Session(FILE | METHOD_NONE | KEYFILE_AUTH_FAILED | ALGO_UNSUPPORTED) => {
            Err(Error::PrivateKey { problem: error.message().to_owned() })
        }
        _ => judge(error),
    }
}

fn broken(error: &ssh2::Error) -> Error {
    let message = error.message().to_owned();
    Error::Broken { verb: "log in at", path: "the server".into(), message }
}

// Of libssh2.h, LIBSSH2_ERROR_….
const SOCKET_SEND: i32 = -7;
const SOCKET_DISCONNECT: i32 = -13;
const PROTO: i32 = -14;
const FILE: i32 = -16;
const METHOD_NONE: i32 = -17;
const SOCKET_RECV: i32 = -43;
const KEYFILE_AUTH_FAILED: i32 = -48;
const ALGO_UNSUPPORTED: i32 = -51;

/// Answers with the password whatever is asked for unseen.
struct Answers<'a>(&'a Zeroizing<String>);

impl KeyboardInteractivePrompt for Answers<'_> {
    fn prompt<'a>(&mut self, _user: &str, _told: &str, prompts: &[Prompt<'a>]) -> Vec<String> {
        let answer = |prompt: &Prompt<'_>| {
            if prompt.echo { String::new() } else { self.0.as_str().to_owned() }
        };
        prompts.iter().map(answer).collect()
    }
}

/// Does something on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(act).await.unwrap_or(Err(Error::Crashed))
}

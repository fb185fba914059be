//! What can go wrong with an SFTP server, whose fault it is and what to do about it.

use std::io;
use std::path::PathBuf;

use holdfast_core::attempts::Fault;

use super::status;
use crate::config::SftpDestination;
use crate::deliver::PushError;
use crate::deliver::secret::SecretError;

/// Why a file did not get to the server, or from it. Never holds a password or a key.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The settings make no sense.
    #[error("{0}")]
    Settings(String),
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The private key does not open.
    #[error(
        "the private key cannot be used ({problem}): give it as ssh-keygen writes it, of kind \
         ed25519, ecdsa or rsa, and with the right passphrase"
    )]
    PrivateKey { problem: String },
    /// The file's name cannot be used.
    #[error("cannot use the name {name:?}: {problem}")]
    Name { name: String, problem: String },
    /// The vault's file cannot be read.
    #[error("cannot read {path} on this node: {source}")]
    Source { path: PathBuf, source: io::Error },
    /// The vault's file is not what the ledger says.
    #[error("{path} on this node has {found} bytes instead of {expected}")]
    SourceBytes { path: PathBuf, expected: u64, found: u64 },
    /// The vault's file is empty, so it is none of a recording's.
    #[error("{path} on this node is empty")]
    SourceEmpty { path: PathBuf },
    /// The host's name leads nowhere.
    #[error("the host cannot be resolved ({0}); check host, and the node's name servers")]
    Resolve(io::Error),
    /// There is no connection.
    #[error("cannot connect: {0}; check host and port, the server and the firewalls between")]
    Connect(io::Error),
    /// The server took too long to let us in.
    #[error(
        "the server did not let us in within {limit_ms} ms; check that an SSH server answers at this \
         port, and the line to it"
    )]
    Slow { limit_ms: u64 },
    /// What answers is no SSH server, or none that we can agree with.
    #[error(
        "no SSH session comes about: {message}; check the port, and that the server offers curves or \
         groups of SHA-2, AES or ChaCha20, and a host key of kind ed25519, ecdsa or rsa-sha2"
    )]
    Handshake { message: String },
    /// The server has another key than it should have.
    #[error(
        "the server shows the key {found}, but {expected} was {why}: either its key was changed or \
         somebody stands in between. Nothing was sent. If its admin confirms the new fingerprint, put it \
         into host_key"
    )]
    HostKey { found: String, expected: String, why: &'static str },
    /// The server's key could not be remembered.
    #[error("cannot remember the server's key in {path}: {problem}")]
    Hosts { path: PathBuf, problem: String },
    /// The server does not take the user with this password or key.
    #[error(
        "the server refused to log in the user with {tried} (it takes: {offered}); correct user, \
         password or private_key, or let the server's admin add the key"
    )]
    Login { tried: String, offered: String },
    /// The user may log in, but not transfer files.
    #[error("the server has no SFTP for this user ({message}); its admin must turn it on")]
    NoSftp { message: String },
    /// The connection broke.
    #[error(
        "cannot {verb} {path:?}: the connection broke ({message}); check the line and the server"
    )]
    Broken { verb: &'static str, path: String, message: String },
    /// The server said no.
    #[error("cannot {verb} {path:?}: {}", status::describe(*status))]
    Refused { verb: &'static str, path: String, status: i32 },
    /// The server has no room.
    #[error(
        "cannot {verb} {path:?}: the server's disk or the user's quota is full{free}; make room, and the \
         push goes on where it stopped"
    )]
    NoRoom { verb: &'static str, path: String, free: String },
    /// The folder is missing.
    #[error(
        "there is no folder {path:?} on the server; the node does not make it: make it, or correct path"
    )]
    Root { path: String },
    /// Something stands where a folder or the file should.
    #[error("{path:?} is in the way on the server: it is no {wanted}; move it away")]
    InTheWay { path: String, wanted: &'static str },
    /// Another file has the name, and it may not be replaced.
    #[error(
        "there is another file {path:?} on the server, and existing = {existing}; move it away, or \
         choose otherwise in existing"
    )]
    Exists { path: String, existing: &'static str },
    /// The server has other bytes than those sent.
    #[error(
        "{path:?} on the server is not what was sent ({problem}); check its disk, or what else writes there"
    )]
    Altered { path: String, problem: String },
    /// Nothing moved for too long.
    #[error("nothing moved for {stall_ms} ms; check the line and the server")]
    Stalled { stall_ms: u64 },
    /// The location belongs to another server or folder.
    #[error(
        "{location:?} does not lie in it; have the destination's host, port or path been changed?"
    )]
    Elsewhere { location: String },
    /// The thread at work panicked.
    #[error("the transfer crashed; the node's log has more")]
    Crashed,
}

impl Error {
    /// What the library says of a step.
    pub(super) fn step(verb: &'static str, path: &str, error: &ssh2::Error) -> Self {
        let path = path.to_owned();
        match error.code() {
            ssh2::ErrorCode::SFTP(status) if status::is_no_room(status) => {
                Self::NoRoom { verb, path, free: String::new() }
            }
            ssh2::ErrorCode::SFTP(status) => Self::Refused { verb, path, status },
            ssh2::ErrorCode::Session(_) => {
                Self::Broken { verb, path, message: error.message().to_owned() }
            }
        }
    }

    /// The same where the library hands an error over as one of input and output.
    pub(super) fn moved(verb: &'static str, path: &str, error: &io::Error) -> Self {
        match status::of(error) {
            Some(status) => {
                let code = ssh2::ErrorCode::SFTP(status);
                Self::step(verb, path, &ssh2::Error::from_errno(code))
            }
            None => Self::Broken { verb, path: path.into(), message: error.to_string() },
        }
    }

    /// Whether the session can be used after this.
    pub(super) fn leaves_session(&self) -> bool {
        !matches!(self, Self::Broken { .. } | Self::Stalled { .. } | Self::Crashed)
    }

    /// Whether the server said that there is no such thing.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status::is_missing(*status))
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Name { .. }
            | Self::Source { .. }
            | Self::SourceBytes { .. }
            | Self::SourceEmpty { .. }
            | Self::Hosts { .. }
            | Self::Crashed => Fault::Ours,
            Self::Resolve(_)
            | Self::Connect(_)
            | Self::Slow { .. }
            | Self::Broken { .. }
            | Self::Altered { .. }
            | Self::Stalled { .. } => Fault::Networks,
            Self::Settings(_)
            | Self::Secret(_)
            | Self::PrivateKey { .. }
            | Self::Handshake { .. }
            | Self::HostKey { .. }
            | Self::Login { .. }
            | Self::NoSftp { .. }
            | Self::Refused { .. }
            | Self::NoRoom { .. }
            | Self::Root { .. }
            | Self::InTheWay { .. }
            | Self::Exists { .. }
            | Self::Elsewhere { .. } => Fault::Customers,
        }
    }

    /// Says it to the customer's admin.
    pub(super) fn into_push_error(self, settings: &SftpDestination) -> PushError {
        let SftpDestination { name, user, host, port, .. } = settings;
        let sentence = format!("destination {name:?} (sftp {user}@{host}:{port}): {self}");
        PushError { fault: self.fault(), sentence }
    }
}

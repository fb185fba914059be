//! What can go wrong with an FTP server, whose fault it is and what to do about it.

mod refusal;

use std::io;
use std::path::PathBuf;

use holdfast_core::attempts::Fault;
use rustls::CertificateError;

pub(super) use self::refusal::{LOG_IN, Refusal, code, plain};
use super::Protection;
use crate::config::FtpDestination;
use crate::deliver::PushError;
use crate::deliver::secret::SecretError;

/// Why a file did not get to the server, or from it. Never holds a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The configuration makes no sense.
    #[error("{0}")]
    Settings(String),
    /// A file with an authority cannot be used.
    #[error("cannot use {path}, named by ca_file: {problem}")]
    Authority { path: PathBuf, problem: String },
    /// The password cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The name cannot be used.
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
    #[error("the name of the host cannot be resolved")]
    Dns,
    /// Nothing listens there.
    #[error("nothing listens there (connection refused)")]
    NothingThere,
    /// There is no way there, or nobody answers.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// What answers is no FTP server.
    #[error("cannot {what}: the answer is not FTP's")]
    NotFtp { what: &'static str },
    /// It does not speak TLS.
    #[error("the server does not offer TLS: {0}")]
    NoTls(Refusal),
    /// TLS failed.
    #[error("{0}")]
    Tls(Tls),
    /// The connection for a file's bytes did not come about.
    #[error("the data connection to port {port} did not come about: {problem}")]
    Data { port: u16, problem: String },
    /// The connection ended in the middle.
    #[error("cannot {what}: the connection broke: {problem}")]
    Broken { what: &'static str, problem: String },
    /// Everything was sent, and then nobody said that it arrived.
    #[error("everything was sent, but no answer came for {wait_ms} ms")]
    Unconfirmed { wait_ms: u64 },
    /// Nothing moved for too long.
    #[error("cannot {what}: nothing moved for {stall_ms} ms; check the line and the server")]
    Stalled { what: &'static str, stall_ms: u64 },
    /// The server said no.
    #[error("{0}")]
    Refused(Refusal),
    /// The server has fewer bytes than were sent.
    #[error("the server has {found} bytes of {path:?} instead of {expected}")]
    Short { path: String, expected: u64, found: u64 },
    /// The server has something else than what was sent.
    #[error(
        "the server has other bytes of {path:?} than those sent; the line or the server alters \
         them, or something else writes the same name"
    )]
    Altered { path: String },
    /// Another file is there.
    #[error("another file is called {path:?} there already, and existing = \"refuse\"")]
    Exists { path: String },
    /// All names are taken.
    #[error("{path:?} and {tried} names like it are all taken there")]
    Taken { path: String, tried: u32 },
    /// The location belongs to another server.
    #[error("{location:?} does not lie in it; has the destination been changed?")]
    Elsewhere { location: String },
}

/// Why TLS failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Tls {
    #[error("its certificate comes from an authority that this node does not know")]
    UnknownAuthority,
    #[error("its certificate has expired or is not valid yet")]
    Expired,
    #[error("its certificate is made for another name than {host:?}")]
    OtherName { host: String },
    #[error("its certificate is not good: {0}")]
    Certificate(String),
    #[error("TLS failed: {0}")]
    Other(String),
}

impl Tls {
    pub(super) fn judge(error: &rustls::Error, host: &str) -> Self {
        use CertificateError as C;
        let rustls::Error::InvalidCertificate(problem) = error else {
            return Self::Other(error.to_string());
        };
        match problem {
            C::UnknownIssuer | C::BadSignature => Self::UnknownAuthority,
            C::Expired
            | C::ExpiredContext { .. }
            | C::NotValidYet
            | C::NotValidYetContext { .. } => Self::Expired,
            C::NotValidForName | C::NotValidForNameContext { .. } => {
                Self::OtherName { host: host.to_owned() }
            }
            other => Self::Certificate(other.to_string()),
        }
    }

    fn advice(&self, settings: &FtpDestination) -> String {
        match self {
            Self::UnknownAuthority => match &settings.ca_file {
                Some(path) => format!(
                    "ca_file ({}) does not hold the authority that signed it: put that one in \
                     (PEM), not the server's own certificate",
                    path.display()
                ),
                None => "put its authority's certificate (PEM) into a file and name it in ca_file"
                    .into(),
            },
            Self::Expired => "renew it at the server, and check both clocks".into(),
            Self::OtherName { .. } => "give the name it is made for as host".into(),
            Self::Certificate(_) => "replace it at the server".into(),
            Self::Other(_) => "check that the server speaks TLS 1.2 or 1.3".into(),
        }
    }
}

impl Error {
    /// Whether the same may well succeed in a second, over another connection.
    pub(super) fn is_hiccup(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_hiccup(),
            Self::Broken { .. }
            | Self::Unconfirmed { .. }
            | Self::Short { .. }
            | Self::Data { .. } => true,
            _ => false,
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Settings(_)
            | Self::Authority { .. }
            | Self::Secret(_)
            | Self::NotFtp { .. }
            | Self::NoTls(_)
            | Self::Tls(_)
            | Self::Exists { .. }
            | Self::Taken { .. }
            | Self::Elsewhere { .. } => Fault::Customers,
            Self::Name { .. }
            | Self::Source { .. }
            | Self::SourceBytes { .. }
            | Self::SourceEmpty { .. } => Fault::Ours,
            Self::Dns
            | Self::NothingThere
            | Self::Unreachable(_)
            | Self::Data { .. }
            | Self::Broken { .. }
            | Self::Unconfirmed { .. }
            | Self::Stalled { .. }
            | Self::Short { .. }
            | Self::Altered { .. } => Fault::Networks,
            Self::Refused(refusal) => refusal.fault(),
        }
    }

    /// What the customer's admin can do, beyond what the error says.
    fn advice(&self, settings: &FtpDestination, protection: Protection) -> String {
        let advice = match self {
            Self::Dns => "check host, and the node's name servers",
            Self::NothingThere => "check host and port, and that the server is up",
            Self::Unreachable(_) => "check host, the line, and firewalls between",
            Self::NotFtp { .. } => "check host and port",
            Self::NoTls(_) => {
                "turn explicit TLS on at the server (AUTH TLS); only if that cannot be, use kind = \
                 \"ftp\", which everybody on the way can read"
            }
            Self::Data { .. } => {
                "open the server's passive ports in firewalls between, and at the server"
            }
            Self::Broken { .. } | Self::Unconfirmed { .. } => {
                "if it goes on, check the line, and firewalls or address translation between"
            }
            Self::Short { .. } => "the next attempt goes on from there",
            Self::Exists { .. } | Self::Taken { .. } => {
                "move it away, or choose another setting of existing"
            }
            Self::Tls(tls) => return tls.advice(settings),
            Self::Refused(refusal) => {
                return refusal.advice(&settings.user, protection == Protection::Tls);
            }
            _ => "",
        };
        advice.into()
    }

    /// Says it to the customer's admin.
    pub(super) fn into_push_error(
        self,
        settings: &FtpDestination,
        protection: Protection,
    ) -> PushError {
        let name = &settings.name;
        let place = super::authority(settings, protection);
        let advice = self.advice(settings, protection);
        let semicolon = if advice.is_empty() { "" } else { "; " };
        let sentence = format!("destination {name:?} ({place}): {self}{semicolon}{advice}");
        PushError { fault: self.fault(), sentence }
    }
}

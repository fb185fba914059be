//! Why no answer came.

use std::error::Error as StdError;
use std::io;

use holdfast_core::attempts::Fault;
use rustls::CertificateError;

use crate::config::S3Destination;
use crate::deliver::source::SourceError;
use crate::deliver::tls;

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub(in crate::deliver::s3) enum Transport {
    /// The host's name leads nowhere.
    #[error("the name of the host cannot be resolved")]
    Dns,
    /// Nothing listens there.
    #[error("nothing listens there (connection refused)")]
    Refused,
    /// There is no way there, or nobody answers.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// Its certificate is signed by nobody we know.
    #[error("its certificate comes from an authority that this node does not know")]
    UnknownAuthority,
    /// Its certificate is not good.
    #[error("its certificate is not good: {0}")]
    Certificate(String),
    /// It does not speak TLS with us.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The connection ended in the middle.
    #[error("the connection broke: {0}")]
    Broken(String),
}

impl Transport {
    /// Judges an error of the HTTP client.
    ///
    /// # Errors
    /// [`SourceError`] where it is not the connection at all: the vault's file cannot be read.
    pub(super) fn judge(error: reqwest::Error) -> Result<Self, SourceError> {
        let error = error.without_url();
        for cause in causes(&error) {
            if let Some(source) = cause.downcast_ref::<SourceError>() {
                return Err(source.again());
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Ok(Self::from_tls(tls, error.is_connect()));
            }
        }
        let said = innermost(&error);
        let kind = causes(&error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .map(io::Error::kind)
            .next();
        Ok(match kind {
            _ if error.is_dns() => Self::Dns,
            Some(io::ErrorKind::ConnectionRefused) => Self::Refused,
            _ if error.is_timeout() && error.is_connect() => {
                Self::Unreachable("it does not answer".into())
            }
            Some(io::ErrorKind::TimedOut) => Self::Unreachable("it has gone silent".into()),
            _ if error.is_connect() => Self::Unreachable(said),
            _ => Self::Broken(said),
        })
    }

    /// Once a connection is up, its certificate was good: what ends it then was altered on the way.
    fn from_tls(error: &rustls::Error, is_handshake: bool) -> Self {
        match error {
            other if !is_handshake || tls::is_altered(other) => Self::Broken(other.to_string()),
            rustls::Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => Self::UnknownAuthority,
            rustls::Error::InvalidCertificate(problem) => Self::Certificate(problem.to_string()),
            other => Self::Tls(other.to_string()),
        }
    }

    /// Whose fault it is.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::UnknownAuthority | Self::Certificate(_) | Self::Tls(_) => Fault::Customers,
            Self::Dns | Self::Refused | Self::Unreachable(_) | Self::Broken(_) => Fault::Networks,
        }
    }

    /// What to do about it.
    pub(super) fn advice(&self, settings: &S3Destination) -> String {
        let advice = match self {
            Self::Dns => "check endpoint (and path_style), and the node's name servers",
            Self::Refused => "check endpoint and its port, and that the store is up",
            Self::Unreachable(_) => "check endpoint, the line, and firewalls between",
            Self::Broken(_) => "if it goes on, check the line, and firewalls or proxies between",
            Self::Certificate(_) => {
                "renew it, or use the name it is made for as endpoint; with a bucket name that has \
                 a dot, set path_style = true"
            }
            Self::Tls(_) => "check that endpoint speaks TLS 1.2 or 1.3 at that port",
            Self::UnknownAuthority => {
                return match &settings.ca_file {
                    Some(path) => format!(
                        "ca_file ({}) does not hold the authority that signed it: put that one \
                         in (PEM), not the server's own certificate",
                        path.display()
                    ),
                    None => "put its authority's certificate (PEM) into a file and name it in \
                             ca_file"
                        .into(),
                };
            }
        };
        advice.into()
    }
}

/// An error and what caused it, outermost first; also what `io::Error` wraps and hides.
fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| next_cause(*error))
}

fn next_cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// What the innermost cause says. The outer ones say no more than that there is an inner one.
pub(in crate::deliver::s3) fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

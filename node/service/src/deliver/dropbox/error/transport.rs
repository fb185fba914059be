//! Why no answer came.

use std::error::Error as StdError;
use std::io;

use holdfast_core::attempts::Fault;

use crate::config::DropboxDestination;
use crate::deliver::source::SourceError;
use crate::deliver::tls;

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub(in crate::deliver::dropbox) enum Transport {
    /// The host's name leads nowhere.
    #[error("Dropbox's name cannot be resolved")]
    Dns,
    /// There is no way there, or nobody answers.
    #[error("Dropbox cannot be reached: {0}")]
    Unreachable(String),
    /// Its certificate is not good, or from nobody we know.
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
            match cause.downcast_ref::<rustls::Error>() {
                Some(rustls::Error::InvalidCertificate(problem)) => {
                    return Ok(Self::Certificate(problem.to_string()));
                }
                Some(other) if error.is_connect() && !tls::is_altered(other) => {
                    return Ok(Self::Tls(other.to_string()));
                }
                // Bytes that were altered on the way end a connection that was good.
                Some(other) => return Ok(Self::Broken(other.to_string())),
                None => {}
            }
        }
        let said = innermost(&error);
        let kind = causes(&error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .map(io::Error::kind)
            .next();
        Ok(match kind {
            _ if error.is_dns() => Self::Dns,
            _ if error.is_timeout() && error.is_connect() => {
                Self::Unreachable("it does not answer".into())
            }
            Some(io::ErrorKind::TimedOut) => Self::Unreachable("it has gone silent".into()),
            _ if error.is_connect() => Self::Unreachable(said),
            _ => Self::Broken(said),
        })
    }

    /// Whose fault it is.
    pub(super) fn fault(&self) -> Fault {
        match self {
            Self::Certificate(_) | Self::Tls(_) => Fault::Customers,
            Self::Dns | Self::Unreachable(_) | Self::Broken(_) => Fault::Networks,
        }
    }

    /// What to do about it.
    pub(super) fn advice(&self, settings: &DropboxDestination) -> String {
        let advice = match self {
            Self::Dns => "check the node's name servers",
            Self::Unreachable(_) => {
                "check the line, and that firewalls let the node through to api.dropboxapi.com and \
                 content.dropboxapi.com, port 443"
            }
            Self::Broken(_) => "if it goes on, check the line, and firewalls or proxies between",
            Self::Tls(_) => "check which proxies are between, and that they speak TLS 1.2 or 1.3",
            Self::Certificate(_) => match &settings.ca_file {
                Some(path) => {
                    return format!(
                        "check the node's clock, and that ca_file ({}) holds the authority of the \
                         proxy which is between",
                        path.display()
                    );
                }
                None => {
                    "check the node's clock; if a proxy here looks into TLS, name its authority's \
                     certificate (PEM) in ca_file"
                }
            },
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
pub(in crate::deliver::dropbox) fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

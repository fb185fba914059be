//! What the library that speaks FTP says of a failure, in this room's words.

use std::io;

use suppaftp::FtpError;

use super::error::{Error, Refusal, Tls, plain};
use super::tls::{Failure, is_other_version, tls_error};
use crate::deliver::tls::is_altered;

/// Why the data connection did not come about.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub(super) struct NoData {
    pub(super) port: u16,
    pub(super) problem: String,
}

/// Judges why TLS did not come about; says whether the server speaks another version.
pub(super) fn no_tls(host: &str, error: FtpError, failure: &Failure) -> (Error, bool) {
    match error {
        FtpError::UnexpectedResponse(response) => {
            (Error::NoTls(Refusal::read("turn TLS on", "", &response, None)), false)
        }
        FtpError::SecureError(said) => {
            let failed = failure.take();
            let is_other = failed.as_ref().is_some_and(is_other_version);
            (tls_judged(host, "set up TLS", &said, failed), is_other)
        }
        other => (judge("set up TLS", "", other, None), false),
    }
}

/// Judges a handshake that failed; the library said so much of it.
pub(super) fn tls_judged(
    host: &str,
    what: &'static str,
    said: &str,
    failed: Option<io::Error>,
) -> Error {
    match failed {
        Some(error) => match tls_error(&error) {
            Some(tls) if !is_altered(tls) => Error::Tls(Tls::judge(tls, host)),
            _ => Error::Broken { what, problem: plain(&error.to_string()) },
        },
        None => Error::Tls(Tls::Other(plain(said))),
    }
}

/// Judges an error that is not TLS's; `secret` is cut out of the server's words.
pub(super) fn judge(
    what: &'static str,
    path: &str,
    error: FtpError,
    secret: Option<&str>,
) -> Error {
    match error {
        FtpError::UnexpectedResponse(response) => {
            Error::Refused(Refusal::read(what, path, &response, secret))
        }
        FtpError::ConnectionError(error) => {
            match error.get_ref().and_then(|inner| inner.downcast_ref::<NoData>()) {
                Some(NoData { port, problem }) => {
                    Error::Data { port: *port, problem: problem.clone() }
                }
                None => match tls_error(&error) {
                    Some(tls) => Error::Broken { what, problem: plain(&tls.to_string()) },
                    None => Error::Broken { what, problem: plain(&error.to_string()) },
                },
            }
        }
        FtpError::BadResponse | FtpError::InvalidAddress(_) => Error::NotFtp { what },
        FtpError::SecureError(said) => Error::Tls(Tls::Other(plain(&said))),
        FtpError::DataConnectionAlreadyOpen => {
            Error::Broken { what, problem: "another file is under way on it".into() }
        }
    }
}

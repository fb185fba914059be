//! TLS for control and data connections.
//!
//! Servers insist that a data connection goes on with the TLS session of its control connection: it
//! proves that both are the same client's. So each control connection has a store of sessions of
//! its own.
//!
//! TLS 1.2 is offered first: there one session serves any number of data connections. With TLS 1.3
//! a session's tickets are for one use each, and servers hand out two of them and then refuse. A
//! server that speaks nothing but 1.3 gets 1.3, and a new control connection for every file: a push
//! takes two data connections at most, one to compare what is there and one to send the rest.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{AlertDescription, ClientConfig, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use suppaftp::tokio::{AsyncRustlsStream, AsyncTlsConnector};
use suppaftp::{FtpError, FtpResult};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::Error;
use crate::deliver::secret::read_limited;

/// Largest file with authorities, in bytes.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;
/// Sessions a control connection remembers. All are of one server.
const SESSIONS_MAX: usize = 8;

/// Which TLS is spoken with a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Tls12,
    Tls13,
}

/// Which certificates are trusted.
#[derive(Debug, Clone)]
pub(super) struct Trust(Arc<Verifier>);

impl Trust {
    /// The system's authorities, and those in a file.
    ///
    /// # Errors
    /// [`Error::Authority`] where the file cannot be used; [`Error::Settings`] where there is none at all.
    pub(super) fn new(ca_file: Option<&Path>) -> Result<Self, Error> {
        let extra = ca_file.map_or(Ok(Vec::new()), authorities)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier::new_with_extra_roots(extra, provider).map_err(|error| {
            Error::Settings(format!(
                "TLS cannot be set up: {error}; install ca-certificates, or name the server's \
                 authority in ca_file"
            ))
        })?;
        Ok(Self(Arc::new(verifier)))
    }

    /// What one control connection and its data connections use.
    pub(super) fn connector(&self, version: Version) -> Result<Connector, Error> {
        let versions: &[&SupportedProtocolVersion] = match version {
            Version::Tls12 => &[&rustls::version::TLS12],
            Version::Tls13 => &[&rustls::version::TLS13],
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .map_err(|error| Error::Settings(format!("TLS cannot be set up: {error}")))?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(self.0.clone())
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        Ok(Connector { config: Arc::new(config), failure: Failure::default() })
    }
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let failed = |problem: String| Error::Authority { path: path.into(), problem };
    let text = read_limited(path, CA_FILE_BYTES_MAX).map_err(failed)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(failed("it holds no certificate in PEM".into())),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Why a handshake failed. The library that speaks FTP keeps no more of it than its words.
#[derive(Debug, Clone, Default)]
pub(super) struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    /// Takes it out.
    pub(super) fn take(&self) -> Option<io::Error> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// TLS's own word for what failed, if it was TLS.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether the server does not speak the version that was offered.
pub(super) fn is_other_version(error: &io::Error) -> bool {
    use AlertDescription::{HandshakeFailure, ProtocolVersion};
    match tls_error(error) {
        Some(rustls::Error::AlertReceived(alert)) => {
            matches!(alert, ProtocolVersion | HandshakeFailure)
        }
        Some(rustls::Error::PeerIncompatible(_)) => true,
        _ => false,
    }
}

/// Makes the TLS of one control connection and of its data connections.
#[derive(Debug)]
pub(super) struct Connector {
    config: Arc<ClientConfig>,
    pub(super) failure: Failure,
}

#[async_trait]
impl AsyncTlsConnector for Connector {
    type Stream = AsyncRustlsStream;

    async fn connect(&self, domain: &str, stream: TcpStream) -> FtpResult<Self::Stream> {
        let name = ServerName::try_from(domain.to_owned())
            .map_err(|error| FtpError::SecureError(error.to_string()))?;
        let connecting = TlsConnector::from(self.config.clone()).connect(name, stream);
        connecting.await.map(AsyncRustlsStream::from).map_err(|error| {
            let said = error.to_string();
            *self.failure.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            FtpError::SecureError(said)
        })
    }
}

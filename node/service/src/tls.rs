//! TLS: 1.3 and 1.2, nothing older; a certificate from the configuration or one the node made itself.
//!
//! A self-made certificate is made once, at first start, with the node's names and addresses; its
//! files are `tls/certificate.pem` and `tls/key.pem` in the state folder.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::addresses;
use crate::config::Config;

/// What can be wrong with TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Certificate and key do not make a server.
    #[error("the certificate {certificate} and the key {key} do not fit: {reason}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Make(String),
}

/// The settings of the node's server side.
///
/// # Errors
/// [`TlsError`], with the file it is about.
pub fn server(config: &Config) -> Result<Arc<ServerConfig>, TlsError> {
    make_where_missing(config)?;
    let (certificate, key) = files(config);
    of_files(&certificate, &key)
}

/// The settings of a server side with this certificate, its chain after it, and this key; both PEM.
///
/// # Errors
/// [`TlsError`], with the file it is about.
pub fn of_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let file = |path: &Path| {
        let path = path.to_path_buf();
        move |error: rustls::pki_types::pem::Error| TlsError::File {
            path,
            reason: error.to_string(),
        }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(file(certificate))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(file(key))?;
    let pair = |error: rustls::Error| TlsError::Pair {
        certificate: certificate.into(),
        key: key.into(),
        reason: error.to_string(),
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(pair)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

/// Where a start takes certificate and key from.
#[must_use]
pub fn files(config: &Config) -> (PathBuf, PathBuf) {
    let folder = folder(config);
    match (&config.tls.certificate, &config.tls.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => (folder.join("certificate.pem"), folder.join("key.pem")),
    }
}

/// Where a node keeps what it made itself.
fn folder(config: &Config) -> PathBuf {
    config.node.state_path.join("tls")
}

fn make_where_missing(config: &Config) -> Result<(), TlsError> {
    let (certificate, key) = files(config);
    if config.tls.certificate.is_some() || (certificate.is_file() && key.is_file()) {
        return Ok(());
    }
    let make = |error: rcgen::Error| TlsError::Make(error.to_string());
    let names = names(config);
    tracing::info!(?names, "no certificate is configured; making one");
    let mut params = CertificateParams::new(names).map_err(make)?;
    params.distinguished_name.push(DnType::CommonName, config.node_name());
    params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    let pair = KeyPair::generate().map_err(make)?;
    let signed = params.self_signed(&pair).map_err(make)?;
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |error: std::io::Error| TlsError::File { path, reason: error.to_string() }
    };
    let folder = folder(config);
    std::fs::create_dir_all(&folder).map_err(failed(&folder))?;
    // The key first: a certificate without its key would be taken for whole at the next start.
    write(&key, &pair.serialize_pem(), 0o600).map_err(failed(&key))?;
    write(&certificate, &signed.pem(), 0o644).map_err(failed(&certificate))
}

fn write(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn names(config: &Config) -> Vec<String> {
    let mut names = vec![config.node_name(), "localhost".into(), "127.0.0.1".into(), "::1".into()];
    names.extend(config.tls.names.iter().cloned());
    names.extend(addresses::of_this_machine().iter().map(ToString::to_string));
    names.sort();
    names.dedup();
    names
}

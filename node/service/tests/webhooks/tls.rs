//! A receiver whose certificate comes from a customer's own authority.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::serve::Listener;
use holdfast::webhooks::DeliveryState;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::operate_node::Home;
use super::receiver::Receiver;
use super::{Delivering, assert_signed, is_tried};

/// Connections over TLS.
struct Tls(TcpListener, TlsAcceptor);

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, from) = self.0.accept().await.unwrap();
            // A client that does not trust it goes away.
            if let Ok(stream) = self.1.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A server for `localhost`, and the PEM of the authority that signed its certificate.
async fn receiver() -> (Receiver, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], private)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = Receiver::at(Tls(listener, Arc::new(server).into())).await;
    (receiver, authority.pem())
}

#[tokio::test]
async fn a_customers_own_authority_is_trusted_once_it_is_named() {
    let (receiver, authority) = receiver().await;
    let url = format!("https://localhost:{}/", receiver.address.port());
    let node = Delivering::of(Home::with_more("\n[notify]\nprivate_targets = true\n"));
    let (hook, _) = node.hook(&url, "demo", json!({})).await;
    node.home.saved(1, "demo").await;
    let told = node.newest(&hook, is_tried).await;
    assert!(told.error.as_ref().unwrap().contains("certificate"), "{told:?}");
    assert!(receiver.got().is_empty());

    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("authority.pem");
    std::fs::write(&ca_file, authority).unwrap();
    let more = format!("\n[notify]\nprivate_targets = true\nca_file = {ca_file:?}\n");
    let node = Delivering::of(Home::with_more(&more));
    let (hook, secret) = node.hook(&url, "demo", json!({})).await;
    node.home.saved(1, "demo").await;
    let told = node.newest(&hook, is_tried).await;
    assert_eq!((told.state, told.error), (DeliveryState::Delivered, None));
    assert_signed(&receiver.got()[0], &url, &secret, None);
}

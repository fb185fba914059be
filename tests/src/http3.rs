//! A client of HTTP/3, and frames by hand for what a client never does.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3_quinn::{BidiStream, OpenStreams};
use http::{HeaderMap, Method, Request, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, IdleTimeout, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::task::JoinHandle;

use crate::node::Node;

/// The name that a node's own certificate has.
const NAME: &str = "localhost";
/// Longest silence of a node that a client puts up with, in milliseconds.
const SILENCE_MS: u32 = 120_000;
/// Bytes of a body that are sent at a time.
const PIECE_BYTES: usize = 16 << 10;

/// A request that is under way.
pub type Exchange = RequestStream<BidiStream<Bytes>, Bytes>;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
pub struct Http3 {
    /// The client's socket.
    pub endpoint: Endpoint,
    /// The connection below HTTP/3.
    pub quic: quinn::Connection,
    requests: SendRequest<OpenStreams, Bytes>,
    driver: JoinHandle<()>,
}

impl Http3 {
    /// Connects to whoever serves at this UDP port of 127.0.0.1 with this certificate.
    ///
    /// # Errors
    /// If nobody answers, or not as expected.
    pub async fn connect(port: u16, certificate: &Path) -> Result<Self> {
        let (endpoint, quic) = quic(port, certificate).await?;
        let (mut connection, requests) =
            h3::client::new(h3_quinn::Connection::new(quic.clone())).await?;
        let driver = tokio::spawn(async move { drop(connection.wait_idle().await) });
        Ok(Self { endpoint, quic, requests, driver })
    }

    /// Connects to a node.
    ///
    /// # Errors
    /// As [`Http3::connect`].
    pub async fn to(node: &Node) -> Result<Self> {
        Self::connect(node.port(), &node.certificate()).await
    }

    /// Begins a request.
    ///
    /// # Errors
    /// If the node takes no more.
    pub async fn begin(&self, request: Request<()>) -> Result<Exchange> {
        Ok(self.requests.clone().send_request(request).await?)
    }

    /// A request with this body, from its beginning to its end.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn request(&self, request: Request<()>, body: &[u8]) -> Result<Answer> {
        let mut exchange = self.begin(request).await?;
        for piece in body.chunks(PIECE_BYTES) {
            // The node may have answered already, and want no more.
            if exchange.send_data(Bytes::copy_from_slice(piece)).await.is_err() {
                return answer(&mut exchange).await;
            }
        }
        drop(exchange.finish().await);
        answer(&mut exchange).await
    }

    /// What an address answers.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.request(request(Method::GET, path)?, &[]).await
    }

    /// Goes on from another address of this machine.
    ///
    /// # Errors
    /// If it is not one.
    pub fn move_to(&self, address: &str) -> Result<SocketAddr> {
        let socket = UdpSocket::bind((address, 0))?;
        let at = socket.local_addr()?;
        self.endpoint.rebind(socket)?;
        Ok(at)
    }
}

impl Drop for Http3 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A QUIC connection for HTTP/3, on which nothing was said yet.
///
/// # Errors
/// If nobody answers, or not as expected.
pub async fn quic(port: u16, certificate: &Path) -> Result<(Endpoint, quinn::Connection)> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(certificate)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut transport = TransportConfig::default();
    transport.max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(SILENCE_MS))));
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport));
    let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    endpoint.set_default_client_config(config);
    let quic = endpoint.connect(SocketAddr::from(([127, 0, 0, 1], port)), NAME)?.await?;
    Ok((endpoint, quic))
}

/// A request without header fields of its own.
///
/// # Errors
/// If the path is none.
pub fn request(method: Method, path: &str) -> Result<Request<()>> {
    Ok(Request::builder().method(method).uri(format!("https://{NAME}{path}")).body(())?)
}

/// The answer to a request that was sent.
///
/// # Errors
/// If there is none.
pub async fn answer(exchange: &mut Exchange) -> Result<Answer> {
    let (parts, ()) = exchange.recv_response().await?.into_parts();
    let mut body = Vec::new();
    while let Some(mut data) = exchange.recv_data().await? {
        let length = data.remaining();
        body.extend_from_slice(&data.copy_to_bytes(length));
    }
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

/// A frame: its type, its length, its payload.
#[must_use]
pub fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(kind, payload.len());
    bytes.extend_from_slice(payload);
    bytes
}

/// The beginning of a frame that says it has so many bytes, fewer than 2^30.
#[must_use]
pub fn header(kind: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![kind];
    let length = u32::try_from(length).unwrap_or(u32::MAX).min((1 << 30) - 1);
    bytes.extend((length | 0x8000_0000).to_be_bytes());
    bytes
}

/// The head of an upload, as a HEADERS frame.
///
/// # Errors
/// If a field is too long for this.
pub fn head(path: &str) -> Result<Vec<u8>> {
    let mut block = vec![0, 0];
    for (name, value) in
        [(":method", "PUT"), (":scheme", "https"), (":authority", NAME), (":path", path)]
    {
        // A literal field with a literal name, without Huffman's code (RFC 9204, section 4.5.6).
        text(&mut block, 0x20, 3, name)?;
        text(&mut block, 0, 7, value)?;
    }
    Ok(frame(1, &block))
}

fn text(block: &mut Vec<u8>, flags: u8, prefix_bits: u32, text: &str) -> Result<()> {
    let most = (1 << prefix_bits) - 1;
    let length = text.len();
    if length < most {
        block.push(flags | u8::try_from(length)?);
    } else {
        block.push(flags | u8::try_from(most)?);
        let rest = length - most;
        ensure!(rest < 0x4000, "{length} bytes");
        if rest >= 0x80 {
            block.push(u8::try_from(rest & 0x7f)? | 0x80);
            block.push(u8::try_from(rest >> 7)?);
        } else {
            block.push(u8::try_from(rest)?);
        }
    }
    block.extend_from_slice(text.as_bytes());
    Ok(())
}

/// The code with which the node closed a connection.
///
/// # Errors
/// If it ended otherwise.
pub fn closed_with(error: &quinn::ConnectionError) -> Result<u64> {
    match error {
        quinn::ConnectionError::ApplicationClosed(closed) => Ok(closed.error_code.into_inner()),
        other => Err(other.clone()).context("not closed by the node"),
    }
}

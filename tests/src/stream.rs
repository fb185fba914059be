//! A client of the wire protocol `holdfast.ingest.v1`.

use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::http::member;
use crate::node::Node;

/// The protocol's name.
pub const PROTOCOL: &str = "holdfast.ingest.v1";

/// Longest silence of a node that a client puts up with.
const SILENCE: Duration = Duration::from_secs(120);

/// How a stream can end before its time.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The node said what was wrong and closed.
    #[error("refused with {code}: {problem}")]
    Refused {
        /// The close code.
        code: u16,
        /// The problem document.
        problem: Value,
    },
    /// The line broke.
    #[error("lost the line: {0:#}")]
    Lost(anyhow::Error),
}

impl StreamError {
    /// The close code; 0 for a lost line.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Lost(_) => 0,
        }
    }

    /// The problem document; null for a lost line.
    #[must_use]
    pub fn problem(&self) -> &Value {
        match self {
            Self::Refused { problem, .. } => problem,
            Self::Lost(_) => &Value::Null,
        }
    }
}

fn lost(error: impl Into<anyhow::Error>) -> StreamError {
    StreamError::Lost(error.into())
}

/// Where streams go: a node, or a proxy before it.
#[derive(Debug, Clone)]
pub struct Address {
    port: u16,
    tls: Arc<ClientConfig>,
}

impl Address {
    /// The address of whoever serves at this port of 127.0.0.1 with this certificate.
    ///
    /// # Errors
    /// If the certificate cannot be read.
    pub fn new(port: u16, certificate: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let pem = std::fs::File::open(certificate)?;
        for certificate in CertificateDer::pem_reader_iter(BufReader::new(pem)) {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { port, tls: Arc::new(tls) })
    }

    /// The same at another port.
    #[must_use]
    pub fn at(&self, port: u16) -> Self {
        Self { port, tls: Arc::clone(&self.tls) }
    }

    /// Opens a TLS connection.
    ///
    /// # Errors
    /// If nobody answers, or not as expected.
    pub async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1")?;
        Ok(TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?)
    }

    /// The same for HTTP/2.
    #[must_use]
    pub fn http2(&self) -> Self {
        let mut tls = ClientConfig::clone(&self.tls);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        Self { port: self.port, tls: Arc::new(tls) }
    }
}

impl Node {
    /// Where streams to this node go.
    ///
    /// # Errors
    /// If its certificate cannot be read.
    pub fn address(&self) -> Result<Address> {
        Address::new(self.port(), &self.certificate())
    }
}

/// A connection on which a recording arrives.
#[derive(Debug)]
pub struct Stream {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    /// What the node answered to `start` or `resume`.
    pub greeting: Value,
    /// The recording.
    pub id: String,
    /// The secret that resumes it.
    pub token: String,
    /// Every byte before this offset is durable.
    pub acked: u64,
    window: u64,
}

impl Stream {
    /// Begins a recording in an environment made by a test.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn start(address: &Address, environment: &str) -> Result<Self, StreamError> {
        let start = json!({
            "type": "start", "env_id": environment, "env_hash": format!("{environment}-hash"),
            "mime": "video/webm", "metadata": { "camera": "a test", "length_ms": null },
        });
        Self::open(address, start, String::new()).await
    }

    /// Goes on with a recording.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn resume(address: &Address, id: &str, token: &str) -> Result<Self, StreamError> {
        let resume = json!({ "type": "resume", "recording_id": id, "token": token });
        Self::open(address, resume, token.to_owned()).await
    }

    /// Connects and sends a first message.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn open(address: &Address, first: Value, token: String) -> Result<Self, StreamError> {
        let socket = connect(address, Some(PROTOCOL)).await?;
        let mut stream =
            Self { socket, greeting: Value::Null, id: String::new(), token, acked: 0, window: 0 };
        stream.say(&first).await?;
        let greeting = stream.hear().await?;
        stream.id = member(&greeting, "recording_id").map_err(lost)?;
        if greeting["type"] == "started" {
            stream.token = member(&greeting, "token").map_err(lost)?;
        }
        let number = |name| greeting[name].as_u64().context(format!("no {name}")).map_err(lost);
        stream.acked = number("offset")?;
        stream.window = number("window_bytes_max")?;
        stream.greeting = greeting;
        Ok(stream)
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn say(&mut self, message: &Value) -> Result<(), StreamError> {
        self.send(Message::text(message.to_string())).await
    }

    /// Sends a chunk, whatever was acknowledged.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn chunk(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StreamError> {
        let mut frame = Vec::with_capacity(8 + bytes.len());
        frame.extend_from_slice(&offset.to_be_bytes());
        frame.extend_from_slice(bytes);
        self.send(Message::binary(frame)).await
    }

    /// Sends a frame as it is. Where the node has closed, its reason is the error.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn send(&mut self, message: Message) -> Result<(), StreamError> {
        match tokio::time::timeout(SILENCE, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => loop {
                match self.hear().await {
                    Ok(_) => {}
                    Err(StreamError::Lost(_)) => return Err(lost(error)),
                    refused => return refused.map(drop),
                }
            },
            Err(_) => Err(lost(anyhow!("the node takes nothing more"))),
        }
    }

    /// The next message. Acknowledgements are noted on the way.
    ///
    /// # Errors
    /// [`StreamError`]; a close without a problem document is a lost line.
    pub async fn hear(&mut self) -> Result<Value, StreamError> {
        let mut problem = None;
        loop {
            let frame = tokio::time::timeout(SILENCE, self.socket.next()).await;
            let frame = frame.map_err(|_| lost(anyhow!("the node says nothing")))?;
            match frame {
                Some(Ok(Message::Text(text))) => {
                    let message: Value = serde_json::from_str(&text).map_err(lost)?;
                    if message["type"] == "error" {
                        problem = Some(message["problem"].clone());
                        continue;
                    }
                    if message["type"] == "ack" {
                        let offset = message["offset"].as_u64();
                        self.acked = offset.context("an ack without offset").map_err(lost)?;
                    }
                    return Ok(message);
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    let code = u16::from(frame.code);
                    let Some(problem) = problem else {
                        return Err(lost(anyhow!("closed with {code} {}", frame.reason)));
                    };
                    return Err(StreamError::Refused { code, problem });
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(lost(error)),
                None => return Err(lost(anyhow!("the end; before it {problem:?}"))),
            }
        }
    }

    /// The next message of this type; others are passed over.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn hear_of(&mut self, kind: &str) -> Result<Value, StreamError> {
        loop {
            let message = self.hear().await?;
            if message["type"] == kind {
                return Ok(message);
            }
        }
    }

    /// Waits until every byte before `offset` is acknowledged.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn acked_to(&mut self, offset: u64) -> Result<(), StreamError> {
        while self.acked < offset {
            self.hear().await?;
        }
        Ok(())
    }

    /// Sends what is not acknowledged yet of a recording's first bytes, in chunks of this size, as
    /// fast as the window allows, and waits until all of it is acknowledged.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn push(&mut self, bytes: &[u8], chunk: usize) -> Result<(), StreamError> {
        let mut sent = usize::try_from(self.acked).map_err(lost)?;
        while sent < bytes.len() {
            let end = bytes.len().min(sent + chunk);
            self.acked_to((end as u64).saturating_sub(self.window)).await?;
            self.chunk(sent as u64, &bytes[sent..end]).await?;
            sent = end;
        }
        self.acked_to(bytes.len() as u64).await
    }

    /// Says that the recorder has stopped; returns the digest of what the node has.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn stop(&mut self, size: usize) -> Result<String, StreamError> {
        self.say(&json!({ "type": "stop", "size": size })).await?;
        let stopped = self.hear_of("stopped").await?;
        member(&stopped, "sha256").map_err(lost)
    }

    /// Has it kept.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn save(&mut self) -> Result<(), StreamError> {
        self.say(&json!({ "type": "save" })).await?;
        self.hear_of("saved").await.map(drop)
    }

    /// Sends a whole recording and has it kept.
    ///
    /// # Errors
    /// [`StreamError`]
    pub async fn record(&mut self, bytes: &[u8], chunk: usize) -> Result<String, StreamError> {
        self.push(bytes, chunk).await?;
        let sha256 = self.stop(bytes.len()).await?;
        self.save().await?;
        Ok(sha256)
    }

    /// Reads on until the node closes; returns its reason.
    ///
    /// # Errors
    /// If the line breaks instead.
    pub async fn refusal(&mut self) -> Result<StreamError> {
        loop {
            match self.hear().await {
                Ok(_) => {}
                Err(StreamError::Lost(error)) => return Err(error),
                Err(refused) => return Ok(refused),
            }
        }
    }
}

/// Opens a WebSocket, offering this protocol.
///
/// # Errors
/// [`StreamError`]; an answer without an upgrade is `Refused` with 4000 + its status.
pub async fn connect(
    address: &Address,
    protocol: Option<&str>,
) -> Result<WebSocketStream<TlsStream<TcpStream>>, StreamError> {
    let tls = address.connect().await.map_err(lost)?;
    let url = format!("wss://127.0.0.1:{}/api/v1/ingest/stream", address.port);
    let mut request = url.into_client_request().map_err(lost)?;
    if let Some(protocol) = protocol {
        let value = protocol.parse().map_err(|_| lost(anyhow!("no header value")))?;
        request.headers_mut().insert("sec-websocket-protocol", value);
    }
    let config = WebSocketConfig::default().write_buffer_size(0);
    match client_async_with_config(request, tls, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            let problem = serde_json::from_slice(&body).unwrap_or(Value::Null);
            Err(StreamError::Refused { code: 4000 + response.status().as_u16(), problem })
        }
        Err(error) => Err(lost(error)),
    }
}

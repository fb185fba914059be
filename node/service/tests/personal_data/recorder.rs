//! A recorder's connection: a WebSocket (RFC 6455) from an address of its own, written by hand
//! because nothing but small whole frames crosses it.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const PING: u8 = 9;
/// Largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 4_096;

pub(crate) struct Recorder(TcpStream);

impl Recorder {
    /// Connects from this address, with these headers.
    pub(crate) async fn connect(to: SocketAddr, from: Ipv4Addr, headers: &[(&str, &str)]) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        let mut request = format!(
            "GET /api/v1/ingest/stream HTTP/1.1\r\nhost: {to}\r\nconnection: upgrade\r\n\
             upgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: holdfast.ingest.v1\r\n"
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            assert!(head.len() < HEAD_BYTES_MAX, "{}", String::from_utf8_lossy(&head));
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self(stream)
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.send(TEXT, message.to_string().as_bytes()).await;
    }

    /// Sends all the recording's bytes as one chunk.
    pub(crate) async fn record(&mut self, bytes: &[u8]) {
        let chunk = [&0_u64.to_be_bytes(), bytes].concat();
        self.send(BINARY, &chunk).await;
    }

    /// Waits for a message of this type; others that come before it are passed over.
    pub(crate) async fn hear(&mut self, kind: &str) -> Value {
        loop {
            let (opcode, payload) = self.frame().await;
            if opcode == PING {
                continue;
            }
            let said = String::from_utf8_lossy(&payload);
            assert_eq!(opcode, TEXT, "{said}");
            let message: Value = serde_json::from_str(&said).unwrap();
            assert_ne!(message["type"], "error", "{message}");
            if message["type"] == kind {
                return message;
            }
        }
    }

    /// A whole frame. A client masks what it sends; with a mask of zeros it stays as it is.
    async fn send(&mut self, opcode: u8, payload: &[u8]) {
        let length = u16::try_from(payload.len()).unwrap();
        let mut frame = vec![0x80 | opcode, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(payload);
        self.0.write_all(&frame).await.unwrap();
    }

    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let (first, second) = (self.0.read_u8().await.unwrap(), self.0.read_u8().await.unwrap());
        assert_eq!(first & 0xf0, 0x80, "a node sends whole frames");
        let length = match second {
            126 => usize::from(self.0.read_u16().await.unwrap()),
            length @ ..126 => usize::from(length),
            _ => panic!("a node says nothing so long, and masks nothing"),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.unwrap();
        (first & 0x0f, payload)
    }
}

//! A line that can be cut, stalled, slowed and mended: a TCP proxy before a node.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Everything gets through.
    Whole,
    /// Everything gets through, in slices of this many bytes with this pause before each.
    Slow {
        /// Most bytes at once.
        slice_bytes: usize,
        /// Pause before each slice, in milliseconds.
        pause_ms: u64,
    },
    /// Nothing gets through, and nobody is told.
    Stalled,
    /// Connections are reset, new ones too.
    Cut,
}

/// The proxy; its connections end with it.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    line: Arc<watch::Sender<Line>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Puts a proxy before a port of 127.0.0.1.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn before(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let own = listener.local_addr()?.port();
        let line = Arc::new(watch::Sender::new(Line::Whole));
        let shared = Arc::clone(&line);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let line = shared.subscribe();
                if *line.borrow() == Line::Cut {
                    reset(&client);
                    continue;
                }
                tokio::spawn(async move {
                    if let Ok(node) = TcpStream::connect(("127.0.0.1", port)).await {
                        carry(client, node, line).await;
                    }
                });
            }
        });
        Ok(Self { port: own, line, accepting })
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the line, for the connections there are and those to come.
    pub fn make(&self, line: Line) {
        self.line.send_replace(line);
    }

    /// Resets the connections there are; the line is whole for those to come.
    pub async fn cut_once(&self) {
        self.make(Line::Cut);
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.make(Line::Whole);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.line.send_replace(Line::Cut);
        self.accepting.abort();
    }
}

#[expect(deprecated, reason = "a reset is what is wanted, and with zero seconds nothing blocks")]
fn reset(socket: &TcpStream) {
    let _ = socket.set_linger(Some(Duration::ZERO));
}

async fn carry(client: TcpStream, node: TcpStream, mut line: watch::Receiver<Line>) {
    let _ = client.set_nodelay(true);
    let _ = node.set_nodelay(true);
    let (mut up, mut down) = (line.clone(), line.clone());
    reset(&client);
    reset(&node);
    let (client_read, client_write) = client.into_split();
    let (node_read, node_write) = node.into_split();
    tokio::select! {
        () = async {
            tokio::join!(
                pour(client_read, node_write, &mut up),
                pour(node_read, client_write, &mut down),
            );
        } => {}
        _ = line.wait_for(|line| *line == Line::Cut) => {}
    }
}

async fn pour(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: &mut watch::Receiver<Line>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        if line.wait_for(|line| *line != Line::Stalled).await.is_err() {
            return;
        }
        let now = *line.borrow();
        let room = if let Line::Slow { slice_bytes, pause_ms } = now {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            slice_bytes.min(buffer.len())
        } else {
            buffer.len()
        };
        let n = match from.read(&mut buffer[..room]).await {
            Ok(0) | Err(_) => break,
            Ok(n) => n,
        };
        // What was under way when the line stalled waits as well.
        if line.wait_for(|line| *line != Line::Stalled).await.is_err()
            || to.write_all(&buffer[..n]).await.is_err()
        {
            break;
        }
    }
    let _ = to.shutdown().await;
}

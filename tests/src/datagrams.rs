//! A line for datagrams before a node's UDP port, which loses some.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Largest datagram.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// What has passed, and what has not.
#[derive(Debug, Default)]
pub struct Count {
    /// Datagrams that were carried, in both directions.
    pub carried: AtomicUsize,
    /// Those that were lost.
    pub lost: AtomicUsize,
    /// Those of the node that ask a client to prove its address (Retry of RFC 9000, section 17.2.5).
    pub retries: AtomicUsize,
}

/// The line; it ends with this.
#[derive(Debug)]
pub struct Datagrams {
    port: u16,
    count: Arc<Count>,
    carrying: JoinHandle<()>,
}

impl Datagrams {
    /// Puts a line before a UDP port of 127.0.0.1 that loses so many of a hundred datagrams, each way.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn before(port: u16, lost_percent: u32) -> Result<Self> {
        let socket = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await?);
        let own = socket.local_addr()?.port();
        let count = Arc::new(Count::default());
        let line = Line { socket, count: Arc::clone(&count), lost_percent };
        Ok(Self { port: own, count, carrying: tokio::spawn(line.carry(port)) })
    }

    /// The port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What has passed so far.
    #[must_use]
    pub fn count(&self) -> &Count {
        &self.count
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

#[derive(Clone)]
struct Line {
    socket: Arc<UdpSocket>,
    count: Arc<Count>,
    lost_percent: u32,
}

/// Ends with whoever waits for it.
struct Back(Arc<UdpSocket>, JoinHandle<()>);

impl Drop for Back {
    fn drop(&mut self) {
        self.1.abort();
    }
}

impl Line {
    async fn carry(self, port: u16) {
        let mut clients: HashMap<SocketAddr, Back> = HashMap::new();
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let Ok((length, from)) = self.socket.recv_from(&mut buffer).await else { continue };
            let back = match clients.entry(from) {
                Entry::Occupied(back) => back.into_mut(),
                Entry::Vacant(place) => match self.back_to(from, port).await {
                    Ok(back) => place.insert(back),
                    Err(_) => continue,
                },
            };
            if !self.is_lost() {
                drop(back.0.send(&buffer[..length]).await);
            }
        }
    }

    async fn back_to(&self, client: SocketAddr, port: u16) -> Result<Back> {
        let node = Arc::new(UdpSocket::bind(("127.0.0.1", 0)).await?);
        node.connect(("127.0.0.1", port)).await?;
        let (line, from) = (self.clone(), Arc::clone(&node));
        let carrying = tokio::spawn(async move {
            let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
            loop {
                let Ok(length) = from.recv(&mut buffer).await else { continue };
                // A long header of the type Retry, and version 1.
                if length > 5 && buffer[0] & 0xf0 == 0xf0 && buffer[1..5] == [0, 0, 0, 1] {
                    line.count.retries.fetch_add(1, Ordering::Relaxed);
                }
                if !line.is_lost() {
                    drop(line.socket.send_to(&buffer[..length], client).await);
                }
            }
        });
        Ok(Back(node, carrying))
    }

    fn is_lost(&self) -> bool {
        let is_lost = fastrand::u32(..100) < self.lost_percent;
        let count = if is_lost { &self.count.lost } else { &self.count.carried };
        count.fetch_add(1, Ordering::Relaxed);
        is_lost
    }
}

//! A line to a server of this machine that breaks and stalls on demand.

#![allow(dead_code, reason = "each of the tests that share it uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens once the line has carried its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: it carries on.
    Good,
    /// It resets connections, also new ones.
    Reset,
    /// It holds connections and carries nothing.
    Stall,
    /// It carries requests, but no answers.
    Mute,
    /// It alters one byte of a request.
    Flip,
    /// It loses the next answer to the request that puts parts together, by a reset.
    LoseCompletion,
    /// It ends its own side of connections and still listens.
    HalfClose,
    /// It carries one byte at a time.
    Trickle,
    /// It carries everything half a second late.
    Late,
}

/// A line to a port of this machine.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    then: AtomicU8,
    left: AtomicU64,
    carried: AtomicU64,
    /// The request whose answer is lost.
    losing: &'static [u8],
}

impl Line {
    /// A line that carries `bytes` bytes to the store and then does as told.
    pub(crate) async fn to(port: u16, bytes: u64, then: Then) -> Self {
        Self::at("127.0.0.1:0", port, bytes, then, b"<CompleteMultipartUpload").await
    }

    /// The same at an address of its own, and with the request whose answer it may lose.
    pub(crate) async fn at(
        address: &str,
        port: u16,
        bytes: u64,
        then: Then,
        losing: &'static [u8],
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            then: AtomicU8::new(then as u8),
            left: AtomicU64::new(bytes),
            carried: AtomicU64::new(0),
            losing,
        };
        let line = Self { address, state: Arc::new(state) };
        let carrier = line.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carrier.clone().carry(near, port));
            }
        });
        line
    }

    /// The line is good from now on.
    pub(crate) fn mend(&self) {
        self.state.then.store(Then::Good as u8, Ordering::SeqCst);
    }

    /// From now on, after as many bytes more, the line does this.
    pub(crate) fn turn(&self, bytes: u64, then: Then) {
        self.state.left.store(bytes, Ordering::SeqCst);
        self.state.then.store(then as u8, Ordering::SeqCst);
    }

    /// The line carries no answers from now on, nor the rest of those under way.
    pub(crate) fn fall_silent(&self) {
        self.state.then.store(Then::Mute as u8, Ordering::SeqCst);
    }

    /// Bytes carried to the store.
    pub(crate) fn carried(&self) -> u64 {
        self.state.carried.load(Ordering::SeqCst)
    }

    /// Whether it is still about to do this.
    pub(crate) fn is(&self, then: Then) -> bool {
        self.state.then.load(Ordering::SeqCst) == then as u8
    }

    async fn carry(self, near: TcpStream, port: u16) {
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        let (mut near_in, mut near_out) = near.into_split();
        let (mut far_in, mut far_out) = far.into_split();
        let (loses, answers) = (Arc::new(AtomicBool::new(false)), self.clone());
        let is_lost = loses.clone();
        let back = tokio::spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = far_in.read(&mut buffer).await {
                if is_lost.load(Ordering::SeqCst) {
                    let stream: &TcpStream = near_out.as_ref();
                    stream.set_zero_linger().unwrap();
                    return answers.mend();
                }
                while answers.is(Then::Mute) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                if answers.is(Then::Late) {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                if near_out.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
        });
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = near_in.read(&mut buffer).await {
            let completes = self.state.losing;
            if self.is(Then::LoseCompletion)
                && buffer[..read].windows(completes.len()).any(|window| window == completes)
            {
                loses.store(true, Ordering::SeqCst);
            }
            let bytes = read as u64;
            let left = self.state.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                Some(left.saturating_sub(bytes))
            });
            if left.unwrap() < bytes {
                if self.is(Then::Reset) {
                    let stream: &TcpStream = near_in.as_ref();
                    stream.set_zero_linger().unwrap();
                    back.abort();
                    return;
                }
                if self.is(Then::Flip) {
                    buffer[read - 1] ^= 1;
                    self.mend();
                }
                while self.is(Then::Stall) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                if self.is(Then::HalfClose) {
                    drop(far_out);
                    let _ = back.await;
                    return;
                }
                if self.is(Then::Late) {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                if self.is(Then::Trickle) {
                    for byte in &buffer[..read] {
                        if far_out.write_all(&[*byte]).await.is_err() {
                            return;
                        }
                    }
                    self.state.carried.fetch_add(bytes, Ordering::SeqCst);
                    continue;
                }
            }
            if far_out.write_all(&buffer[..read]).await.is_err() {
                return;
            }
            self.state.carried.fetch_add(bytes, Ordering::SeqCst);
        }
    }
}

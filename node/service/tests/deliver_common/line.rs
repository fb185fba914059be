//! A line to a server of this machine that breaks and stalls on demand.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
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
    /// It loses the next answer to the request that makes a file whole, by a reset.
    LoseCompletion,
    /// It ends connections towards the server, but still carries its answers.
    EndToServer,
    /// It ends connections towards us, but still carries to the server.
    EndToUs,
    /// It holds everything for three seconds, once.
    Pause,
    /// It carries one byte at a time, both ways.
    Trickle,
    /// It carries everything half a second late, both ways.
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
    /// The request whose answer [`Then::LoseCompletion`] loses.
    completes: &'static [u8],
    connections: AtomicU64,
    open: AtomicU64,
    cuts: tokio::sync::Notify,
    /// Once this holds, the next answer is lost by a reset, and the line is good from then on.
    loses: Mutex<Option<Condition>>,
}

type Condition = Box<dyn Fn() -> bool + Send>;

impl Line {
    /// A line that carries `bytes` bytes to the server and then does as told.
    pub(crate) async fn to(port: u16, bytes: u64, then: Then) -> Self {
        Self::at("127.0.0.1:0", port, bytes, then, b"<CompleteMultipartUpload").await
    }

    /// The same at an address of its own, and with the request that makes a file whole.
    pub(crate) async fn at(
        address: &str,
        port: u16,
        bytes: u64,
        then: Then,
        completes: &'static [u8],
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            then: AtomicU8::new(then as u8),
            left: AtomicU64::new(bytes),
            carried: AtomicU64::new(0),
            completes,
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            cuts: tokio::sync::Notify::new(),
            loses: Mutex::new(None),
        };
        let line = Self { address, state: Arc::new(state) };
        let carrier = line.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let carrier = carrier.clone();
                tokio::spawn(async move {
                    carrier.state.connections.fetch_add(1, Ordering::SeqCst);
                    carrier.state.open.fetch_add(1, Ordering::SeqCst);
                    tokio::select! {
                        () = carrier.clone().carry(near, port) => {}
                        () = carrier.state.cuts.notified() => {}
                    }
                    carrier.state.open.fetch_sub(1, Ordering::SeqCst);
                });
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

    /// Bytes carried to the server.
    pub(crate) fn carried(&self) -> u64 {
        self.state.carried.load(Ordering::SeqCst)
    }

    /// Connections that were made.
    pub(crate) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> u64 {
        self.state.open.load(Ordering::SeqCst)
    }

    /// Cuts the connections that are open, and waits until they are.
    pub(crate) async fn cut_all(&self) {
        self.state.cuts.notify_waiters();
        while self.open() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Once the condition holds, the next answer is lost.
    pub(crate) fn lose_answer_when(&self, condition: impl Fn() -> bool + Send + 'static) {
        *self.state.loses.lock().unwrap() = Some(Box::new(condition));
    }

    /// Whether no answer is about to be lost any more.
    pub(crate) fn has_lost(&self) -> bool {
        self.state.loses.lock().unwrap().is_none()
    }

    fn loses_now(&self) -> bool {
        let mut loses = self.state.loses.lock().unwrap();
        let is_time = loses.as_ref().is_some_and(|condition| condition());
        is_time && loses.take().is_some()
    }

    /// Whether it is still about to do this.
    pub(crate) fn is(&self, then: Then) -> bool {
        self.state.then.load(Ordering::SeqCst) == then as u8
    }

    async fn carry(self, near: TcpStream, port: u16) {
        let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
        let (mut near_in, near_out) = near.into_split();
        let (far_in, mut far_out) = far.into_split();
        let loses = Arc::new(AtomicBool::new(false));
        let back = tokio::spawn(self.clone().carry_answers(far_in, near_out, loses.clone()));
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = near_in.read(&mut buffer).await {
            let completes = self.state.completes;
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
                if self.is(Then::EndToServer) {
                    drop(far_out);
                    let _ = back.await;
                    return;
                }
                if self.is(Then::Flip) {
                    buffer[read - 1] ^= 1;
                    self.mend();
                }
                if self.is(Then::Pause) {
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    self.mend();
                }
                while self.is(Then::Stall) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            if self.hand_on(&mut far_out, &buffer[..read]).await.is_err() {
                return;
            }
            self.state.carried.fetch_add(bytes, Ordering::SeqCst);
        }
    }

    async fn carry_answers(
        self,
        mut far_in: OwnedReadHalf,
        mut near_out: OwnedWriteHalf,
        is_lost: Arc<AtomicBool>,
    ) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = far_in.read(&mut buffer).await {
            if is_lost.load(Ordering::SeqCst) {
                let stream: &TcpStream = near_out.as_ref();
                stream.set_zero_linger().unwrap();
                return self.mend();
            }
            if self.loses_now() {
                let stream: &TcpStream = near_out.as_ref();
                stream.set_zero_linger().unwrap();
                return;
            }
            if self.is(Then::EndToUs) && self.left() == 0 {
                let _ = near_out.shutdown().await;
                while let Ok(1..) = far_in.read(&mut buffer).await {}
                return;
            }
            while self.is(Then::Mute) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            if self.hand_on(&mut near_out, &buffer[..read]).await.is_err() {
                return;
            }
        }
    }

    fn left(&self) -> u64 {
        self.state.left.load(Ordering::SeqCst)
    }

    async fn hand_on(&self, to: &mut OwnedWriteHalf, bytes: &[u8]) -> std::io::Result<()> {
        if self.is(Then::Late) {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        if !self.is(Then::Trickle) {
            return to.write_all(bytes).await;
        }
        for byte in bytes.chunks(1) {
            to.write_all(byte).await?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

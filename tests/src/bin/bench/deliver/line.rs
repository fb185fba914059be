//! A long line to a server of this machine: whatever enters at one end leaves at the other after half
//! the time of a round trip, at any rate. The kernel's own (netem) is not everywhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Where the near end of a long line is.
pub(crate) const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Most bytes of one read, and most reads on their way: at 50 ms, room for 640 MiB a second.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_ON_THE_WAY: usize = 64;

/// The line; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Line(JoinSet<()>);

impl Line {
    /// Lays it from [`NEAR`] to 127.0.0.1, for each of these ports.
    pub(crate) async fn lay(
        ports: impl IntoIterator<Item = u16>,
        round_trip: Duration,
    ) -> Result<Self> {
        let mut set = JoinSet::new();
        for port in ports {
            let near = SocketAddr::new(NEAR, port);
            let listener = TcpListener::bind(near).await.with_context(|| near.to_string())?;
            set.spawn(async move {
                let mut carried = JoinSet::new();
                while let Ok((near, _)) = listener.accept().await {
                    carried.spawn(carry(near, port, round_trip));
                }
            });
        }
        Ok(Self(set))
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

async fn carry(near: TcpStream, port: u16, round_trip: Duration) {
    // The near end's handshake took no time; over a long line it takes a round trip.
    tokio::time::sleep(round_trip).await;
    let Ok(far) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
        return;
    }
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let half = round_trip / 2;
    tokio::join!(pour(near_read, far_write, half), pour(far_read, near_write, half));
}

async fn pour(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, late: Duration) {
    let (enter, mut leave) = mpsc::channel::<(Instant, Bytes)>(PIECES_ON_THE_WAY);
    let read = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(PIECE_BYTES);
            match from.read_buf(&mut buffer).await {
                Ok(1..) => {}
                _ => return,
            }
            if enter.send((Instant::now() + late, buffer.split().freeze())).await.is_err() {
                return;
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = leave.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

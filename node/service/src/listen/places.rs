//! Places for connections: so many in all, and no more than a share of them for one address.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections beside the recordings that arrive: pages, API, health.
const CONNECTIONS_BESIDE: usize = 512;

/// Who counts as one address: whoever has an IPv6 network has at least a /64 of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    V4([u8; 4]),
    V6Net([u8; 8]),
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(four) => Self::V4(four.octets()),
            IpAddr::V6(six) => {
                let [a, b, c, d, e, f, g, h, ..] = six.octets();
                Self::V6Net([a, b, c, d, e, f, g, h])
            }
        }
    }
}

#[derive(Debug, Default)]
struct Held {
    places: usize,
    is_refused: bool,
}

/// The places of a node, over all addresses at which it listens.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    most: usize,
    per_address_max: usize,
    held: Mutex<HashMap<Address, Held>>,
}

impl Places {
    /// Places for as many recordings as may arrive at once and for what comes beside them.
    #[must_use]
    pub fn new(recordings_max: usize, per_address_max: usize) -> Arc<Self> {
        let most = recordings_max.saturating_add(CONNECTIONS_BESIDE).min(Semaphore::MAX_PERMITS);
        let all = Arc::new(Semaphore::new(most));
        Arc::new(Self { all, most, per_address_max, held: Mutex::default() })
    }

    /// Waits until there is a place at all.
    pub(super) async fn any(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Whether so few places are left, in all or of those of this address, that whoever asks for one should first
    /// prove that the address is theirs.
    pub(super) fn are_scarce(&self, from: IpAddr) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = held.get(&Address::from(from)).map_or(0, |held| held.places);
        of_address >= self.per_address_max / 4 || self.all.available_permits() < self.most / 2
    }

    /// A place for a connection from this address; `None` where it has all that one may have.
    pub(super) fn take(self: &Arc<Self>, any: OwnedSemaphorePermit, from: IpAddr) -> Option<Place> {
        let address = Address::from(from);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let of_address = held.entry(address).or_default();
        if of_address.places >= self.per_address_max {
            // Said once for each rush.
            if !std::mem::replace(&mut of_address.is_refused, true) {
                tracing::warn!(
                    %from,
                    connections = of_address.places,
                    "has all the connections that one address may have; more are closed until it ends \
                     some. If it is a proxy, raise node.connections_per_address_max"
                );
            }
            return None;
        }
        of_address.places += 1;
        Some(Place { places: Arc::clone(self), address, _any: any })
    }
}

/// A connection's place; dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: Address,
    _any: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_address) = held.get_mut(&self.address) {
            of_address.places = of_address.places.saturating_sub(1);
            if of_address.places == 0 {
                held.remove(&self.address);
            }
        }
    }
}

/// A socket with its place, which it keeps when a connection becomes a web socket.
#[derive(Debug)]
pub(super) struct Placed {
    socket: TcpStream,
    _place: Place,
}

impl Placed {
    pub(super) fn new(socket: TcpStream, place: Place) -> Self {
        Self { socket, _place: place }
    }
}

impl AsyncRead for Placed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for Placed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_has_its_share_and_others_have_theirs() {
        let places = Places::new(0, 2);
        let take = async |from: &str| {
            let any = places.any().await.unwrap();
            places.take(any, from.parse().unwrap())
        };
        let one = take("192.0.2.1").await;
        let two = take("::ffff:192.0.2.1").await;
        assert!(one.is_some() && two.is_some());
        assert!(take("192.0.2.1").await.is_none());
        let other = take("192.0.2.2").await;
        assert!(other.is_some());
        drop(one);
        assert!(take("192.0.2.1").await.is_some());
        assert!(places.are_scarce("192.0.2.1".parse().unwrap()));
        assert!(!Places::new(0, 8).are_scarce("192.0.2.1".parse().unwrap()));
        // A network of IPv6 counts as one.
        let six = (take("2001:db8:1:2::1").await, take("2001:db8:1:2:ffff::9").await);
        assert!(six.0.is_some() && six.1.is_some());
        assert!(take("2001:db8:1:2:3::3").await.is_none());
        assert!(take("2001:db8:1:3::1").await.is_some());
        drop((two, other, six));
        assert!(places.held.lock().unwrap().is_empty());
        assert_eq!(places.all.available_permits(), CONNECTIONS_BESIDE);
    }
}

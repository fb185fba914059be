//! HTTP/3: the same requests as over https, over QUIC (RFC 9000, RFC 9114).
//!
//! What holds for a connection over TCP holds here: its place among all connections, the time for shaking
//! hands and for heads, the windows, what is idle, and the way it ends. A client's address may change
//! meanwhile; each request has the one that its client has when it comes. A connection keeps the place of the
//! address that it began at.

mod connection;
mod frames;
mod gate;
mod request;
mod settings;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use h3::error::Code;
use quinn::{Endpoint, EndpointConfig, Incoming, TokioRuntime, VarInt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::places::{Place, Places};
use crate::clock::Clock;
pub use settings::Http3Error;

/// How long clients may remember that HTTP/3 is served, in seconds.
const REMEMBERED_S: u32 = 86_400;
/// Longest that telling clients of the end takes.
const CLOSING_MAX: Duration = Duration::from_secs(3);

/// What listens.
#[derive(Debug)]
pub struct Http3Listener {
    endpoint: Endpoint,
    shared: Shared,
    halt: CancellationToken,
}

/// What a listener's connections share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Places for connections, shared with the node's other listeners.
    pub places: Arc<Places>,
    /// How long a connection may stay without a request.
    pub idle_max: Duration,
    /// For the date in answers.
    pub clock: Clock,
    /// Ends connections once they have answered what they are at.
    pub stop: CancellationToken,
}

impl Http3Listener {
    /// Listens at a socket with this certificate. Must be called within a runtime. `halt` breaks off what has
    /// not ended after [`Shared::stop`].
    ///
    /// # Errors
    /// [`Http3Error`]
    pub fn new(
        socket: UdpSocket,
        tls: &rustls::ServerConfig,
        shared: Shared,
        halt: CancellationToken,
    ) -> Result<Self, Http3Error> {
        let settings = settings::server(tls)?;
        let runtime = Arc::new(TokioRuntime);
        let endpoint = Endpoint::new(EndpointConfig::default(), Some(settings), socket, runtime);
        Ok(Self { endpoint: endpoint.map_err(Http3Error::Socket)?, shared, halt })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// What tells clients on https that there is HTTP/3 (RFC 7838).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn alt_svc(&self) -> io::Result<HeaderValue> {
        let text = format!("h3=\":{}\"; ma={REMEMBERED_S}", self.local_addr()?.port());
        HeaderValue::from_str(&text).map_err(io::Error::other)
    }

    /// Serves until it is stopped; connections then finish the requests they are at, and clients are told.
    pub async fn run(self, router: Router) {
        let connections = TaskTracker::new();
        let stop = self.shared.stop.clone();
        while let Some((incoming, place)) = tokio::select! {
            begun = self.begun() => begun,
            () = stop.cancelled() => None,
        } {
            let (router, shared) = (router.clone(), self.shared.clone());
            connections.spawn(async move {
                let peer = incoming.remote_address();
                if let Err(error) = connection::serve(incoming, place, router, shared).await {
                    tracing::debug!(%peer, %error, "connection");
                }
            });
        }
        connections.close();
        tokio::select! {
            () = connections.wait() => {}
            () = self.halt.cancelled() => {}
            // They are better off with another way in, at once.
            () = self.refuse_all() => {}
        }
        self.endpoint.close(varint(Code::H3_NO_ERROR), b"the node stops");
        drop(tokio::time::timeout(CLOSING_MAX, self.endpoint.wait_idle()).await);
    }

    /// The next connection that has a place. Nothing where the socket is gone.
    async fn begun(&self) -> Option<(Incoming, Place)> {
        loop {
            let any = self.shared.places.any().await?;
            let incoming = self.endpoint.accept().await?;
            let from = incoming.remote_address().ip();
            // Whoever writes a foreign address on a packet gets no place for it where they are scarce.
            if !incoming.remote_address_validated() && self.shared.places.are_scarce(from) {
                if let Err(error) = incoming.retry() {
                    tracing::debug!(%error, "connection");
                }
                continue;
            }
            match self.shared.places.take(any, from) {
                Some(place) => return Some((incoming, place)),
                None => incoming.refuse(),
            }
        }
    }

    async fn refuse_all(&self) {
        while let Some(incoming) = self.endpoint.accept().await {
            incoming.refuse();
        }
    }
}

fn varint(code: Code) -> VarInt {
    VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX)
}

//! Listening: TCP, TLS, HTTP/1.1 and HTTP/2, each connection with its limits.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Longest a client may take to shake hands.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Longest a client may take to send a request's head.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Largest head of a request, and most that is read ahead of a body, in bytes.
const BUFFER_BYTES_MAX: usize = 128 * 1024;
/// Connections beside the recordings that arrive: pages, API, health.
const CONNECTIONS_BESIDE: usize = 512;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const H2_STREAM_WINDOW_BYTES: u32 = 2 << 20;
const H2_CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const H2_STREAMS_MAX: u32 = 64;

/// What listens.
#[derive(Debug)]
pub struct Listener {
    /// Where clients knock.
    pub tcp: TcpListener,
    /// Shakes hands with them.
    pub tls: Arc<rustls::ServerConfig>,
    /// Recordings that may arrive at once; each may have a connection.
    pub recordings_max: usize,
    /// Every connection is tracked here.
    pub tasks: TaskTracker,
    /// Ends it.
    pub stop: CancellationToken,
}

impl Listener {
    /// Serves until it is stopped; connections then finish the request they are at.
    pub async fn run(self, router: Router) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        let places = Arc::new(Semaphore::new(self.recordings_max + CONNECTIONS_BESIDE));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, for one: waiting is all that helps.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (acceptor, router, stop) = (acceptor.clone(), router.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                if let Err(error) = connection(socket, peer, acceptor, router, stop).await {
                    tracing::debug!(%peer, %error, "connection");
                }
                drop(place);
            });
        }
    }
}

async fn connection(
    socket: TcpStream,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let shaken = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(socket)).await;
    let tls = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            let Ok(response) = router.oneshot(request).await;
            Ok::<_, Infallible>(response)
        }
    });
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(tls, service, stop).await
    } else {
        http1(tls, service, stop).await
    }
}

async fn http1<S>(tls: TlsStream<TcpStream>, service: S, stop: CancellationToken) -> io::Result<()>
where
    S: hyper::service::HttpService<Incoming, ResBody = axum::body::Body, Error = Infallible>,
    S::Future: Send,
{
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    done.map_err(io::Error::other)
}

async fn http2<S>(tls: TlsStream<TcpStream>, service: S, stop: CancellationToken) -> io::Result<()>
where
    S: hyper::service::HttpService<Incoming, ResBody = axum::body::Body, Error = Infallible>,
    S::Future: Send + 'static,
{
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_MAX)
        .initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(H2_STREAMS_MAX)
        .serve_connection(TokioIo::new(tls), service);
    let mut connection = pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    done.map_err(io::Error::other)
}

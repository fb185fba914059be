//! Listening: TCP, TLS, HTTP/1.1 and HTTP/2, and HTTP/3 beside it; each connection with its limits.

mod handed;
mod http3;
mod idle;
mod places;
mod unread;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

pub use handed::{Sockets, sockets};
pub use http3::{Http3Error, Http3Listener, Shared as Http3Shared};
use idle::Activity;
pub(crate) use places::Address;
use places::Placed;
pub use places::Places;

/// Longest a client may take to shake hands.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Longest a client may take to send a request's head.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Largest head of a request, and most that is read ahead of a body, in bytes. A larger head is 431.
const BUFFER_BYTES_MAX: usize = 128 * 1024;
/// Largest head of a request over HTTP/2 and HTTP/3, in bytes. A larger one is 431.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Longest that a connection may take to end once it was told to for being idle.
const ENDING_MAX: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
const STREAMS_MAX: u32 = 64;

/// What listens.
#[derive(Debug)]
pub struct Listener {
    /// Where clients knock.
    pub tcp: TcpListener,
    /// Shakes hands with them.
    pub tls: Arc<rustls::ServerConfig>,
    /// Places for connections, shared with the node's other listeners.
    pub places: Arc<Places>,
    /// How long a connection may stay without a request.
    pub idle_max: Duration,
    /// Said in each answer: that there is HTTP/3, and where.
    pub alt_svc: Option<HeaderValue>,
    /// Every connection is tracked here.
    pub tasks: TaskTracker,
    /// Ends it.
    pub stop: CancellationToken,
}

impl Listener {
    /// Serves until it is stopped; connections then finish the request they are at.
    pub async fn run(self, router: Router) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.tls));
        loop {
            let Some(any) = self.places.any().await else { return };
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
            let Some(place) = self.places.take(any, peer.ip()) else { continue };
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%peer, %error, "connection");
                continue;
            }
            let socket = Placed::new(socket, place);
            let (acceptor, router) = (acceptor.clone(), router.clone());
            let around = Around {
                idle_max: self.idle_max,
                alt_svc: self.alt_svc.clone(),
                stop: self.stop.clone(),
                tasks: self.tasks.clone(),
            };
            self.tasks.spawn(async move {
                let ended = connection(socket, peer, acceptor, router, around).await;
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "connection");
                }
            });
        }
    }
}

/// What ends a connection, what outlives it for a moment, and what its answers say.
struct Around {
    idle_max: Duration,
    alt_svc: Option<HeaderValue>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

async fn connection(
    socket: Placed,
    peer: SocketAddr,
    acceptor: TlsAcceptor,
    router: Router,
    around: Around,
) -> io::Result<()> {
    let Around { idle_max, alt_svc, stop, tasks } = around;
    let shaken = tokio::time::timeout(HANDSHAKE_MAX, acceptor.accept(socket)).await;
    let tls = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let activity = Arc::new(Activity::default());
    let of_requests = Arc::clone(&activity);
    let stopping = stop.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        let under_way = of_requests.begin();
        let alt_svc = alt_svc.clone();
        let (mut request, unread) = unread::watch(request, &tasks, &stopping);
        async move {
            request.extensions_mut().insert(ConnectInfo(peer));
            let Ok(mut response) = router.oneshot(request).await;
            unread.say(&mut response);
            // A web socket stays where it is.
            if let Some(alt_svc) =
                alt_svc.filter(|_| response.status() != StatusCode::SWITCHING_PROTOCOLS)
            {
                response.headers_mut().insert(header::ALT_SVC, alt_svc);
            }
            Ok::<_, Infallible>(response.map(|body| under_way.until_sent(body)))
        }
    });
    let told_to_end = async {
        tokio::select! {
            () = activity.idle(idle_max) => true,
            () = stop.cancelled() => false,
        }
    };
    if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(tls, service, told_to_end).await
    } else {
        http1(tls, service, told_to_end).await
    }
}

async fn http1<S>(
    tls: TlsStream<Placed>,
    service: S,
    told_to_end: impl Future<Output = bool>,
) -> io::Result<()>
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
        is_idle = told_to_end => {
            connection.as_mut().graceful_shutdown();
            end(connection, is_idle).await
        }
    };
    done.map_err(io::Error::other)
}

async fn http2<S>(
    tls: TlsStream<Placed>,
    service: S,
    told_to_end: impl Future<Output = bool>,
) -> io::Result<()>
where
    S: hyper::service::HttpService<Incoming, ResBody = axum::body::Body, Error = Infallible>,
    S::Future: Send + 'static,
{
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(tls), service);
    let mut connection = pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => done,
        is_idle = told_to_end => {
            connection.as_mut().graceful_shutdown();
            end(connection, is_idle).await
        }
    };
    done.map_err(io::Error::other)
}

/// Waits for a connection that was told to end. One that was idle has nothing to finish.
async fn end(
    connection: impl Future<Output = hyper::Result<()>>,
    is_idle: bool,
) -> hyper::Result<()> {
    if is_idle {
        tokio::time::timeout(ENDING_MAX, connection).await.unwrap_or(Ok(()))
    } else {
        connection.await
    }
}

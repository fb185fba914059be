//! The admin socket: the API without a key, for the command line on the same machine.
//!
//! Only root and the node's own user get an answer: the socket's mode says so, and the kernel is
//! asked who each peer is.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

use super::api;
use crate::node::Node;

/// How long requests under way may take once the node stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves the command line until the node stops.
///
/// # Errors
/// Where the socket cannot be made, with its path. One that a node which is gone left behind is
/// replaced; one that is answered is an error.
pub async fn serve(node: Arc<Node>) -> io::Result<()> {
    let path = Node::socket_path(&node.config);
    let listener = bind(&path).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot make the socket {}: {error}", path.display()))
    })?;
    let stop = node.stop.clone();
    let _unlink = Unlink(path);
    let served = axum::serve(Trusted(listener), api::with_fallbacks(api::router_without_key(node)))
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN_MAX).await;
    };
    tokio::select! {
        served = served => served,
        () = late => Ok(()),
    }
}

async fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there"));
        }
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another node answers there"));
        }
        unlink(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[expect(clippy::disallowed_methods, reason = "a socket, no recording")]
fn unlink(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

/// Takes the socket away when serving ends.
struct Unlink(PathBuf);

impl Drop for Unlink {
    fn drop(&mut self) {
        // Already gone is fine, and what is left is replaced at the next start.
        let _ = unlink(&self.0);
    }
}

/// Lets only root and the node's own user in.
struct Trusted(UnixListener);

impl Listener for Trusted {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok((stream, address)) => match stream.peer_cred() {
                    Ok(peer) if is_trusted(peer.uid()) => return (stream, address),
                    Ok(peer) => tracing::warn!(uid = peer.uid(), "turned away at the socket"),
                    Err(error) => tracing::warn!("cannot tell who is at the socket: {error}"),
                },
                Err(error) => {
                    tracing::warn!("cannot accept at the socket: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
}

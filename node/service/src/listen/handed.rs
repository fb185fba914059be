//! Sockets that a supervisor opened and handed over (`LISTEN_FDS`, `LISTEN_PID`; sd_listen_fds(3)): the
//! way to a port below 1024 without a capability.
//!
//! `node.listen` stays what says where the node serves: an address in it is served at the socket that
//! is bound to it, else opened here. A socket at an address that it does not name is an error, because
//! clients would wait at it for ever.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd as _, RawFd};

use anyhow::{Context, bail};

/// Most sockets that are taken over.
const SOCKETS_MAX: usize = 16;

/// A listener for each of these addresses. To be called once in the life of the process.
///
/// # Errors
/// Where one cannot be opened, or what was handed over does not fit the addresses.
pub async fn listeners(addresses: &[SocketAddr]) -> anyhow::Result<Vec<tokio::net::TcpListener>> {
    let handed = handed_over().context("taking over the sockets in LISTEN_FDS")?;
    let mut sockets = Vec::new();
    for (at, socket) in &handed {
        if !addresses.iter().any(|address| covers(*at, *address)) {
            let names = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            bail!(
                "the socket unit opened {at}, and node.listen has {names}: change node.listen or \
                 ListenStream= so that they are the same"
            );
        }
        socket.set_nonblocking(true)?;
        sockets.push(tokio::net::TcpListener::from_std(socket.try_clone()?)?);
    }
    for address in addresses {
        if handed.iter().any(|(at, _)| covers(*at, *address)) {
            continue;
        }
        let socket = tokio::net::TcpListener::bind(address).await;
        sockets.push(socket.with_context(|| format!("cannot listen at {address}"))?);
    }
    Ok(sockets)
}

/// Whether who connects to `address` comes in at a socket that is bound to `at`. One for all of IPv6 is
/// one for all of IPv4 as well.
fn covers(at: SocketAddr, address: SocketAddr) -> bool {
    let is_for_all = at.ip().is_unspecified()
        && address.ip().is_unspecified()
        && (at.is_ipv6() || address.is_ipv4());
    at.port() == address.port() && (at.ip() == address.ip() || is_for_all)
}

fn handed_over() -> anyhow::Result<Vec<(SocketAddr, TcpListener)>> {
    let numbers = sd_notify::listen_fds()?;
    if numbers.len() > SOCKETS_MAX {
        bail!("{} sockets, and at most {SOCKETS_MAX} are taken", numbers.len());
    }
    numbers.map(|number| Ok(take(number)?)).collect()
}

#[expect(unsafe_code, reason = "a socket is handed over as its number")]
fn take(number: RawFd) -> io::Result<(SocketAddr, TcpListener)> {
    // SAFETY: the supervisor gave this descriptor to this process for this use, and nothing else here
    // asks for them. One that is no socket fails in the next line.
    let socket = unsafe { TcpListener::from_raw_fd(number) };
    let at = socket.local_addr().map_err(|error| {
        io::Error::new(error.kind(), format!("descriptor {number} is no TCP socket: {error}"))
    })?;
    Ok((at, socket))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_socket_covers_its_address_and_all_of_ipv6_all_of_ipv4() {
        let covers =
            |at: &str, address: &str| super::covers(at.parse().unwrap(), address.parse().unwrap());
        assert!(covers("[::]:443", "[::]:443"));
        assert!(covers("[::]:443", "0.0.0.0:443"));
        assert!(covers("127.0.0.1:443", "127.0.0.1:443"));
        assert!(!covers("0.0.0.0:443", "[::]:443"));
        assert!(!covers("[::]:443", "[::]:8443"));
        // Who names one address does not mean all of them.
        assert!(!covers("[::]:443", "192.0.2.1:443"));
        assert!(!covers("192.0.2.1:443", "[::]:443"));
    }
}

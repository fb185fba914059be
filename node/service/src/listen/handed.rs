//! Sockets that a supervisor opened and handed over (`LISTEN_FDS`, `LISTEN_PID`; sd_listen_fds(3)): the
//! way to a port below 1024 without a capability.
//!
//! `node.listen` stays what says where the node serves: an address in it is served at the socket that
//! is bound to it, else opened here. With `node.http3` the same holds for UDP. A socket that the configuration
//! does not want is an error, because clients would wait at it for ever.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context, bail};
use nix::sys::socket::{SockType, getsockopt, sockopt};

/// Most sockets that are taken over.
const SOCKETS_MAX: usize = 16;

/// Where one address is served.
#[derive(Debug)]
pub struct Sockets {
    /// For https and wss.
    pub tcp: tokio::net::TcpListener,
    /// For HTTP/3, at the same address.
    pub udp: Option<UdpSocket>,
}

#[derive(Debug)]
enum Handed {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Sockets for each of these addresses, with HTTP/3 or without. To be called once in the life of the process.
///
/// # Errors
/// Where one cannot be opened, or what was handed over does not fit the configuration.
pub async fn sockets(addresses: &[SocketAddr], http3: bool) -> anyhow::Result<Vec<Sockets>> {
    let handed = handed_over().context("taking over the sockets in LISTEN_FDS")?;
    let (mut tcp, mut udp) = (Vec::new(), Vec::new());
    for (at, socket) in handed {
        let setting = match socket {
            Handed::Tcp(_) => "ListenStream=",
            Handed::Udp(_) if http3 => "ListenDatagram=",
            Handed::Udp(_) => bail!(
                "a socket unit opened UDP {at} for HTTP/3, and node.http3 is false: set it to true or stop the \
                 unit"
            ),
        };
        if !addresses.iter().any(|address| covers(at, *address)) {
            let names = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            bail!(
                "the socket unit opened {at}, and node.listen has {names}: change node.listen or {setting} so \
                 that they are the same"
            );
        }
        match socket {
            Handed::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                tcp.push((at, tokio::net::TcpListener::from_std(socket)?));
            }
            Handed::Udp(socket) => udp.push((at, socket)),
        }
    }
    let handed = tcp.len();
    for address in addresses {
        if tcp[..handed].iter().any(|(at, _)| covers(*at, *address)) {
            continue;
        }
        let socket = tokio::net::TcpListener::bind(address).await;
        let socket = socket.with_context(|| format!("cannot listen at {address}"))?;
        // The kernel chose the port, where none is named.
        tcp.push((socket.local_addr()?, socket));
    }
    let pair = |(at, tcp)| {
        Ok(Sockets { tcp, udp: if http3 { Some(beside(&mut udp, at)?) } else { None } })
    };
    tcp.into_iter().map(pair).collect()
}

/// The socket for HTTP/3 at this address.
fn beside(
    handed: &mut Vec<(SocketAddr, UdpSocket)>,
    address: SocketAddr,
) -> anyhow::Result<UdpSocket> {
    if let Some(index) = handed.iter().position(|(at, _)| covers(*at, address)) {
        return Ok(handed.swap_remove(index).1);
    }
    UdpSocket::bind(address).with_context(|| {
        format!("cannot listen at UDP {address} for HTTP/3; mend that or set node.http3 to false")
    })
}

/// Whether who connects to `address` comes in at a socket that is bound to `at`. One for all of IPv6 is
/// one for all of IPv4 as well.
fn covers(at: SocketAddr, address: SocketAddr) -> bool {
    let is_for_all = at.ip().is_unspecified()
        && address.ip().is_unspecified()
        && (at.is_ipv6() || address.is_ipv4());
    at.port() == address.port() && (at.ip() == address.ip() || is_for_all)
}

fn handed_over() -> anyhow::Result<Vec<(SocketAddr, Handed)>> {
    let numbers = sd_notify::listen_fds()?;
    if numbers.len() > SOCKETS_MAX {
        bail!("{} sockets, and at most {SOCKETS_MAX} are taken", numbers.len());
    }
    numbers.map(|number| Ok(take(number)?)).collect()
}

#[expect(unsafe_code, reason = "a socket is handed over as its number")]
fn take(number: RawFd) -> io::Result<(SocketAddr, Handed)> {
    // SAFETY: the supervisor gave this descriptor to this process for this use, and nothing else here
    // asks for them. One that is no socket fails in the next line.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let other = |error: io::Error| {
        let text = format!("descriptor {number} is no TCP or UDP socket: {error}");
        io::Error::new(error.kind(), text)
    };
    let kind =
        getsockopt(&socket.as_fd(), sockopt::SockType).map_err(|error| other(error.into()))?;
    if kind == SockType::Datagram {
        let socket = UdpSocket::from(socket);
        return Ok((socket.local_addr().map_err(other)?, Handed::Udp(socket)));
    }
    let socket = TcpListener::from(socket);
    Ok((socket.local_addr().map_err(other)?, Handed::Tcp(socket)))
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

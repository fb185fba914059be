//! The machine's own addresses, from the kernel's tables in `/proc`: a netlink socket, by which they are asked for
//! otherwise, is a way to the kernel that the node has no other use for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Routes of IPv4, those to this machine among them.
const ROUTES: &str = "/proc/self/net/fib_trie";
/// Addresses of IPv6.
const ADDRESSES: &str = "/proc/self/net/if_inet6";
/// Most addresses that are told.
const ADDRESSES_MAX: usize = 256;

/// Every address of this machine but link-local ones of IPv6, which mean nothing without their interface. None
/// where the kernel does not say.
pub(crate) fn of_this_machine() -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (routes, addresses) = (read(ROUTES), read(ADDRESSES));
    let mut all: Vec<_> =
        v4(&routes).map(IpAddr::V4).chain(v6(&addresses).map(IpAddr::V6)).collect();
    all.sort_unstable();
    all.dedup();
    all.truncate(ADDRESSES_MAX);
    all
}

/// `|-- 192.0.2.7`, and below it `/32 host LOCAL`.
fn v4(routes: &str) -> impl Iterator<Item = Ipv4Addr> {
    let mut leaf = None;
    routes.lines().filter_map(move |line| {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
            return None;
        }
        leaf.filter(|_: &Ipv4Addr| line == "/32 host LOCAL")
    })
}

/// 32 digits, the interface's number, the prefix's length, scope, flags, the interface's name.
fn v6(addresses: &str) -> impl Iterator<Item = Ipv6Addr> {
    addresses.lines().filter_map(|line| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        let address = Ipv6Addr::from(u128::from_str_radix(digits, 16).ok()?);
        (!address.is_unicast_link_local()).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel_are_read() {
        let routes = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
             +-- 192.0.2.0/24 2 0 2\n        |-- 192.0.2.0\n           /24 link UNICAST\n        |-- \
             192.0.2.7\n           /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link \
             BROADCAST\n  |-- 127.0.0.0\n     /8 host LOCAL\n";
        assert_eq!(v4(routes).collect::<Vec<_>>(), ["192.0.2.7".parse::<Ipv4Addr>().unwrap()]);
        let addresses = "20010db8000000000000000000000007 02 40 00 80     eth0\n\
             fe800000000000000000000000000001 02 40 20 80     eth0\nnonsense\n";
        assert_eq!(v6(addresses).collect::<Vec<_>>(), ["2001:db8::7".parse::<Ipv6Addr>().unwrap()]);
    }

    /// What the tables say is what the C library hears over netlink.
    #[test]
    fn netlink_says_the_same() {
        let mut asked: Vec<IpAddr> = nix::ifaddrs::getifaddrs()
            .unwrap()
            .filter_map(|interface| {
                let address = interface.address?;
                let v4 = address.as_sockaddr_in().map(|it| IpAddr::V4(it.ip()));
                let v6 = address.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::ip);
                let v6 = v6.filter(|ip| !ip.is_unicast_link_local()).map(IpAddr::V6);
                v4.or(v6)
            })
            .collect();
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(of_this_machine(), asked);
    }
}

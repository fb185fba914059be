//! Where a webhook may lead: to the public internet, and to what the configuration allows beside it.
//!
//! Whoever has a key to the API chooses addresses, and the node stands inside a network; so what an
//! address means is judged when a connection is made, by the addresses that its name has then. A
//! name that means something else a moment later gains nothing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::config::{Notify, PrivateTargets};

/// Longest address, in bytes.
const URL_BYTES_MAX: usize = 2_000;
/// Names that are looked up at once. A name server that hangs keeps no more threads than this.
const LOOKUPS_MAX: usize = 64;

/// What leads nowhere good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host} leads to {address} ({what}), which is refused; [notify] private_targets allows such"
)]
pub struct RefusedTarget {
    host: String,
    address: IpAddr,
    what: &'static str,
}

/// Which private addresses are allowed all the same.
#[derive(Debug, Clone)]
pub struct Targets {
    allowed: PrivateTargets,
    plain_http: bool,
}

impl Targets {
    /// What the configuration allows.
    #[must_use]
    pub fn new(notify: &Notify) -> Self {
        Self { allowed: notify.private_targets.clone(), plain_http: notify.plain_http }
    }

    /// Checks the address of a webhook, as far as that can be done without asking a name server.
    ///
    /// # Errors
    /// What is wrong with it and what to do.
    pub fn check_url(&self, text: &str) -> Result<Url, String> {
        if text.len() > URL_BYTES_MAX || text.contains(|c: char| !c.is_ascii_graphic()) {
            return Err(format!("url: must be one word of ASCII, at most {URL_BYTES_MAX} bytes"));
        }
        let url: Url = text.parse().map_err(|error| format!("url: {error}"))?;
        match url.scheme() {
            "https" => {}
            "http" if self.plain_http => {}
            _ => {
                return Err(
                    "url: must begin with https:// ([notify] plain_http allows http://)".to_owned()
                );
            }
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("url: must have no user name and no password; requests are signed".into());
        }
        if url.fragment().is_some() {
            return Err("url: must have nothing behind a #; it would not be sent".into());
        }
        self.check_literal(&url).map_err(|refused| format!("url: {refused}"))?;
        Ok(url)
    }

    /// Refuses an address that names a private one outright; names are for the resolver to judge.
    ///
    /// # Errors
    /// [`RefusedTarget`].
    pub fn check_literal(&self, url: &Url) -> Result<(), RefusedTarget> {
        let host = url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare.parse().map_or(Ok(()), |address| self.check(host, address))
    }

    fn check(&self, host: &str, address: IpAddr) -> Result<(), RefusedTarget> {
        let Some(what) = what_is_special(address) else { return Ok(()) };
        let is_allowed = match &self.allowed {
            PrivateTargets::All(all) => *all,
            PrivateTargets::Nets(nets) => {
                nets.iter().any(|net| net.contains(&address) || net.contains(&inner(address)))
            }
        };
        if is_allowed { Ok(()) } else { Err(RefusedTarget { host: host.into(), address, what }) }
    }
}

/// Resolves names as the machine does, and leaves out the addresses that are refused.
#[derive(Debug, Clone)]
pub struct Resolver {
    targets: Targets,
    lookups: Arc<Semaphore>,
}

impl Resolver {
    /// A resolver that leaves out what these targets refuse.
    #[must_use]
    pub fn new(targets: Targets) -> Self {
        Self { targets, lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let Self { targets, lookups } = self.clone();
        let host = name.as_str().to_owned();
        Box::pin(async move {
            let place = lookups.acquire_owned().await?;
            let asked = host.clone();
            let looking = tokio::task::spawn_blocking(move || {
                // Kept for as long as the thread is, which may outlive whoever asked.
                let _place = place;
                (asked.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
            });
            let found: Vec<SocketAddr> = looking.await??;
            let mut refused = None;
            let mut good = Vec::with_capacity(found.len());
            for address in found {
                match targets.check(&host, address.ip()) {
                    Ok(()) => good.push(address),
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                Some(refused) if good.is_empty() => Err(refused.into()),
                _ if good.is_empty() => Err(io::Error::other("the name has no address").into()),
                _ => Ok(Box::new(good.into_iter()) as Addrs),
            }
        })
    }
}

/// The address of version 4 in one of version 6 that stands for it, or the address itself.
fn inner(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let [first, second, third, .., tail_1, tail_2] = v6.segments();
    let is_nat64 = v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0];
    let tail = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.to_ipv4_mapped() {
        Some(v4) => IpAddr::V4(v4),
        None if is_nat64 => tail(tail_1, tail_2),
        // 6to4
        None if first == 0x2002 => tail(second, third),
        None => address,
    }
}

/// What an address is, if it is not one of the public internet.
fn what_is_special(address: IpAddr) -> Option<&'static str> {
    match inner(address) {
        IpAddr::V4(v4) => what_is_special_v4(v4),
        IpAddr::V6(v6) => what_is_special_v6(v6),
    }
}

/// IANA's registry of special-purpose addresses, and what clouds put beside it.
fn what_is_special_v4(v4: Ipv4Addr) -> Option<&'static str> {
    match v4.octets() {
        [0, ..] => Some("this network"),
        [127, ..] => Some("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some("private"),
        [100, 64..=127, ..] => Some("shared by a provider's customers"),
        [169, 254, ..] => Some("link-local"),
        [168, 63, 129, 16] => Some("a cloud's own services"),
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => Some("reserved"),
        [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => Some("for tests"),
        [224..=239, ..] => Some("multicast"),
        [240..=255, ..] => Some("reserved"),
        _ => None,
    }
}

fn what_is_special_v6(v6: Ipv6Addr) -> Option<&'static str> {
    let [first, second, ..] = v6.segments();
    match (first, second) {
        _ if v6.is_loopback() => Some("loopback"),
        _ if v6.is_unspecified() => Some("this network"),
        (0xfc00..=0xfdff, _) => Some("private"),
        (0xfe80..=0xfebf, _) => Some("link-local"),
        (0xff00..=0xffff, _) => Some("multicast"),
        // Documentation.
        (0x2001, 0x0db8) | (0x3fff, 0..=0x0fff) => Some("for tests"),
        // Teredo and other protocols of IETF.
        (0x2001, 0..=0x01ff) => Some("reserved"),
        (0x2000..=0x3fff, _) => None,
        // Whatever else is not given out to anyone.
        _ => Some("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(allowed: PrivateTargets) -> Targets {
        Targets { allowed, plain_http: false }
    }

    fn none() -> Targets {
        targets(PrivateTargets::All(false))
    }

    fn refused(targets: &Targets, address: &str) -> bool {
        targets.check("host", address.parse().unwrap()).is_err()
    }

    #[test]
    fn private_addresses_are_refused_in_every_disguise() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.1.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            assert!(refused(&none(), address), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_not() {
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001:81b::200e",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2002:101:101::1",
        ] {
            assert!(!refused(&none(), address), "{address}");
        }
    }

    #[test]
    fn the_configuration_allows_all_private_addresses_or_some() {
        let nets = ["10.1.0.0/16", "fd00::/8"].map(|net| net.parse().unwrap());
        let some = targets(PrivateTargets::Nets(nets.to_vec()));
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::1", "1.1.1.1"] {
            assert!(!refused(&some, address), "{address}");
        }
        for address in ["10.2.0.1", "127.0.0.1", "::1", "169.254.169.254"] {
            assert!(refused(&some, address), "{address}");
        }
        assert!(!refused(&targets(PrivateTargets::All(true)), "127.0.0.1"));
    }

    #[test]
    fn an_address_is_refused_with_what_is_wrong_with_it() {
        for (url, said) in [
            ("http://example.com/", "plain_http"),
            ("ftp://example.com/", "https://"),
            ("example.com", "url"),
            ("https://user:word@example.com/", "password"),
            ("https://example.com/#here", "#"),
            ("https://example.com/ /", "ASCII"),
            ("https://127.0.0.1/", "loopback"),
            ("https://2130706433/", "loopback"),
            ("https://0x7f.1/", "loopback"),
            ("https://0177.0.0.1/", "loopback"),
            ("https://[::1]:8443/", "loopback"),
            ("https://[::ffff:10.0.0.1]/", "private"),
            ("https://169.254.169.254/latest/meta-data", "link-local"),
        ] {
            let wrong = none().check_url(url).unwrap_err();
            assert!(wrong.contains(said), "{url}: {wrong}");
        }
        assert!(none().check_url("https://example.com:8443/hooks?token=1").is_ok());
        assert!(none().check_url(&format!("https://example.com/{}", "x".repeat(2_000))).is_err());
    }

    #[tokio::test]
    async fn a_name_is_judged_by_the_addresses_that_it_has_when_it_is_used() {
        // `localhost` is a name like any other here: nothing in its spelling gives it away.
        assert!(none().check_url("https://localhost/").is_ok());
        let resolver = Resolver::new(none());
        let Err(error) = resolver.resolve("localhost".parse().unwrap()).await else {
            panic!("it was resolved");
        };
        let refused = error.downcast_ref::<RefusedTarget>().unwrap();
        assert_eq!(refused.what, "loopback");
        let allowing = Resolver::new(targets(PrivateTargets::All(true)));
        assert!(allowing.resolve("localhost".parse().unwrap()).await.is_ok());
    }
}

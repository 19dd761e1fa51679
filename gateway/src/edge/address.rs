//! The client's address: what the nearest proxy that is not ours saw.
//!
//! Only `X-Forwarded-For` counts, and only when the peer is one of `TRUSTED_PROXIES`, because a client can
//! write any header. When a configuration seems to put all clients behind one address, the gateway
//! logs it once: nothing else shows it until that address reaches its limits.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::header::HeaderMap;
use tracing::warn;

use crate::config::Network;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Headers in which other proxies name the client. The gateway does not read them.
const OTHER_SPELLINGS: [&str; 3] = ["forwarded", "x-real-ip", "cf-connecting-ip"];

/// Finds the address of clients, and remembers which warnings it has logged.
#[derive(Debug, Default)]
pub struct AddressFinder {
    untrusted: AtomicBool,
    unread: AtomicBool,
    damaged: AtomicBool,
}

impl AddressFinder {
    /// The address of the client that sent these headers through `peer`.
    pub fn of(&self, proxies: &[Network], peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let trusted = |address: IpAddr| proxies.iter().any(|network| network.contains(address));
        let mut address = peer.to_canonical();
        if !trusted(address) {
            if headers.contains_key(FORWARDED_FOR) && first(&self.untrusted) {
                warn!(
                    "{address} sends X-Forwarded-For and is not among TRUSTED_PROXIES, so the header is ignored. \
                     If {address} is your proxy, add it: until then all its clients share the limits of one address"
                );
            }
            return address;
        }
        let lists = headers.get_all(FORWARDED_FOR).into_iter().filter_map(|list| list.to_str().ok());
        let hops: Vec<&str> = lists.flat_map(|list| list.split(',')).collect();
        if hops.is_empty()
            && let Some(other) = OTHER_SPELLINGS.into_iter().find(|name| headers.contains_key(*name))
            && first(&self.unread)
        {
            warn!(
                "The proxy {address} names its clients in '{other}', which is not read. Let it send X-Forwarded-For: \
                 until then all its clients share the limits of one address"
            );
        }
        for hop in hops.into_iter().rev() {
            if !trusted(address) {
                break;
            }
            let Some(before) = parse(hop) else {
                if first(&self.damaged) {
                    warn!(
                        "The proxy {address} sends an X-Forwarded-For with a part that is no address. Let it send \
                         addresses: until then these clients share the limits of one address"
                    );
                }
                break;
            };
            address = before;
        }
        address
    }
}

/// True the first time.
fn first(warned: &AtomicBool) -> bool {
    !warned.swap(true, Ordering::Relaxed)
}

/// One hop as proxies write it: `198.51.100.1`, `198.51.100.1:4711`, `2001:db8::1`, `[2001:db8::1]`,
/// `[2001:db8::1]:4711`, each perhaps in quotes.
fn parse(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim().trim_matches('"');
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(address.to_canonical())
}

/// Addresses that one subscriber can choose from count as one: an IPv6 host has a whole /64.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;
    use crate::config::GatewayConfig;

    fn proxies() -> Vec<Network> {
        let pairs = [("TRUSTED_PROXIES", "10.0.0.0/8, 127.0.0.1")];
        GatewayConfig::from_env(&mut common::config::Env::from_pairs(pairs)).proxies
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let check = |peer: &str, forwarded: &'static str, expect: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_FOR, HeaderValue::from_static(forwarded));
            let address = AddressFinder::default().of(&proxies(), peer.parse().unwrap(), &headers);
            assert_eq!(address.to_string(), expect, "{peer} {forwarded}");
        };
        check("127.0.0.1", "1.2.3.4", "1.2.3.4");
        check("::ffff:127.0.0.1", "1.2.3.4", "1.2.3.4");
        check("127.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.9", "1.2.3.4");
        check("127.0.0.1", "6.6.6.6, 1.2.3.4:5, 10.0.0.9:80", "1.2.3.4");
        check("9.9.9.9", "1.2.3.4", "9.9.9.9");
        check("::ffff:9.9.9.9", "1.2.3.4", "9.9.9.9");
        check("127.0.0.1", "nonsense", "127.0.0.1");
    }

    #[test]
    fn a_port_and_brackets_are_no_part_of_an_address() {
        let check = |hop: &str, expect: Option<&str>| {
            assert_eq!(parse(hop).map(|address| address.to_string()).as_deref(), expect, "{hop}");
        };
        check(" 198.51.100.1 ", Some("198.51.100.1"));
        check("198.51.100.1:1111", Some("198.51.100.1"));
        check("[2001:db8::a]", Some("2001:db8::a"));
        check("[2001:db8::9]:443", Some("2001:db8::9"));
        check("\"[2001:db8::9]:443\"", Some("2001:db8::9"));
        check("2001:db8::a", Some("2001:db8::a"));
        check("::ffff:198.51.100.1", Some("198.51.100.1"));
        for bad in
            ["", "unknown", "_hidden", "198.51.100.1:", "198.51.100.1:99999", "[2001:db8::a", "a.b.c.d:1"]
        {
            check(bad, None);
        }
    }

    #[test]
    fn what_puts_all_clients_behind_one_address_is_said_once() {
        let origin = AddressFinder::default();
        let see = |peer: &str, name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            origin.of(&proxies(), peer.parse().unwrap(), &headers);
            [&origin.untrusted, &origin.unread, &origin.damaged].map(|said| said.load(Ordering::Relaxed))
        };
        assert_eq!(see("10.0.0.1", "x-forwarded-for", "1.2.3.4"), [false, false, false]);
        assert_eq!(see("9.9.9.9", "forwarded", "for=1.2.3.4"), [false, false, false]);
        assert_eq!(see("9.9.9.9", "x-forwarded-for", "1.2.3.4"), [true, false, false]);
        assert_eq!(see("10.0.0.1", "forwarded", "for=1.2.3.4"), [true, true, false]);
        assert_eq!(see("10.0.0.1", "x-forwarded-for", "unknown"), [true, true, true]);
        assert!(!first(&origin.untrusted), "once");
    }

    #[test]
    fn a_host_of_ipv6_is_one_subscriber_whatever_address_it_takes() {
        let of = |text: &str| subscriber(text.parse().unwrap()).to_string();
        assert_eq!(of("198.51.100.1"), "198.51.100.1");
        assert_eq!(of("::ffff:198.51.100.1"), "198.51.100.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }
}

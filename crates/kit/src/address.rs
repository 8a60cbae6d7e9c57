//! Whose address a request came from, and the key under which an address is limited.
//!
//! Deliberately without `Forwarded` (RFC 7239) and without provider headers: one header, one rule.
//! Invariant: a header counts only as far as the hops that wrote it are trusted by setting, so a
//! client that is not a trusted proxy cannot choose its address.

#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Hops read from the right before the rest of the header is ignored.
const MAX_HOPS: usize = 16;
/// An IPv6 customer is handed a whole network of this length, so that is what is limited.
const V6_LIMIT_PREFIX: u8 = 64;

/// The networks whose `X-Forwarded-For` is believed; empty: nobody's. A request extension.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// Trusts these networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        Self(networks.into_iter().collect())
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The right-most hop that is not a trusted proxy. Where the header ends, or stops being
    /// readable, inside the trusted hops: the farthest hop that is still known.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        if self.0.is_empty() || !self.trusts(client) {
            return client;
        }
        let hops = headers
            .get_all(X_FORWARDED_FOR)
            .iter()
            .rev()
            .flat_map(|line| line.to_str().unwrap_or("unreadable").rsplit(','));
        for hop in hops.take(MAX_HOPS) {
            let Some(address) = parse_hop(hop.trim()) else {
                return client;
            };
            client = address;
            if !self.trusts(address) {
                return client;
            }
        }
        client
    }
}

/// `1.2.3.4`, `1.2.3.4:5678`, `::1`, `[::1]` or `[::1]:5678`.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(hop);
    bare.parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
        .map(|address| address.to_canonical())
}

/// The network under which an address is limited: the address itself for IPv4, its /64 for IPv6.
pub fn limit_key(address: IpAddr) -> IpNet {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpNet::V4(Ipv4Net::from(v4)),
        IpAddr::V6(v6) => IpNet::V6(
            Ipv6Net::new(v6, V6_LIMIT_PREFIX).map_or(Ipv6Net::from(v6), |net| net.trunc()),
        ),
    }
}

/// The address of the caller, seen through the trusted proxies.
///
/// A request that did not come over a connection of [`crate::serve`] has no address; it counts as
/// `0.0.0.0`, so all such callers share one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The network under which this caller is limited.
    pub fn limit_key(self) -> IpNet {
        limit_key(self.0)
    }

    /// The caller of a request with these parts.
    pub fn of(parts: &Parts) -> Self {
        let Some(ConnectInfo(peer)) = parts.extensions.get::<ConnectInfo<SocketAddr>>() else {
            return Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        };
        Self(match parts.extensions.get::<TrustedProxies>() {
            Some(proxies) => proxies.client(peer.ip(), &parts.headers),
            None => peer.ip().to_canonical(),
        })
    }
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

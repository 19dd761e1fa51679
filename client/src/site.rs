//! The address of a server, and a connection to it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::Uri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::limits::ANSWER_MS_MAX;
use crate::trust;

/// A connection, plain or over TLS.
pub(crate) type Connection = Either<TcpStream, TlsStream<TcpStream>>;

/// A gateway, or what stands in front of all of them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Site {
    /// Host and port as in the `Host` header.
    authority: String,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl Site {
    /// The gateway at this address, without TLS.
    pub fn at(addr: SocketAddr) -> Self {
        Self { authority: addr.to_string(), host: addr.ip().to_string(), port: addr.port(), tls: None }
    }

    /// `http://host:port` or `https://host:port`; the port is optional. With `https`, it trusts the
    /// certificate authorities of this machine, and those in the file `more`.
    ///
    /// # Errors
    /// The text is not such a URL, or no certificate authority can be read.
    pub fn parse(url: &str, more: Option<&Path>) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().ok().filter(is_base).with_context(|| {
            format!("'{url}' should be http://host:port or https://host:port, and nothing after it")
        })?;
        let (is_tls, port) = match uri.scheme_str() {
            Some("https") => (true, 443),
            _ => (false, 80),
        };
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let tls = is_tls.then(|| trust::config(more)).transpose()?;
        Ok(Self { authority, host, port: uri.port_u16().unwrap_or(port), tls })
    }

    /// `http://host:port`
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "https" } else { "http" }, self.authority)
    }

    /// `ws://host:port`
    pub fn ws_url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "wss" } else { "ws" }, self.authority)
    }

    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        let connecting = async {
            let connected = TcpStream::connect((self.host.as_str(), self.port)).await;
            let stream = connected.with_context(|| format!("nothing answers at {}", self.authority))?;
            stream.set_nodelay(true)?;
            let Some(config) = &self.tls else { return Ok(Either::Left(stream)) };
            let name = ServerName::try_from(self.host.clone())?;
            let secured = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
            Ok(Either::Right(secured.with_context(|| format!("no TLS with {}", self.authority))?))
        };
        let connected = timeout(limit, connecting).await;
        connected.with_context(|| format!("no connection to {} within {limit:?}", self.authority))?
    }
}

/// Scheme, host, and perhaps a port.
fn is_base(uri: &Uri) -> bool {
    let is_ours = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    let is_plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    let is_whole = uri.path().trim_end_matches('/').is_empty() && uri.query().is_none();
    // The parser of URLs lets a port pass that is no number.
    let rest = uri.authority().zip(uri.host()).and_then(|(all, host)| all.as_str().strip_prefix(host));
    let has_port = rest == Some("") || uri.port_u16().is_some_and(|port| port > 0);
    is_ours && has_host && is_plain && is_whole && has_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_a_url_of_a_host_and_nothing_more() {
        let check = |url: &str, host: &str, port: u16, sockets: &str| {
            let site = Site::parse(url, None).unwrap();
            assert_eq!((&*site.host, site.port, &*site.ws_url()), (host, port, sockets), "{url}");
        };
        check("http://127.0.0.1:8080", "127.0.0.1", 8080, "ws://127.0.0.1:8080");
        check("http://[::1]:9/", "::1", 9, "ws://[::1]:9");
        check("http://chat.example", "chat.example", 80, "ws://chat.example");
        for bad in [
            "",
            "chat.example",
            "127.0.0.1:8080",
            "ftp://a:1",
            "ws://a:1",
            "http://",
            "http://:80",
            "http://a:0",
            "http://a:x",
            "http://a:99999",
            "http://a:1/chat",
            "http://a:1?b",
            "http://me@a:1",
        ] {
            assert!(Site::parse(bad, None).is_err(), "{bad}");
        }
        let missing = Site::parse("https://a:1", Some(Path::new("/nonexistent/ca.pem"))).unwrap_err();
        assert!(format!("{missing:#}").contains("/nonexistent/ca.pem"), "{missing:#}");
    }
}

//! TLS to PostgreSQL, as set by `sslmode` and `sslrootcert` of the server's URL. The words are libpq's.
//!
//! `disable`: never. `prefer` (the default; `allow` means the same): if the server offers it. `require`: TLS or
//! no connection. None of these verifies the server; `verify-ca` requires a certificate of a trusted authority,
//! `verify-full` also the server's name in it. As with libpq, `require` with a `sslrootcert` is
//! `verify-ca`. Trusted are the authorities in the file `sslrootcert` (PEM), or those of this machine if there
//! is none or it is `system`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Turn, Poll};

use anyhow::{Context as _, bail, ensure};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The parts of the server's certificate that are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Nothing,
    Authority,
    AuthorityAndName,
}

/// The TLS configuration for connections to one server.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// Reads the TLS settings of a URL and removes them from it; `sslmode` stays, in a form that the driver
    /// accepts.
    pub(super) fn of(url: &str) -> anyhow::Result<(String, Self)> {
        let (mode, root, url) = taken_out(url);
        let (asks, plain_mode) = match (mode.as_deref().unwrap_or("prefer"), &root) {
            ("disable", _) => (Asks::Nothing, "disable"),
            ("allow" | "prefer", _) => (Asks::Nothing, "prefer"),
            ("require", None) => (Asks::Nothing, "require"),
            ("require", Some(_)) | ("verify-ca", _) => (Asks::Authority, "require"),
            ("verify-full", _) => (Asks::AuthorityAndName, "require"),
            (other, _) => bail!(
                "sslmode={other} is not understood: use disable, prefer, require, verify-ca or verify-full"
            ),
        };
        let join = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{join}sslmode={plain_mode}");
        Ok((url, Self(config(asks, root.as_deref())?)))
    }
}

/// Returns `sslmode`, `sslrootcert`, and the URL without them.
fn taken_out(url: &str) -> (Option<String>, Option<String>, String) {
    let Some((base, query)) = url.split_once('?') else { return (None, None, url.to_owned()) };
    let (mut mode, mut root, mut rest) = (None, None, Vec::new());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value.to_owned()),
            Some(("sslrootcert", value)) => root = Some(unquoted(value)),
            _ => rest.push(pair),
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    (mode, root, url)
}

/// Percent-decodes a text; anything that is not a valid escape stays as it is.
fn unquoted(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        let digits = more.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn config(asks: Asks, root: Option<&str>) -> anyhow::Result<Arc<ClientConfig>> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let authorities = match asks {
        Asks::Nothing => None,
        Asks::Authority | Asks::AuthorityAndName => {
            let roots = Arc::new(roots(root)?);
            Some(WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build()?)
        }
    };
    let asks_name = asks == Asks::AuthorityAndName;
    let judge = Arc::new(Judge { authorities, asks_name, provider: provider.clone() });
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.dangerous().with_custom_certificate_verifier(judge).with_no_client_auth()))
}

fn roots(file: Option<&str>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file.filter(|path| *path != "system") else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        ensure!(!roots.is_empty(), "this machine has no certificate authorities: give sslrootcert");
        return Ok(roots);
    };
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    for certificate in read().with_context(|| format!("sslrootcert {path} cannot be read"))? {
        roots.add(certificate).with_context(|| format!("a certificate in sslrootcert {path}"))?;
    }
    ensure!(!roots.is_empty(), "sslrootcert {path} has no certificate in PEM");
    Ok(roots)
}

/// Verifies a server's certificate.
#[derive(Debug)]
struct Judge {
    /// None: any certificate is accepted.
    authorities: Option<Arc<WebPkiServerVerifier>>,
    asks_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else { return Ok(ServerCertVerified::assertion()) };
        match authorities.verify_server_cert(certificate, between, name, ocsp, now) {
            // The name is checked last, so everything else is valid.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.asks_name => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = DatabaseStream;
    type TlsConnect = Handshake;
    type Error = io::Error;

    /// An invalid host name is an error only if there is a handshake: a Unix socket has no handshake.
    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other);
        Ok(Handshake { config: self.0.clone(), name })
    }
}

/// One TLS handshake that has not started yet.
pub(super) struct Handshake {
    config: Arc<ClientConfig>,
    name: io::Result<ServerName<'static>>,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = DatabaseStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<DatabaseStream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move {
            Ok(DatabaseStream(TlsConnector::from(self.config).connect(self.name?, socket).await?))
        })
    }
}

/// A connection to PostgreSQL over TLS.
pub(super) struct DatabaseStream(TlsStream<Socket>);

impl tokio_postgres::tls::TlsStream for DatabaseStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for DatabaseStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        turn: &mut Turn<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(turn, into)
    }
}

impl AsyncWrite for DatabaseStream {
    fn poll_write(mut self: Pin<&mut Self>, turn: &mut Turn<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(turn, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, turn: &mut Turn<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(turn)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, turn: &mut Turn<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_url_says_of_tls_is_taken_out_of_it() {
        let check = |url: &str, expected: &str| assert_eq!(Tls::of(url).unwrap().0, expected, "{url}");
        check("postgres://u@h/d", "postgres://u@h/d?sslmode=prefer");
        check("postgres://u@h/d?sslmode=disable", "postgres://u@h/d?sslmode=disable");
        check("postgres://u@h/d?a=1&sslmode=require&b=2", "postgres://u@h/d?a=1&b=2&sslmode=require");
        assert!(Tls::of("postgres://h/d?sslmode=always").is_err());
        assert!(Tls::of("postgres://h/d?sslmode=verify-full&sslrootcert=/not/there").is_err());
        let (mode, root, url) = taken_out("postgres://h/d?sslrootcert=%2Fetc/my%20ca.pem&sslmode=verify-ca");
        assert_eq!((mode.as_deref(), root.as_deref()), (Some("verify-ca"), Some("/etc/my ca.pem")));
        assert_eq!(url, "postgres://h/d");
    }
}

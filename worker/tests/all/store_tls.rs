//! TLS to PostgreSQL: a server that offers it in front of the real one, with a certificate for
//! `localhost` of an authority of the test's own (a hundred years from 2026 on).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use worker::store::Store;

use crate::support::postgres::Database;

/// What a client asks first: the length, and the number that stands for TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/all/tls").join(name)
}

fn acceptor() -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(file("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap()).into()
}

/// The server's port; it counts the connections that came under TLS.
async fn serve(there: String, secret: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = acceptor();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let (there, acceptor, secret) = (there.clone(), acceptor.clone(), secret.clone());
            tokio::spawn(async move {
                let mut far = TcpStream::connect(there).await.unwrap();
                let mut first = [0; 8];
                if near.read_exact(&mut first).await.is_err() {
                    return;
                }
                if first != SSL_REQUEST {
                    far.write_all(&first).await.unwrap();
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                    return;
                }
                near.write_all(b"S").await.unwrap();
                // A client that does not like the certificate ends the handshake.
                let Ok(mut near) = acceptor.accept(near).await else { return };
                secret.fetch_add(1, Ordering::Relaxed);
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

/// Of each mode: whether the connection is made, and whether under TLS.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_as_safe_as_its_url_wants() {
    let Some(db) = Database::fresh().await else { return };
    let (head, rest) = db.url.rsplit_once('@').unwrap();
    let (there, name) = rest.split_once('/').unwrap();
    let (there, name) = (there.to_owned(), name.split('?').next().unwrap());
    let secret = Arc::new(AtomicUsize::new(0));
    let port = serve(there, secret.clone()).await;
    let [ours, other] = ["ca.pem", "other-ca.pem"].map(|name| file(name).display().to_string());
    let [ours, other] = [ours, other].map(|path| format!("&sslrootcert={}", path.replace('/', "%2F")));
    let check = async |host: &str, tls: String, is_made: bool, is_secret: bool| {
        let before = secret.load(Ordering::Relaxed);
        let url = format!("{head}@{host}:{port}/{name}{tls}");
        let made = Store::connect(&url, 1).await;
        assert_eq!(made.is_ok(), is_made, "{host} {tls}: {:?}", made.err());
        assert_eq!(secret.load(Ordering::Relaxed) > before, is_secret, "{host} {tls}");
        if let Ok(store) = made {
            store.migrate().await.unwrap();
        }
    };
    check("localhost", String::new(), true, true).await;
    check("localhost", "?sslmode=disable".into(), true, false).await;
    check("127.0.0.1", "?sslmode=prefer".into(), true, true).await;
    check("127.0.0.1", "?sslmode=require".into(), true, true).await;
    check("localhost", "?sslmode=verify-ca".into(), false, false).await;
    for (mode, by_name, by_address) in
        [("require", true, true), ("verify-ca", true, true), ("verify-full", true, false)]
    {
        check("localhost", format!("?sslmode={mode}{ours}"), by_name, by_name).await;
        check("127.0.0.1", format!("?sslmode={mode}{ours}"), by_address, by_address).await;
        check("localhost", format!("?sslmode={mode}{other}"), false, false).await;
    }
    // A server without TLS.
    let plain = |mode: &str| format!("{}?sslmode={mode}", db.url.split('?').next().unwrap());
    assert!(Store::connect(&plain("prefer"), 1).await.is_ok());
    assert!(Store::connect(&plain("require"), 1).await.is_err());
    db.finish().await;
}

//! TLS to Redis and to RabbitMQ. Redis is a real server that speaks nothing but TLS. In front of the real RabbitMQ stands a
//! server that ends TLS. The certificate is for `localhost` and 127.0.0.1, of an authority of the tests' own (a hundred years
//! from 2026 on); a second authority has signed nothing.

use std::net::TcpListener as Port;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::bus::{Bus, BusConfig};
use common::directory::{Directory, DirectoryConfig};
use protocol::ids::NodeId;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::bus::Rig;
use crate::support::directory::eventually;
use crate::support::peers;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract/tls").join(name)
}

/// A Redis Cluster of one node, for as long as it is held.
struct SecretRedis {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl SecretRedis {
    fn start() -> Self {
        let free = || Port::bind("127.0.0.1:0").unwrap();
        let (one, other) = (free(), free());
        let [port, bus] = [&one, &other].map(|port| port.local_addr().unwrap().port());
        drop((one, other));
        let folder = std::env::temp_dir().join(format!("chatchit-redis-{port}"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(["--tls-port", &port.to_string(), "--cluster-port", &bus.to_string()]);
        command.args(["--cluster-enabled", "yes", "--tls-cluster", "yes", "--tls-auth-clients", "no"]);
        command.arg("--tls-cert-file").arg(file("server.pem"));
        command.arg("--tls-key-file").arg(file("server.key"));
        command.arg("--tls-ca-cert-file").arg(file("ca.pem"));
        command.arg("--dir").arg(&folder).stdin(Stdio::null()).stdout(Stdio::null());
        Self { child: command.spawn().unwrap(), folder, port }
    }

    /// Asks with Redis's own client. None: the server does not answer, or refuses.
    fn asks(&self, words: &str) -> Option<String> {
        let mut command = Command::new("redis-cli");
        command.args(["-h", "localhost", "-p", &self.port.to_string(), "--tls", "--cacert"]);
        let output = command.arg(file("ca.pem")).args(words.split(' ')).output().unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for SecretRedis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_is_reached_under_tls_by_who_trusts_its_authority() {
    if peers::variable("REDIS_NODES").is_none() {
        return;
    }
    let server = SecretRedis::start();
    let says = async |words: &str, answer: &str| server.asks(words).is_some_and(|said| said.contains(answer));
    eventually("Redis answers", async || says("ping", "PONG").await).await;
    eventually("it has all slots", async || {
        let _ = server.asks("cluster addslotsrange 0 16383");
        says("cluster info", "cluster_state:ok").await
    })
    .await;
    let connect = async |scheme: &str, host: &str, ca: Option<&str>| {
        let nodes = vec![format!("{scheme}://{host}:{}", server.port)];
        Directory::connect(DirectoryConfig { nodes, prefix: "tls".into(), ca_file: ca.map(file) }).await
    };
    for host in ["localhost", "127.0.0.1"] {
        let directory = connect("rediss", host, Some("ca.pem")).await.unwrap();
        directory.keep_node(NodeId(7)).await.unwrap();
        assert_eq!(directory.live_nodes().await.unwrap(), [NodeId(7)]);
    }
    for (scheme, ca) in [("rediss", Some("other-ca.pem")), ("rediss", None), ("redis", Some("ca.pem"))] {
        assert!(connect(scheme, "localhost", ca).await.is_err(), "{scheme} {ca:?}");
    }
}

/// Ends TLS in front of `there`; counts the connections whose client has accepted the certificate.
async fn ends_tls(there: String, made: Arc<AtomicUsize>) -> u16 {
    let chain = CertificateDer::pem_file_iter(file("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (near, _) = listener.accept().await.unwrap();
            let (there, acceptor, made) = (there.clone(), acceptor.clone(), made.clone());
            tokio::spawn(async move {
                let Ok(mut near) = acceptor.accept(near).await else { return };
                made.fetch_add(1, Ordering::Relaxed);
                let mut far = TcpStream::connect(there).await.unwrap();
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bus_is_reached_under_tls_by_who_trusts_its_authority() {
    let Some(Rig::Rabbit(config)) = Rig::rabbit() else { return };
    // amqp://user:password@host:port/vhost, of the first broker.
    let url = config.url.split(',').next().unwrap().strip_prefix("amqp://").unwrap();
    let (login, rest) = url.rsplit_once('@').unwrap();
    let (there, vhost) = rest.split_once('/').unwrap();
    let made = Arc::new(AtomicUsize::new(0));
    let port = ends_tls(there.to_owned(), made.clone()).await;
    let connect = async |scheme: &str, host: &str, ca: Option<&str>| {
        let url = format!("{scheme}://{login}@{host}:{port}/{vhost}");
        let config = BusConfig { url, ca_file: ca.map(file), ..config.clone() };
        tokio::time::timeout(Duration::from_secs(30), Bus::connect(config, NodeId::random())).await.unwrap()
    };
    for (scheme, ca) in [("amqps", Some("other-ca.pem")), ("amqps", None), ("amqp", Some("ca.pem"))] {
        assert!(connect(scheme, "localhost", ca).await.is_err(), "{scheme} {ca:?}");
    }
    assert_eq!(made.load(Ordering::Relaxed), 0, "the handshake itself is refused");
    for host in ["localhost", "127.0.0.1"] {
        let bus = connect("amqps", host, Some("ca.pem")).await.unwrap();
        assert_eq!(bus.depths().await.unwrap().quarantine, 0, "it is used");
        bus.drain().await;
    }
    assert!(made.load(Ordering::Relaxed) > 0);
}

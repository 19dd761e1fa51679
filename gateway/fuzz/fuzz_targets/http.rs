//! Octets on the port of a real gateway, on the loopback: it answers or hangs up, and is there for
//! the next one. An input may hold an upgrade, and frames behind it.

#![no_main]

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::time::Duration;

use common::auth::Verifier;
use common::config::{AuthConfig, Env};
use common::directory::Directory;
use protocol::ids::NodeId;
use common::lifecycle::Lifecycle;
use common::bus::Bus;
use gateway::{Gateway, GatewayConfig};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// A gateway whose tasks run while an input is played.
struct Bench {
    runtime: Runtime,
    addr: SocketAddr,
}

thread_local! {
    static BENCH: OnceCell<Bench> = const { OnceCell::new() };
}

impl Bench {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let addr = runtime.block_on(async {
            let pairs = [("NODE_ENV", "development"), ("BIND", "127.0.0.1"), ("PORT", "0"), ("QUERY_TOKEN", "true")];
            let mut env = Env::from_pairs(pairs);
            let (config, auth) = (GatewayConfig::from_env(&mut env), AuthConfig::from_env(&mut env));
            let (bus, directory, verifier) = (Bus::memory(), Directory::memory(), Verifier::new(&auth));
            let gateway = Gateway::bind(config, NodeId(1), bus, directory, verifier).await.expect("a gateway");
            let addr = gateway.addr().expect("an address");
            tokio::spawn(gateway.run(Lifecycle::manual()));
            addr
        });
        Self { runtime, addr }
    }

    fn play(&self, input: &[u8]) {
        self.runtime.block_on(async {
            let mut stream = TcpStream::connect(self.addr).await.expect("the gateway is there");
            // So that thousands of connections a second leave no port waiting.
            let _ = stream.set_zero_linger();
            let _ = stream.write_all(input).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let ended = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
            assert!(ended.is_ok(), "neither an answer nor an end: {:?}", String::from_utf8_lossy(&answer));
            assert!(answer.len() < 200_000, "{} bytes of answer", answer.len());
        });
    }
}


fuzz_target!(|input: &[u8]| BENCH.with(|bench| bench.get_or_init(Bench::start).play(input)));

//! A line to PostgreSQL that can be cut and mended, or fall silent.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A proxy; connections through it end when it is cut, and new ones are refused until it is mended.
pub struct Proxy {
    /// The database's URL through the proxy.
    pub url: String,
    here: std::net::SocketAddr,
    there: String,
    open: Arc<Mutex<Option<JoinSet<()>>>>,
    silent: watch::Sender<bool>,
}

impl Proxy {
    /// Before the server that `url` names.
    pub async fn before(url: &str) -> Self {
        let (head, rest) = url.rsplit_once('@').unwrap();
        let (there, name) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let proxy = Self {
            url: format!("{head}@{here}/{name}"),
            here,
            there: there.to_owned(),
            open: Arc::default(),
            silent: watch::Sender::new(false),
        };
        proxy.serve(listener);
        proxy
    }

    /// Ends every connection and refuses new ones.
    pub fn cut(&self) {
        self.open.lock().unwrap().take();
    }

    /// Accepts again.
    pub async fn mend(&self) {
        self.serve(TcpListener::bind(self.here).await.unwrap());
    }

    /// Carries nothing more and ends nothing, as a machine that has lost its network: connections
    /// stay, and new ones are taken and never answered.
    pub fn silence(&self) {
        self.silent.send_replace(true);
    }

    fn serve(&self, listener: TcpListener) {
        let (there, silent) = (self.there.clone(), self.silent.subscribe());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut lines = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let (there, mut silent) = (there.clone(), silent.clone());
                lines.spawn(async move {
                    let mut far = TcpStream::connect(there).await.unwrap();
                    let silence = async {
                        drop(silent.wait_for(|silent| *silent).await);
                    };
                    tokio::select! {
                        biased;
                        () = silence => {}
                        // However the line ends, it is the ends' to notice.
                        _ = copy_bidirectional(&mut near, &mut far) => return,
                    }
                    // It keeps both its ends for as long as there is a proxy.
                    std::future::pending::<()>().await;
                });
            }
        });
        *self.open.lock().unwrap() = Some(tasks);
    }
}

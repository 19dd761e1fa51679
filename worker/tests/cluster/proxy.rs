//! A line to PostgreSQL that can be cut and mended.

use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A proxy; connections through it end when it is cut, and new ones are refused until it is mended.
pub struct Proxy {
    /// The database's URL through the proxy.
    pub url: String,
    here: std::net::SocketAddr,
    there: String,
    open: Arc<Mutex<Option<JoinSet<()>>>>,
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

    fn serve(&self, listener: TcpListener) {
        let there = self.there.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut lines = JoinSet::new();
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let there = there.clone();
                lines.spawn(async move {
                    let mut far = TcpStream::connect(there).await.unwrap();
                    // However the line ends, it is the ends' to notice.
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        *self.open.lock().unwrap() = Some(tasks);
    }
}

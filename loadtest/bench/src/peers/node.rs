//! Node's `ws` and `socket.io`: the scripts in `loadtest/bench/peers`, with their packages from
//! npm in `target/bench-peers`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cluster::{Places, SECRET};
use crate::process::Started;

/// What npm needs.
const FILES: [&str; 4] = ["package.json", "package-lock.json", "ws.mjs", "socketio.mjs"];

/// The version of a package, as locked.
pub fn version(package: &str) -> String {
    let lock = std::fs::read(sources().join("package-lock.json")).unwrap_or_default();
    let lock: serde_json::Value = serde_json::from_slice(&lock).unwrap_or_default();
    lock["packages"][format!("node_modules/{package}")]["version"].as_str().unwrap_or("unknown").to_owned()
}

/// Installs the packages; None: Node or npm is not here.
///
/// # Errors
/// npm fails.
pub fn install(places: &Places) -> anyhow::Result<Option<PathBuf>> {
    let has =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    if !has("node") || !has("npm") {
        return Ok(None);
    }
    let folder = places.binaries.join("bench-peers");
    std::fs::create_dir_all(&folder)?;
    for file in FILES {
        std::fs::copy(sources().join(file), folder.join(file)).with_context(|| file.to_owned())?;
    }
    let npm = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"])
        .current_dir(&folder)
        .output()?;
    if !npm.status.success() {
        bail!("npm ci: {}", String::from_utf8_lossy(&npm.stderr));
    }
    Ok(Some(folder))
}

/// Starts one of the scripts.
///
/// # Errors
/// It does not start.
pub async fn start(places: &Places, folder: &Path, script: &str) -> anyhow::Result<Started> {
    let mut command = Command::new("node");
    command.arg(folder.join(script)).env("SECRET", SECRET).env("NODE_ENV", "production");
    Started::listening(script, command, &places.logs).await
}

/// Tells a script to send a payload of `bytes` to all its sockets, `times` times.
///
/// # Errors
/// It does not answer.
pub async fn fan_out(server: &Started, times: usize, bytes: usize) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.address.port)).await?;
    let request = format!("GET /fan-out?times={times}&bytes={bytes} HTTP/1.0\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await?;
    Ok(())
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

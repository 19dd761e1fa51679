//! Node's `ws` and `socket.io`: the scripts in `loadtest/bench/peers`, with their packages from
//! npm in `target/bench-peers`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use super::Publisher;
use crate::cluster::{Places, SECRET};
use crate::process::Started;

/// The files that npm needs.
const FILES: [&str; 4] = ["package.json", "package-lock.json", "ws.mjs", "socketio.mjs"];

/// The version of a package, as locked.
pub fn version(package: &str) -> String {
    let lock = std::fs::read(sources().join("package-lock.json")).unwrap_or_default();
    let lock: serde_json::Value = serde_json::from_slice(&lock).unwrap_or_default();
    lock["packages"][format!("node_modules/{package}")]["version"].as_str().unwrap_or("unknown").to_owned()
}

/// Installs the packages; false: Node or npm is not here.
///
/// # Errors
/// npm fails.
pub fn install(places: &Places) -> anyhow::Result<bool> {
    let has =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    if !has("node") || !has("npm") {
        return Ok(false);
    }
    let folder = folder(places);
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
    Ok(true)
}

/// Starts one of the scripts.
///
/// # Errors
/// It does not start.
pub async fn start(places: &Places, script: &str) -> anyhow::Result<(Started, Publisher)> {
    let mut command = Command::new("node");
    command.arg(folder(places).join(script)).env("SECRET", SECRET).env("NODE_ENV", "production");
    Ok((Started::listening(script, command, &places.logs).await?, Publisher::Told))
}

fn folder(places: &Places) -> PathBuf {
    places.binaries.join("bench-peers")
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

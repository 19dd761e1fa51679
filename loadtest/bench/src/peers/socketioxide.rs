//! A small server with the crate socketioxide: `loadtest/bench/peers/socketioxide`, a package of
//! its own, so that nobody compiles it who does not measure.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::ensure;

use super::Publisher;
use crate::cluster::{Places, SECRET};
use crate::process::Started;

/// Builds it; the version of the crate. None: cargo is not here.
///
/// # Errors
/// It does not compile.
pub fn build(places: &Places) -> anyhow::Result<Option<String>> {
    let sources = sources();
    let cargo = Command::new("cargo")
        .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
        .arg(sources.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(target(places))
        .stdin(Stdio::null())
        .status();
    let Ok(status) = cargo else { return Ok(None) };
    ensure!(status.success(), "cargo could not build {}", sources.display());
    let lock = std::fs::read_to_string(sources.join("Cargo.lock"))?;
    let version = lock.split("name = \"socketioxide\"\nversion = \"").nth(1);
    Ok(Some(version.and_then(|rest| rest.split('"').next()).unwrap_or("unknown").to_owned()))
}

/// Starts it.
///
/// # Errors
/// It does not start.
pub async fn start(places: &Places) -> anyhow::Result<(Started, Publisher)> {
    let mut command = Command::new(target(places).join("release/socketioxide-peer"));
    command.env("SECRET", SECRET);
    let started = Started::listening("socketioxide", command, &places.logs).await?;
    Ok((started, Publisher::Told))
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/socketioxide")
}

fn target(places: &Places) -> PathBuf {
    places.binaries.join("bench-peers/socketioxide")
}

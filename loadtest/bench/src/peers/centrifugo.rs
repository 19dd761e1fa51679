//! Centrifugo with its JSON protocol: a token is verified at `connect`, the channel keeps a little
//! history and lets clients recover from it.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::http::Line;
use super::{Publisher, first_line};
use crate::cluster::{Places, SECRET};
use crate::dialect::ROOM;
use crate::herd::content;
use crate::process::{Started, free_port};

const API_KEY: &str = "bench";

/// The binary: where `go install` puts it, or in the PATH.
fn binary() -> PathBuf {
    let built = std::env::home_dir().unwrap_or_default().join("go/bin/centrifugo");
    if built.exists() { built } else { "centrifugo".into() }
}

/// The version of Centrifugo; None: it is not installed.
pub fn version() -> Option<String> {
    let binary = binary();
    let says = first_line(&binary.to_string_lossy(), &["version"])?;
    // One that was built with `go install` knows its version only as a module.
    let go = ["go", "/usr/local/go/bin/go"].into_iter().find_map(|go| {
        let out = Command::new(go).args(["version", "-m"]).arg(&binary).output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let module = text.lines().find_map(|line| line.trim().strip_prefix("mod\t"))?.to_owned();
        module.split('\t').nth(1).map(str::to_owned)
    });
    Some(go.unwrap_or(says))
}

/// Starts it.
///
/// # Errors
/// It does not start.
pub async fn start(places: &Places) -> anyhow::Result<(Started, Publisher)> {
    let port = free_port()?;
    let config = serde_json::json!({
        "http_server": { "address": "127.0.0.1", "port": port.to_string() },
        "http_api": { "key": API_KEY },
        "client": { "allowed_origins": ["*"], "token": { "hmac_secret_key": SECRET } },
        "channel": { "without_namespace": {
            "allow_subscribe_for_client": true,
            "history_size": 20,
            "history_ttl": "60s",
            "force_recovery": true,
        } },
        "log": { "level": "error" },
    });
    std::fs::create_dir_all(&places.logs)?;
    let path = places.logs.join("centrifugo.json");
    std::fs::write(&path, config.to_string())?;
    let mut command = Command::new(binary());
    command.arg("-c").arg(path);
    let started = Started::listening_on("centrifugo", command, &places.logs, port).await?;
    let line = Line::connect(&started.address).await?;
    Ok((started, Publisher::Centrifugo(line)))
}

/// Publishes to the room: one request for all.
///
/// # Errors
/// It is not taken.
pub async fn publish(line: &mut Line, first: u64, times: usize, bytes: usize) -> anyhow::Result<()> {
    let publish = |number| serde_json::json!({ "publish": { "channel": ROOM, "data": { "content": content(number, bytes) } } });
    let commands: Vec<_> = (first..first + times as u64).map(publish).collect();
    let body = serde_json::json!({ "commands": commands }).to_string();
    let headers = format!("X-API-Key: {API_KEY}\r\nContent-Type: application/json\r\n");
    let answer = line.ask("POST", "/api/batch", &headers, &[body]).await?;
    anyhow::ensure!(!answer.contains("\"error\""), "Centrifugo says {answer}");
    Ok(())
}

/// A token of its own kind (its users are texts), HS256 like ours.
pub fn token() -> String {
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let signed =
        format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(r#"{"sub":"1","exp":4102444800}"#));
    let signature = URL_SAFE_NO_PAD.encode(hmac(SECRET.as_bytes(), signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// HMAC-SHA-256 with a key of at most one block.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_signed_as_rfc_4231_says() {
        let found = hmac(b"Jefe", b"what do ya want for nothing?");
        let hex: String = found.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(token().split('.').count(), 3);
    }
}

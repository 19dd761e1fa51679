//! mosquitto, MQTT 3.1.1 over WebSockets, QoS 0; a user with a password.

use std::process::Command;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Publisher;
use crate::cluster::Places;
use crate::dialect::{PASSWORD, USER, mqtt};
use crate::herd::content;
use crate::process::{Started, free_port};

/// Starts it, and a client that publishes.
///
/// # Errors
/// It does not start.
pub async fn start(places: &Places) -> anyhow::Result<(Started, Publisher)> {
    let (port, plain) = (free_port()?, free_port()?);
    std::fs::create_dir_all(&places.logs)?;
    let (config, passwords) = (places.logs.join("mosquitto.conf"), places.logs.join("mosquitto.passwords"));
    let made = Command::new("mosquitto_passwd")
        .args(["-c", "-b"])
        .arg(&passwords)
        .args([USER, PASSWORD])
        .output()?;
    ensure!(made.status.success(), "mosquitto_passwd: {}", String::from_utf8_lossy(&made.stderr));
    // As root it would become a user who may not read in here.
    let text = format!(
        "user root\nlistener {port} 127.0.0.1\nprotocol websockets\nsocket_domain ipv4\n\
         listener {plain} 127.0.0.1\nsocket_domain ipv4\n\
         allow_anonymous false\npassword_file {}\npersistence false\nset_tcp_nodelay true\nlog_type error\n",
        passwords.display()
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new("mosquitto");
    command.arg("-c").arg(config);
    let started = Started::listening_on("mosquitto", command, &places.logs, port).await?;
    Ok((started, Publisher::Mqtt(Line::connect(plain).await?)))
}

/// A client over plain TCP.
pub struct Line(TcpStream);

impl Line {
    async fn connect(port: u16) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.context("mosquitto")?;
        stream.set_nodelay(true)?;
        stream.write_all(&mqtt::connect("publisher", 0)).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        ensure!(answer == [0x20, 2, 0, 0], "mosquitto refuses the publisher: {answer:?}");
        Ok(Self(stream))
    }

    /// Publishes to the room.
    ///
    /// # Errors
    /// It is not taken.
    pub async fn publish(&mut self, first: u64, times: usize, bytes: usize) -> anyhow::Result<()> {
        let numbers = first..first + times as u64;
        let packets: Vec<u8> =
            numbers.flat_map(|number| mqtt::publish(content(number, bytes).as_bytes())).collect();
        Ok(self.0.write_all(&packets).await?)
    }
}

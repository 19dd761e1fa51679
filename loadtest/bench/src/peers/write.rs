//! The bare write loop: holds connections, and writes the bytes of one frame to each with one
//! `write()`, from one thread, with blocking calls. What a delivery costs the kernel alone. This
//! program runs itself as `bench write-loop`.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use anyhow::Context;

use super::accept::{answer, take};
use crate::cluster::Places;
use crate::herd::content;
use crate::process::Started;

/// The argument that starts this loop.
pub const ARGUMENT: &str = "write-loop";
/// The request to write, as `http::tell_to_publish` sends it.
const FAN_OUT: &str = "GET /fan-out?";

/// Starts it.
///
/// # Errors
/// It does not start.
pub async fn start(places: &Places) -> anyhow::Result<Started> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(ARGUMENT);
    Started::listening(ARGUMENT, command, &places.logs).await
}

/// Serves for ever on `127.0.0.1:$PORT`.
///
/// # Errors
/// The port cannot be had.
pub fn serve(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let mut held: Vec<TcpStream> = vec![];
    let mut head = [0; 4_096];
    for stream in listener.incoming() {
        let mut stream = stream?;
        let Some(head) = take(&mut stream, &mut head) else { continue };
        match String::from_utf8_lossy(head).strip_prefix(FAN_OUT) {
            Some(what) => {
                fan_out(&held, what)?;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            }
            None => {
                answer(&mut stream)?;
                held.push(stream);
            }
        }
    }
    Ok(())
}

/// Writes one event after the other, each to all sockets.
fn fan_out(held: &[TcpStream], what: &str) -> anyhow::Result<()> {
    let number = |name: &str| -> anyhow::Result<u64> {
        let rest = what.split(name).nth(1).context("a number is missing")?;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Ok(digits.parse()?)
    };
    let (first, times, bytes) = (number("first=")?, number("times=")?, number("bytes=")?);
    for at in first..first + times {
        let frame = frame(&content(at, bytes as usize));
        for mut stream in held {
            stream.write_all(&frame)?;
        }
    }
    Ok(())
}

/// A frame with the same bytes as the gateway's on the wire.
fn frame(content: &str) -> Vec<u8> {
    let data = serde_json::json!({ "content": content });
    let text = format!("{{\"event\":\"messageComing\",\"data\":{data}}}");
    let mut frame = vec![0x81, 126];
    frame.extend((text.len() as u16).to_be_bytes());
    frame.extend(text.as_bytes());
    frame
}

//! The bare accept loop: takes a connection, reads the request's head, answers 101, one after the
//! other, with blocking calls. No runtime, no HTTP parser, no token, no session: what the kernel
//! costs alone. This program runs itself as `bench accept-loop`, so that it has a process of its own.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use anyhow::ensure;
use swarm::options::Address;

use crate::cluster::Places;
use crate::process::Started;

/// The argument that starts this loop.
pub const ARGUMENT: &str = "accept-loop";
/// Instead of a request: let all connections go. They would have to be watched otherwise.
const RELEASE: &[u8] = b"RELEASE\r\n\r\n";
/// The answer to every upgrade.
const ANSWER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// Most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 4_096;

/// Starts it.
///
/// # Errors
/// It does not start.
pub async fn start(places: &Places) -> anyhow::Result<Started> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(ARGUMENT);
    Started::listening(ARGUMENT, command, &places.logs).await
}

/// Makes it forget the connections that it holds.
///
/// # Errors
/// It is away.
pub fn release(address: &Address) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect((address.host.as_str(), address.port))?;
    stream.write_all(RELEASE)?;
    // It closes when it has done so.
    let heard = stream.read(&mut [0])?;
    ensure!(heard == 0, "it answers instead");
    Ok(())
}

/// Serves for ever on `127.0.0.1:$PORT`.
///
/// # Errors
/// The port cannot be had.
pub fn serve(port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let mut held = vec![];
    let mut head = [0; HEAD_BYTES_MAX];
    for stream in listener.incoming() {
        let mut stream = stream?;
        match take(&mut stream, &mut head) {
            Some(RELEASE) => held.clear(),
            Some(_) if answer(&mut stream).is_ok() => held.push(stream),
            _ => {}
        }
    }
    Ok(())
}

/// Reads the head of a request; None: the stream ended or the head is too long.
pub fn take<'a>(stream: &mut TcpStream, head: &'a mut [u8]) -> Option<&'a [u8]> {
    stream.set_nodelay(true).ok()?;
    let mut len = 0;
    while !head[..len].ends_with(b"\r\n\r\n") {
        match stream.read(&mut head[len..]).ok()? {
            0 => return None,
            read => len += read,
        }
    }
    Some(&head[..len])
}

/// Answers an upgrade.
///
/// # Errors
/// The connection is gone.
pub fn answer(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(ANSWER)
}

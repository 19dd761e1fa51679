//! A line that forwards nothing and stays open: what a network is to both ends when it is cut in
//! the middle. For example, a switch between a gateway and the brokers loses its power, and neither end is told.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;

/// Bytes that one direction holds while it waits; the kernel holds some more.
const BYTES: usize = 64 * 1024;

/// Proxies in front of some servers, all cut and mended together.
pub struct Line {
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    is_cut: Mutex<bool>,
    changed: Condvar,
}

impl Line {
    /// A whole line.
    pub fn new() -> Self {
        Self { gate: Arc::default() }
    }

    /// Where these are reached over the line: each URL with its address replaced.
    ///
    /// # Errors
    /// A URL has no address, or there is no port.
    pub fn before(&self, urls: &str) -> anyhow::Result<String> {
        let over = urls.split(',').map(|url| self.one(url));
        Ok(over.collect::<anyhow::Result<Vec<_>>>()?.join(","))
    }

    fn one(&self, url: &str) -> anyhow::Result<String> {
        let (head, rest) = url.split_once('@').context("a URL with a user")?;
        let (address, tail) = rest.split_once('/').context("a URL with a path")?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let here = listener.local_addr()?;
        let (address, gate) = (address.to_owned(), Arc::clone(&self.gate));
        std::thread::spawn(move || accept(&listener, &address, &gate));
        Ok(format!("{head}@{here}/{tail}"))
    }

    /// From here on nothing passes, in either direction, not even an end.
    pub fn cut(&self) {
        *self.gate.lock() = true;
    }

    /// It passes again, what had waited first.
    pub fn mend(&self) {
        *self.gate.lock() = false;
        self.gate.changed.notify_all();
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_cut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self) {
        let cut = self.changed.wait_while(self.lock(), |is_cut| *is_cut);
        drop(cut.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Connections that come while it is cut are taken by the kernel, and heard of when it is whole.
fn accept(listener: &TcpListener, address: &str, gate: &Arc<Gate>) {
    for near in listener.incoming().flatten() {
        let (address, gate) = (address.to_owned(), Arc::clone(gate));
        std::thread::spawn(move || {
            gate.pass();
            // A server that is away hangs up on who asks; so do we.
            let Ok(far) = TcpStream::connect(&address) else { return };
            let Ok((near_too, far_too)) = near.try_clone().and_then(|near| Ok((near, far.try_clone()?)))
            else {
                return;
            };
            let back = Arc::clone(&gate);
            std::thread::spawn(move || copy(far_too, near_too, &back));
            copy(near, far, &gate);
        });
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut bytes = vec![0; BYTES];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        gate.pass();
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    gate.pass();
    // The other end may be gone already.
    let _ = to.shutdown(Shutdown::Write);
    let _ = from.shutdown(Shutdown::Read);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nothing_passes_a_cut_line_and_nothing_is_lost_on_it() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Line::new();
        let url = line.before(&format!("amqp://me:secret@{}/%2f", server.local_addr().unwrap())).unwrap();
        let address = url.strip_prefix("amqp://me:secret@").unwrap().strip_suffix("/%2f").unwrap();
        let mut near = TcpStream::connect(address).unwrap();
        let (mut far, _) = server.accept().unwrap();
        let mut heard = [0; 5];
        near.write_all(b"hello").unwrap();
        far.read_exact(&mut heard).unwrap();

        line.cut();
        near.write_all(b"again").unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        far.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert!(far.read(&mut heard).is_err(), "neither bytes nor the end");

        line.mend();
        far.set_read_timeout(None).unwrap();
        far.read_exact(&mut heard).unwrap();
        assert_eq!((&heard, far.read(&mut heard.clone()).unwrap()), (b"again", 0));
    }
}

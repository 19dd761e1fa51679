//! From running to draining to aborting: the effect of signals on the whole process.
//!
//! The first SIGTERM or SIGINT *drains*: leave politely, within deadlines. The second one
//! *aborts*: stop waiting for anything. Both are one-way.
//!
//! SIGHUP, SIGUSR1 and SIGUSR2 are logged and ignored, since there is nothing to
//! read again. One exception: the system sends SIGHUP when the terminal that a program was started from
//! is closed. Then the program drains, and does not live on unseen.
//!
//! Not here: what draining means to a gateway or a worker.

use std::io::{self, IsTerminal as _};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The phase of this process. Cheap to clone; all clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    draining: CancellationToken,
    aborting: CancellationToken,
}

impl Lifecycle {
    /// Listens for signals. Must be called inside the runtime.
    pub fn install() -> io::Result<Self> {
        let lifecycle = Self::manual();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut user = signal(SignalKind::user_defined1())?;
        let mut other_user = signal(SignalKind::user_defined2())?;
        let had_terminal = io::stdin().is_terminal();
        let listener = lifecycle.clone();
        tokio::spawn(async move {
            loop {
                let ignored = tokio::select! {
                    _ = terminate.recv() => None,
                    _ = interrupt.recv() => None,
                    // A terminal that has gone is none any more.
                    _ = hangup.recv() => (!had_terminal || io::stdin().is_terminal()).then_some("SIGHUP"),
                    _ = user.recv() => Some("SIGUSR1"),
                    _ = other_user.recv() => Some("SIGUSR2"),
                };
                match ignored {
                    Some(name) => warn!("{name} is ignored: to stop this program, send SIGTERM"),
                    None => listener.signalled(),
                }
            }
        });
        Ok(lifecycle)
    }

    /// Moved by hand: tests, and programs that run inside another one.
    pub fn manual() -> Self {
        Self::default()
    }

    /// Begin to leave.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Stop waiting. Implies draining.
    pub fn abort(&self) {
        self.draining.cancel();
        self.aborting.cancel();
    }

    /// Waits until draining begins.
    pub async fn draining(&self) {
        self.draining.cancelled().await;
    }

    /// Waits until aborting begins.
    pub async fn aborting(&self) {
        self.aborting.cancelled().await;
    }

    /// Whether draining (or aborting) has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Whether aborting has begun.
    pub fn is_aborting(&self) -> bool {
        self.aborting.is_cancelled()
    }

    fn signalled(&self) {
        if self.is_draining() {
            warn!("Second signal: aborting");
            self.abort();
        } else {
            info!("Signal: draining; a second one aborts");
            self.drain();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_signal_drains_and_the_second_aborts() {
        let lifecycle = Lifecycle::manual();
        let other = lifecycle.clone();
        assert!(!other.is_draining());
        lifecycle.signalled();
        other.draining().await;
        assert!(other.is_draining() && !other.is_aborting());
        lifecycle.signalled();
        other.aborting().await;
    }

    #[tokio::test]
    async fn aborting_is_draining_too() {
        let lifecycle = Lifecycle::manual();
        lifecycle.abort();
        lifecycle.draining().await;
        lifecycle.aborting().await;
    }

    #[tokio::test]
    async fn signals_of_the_system_arrive() {
        let lifecycle = Lifecycle::install().unwrap();
        let pid = std::process::id().to_string();
        let send = |signal: &str| {
            assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
        };
        for ignored in ["-HUP", "-USR1", "-USR2"] {
            send(ignored);
        }
        tokio::task::yield_now().await;
        assert!(!lifecycle.is_draining(), "they neither end the process nor drain it");
        send("-TERM");
        lifecycle.draining().await;
        assert!(!lifecycle.is_aborting());
    }
}

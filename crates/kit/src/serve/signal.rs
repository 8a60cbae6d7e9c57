//! The signals that stop a service.
//!
//! Deliberately only SIGINT and SIGTERM. Invariant: the second signal ends the process at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit status of a process that was told twice to stop: as if SIGINT had ended it.
const EXIT_AT_ONCE: i32 = 130;

/// Resolves at the first SIGINT or SIGTERM; from then on another one ends the process.
pub async fn shutdown_signal() -> io::Result<()> {
    let mut signals = Signals {
        interrupt: signal(SignalKind::interrupt())?,
        terminate: signal(SignalKind::terminate())?,
    };
    signals.next().await;
    tokio::spawn(async move {
        signals.next().await;
        tracing::warn!("told twice to stop: ending at once");
        std::process::exit(EXIT_AT_ONCE);
    });
    Ok(())
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

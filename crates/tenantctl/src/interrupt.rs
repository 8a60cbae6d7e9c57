//! Ctrl-C: the command ends, and says what goes on without it.
//!
//! Deliberately on a thread of its own: a prompt that is read holds up everything else. Invariant: whatever
//! a command does, it has ended some moments after the first Ctrl-C, with the exit code 130.

use std::io::IsTerminal as _;
use std::process::{Command, exit};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::failure::INTERRUPTED;

/// How long a command has to tidy up.
const GRACE: Duration = Duration::from_millis(300);

/// Ends with the first Ctrl-C, and the process a little later whether or not somebody hears of it.
pub(crate) async fn pressed() {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        if let Ok(runtime) = runtime
            && runtime.block_on(tokio::signal::ctrl_c()).is_ok()
        {
            // Nobody hears it where the command has just ended.
            let _ = tell.send(());
            runtime.block_on(tokio::time::sleep(GRACE));
            show_what_is_typed();
            exit(i32::from(INTERRUPTED));
        }
    });
    if told.await.is_err() {
        // The signal cannot be caught, and ends the process by itself.
        std::future::pending::<()>().await;
    }
}

/// A prompt for a secret that was broken off has left the terminal without an echo.
fn show_what_is_typed() {
    if std::io::stdin().is_terminal() {
        // Where there is no such program nothing can be done about it.
        let _ = Command::new("stty").arg("echo").status();
    }
}

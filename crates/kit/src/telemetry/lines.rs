//! Hands finished log lines to a thread that writes them, many with one system call.
//!
//! Deliberately never waits for a slow output, and deliberately does not wake its thread for each
//! line: the first line of a batch does, and the batch is written [`GATHER`] later. Invariants:
//! lines keep their order; what does not fit any more is dropped whole and counted; dropping the
//! [`Writing`] writes what still waits.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// How long the first line of a batch waits for others.
const GATHER: Duration = Duration::from_millis(10);
/// Bytes that wait for a slow output before further lines are dropped.
const MAX_WAITING_BYTES: usize = 16 << 20;
/// A batch's memory is kept for the next one up to this size.
const KEPT_BYTES: usize = 256 << 10;

/// Where lines are handed over.
#[derive(Debug, Clone)]
pub(super) struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    over: bool,
}

/// The thread that writes; ends it when dropped.
#[derive(Debug)]
pub(super) struct Writing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a thread that writes to `output`.
pub(super) fn start(output: impl Write + Send + 'static) -> io::Result<(Lines, Writing)> {
    let shared = Arc::new(Shared::default());
    let theirs = Arc::clone(&shared);
    let thread = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || theirs.write_to(output))?;
    let writing = Writing {
        shared: Arc::clone(&shared),
        thread: Some(thread),
    };
    Ok((Lines(shared), writing))
}

impl Lines {
    /// Lines that were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_to(&self, mut output: impl Write) {
        let mut batch = Vec::new();
        loop {
            let mut waiting = self.lock();
            while waiting.bytes.is_empty() && !waiting.over {
                waiting = self
                    .changed
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if !waiting.over {
                // Ends early only when the process does.
                (waiting, _) = self
                    .changed
                    .wait_timeout_while(waiting, GATHER, |waiting| !waiting.over)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            let over = waiting.over;
            std::mem::swap(&mut waiting.bytes, &mut batch);
            drop(waiting);
            // There is nobody to tell that an output is gone.
            let _ = output.write_all(&batch).and_then(|()| output.flush());
            batch.clear();
            batch.shrink_to(KEPT_BYTES);
            if over {
                return;
            }
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of that thread was already reported by it.
            let _ = thread.join();
        }
    }
}

impl Write for &Lines {
    /// The formatter hands over a whole event at a time.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.lock();
        if waiting.bytes.len() + event.len() > MAX_WAITING_BYTES {
            drop(waiting);
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return Ok(event.len());
        }
        let is_first = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(event);
        drop(waiting);
        if is_first {
            self.0.changed.notify_one();
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

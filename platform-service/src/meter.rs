//! How many bytes of data the step of an operation has copied, for who watches it.
//!
//! Deliberately a property of the task that does the step, as the time that a request holds connections is:
//! what copies data knows of no operation. Invariants: outside of a step nothing is counted; the total is an
//! estimate, and never less than what is done.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use contract::operator::operation::Progress;
use tokio::io::{AsyncRead, ReadBuf};

tokio::task_local! {
    static METER: Arc<Meter>;
}

/// Counts what one step copies.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    done: AtomicU64,
    total: AtomicU64,
}

impl Meter {
    /// Does a step, and counts what it copies.
    pub(crate) async fn watch<W: Future>(self: Arc<Self>, work: W) -> W::Output {
        METER.scope(self, work).await
    }

    /// How far the step is; nothing as long as it copies nothing.
    pub(crate) fn progress(&self) -> Option<Progress> {
        let (done, total) = (
            self.done.load(Ordering::Relaxed),
            self.total.load(Ordering::Relaxed),
        );
        (total > 0).then(|| in_bytes(done, total.max(done)))
    }

    /// The same once the step is done: all there was.
    pub(crate) fn whole(&self) -> Option<Progress> {
        let done = self.done.load(Ordering::Relaxed);
        self.progress().map(|_| in_bytes(done, done))
    }
}

fn in_bytes(done: u64, total: u64) -> Progress {
    Progress {
        done,
        total,
        unit: "bytes".to_owned(),
        note: None,
    }
}

/// About so many bytes are copied from now on.
pub(crate) fn expect(bytes: u64) {
    // Nobody watches what is no step of an operation.
    let _ = METER.try_with(|meter| {
        meter.done.store(0, Ordering::Relaxed);
        meter.total.store(bytes, Ordering::Relaxed);
    });
}

/// So many more are copied.
pub(crate) fn passed(bytes: usize) {
    let _ = METER.try_with(|meter| meter.done.fetch_add(bytes as u64, Ordering::Relaxed));
}

/// Counts what is read.
pub(crate) struct Counted<R>(pub(crate) R);

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(context, buffer))?;
        passed(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

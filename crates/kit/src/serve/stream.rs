//! A connection's stream, with what hyper leaves open: an end that the client hears, and an end to
//! waiting for a client that takes nothing.
//!
//! An answer can be sent before its request was read to the end: the body is too large, the token is
//! wrong. Closing then makes the system reset the connection, and what the client was sent may be
//! thrown away before it was read. So the server says that it sends no more and reads on for a while
//! (what RFC 9112, section 9.6, asks for). Deliberately not for connections whose requests were read:
//! they close at once. Invariants: no connection lingers for longer than it may, and none whose client
//! takes no byte of its answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::HttpBody;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

/// How much is read, and thrown away, at once.
const DISCARD_BYTES: usize = 8 * 1024;

/// Whether the last request of a connection was left unread in part.
#[derive(Clone, Default)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    /// The body of the next request.
    pub(super) fn watch(&self, body: Incoming) -> Watched {
        self.0.store(false, Ordering::Relaxed);
        Watched {
            ended: false,
            body,
            unread: self.clone(),
        }
    }
}

/// A body that tells its connection when it is dropped before its end.
pub(super) struct Watched {
    body: Incoming,
    ended: bool,
    unread: Unread,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.is_end_stream() {
            self.unread.0.store(true, Ordering::Relaxed);
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.ended = frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// For how long a client is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// That is still sending after its last answer.
    pub(super) sending: Duration,
    /// That takes nothing of its answer.
    pub(super) taking: Duration,
}

/// A stream whose shutdown waits for a client that is still sending, and whose writing does not wait for
/// ever.
pub(super) struct BoundedStream {
    stream: TcpStream,
    unread: Unread,
    patience: Patience,
    /// Set while the client takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Set once nothing more is sent.
    ends: Option<Pin<Box<Sleep>>>,
}

impl BoundedStream {
    pub(super) fn new(stream: TcpStream, unread: Unread, patience: Patience) -> Self {
        Self {
            stream,
            unread,
            patience,
            stalled: None,
            ends: None,
        }
    }

    /// What came of a write; an error once the client has taken nothing for too long.
    fn bounded(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let taking = self.patience.taking;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(taking)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Ready when the client has closed its side, or is gone.
    fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut discarded = [0; DISCARD_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut discarded);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                return Poll::Ready(());
            }
        }
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.bounded(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ends.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            if !self.unread.0.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
            self.ends = Some(Box::pin(tokio::time::sleep(self.patience.sending)));
        }
        let over = match &mut self.ends {
            Some(ends) => ends.as_mut().poll(context).is_ready(),
            None => false,
        };
        if over || self.poll_discard(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    const PATIENCE: Patience = Patience {
        sending: Duration::from_millis(20),
        taking: Duration::from_millis(20),
    };

    async fn connected(unread: Unread) -> (TcpStream, BoundedStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let stream = BoundedStream::new(accepted.unwrap().0, unread, PATIENCE);
        (client.unwrap(), stream)
    }

    #[tokio::test]
    async fn a_client_that_never_ends_is_let_go() {
        let unread = Unread::default();
        unread.0.store(true, Ordering::Relaxed);
        let (client, mut stream) = connected(unread).await;
        let before = tokio::time::Instant::now();
        stream.shutdown().await.unwrap();
        assert!(before.elapsed() >= PATIENCE.sending);
        drop(client);
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_is_let_go() {
        let (client, mut stream) = connected(Unread::default()).await;
        // More than the buffers of both ends hold.
        let answer = vec![b'x'; 32 << 20];
        let error = stream.write_all(&answer).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}

//! The end of a connection whose client is still sending.
//!
//! An answer can be sent before its request was read to the end: the body is too large, the token is
//! wrong. Closing then makes the system reset the connection, and what the client was sent may be
//! thrown away before it was read. So the server says that it sends no more and reads on for a while
//! (what RFC 9112, section 9.6, asks for). Deliberately not for connections whose requests were read:
//! they close at once. Invariant: no connection lingers for longer than it may.

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

/// A stream whose shutdown waits for a client that is still sending.
pub(super) struct Lingering {
    stream: TcpStream,
    unread: Unread,
    longest: Duration,
    /// Set once nothing more is sent.
    ends: Option<Pin<Box<Sleep>>>,
}

impl Lingering {
    /// `longest`: for how long a client is listened to after the last answer.
    pub(super) fn new(stream: TcpStream, unread: Unread, longest: Duration) -> Self {
        Self {
            stream,
            unread,
            longest,
            ends: None,
        }
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

impl AsyncRead for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
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
            self.ends = Some(Box::pin(tokio::time::sleep(self.longest)));
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

    #[tokio::test]
    async fn a_client_that_never_ends_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let unread = Unread::default();
        unread.0.store(true, Ordering::Relaxed);
        let longest = Duration::from_millis(20);
        let mut stream = Lingering::new(accepted.unwrap().0, unread, longest);
        let before = tokio::time::Instant::now();
        stream.shutdown().await.unwrap();
        assert!(before.elapsed() >= longest);
        drop(client);
    }
}

//! One connection, from its first byte to its end.
//!
//! Deliberately without a limit on how long a response may take, as long as its client takes it; the HTTP
//! layers have it.
//! Invariant: what hyper does not bound in time (everything before the first request, HTTP/2
//! between requests) is bounded here by counting requests, which costs two additions a request.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::ServeLimits;
use super::stream::{BoundedStream, Patience, Unread};

/// For how long a client that is still sending is listened to after its answer.
const LINGER: Duration = Duration::from_secs(5);

/// What all connections of a listener share.
pub(super) struct Connections {
    builder: Arc<Builder<TokioExecutor>>,
    router: Router,
    limits: ServeLimits,
    /// Each answer is its connection's last.
    noticed: Arc<AtomicBool>,
    stopping: CancellationToken,
}

/// Requests of one connection; equal numbers: none is open.
#[derive(Default)]
struct Requests {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// Counts the end of a request however it ends.
struct Open(Arc<Requests>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Requests {
    fn begin(self: &Arc<Self>) -> Open {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// No request is open, and none began since there were `seen`.
    fn idle_since(&self, seen: u64) -> bool {
        self.begun() == seen && self.ended.load(Ordering::Relaxed) == seen
    }
}

impl Connections {
    pub(super) fn new(router: Router, limits: ServeLimits, stopping: CancellationToken) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // hyper counts from the end of the last response, so this is what idle connections have;
            // the first head has less, in `serve`.
            .header_read_timeout(limits.idle_timeout.get())
            .max_headers(ServeLimits::MAX_HEADERS)
            .max_buf_size(ServeLimits::MAX_HEAD_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_http2_streams)
            .max_header_list_size(u32::try_from(ServeLimits::MAX_HEAD_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(limits.idle_timeout.get())
            .keep_alive_timeout(limits.header_timeout.get());
        Self {
            builder: Arc::new(builder),
            router,
            limits,
            noticed: Arc::default(),
            stopping,
        }
    }

    /// From now on each answer is its connection's last.
    pub(super) fn give_notice(&self) {
        self.noticed.store(true, Ordering::Relaxed);
    }

    /// Serves one connection; what ends it early is the client's affair and is not reported.
    pub(super) fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> impl Future<Output = ()> + Send + use<> {
        let builder = Arc::clone(&self.builder);
        let router = self.router.clone();
        let limits = self.limits;
        let noticed = Arc::clone(&self.noticed);
        // A token of its own: one shared by all connections is a lock that all of them take.
        let stopping = self.stopping.child_token();
        // Fails only where the client is gone already, which the first read will find.
        let _ = stream.set_nodelay(true);
        async move {
            let requests = Arc::new(Requests::default());
            let counted = Arc::clone(&requests);
            let unread = Unread::default();
            let patience = Patience {
                sending: LINGER,
                taking: limits.idle_timeout.get(),
            };
            let stream = BoundedStream::new(stream, unread.clone(), patience);
            let service = service_fn(move |mut request: http::Request<Incoming>| {
                let open = counted.begin();
                request.extensions_mut().insert(ConnectInfo(peer));
                // HTTP/2 has no such header; its connections are told at the end of the notice.
                let closes = request.version() < http::Version::HTTP_2;
                let noticed = Arc::clone(&noticed);
                let response = router
                    .clone()
                    .call(request.map(|body| Body::new(unread.watch(body))));
                async move {
                    let mut response = response.await;
                    drop(open);
                    if let Ok(response) = &mut response
                        && closes
                        && noticed.load(Ordering::Relaxed)
                    {
                        let last = HeaderValue::from_static("close");
                        response.headers_mut().insert(header::CONNECTION, last);
                    }
                    response
                }
            });
            let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
            let mut connection = pin!(connection);
            let mut stopped = pin!(stopping.cancelled());
            let mut seen = 0;
            let mut first = true;
            let mut told = false;
            let mut check = pin!(tokio::time::sleep(limits.header_timeout.get()));
            loop {
                tokio::select! {
                    biased;
                    _ = connection.as_mut() => return,
                    () = stopped.as_mut(), if !told => {
                        told = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    () = check.as_mut() => {
                        let idle = requests.idle_since(seen);
                        if first && idle {
                            return;
                        }
                        if idle && !told {
                            told = true;
                            connection.as_mut().graceful_shutdown();
                        }
                        first = false;
                        seen = requests.begun();
                        check.as_mut().reset(Instant::now() + limits.idle_timeout.get());
                    }
                }
            }
        }
    }
}

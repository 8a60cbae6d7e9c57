//! Rules of serving: time limits before a request, bounded connections, and the end.

use std::time::Instant;

use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;

/// Long enough for a slow machine; nothing that passes waits for it.
const AT_MOST: Duration = Duration::from_secs(20);

/// What a server answers to one request, and whether it closes the connection with it.
async fn asked(running: &Running) -> String {
    rest(running.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await).await
}

#[tokio::test]
async fn who_is_given_notice_is_served_until_it_is_over() {
    let router = Router::new().route("/", get(|| async { "hello" }));
    let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr();
    let stop = CancellationToken::new();
    let notice = Duration::from_secs(2);
    let drain = Drain {
        token: stop.clone(),
        notice,
        end: DrainEnd::new(AT_MOST),
    };
    let served = tokio::spawn(serve(listener, router, ServeLimits::default(), drain));
    let running = Running {
        address,
        stop,
        served,
    };
    running.stop.cancel();
    let began = Instant::now();
    // Answers say that they are the last of their connections, so that nobody sends into a closed one.
    let answer = asked(&running).await;
    assert!(
        answer.contains("connection: close") && answer.ends_with("hello"),
        "{answer}"
    );
    assert_eq!(
        within(running.served).await.unwrap(),
        DrainReport { cut: 0 }
    );
    assert!(began.elapsed() >= notice);
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<DrainReport>,
}

impl Running {
    async fn start(router: Router, limits: ServeLimits, deadline: Duration) -> Self {
        let listener = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr();
        let stop = CancellationToken::new();
        let drain = Drain {
            token: stop.clone(),
            notice: Duration::ZERO,
            end: DrainEnd::new(deadline),
        };
        let served = tokio::spawn(serve(listener, router, limits, drain));
        Self {
            address,
            stop,
            served,
        }
    }

    async fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    async fn stop(self) -> DrainReport {
        self.stop.cancel();
        within(self.served).await.unwrap()
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(AT_MOST, work).await.expect("in time")
}

/// Everything until the server closes; a reset counts as closed.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = within(stream.read_to_end(&mut bytes)).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn quick() -> ServeLimits {
    ServeLimits {
        header_timeout: Period::new(Duration::from_millis(500)),
        idle_timeout: Period::new(Duration::from_millis(500)),
        ..ServeLimits::default()
    }
}

/// Long enough for both time limits of [`quick`], seen on a server of its own: three connections
/// in a row are closed for saying nothing.
async fn time_passes() {
    let running = Running::start(Router::new(), quick(), AT_MOST).await;
    for _ in 0..3 {
        rest(running.send(b"").await).await;
    }
    running.stop().await;
}

/// `GET /slow` says that it began and ends when told.
fn slow() -> (Router, oneshot::Receiver<()>, Arc<Notify>) {
    let (began, begun) = oneshot::channel();
    let go = Arc::new(Notify::new());
    let wait = Arc::clone(&go);
    let began = Arc::new(std::sync::Mutex::new(Some(began)));
    let handler = get(move || {
        let began = began.lock().unwrap().take();
        let wait = Arc::clone(&wait);
        async move {
            if let Some(began) = began {
                let _ = began.send(());
            }
            wait.notified().await;
            "done"
        }
    });
    (Router::new().route("/slow", handler), begun, go)
}

const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn half_open_connections_are_closed() {
    let running = Running::start(Router::new(), quick(), AT_MOST).await;
    for opening in [
        "",
        "G",
        "PRI * HT",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\nx-slow: ",
    ] {
        let stream = running.send(opening.as_bytes()).await;
        let answer = rest(stream).await;
        assert!(!answer.contains("200 OK"), "{opening:?}: {answer}");
    }
    assert_eq!(running.stop().await, DrainReport { cut: 0 });
}

/// Sends a head that never ends, a piece at a time, for as long as somebody listens.
async fn drip(running: &Running) {
    let mut stream = running.send(b"GET / HTTP/1.1\r\nhost: x\r\n").await;
    let began = Instant::now();
    loop {
        let mut answer = [0; 64];
        let patience = quick().header_timeout.get() / 4;
        let read = tokio::time::timeout(patience, stream.read(&mut answer)).await;
        if matches!(read, Ok(Ok(0) | Err(_))) || stream.write_all(b"x-slow: 1\r\n").await.is_err() {
            return;
        }
        assert!(began.elapsed() < AT_MOST, "somebody goes on listening");
    }
}

#[tokio::test]
async fn a_thousand_half_open_heads_are_closed_in_time_and_keep_nobody_out() {
    const AT_ONCE: usize = 250;
    let usual = ServeLimits::default().header_timeout.get();
    assert!(usual <= Duration::from_secs(10), "{usual:?}");
    let router = Router::new().route("/", get(|| async { "hello" }));
    let running = Running::start(router, quick(), AT_MOST).await;
    for _ in 0..4 {
        let mut open = Vec::new();
        for _ in 0..AT_ONCE - 10 {
            open.push(running.send(b"GET / HTTP/1.1\r\nhost: x\r\n").await);
        }
        let drips = futures::future::join_all((0..10).map(|_| drip(&running)));
        let other = async {
            let asks = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            rest(running.send(asks).await).await
        };
        let closed = futures::future::join_all(open.into_iter().map(rest));
        let (answer, closed, _) = tokio::join!(other, closed, drips);
        assert!(answer.ends_with("hello"), "{answer}");
        assert!(closed.iter().all(|answer| !answer.contains("200 OK")));
    }
    assert_eq!(running.stop().await, DrainReport { cut: 0 });
}

#[tokio::test]
async fn idle_keep_alive_is_closed() {
    let router = Router::new().route("/", get(|| async { "hello" }));
    let running = Running::start(router, quick(), AT_MOST).await;
    let stream = running.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(rest(stream).await.ends_with("hello"));
    running.stop().await;
}

#[tokio::test]
async fn next_request_has_the_time_of_an_idle_connection() {
    let router = Router::new().route("/", get(|| async { "hello" }));
    let limits = ServeLimits {
        header_timeout: quick().header_timeout,
        ..ServeLimits::default()
    };
    let running = Running::start(router, limits, AT_MOST).await;
    let mut stream = running.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        within(stream.read_buf(&mut answer)).await.unwrap();
    }
    time_passes().await;
    let again = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(again).await.unwrap();
    assert!(rest(stream).await.ends_with("hello"));
    running.stop().await;
}

#[tokio::test]
async fn slow_request_outlives_the_time_limits_of_the_connection() {
    let (router, begun, go) = slow();
    let running = Running::start(router, quick(), AT_MOST).await;
    let stream = running.send(SLOW).await;
    within(begun).await.unwrap();
    time_passes().await;
    go.notify_one();
    assert!(rest(stream).await.ends_with("done"));
    running.stop().await;
}

#[tokio::test]
async fn requests_know_their_peer() {
    let handler = get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() });
    let router = Router::new().route("/", handler);
    let running = Running::start(router, ServeLimits::default(), AT_MOST).await;
    let stream = running
        .send(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    let own = stream.local_addr().unwrap().to_string();
    assert!(rest(stream).await.ends_with(&own));
    running.stop().await;
}

#[tokio::test]
async fn connections_over_the_limit_wait() {
    let (router, begun, go) = slow();
    let limits = ServeLimits {
        max_connections: 1,
        ..quick()
    };
    let running = Running::start(router, limits, AT_MOST).await;
    let first = running.send(SLOW).await;
    within(begun).await.unwrap();
    let second = running.send(b"GET /missing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let second = tokio::spawn(rest(second.await));
    time_passes().await;
    assert!(!second.is_finished());
    go.notify_one();
    assert!(rest(first).await.ends_with("done"));
    assert!(within(second).await.unwrap().contains("404"));
    running.stop().await;
}

#[tokio::test]
async fn drain_waits_for_open_requests() {
    let (router, begun, go) = slow();
    let running = Running::start(router, ServeLimits::default(), AT_MOST).await;
    let address = running.address;
    let stream = running.send(SLOW).await;
    within(begun).await.unwrap();
    running.stop.cancel();
    // The port is free as soon as the accept loop has ended: the drain has begun.
    within(async {
        while Listener::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!running.served.is_finished());
    go.notify_one();
    let answer = rest(stream).await;
    assert!(answer.ends_with("done"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(
        within(running.served).await.unwrap(),
        DrainReport { cut: 0 }
    );
}

#[tokio::test]
async fn drain_closes_idle_connections_at_once() {
    let router = Router::new().route("/", get(|| async { "hello" }));
    let running = Running::start(router, ServeLimits::default(), AT_MOST).await;
    let mut stream = running.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut answer = Vec::new();
    while !answer.ends_with(b"hello") {
        within(stream.read_buf(&mut answer)).await.unwrap();
    }
    let started = Instant::now();
    assert_eq!(running.stop().await, DrainReport { cut: 0 });
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn an_answer_before_the_end_of_a_body_reaches_a_client_that_sends_it_all() {
    // More than the buffers of both ends hold.
    const BYTES: usize = 32 << 20;
    let router = Router::new().route("/refuses", post(async || "refused"));
    let running = Running::start(router, ServeLimits::default(), AT_MOST).await;
    let head = format!("POST /refuses HTTP/1.1\r\nhost: x\r\ncontent-length: {BYTES}\r\n\r\n");
    let mut stream = running.send(head.as_bytes()).await;
    within(stream.write_all(&vec![b'x'; BYTES])).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = rest(stream).await;
    assert!(answer.ends_with("refused"), "{answer:?}");
    assert_eq!(running.stop().await.cut, 0);
}

#[tokio::test]
async fn http2_is_served_and_let_go() {
    let router = Router::new().route("/", get(|| async { "hello" }));
    let running = Running::start(router, ServeLimits::default(), AT_MOST).await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let url = format!("http://{}/", running.address);
    let answer = within(client.get(url).send()).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), "hello");
    assert_eq!(running.stop().await, DrainReport { cut: 0 });
}

#[tokio::test]
async fn drain_cuts_at_its_deadline() {
    let (router, begun, _go) = slow();
    let deadline = Duration::from_millis(50);
    let running = Running::start(router, ServeLimits::default(), deadline).await;
    let stream = running.send(SLOW).await;
    within(begun).await.unwrap();
    assert_eq!(running.stop().await, DrainReport { cut: 1 });
    assert_eq!(rest(stream).await, "");
}

#[test]
fn all_that_stops_has_one_end_which_the_first_sets() {
    let end = DrainEnd::new(AT_MOST);
    let of_another_part = end.clone();
    let before = tokio::time::Instant::now();
    let first = end.at();
    assert!(first >= before + AT_MOST);
    assert_eq!(of_another_part.at(), first);
}

#[tokio::test]
async fn taken_port_is_named() {
    let first = Listener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let error = Listener::bind(first.local_addr()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen on {}: the port is taken by another process",
            first.local_addr()
        )
    );
}

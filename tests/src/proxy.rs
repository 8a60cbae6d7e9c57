//! A TCP proxy that misbehaves on demand, to stand between two parties that talk.
//!
//! Deliberately knows no protocol. Invariant: a mode holds for connections that are open and for
//! those that come, from the moment it is set; only a connection that is lost is so for good.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

const CHUNK_BYTES: usize = 16 * 1024;

/// What a proxy does to what passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Pass,
    /// Holds every piece back for a random number of milliseconds.
    Delay(RangeInclusive<u64>),
    /// Takes everything and passes nothing on; connections open and hang. What it took is passed on
    /// when the mode changes.
    Blackhole,
    /// Cuts connections with a reset, and new ones too.
    Reset,
    /// Closes each connection after it passed so many bytes of answers.
    CutAfter(u64),
}

/// A proxy; ends with this value.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _end: DropGuard,
}

#[derive(Debug)]
struct Shared {
    target: Mutex<SocketAddr>,
    mode: watch::Sender<Mode>,
    /// The port from which the connection that is lost goes on to the target.
    lost: watch::Sender<u16>,
    open: AtomicUsize,
    accepted: AtomicUsize,
}

impl FaultProxy {
    /// A proxy in front of `target`, on a free port, that passes everything. It lives on the runtime
    /// that it is started on.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            mode: watch::Sender::new(Mode::Pass),
            lost: watch::Sender::new(0),
            open: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
        });
        let end = CancellationToken::new();
        tokio::spawn(accept(listener, Arc::clone(&shared), end.clone()));
        Self {
            address,
            shared,
            _end: end.drop_guard(),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does from now on.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Loses a connection that is open, named by the port that its target sees it come from, without a
    /// word: nothing passes any more, either way, and neither end is told.
    pub fn lose(&self, port: u16) {
        self.shared.lost.send_replace(port);
    }

    /// Passes new connections on to another target.
    pub fn retarget(&self, target: SocketAddr) {
        *self
            .shared
            .target
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = target;
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// Connections that came so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, end: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((client, _)) = accepted else { continue };
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        let (shared, end) = (Arc::clone(&shared), end.clone());
        tokio::spawn(async move {
            shared.open.fetch_add(1, Ordering::SeqCst);
            tokio::select! {
                () = end.cancelled() => {}
                () = pass(client, &shared) => {}
            }
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn pass(mut client: TcpStream, shared: &Shared) {
    let (mode, lost) = (shared.mode.subscribe(), shared.lost.subscribe());
    if *mode.borrow() == Mode::Reset {
        reset(&client);
        return;
    }
    let target = *shared.target.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(mut server) = TcpStream::connect(target).await else {
        reset(&client);
        return;
    };
    // An end that cannot be made quick is only slower.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let port = server.local_addr().map_or(0, |from| from.port());
    let (client_in, client_out) = client.split();
    let (server_in, server_out) = server.split();
    let answered = AtomicU64::new(0);
    let ended = tokio::select! {
        () = until_reset(mode.clone()) => Err(Cut),
        () = until_lost(lost, port) => return std::future::pending().await,
        // Half-closed connections go on in the other direction.
        ended = async {
            tokio::try_join!(
                copy(client_in, server_out, mode.clone(), None),
                copy(server_in, client_out, mode.clone(), Some(&answered)),
            )
        } => ended.map(|_| ()),
    };
    if ended.is_err() {
        reset(&client);
        reset(&server);
    }
}

/// Both directions end at once, with a reset.
struct Cut;

async fn until_reset(mut mode: watch::Receiver<Mode>) {
    if mode.wait_for(|mode| *mode == Mode::Reset).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn until_lost(mut lost: watch::Receiver<u16>, port: u16) {
    if lost.wait_for(|lost| *lost == port).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn reset(stream: &TcpStream) {
    // A socket that takes no option is closed in the ordinary way.
    let _ = stream.set_zero_linger();
}

async fn copy(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
    answered: Option<&AtomicU64>,
) -> Result<(), Cut> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let Ok(read @ 1..) = from.read(&mut chunk).await else {
            let _ = to.shutdown().await;
            return Ok(());
        };
        let mut piece = &chunk[..read];
        let mut last = false;
        let current = mode.borrow_and_update().clone();
        match current {
            Mode::Pass => {}
            Mode::Delay(milliseconds) => {
                let wait = rand::rng().random_range(milliseconds);
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
            Mode::Blackhole => {
                let passes = mode.wait_for(|mode| *mode != Mode::Blackhole).await;
                passes.map_err(|_| Cut)?;
            }
            Mode::Reset => return Err(Cut),
            Mode::CutAfter(limit) => {
                if let Some(answered) = answered {
                    let before = answered.fetch_add(read as u64, Ordering::SeqCst);
                    let left = usize::try_from(limit.saturating_sub(before)).unwrap_or(usize::MAX);
                    last = left <= read;
                    piece = &piece[..left.min(read)];
                }
            }
        }
        let written = to.write_all(piece).await;
        if last || written.is_err() {
            return Err(Cut);
        }
    }
}

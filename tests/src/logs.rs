//! Everything that this process logs, kept for tests that look for what must not be there.
//!
//! Deliberately one for the process, as logging is, and without statements unless a test asks for
//! [everything](Logs::everything): writing each of them down is a tenth of the work of all tests.
//! Invariants: lines are kept whole and in order, the oldest dropped first; who looks for something holds
//! up nobody who logs.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kit::telemetry::{Guard, LogFormat};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterExt as _, dynamic_filter_fn};
use tracing_subscriber::layer::Filter;
use tracing_subscriber::{EnvFilter, Registry};

/// Bytes that are kept.
const KEPT_BYTES: usize = 64 * 1024 * 1024;
/// Chatty where secrets pass: HTTP, our own code, and statements for those who listen.
const FILTER: &str = "debug,h2=info,hyper_util=info,hyper=info,tower=info";

static LOGS: std::sync::OnceLock<(Logs, Guard)> = std::sync::OnceLock::new();
/// Tests that want everything just now.
static LISTENERS: AtomicUsize = AtomicUsize::new(0);

/// While it is held, everything is logged, statements too.
#[derive(Debug)]
#[must_use = "without it statements are not logged"]
pub struct Everything(());

impl Drop for Everything {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Passes statements only while somebody listens.
fn statements() -> impl Filter<Registry> + Send + Sync {
    let is_statement = |metadata: &Metadata<'_>| {
        metadata.target().starts_with("sqlx") && *metadata.level() > Level::INFO
    };
    dynamic_filter_fn(move |metadata, _| {
        !is_statement(metadata) || LISTENERS.load(Ordering::SeqCst) > 0
    })
    .with_callsite_filter(move |metadata| match is_statement(metadata) {
        true => Interest::sometimes(),
        false => Interest::always(),
    })
}

/// The lines so far.
#[derive(Debug, Clone, Default)]
pub struct Logs(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Each of one write, which is one line or several.
    chunks: VecDeque<Arc<str>>,
    bytes: usize,
}

impl Logs {
    /// The logs of this process, which start with the first call.
    pub fn of_process() -> Self {
        let (logs, _) = LOGS.get_or_init(|| {
            let logs = Self::default();
            let wanted = std::env::var("WORLD_LOG");
            if wanted.is_ok() {
                LISTENERS.fetch_add(1, Ordering::SeqCst);
            }
            let wanted = wanted.unwrap_or_else(|_| FILTER.to_owned());
            let filter = EnvFilter::try_new(wanted).expect("directives");
            let writer = Writer(logs.clone());
            let guard =
                kit::telemetry::init_with_filter(LogFormat::Json, filter.and(statements()), writer)
                    .expect("nothing else logs in a test process");
            (logs, guard)
        });
        logs.clone()
    }

    /// Logs everything from now on, until what this gives is dropped. To be asked before the world of a
    /// test that looks for what nobody may log.
    pub fn everything() -> Everything {
        LISTENERS.fetch_add(1, Ordering::SeqCst);
        Everything(())
    }

    /// The lines that hold this text.
    pub fn with(&self, text: &str) -> Vec<String> {
        let chunks = self.kept().chunks.clone();
        chunks
            .iter()
            .filter(|chunk| chunk.contains(text))
            .flat_map(|chunk| chunk.lines())
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect()
    }

    /// Keeps a line that another process logged.
    pub(crate) fn keep(&self, line: &str) {
        // What is kept in memory takes every line.
        let _ = Writer(self.clone()).write_all(format!("{line}\n").as_bytes());
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer(Logs);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        // For whoever looks for the cause of a failing test.
        if std::env::var_os("WORLD_LOG").is_some() {
            std::io::stderr().write_all(bytes)?;
        }
        let mut kept = self.0.kept();
        let chunk: Arc<str> = Arc::from(String::from_utf8_lossy(bytes));
        kept.bytes += chunk.len();
        kept.chunks.push_back(chunk);
        while kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.chunks.pop_front() else {
                break;
            };
            kept.bytes -= oldest.len();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

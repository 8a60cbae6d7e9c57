//! Logs and metrics of the process.
//!
//! Deliberately without traces over the network. Invariants: one event is one line whatever its
//! values hold, and installing twice is harmless, because tests run many services in one process.

#[cfg(test)]
mod tests;

mod lines;
mod metrics;
mod one_line;

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

pub use metrics::{Metrics, metrics_handle, render_metrics};

use lines::Writing;
use one_line::OneLine;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object per line, for machines.
    Json,
    /// One readable line, for people.
    Pretty,
}

/// What is logged and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    /// How events are written.
    pub format: LogFormat,
    /// Directives like `info,app_service=debug`.
    pub filter: String,
}

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter's directives cannot be read.
    #[error("the log filter cannot be read: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Something else of this process installed a logger first.
    #[error("another logger is installed in this process: {0}")]
    Taken(#[from] tracing_subscriber::util::TryInitError),
    /// The metrics recorder could not be installed.
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
    /// A thread for logs or metrics could not be started.
    #[error("no thread for logs or metrics: {0}")]
    Thread(#[from] std::io::Error),
}

/// Writes what still waits when dropped; keep it until the process ends.
#[derive(Debug)]
#[must_use = "lines that still wait are lost without it"]
pub struct Guard {
    _writing: Option<Writing>,
}

static INSTALLED: Mutex<bool> = Mutex::new(false);

/// Logs to standard output from a thread of its own. When this process logs already, only the
/// filter is checked.
pub fn init(settings: &LogSettings) -> Result<Guard, TelemetryError> {
    let filter = filter(settings)?;
    install(|| {
        let (lines, writing) = lines::start(std::io::stdout())?;
        metrics::count_dropped_lines(lines.clone());
        subscriber(settings.format, filter, lines).try_init()?;
        Ok(Some(writing))
    })
}

/// Logs to this writer at once, for tests and benchmarks that look at the lines. When this process
/// logs already, only the filter is checked.
pub fn init_with_writer<W>(settings: &LogSettings, writer: W) -> Result<Guard, TelemetryError>
where
    W: Write + Send + 'static,
{
    init_with_filter(settings.format, filter(settings)?, writer)
}

/// The same with a filter of the caller's own, which may change its mind while the process runs.
pub fn init_with_filter<W>(
    format: LogFormat,
    filter: impl Filter<Registry> + Send + Sync + 'static,
    writer: W,
) -> Result<Guard, TelemetryError>
where
    W: Write + Send + 'static,
{
    install(|| {
        subscriber(format, filter, Mutex::new(writer)).try_init()?;
        Ok(None)
    })
}

fn install(
    build: impl FnOnce() -> Result<Option<Writing>, TelemetryError>,
) -> Result<Guard, TelemetryError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if *installed {
        return Ok(Guard { _writing: None });
    }
    let guard = Guard { _writing: build()? };
    *installed = true;
    Ok(guard)
}

fn filter(settings: &LogSettings) -> Result<EnvFilter, TelemetryError> {
    Ok(EnvFilter::try_new(&settings.filter)?)
}

fn subscriber<W>(
    format: LogFormat,
    filter: impl Filter<Registry> + Send + Sync + 'static,
    writer: W,
) -> impl Subscriber + Send + Sync + 'static
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer();
    let layer = match format {
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(true)
            .with_writer(writer)
            .boxed(),
        LogFormat::Pretty => layer.with_ansi(false).with_writer(OneLine(writer)).boxed(),
    };
    tracing_subscriber::registry().with(layer.with_filter(filter))
}

//! The process's metrics, for Prometheus to fetch.
//!
//! Deliberately one recorder per process: services that run together share it. Invariant: samples
//! are folded into their histograms by a thread, so memory stays bounded when nobody fetches.

use std::sync::OnceLock;
use std::time::Duration;

use super::TelemetryError;
use super::lines::Lines;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// Upper bounds of request durations, in seconds.
const DURATION_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

static RECORDER: OnceLock<Result<Metrics, String>> = OnceLock::new();
static LINES: OnceLock<Lines> = OnceLock::new();

/// What has been measured in this process.
#[derive(Debug, Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Prometheus text format 0.0.4.
    pub fn render(&self) -> String {
        if let Some(lines) = LINES.get() {
            metrics::counter!("log_lines_dropped_total").absolute(lines.dropped());
        }
        self.0.render()
    }
}

/// The recorder of this process, installed by the first call. Services call it when they start:
/// what is measured before that is lost.
pub fn metrics_handle() -> Result<Metrics, TelemetryError> {
    RECORDER
        .get_or_init(|| install().map_err(|error| error.to_string()))
        .clone()
        .map_err(TelemetryError::Metrics)
}

/// [`Metrics::render`] of this process; where no recorder could be installed, a comment saying why.
pub fn render_metrics() -> String {
    match metrics_handle() {
        Ok(metrics) => metrics.render(),
        Err(error) => format!("# {error}\n"),
    }
}

pub(super) fn count_dropped_lines(lines: Lines) {
    let _ = LINES.set(lines);
}

fn install() -> Result<Metrics, TelemetryError> {
    let failed = |error: &dyn std::fmt::Display| TelemetryError::Metrics(error.to_string());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Suffix("_duration_seconds".to_owned()),
            &DURATION_BUCKETS,
        )
        .map_err(|error| failed(&error))?
        .install_recorder()
        .map_err(|error| failed(&error))?;
    let upkeep = handle.clone();
    std::thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(move || {
            loop {
                std::thread::sleep(UPKEEP_INTERVAL);
                upkeep.run_upkeep();
            }
        })?;
    Ok(Metrics(handle))
}

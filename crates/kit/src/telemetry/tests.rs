//! Rules of telemetry: one event is one line, and starting twice is harmless.

use std::io;
use std::sync::Arc;

use super::*;

/// What was written, readable while it is being written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

const NASTY: &str = "a\r\nb\x1b[31mc\u{202e}d\u{2028}\u{61c}e\"}{\\";

fn logged(format: LogFormat) -> String {
    let written = Written::default();
    let filter = EnvFilter::new("info");
    let subscriber = subscriber(format, filter, Mutex::new(written.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let span = tracing::info_span!("request", tenant.id = tracing::field::Empty);
        let _entered = span.enter();
        span.record("tenant.id", NASTY);
        tracing::info!(value = NASTY, other = ?NASTY, third = %NASTY, "said {NASTY}");
        tracing::debug!("not asked for");
    });
    written.text()
}

#[test]
fn readable_event_is_one_line_whatever_it_holds() {
    let text = logged(LogFormat::Pretty);
    assert_eq!(text.lines().count(), 1, "{text:?}");
    assert!(text.ends_with('\n'));
    let line = text.trim_end_matches('\n');
    let odd = ['\u{202e}', '\u{2028}', '\u{61c}'];
    assert!(
        !line.contains(|c: char| c.is_control() || odd.contains(&c)),
        "{line:?}"
    );
    assert!(line.contains("a\\r\\nb"), "{line:?}");
}

#[test]
fn json_event_is_one_line_and_one_object() {
    let text = logged(LogFormat::Json);
    assert_eq!(text.matches('\n').count(), 1, "{text:?}");
    assert!(!text.contains('\x1b') && !text.contains('\r'));
    let event: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(event["value"], NASTY);
    assert_eq!(event["spans"][0]["tenant.id"], NASTY);
    assert_eq!(event["level"], "INFO");
}

#[test]
fn second_start_is_harmless_and_still_checks_its_filter() {
    let settings = LogSettings {
        format: LogFormat::Json,
        filter: "off".to_owned(),
    };
    let _first = init_with_writer(&settings, io::sink()).unwrap();
    let _second = init_with_writer(&settings, io::sink()).unwrap();
    let _third = init(&settings).unwrap();
    let broken = LogSettings {
        format: LogFormat::Json,
        filter: "a=b=c".to_owned(),
    };
    assert!(matches!(init(&broken), Err(TelemetryError::Filter(_))));
}

#[test]
fn durations_are_histograms_with_our_buckets() {
    let first = metrics_handle().unwrap();
    metrics_handle().unwrap();
    ::metrics::histogram!("http_request_duration_seconds", "route" => "/x").record(0.02);
    let text = first.render();
    assert!(
        text.contains("http_request_duration_seconds_bucket{route=\"/x\",le=\"0.025\"} 1"),
        "{text}"
    );
    assert!(render_metrics().contains("http_request_duration_seconds_count"));
}

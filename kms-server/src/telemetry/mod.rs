//! Logs, metrics and traces. Everything else speaks to the `tracing` and `metrics` facades.

mod otlp;
mod traces;

use std::sync::Arc;

use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::filter_fn, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use self::traces::Recorder;
pub use self::traces::{Spans, TracesSection};
use crate::model::Clock;

/// What is logged, and how.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// `json` or `text`.
    pub format: LogFormat,
    /// Which events, as in `info,sqlx=warn`.
    pub filter: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line, for machines.
    Json,
    /// Words, for people.
    Text,
}

impl Default for LogSection {
    fn default() -> Self {
        Self { format: LogFormat::Json, filter: "info".to_owned() }
    }
}

/// Sends log lines to standard error from here on. A second call changes nothing.
pub fn log(section: &LogSection) {
    let filter = EnvFilter::try_new(&section.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // It fails only where somebody logs already, as a test does.
    let _already = match section.format {
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
        LogFormat::Text => lines.with_target(false).try_init(),
    };
}

/// The same, and records spans from here on, which are to be exported.
#[must_use]
pub fn log_and_trace(section: &LogSection, traces: &TracesSection, clock: Arc<dyn Clock>) -> Spans {
    let filter = EnvFilter::try_new(&section.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match section.format {
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
        LogFormat::Text => lines.with_target(false).with_filter(filter).boxed(),
    };
    let (recorder, spans) = Recorder::new(traces, clock);
    let recorder = recorder.with_filter(filter_fn(Recorder::wants));
    // It fails only where somebody logs already, as a test does.
    let _already = tracing_subscriber::registry().with(lines).with(recorder).try_init();
    spans
}

/// Whether this can be a filter of log lines.
///
/// # Errors
///
/// Why not, in words.
pub fn check_filter(filter: &str) -> Result<(), String> {
    EnvFilter::try_new(filter).map(drop).map_err(|error| error.to_string())
}

/// Collects metrics from here on.
///
/// # Errors
///
/// If the process collects some already.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new().install_recorder()
}

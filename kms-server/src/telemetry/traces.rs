//! Spans for OpenTelemetry: one for each request, below it those of policy, HSM, audit and database. A span carries what
//! is listed here and nothing else, so that a field added for the log never leaves the host by this way.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::rand;
use kms_client::wire::trace::TraceParent;
use serde::Deserialize;
use tokio::sync::mpsc;
use tracing::{
    Event, Id, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Record},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::otlp;
use crate::model::Clock;

/// The span of a request; every other hangs below one.
const REQUEST: &str = "request";
/// The target of the spans below it. No log has them, unless its filter asks for them.
const BELOW: &str = "keyward::trace";
/// The field that says to which trace a request belongs.
const PARENT: &str = "trace.parent";
/// The field of the event that says how a request ended.
const STATUS: &str = "http.status";
/// What leaves with a span: the field's name here, and OpenTelemetry's.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("request.id", "keyward.request.id"),
    ("operation", "keyward.operation"),
    ("principal.id", "keyward.principal.id"),
    ("items", "keyward.items"),
    ("http.method", "http.request.method"),
    ("http.route", "http.route"),
    (STATUS, "http.response.status_code"),
];
/// How many finished spans wait at most; more are lost, and counted.
const WAITING: usize = 4096;

/// Where traces go, if anywhere.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesSection {
    /// An OpenTelemetry collector: OTLP over HTTP, as in `http://127.0.0.1:4318/v1/traces`. Without one there are no traces.
    #[serde(default)]
    pub endpoint: String,
    /// The part of all traces that is recorded, from 0 to 1.
    #[serde(default = "all")]
    pub ratio: f64,
}

const fn all() -> f64 {
    1.0
}

/// A span that ended.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) name: String,
    pub(super) trace: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    /// Nanoseconds since 1970.
    pub(super) began: i128,
    pub(super) took: Duration,
    pub(super) attributes: Vec<(&'static str, Value)>,
    /// Whether it is that of a request, not of a part of one.
    pub(super) is_request: bool,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Number(u64),
}

/// Records spans and hands over those that ended. It never waits.
pub(super) struct Recorder {
    clock: Arc<dyn Clock>,
    /// Traces whose id is below this are recorded.
    below: u64,
    ended: mpsc::Sender<Span>,
}

/// The spans that ended, to be exported.
#[derive(Debug)]
pub struct Spans {
    pub(super) endpoint: String,
    pub(super) ended: mpsc::Receiver<Span>,
}

/// A span that has not ended, kept beside it in the registry.
struct Open {
    span: Span,
    began: Duration,
}

/// What a span or event says, as far as it may leave.
#[derive(Default)]
struct Said {
    attributes: Vec<(&'static str, Value)>,
    parent: Option<TraceParent>,
}

impl TracesSection {
    /// What is wrong with it, in words, with the field.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        otlp::endpoint(&self.endpoint).map_err(|detail| ("endpoint", detail))?;
        if !(0.0..=1.0).contains(&self.ratio) {
            return Err(("ratio", format!("`{}` is not from 0 to 1", self.ratio)));
        }
        Ok(())
    }

    /// Whether others on the way may read what leaves.
    #[must_use]
    pub fn is_in_plain(&self) -> bool {
        otlp::endpoint(&self.endpoint).is_ok_and(|url| {
            let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
            let here = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
            url.scheme() == "http" && !here
        })
    }
}

impl Recorder {
    pub(super) fn new(section: &TracesSection, clock: Arc<dyn Clock>) -> (Self, Spans) {
        let (ended, spans) = mpsc::channel(WAITING);
        let spans = Spans { endpoint: section.endpoint.clone(), ended: spans };
        (Self { clock, below: threshold(section.ratio), ended }, spans)
    }

    /// The spans and events that it wants to hear of.
    pub(super) fn wants(metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() {
            metadata.name() == REQUEST || metadata.target() == BELOW
        } else {
            metadata.fields().field(STATUS).is_some()
        }
    }

    fn begin(&self, name: &str, trace: [u8; 16], parent: Option<[u8; 8]>, said: Said) -> Option<Open> {
        let span = Span {
            name: name.to_owned(),
            trace,
            id: random()?,
            parent,
            began: self.clock.now().as_nanosecond(),
            took: Duration::ZERO,
            attributes: said.attributes,
            is_request: name == REQUEST,
        };
        Some(Open { span, began: self.clock.boot() })
    }

    /// The span of a request, if its trace is recorded. A caller can keep its requests out, but not force them in: whoever
    /// records the same part of all traces records the same traces.
    fn request(&self, said: Said) -> Option<Open> {
        let (trace, parent) = match said.parent {
            Some(parent) if !parent.is_sampled() => return None,
            Some(parent) => (parent.trace, Some(parent.span)),
            None => (random()?, None),
        };
        if !self.records(&trace) {
            return None;
        }
        self.begin(REQUEST, trace, parent, said)
    }

    /// OpenTelemetry's `TraceIdRatioBased`: the last 56 bits of the id decide, which are random (W3C Trace Context, level 2).
    fn records(&self, trace: &[u8; 16]) -> bool {
        let last = trace.last_chunk::<8>().map_or(u64::MAX, |last| u64::from_be_bytes(*last));
        (last & (RANDOM_BITS - 1)) < self.below
    }
}

const RANDOM_BITS: u64 = 1 << 56;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a part of 2^56, which was checked to be from 0 to 1"
)]
fn threshold(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 1.0) * RANDOM_BITS as f64) as u64
}

/// Random bytes that are not zero; none if the system has no randomness, and then there are no traces.
fn random<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).ok()?;
    Some(bytes).filter(|bytes| *bytes != [0; N])
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut said = Said::default();
        attributes.record(&mut said);
        let above = span
            .parent()
            .and_then(|parent| parent.extensions().get::<Open>().map(|open| (open.span.trace, open.span.id)));
        let open = match above {
            Some((trace, parent)) => self.begin(span.name(), trace, Some(parent), said),
            None if span.name() == REQUEST => self.request(said),
            None => None,
        };
        if let Some(open) = open {
            span.extensions_mut().insert(open);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            let mut said = Said::default();
            values.record(&mut said);
            open.span.attributes.extend(said.attributes);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if let Some(span) = context.event_span(event)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            let mut said = Said::default();
            event.record(&mut said);
            open.span.attributes.extend(said.attributes);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let open = context.span(&id).and_then(|span| span.extensions_mut().remove::<Open>());
        if let Some(Open { mut span, began }) = open {
            span.took = self.clock.boot().saturating_sub(began);
            if self.ended.try_send(span).is_err() {
                otlp::lost(1);
            }
        }
    }
}

impl Said {
    fn add(&mut self, field: &Field, value: Value) {
        if let Some((_, name)) = ATTRIBUTES.iter().find(|(ours, _)| *ours == field.name()) {
            self.attributes.push((name, value));
        }
    }
}

impl Visit for Said {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, Value::Number(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, Value::Text(value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == PARENT {
            self.parent = format!("{value:?}").parse().ok();
        } else {
            self.add(field, Value::Text(format!("{value:?}")));
        }
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("below", &self.below).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SystemClock;

    fn section(endpoint: &str, ratio: f64) -> TracesSection {
        TracesSection { endpoint: endpoint.to_owned(), ratio }
    }

    #[test]
    fn a_ratio_is_kept_and_nobody_forces_more() {
        let recorder = |ratio| Recorder::new(&section("http://localhost/v1/traces", ratio), Arc::new(SystemClock)).0;
        let (none, half, all) = (recorder(0.0), recorder(0.5), recorder(1.0));
        let mut kept = 0;
        for byte in 0..=255 {
            let mut trace = [byte; 16];
            trace[8] = 0xff;
            assert!(all.records(&trace) && !none.records(&trace));
            kept += u32::from(half.records(&trace));
        }
        assert_eq!(kept, 128);
        let asked =
            |flags| Said { parent: Some(TraceParent { trace: [1; 16], span: [2; 8], flags }), ..Said::default() };
        assert!(none.request(asked(1)).is_none() && all.request(asked(0)).is_none());
        let open = all.request(asked(1)).unwrap();
        assert_eq!((open.span.trace, open.span.parent), ([1; 16], Some([2; 8])));
    }

    #[test]
    fn what_is_wrong_with_the_section_is_said() {
        assert_eq!(section("https://collector/v1/traces", 0.1).check(), Ok(()));
        for bad in ["collector:4318", "ftp://collector/", "http://user:secret@collector/v1/traces", ""] {
            let (field, detail) = section(bad, 1.0).check().unwrap_err();
            assert!(field == "endpoint" && !detail.contains("secret"), "{detail}");
        }
        for bad in [-0.1, 1.1, f64::NAN] {
            assert_eq!(section("http://localhost/", bad).check().unwrap_err().0, "ratio");
        }
        assert!(section("http://collector:4318/v1/traces", 1.0).is_in_plain());
        for good in ["http://127.0.0.1:4318/", "http://[::1]:4318/", "http://localhost/", "https://collector/"] {
            assert!(!section(good, 1.0).is_in_plain(), "{good}");
        }
    }
}

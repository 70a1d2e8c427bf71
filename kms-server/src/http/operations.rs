//! For those who run the server: liveness, readiness and metrics, on an address of their own. They carry nothing of any
//! key, so they leave no record.

use axum::{Json, Router, extract::State, http::StatusCode, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;

use crate::service::Service;

#[derive(Debug, Clone)]
struct Operations {
    service: Service,
    metrics: PrometheusHandle,
}

/// Whether each part that answers need is there.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a light of its own")]
struct Readiness {
    ready: bool,
    /// The newest control state is known.
    control: bool,
    /// The token answers.
    hsm: bool,
    /// What the token last failed with.
    #[serde(skip_serializing_if = "Option::is_none")]
    hsm_error: Option<String>,
    /// There is more room on the disk than the reserve; without it keys are not used, and control changes still are made.
    disk: bool,
    revision: u64,
    node: String,
}

/// The routes `/livez`, `/readyz` and `/metrics`.
pub fn routes(service: Service, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/livez", get(|| async { "live\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Operations { service, metrics })
}

async fn readyz(State(operations): State<Operations>) -> impl IntoResponse {
    let cluster = operations.service.cluster();
    let token = operations.service.hsm_status();
    let readiness = Readiness {
        ready: cluster.is_serving() && token.usable,
        control: cluster.is_serving(),
        hsm: token.usable,
        hsm_error: token.last_error,
        disk: !operations.service.is_disk_low(),
        revision: cluster.snapshot().revision.0,
        node: cluster.node().to_string(),
    };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

async fn render(State(operations): State<Operations>) -> String {
    operations.metrics.render()
}

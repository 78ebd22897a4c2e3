//! `/health/live`, `/health/ready` and `/metrics`.

use super::{
    Api,
    problem::{Code, Problem},
};
use actix_web::{HttpResponse, web};
use serde_json::json;
use std::time::Duration;

/// A round trip that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(2);

/// The process runs.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// Everything that an accepted bid needs has just answered.
pub(super) async fn ready(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let reasons = if api.draining.is_cancelled() {
        vec!["draining".to_owned()]
    } else {
        match tokio::time::timeout(PATIENCE, api.engine.ready()).await {
            Ok(Ok(())) => return Ok(HttpResponse::Ok().json(json!({ "status": "ok" }))),
            Ok(Err(reasons)) => reasons,
            Err(_) => vec![format!("storage has not answered within {} s", PATIENCE.as_secs())],
        }
    };
    let detail = reasons.join("; ");
    Err(Problem::new(Code::Unavailable, detail).with("reasons", reasons).retry_after(Duration::from_secs(1)))
}

/// For Prometheus.
pub(super) async fn metrics(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    if !api.settings.metrics.enabled {
        return Err(Problem::not_found("metrics are switched off"));
    }
    api.engine.gauge();
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(api.metrics.render()))
}

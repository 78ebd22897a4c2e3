//! `/health/live`, `/health/ready` and `/metrics`.

use super::{
    Api,
    problem::{Code, Problem},
};
use crate::config::Settings;
use actix_web::{HttpResponse, web};
use futures_util::future::join_all;
use gavel_domain::ids::{LotId, shard_of};
use gavel_engine::{
    Engine,
    ports::journal::Journal,
    request::{Ask, Reply},
};
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use uuid::Uuid;

/// A round trip that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(2);
/// A shard that takes longer to answer does not.
const SHARD_PATIENCE: Duration = Duration::from_millis(1500);
/// How long a finding holds.
const FRESH: Duration = Duration::from_millis(500);

/// The process runs.
pub(super) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

/// Everything that an accepted bid needs has just answered.
pub(super) async fn ready(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let reasons = if api.draining.is_cancelled() { vec!["draining".to_owned()] } else { api.readiness.reasons(&api.engine).await };
    if reasons.is_empty() {
        return Ok(HttpResponse::Ok().json(json!({ "status": "ok" })));
    }
    let detail = reasons.join("; ");
    Err(Problem::new(Code::Unavailable, detail).with("reasons", reasons).retry_after(Duration::from_secs(1)))
}

/// Whether bids can be taken, looked into at most every [`FRESH`]: asking again and again costs nothing.
pub(super) struct Readiness {
    journal: Arc<dyn Journal>,
    journal_max_bytes: u64,
    /// One for each arbiter: a lot of one of its shards, that nobody has made.
    probes: Vec<LotId>,
    last: Mutex<Option<(Instant, Vec<String>)>>,
}

impl Readiness {
    pub(super) fn new(engine: &Engine, journal: Arc<dyn Journal>, settings: &Settings) -> Self {
        let shards = u16::try_from(engine.shards().len()).unwrap_or(u16::MAX);
        // An arbiter runs the shards whose number leaves its own as the rest.
        let arbiters = settings.engine.arbiter_count().min(usize::from(shards));
        let of_arbiter = |arbiter: usize| {
            let mut ids = (0..).map(|number| LotId(Uuid::from_u128(number)));
            ids.find(|lot| usize::from(shard_of(*lot, shards).0) % arbiters == arbiter)
        };
        let probes = (0..arbiters).filter_map(of_arbiter).collect();
        Self { journal, journal_max_bytes: settings.journal.max_bytes, probes, last: Mutex::default() }
    }

    /// What stands in the way; nothing if all is well. Who asks meanwhile waits, and shares the answer.
    async fn reasons(&self, engine: &Engine) -> Vec<String> {
        let mut last = self.last.lock().await;
        if let Some((at, reasons)) = &*last
            && at.elapsed() < FRESH
        {
            return reasons.clone();
        }
        let reasons = match tokio::time::timeout(PATIENCE, self.look(engine)).await {
            Ok(reasons) => reasons,
            Err(_) => vec![format!("storage or a shard has not answered within {} s", PATIENCE.as_secs())],
        };
        *last = Some((Instant::now(), reasons.clone()));
        reasons
    }

    async fn look(&self, engine: &Engine) -> Vec<String> {
        let ask = |lot: &LotId| tokio::time::timeout(SHARD_PATIENCE, engine.ask(*lot, Ask::View { bidder: None }));
        let answers = join_all(self.probes.iter().map(ask));
        let (storage, answers) = tokio::join!(engine.ready(), answers);
        let mut reasons = storage.err().unwrap_or_default();
        let silent = answers.iter().enumerate().filter_map(|(arbiter, answer)| match answer {
            Ok(Reply::Overloaded) => Some(format!("the shards of thread {arbiter} have too many requests waiting")),
            Ok(Reply::Unavailable) | Err(_) => Some(format!("the shards of thread {arbiter} do not answer")),
            _ => None,
        });
        reasons.extend(silent);
        let kept = self.journal.kept_bytes();
        if kept > self.journal_max_bytes {
            reasons.push(format!("the journal is full: {kept} of {} bytes wait for the tables", self.journal_max_bytes));
        }
        reasons
    }
}

/// For Prometheus.
pub(super) async fn metrics(api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    if !api.settings.metrics.enabled {
        return Err(Problem::not_found("metrics are switched off"));
    }
    api.engine.gauge();
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(api.metrics.render()))
}

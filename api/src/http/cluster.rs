//! `GET /v1/cluster`: who owns which shard. With the embedded profile: this node, all of them.

use super::{Api, problem::Problem};
use crate::auth::{Caller, Role};
use actix_web::{HttpResponse, web};
use serde_json::json;

pub(super) async fn cluster(caller: Caller, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    caller.require_known(Role::Admin)?;
    let (batches, seconds) = api.engine.projector_lag();
    let shards: Vec<_> = api
        .engine
        .shards()
        .into_iter()
        .map(|shard| json!({ "shard": shard.shard, "owner": "local", "epoch": shard.epoch, "serving": shard.trouble.is_none(), "trouble": shard.trouble }))
        .collect();
    let node = json!({ "node": "local", "version": env!("CARGO_PKG_VERSION"), "lots_live": api.engine.directory().len(), "draining": api.draining.is_cancelled() });
    Ok(HttpResponse::Ok().json(json!({
        "nodes": [node],
        "shards": shards,
        "projector": { "lag_batches": batches, "lag_seconds": seconds },
    })))
}

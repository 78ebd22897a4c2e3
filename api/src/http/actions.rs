//! What an auctioneer does to a lot: `POST /v1/lots/{id}/{open,pause,resume,cancel,close,extend}`.

use super::{
    Api,
    asking::{lot_id, lot_response, refused},
    body::Body,
    idempotency::Keyed,
    problem::{Code, Problem},
    wallets::by,
};
use crate::{
    auth::{Caller, Role},
    wire::lot::Viewer,
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use gavel_domain::{
    command::Command,
    ids::LotId,
    time::{LONGEST, Millis},
};
use gavel_engine::request::{Ask, Reply};
use serde::Deserialize;
use std::sync::Arc;

/// Characters in a reason, at most.
const REASON_CHARS: usize = 500;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reason {
    #[serde(default)]
    reason: Option<Arc<str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extension {
    by_ms: u64,
}

pub(super) async fn act(
    request: HttpRequest,
    caller: Caller,
    path: web::Path<(String, String)>,
    body: Body,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    let who = caller.require_known(Role::Auctioneer)?;
    let (lot, action) = path.into_inner();
    let lot = lot_id(&lot)?;
    let command = command(&action, &body)?;
    let keyed = api.in_flight.begin(&request, who, &body)?;
    let key = keyed.as_ref().map(Keyed::request);
    match api.engine.ask(lot, Ask::Command { command, by: Some(by(who)), expected: None, key }).await {
        Reply::Lot(answer) => Ok(lot_response(StatusCode::OK, &answer, Viewer::HOUSE)),
        Reply::NotLive(_) => on_archived(&api, lot, &caller, keyed.as_ref()).await,
        other => Err(refused(other)),
    }
}

/// A lot that is over and out of memory: a retry gets its first answer, anything else is too late.
async fn on_archived(api: &Api, lot: LotId, caller: &Caller, keyed: Option<&Keyed>) -> Result<HttpResponse, Problem> {
    let found = api.find(lot, caller).await?; // 404 if there never was one
    if let Some(keyed) = keyed {
        let (spec, access) = (Box::new(found.view.spec), found.view.access);
        match api.engine.ask(lot, Ask::Create { spec, access, by: None, key: Some(keyed.request()), archived: true }).await {
            Reply::Lot(answer) => return Ok(lot_response(StatusCode::OK, &answer, Viewer::HOUSE)),
            Reply::Refused(_) => {} // no such key
            other => return Err(refused(other)),
        }
    }
    Err(Problem::new(Code::Conflict, "the lot is over"))
}

fn command(action: &str, body: &[u8]) -> Result<Command, Problem> {
    if action == "extend" {
        let Extension { by_ms } = parse(body)?;
        if by_ms == 0 || Millis(by_ms) > LONGEST {
            return Err(Problem::invalid(format!("by_ms: from 1 to {}", LONGEST.0)));
        }
        return Ok(Command::Extend { by: Millis(by_ms) });
    }
    let Reason { reason } = if body.trim_ascii().is_empty() { Reason::default() } else { parse(body)? };
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > REASON_CHARS || reason.chars().any(char::is_control)) {
        return Err(Problem::invalid(format!("reason: at most {REASON_CHARS} characters, no control characters")));
    }
    match action {
        "open" => Ok(Command::Open),
        "pause" => Ok(Command::Pause { reason }),
        "resume" => Ok(Command::Resume),
        "cancel" => Ok(Command::Cancel { reason }),
        "close" => Ok(Command::Close),
        _ => Err(Problem::not_found("no such action")),
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    super::body::parse(body).map_err(Problem::invalid)
}

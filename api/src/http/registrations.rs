//! Who may bid on a lot that registers its bidders: `POST` and `GET /v1/lots/{id}/registrations`,
//! `DELETE /v1/lots/{id}/registrations/{bidder}`.

use super::{
    Api,
    asking::{Found, lot_id, lot_response, refused, unreadable},
    body::{Body, parse},
    idempotency::Keyed,
    listing::Paging,
    problem::{Code, Problem},
    wallets::by,
};
use crate::{
    auth::{Caller, Role},
    wire::{lot::Viewer, names::alias},
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use gavel_domain::{
    command::Command,
    event::LotEvent,
    ids::{BidderId, LotId, Seq},
};
use gavel_engine::{
    projection::history::Kind,
    request::{Ask, Reply},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Bidders in one request: they are one event, which everybody who watches gets.
const AT_ONCE: std::ops::RangeInclusive<usize> = 1..=500;
/// Events of an archived lot that are read at once.
const EVENTS_AT_ONCE: usize = 2000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RegistrationsBody {
    bidders: Vec<BidderId>,
}

/// `POST /v1/lots/{id}/registrations`: the lot as it is then. Who is registered already stays so.
pub(super) async fn add(
    request: HttpRequest,
    caller: Caller,
    lot: web::Path<String>,
    body: Body,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    let who = caller.require_known(Role::Auctioneer)?;
    let lot = lot_id(&lot)?;
    let RegistrationsBody { bidders } = parse(&body).map_err(Problem::invalid)?;
    if !AT_ONCE.contains(&bidders.len()) {
        return Err(Problem::invalid("bidders: 1 to 500 at a time"));
    }
    let keyed = api.in_flight.begin(&request, who, &body)?;
    let key = keyed.as_ref().map(Keyed::request);
    match api.engine.ask(lot, Ask::Command { command: Command::Register(bidders), by: Some(by(who)), expected: None, key }).await {
        Reply::Lot(answer) => Ok(lot_response(StatusCode::OK, &answer, Viewer::HOUSE)),
        Reply::NotLive(_) => Err(too_late(&api, lot, &caller).await),
        other => Err(refused(other)),
    }
}

/// `DELETE /v1/lots/{id}/registrations/{bidder}`: whether there was one or not.
pub(super) async fn remove(caller: Caller, path: web::Path<(String, String)>, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let who = caller.require_known(Role::Auctioneer)?;
    let (lot, bidder) = path.into_inner();
    let lot = lot_id(&lot)?;
    let bidder = BidderId::try_from(bidder.as_str()).map_err(|_| Problem::not_found("no such bidder"))?;
    match api.engine.ask(lot, Ask::Command { command: Command::Unregister(bidder), by: Some(by(who)), expected: None, key: None }).await {
        Reply::Lot(_) => Ok(HttpResponse::NoContent().finish()),
        Reply::NotLive(_) => Err(too_late(&api, lot, &caller).await),
        other => Err(refused(other)),
    }
}

/// What is said of a lot out of memory: it never was, or it is over.
async fn too_late(api: &Api, lot: LotId, caller: &Caller) -> Problem {
    match api.find(lot, caller).await {
        Ok(_) => Problem::new(Code::Conflict, "the lot is over"),
        Err(problem) => problem,
    }
}

/// `GET /v1/lots/{id}/registrations`: in the order of names.
pub(super) async fn list(
    request: HttpRequest,
    caller: Caller,
    lot: web::Path<String>,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    caller.require_known(Role::Auctioneer)?;
    let paging = Paging::of(&request, &[])?;
    let found = api.find(lot_id(&lot)?, &caller).await?;
    let registered = registered(&api, &found).await?;
    let after = paging.cursor.as_deref();
    let mut rest = registered.iter().filter(|bidder| after.is_none_or(|after| bidder.as_str() > after));
    let page: Vec<&BidderId> = rest.by_ref().take(paging.limit).collect();
    let next = page.last().filter(|_| rest.next().is_some()).map(|last| Paging::encode(last.as_str()));
    let items: Vec<Value> = page.into_iter().map(|bidder| item(&found, bidder)).collect();
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "private, no-cache")).json(json!({ "items": items, "next": next })))
}

fn item(found: &Found, bidder: &BidderId) -> Value {
    match found.view.access.aliases {
        Some(key) => json!({ "bidder": bidder, "alias": alias(key, bidder) }),
        None => json!({ "bidder": bidder }),
    }
}

async fn registered(api: &Api, found: &Found) -> Result<BTreeSet<BidderId>, Problem> {
    let lot = found.view.id;
    match api.engine.ask(lot, Ask::Access).await {
        Reply::Access(access) => Ok(access.registered().clone()),
        // Over and out of memory: what its events add up to.
        Reply::NotLive(_) => {
            let (mut registered, mut after) = (BTreeSet::new(), Seq(0));
            loop {
                let events = api.engine.history().events(lot, Kind::All, after, EVENTS_AT_ONCE).await.map_err(unreadable)?;
                for recorded in &events {
                    after = recorded.seq;
                    match &recorded.event {
                        LotEvent::Registered(bidders) => registered.extend(bidders.iter().cloned()),
                        LotEvent::Unregistered(bidders) => bidders.iter().for_each(|bidder| drop(registered.take(bidder))),
                        _ => {}
                    }
                }
                if events.len() < EVENTS_AT_ONCE {
                    return Ok(registered);
                }
            }
        }
        other => Err(refused(other)),
    }
}

//! Bids and history over REST: `POST` and `GET /v1/lots/{id}/bids`, `GET /v1/lots/{id}/events`.

use super::{
    Api,
    archived::bid_on_archived,
    asking::{as_bidder, audience, bid_refused, lot_id, refused, unreadable},
    body::{Body, parse},
    listing::Paging,
    problem::Problem,
};
use crate::{
    auth::{Caller, Role},
    wire::{event::EventBody, names::Names},
};
use actix_web::{HttpRequest, HttpResponse, web};
use gavel_domain::{
    command::PlaceBid,
    event::{LotEvent, Recorded},
    ids::{BidId, Seq},
    money::Amount,
};
use gavel_engine::{
    projection::history::Kind,
    request::{Ask, Reply},
};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BidBody {
    bid_id: BidId,
    amount: Amount,
    #[serde(default)]
    max: Option<Amount>,
    #[serde(default)]
    retry: bool,
}

/// `POST /v1/lots/{id}/bids`. Whatever goes wrong is told as for a bid: `minimum` and `temporary`.
pub(super) async fn place(
    caller: Result<Caller, Problem>,
    lot: web::Path<String>,
    body: Result<Body, Problem>,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    let placed = match (caller, body) {
        (Ok(caller), Ok(body)) => place_known(&caller, &lot, &body, &api).await,
        (Err(problem), _) | (_, Err(problem)) => Err(problem),
    };
    placed.map_err(Problem::of_bid)
}

async fn place_known(caller: &Caller, lot: &str, body: &[u8], api: &Api) -> Result<HttpResponse, Problem> {
    caller.require_known(Role::Bidder)?;
    let bidder = as_bidder(caller).ok_or_else(|| Problem::new(super::problem::Code::Forbidden, "only the role bidder bids"))?;
    let lot = lot_id(lot)?;
    let BidBody { bid_id, amount, max, retry } = parse(body).map_err(Problem::invalid)?;
    let bid = PlaceBid { bidder, bid_id, amount, max };
    match api.engine.ask(lot, Ask::Bid { bid: bid.clone(), retry }).await {
        Reply::Receipt(receipt) => Ok(HttpResponse::Created().json(receipt)),
        Reply::NotLive(_) => {
            let found = api.find(lot, caller).await?;
            match bid_on_archived(&api.engine, &found.view, &bid).await.map_err(unreadable)? {
                Ok(receipt) => Ok(HttpResponse::Created().json(receipt)),
                Err(refusal) => Err(bid_refused(&refusal)),
            }
        }
        other => Err(refused(other)),
    }
}

/// `GET /v1/lots/{id}/bids`.
pub(super) async fn history(
    request: HttpRequest,
    caller: Caller,
    lot: web::Path<String>,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    page(&request, &caller, &lot, &api, Kind::Bids, |recorded, names| bid_item(recorded, names, &caller)).await
}

/// `GET /v1/lots/{id}/events`.
pub(super) async fn events(
    request: HttpRequest,
    caller: Caller,
    lot: web::Path<String>,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    page(&request, &caller, &lot, &api, Kind::All, |recorded, names| serde_json::to_value(EventBody::new(recorded, names)?).ok()).await
}

async fn page(
    request: &HttpRequest,
    caller: &Caller,
    lot: &str,
    api: &Api,
    kind: Kind,
    item: impl Fn(&Recorded, Names) -> Option<Value>,
) -> Result<HttpResponse, Problem> {
    caller.require(Role::Viewer)?;
    let paging = Paging::of(request, &[])?;
    let after = match &paging.cursor {
        Some(cursor) => cursor.parse().map(Seq).map_err(|_| Problem::invalid("cursor: not one of this list"))?,
        None => Seq(0),
    };
    let lot = lot_id(lot)?;
    let names = Names::shown(api.find(lot, caller).await?.view.access, audience(caller));
    let mut found = api.engine.history().events(lot, kind, after, paging.limit + 1).await.map_err(unreadable)?;
    let more = found.len() > paging.limit;
    found.truncate(paging.limit);
    let next = found.last().filter(|_| more).map(|last| Paging::encode(&last.seq.0.to_string()));
    let items: Vec<Value> = found.iter().filter_map(|recorded| item(recorded, names)).collect();
    Ok(HttpResponse::Ok().insert_header(("Cache-Control", "private, no-cache")).json(json!({ "items": items, "next": next })))
}

/// The name of a bid is for its bidder and administrators, its maximum for its bidder alone.
fn bid_item(recorded: &Recorded, names: Names, caller: &Caller) -> Option<Value> {
    let LotEvent::BidPlaced(bid) = &recorded.event else { return None };
    let mut item = json!({
        "seq": recorded.seq,
        "at": recorded.at,
        "bidder": names.of(&bid.bidder),
        "amount": bid.public_amount(),
        "price": bid.price,
        "leader": names.of(&bid.leader),
    });
    let own = as_bidder(caller).is_some_and(|bidder| bidder == bid.bidder);
    if own || caller.role().allows(Role::Admin) {
        item["bid_id"] = json!(bid.bid_id);
    }
    if own {
        item["max"] = json!(bid.max);
    }
    Some(item)
}

//! Pages of lists, and the list of lots: `GET /v1/lots`.

use super::{
    Api,
    asking::{as_bidder, audience, refused, unreadable},
    problem::Problem,
};
use crate::{
    auth::{Caller, Role},
    wire::lot::{Audience, LotBody, Viewer},
};
use actix_web::{HttpRequest, HttpResponse, web};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;
use gavel_domain::{
    ids::{BidderId, LotId},
    lot::{
        Status,
        view::{LotView, Own},
    },
    time::Timestamp,
};
use gavel_engine::{
    Engine,
    ports::tables::LotsPage,
    request::{Ask, Reply},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Live lots that are asked at once, and rows that are read at once, at least.
const AT_ONCE: usize = 200;

/// Which page of a list.
pub(super) struct Paging {
    pub(super) limit: usize,
    /// Decoded.
    pub(super) cursor: Option<String>,
    /// Other parameters that the list knows.
    pub(super) others: BTreeMap<String, String>,
}

impl Paging {
    /// From the query; every parameter must be known.
    pub(super) fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, Problem> {
        let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        let query = query.map_err(|error| Problem::invalid(format!("query: {error}")))?;
        let mut paging = Self { limit: 100, cursor: None, others: BTreeMap::new() };
        let mut seen = BTreeSet::new();
        for (name, value) in query.into_inner() {
            if !seen.insert(name.clone()) {
                return Err(Problem::invalid(format!("{name}: given more than once")));
            }
            match name.as_str() {
                "limit" => {
                    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                    let limit = value.parse().ok().filter(|limit| digits && (1..=500).contains(limit));
                    paging.limit = limit.ok_or_else(|| Problem::invalid("limit: from 1 to 500"))?;
                }
                "cursor" => {
                    let cursor = URL_SAFE_NO_PAD.decode(&value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                    paging.cursor = Some(cursor.ok_or_else(|| Problem::invalid("cursor: not one of this list"))?);
                }
                other if known.contains(&other) => drop(paging.others.insert(name, value)),
                other => return Err(Problem::invalid(format!("{other}: no such parameter"))),
            }
        }
        Ok(paging)
    }

    /// A cursor as a client gets it.
    pub(super) fn encode(cursor: &str) -> String {
        URL_SAFE_NO_PAD.encode(cursor)
    }
}

/// A lot's place in the list.
type Place = (Timestamp, LotId);

/// `GET /v1/lots`.
pub(super) async fn list(request: HttpRequest, caller: Caller, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    caller.require(Role::Viewer)?;
    let paging = Paging::of(&request, &["status"])?;
    let status = paging.others.get("status").map(|status| parse_status(status)).transpose()?;
    let after = paging.cursor.as_deref().map(parse_place).transpose()?;
    let audience = audience(&caller);
    let wanted =
        |view: &LotView| status.is_none_or(|status| view.status == status) && (view.status != Status::Draft || audience == Audience::House);
    let mut found = merged(&api.engine, after, status, paging.limit + 1, as_bidder(&caller), wanted).await?;
    let more = found.len() > paging.limit;
    found.truncate(paging.limit);
    let next = found.last().filter(|_| more).map(|(view, _)| Paging::encode(&format!("{}.{}", view.created_at.as_millis(), view.id)));
    let bidder = as_bidder(&caller);
    let viewer = Viewer { audience, bidder: bidder.as_ref() };
    let items: Vec<LotBody> = found.iter().map(|(view, own)| LotBody::new(view, *own, viewer)).collect();
    Ok(HttpResponse::Ok()
        .insert_header(("Cache-Control", "private, no-cache"))
        .insert_header(("Vary", "Authorization"))
        .json(json!({ "items": items, "next": next })))
}

fn parse_status(text: &str) -> Result<Status, Problem> {
    serde_json::from_value(json!(text)).map_err(|_| Problem::invalid("status: one of draft, scheduled, open, paused, closed, cancelled"))
}

fn parse_place(text: &str) -> Result<Place, Problem> {
    let place = text.split_once('.').and_then(|(at, lot)| Some((Timestamp::from_millis(at.parse().ok()?), lot.parse().ok()?)));
    place.ok_or_else(|| Problem::invalid("cursor: not one of this list"))
}

/// Live lots as they are and archived ones from the tables, in one order.
///
/// Goes through the tables a stretch at a time, and in each asks only the live lots that can still come before the last of
/// the page: a page costs what is on it, not what there is.
async fn merged(
    engine: &Engine,
    after: Option<Place>,
    status: Option<Status>,
    limit: usize,
    bidder: Option<BidderId>,
    wanted: impl Fn(&LotView) -> bool,
) -> Result<Vec<(LotView, Option<Own>)>, Problem> {
    let history = engine.history();
    // Own standings of live lots come with them, the others' are read for those that are shown.
    let mut found: BTreeMap<Place, (LotView, Option<Option<Own>>)> = BTreeMap::new();
    let mut living = engine.directory().after(after).into_iter().peekable();
    let (mut from, at_once) = (after, limit.max(AT_ONCE));
    loop {
        let rows = history.tables().lots(LotsPage { status, after: from, limit: at_once }).await.map_err(unreadable)?;
        let end = rows.last().filter(|_| rows.len() == at_once).map(|last| (last.created_at, last.id));
        // A live lot's row may be behind it: only rows of lots that are not live count.
        for view in rows.into_iter().filter(|view| !engine.directory().holds(view.id) && wanted(view)) {
            found.insert((view.created_at, view.id), (view, None));
        }
        loop {
            let last = found.keys().nth(limit - 1).copied();
            let is_due = |place: &Place| end.is_none_or(|end| *place <= end) && last.is_none_or(|last| *place < last);
            let places: Vec<Place> = std::iter::from_fn(|| living.next_if(is_due)).take(AT_ONCE).collect();
            if places.is_empty() {
                break;
            }
            let asked = places.iter().map(|(_, lot)| engine.ask(*lot, Ask::View { bidder: bidder.clone() }));
            for (reply, (_, lot)) in join_all(asked).await.into_iter().zip(&places) {
                let (view, own) = match reply {
                    Reply::Lot(answer) => (answer.view, Some(answer.own)),
                    // Let go meanwhile.
                    Reply::NotLive(_) => match history.lot(*lot, None).await.map_err(unreadable)? {
                        Some((view, _)) => (view, None),
                        None => continue,
                    },
                    // Its shard is being recovered: what is committed is known all the same.
                    Reply::Unavailable => match history.committed(*lot, bidder.as_ref()).await.map_err(unreadable)? {
                        Some((view, own)) => (view, Some(own)),
                        None => continue,
                    },
                    other => return Err(refused(other)),
                };
                if wanted(&view) {
                    found.insert((view.created_at, view.id), (view, own));
                }
            }
        }
        from = end;
        if end.is_none() || found.len() >= limit {
            break;
        }
    }
    let mut shown = Vec::with_capacity(limit.min(found.len()));
    for (view, own) in found.into_values().take(limit) {
        let own = match (own, &bidder) {
            (Some(own), _) => own,
            (None, Some(bidder)) => history.own(view.id, bidder).await.map_err(unreadable)?,
            (None, None) => None,
        };
        shown.push((view, own));
    }
    Ok(shown)
}

#[cfg(test)]
mod tests;

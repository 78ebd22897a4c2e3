//! Asking the engine on behalf of a request, and saying what it answered.

use super::{
    Api,
    problem::{Code, Problem},
    reject::{code_of, minimum_of},
};
use crate::{
    auth::{Caller, Role},
    wire::{
        lot::{Audience, LotBody, Viewer},
        message::bidder,
    },
};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use gavel_domain::{
    ids::{BidderId, Epoch, LotId, Position, Seq},
    lot::{
        Status,
        view::{LotView, Own},
    },
    reject::Refusal,
    wallet::command::WalletReject,
};
use gavel_engine::{
    ports::StorageError,
    request::{Ask, LotAnswer, Reply},
};
use std::time::Duration;

/// When to come again after a 503.
const COME_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn audience(caller: &Caller) -> Audience {
    if caller.role().allows(Role::Auctioneer) { Audience::House } else { Audience::Public }
}

/// The caller as a bidder; none for other roles.
pub(super) fn as_bidder(caller: &Caller) -> Option<BidderId> {
    caller.principal().filter(|principal| principal.role == Role::Bidder).and_then(|principal| bidder(principal.sub.as_str()))
}

/// A lot's id from the path: what is no UUID names no lot.
pub(super) fn lot_id(text: &str) -> Result<LotId, Problem> {
    text.parse().map_err(|_| Problem::not_found("no such lot"))
}

/// A lot that was found.
pub(super) struct Found {
    pub(super) view: LotView,
    pub(super) own: Option<Own>,
    /// In memory; otherwise over, and read from the tables.
    pub(super) live: bool,
}

impl Api {
    /// A lot that the caller may see, live or from the tables.
    pub(super) async fn find(&self, lot: LotId, caller: &Caller) -> Result<Found, Problem> {
        let bidder = as_bidder(caller);
        let found = match self.engine.ask(lot, Ask::View { bidder: bidder.clone() }).await {
            Reply::Lot(answer) => Some((answer.view, answer.own, true)),
            Reply::NotLive(_) => {
                let archived = self.engine.history().lot(lot, bidder.as_ref()).await.map_err(unreadable)?;
                archived.map(|(view, own)| (view, own, false))
            }
            // Its shard is being recovered: what is committed is known all the same.
            Reply::Unavailable => {
                let committed = self.engine.history().committed(lot, bidder.as_ref()).await.map_err(unreadable)?;
                let (view, own) = committed.ok_or_else(|| refused(Reply::Unavailable))?;
                Some((view, own, true))
            }
            other => return Err(refused(other)),
        };
        let visible = found.filter(|(view, ..)| view.status != Status::Draft || audience(caller) == Audience::House);
        let (view, own, live) = visible.ok_or_else(|| Problem::not_found("no such lot"))?;
        Ok(Found { view, own, live })
    }
}

/// The tables did not answer.
pub(super) fn unreadable(error: StorageError) -> Problem {
    tracing::warn!(%error, "the history can't be read");
    Problem::new(Code::Unavailable, "the history can't be read now").retry_after(COME_AGAIN)
}

/// A reply that is not what was asked for.
pub(super) fn refused(reply: Reply) -> Problem {
    match reply {
        Reply::Refused(reject) => Problem::new(code_of(&reject), reject.to_string()),
        Reply::BidRefused(refusal) => bid_refused(&refusal),
        Reply::NotLive(_) => Problem::not_found("no such lot"),
        Reply::PreconditionFailed => Problem::new(Code::PreconditionFailed, "the lot has changed since: read it again"),
        Reply::KeyReused => Problem::new(Code::IdempotencyKeyReused, "this Idempotency-Key was used with another body"),
        Reply::Overloaded => {
            Problem::new(Code::Overloaded, "too many requests are waiting: nothing was done").for_bid(None).retry_after(COME_AGAIN)
        }
        Reply::Unavailable => {
            Problem::new(Code::Unavailable, "not to be had now, and the outcome may be unknown: ask again with the same id or key")
                .for_bid(None)
                .retry_after(COME_AGAIN)
        }
        Reply::WalletRefused(reject) => wallet_refused(&reject),
        Reply::Wallet(_)
        | Reply::Posted(_)
        | Reply::Receipt(_)
        | Reply::Lot(_)
        | Reply::Joined(_)
        | Reply::Access(_)
        | Reply::Internal
        | Reply::Done => Problem::internal(),
    }
}

/// A wallet that refuses.
pub(super) fn wallet_refused(reject: &WalletReject) -> Problem {
    let code = match reject {
        WalletReject::InsufficientFunds { .. } => Code::InsufficientFunds,
        WalletReject::OutOfRange => Code::Invalid,
        WalletReject::OperationReused => Code::IdempotencyKeyReused,
        WalletReject::NothingHeld { .. } => Code::Conflict,
        WalletReject::NotRegistered => Code::NotRegistered,
        WalletReject::TooManyLeads { .. } | WalletReject::SpendLimit { .. } => Code::LimitExceeded,
    };
    Problem::new(code, reject.to_string())
}

/// A refused bid, with what the bidder needs to do better.
pub(super) fn bid_refused(refusal: &Refusal) -> Problem {
    let problem = Problem::new(code_of(&refusal.reject), refusal.reject.to_string())
        .for_bid(minimum_of(&refusal.reject).map(gavel_domain::money::Amount::get))
        .with("received_at", refusal.received_at.to_string());
    problem.with("deadline", refusal.deadline.map(|deadline| deadline.to_string()))
}

/// A lot as an answer, with its strong validator.
pub(super) fn lot_response(status: StatusCode, answer: &LotAnswer, viewer: Viewer<'_>) -> HttpResponse {
    let tag = tag(answer.view.position, answer.own, viewer.audience);
    lot_headers(&mut HttpResponse::build(status), &tag).json(LotBody::new(&answer.view, answer.own, viewer))
}

pub(super) fn lot_headers<'a>(response: &'a mut HttpResponseBuilder, tag: &str) -> &'a mut HttpResponseBuilder {
    response
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .insert_header((header::VARY, "Authorization"))
}

/// The validator of a lot as somebody sees it: its position names its state, the rest what is shown
/// of it.
pub(super) fn tag(position: Position, own: Option<Own>, audience: Audience) -> String {
    let place = format!("{}-{}", position.epoch.0, position.seq.0);
    match (audience, own) {
        (Audience::House, _) => format!("\"{place}\""),
        (Audience::Public, None) => format!("\"{place}-p\""),
        (Audience::Public, Some(own)) => format!("\"{place}-{}{}\"", if own.leading { 'l' } else { 't' }, own.max),
    }
}

/// The tags of `If-Match` or `If-None-Match`, over all its lines.
fn tags(request: &HttpRequest, name: header::HeaderName) -> Option<Vec<String>> {
    let mut values = request.headers().get_all(name).peekable();
    values.peek()?;
    let lines = values.filter_map(|value| value.to_str().ok());
    Some(lines.flat_map(|line| line.split(',')).map(|tag| tag.trim().to_owned()).collect())
}

/// Whether the client has this state already (`If-None-Match`; weak comparison, RFC 9110 13.1.2).
pub(super) fn is_known(request: &HttpRequest, current: &str) -> bool {
    let known = |tag: &String| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == current;
    tags(request, header::IF_NONE_MATCH).is_some_and(|tags| tags.iter().any(known))
}

/// What `If-Match` expects of a lot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// `*`.
    Any,
    /// One of these.
    One(Vec<Position>),
}

impl Expected {
    /// From the header, which must be there. Weak tags never match (RFC 9110, 13.1.1).
    pub(super) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let tags = tags(request, header::IF_MATCH)
            .ok_or_else(|| Problem::new(Code::PreconditionRequired, "If-Match with the lot's ETag is required"))?;
        if tags.iter().any(|tag| tag == "*") {
            return Ok(Self::Any);
        }
        let position = |tag: &String| {
            let (epoch, seq) = tag.strip_prefix('"')?.strip_suffix('"')?.split_once('-')?;
            Some(Position { epoch: Epoch(epoch.parse().ok()?), seq: Seq(seq.parse().ok()?) })
        };
        Ok(Self::One(tags.iter().filter_map(position).collect()))
    }

    pub(super) fn holds(&self, position: Position) -> bool {
        match self {
            Self::Any => true,
            Self::One(positions) => positions.contains(&position),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    #[test]
    fn entity_tags() {
        let position = Position { epoch: Epoch(7), seq: Seq(3) };
        let none_match = |value| {
            is_known(
                &TestRequest::default().insert_header((header::IF_NONE_MATCH, value)).to_http_request(),
                &tag(position, None, Audience::House),
            )
        };
        for (value, known) in
            [("\"7-3\"", true), ("W/\"7-3\"", true), ("\"1-1\", \"7-3\"", true), ("*", true), ("\"7-4\"", false), ("7-3", false)]
        {
            assert_eq!(none_match(value), known, "{value}");
        }
        let matches = |value| {
            let expected = Expected::of(&TestRequest::default().insert_header((header::IF_MATCH, value)).to_http_request());
            expected.unwrap().holds(position)
        };
        for (value, holds) in [("\"7-3\"", true), ("\"9-9\", \"7-3\"", true), ("*", true), ("W/\"7-3\"", false), ("\"7-4\"", false)] {
            assert_eq!(matches(value), holds, "{value}");
        }
        assert!(Expected::of(&TestRequest::default().to_http_request()).is_err());
    }
}

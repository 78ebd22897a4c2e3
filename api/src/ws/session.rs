//! One socket's actor: reads requests, checks what the edge must check, hands them to the engine.
//!
//! It reads only. What is written goes through its [`super::outbox`], so that a peer that does not
//! read stops neither this actor nor its timers.

use super::{
    codec::{Codec, NoRequest},
    frames::{Frames, Incoming, Violation},
    hub::Hub,
    link::{Link, Visible, Who},
    throttle::{Throttle, Verdict},
};
use crate::{
    auth::{Gate, Principal, Role},
    config::Anonymous,
    http::{
        problem::Code,
        reject::{code_of, minimum_of},
    },
    wire::{
        lot::Audience,
        message::{AuthRequest, BidRequest, ClientFrame, ClientRequest, ErrorBody, LimitsBody, OkBody, ServerMessage, SessionBody, bidder},
    },
};
use actix::{Actor, ActorContext, AsyncContext, Context, StreamHandler};
use actix_http::ws::OpCode;
use actix_web::{error::PayloadError, web};
use bytes::Bytes;
use gavel_domain::{
    command::PlaceBid,
    lot::same_bid,
    reject::{Refusal, Reject},
};
use gavel_engine::request::{Ask, Reply};
use std::{
    rc::Rc,
    time::{Duration, SystemTime},
};

/// One socket.
pub(super) struct Session {
    hub: Rc<Hub>,
    link: Rc<Link>,
    gate: web::Data<Gate>,
    anonymous: Anonymous,
    principal: Option<Principal>,
    frames: Frames,
    throttle: Throttle,
    /// Pings sent less pongs received.
    unanswered_ping: bool,
    expiry: Option<actix::SpawnHandle>,
}

/// What the hub has to know of a principal; of nobody: the public.
pub(super) fn who(principal: Option<&Principal>) -> Who {
    let Some(principal) = principal else { return Who { bidder: None, audience: Audience::Public, holder: None } };
    Who {
        bidder: (principal.role == Role::Bidder).then(|| bidder(principal.sub.as_str())).flatten(),
        audience: if principal.role.allows(Role::Auctioneer) { Audience::House } else { Audience::Public },
        holder: Some(principal.clone()),
    }
}

impl Session {
    pub(super) fn new(hub: Rc<Hub>, link: Rc<Link>, gate: web::Data<Gate>, anonymous: Anonymous, principal: Option<Principal>) -> Self {
        let frame_bytes = hub.limits.frame_bytes.map_or(usize::MAX, std::num::NonZero::get);
        let throttle = Throttle::new(&hub.limits);
        Self { hub, link, gate, anonymous, principal, frames: Frames::new(frame_bytes), throttle, unanswered_ping: false, expiry: None }
    }

    fn close(&self, code: u16, why: &'static str) {
        self.link.close(code, why);
    }

    fn incoming(&mut self, message: Incoming, ctx: &mut Context<Self>) {
        match (message, self.link.codec) {
            (Incoming::Text(text), Codec::Json) => {
                for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
                    self.request(line, ctx);
                }
            }
            (Incoming::Binary(bytes), Codec::Bincode) => self.request(&bytes, ctx),
            (Incoming::Binary(_), Codec::Json) => self.close(1003, "this subprotocol is text"),
            (Incoming::Text(_), Codec::Bincode) => self.close(1003, "this subprotocol is binary"),
            (Incoming::Ping(payload), _) => self.link.control(OpCode::Pong, &payload),
            (Incoming::Pong, _) => self.unanswered_ping = false,
            (Incoming::Close, _) => self.close(1000, ""),
        }
    }

    fn request(&mut self, bytes: &[u8], ctx: &mut Context<Self>) {
        if self.link.outbox.is_ended() {
            return;
        }
        let read = self.link.codec.read(bytes);
        let id = match &read {
            Ok(frame) => frame.id,
            Err(NoRequest::Invalid { id, .. }) => *id,
            Err(NoRequest::NoId) => return self.close(4501, "a request needs an integer id"),
        };
        match self.throttle.admit() {
            Verdict::Pass => {}
            Verdict::Refuse(wait) => {
                let retry_after_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1));
                let error = ErrorBody { retry_after_ms, ..ErrorBody::new(Code::RateLimited, "too many requests on this socket") };
                self.link.send(&ServerMessage::Error { id, error });
                return self.close_if_flooded();
            }
            Verdict::Close => return self.close(4502, "too many requests for too long"),
        }
        match read {
            Ok(ClientFrame { id, request }) => self.serve(id, request, ctx),
            Err(NoRequest::Invalid { id, why }) => self.link.error(id, Code::Invalid, why),
            Err(NoRequest::NoId) => {}
        }
        self.close_if_flooded();
    }

    /// Replies are never dropped; a client that asks and asks but does not read is.
    fn close_if_flooded(&self) {
        if self.link.outbox.len() > 4 * self.hub.limits.outbound_queue_bytes {
            self.close(4001, "too slow: replies are not read");
        }
    }

    fn serve(&mut self, id: i64, request: ClientRequest, ctx: &mut Context<Self>) {
        let link = Rc::clone(&self.link);
        let may_view = self.principal.is_some() || self.anonymous == Anonymous::Viewer;
        match request {
            ClientRequest::Auth(auth) => self.authenticate(id, &auth, ctx),
            ClientRequest::Time(_) => link.ok(id, OkBody::Time { server_time: self.hub.engine.clock().now() }),
            _ if !may_view => link.error(id, Code::Unauthenticated, "authenticate first"),
            ClientRequest::Leave(leave) => {
                self.hub.leave(&link, leave.lot);
                link.ok(id, OkBody::Left { lot: leave.lot });
            }
            _ if link.in_flight.get() >= self.hub.limits.in_flight_per_socket => {
                link.error(id, Code::Overloaded, "too many requests without a reply on this socket");
            }
            ClientRequest::Join(join) => {
                let most = self.hub.limits.lots_per_socket.map_or(usize::MAX, std::num::NonZero::get);
                if !Hub::is_watched(&link, join.lot) && Hub::watched(&link) >= most {
                    return link.error(id, Code::LimitExceeded, format!("at most {most} lots on a socket"));
                }
                link.in_flight.set(link.in_flight.get() + 1);
                self.hub.join(&link, id, join.lot, join.position);
            }
            ClientRequest::Bid(bid) => self.bid(id, bid),
        }
    }

    fn bid(&mut self, id: i64, bid: BidRequest) {
        let link = &self.link;
        let Some(bidder) = link.who.borrow().bidder.clone() else {
            let (code, why) = match self.principal {
                Some(_) => (Code::Forbidden, "only the role bidder bids"),
                None => (Code::Unauthenticated, "authenticate first"),
            };
            return link.error(id, code, why);
        };
        link.in_flight.set(link.in_flight.get() + 1);
        let BidRequest { lot, bid_id, amount, max, retry } = bid;
        self.hub.submit(link, id, lot, Ask::Bid { bid: PlaceBid { bidder, bid_id, amount, max }, retry });
    }

    fn authenticate(&mut self, id: i64, auth: &AuthRequest, ctx: &mut Context<Self>) {
        let principal = match self.gate.verify(&auth.token) {
            Ok(principal) => principal,
            Err(error) => return self.link.error(id, Code::Unauthenticated, error.to_string()),
        };
        if self.principal.as_ref().is_some_and(|known| known.sub.as_str() != principal.sub.as_str()) {
            return self.link.error(id, Code::Forbidden, "a socket keeps the sub it began with");
        }
        let session = SessionBody {
            bidder: principal.sub.as_str().into(),
            role: principal.role.as_str(),
            server_time: self.hub.engine.clock().now(),
            limits: self.limits(),
        };
        self.hub.rejoin_as(&self.link, who(Some(&principal)));
        self.principal = Some(principal);
        self.set_expiry(ctx);
        self.link.ok(id, OkBody::Session(Box::new(session)));
    }

    fn limits(&self) -> LimitsBody {
        let limits = &self.hub.limits;
        LimitsBody {
            frame_bytes: limits.frame_bytes.map_or(0, |bytes| bytes.get() as u64),
            lots_per_socket: limits.lots_per_socket.map_or(0, |lots| lots.get() as u64),
            requests_per_second: limits.requests_per_second.map_or(0, |rate| rate.get().into()),
            request_burst: limits.request_burst.get().into(),
            in_flight: limits.in_flight_per_socket as u64,
        }
    }

    fn set_expiry(&mut self, ctx: &mut Context<Self>) {
        if let Some(old) = self.expiry.take() {
            ctx.cancel_future(old);
        }
        let Some(principal) = &self.principal else { return };
        let left = principal.remaining(SystemTime::now());
        if left > Duration::from_secs(30 * 24 * 3600) {
            return; // longer than a socket lives
        }
        self.expiry = Some(ctx.run_later(left, |session, _| session.close(4004, "the token has expired")));
    }

    fn ping(&mut self, ctx: &mut Context<Self>) {
        let Some(interval) = self.hub.limits.ping_interval else { return };
        ctx.run_later(interval, |session, ctx| {
            session.unanswered_ping = true;
            session.link.control(OpCode::Ping, &Bytes::new());
            if let Some(timeout) = session.hub.limits.pong_timeout {
                ctx.run_later(timeout, |session, _| {
                    if session.unanswered_ping {
                        session.close(4002, "no pong");
                    }
                });
            }
            session.ping(ctx);
        });
    }
}

impl Actor for Session {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.ping(ctx);
        self.set_expiry(ctx);
        if let Some(timeout) = self.hub.limits.auth_timeout.filter(|_| self.anonymous == Anonymous::None) {
            ctx.run_later(timeout, |session, _| {
                if session.principal.is_none() {
                    session.close(4500, "not authenticated in time");
                }
            });
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.hub.exit(&self.link);
        self.link.outbox.end();
    }
}

impl StreamHandler<Result<Bytes, PayloadError>> for Session {
    fn handle(&mut self, item: Result<Bytes, PayloadError>, ctx: &mut Context<Self>) {
        let Ok(bytes) = item else { return ctx.stop() };
        self.frames.feed(&bytes);
        while !self.link.outbox.is_ended() {
            match self.frames.next() {
                Ok(Some(message)) => self.incoming(message, ctx),
                Ok(None) => return,
                Err(Violation::TooLarge) => self.close(1009, "the frame is too large"),
                Err(Violation::Protocol) => self.close(1002, "not RFC 6455"),
                Err(Violation::NotUtf8) => self.close(1007, "text must be UTF-8"),
            }
        }
    }

    fn finished(&mut self, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

/// Writes the reply to a request.
pub(super) fn answer(hub: &Rc<Hub>, link: &Rc<Link>, id: i64, reply: Reply) {
    match reply {
        Reply::Receipt(receipt) => link.ok(id, OkBody::Receipt(receipt)),
        Reply::BidRefused(refusal) => link.send(&ServerMessage::Error { id, error: refused(&refusal) }),
        Reply::Refused(reject) => link.error(id, code_of(&reject), reject.to_string()),
        Reply::Joined(joined) => {
            let audience = link.who.borrow().audience;
            if joined.is_visible_to(audience) {
                link.ok(id, OkBody::Joined(Box::new(hub.joined_body(&joined, audience))));
            } else {
                link.error(id, Code::NotFound, "no such lot");
            }
        }
        Reply::NotLive(ask) => {
            let (hub, link) = (Rc::clone(hub), Rc::clone(link));
            actix_rt::spawn(async move { answer_from_history(&hub, &link, id, *ask).await });
        }
        Reply::Overloaded => link.error(id, Code::Overloaded, "too many requests are waiting: nothing was done"),
        Reply::Unavailable => {
            link.error(id, Code::Unavailable, "not to be had now, and the outcome may be unknown: ask again with the same bid_id")
        }
        Reply::Internal => link.error(id, Code::Internal, "an error of the server: this request was lost"),
        Reply::PreconditionFailed | Reply::KeyReused | Reply::Lot(_) | Reply::Done => link.error(id, Code::Internal, "no such answer"),
    }
}

fn refused(refusal: &Refusal) -> ErrorBody {
    let Refusal { reject, received_at, deadline } = refusal;
    ErrorBody {
        minimum: minimum_of(reject),
        received_at: Some(*received_at),
        deadline: *deadline,
        ..ErrorBody::new(code_of(reject), reject.to_string())
    }
}

/// A request for a lot that is not in memory: over and let go, or never there.
async fn answer_from_history(hub: &Rc<Hub>, link: &Rc<Link>, id: i64, not_live: gavel_engine::request::NotLive) {
    let who = link.who.borrow().clone();
    let history = hub.engine.history();
    let (lot, found) = (not_live.lot, history.lot(not_live.lot, who.bidder.as_ref()).await);
    let (view, own) = match found {
        Ok(Some(found)) => found,
        Ok(None) => return link.error(id, Code::NotFound, "no such lot"),
        Err(error) => {
            tracing::warn!(%lot, %error, "a lot can't be read from the tables");
            return link.error(id, Code::Unavailable, "the lot can't be read now");
        }
    };
    match not_live.ask {
        Ask::Join { position, .. } => {
            let joined = hub.archived_body(&view, own, who.audience, position);
            link.ok(id, OkBody::Joined(Box::new(joined)));
        }
        Ask::Bid { bid, .. } => {
            let refusal = |reject| Refusal { reject, received_at: hub.engine.clock().now(), deadline: view.closes_at };
            let refusal = match history.receipt(lot, &bid.bidder, bid.bid_id).await {
                Ok(Some(receipt)) => match same_bid(&bid, receipt) {
                    Ok(receipt) => return link.ok(id, OkBody::Receipt(Box::new(receipt))),
                    Err(reject) => refusal(reject),
                },
                Ok(None) => refusal(Reject::LotClosed),
                Err(error) => {
                    tracing::warn!(%lot, %error, "a resent bid can't be looked up");
                    return link.error(id, Code::Unavailable, "the bid can't be looked up now");
                }
            };
            link.send(&ServerMessage::Error { id, error: refused(&refusal) });
        }
        _ => link.error(id, Code::Internal, "no such answer"),
    }
}

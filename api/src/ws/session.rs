//! One socket's actor: reads requests, checks what the edge must check, hands them to the engine.
//!
//! It reads only. What is written goes through its [`super::outbox`], so that a peer that does not
//! read stops neither this actor nor its timers.

use super::{
    codec::{Codec, NoRequest},
    frames::{Frames, Incoming, Violation},
    hub::Hub,
    joins::Turn,
    link::{Link, Visible, Who},
    throttle::{Throttle, Verdict},
};
use crate::{
    auth::{Gate, Principal, Role},
    config::Anonymous,
    http::{
        archived::bid_on_archived,
        problem::Code,
        reject::{code_of, minimum_of},
    },
    wire::{
        lot::Audience,
        message::{
            AuthRequest, BidRequest, ClientFrame, ClientRequest, ErrorBody, JoinWalletRequest, LimitsBody, OkBody, ServerMessage,
            SessionBody, bidder,
        },
    },
};
use actix::{Actor, ActorContext, AsyncContext, Context, StreamHandler};
use actix_http::ws::OpCode;
use actix_web::{error::PayloadError, web};
use bytes::Bytes;
use gavel_domain::{command::PlaceBid, reject::Refusal};
use gavel_engine::{
    ports::StorageError,
    request::{Ask, NotLive, Reply},
};
use std::{
    collections::VecDeque,
    rc::Rc,
    time::{Duration, SystemTime},
};
use uuid::Uuid;

/// Why 4501.
const NO_ID: &str = "a request needs an integer id";

/// One socket.
pub(super) struct Session {
    hub: Rc<Hub>,
    link: Rc<Link>,
    gate: web::Data<Gate>,
    anonymous: Anonymous,
    principal: Option<Principal>,
    frames: Frames,
    throttle: Throttle,
    /// What our pings carried that have no pong yet, oldest first. Nobody can answer them without having read them.
    unanswered: VecDeque<Uuid>,
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
        let (frames, throttle) = (Frames::new(hub.limits.frame_limit()), Throttle::new(&hub.limits));
        Self { hub, link, gate, anonymous, principal, frames, throttle, unanswered: VecDeque::new(), expiry: None }
    }

    fn close(&self, code: u16, why: &'static str) {
        self.link.close(code, why);
    }

    fn incoming(&mut self, message: Incoming, ctx: &mut Context<Self>) {
        match (message, self.link.codec) {
            (Incoming::Text(text), Codec::Json) => {
                let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).peekable();
                if lines.peek().is_none() {
                    self.close(4501, NO_ID);
                }
                lines.for_each(|line| self.request(line, ctx));
            }
            (Incoming::Binary(bytes), Codec::Bincode) => self.request(&bytes, ctx),
            (Incoming::Binary(_), Codec::Json) => self.close(1003, "this subprotocol is text"),
            (Incoming::Text(_), Codec::Bincode) => self.close(1003, "this subprotocol is binary"),
            (Incoming::Ping(payload), _) => self.link.outbox.pong(payload),
            (Incoming::Pong(payload), _) => {
                // Who answers a ping has read the earlier ones too, and need not answer them (RFC 6455, section 5.5.3).
                if let Some(place) = self.unanswered.iter().position(|ping| ping.as_bytes()[..] == payload[..]) {
                    self.unanswered.drain(..=place);
                }
            }
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
            Err(NoRequest::NoId) => return self.close(4501, NO_ID),
        };
        match self.throttle.admit() {
            Verdict::Pass => {}
            Verdict::Refuse(wait) => {
                let retry_after_ms = Some(u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1));
                let error = ErrorBody { retry_after_ms, ..ErrorBody::new(Code::RateLimited, "too many requests on this socket") };
                self.link.send(&ServerMessage::Error { id, error });
                return self.hub.replied(&self.link);
            }
            Verdict::Close => return self.close(4502, "too many requests for too long"),
        }
        match read {
            Ok(ClientFrame { id, request }) => self.serve(id, request, ctx),
            Err(NoRequest::Invalid { id, why }) => self.link.error(id, Code::Invalid, why),
            Err(NoRequest::NoId) => {}
        }
        self.hub.replied(&self.link);
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
            ClientRequest::LeaveWallet(leave) => {
                if link.purse.is_of(&leave.wallet) {
                    self.hub.leave_wallet(&link);
                }
                link.ok(id, OkBody::LeftWallet { wallet: leave.wallet });
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
            ClientRequest::JoinWallet(JoinWalletRequest { wallet }) => self.join_wallet(id, &wallet),
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
        self.hub.submit(link.key, id, lot, Ask::Bid { bid: PlaceBid { bidder, bid_id, amount, max }, retry });
    }

    fn join_wallet(&mut self, id: i64, wallet: &str) {
        let link = &self.link;
        let own = link.who.borrow().bidder.clone().filter(|own| own.as_str() == wallet);
        let Some(bidder) = own else {
            return link.error(id, Code::Forbidden, "a socket joins its own bidder's wallet only");
        };
        link.in_flight.set(link.in_flight.get() + 1);
        self.hub.join_wallet(link, id, bidder);
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
            frame_bytes: limits.frame_limit() as u64,
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
            let ping = Uuid::new_v4();
            session.link.control(OpCode::Ping, &Bytes::copy_from_slice(ping.as_bytes()));
            if let Some(timeout) = session.hub.limits.pong_timeout {
                session.unanswered.push_back(ping);
                ctx.run_later(timeout, move |session, _| {
                    if session.unanswered.contains(&ping) {
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
        if self.link.outbox.is_ended() {
            return; // nobody reads what still comes
        }
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
            let who = link.who.borrow().clone();
            if joined.is_visible_to(who.audience) {
                let body = hub.joined_body(&joined, who.viewer());
                link.send_large(&ServerMessage::Ok { id, ok: OkBody::Joined(Box::new(body)) });
            } else {
                link.error(id, Code::NotFound, "no such lot");
            }
        }
        Reply::NotLive(ask) => answer_later(hub, link, id, *ask, None),
        Reply::Overloaded => link.error(id, Code::Overloaded, "too many requests are waiting: nothing was done"),
        Reply::Unavailable => {
            link.error(id, Code::Unavailable, "not to be had now, and the outcome may be unknown: ask again with the same bid_id")
        }
        Reply::Internal => link.error(id, Code::Internal, "an error of the server: this request was lost"),
        Reply::Wallet(view) => hub.wallet_joined(link, id, &view),
        Reply::Posted(_)
        | Reply::WalletRefused(_)
        | Reply::PreconditionFailed
        | Reply::KeyReused
        | Reply::Lot(_)
        | Reply::Access(_)
        | Reply::Done => link.error(id, Code::Internal, "no such answer"),
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

/// Answers a request for a lot that is not in memory: over and let go, or never there. A join keeps its turn until then.
pub(super) fn answer_later(hub: &Rc<Hub>, link: &Rc<Link>, id: i64, not_live: NotLive, turn: Option<Turn>) {
    let (hub, link) = (Rc::clone(hub), Rc::clone(link));
    actix_rt::spawn(async move {
        if let Err(error) = answer_from_history(&hub, &link, id, &not_live).await {
            tracing::warn!(lot = %not_live.lot, %error, "the history can't be read");
            link.error(id, Code::Unavailable, "the history can't be read now");
        }
        hub.replied(&link);
        drop(turn);
    });
}

async fn answer_from_history(hub: &Hub, link: &Link, id: i64, not_live: &NotLive) -> Result<(), StorageError> {
    let who = link.who.borrow().clone();
    let Some((view, own)) = hub.engine.history().lot(not_live.lot, who.bidder.as_ref()).await? else {
        link.error(id, Code::NotFound, "no such lot");
        return Ok(());
    };
    match &not_live.ask {
        Ask::Join { position, .. } => {
            let missed = hub.missed_of_archived(&view, *position).await?;
            let joined = hub.archived_body(&view, own, who.viewer(), missed.as_deref());
            link.send_large(&ServerMessage::Ok { id, ok: OkBody::Joined(Box::new(joined)) });
        }
        Ask::Bid { bid, .. } => match bid_on_archived(&hub.engine, &view, bid).await? {
            Ok(receipt) => link.ok(id, OkBody::Receipt(Box::new(receipt))),
            Err(refusal) => link.send(&ServerMessage::Error { id, error: refused(&refusal) }),
        },
        _ => link.error(id, Code::Internal, "no such answer"),
    }
    Ok(())
}

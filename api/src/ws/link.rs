//! A socket as its hub and its own actor share it: what it watches, what waits to be written, and how
//! it ends. Which frames it gets is the hub's matter.

use super::{codec::Codec, joins::Joins, outbox::Outbox, purses::Purse};
use crate::{
    auth::Principal,
    http::problem::Code,
    wire::{
        lot::{Audience, Viewer},
        message::{ErrorBody, OkBody, ServerMessage},
    },
};
use actix_http::ws::{CloseCode, OpCode, Parser};
use bytes::Bytes;
use gavel_domain::{
    ids::{BidderId, LotId},
    lot::Status,
};
use gavel_engine::request::Joined;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::{Duration, Instant},
};

/// How long a closing socket may take to read what was written, before it is cut.
const GRACE: Duration = Duration::from_secs(5);

/// A socket as the hub and its own actor share it.
pub(super) struct Link {
    pub(super) key: u64,
    pub(super) codec: Codec,
    pub(super) outbox: Rc<Outbox>,
    pub(super) who: RefCell<Who>,
    /// Requests without a reply yet.
    pub(super) in_flight: Cell<usize>,
    pub(super) lots: RefCell<HashMap<LotId, Watching>>,
    pub(super) joins: Joins,
    pub(super) purse: Purse,
    /// Bytes that may wait in the outbox although its bound is less: lots that were joined or told anew.
    pub(super) large: Cell<usize>,
    pub(super) behind_since: Cell<Option<Instant>>,
    /// How often the connection had taken what waited when it was last looked at.
    pub(super) taken: Cell<u64>,
    /// To cut the connection off.
    pub(super) socket: Option<socket2::Socket>,
}

/// What the hub must know of who is at the other end.
#[derive(Clone, Debug)]
pub(super) struct Who {
    /// For role `bidder` only.
    pub(super) bidder: Option<BidderId>,
    pub(super) audience: Audience,
    /// Who is let in as long as that is not revoked; nobody where the token is still to come.
    pub(super) holder: Option<Principal>,
}

impl Who {
    pub(super) const fn viewer(&self) -> Viewer<'_> {
        Viewer { audience: self.audience, bidder: self.bidder.as_ref() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watching {
    /// The join has no reply yet.
    Asked,
    /// Gets every push.
    Live,
    /// Pushes were left out.
    Conflated,
    /// The lot as it is has been asked for.
    Resyncing,
}

impl Link {
    pub(super) fn new(key: u64, codec: Codec, who: Who, socket: Option<socket2::Socket>) -> Self {
        Self {
            key,
            codec,
            outbox: Rc::default(),
            who: RefCell::new(who),
            in_flight: Cell::new(0),
            lots: RefCell::default(),
            joins: Joins::default(),
            purse: Purse::default(),
            large: Cell::new(0),
            behind_since: Cell::new(None),
            taken: Cell::new(0),
            socket,
        }
    }

    pub(super) fn send(&self, message: &ServerMessage) {
        self.outbox.write(|out| self.codec.write(message, out));
    }

    /// A message of which few are under way, and which may be large.
    pub(super) fn send_large(&self, message: &ServerMessage) {
        let before = self.outbox.len();
        self.send(message);
        self.large.set(self.large.get() + self.outbox.len().saturating_sub(before));
    }

    pub(super) fn ok(&self, id: i64, ok: OkBody) {
        self.send(&ServerMessage::Ok { id, ok });
    }

    pub(super) fn error(&self, id: i64, code: Code, message: impl Into<String>) {
        self.send(&ServerMessage::Error { id, error: ErrorBody::new(code, message) });
    }

    pub(super) fn control(&self, op: OpCode, payload: &Bytes) {
        self.outbox.write(|out| Parser::write_message(out, payload, op, true, false));
    }

    /// Says why, and ends the connection once that is read, or after a while all the same.
    pub(super) fn close(&self, code: u16, why: &'static str) {
        if self.outbox.is_ended() {
            return;
        }
        self.outbox.write(|out| {
            if code == 4001 {
                out.clear(); // who did not read it so far will not
            }
            Parser::write_close(out, Some((CloseCode::from(code), why).into()), false);
        });
        self.outbox.end();
        self.cut_after(GRACE);
    }

    /// Cuts the connection off after a while: a peer that does not read would keep it for ever.
    pub(super) fn cut_after(&self, grace: Duration) {
        let Some(socket) = self.socket.as_ref().and_then(|socket| socket.try_clone().ok()) else { return };
        actix_rt::spawn(async move {
            tokio::time::sleep(grace).await;
            let _ = socket.shutdown(std::net::Shutdown::Both); // it may have gone by itself
        });
    }
}

/// Drafts are the auctioneer's own.
pub(super) trait Visible {
    fn is_visible_to(&self, audience: Audience) -> bool;
}

impl Visible for Joined {
    fn is_visible_to(&self, audience: Audience) -> bool {
        audience == Audience::House || self.lot.view.status != Status::Draft
    }
}

//! Joins, a few at a time for each socket.
//!
//! An answer to a join is large: a lot, and up to thousands of events for one who comes back. So a join is handed to the
//! engine only when the socket has room for its answer, and the others wait their turn: as many resumes as a socket asks
//! for cost no more memory than one.

use super::{
    hub::{Hub, JOIN},
    link::{Link, Visible as _, Watching},
};
use crate::wire::{
    event::EventBody,
    lot::{LotBody, Viewer},
    message::JoinedBody,
    names::Names,
};
use gavel_domain::{
    event::{LotEvent, Recorded},
    ids::{LotId, Position, Seq},
    lot::view::{LotView, Own},
};
use gavel_engine::{
    ports::StorageError,
    projection::history::Kind,
    request::{Ask, Joined, Reply},
};
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
};

/// Joins of one socket that are with the engine at once. A resume counts as all of them.
const AT_ONCE: usize = 4;

/// Bytes of missed events in one answer, about. Beyond, the lot alone is told (`recovered` false): clients take no larger
/// frame. A lot's own memory holds less than 2 MiB of bids; only descriptions of 40 kB, changed hundreds of times, are more.
const RESUME_BYTES: usize = 12 << 20;
/// What an event takes without its texts, at most about.
const EVENT_BYTES: usize = 256;

/// Missed events of a lot that is over and out of memory, at most; as many as a living one keeps.
const ARCHIVED_EVENTS: u64 = 8192;

/// The joins of one socket that have no answer yet.
#[derive(Default)]
pub(super) struct Joins {
    /// By the hub's number.
    open: RefCell<HashMap<i64, Join>>,
    /// Those of them that are not with the engine yet.
    waiting: RefCell<VecDeque<i64>>,
    next_number: Cell<i64>,
    /// Weights of those that are.
    under_way: Cell<usize>,
    /// Somebody waits for room.
    is_awaited: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Join {
    /// The client's.
    id: i64,
    lot: LotId,
    position: Option<Position>,
}

impl Join {
    const fn weight(&self) -> usize {
        if self.position.is_some() { AT_ONCE } else { 1 }
    }
}

impl Joins {
    /// Forgets them all; their lots.
    pub(super) fn abandon(&self) -> Vec<LotId> {
        self.waiting.borrow_mut().clear();
        self.open.borrow_mut().drain().map(|(_, join)| join.lot).collect()
    }

    fn add(&self, join: Join) {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        self.open.borrow_mut().insert(number, join);
        self.waiting.borrow_mut().push_back(number);
    }

    /// The next one, if there is room for its answer.
    fn next(&self, fits: impl FnOnce(&Join) -> bool) -> Option<(i64, Join)> {
        let mut waiting = self.waiting.borrow_mut();
        let number = *waiting.front()?;
        let join = *self.open.borrow().get(&number)?;
        if self.under_way.get() + join.weight() > AT_ONCE || !fits(&join) {
            return None;
        }
        waiting.pop_front();
        self.under_way.set(self.under_way.get() + join.weight());
        Some((number, join))
    }
}

/// A join that is with the engine, until its answer is written: then it is another one's turn.
pub(super) struct Turn {
    link: Rc<Link>,
    weight: usize,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let under_way = &self.link.joins.under_way;
        under_way.set(under_way.get().saturating_sub(self.weight));
        self.link.outbox.moved.notify_one();
    }
}

impl Hub {
    /// Joins a lot as soon as there is room for the answer.
    pub(super) fn join(self: &Rc<Self>, link: &Rc<Link>, id: i64, lot: LotId, position: Option<Position>) {
        link.lots.borrow_mut().entry(lot).or_insert(Watching::Asked);
        self.topics.borrow_mut().entry(lot).or_default().asked += 1;
        link.joins.add(Join { id, lot, position });
        self.hand_in_joins(link);
        if !link.joins.waiting.borrow().is_empty() && !link.joins.is_awaited.replace(true) {
            actix_rt::spawn(Rc::clone(self).hand_in_later(Rc::clone(link)));
        }
    }

    fn hand_in_joins(&self, link: &Link) {
        if link.outbox.len() <= self.limits.outbound_queue_bytes {
            link.large.set(0);
        }
        let fits = |join: &Join| match join.position {
            Some(_) => link.outbox.is_idle(),
            None => link.outbox.len() <= self.limits.outbound_queue_bytes,
        };
        while let Some((number, join)) = link.joins.next(fits) {
            let bidder = link.who.borrow().bidder.clone();
            let ask = Ask::Join { bidder, position: join.position, worker: self.worker };
            self.submit(link.key | JOIN, number, join.lot, ask);
        }
    }

    async fn hand_in_later(self: Rc<Self>, link: Rc<Link>) {
        while !link.outbox.is_ended() && !link.joins.waiting.borrow().is_empty() {
            link.outbox.moved.notified().await;
            self.hand_in_joins(&link);
        }
        link.joins.is_awaited.set(false);
    }

    /// The engine has answered a join: from here on the socket gets the lot's events, or never did.
    pub(super) fn join_answered(self: &Rc<Self>, link: &Rc<Link>, number: i64, reply: Reply) {
        let Some(join) = link.joins.open.borrow_mut().remove(&number) else { return };
        let turn = Turn { link: Rc::clone(link), weight: join.weight() };
        self.watch(link, join.lot, &reply);
        self.asked_less(join.lot);
        match reply {
            Reply::NotLive(ask) => super::session::answer_later(self, link, join.id, *ask, Some(turn)),
            other => super::session::answer(self, link, join.id, other),
        }
    }

    fn watch(&self, link: &Rc<Link>, lot: LotId, reply: &Reply) {
        let visible = match reply {
            Reply::Joined(joined) if joined.is_visible_to(link.who.borrow().audience) => Some(joined.lot.view.access),
            _ => None,
        };
        let mut lots = link.lots.borrow_mut();
        let Some(watching) = lots.get_mut(&lot) else { return };
        let Some(access) = visible else {
            if *watching == Watching::Asked {
                lots.remove(&lot);
            }
            return;
        };
        *watching = Watching::Live;
        let mut topics = self.topics.borrow_mut();
        let topic = topics.entry(lot).or_default();
        topic.access = access;
        if topic.members.iter().any(|member| Rc::ptr_eq(member, link)) {
            return;
        }
        topic.members.push(Rc::clone(link));
        if let Some(bidder) = &link.who.borrow().bidder {
            topic.bidders.entry(bidder.clone()).or_default().push(Rc::clone(link));
        }
    }

    pub(super) fn joined_body(&self, joined: &Joined, viewer: Viewer<'_>) -> JoinedBody {
        let recovered = joined.recovered && fits_one_answer(&joined.events);
        let events = if recovered { joined.events.as_slice() } else { &[] };
        let names = Names::shown(joined.lot.view.access, viewer.audience);
        JoinedBody {
            lot: LotBody::new(&joined.lot.view, joined.lot.own, viewer),
            position: joined.lot.view.position,
            recovered,
            events: events.iter().filter_map(|event| EventBody::new(event, names)).collect(),
            server_time: self.engine.clock().now(),
        }
    }

    /// A lot that is over, for who asks for it: it has no events to come, but some that were missed.
    pub(super) fn archived_body(
        &self,
        view: &LotView,
        own: Option<Own>,
        viewer: Viewer<'_>,
        missed: Option<&[Arc<Recorded>]>,
    ) -> JoinedBody {
        let names = Names::shown(view.access, viewer.audience);
        JoinedBody {
            position: view.position,
            lot: LotBody::new(view, own, viewer),
            recovered: missed.is_some(),
            events: missed.unwrap_or_default().iter().filter_map(|event| EventBody::new(event, names)).collect(),
            server_time: self.engine.clock().now(),
        }
    }

    /// The events of a lot that is over after a position, from the tables; none if they can't vouch for that position.
    pub(super) async fn missed_of_archived(
        &self,
        view: &LotView,
        position: Option<Position>,
    ) -> Result<Option<Vec<Arc<Recorded>>>, StorageError> {
        let Some(position) = position else { return Ok(None) };
        if position == view.position {
            return Ok(Some(Vec::new()));
        }
        let gap = view.position.seq.0.checked_sub(position.seq.0).filter(|gap| (1..=ARCHIVED_EVENTS).contains(gap));
        let (Some(gap), Some(before)) = (gap, position.seq.0.checked_sub(1)) else { return Ok(None) };
        let most = usize::try_from(gap).unwrap_or(usize::MAX).saturating_add(1);
        let mut events = self.engine.history().events(view.id, Kind::All, Seq(before), most).await?;
        let is_whole = events.len() == most
            && events.first().is_some_and(|known| (known.epoch, known.seq) == (position.epoch, position.seq))
            && events.last().is_some_and(|last| last.seq == view.position.seq);
        if !is_whole {
            return Ok(None);
        }
        let missed = events.split_off(1);
        Ok(fits_one_answer(&missed).then_some(missed))
    }
}

fn fits_one_answer(events: &[Arc<Recorded>]) -> bool {
    let texts = |event: &Recorded| match &event.event {
        LotEvent::Changed(change) => [&change.title, &change.description].into_iter().flatten().map(|text| text.len()).sum(),
        _ => 0,
    };
    events.iter().map(|event| EVENT_BYTES + texts(event)).sum::<usize>() <= RESUME_BYTES
}

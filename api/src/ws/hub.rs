//! One worker's hub: takes the engine's parcels, encodes each event once, and hands frames to the
//! sockets of this thread that watch the lot.
//!
//! A socket that does not keep up has its pushes replaced by one `resync` once it has room again;
//! still behind after a while, it is closed. Nobody waits for it.

use super::{
    codec::Codec,
    link::{Link, Watching, Who},
    outbox::{Outbox, OutboxStream},
    purses::Purses,
};
use crate::{
    config::Limits,
    telemetry::metrics::CONFLATIONS,
    wire::{
        event::EventBody,
        lot::Audience,
        message::{Push, PushBody, ServerMessage},
        names::Names,
    },
};
use bytes::{Bytes, BytesMut};
use gavel_domain::{
    currency::Currency,
    event::{LotEvent, Recorded},
    ids::{BidderId, LotId},
    lot::{access::AccessRules, view::Own},
};
use gavel_engine::{
    Engine,
    delivery::{Inlet, Item, Outlet, Parcel, WorkerId, reply::ReplyTo},
    request::{Ask, Reply, Request},
};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// In the session number of a request that the hub itself makes: bring a conflated lot up to date.
const RESYNC: u64 = 1 << 63;
/// In the session number of a join: its reply goes by a number of the hub's, not by the client's.
pub(super) const JOIN: u64 = 1 << 62;
/// How often sockets that are behind are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// See [`Hub::listen`].
pub struct Listener(Rc<Outbox>);

impl Listener {
    /// Everything that waits to be written; waits until there is something.
    pub async fn next(&self) -> Option<Bytes> {
        let mut stream = OutboxStream(Rc::clone(&self.0));
        futures_util::StreamExt::next(&mut stream).await.and_then(Result::ok)
    }
}

/// The sockets of one lot on this worker.
#[derive(Default)]
pub(super) struct Topic {
    pub(super) members: Vec<Rc<Link>>,
    pub(super) bidders: HashMap<BidderId, Vec<Rc<Link>>>,
    /// Joins under way: the engine must go on sending.
    pub(super) asked: usize,
    /// The lot's, as its first watcher was told; they never change.
    pub(super) access: AccessRules,
}

impl Topic {
    /// This link hears no more of how the bidder stands.
    fn no_bidder(&mut self, bidder: &BidderId, link: &Rc<Link>) {
        if let Some(own) = self.bidders.get_mut(bidder) {
            own.retain(|member| !Rc::ptr_eq(member, link));
            if own.is_empty() {
                self.bidders.remove(bidder);
            }
        }
    }
}

/// One worker's.
pub struct Hub {
    pub(super) engine: Engine,
    pub(super) limits: Limits,
    pub(super) worker: WorkerId,
    outlet: Arc<Outlet>,
    links: RefCell<HashMap<u64, Rc<Link>>>,
    pub(super) topics: RefCell<HashMap<LotId, Topic>>,
    pub(super) purses: Purses,
    /// As configured, for what wallets show.
    pub(super) currencies: Arc<[Currency]>,
    behind: RefCell<Vec<Rc<Link>>>,
    /// The server is going away: sockets are closed within this time.
    draining: Cell<Option<Duration>>,
    /// Requests of this turn of the thread's loop.
    outgoing: RefCell<Vec<Request>>,
    has_outgoing: Notify,
    next_key: Cell<u64>,
}

impl Hub {
    /// Attaches this thread to the engine and starts its hub. None if there are too many workers.
    #[must_use]
    pub fn start(engine: Engine, limits: Limits, currencies: Arc<[Currency]>) -> Option<Rc<Self>> {
        let (worker, outlet, inlet) = engine.attach_worker()?;
        let hub = Rc::new(Self {
            engine,
            limits,
            worker,
            outlet,
            links: RefCell::default(),
            topics: RefCell::default(),
            purses: Purses::default(),
            currencies,
            behind: RefCell::default(),
            draining: Cell::default(),
            outgoing: RefCell::default(),
            has_outgoing: Notify::new(),
            next_key: Cell::new(1),
        });
        actix_rt::spawn(Rc::clone(&hub).run(inlet));
        actix_rt::spawn(Rc::clone(&hub).look_after_the_slow());
        actix_rt::spawn(Rc::clone(&hub).hand_in());
        Some(hub)
    }

    /// Sockets of this worker.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.links.borrow().len()
    }

    /// Bytes that wait to be written, all sockets of this worker together.
    #[must_use]
    pub fn outbound_bytes(&self) -> usize {
        self.links.borrow().values().map(|link| link.outbox.len()).sum()
    }

    /// A session without a connection that watches a lot: for measuring the fan-out alone.
    #[must_use]
    pub fn listen(self: Rc<Self>, lot: LotId) -> Listener {
        let link = self.enter(Codec::Json, Who { bidder: None, audience: Audience::Public, holder: None }, None);
        self.join(&link, 0, lot, None);
        Listener(Rc::clone(&link.outbox))
    }

    /// The sockets of this worker.
    pub(super) fn links(&self) -> Vec<Rc<Link>> {
        self.links.borrow().values().map(Rc::clone).collect()
    }

    pub(super) fn enter(&self, codec: Codec, who: Who, socket: Option<socket2::Socket>) -> Rc<Link> {
        let key = self.next_key.get();
        self.next_key.set(key + 1);
        let link = Rc::new(Link::new(key, codec, who, socket));
        self.links.borrow_mut().insert(key, Rc::clone(&link));
        if let Some(window) = self.draining.get() {
            close_within(&link, window);
        }
        link
    }

    pub(super) fn exit(&self, link: &Rc<Link>) {
        self.links.borrow_mut().remove(&link.key);
        let lots: Vec<LotId> = link.lots.borrow_mut().drain().map(|(lot, _)| lot).collect();
        for lot in lots {
            self.forget(link, lot);
        }
        self.leave_wallet(link);
        // Joins whose replies find nobody count no more.
        for lot in link.joins.abandon() {
            self.asked_less(lot);
        }
    }

    /// Where the engine's replies to this worker's sockets go.
    pub(super) fn outlet(&self) -> Arc<Outlet> {
        Arc::clone(&self.outlet)
    }

    /// Asks the engine on behalf of a socket; `session` is its key, with what kind of request it is.
    pub(super) fn submit(&self, session: u64, id: i64, lot: LotId, ask: Ask) {
        let reply = ReplyTo::session(Arc::clone(&self.outlet), session, id);
        self.outgoing.borrow_mut().push(Request { lot, ask, reply });
        self.has_outgoing.notify_one();
    }

    /// Hands the requests of all sockets that were readable in one turn of this thread's loop in at
    /// once: the engine's thread is woken once for them, and they share a commit.
    async fn hand_in(self: Rc<Self>) {
        loop {
            self.has_outgoing.notified().await;
            let requests = std::mem::take(&mut *self.outgoing.borrow_mut());
            if !requests.is_empty() {
                self.engine.submit_all(requests);
            }
        }
    }

    /// How many lots a socket watches or is about to.
    pub(super) fn watched(link: &Link) -> usize {
        link.lots.borrow().len()
    }

    pub(super) fn is_watched(link: &Link, lot: LotId) -> bool {
        link.lots.borrow().contains_key(&lot)
    }

    pub(super) fn leave(&self, link: &Rc<Link>, lot: LotId) {
        if link.lots.borrow_mut().remove(&lot).is_some() {
            self.forget(link, lot);
        }
    }

    /// Who is at the other end of a link has become known, or its role has changed, after it joined lots.
    pub(super) fn rejoin_as(&self, link: &Rc<Link>, who: Who) {
        let before = link.who.replace(who);
        let now = link.who.borrow().bidder.clone();
        let mut topics = self.topics.borrow_mut();
        if let Some(bidder) = before.bidder.filter(|bidder| now.as_ref() != Some(bidder)) {
            for lot in link.lots.borrow().keys() {
                if let Some(topic) = topics.get_mut(lot) {
                    topic.no_bidder(&bidder, link);
                }
            }
        }
        let Some(bidder) = now else { return };
        for lot in link.lots.borrow().keys() {
            if let Some(topic) = topics.get_mut(lot).filter(|topic| topic.members.iter().any(|member| Rc::ptr_eq(member, link))) {
                let own = topic.bidders.entry(bidder.clone()).or_default();
                if !own.iter().any(|known| Rc::ptr_eq(known, link)) {
                    own.push(Rc::clone(link));
                }
            }
        }
    }

    fn forget(&self, link: &Rc<Link>, lot: LotId) {
        let mut topics = self.topics.borrow_mut();
        let Some(topic) = topics.get_mut(&lot) else { return };
        topic.members.retain(|member| !Rc::ptr_eq(member, link));
        if let Some(bidder) = &link.who.borrow().bidder {
            topic.no_bidder(bidder, link);
        }
        self.drop_if_unwatched(&mut topics, lot);
    }

    pub(super) fn asked_less(&self, lot: LotId) {
        let mut topics = self.topics.borrow_mut();
        if let Some(topic) = topics.get_mut(&lot) {
            topic.asked = topic.asked.saturating_sub(1);
        }
        self.drop_if_unwatched(&mut topics, lot);
    }

    /// Tells the engine that nobody here watches a lot any more. Lost (a full inbox), it is told
    /// again when the lot's next event comes.
    fn drop_if_unwatched(&self, topics: &mut HashMap<LotId, Topic>, lot: LotId) {
        if topics.get(&lot).is_some_and(|topic| topic.members.is_empty() && topic.asked == 0) {
            topics.remove(&lot);
            self.outgoing.borrow_mut().push(Request { lot, ask: Ask::Unwatch { worker: self.worker }, reply: ReplyTo::nobody() });
            self.has_outgoing.notify_one();
        }
    }

    async fn run(self: Rc<Self>, mut inlet: Inlet) {
        while let Some(parcel) = inlet.next().await {
            self.deliver(parcel);
            while let Some(parcel) = inlet.try_next() {
                self.deliver(parcel);
            }
        }
    }

    /// In order: a join's reply comes after the events before it and before those after it.
    fn deliver(self: &Rc<Self>, parcel: Parcel) {
        let mut events: BTreeMap<LotId, Vec<Arc<Recorded>>> = BTreeMap::new();
        for item in parcel {
            match item {
                Item::Event(event) => events.entry(event.lot).or_default().push(event),
                Item::Wallet(view) => self.publish_wallet(&view),
                Item::Missed(lot) => self.missed(lot),
                Item::Reply { session, request, reply } => {
                    if let Reply::Joined(joined) = &reply {
                        let lot = joined.lot.view.id;
                        if let Some(before) = events.remove(&lot) {
                            self.publish(lot, &before);
                        }
                    }
                    self.reply(session, request, reply);
                }
            }
        }
        for (lot, events) in events {
            self.publish(lot, &events);
        }
    }

    fn reply(self: &Rc<Self>, session: u64, request: i64, reply: Reply) {
        let Some(link) = self.links.borrow().get(&(session & !(RESYNC | JOIN))).cloned() else { return };
        if session & RESYNC != 0 {
            return self.resync(&link, reply);
        }
        link.in_flight.set(link.in_flight.get().saturating_sub(1));
        if session & JOIN != 0 {
            self.join_answered(&link, request, reply);
        } else {
            super::session::answer(self, &link, request, reply);
        }
        self.replied(&link);
    }

    /// Sends a lot's events to all who watch it here.
    fn publish(&self, lot: LotId, events: &[Arc<Recorded>]) {
        let mut topics = self.topics.borrow_mut();
        topics.entry(lot).or_default();
        self.drop_if_unwatched(&mut topics, lot);
        let Some(topic) = topics.get(&lot) else { return };
        let encoded_for = |audience| {
            let names = Names::shown(topic.access, audience);
            Encoded::new(move || {
                let bodies = events.iter().filter_map(|event| EventBody::new(event, names)).collect();
                ServerMessage::Push(PushBody { lot, what: Push::Events(bodies) })
            })
        };
        let (mut public, mut house) = (encoded_for(Audience::Public), encoded_for(Audience::House));
        let differs = topic.access.aliases.is_some();
        for link in &topic.members {
            let is_house = differs && link.who.borrow().audience == Audience::House;
            let frames = if is_house { &mut house } else { &mut public };
            self.push(link, lot, frames.of(link.codec));
        }
        if topic.bidders.is_empty() {
            return;
        }
        for (bidder, own) in own_changes(events) {
            let Some(links) = topic.bidders.get(bidder) else { continue };
            let mut frames = Encoded::new(|| ServerMessage::Push(PushBody { lot, what: Push::Own(own) }));
            for link in links {
                self.push(link, lot, frames.of(link.codec));
            }
        }
    }

    fn push(&self, link: &Rc<Link>, lot: LotId, frame: &[u8]) {
        let mut lots = link.lots.borrow_mut();
        let Some(watching) = lots.get_mut(&lot).filter(|watching| **watching == Watching::Live) else { return };
        // Who has read everything gets a push however large it is.
        let waiting = link.outbox.len();
        if waiting == 0 {
            link.large.set(frame.len());
        }
        if waiting == 0 || waiting + frame.len() <= self.limits.outbound_queue_bytes {
            return link.outbox.write(|out| out.extend_from_slice(frame));
        }
        *watching = Watching::Conflated;
        drop(lots);
        metrics::counter!(CONFLATIONS).increment(1);
        self.is_behind(link);
    }

    /// Replies are never dropped. A client that asks and asks but does not read is told so at once if it goes beyond all
    /// measure, else once it has read nothing for as long as a slow reader may.
    pub(super) fn replied(&self, link: &Rc<Link>) {
        let (waiting, queue) = (link.outbox.len(), self.limits.outbound_queue_bytes);
        if waiting <= queue {
            return link.large.set(0);
        }
        if waiting > 4 * queue + link.large.get() {
            tracing::info!(session = link.key, "closed: replies are not read");
            return link.close(4001, "too slow: replies are not read");
        }
        self.is_behind(link);
    }

    pub(super) fn is_behind(&self, link: &Rc<Link>) {
        if link.behind_since.get().is_none() {
            link.behind_since.set(Some(Instant::now()));
            self.behind.borrow_mut().push(Rc::clone(link));
        }
    }

    /// The engine left events of this lot out: all who watch it here need it anew.
    fn missed(&self, lot: LotId) {
        let members = self.topics.borrow().get(&lot).map(|topic| topic.members.clone()).unwrap_or_default();
        for link in members {
            if let Some(watching) = link.lots.borrow_mut().get_mut(&lot) {
                *watching = Watching::Conflated;
            }
            self.is_behind(&link);
        }
    }

    async fn look_after_the_slow(self: Rc<Self>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            if self.behind.borrow().is_empty() {
                continue;
            }
            let behind = std::mem::take(&mut *self.behind.borrow_mut());
            let still: Vec<_> = behind.into_iter().filter(|link| self.is_still_behind(link)).collect();
            self.behind.borrow_mut().extend(still);
        }
    }

    fn is_still_behind(&self, link: &Rc<Link>) -> bool {
        if !self.links.borrow().contains_key(&link.key) {
            return false;
        }
        let has_room = link.outbox.len() <= self.limits.outbound_queue_bytes / 4;
        let mut misses_pushes = false;
        for (lot, watching) in link.lots.borrow_mut().iter_mut() {
            if *watching == Watching::Conflated && has_room {
                *watching = Watching::Resyncing;
                let bidder = link.who.borrow().bidder.clone();
                let reply = ReplyTo::session(Arc::clone(&self.outlet), link.key | RESYNC, 0);
                self.engine.submit(Request { lot: *lot, ask: Ask::Join { bidder, position: None, worker: self.worker }, reply });
            }
            misses_pushes |= matches!(watching, Watching::Conflated | Watching::Resyncing);
        }
        if has_room {
            self.catch_up_wallet(link);
        }
        misses_pushes |= link.purse.is_behind();
        let reads_on = link.taken.replace(link.outbox.taken()) != link.outbox.taken();
        if reads_on && !misses_pushes {
            link.behind_since.set(Some(Instant::now())); // its own replies alone, and it reads them
        }
        let settled = has_room && !misses_pushes;
        if settled {
            link.behind_since.set(None);
            return false;
        }
        let since = link.behind_since.get().unwrap_or_else(Instant::now);
        if self.limits.slow_reader_close.is_some_and(|after| since.elapsed() >= after) {
            tracing::info!(session = link.key, "closed: too slow");
            link.close(4001, "too slow");
            return false;
        }
        true
    }

    /// The lot as it is, in place of the pushes that were left out.
    fn resync(self: &Rc<Self>, link: &Rc<Link>, reply: Reply) {
        if let Reply::NotLive(not_live) = reply {
            let (hub, link) = (Rc::clone(self), Rc::clone(link));
            actix_rt::spawn(async move { hub.resync_archived(&link, not_live.lot).await });
            return;
        }
        let Reply::Joined(joined) = reply else {
            // Not to be had now: asked for again at the next look.
            for watching in link.lots.borrow_mut().values_mut().filter(|watching| **watching == Watching::Resyncing) {
                *watching = Watching::Conflated;
            }
            return;
        };
        let lot = joined.lot.view.id;
        let mut lots = link.lots.borrow_mut();
        let Some(watching) = lots.get_mut(&lot).filter(|watching| **watching == Watching::Resyncing) else { return };
        *watching = Watching::Live;
        drop(lots);
        let body = self.joined_body(&joined, link.who.borrow().viewer());
        link.send_large(&ServerMessage::Push(PushBody { lot, what: Push::Resync(Box::new(body)) }));
    }

    /// The lot ended and was let go while this reader was behind: it gets its last state.
    async fn resync_archived(&self, link: &Rc<Link>, lot: LotId) {
        let who = link.who.borrow().clone();
        let Ok(Some((view, own))) = self.engine.history().lot(lot, who.bidder.as_ref()).await else { return };
        self.leave(link, lot);
        let body = self.archived_body(&view, own, who.viewer(), None);
        link.send_large(&ServerMessage::Push(PushBody { lot, what: Push::Resync(Box::new(body)) }));
    }

    /// Closes every socket with 1012, spread over `window`, so that they don't all come back at once; those too that come
    /// in from now on.
    pub fn drain(self: &Rc<Self>, window: Duration) {
        self.draining.set(Some(window));
        for link in self.links.borrow().values() {
            close_within(link, window);
        }
    }
}

fn close_within(link: &Rc<Link>, window: Duration) {
    // Multiples of the golden ratio spread evenly, however many sockets there are.
    let share = (link.key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32;
    let delay = window.mul_f64(f64::from(share) / f64::from(u32::MAX));
    let link = Rc::clone(link);
    actix_rt::spawn(async move {
        tokio::time::sleep(delay).await;
        link.close(1012, "the server is going away: connect again");
    });
}

/// One message, encoded at most once for each subprotocol.
pub(super) struct Encoded<F> {
    make: F,
    frames: [Option<BytesMut>; 2],
}

impl<F: Fn() -> ServerMessage> Encoded<F> {
    pub(super) const fn new(make: F) -> Self {
        Self { make, frames: [None, None] }
    }

    pub(super) fn of(&mut self, codec: Codec) -> &[u8] {
        self.frames[usize::from(codec == Codec::Bincode)].get_or_insert_with(|| {
            let mut frame = BytesMut::new();
            codec.write(&(self.make)(), &mut frame);
            frame
        })
    }
}

/// The last standing of each bidder that these events moved.
fn own_changes(events: &[Arc<Recorded>]) -> BTreeMap<&BidderId, Own> {
    let mut changes = BTreeMap::new();
    for event in events {
        let LotEvent::BidPlaced(bid) = &event.event else { continue };
        if let Some(outbid) = &bid.outbid {
            changes.insert(&outbid.bidder, Own { leading: false, max: outbid.max });
        }
        changes.insert(&bid.bidder, Own { leading: bid.leader == bid.bidder, max: bid.max });
    }
    changes
}

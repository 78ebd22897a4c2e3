//! A shard on its arbiter: the one writer of a journal, and the home of its lots' actors.

use super::{
    admission::Admitted,
    lot::{Begin, LotActor, Mail, Retire, Stop},
    outputs::{Output, release},
    rebuild::Rebuilds,
    wallets::Wallets,
};
use crate::{
    clock::Clock,
    commit::recovery::Recovered,
    delivery::{Outlets, WorkerId},
    limits,
    meters::Meters,
    ports::{
        Storage,
        format::{Mark, Sealed},
        snapshots::EntityKey,
    },
    projection::backlog::{Backlog, Committed},
    request::{Ask, KeyRequest, LotAnswer, NotLive, Reply, Request},
    routing::{
        directory::Directory,
        engine::{ShardStatus, Tuning},
        post::Post,
    },
};
use actix::{Actor, Addr};
use gavel_domain::{
    act::{Act, Deed},
    event::{LotEvent, Recorded},
    ids::{BidderId, Epoch, LotId, Seq, ShardId},
    lot::{Lot, access::AccessRules, spec::LotSpec, view::LotView},
    reject::{Conflict, Reject},
    shard::{
        batch::{BatchId, Entry},
        keys::{KeyUse, Keys, Known},
        staging::Staging,
    },
    time::Timestamp,
};
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, HashMap},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};
use tokio::sync::{Notify, oneshot, watch};

/// What the shards of a node share.
pub(crate) struct Node {
    pub(crate) clock: Clock,
    pub(crate) storage: Storage,
    pub(crate) outlets: Outlets,
    pub(crate) directory: Directory,
    pub(crate) post: Post,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) meters: Meters,
    pub(crate) tuning: Tuning,
    /// A shard was found taken over by another server: the others look whether they are too.
    pub(crate) superseded: AtomicBool,
}

/// Whether a shard takes requests.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Serving,
    Recovering,
    /// For good; with the reason.
    Closed(String),
}

/// A live lot.
pub(super) struct Slot {
    pub(super) actor: Addr<LotActor>,
    /// The batch of its last event that was not a bid: the last of all once it is over.
    last_batch: BatchId,
    /// Since when it is over.
    over_since: Option<Instant>,
    pub(super) rebuilds: Rebuilds,
}

/// One shard. Everything in it belongs to one thread; nothing is held across an await.
pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) node: Arc<Node>,
    state: RefCell<State>,
    status: watch::Sender<ShardStatus>,
    epoch: Cell<Epoch>,
    latest: Cell<Timestamp>,
    head: Cell<Mark>,
    staging: RefCell<Staging<Output>>,
    keys: RefCell<Keys>,
    slots: RefCell<HashMap<LotId, Slot>>,
    /// Workers (bits) that watch a lot. Kept apart from the actors: they outlive a rebuild.
    watchers: RefCell<HashMap<LotId, u64>>,
    pub(crate) unsaved: RefCell<Unsaved>,
    /// Something was staged.
    pub(crate) staged: Notify,
    /// What is stored may not be what it should.
    doubted: Cell<bool>,
    pub(super) wallets: Wallets,
    /// Held by a checkpoint or a recovery: neither changes what is stored while the other reads it.
    pub(crate) upkeep: tokio::sync::Mutex<()>,
}

/// What the snapshots don't include yet.
#[derive(Default)]
pub(crate) struct Unsaved {
    pub(crate) lots: BTreeSet<LotId>,
    pub(crate) wallets: BTreeSet<BidderId>,
    pub(crate) keys: bool,
    /// What does not live any more.
    pub(crate) gone: BTreeSet<EntityKey>,
    /// What is saved is of no use: it must be replaced, soon.
    pub(crate) useless: bool,
    /// Journal bytes since the marker.
    pub(crate) bytes: usize,
    pub(crate) since: Option<Instant>,
    pub(crate) marker: Option<Mark>,
    /// Bytes of the last save.
    pub(crate) last_save: usize,
}

impl Shard {
    pub(crate) fn new(id: ShardId, node: Arc<Node>) -> Rc<Self> {
        Rc::new(Self {
            id,
            node,
            state: RefCell::new(State::Recovering),
            status: watch::Sender::new(ShardStatus { shard: id, epoch: Epoch::default(), trouble: None }),
            epoch: Cell::default(),
            latest: Cell::default(),
            head: Cell::default(),
            staging: RefCell::default(),
            keys: RefCell::default(),
            slots: RefCell::default(),
            watchers: RefCell::default(),
            unsaved: RefCell::default(),
            staged: Notify::new(),
            doubted: Cell::default(),
            wallets: Wallets::default(),
            upkeep: tokio::sync::Mutex::default(),
        })
    }

    /// The time for a request admitted now: never before anything that happened in this shard.
    pub(crate) fn now(&self) -> Timestamp {
        self.node.clock.now().max(self.latest.get())
    }

    pub(crate) const fn epoch(&self) -> &Cell<Epoch> {
        &self.epoch
    }

    pub(crate) const fn head(&self) -> &Cell<Mark> {
        &self.head
    }

    pub(crate) const fn keys(&self) -> &RefCell<Keys> {
        &self.keys
    }

    /// How it is, for those on other threads.
    pub(crate) fn status(&self) -> watch::Receiver<ShardStatus> {
        self.status.subscribe()
    }

    fn set_state(&self, state: State) {
        let trouble = match &state {
            State::Serving => None,
            State::Recovering => Some("being recovered after a failed append".to_owned()),
            State::Closed(reason) => Some(reason.clone()),
        };
        *self.state.borrow_mut() = state;
        self.status.send_replace(ShardStatus { shard: self.id, epoch: self.epoch.get(), trouble });
    }

    pub(crate) fn is_serving(&self) -> bool {
        *self.state.borrow() == State::Serving
    }

    /// Whether this is still the shard that served under an epoch: what an actor or a task of an
    /// older one knows may never have happened.
    pub(crate) fn serves_in(&self, epoch: Epoch) -> bool {
        self.is_serving() && self.epoch.get() == epoch
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(*self.state.borrow(), State::Closed(_))
    }

    /// Closes it for good, whatever it was doing. Who waits is answered `unavailable`.
    pub(crate) fn close(&self, reason: String) {
        if self.is_closed() {
            return; // the first reason is the cause
        }
        tracing::error!(shard = %self.id, %reason, "shard closed: its lots are unavailable");
        self.set_state(State::Closed(reason));
        drop(self.abandon());
        self.staged.notify_one(); // the committer notices
    }

    /// Hands a request to its lot's actor, or answers it where there is none.
    pub(crate) fn admit(self: &Rc<Self>, admitted: Admitted) {
        if !self.is_serving() {
            return; // dropping it answers `unavailable`
        }
        let lot = admitted.request.lot;
        if self.is_full() && !matches!(admitted.request.ask, Ask::Unwatch { .. }) {
            return admitted.request.reply.send(Reply::Overloaded);
        }
        match &admitted.request.ask {
            Ask::Bid { .. } if self.journal_is_full() => return admitted.request.reply.send(Reply::Overloaded),
            Ask::Create { .. } => return self.create(admitted),
            Ask::Unwatch { worker } => return self.unwatch(lot, *worker),
            Ask::Join { worker, .. } => self.watch(lot, *worker),
            _ => {}
        }
        match self.lot_actor(lot) {
            Some(actor) => actor.do_send(Mail::Request(admitted)),
            None => {
                self.watchers.borrow_mut().remove(&lot);
                let Request { ask, reply, .. } = admitted.request;
                let answer = Reply::NotLive(Box::new(NotLive { lot, ask }));
                self.withhold(Output::Reply { to: reply, reply: answer, admitted: None });
            }
        }
    }

    /// The actor of a lot; a new one in the place of one that died of a panic outside of the rules.
    pub(super) fn lot_actor(self: &Rc<Self>, lot: LotId) -> Option<Addr<LotActor>> {
        let actor = self.slots.borrow().get(&lot).map(|slot| slot.actor.clone())?;
        Some(if actor.connected() { actor } else { self.replace(lot) })
    }

    /// Starts an actor in the place of one that died.
    fn replace(self: &Rc<Self>, lot: LotId) -> Addr<LotActor> {
        let actor = LotActor::new(Rc::clone(self), lot, Begin::Rebuilding).start();
        self.with_slot(lot, |slot| slot.actor = actor.clone());
        self.rebuild_lot(lot, actor.clone());
        actor
    }

    /// Replaces the actors that died of a panic outside of the rules: their timers died with them.
    pub(crate) fn replace_dead(self: &Rc<Self>) {
        let dead: Vec<LotId> = self.slots.borrow().iter().filter(|(_, slot)| !slot.actor.connected()).map(|(lot, _)| *lot).collect();
        for lot in dead {
            tracing::error!(shard = %self.id, %lot, "a lot's actor died: the lot is rebuilt");
            self.replace(lot);
        }
        self.replace_dead_wallets();
    }

    /// Too much waits for the journal already.
    pub(super) fn is_full(&self) -> bool {
        let staging = self.staging.borrow();
        staging.pending() >= limits::STAGED_ENTRIES || staging.withheld() >= limits::STAGED_OUTPUTS
    }

    pub(super) fn journal_is_full(&self) -> bool {
        self.node.storage.journal.kept_bytes() > self.node.tuning.journal_max_bytes
    }

    fn create(self: &Rc<Self>, admitted: Admitted) {
        let Admitted { request, at, .. } = admitted;
        let Ask::Create { spec, access, by, key, archived } = request.ask else { return };
        let reply = match self.known_key(key.as_ref(), at) {
            Some(reply) => reply,
            None if archived || self.slots.borrow().contains_key(&request.lot) => Reply::Refused(Reject::Conflict(Conflict::LotExists)),
            None => self.create_new(request.lot, NewLot { spec: *spec, access, by, key }, at),
        };
        self.withhold(Output::Reply { to: request.reply, reply, admitted: None });
    }

    fn create_new(self: &Rc<Self>, id: LotId, new: NewLot, at: Timestamp) -> Reply {
        let NewLot { spec, access, by, key } = new;
        let epoch = self.epoch.get();
        let title = Arc::clone(&spec.title);
        // Nothing is staged before the rules are through.
        let Ok(Some((lot, events))) = catch_unwind(AssertUnwindSafe(|| make(id, spec, access, epoch, at))) else {
            tracing::error!(shard = %self.id, lot = %id, "the rules can't make the lot");
            return Reply::Internal;
        };
        self.begin();
        for recorded in &events {
            self.stage_event(recorded);
        }
        if let (Some(by), Some(created)) = (by, events.first()) {
            self.stage_act(by, created, Deed::Create { title });
        }
        let view = lot.view();
        self.use_key(key, at, &view);
        self.node.directory.insert(id, at);
        self.start(lot, BatchId::default());
        Reply::Lot(Box::new(LotAnswer { view, own: None }))
    }

    /// Starts a lot's actor. `known_in`: a batch by which all that happened to it was in the journal.
    fn start(self: &Rc<Self>, lot: Lot, known_in: BatchId) {
        let id = lot.id();
        let over_since = lot.status().is_over().then(Instant::now);
        let actor = LotActor::new(Rc::clone(self), id, Begin::With(Box::new(lot))).start();
        let slot = Slot { actor, last_batch: known_in, over_since, rebuilds: Rebuilds::default() };
        self.slots.borrow_mut().insert(id, slot);
    }

    pub(super) fn with_slot<T>(&self, lot: LotId, then: impl FnOnce(&mut Slot) -> T) -> Option<T> {
        self.slots.borrow_mut().get_mut(&lot).map(then)
    }

    pub(super) fn with_uncommitted<T>(&self, then: impl FnOnce(&mut dyn Iterator<Item = &Entry>) -> T) -> T {
        then(&mut self.staging.borrow().uncommitted())
    }

    /// The journal may not be what it should: the committer recovers the shard, which looks.
    pub(crate) fn doubt(&self) {
        self.doubted.set(true);
        self.staged.notify_one();
    }

    /// Whether there was doubt since the last time this was asked.
    pub(crate) fn take_doubt(&self) -> bool {
        self.doubted.take()
    }

    /// Takes up recovered state: from now on this shard serves.
    pub(crate) fn serve(self: &Rc<Self>, recovered: Recovered) {
        let Recovered { entities, opened, cursor, tail, end, marker, replayed_bytes, useless } = recovered;
        self.epoch.set(opened.id.epoch);
        self.head.set(opened.mark());
        self.latest.set(entities.latest);
        self.node.clock.not_before(entities.latest);
        *self.staging.borrow_mut() = Staging::default();
        *self.keys.borrow_mut() = entities.keys;
        let (lots, wallets) = (entities.lots.keys().copied().collect(), entities.wallets.keys().cloned().collect());
        *self.unsaved.borrow_mut() = if replayed_bytes == 0 && useless.is_none() {
            Unsaved { marker, ..Unsaved::default() }
        } else {
            let (useless, gone) = (useless.is_some(), useless.unwrap_or_default().into_iter().collect());
            let since = Some(Instant::now());
            Unsaved { lots, wallets, keys: true, gone, useless, bytes: replayed_bytes, since, marker, last_save: 0 }
        };
        self.node.backlog.reset(self.id, cursor, opened.mark(), tail);
        self.doubted.set(false);
        for (id, lot) in entities.lots {
            self.node.directory.insert(id, lot.created_at());
            self.start(lot, end);
        }
        self.serve_wallets(entities.wallets);
        self.set_state(State::Serving);
    }

    /// An append failed: everything that is not known to be durable is given up, with its actors.
    /// Whoever waited for it is answered `unavailable`.
    pub(crate) fn give_up(&self) -> (Vec<Output>, Vec<Output>) {
        self.set_state(State::Recovering);
        self.abandon()
    }

    /// Lets actors and all that is staged go; only after the shard has stopped to serve.
    fn abandon(&self) -> (Vec<Output>, Vec<Output>) {
        let slots = std::mem::take(&mut *self.slots.borrow_mut());
        for (lot, slot) in slots {
            slot.actor.do_send(Stop);
            self.node.directory.remove(lot);
        }
        self.abandon_wallets();
        self.staging.borrow_mut().abandon()
    }

    /// Tells every worker that the lots it watches here must be asked for anew.
    pub(crate) fn resync_watchers(&self) {
        for (lot, workers) in self.watchers.borrow().iter() {
            for worker in (0_u8..64).filter(|worker| workers & (1 << worker) != 0) {
                if let Some(outlet) = self.node.outlets.to(WorkerId(worker)) {
                    outlet.send(vec![crate::delivery::Item::Missed(*lot)]);
                }
            }
        }
    }

    /// Stages a lot's event, and its delivery to who watches.
    pub(crate) fn stage_event(&self, recorded: &Arc<Recorded>) {
        self.stage_at(recorded.at, Entry::Lot(Arc::clone(recorded)));
        let workers = self.watchers.borrow().get(&recorded.lot).copied().unwrap_or(0);
        if workers != 0 {
            self.withhold(Output::Event { event: Arc::clone(recorded), workers });
        }
    }

    /// Stages who did what, after the events that came of it; the first of them is `effect`.
    pub(super) fn stage_act(&self, by: Arc<str>, effect: &Recorded, deed: Deed) {
        let Recorded { lot, epoch, seq, at, .. } = *effect;
        self.stage(Entry::Act(Arc::new(Act { by, at, lot, epoch, seq, deed })));
    }

    pub(super) fn stage_at(&self, at: Timestamp, entry: Entry) {
        self.latest.set(self.latest.get().max(at));
        self.stage(entry);
    }

    /// A request, or a deadline, begins: what it stages stays together.
    pub(crate) fn begin(&self) {
        self.staging.borrow_mut().begin(limits::BATCH_ENTRIES);
    }

    fn stage(&self, entry: Entry) {
        if !self.is_serving() {
            return; // nothing of an abandoned state happens
        }
        self.staging.borrow_mut().stage(entry);
        self.staged.notify_one();
    }

    /// Lets an output leave once all it may depend on is durable. Nothing leaves a shard that does
    /// not serve: dropped, a reply answers `unavailable`.
    pub(crate) fn withhold(&self, output: Output) {
        if !self.is_serving() {
            return;
        }
        let free = self.staging.borrow_mut().withhold(output);
        if let Some(output) = free {
            release([output], &self.node);
        }
    }

    /// Resolves once all that is staged now is durable; fails if it never will be.
    pub(crate) fn barrier(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.withhold(Output::Barrier(sender));
        receiver
    }

    /// Seals the next batch, if one may fly.
    pub(crate) fn take_batch(&self) -> Option<Arc<Sealed>> {
        let mut staging = self.staging.borrow_mut();
        let entries = staging.take()?;
        let head = self.head.get();
        Some(Arc::new(self.node.storage.format.seal(self.id, head.id.next(), head.hash, entries)))
    }

    /// A batch is durable: the projector gets it, then its outputs leave (who has a receipt finds
    /// the bid in the history).
    pub(crate) fn committed(&self, sealed: Arc<Sealed>) {
        if !self.is_serving() {
            return; // closed while it was in flight: the outputs are gone
        }
        self.head.set(sealed.mark());
        let (entries, outputs) = self.staging.borrow_mut().committed();
        #[expect(clippy::cast_precision_loss, reason = "a histogram of batch sizes")]
        self.node.meters.batch_events.record(entries.len() as f64);
        self.note(&entries, sealed.id, sealed.bytes.len());
        self.node.backlog.push(self.id, Committed { sealed, entries, at: Instant::now() });
        release(outputs, &self.node);
    }

    /// Keeps the books on what was committed.
    fn note(&self, entries: &[Entry], batch: BatchId, bytes: usize) {
        let mut unsaved = self.unsaved.borrow_mut();
        let mut slots = self.slots.borrow_mut();
        unsaved.bytes += bytes;
        unsaved.since.get_or_insert_with(Instant::now);
        let mut last = None;
        for entry in entries {
            match entry {
                Entry::Lot(recorded) => {
                    if last != Some(recorded.lot) {
                        unsaved.lots.insert(recorded.lot);
                        last = Some(recorded.lot);
                    }
                    if matches!(recorded.event, LotEvent::BidPlaced(_)) {
                        continue;
                    }
                    if let Some(slot) = slots.get_mut(&recorded.lot) {
                        slot.last_batch = batch;
                        if matches!(recorded.event, LotEvent::Closed(_) | LotEvent::Cancelled { .. }) {
                            slot.over_since = Some(Instant::now());
                        }
                    }
                }
                Entry::Wallet(recorded) => {
                    if !unsaved.wallets.contains(&recorded.bidder) {
                        unsaved.wallets.insert(recorded.bidder.clone());
                    }
                }
                Entry::Key(_) => unsaved.keys = true,
                Entry::EpochOpened { .. } | Entry::Act(_) => {}
            }
        }
    }

    /// The answer that an idempotency key demands, if it was used.
    pub(crate) fn known_key(&self, key: Option<&KeyRequest>, now: Timestamp) -> Option<Reply> {
        let key = key?;
        match self.keys.borrow().look_up(&key.scope, &key.body, now) {
            Known::No => None,
            Known::Answered(used) => Some(Reply::Lot(Box::new(LotAnswer { view: used.answer.clone(), own: None }))),
            Known::OtherBody => Some(Reply::KeyReused),
        }
    }

    /// Journals a key with the answer, in the batch of what it did.
    pub(crate) fn use_key(&self, key: Option<KeyRequest>, at: Timestamp, answer: &LotView) {
        let Some(KeyRequest { scope, body }) = key else { return };
        let used = Arc::new(KeyUse { scope, body, at, answer: answer.clone() });
        self.keys.borrow_mut().apply(&used);
        self.stage(Entry::Key(used));
    }

    fn watch(&self, lot: LotId, worker: WorkerId) {
        *self.watchers.borrow_mut().entry(lot).or_default() |= worker.bit();
    }

    fn unwatch(&self, lot: LotId, worker: WorkerId) {
        let mut watchers = self.watchers.borrow_mut();
        if let Some(workers) = watchers.get_mut(&lot) {
            *workers &= !worker.bit();
            if *workers == 0 {
                watchers.remove(&lot);
            }
        }
    }

    /// The actors of these lots (of those that live).
    pub(crate) fn actors(&self, lots: impl IntoIterator<Item = LotId>) -> Vec<(LotId, Addr<LotActor>)> {
        let slots = self.slots.borrow();
        lots.into_iter().filter_map(|lot| slots.get(&lot).map(|slot| (lot, slot.actor.clone()))).collect()
    }

    /// Asks lots that are over to go, once the tables and a snapshot hold all of them.
    pub(crate) fn evict(&self, held: BatchId) {
        let Some(after) = self.node.tuning.evict_after else { return };
        for slot in self.slots.borrow().values() {
            if slot.over_since.is_some_and(|since| since.elapsed() >= after) && slot.last_batch <= held {
                slot.actor.do_send(Retire { held });
            }
        }
    }

    /// Lets a lot go that has handled all that was asked of it, unless something of it is still on
    /// its way into journal, tables or snapshots.
    pub(crate) fn retire(&self, lot: LotId, held: BatchId) -> bool {
        let staged = self.staging.borrow().uncommitted().any(|entry| matches!(entry, Entry::Lot(recorded) if recorded.lot == lot));
        let unsaved = self.unsaved.borrow().lots.contains(&lot);
        let mut slots = self.slots.borrow_mut();
        if staged || unsaved || slots.get(&lot).is_none_or(|slot| slot.last_batch > held) {
            return false;
        }
        slots.remove(&lot);
        self.node.directory.remove(lot);
        self.watchers.borrow_mut().remove(&lot);
        self.unsaved.borrow_mut().gone.insert(EntityKey::Lot(lot));
        true
    }
}

/// What makes a new lot.
struct NewLot {
    spec: LotSpec,
    access: AccessRules,
    by: Option<Arc<str>>,
    key: Option<KeyRequest>,
}

/// A new lot and the events that made it.
fn make(id: LotId, spec: LotSpec, access: AccessRules, epoch: Epoch, at: Timestamp) -> Option<(Lot, Vec<Arc<Recorded>>)> {
    let mut events = Lot::creation(spec, access, at).into_iter();
    let created = Arc::new(Recorded { lot: id, epoch, seq: Seq(0), at, event: events.next()? });
    let mut lot = Lot::from_creation(&created)?;
    let mut recorded = vec![created];
    recorded.extend(lot.advance(epoch, at, events));
    Some((lot, recorded))
}

//! One owner of the shard: the pure core with the thinnest driver, as the engine has it.

use crate::store::{Digest, Mismatch, Sealed, Snapshot, Store};
use gavel_domain::{
    act::{Act, Deed},
    command::{Command, PlaceBid},
    event::Recorded,
    ids::{Epoch, LotId, Position, Seq},
    lot::{Decision, Lot, spec::LotSpec, view::LotView},
    receipt::Receipt,
    reject::Reject,
    shard::{
        batch::{BatchId, Entry},
        entities::Entities,
        keys::{KeyUse, Known},
        staging::Staging,
    },
    time::Timestamp,
};
use std::sync::Arc;

/// An answer that waits until it may leave.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// Which request of which client.
    pub(crate) request: usize,
    pub(crate) reply: Reply,
    /// What it was computed from: the lot as it stood, committed or not.
    pub(crate) seen: (LotId, Position),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Receipt(Receipt),
    Refused(Reject),
    Lot(Box<LotView>),
    /// Nothing is known: ask again.
    Unavailable,
}

#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Bid(PlaceBid),
    /// With an idempotency key.
    Keyed(Command, Arc<str>),
    Create(Box<LotSpec>, Arc<str>),
    View,
}

pub(crate) struct Owner {
    epoch: Epoch,
    pub(crate) live: Entities,
    pub(crate) staging: Staging<Output>,
    pub(crate) in_flight: Option<Sealed>,
    next: BatchId,
    end: Digest,
}

impl Owner {
    /// Rereads the journal and opens an epoch in it; fails where somebody wrote in between.
    pub(crate) fn recover(
        store: &mut Store,
        snapshot: Option<&Snapshot>,
        wall: i64,
        between: impl FnOnce(&mut Store),
    ) -> Result<Self, Mismatch> {
        let (mut live, end) = (store.recover(snapshot), store.end());
        let epoch = Epoch((store.last_epoch().0 + 1).max(u64::try_from(wall / 1000).unwrap_or(0)));
        let id = BatchId { epoch, number: 0 };
        let opened =
            Entry::EpochOpened { owner: gavel_domain::ids::OwnerId(uuid::Uuid::nil()), at: live.latest.max(Timestamp::from_millis(wall)) };
        let sealed = Sealed::new(end, id, vec![opened.clone()]);
        between(store);
        store.append(&sealed)?;
        live.apply(&opened).expect("no lot is in it");
        Ok(Self { epoch, live, staging: Staging::default(), in_flight: None, next: id.next(), end: sealed.digest() })
    }

    /// Judges a request; gives back what may leave at once.
    pub(crate) fn handle(&mut self, request: usize, lot: LotId, ask: &Ask, wall: i64) -> Option<Output> {
        let now = self.live.latest.max(Timestamp::from_millis(wall));
        self.tick(now);
        let reply = match ask {
            Ask::Bid(bid) => self.bid(lot, bid, now),
            Ask::Keyed(command, scope) => self.keyed(lot, scope, now, |owner| owner.command(lot, command, now)),
            Ask::Create(spec, scope) => self.keyed(lot, scope, now, |owner| owner.create(lot, spec, now)),
            Ask::View => self.live.lots.get(&lot).map_or(Reply::Unavailable, |lot| Reply::Lot(Box::new(lot.view()))),
        };
        let seen = (lot, self.live.lots.get(&lot).map(Lot::position).unwrap_or_default());
        self.staging.withhold(Output { request, reply, seen })
    }

    pub(crate) fn tick(&mut self, now: Timestamp) {
        let lots: Vec<_> = self.live.lots.keys().copied().collect();
        for lot in lots {
            while self.live.lots[&lot].deadline().is_some_and(|deadline| deadline <= now) {
                self.happen(lot, &Command::Tick, now).expect("a tick is never refused");
            }
        }
    }

    fn bid(&mut self, lot: LotId, bid: &PlaceBid, now: Timestamp) -> Reply {
        if !self.live.lots.contains_key(&lot) {
            return Reply::Unavailable;
        }
        match self.happen(lot, &Command::Bid(bid.clone()), now) {
            Ok((Some(receipt), _)) => Reply::Receipt(receipt),
            Ok((None, recorded)) => Reply::Receipt(recorded[0].receipt().expect("a bid's first event is the bid")),
            Err(reject) => Reply::Refused(reject),
        }
    }

    /// The first answer again, or the effect and its key in one batch.
    fn keyed(&mut self, lot: LotId, scope: &Arc<str>, now: Timestamp, effect: impl FnOnce(&mut Self) -> Result<(), Reject>) -> Reply {
        let body = [1; 32];
        match self.live.keys.look_up(scope, &body, now) {
            Known::Answered(used) => return Reply::Lot(Box::new(used.answer.clone())),
            Known::OtherBody => unreachable!("a scope always has the same body here"),
            Known::No => {}
        }
        if let Err(reject) = effect(self) {
            return Reply::Refused(reject);
        }
        let answer = self.live.lots[&lot].view();
        let used = Arc::new(KeyUse { scope: Arc::clone(scope), body, at: now, answer: answer.clone() });
        self.live.keys.apply(&used);
        self.live.latest = self.live.latest.max(now);
        self.staging.stage(Entry::Key(used));
        Reply::Lot(Box::new(answer))
    }

    fn command(&mut self, lot: LotId, command: &Command, now: Timestamp) -> Result<(), Reject> {
        if !self.live.lots.contains_key(&lot) {
            return Err(Reject::LotNotOpen);
        }
        let (_, recorded) = self.happen(lot, command, now)?;
        if let Some(effect) = recorded.first() {
            let deed = Deed::of(command, &effect.event).expect("somebody's command");
            self.stage_act(effect, deed);
        }
        Ok(())
    }

    fn create(&mut self, id: LotId, spec: &LotSpec, now: Timestamp) -> Result<(), Reject> {
        if self.live.lots.contains_key(&id) {
            return Err(Reject::Conflict(gavel_domain::reject::Conflict::LotExists));
        }
        let mut events = Lot::creation(spec.clone(), Default::default(), now).into_iter();
        let created = events.next().expect("a creation");
        let created = Arc::new(Recorded { lot: id, epoch: self.epoch, seq: Seq(1), at: now, event: created });
        let effect = Arc::clone(&created);
        let mut lot = Lot::from_creation(&created).expect("a creation");
        let rest = lot.advance(self.epoch, now, events);
        self.live.lots.insert(id, lot);
        [created].into_iter().chain(rest).for_each(|recorded| self.stage(recorded));
        self.stage_act(&effect, Deed::Create { title: Arc::clone(&spec.title) });
        Ok(())
    }

    fn happen(&mut self, lot: LotId, command: &Command, now: Timestamp) -> Result<(Option<Receipt>, Vec<Arc<Recorded>>), Reject> {
        let known = self.live.lots.get_mut(&lot).expect("looked up before");
        let (at, events) = match known.decide(command, now)? {
            Decision::Already(receipt) => return Ok((Some(*receipt), vec![])),
            Decision::Events { at, events } => (at, events),
        };
        let recorded: Vec<_> = known.advance(self.epoch, at, events).into_iter().collect();
        recorded.iter().for_each(|recorded| self.stage(Arc::clone(recorded)));
        Ok((None, recorded))
    }

    fn stage_act(&mut self, effect: &Recorded, deed: Deed) {
        let Recorded { lot, epoch, seq, at, .. } = *effect;
        self.staging.stage(Entry::Act(Arc::new(Act { by: "house".into(), at, lot, epoch, seq, deed })));
    }

    fn stage(&mut self, recorded: Arc<Recorded>) {
        self.live.latest = self.live.latest.max(recorded.at);
        self.staging.stage(Entry::Lot(recorded));
    }

    /// The journal's state below what is staged here; none once somebody else has written.
    pub(crate) fn durable_base(&self, store: &Store) -> Option<Entities> {
        let below = self.in_flight.as_ref().map_or(self.end, |sealed| sealed.previous);
        store.state_at(below)
    }

    /// Starts the next append, if there is something to append and none is under way.
    pub(crate) fn fly(&mut self) {
        let Some(entries) = self.staging.take() else { return };
        let sealed = Sealed::new(self.end, self.next, entries.to_vec());
        self.next = self.next.next();
        self.end = sealed.digest();
        self.in_flight = Some(sealed);
    }

    /// The append has succeeded: what may leave now.
    pub(crate) fn committed(&mut self) -> Vec<Output> {
        let sealed = self.in_flight.take().expect("an append was under way");
        let (entries, outputs) = self.staging.committed();
        assert_eq!(entries, sealed.batch.entries, "the batch that was staged is the one that was appended");
        outputs
    }

    /// After a panic in one lot: the state from the journal, and its own staged events over it.
    pub(crate) fn rebuild(&self, durable: &Entities, lot: LotId) -> Option<Lot> {
        let mut one = Entities {
            lots: durable.lots.iter().filter(|(id, _)| **id == lot).map(|(id, lot)| (*id, lot.clone())).collect(),
            ..Entities::default()
        };
        for entry in self.staging.uncommitted().filter(|entry| matches!(entry, Entry::Lot(recorded) if recorded.lot == lot)) {
            one.apply(entry).expect("staged events continue the journal");
        }
        one.lots.remove(&lot)
    }
}

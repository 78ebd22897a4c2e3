//! The auditor: reads the whole journal and holds it against what clients were told. Knows events
//! only, none of the rules' code.

use crate::store::{Store, ends};
use gavel_domain::{
    command::PlaceBid,
    event::{LotEvent, Recorded},
    ids::{BidId, BidderId, LotId},
    lot::view::LotView,
    money::Amount,
    receipt::Receipt,
    shard::{batch::Entry, keys::KEPT},
    time::Timestamp,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

type Name = (LotId, BidderId, BidId);

/// Checks the journal by itself, then every receipt and every answer to a keyed request.
pub(crate) fn check_journal<'a>(
    store: &Store,
    receipts: impl Iterator<Item = (&'a PlaceBid, &'a Receipt)>,
    keyed: impl Iterator<Item = (&'a str, &'a LotView)>,
) {
    batches_follow_each_other(store);
    let bids = lots_make_sense(store);
    for (bid, receipt) in receipts {
        let journaled = bids.get(&(receipt.lot, bid.bidder.clone(), bid.bid_id));
        assert_eq!(journaled, Some(receipt), "a receipt is in the journal as it was given");
        assert_eq!((bid.amount, bid.limit()), (receipt.amount, receipt.max), "a receipt is for the bid that was sent");
    }
    acts_are_there_once(store);
    let answers = keys_take_effect_once(store);
    for (scope, answer) in keyed {
        assert!(answers.get(scope).is_some_and(|known| known.contains(&answer)), "the answer to {scope} is in the journal");
    }
}

fn batches_follow_each_other(store: &Store) {
    let ids: Vec<_> = store.ids().collect();
    for pair in ids.windows(2) {
        let opens = pair[1].epoch > pair[0].epoch && pair[1].number == 0;
        assert!(opens || pair[1] == pair[0].next(), "{} follows {}", pair[1], pair[0]);
    }
}

/// A lot as far as the auditor has read.
#[derive(Default)]
struct Read {
    seq: u64,
    epoch: u64,
    at: Timestamp,
    open: bool,
    over: bool,
    price: Option<Amount>,
    closes_at: Option<Timestamp>,
}

/// Gives back every accepted bid, each of which is there once.
fn lots_make_sense(store: &Store) -> BTreeMap<Name, Receipt> {
    let (mut lots, mut bids) = (BTreeMap::<LotId, Read>::new(), BTreeMap::new());
    for recorded in store.events() {
        let lot = lots.entry(recorded.lot).or_default();
        assert_eq!(recorded.seq.0, lot.seq + 1, "no gap in {:?}", recorded.lot);
        assert!(recorded.epoch.0 >= lot.epoch && recorded.at >= lot.at, "epochs and time go on: {recorded:?}");
        assert!(!lot.over, "after the end: {recorded:?}");
        (lot.seq, lot.epoch, lot.at) = (recorded.seq.0, recorded.epoch.0, recorded.at);
        lot.read(recorded);
        if let (LotEvent::BidPlaced(bid), Some(receipt)) = (&recorded.event, recorded.receipt()) {
            let twice = bids.insert((recorded.lot, bid.bidder.clone(), bid.bid_id), receipt);
            assert_eq!(twice, None, "one bid_id, two bids");
        }
    }
    bids
}

impl Read {
    fn read(&mut self, recorded: &Arc<Recorded>) {
        self.over = ends(&recorded.event);
        match &recorded.event {
            LotEvent::Opened { closes_at } | LotEvent::Resumed { closes_at } => (self.open, self.closes_at) = (true, *closes_at),
            LotEvent::Paused { .. } => self.open = false,
            LotEvent::Extended { closes_at, .. } => {
                assert!(self.closes_at.is_some_and(|before| before < *closes_at) || !self.open, "an extension goes forward");
                self.closes_at = Some(*closes_at);
            }
            LotEvent::BidPlaced(bid) => {
                assert!(self.open, "a bid on a lot that is not open: {recorded:?}");
                assert_eq!(bid.deadline, self.closes_at, "the deadline used is in the event");
                assert!(bid.deadline.is_none_or(|deadline| recorded.at < deadline), "a bid after the close: {recorded:?}");
                assert!(self.price.is_none_or(|price| price <= bid.price), "the price fell: {recorded:?}");
                self.price = Some(bid.price);
            }
            _ => {}
        }
    }
}

/// Whatever somebody did (here always under a key) has its act, between its events and its key; and no act
/// is there without.
fn acts_are_there_once(store: &Store) {
    let (mut events, mut acts) = (BTreeSet::new(), BTreeSet::new());
    let mut last: Option<&Entry> = None;
    for entry in store.entries(0) {
        match entry {
            Entry::Lot(recorded) => _ = events.insert((recorded.lot, recorded.seq, recorded.at)),
            Entry::Act(act) => {
                assert!(events.contains(&(act.lot, act.seq, act.at)), "an act without its effect: {act:?}");
                assert!(acts.insert((act.lot, act.seq)), "twice: {act:?}");
            }
            Entry::Key(used) => assert!(matches!(last, Some(Entry::Act(_))), "{} took effect, and nobody did it", used.scope),
            _ => {}
        }
        let is_key = matches!(entry, Entry::Key(_));
        assert_eq!(matches!(last, Some(Entry::Act(_))), is_key, "an act and its key are together");
        last = Some(entry);
    }
}

fn keys_take_effect_once(store: &Store) -> BTreeMap<&str, Vec<&LotView>> {
    let (mut last, mut answers) = (BTreeMap::<&str, Timestamp>::new(), BTreeMap::<&str, Vec<&LotView>>::new());
    for entry in store.entries(0) {
        let Entry::Key(used) = entry else { continue };
        if let Some(before) = last.insert(&used.scope, used.at) {
            assert!(used.at.since(before) >= KEPT, "{} took effect twice within a day", used.scope);
        }
        answers.entry(&used.scope).or_default().push(&used.answer);
    }
    answers
}

/// How many keys took effect again, more than a day later.
pub(crate) fn keys_used_again(store: &Store) -> usize {
    keys_take_effect_once(store).values().filter(|answers| answers.len() > 1).count()
}

//! What every backend of the ports must do, written once.
//!
//! A backend implements [`Backend`] and writes `conformance!(ItsName);` in a test file of its own;
//! each rule then runs as a test of its own against it (`conformance!(ItsName, ports: journal);` for
//! a backend of some ports). What only one backend does is tested
//! beside it, not here.

pub mod audit;
pub mod journal;
pub mod snapshots;
pub mod tables;

use gavel_domain::{
    currency::Currency,
    event::{BidPlaced, LotEvent, Recorded},
    ids::{BidId, BidderId, Epoch, LotId, Seq, ShardId},
    lot::{
        increments::{Increment, Increments},
        spec::{English, Funding, LotSpec, Rules},
        view::LotView,
    },
    money::Amount,
    shard::batch::{BatchId, Entry},
    time::Timestamp,
};
use gavel_engine::ports::{
    Storage,
    format::{Digest, Mark, Sealed},
};
use std::sync::Arc;

/// A backend under test.
pub trait Backend: Sized {
    /// With storage that holds nothing, for 64 shards.
    fn fresh() -> impl Future<Output = Self>;
    /// Its ports.
    fn ports(&self) -> Storage;
    /// The same storage as another process would have it, the ownership lock put aside.
    fn another(&self) -> impl Future<Output = Self>;
    /// The same storage after a clean stop and a new start.
    fn restarted(self) -> impl Future<Output = Self>;
}

/// Makes a test of every rule, for one backend.
#[macro_export]
macro_rules! conformance {
    ($backend:ident) => {
        $crate::conformance!($backend, ports: journal, snapshots, tables, audit);
    };
    // A backend of some of the ports.
    ($backend:ident, ports: $($port:ident),+) => {
        $($crate::conformance!(@$port $backend);)+
    };
    (@journal $backend:ident) => {
        $crate::conformance!($backend, journal: appends_come_back_in_order, the_first_follows_nothing, a_stale_predecessor_is_refused,
            a_retry_of_the_last_batch_succeeds, a_retry_of_an_older_batch_does_not, ids_only_grow, a_new_epoch_follows_the_old,
            one_mismatch_fails_nobody_else, a_second_writer_cannot_fork, pages_end_after_their_bytes, trimming_keeps_the_last,
            trimming_many_leaves_the_rest, what_is_trimmed_stays_so, an_emptied_stream_begins_anew, extending_is_all_or_nothing, an_empty_stream_can_be_extended, set_aside_batches_leave_the_stream,
            kept_bytes_are_counted, a_restart_keeps_everything);
    };
    (@snapshots $backend:ident) => {
        $crate::conformance!($backend, snapshots: nothing_saved_is_none, what_is_saved_is_loaded, a_long_save_is_whole, later_saves_replace_and_remove,
            a_save_without_changes_moves_the_marker, a_large_save_shows_nothing_older_than_its_marker, shards_are_apart, a_restart_keeps_snapshots);
    };
    (@tables $backend:ident) => {
        $crate::conformance!($backend, tables: a_projection_is_seen_everywhere, a_moved_cursor_refuses_all_of_it,
            the_same_projection_takes_effect_once, batches_must_follow_the_cursor, lots_are_listed_in_order, a_status_filters_the_list,
            events_and_bids_come_in_pages, bids_are_found_by_name, a_bidders_standing_is_the_highest_maximum, the_archive_gives_batches_back,
            an_event_needs_its_lot, the_ledger_comes_in_order, many_shards_go_in_one, tables_answer_a_ping);
    };
    (@audit $backend:ident) => {
        $crate::conformance!($backend, audit: what_was_done_is_listed_newest_first, pages_and_a_lots_own_rows, a_repetition_is_audited_once,
            chains_hold_over_restarts, nothing_done_is_no_row);
    };
    ($backend:ident, $port:ident: $($rule:ident),+ $(,)?) => {
        mod $port {
            use super::$backend;
            $(
                #[tokio::test]
                async fn $rule() {
                    $crate::conformance::$port::$rule::<$backend>().await;
                }
            )+
        }
    };
}

/// One shard's journal as its writer builds it.
pub struct Stream {
    pub storage: Storage,
    pub shard: ShardId,
    pub next: BatchId,
    pub end: Digest,
}

impl Stream {
    pub fn new(storage: &Storage, shard: u16) -> Self {
        Self { storage: storage.clone(), shard: ShardId(shard), next: BatchId { epoch: Epoch(7), number: 0 }, end: Digest::default() }
    }

    /// The batch that follows, with these entries; the stream goes on from it.
    pub fn seal(&mut self, entries: &[Entry]) -> Arc<Sealed> {
        let sealed = self.storage.format.seal(self.shard, self.next, self.end, entries);
        self.next = self.next.next();
        self.end = sealed.hash;
        Arc::new(sealed)
    }

    /// The batch that follows, with one entry.
    pub fn batch(&mut self) -> Arc<Sealed> {
        let at = Timestamp::from_millis(i64::try_from(self.next.number).expect("small"));
        self.seal(&[Entry::EpochOpened { owner: gavel_domain::ids::OwnerId(uuid::Uuid::nil()), at }])
    }

    pub fn batches(&mut self, count: usize) -> Vec<Arc<Sealed>> {
        (0..count).map(|_| self.batch()).collect()
    }

    /// Appends that many batches.
    pub async fn grow(&mut self, count: usize) -> Vec<Arc<Sealed>> {
        let batches = self.batches(count);
        for batch in &batches {
            self.storage.journal.append(Arc::clone(batch)).await.expect("appends in order succeed");
        }
        batches
    }

    pub fn mark(&self) -> Mark {
        Mark { id: BatchId { epoch: self.next.epoch, number: self.next.number - 1 }, hash: self.end }
    }
}

pub fn plain(batches: &[Arc<Sealed>]) -> Vec<Sealed> {
    batches.iter().map(|batch| Sealed::clone(batch)).collect()
}

pub fn amount(minor: u64) -> Amount {
    Amount::new(minor).expect("in range")
}

pub fn lot_id(n: u128) -> LotId {
    LotId(uuid::Uuid::from_u128(n))
}

pub fn bid_id(n: u128) -> BidId {
    BidId(uuid::Uuid::from_u128(n))
}

pub fn bidder(name: &str) -> BidderId {
    BidderId::try_from(name).expect("a bidder")
}

pub fn spec(title: &str) -> LotSpec {
    let increments = Increments::new(vec![Increment { from: amount(0), step: amount(5) }]).expect("a table");
    LotSpec {
        title: title.into(),
        description: "".into(),
        currency: Currency { code: "DKP".into(), scale: 0 },
        funding: Funding::Open,
        rules: Rules::English(English { start_price: amount(10), reserve_price: None, buy_now_price: None, proxy: true, increments }),
        draft: true,
        opens_at: None,
        closes_at: None,
        soft_close: None,
    }
}

/// A lot's history as the engine would hand it to the projector.
pub struct Story {
    pub view: LotView,
    pub events: Vec<Arc<Recorded>>,
}

impl Story {
    /// A lot that was created and opened at `at`.
    pub fn new(lot: LotId, at: i64) -> Self {
        let at = Timestamp::from_millis(at);
        let created = Recorded { lot, epoch: Epoch(7), seq: Seq(0), at, event: LotEvent::Created(Box::new(spec(&format!("Lot {lot}")))) };
        let mut story = Self { view: LotView::from_creation(&created).expect("a creation"), events: vec![Arc::new(created)] };
        story.happens(LotEvent::Opened { closes_at: None });
        story
    }

    pub fn happens(&mut self, event: LotEvent) -> Arc<Recorded> {
        let seq = self.view.position.seq.next();
        let recorded = Arc::new(Recorded { lot: self.view.id, epoch: Epoch(7), seq, at: Timestamp::from_millis(5000), event });
        self.view.fold(&recorded);
        self.events.push(Arc::clone(&recorded));
        recorded
    }

    /// An accepted bid; its name is `id`, its bidder leads.
    pub fn bid(&mut self, who: &str, id: u128, minor: u64) -> Arc<Recorded> {
        let closes_at = Some(Timestamp::from_millis(9000));
        self.happens(LotEvent::BidPlaced(BidPlaced {
            bidder: bidder(who),
            bid_id: bid_id(id),
            amount: amount(minor),
            max: amount(minor + 3),
            price: amount(minor),
            leader: bidder(who),
            outbid: None,
            bid_count: self.view.bid_count + 1,
            minimum_bid: amount(minor + 5),
            reserve_met: Some(false),
            deadline: closes_at,
            closes_at,
        }))
    }

    /// As journal entries.
    pub fn entries(&self) -> Vec<Entry> {
        self.events.iter().map(|event| Entry::Lot(Arc::clone(event))).collect()
    }
}

//! What a page of the list costs, counted at the tables.

use super::*;
use crate::{config::Settings, http::small_engine, wire::spec::LotSpecBody};
use gavel_domain::{
    event::Recorded,
    ids::{BidId, Seq, ShardId},
    receipt::Receipt,
    shard::batch::BatchId,
};
use gavel_engine::ports::{
    PortFuture, StorageError,
    format::{Mark, Sealed},
    tables::{ProjectError, Projection, Tables},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use uuid::Uuid;

/// Tables that count the queries for pages of lots.
struct Counting {
    tables: Arc<dyn Tables>,
    pages: Arc<AtomicUsize>,
}

impl Tables for Counting {
    fn lots(&self, page: LotsPage) -> PortFuture<Vec<LotView>, StorageError> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        self.tables.lots(page)
    }

    fn project(&self, projections: Vec<Projection>) -> PortFuture<(), ProjectError> {
        self.tables.project(projections)
    }

    fn ledger(
        &self,
        bidder: gavel_domain::ids::BidderId,
        currency: Option<Arc<str>>,
        after: Seq,
        limit: usize,
    ) -> PortFuture<Vec<gavel_domain::wallet::event::WalletRecorded>, StorageError> {
        self.tables.ledger(bidder, currency, after, limit)
    }

    fn audit(&self, page: gavel_engine::ports::audit::AuditPage) -> PortFuture<Vec<gavel_engine::ports::audit::AuditRow>, StorageError> {
        self.tables.audit(page)
    }

    fn check_audit(&self) -> PortFuture<u64, gavel_engine::ports::audit::AuditError> {
        self.tables.check_audit()
    }

    fn cursors(&self) -> PortFuture<Vec<(ShardId, Mark)>, StorageError> {
        self.tables.cursors()
    }

    fn archived(&self, shard: ShardId, after: Option<BatchId>, limit: usize) -> PortFuture<Vec<Sealed>, StorageError> {
        self.tables.archived(shard, after, limit)
    }

    fn archived_batch(&self, shard: ShardId, id: BatchId) -> PortFuture<Option<Sealed>, StorageError> {
        self.tables.archived_batch(shard, id)
    }

    fn lot(&self, lot: LotId) -> PortFuture<Option<LotView>, StorageError> {
        self.tables.lot(lot)
    }

    fn events(&self, lot: LotId, after: Seq, limit: usize) -> PortFuture<Vec<Recorded>, StorageError> {
        self.tables.events(lot, after, limit)
    }

    fn bids(&self, lot: LotId, after: Seq, limit: usize) -> PortFuture<Vec<Recorded>, StorageError> {
        self.tables.bids(lot, after, limit)
    }

    fn bid(&self, lot: LotId, bidder: BidderId, id: BidId) -> PortFuture<Option<Receipt>, StorageError> {
        self.tables.bid(lot, bidder, id)
    }

    fn own(&self, lot: LotId, bidder: BidderId) -> PortFuture<Option<Own>, StorageError> {
        self.tables.own(lot, bidder)
    }

    fn ping(&self) -> PortFuture<(), StorageError> {
        self.tables.ping()
    }
}

#[actix_web::test]
async fn a_small_page_reads_little_however_many_lots_there_are() {
    const LOTS: usize = 700;
    let (dir, pages) = (tempfile::tempdir().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&pages);
    let (engine, storage) = small_engine::start(dir.path(), |tables| Arc::new(Counting { tables, pages: count })).await;
    let spec = LotSpecBody::parse(br#"{"title":"A","rules":{"format":"english","start_price":1},"closes_at":null}"#);
    let spec = spec.unwrap().into_spec(&Settings::default()).unwrap();
    let create = || Ask::Create { spec: Box::new(spec.clone()), access: Default::default(), by: None, key: None, archived: false };
    let made = join_all((0..LOTS).map(|_| engine.ask(LotId(Uuid::now_v7()), create()))).await;
    assert!(made.iter().all(|reply| matches!(reply, Reply::Lot(_))));
    while engine.projector_lag().0 > 0 {
        tokio::task::yield_now().await;
    }
    // All of them live, and every row of the tables is one of a live lot.
    let mut after = None;
    for page in 1..=3 {
        let shown = merged(&engine, after, None, 2, None, |_| true).await.unwrap();
        assert_eq!(shown.len(), 2);
        after = shown.last().map(|(view, _)| (view.created_at, view.id));
        assert_eq!(pages.load(Ordering::Relaxed), page, "one query a page");
    }
    assert_eq!(merged(&engine, None, None, LOTS + 1, None, |_| true).await.unwrap().len(), LOTS);
    engine.shut_down().await;
    storage.close().await.unwrap();
}

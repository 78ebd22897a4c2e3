//! The history of a lot, and of a balance: the tables, and what is committed but not yet in them.

use super::backlog::{Backlog, Unprojected};
use crate::{
    ports::{Storage, StorageError},
    tail::{TRIES, Tail, TailError},
};
use gavel_domain::{
    event::{LotEvent, Recorded},
    ids::{BidId, BidderId, LotId, Seq, ShardId, shard_of, shard_of_wallet},
    lot::view::{LotView, Own},
    receipt::Receipt,
    shard::batch::Entry,
    wallet::event::WalletRecorded,
};
use std::{ops::ControlFlow, sync::Arc};

/// Reads of what is committed. Never touches a shard.
///
/// What is not in the tables is looked at before the tables: it can move from there to here in
/// between, but not back. Where the journal was trimmed under a read, all of it begins again: what is
/// gone from there is in the tables by then.
#[derive(Clone)]
pub struct History {
    storage: Storage,
    backlog: Arc<Backlog>,
    shards: u16,
}

/// Which events of a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All.
    All,
    /// Accepted bids.
    Bids,
}

impl History {
    pub(crate) const fn new(storage: Storage, backlog: Arc<Backlog>, shards: u16) -> Self {
        Self { storage, backlog, shards }
    }

    /// A lot's events after `after`, in order, at most `limit`. The creation (number 0) is not one
    /// of them.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn events(&self, lot: LotId, kind: Kind, after: Seq, limit: usize) -> Result<Vec<Arc<Recorded>>, StorageError> {
        let shard = shard_of(lot, self.shards);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.read_events(shard, lot, kind, after, limit).await {
                Err(TailError::Gap { .. }) if tries < TRIES => {}
                read => return read.map_err(|error| error.into_storage(shard)),
            }
        }
    }

    async fn read_events(&self, shard: ShardId, lot: LotId, kind: Kind, after: Seq, limit: usize) -> Result<Vec<Arc<Recorded>>, TailError> {
        let fresh = self.backlog.unprojected(shard);
        let tables = &self.storage.tables;
        let rows = match kind {
            Kind::All => tables.events(lot, after, limit).await?,
            Kind::Bids => tables.bids(lot, after, limit).await?,
        };
        let mut found: Vec<Arc<Recorded>> = rows.into_iter().map(Arc::new).collect();
        if found.len() < limit {
            let mut last = found.last().map_or(after, |event| event.seq);
            self.walk(shard, fresh, |recorded| {
                let wanted = kind == Kind::All || matches!(recorded.event, LotEvent::BidPlaced(_));
                if recorded.lot == lot && recorded.seq > last && wanted {
                    last = recorded.seq;
                    found.push(Arc::clone(recorded));
                }
                if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .await?;
        }
        Ok(found)
    }

    /// The receipt of an accepted bid, however long ago.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn receipt(&self, lot: LotId, bidder: &BidderId, id: BidId) -> Result<Option<Receipt>, StorageError> {
        let shard = shard_of(lot, self.shards);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.read_receipt(shard, lot, bidder, id).await {
                Err(TailError::Gap { .. }) if tries < TRIES => {}
                read => return read.map_err(|error| error.into_storage(shard)),
            }
        }
    }

    async fn read_receipt(&self, shard: ShardId, lot: LotId, bidder: &BidderId, id: BidId) -> Result<Option<Receipt>, TailError> {
        let fresh = self.backlog.unprojected(shard);
        if let Some(receipt) = self.storage.tables.bid(lot, bidder.clone(), id).await? {
            return Ok(Some(receipt));
        }
        let mut found = None;
        self.walk(shard, fresh, |recorded| match &recorded.event {
            LotEvent::BidPlaced(bid) if recorded.lot == lot && bid.bid_id == id && bid.bidder == *bidder => {
                found = recorded.receipt();
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        })
        .await?;
        Ok(found)
    }

    /// A lot that is no longer in memory, with a bidder's own standing. (One in memory may be found
    /// here too, as it was when the tables were last brought up.)
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn lot(&self, lot: LotId, bidder: Option<&BidderId>) -> Result<Option<(LotView, Option<Own>)>, StorageError> {
        let Some(view) = self.storage.tables.lot(lot).await? else { return Ok(None) };
        let own = match bidder {
            Some(bidder) => self.own(lot, bidder).await?,
            None => None,
        };
        Ok(Some((view, own)))
    }

    /// A lot as everything that is committed makes it, with a bidder's own standing; for when its shard does not answer.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn committed(&self, lot: LotId, bidder: Option<&BidderId>) -> Result<Option<(LotView, Option<Own>)>, StorageError> {
        let shard = shard_of(lot, self.shards);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.read_committed(shard, lot, bidder).await {
                Err(TailError::Gap { .. }) if tries < TRIES => {}
                read => return read.map_err(|error| error.into_storage(shard)),
            }
        }
    }

    async fn read_committed(
        &self,
        shard: ShardId,
        lot: LotId,
        bidder: Option<&BidderId>,
    ) -> Result<Option<(LotView, Option<Own>)>, TailError> {
        let fresh = self.backlog.unprojected(shard);
        let (mut view, mut max) = match self.lot(lot, bidder).await? {
            Some((view, own)) => (Some(view), own.map(|own| own.max)),
            None => (None, None),
        };
        self.walk(shard, fresh, |recorded| {
            if recorded.lot == lot {
                match &mut view {
                    Some(view) if view.position.seq < recorded.seq => view.fold(recorded),
                    Some(_) => return ControlFlow::Continue(()),
                    none => *none = LotView::from_creation(recorded),
                }
                if let LotEvent::BidPlaced(bid) = &recorded.event
                    && bidder == Some(&bid.bidder)
                {
                    max = max.max(Some(bid.max));
                }
            }
            ControlFlow::Continue(())
        })
        .await?;
        let own = |view: &LotView| max.map(|max| Own { leading: view.leader.as_ref() == bidder, max });
        Ok(view.map(|view| {
            let own = own(&view);
            (view, own)
        }))
    }

    /// A bidder's standing on a lot that is no longer in memory.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn own(&self, lot: LotId, bidder: &BidderId) -> Result<Option<Own>, StorageError> {
        self.storage.tables.own(lot, bidder.clone()).await
    }

    /// The changes of a wallet's balance after event `after`, in order, at most `limit`; in one currency
    /// or in all.
    ///
    /// # Errors
    /// Storage does not answer.
    pub async fn ledger(
        &self,
        bidder: &BidderId,
        currency: Option<&Arc<str>>,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Arc<WalletRecorded>>, StorageError> {
        let shard = shard_of_wallet(bidder, self.shards);
        let mut tries = 0;
        loop {
            tries += 1;
            match self.read_ledger(shard, bidder, currency, after, limit).await {
                Err(TailError::Gap { .. }) if tries < TRIES => {}
                read => return read.map_err(|error| error.into_storage(shard)),
            }
        }
    }

    async fn read_ledger(
        &self,
        shard: ShardId,
        bidder: &BidderId,
        currency: Option<&Arc<str>>,
        after: Seq,
        limit: usize,
    ) -> Result<Vec<Arc<WalletRecorded>>, TailError> {
        let fresh = self.backlog.unprojected(shard);
        let rows = self.storage.tables.ledger(bidder.clone(), currency.cloned(), after, limit).await?;
        let mut found: Vec<Arc<WalletRecorded>> = rows.into_iter().map(Arc::new).collect();
        if found.len() < limit {
            let mut last = found.last().map_or(after, |line| line.seq);
            self.walk_entries(shard, fresh, |entry| {
                let Entry::Wallet(recorded) = entry else { return ControlFlow::Continue(()) };
                let line = recorded.event.ledger().filter(|line| currency.is_none_or(|wanted| line.currency == *wanted));
                if recorded.bidder == *bidder && recorded.seq > last && line.is_some() {
                    last = recorded.seq;
                    found.push(Arc::clone(recorded));
                }
                if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .await?;
        }
        Ok(found)
    }

    /// The tables themselves, for lists.
    #[must_use]
    pub fn tables(&self) -> &dyn crate::ports::tables::Tables {
        self.storage.tables.as_ref()
    }

    /// Every lot event after the tables' end, oldest first, until `visit` breaks off.
    async fn walk(
        &self,
        shard: ShardId,
        fresh: Unprojected,
        mut visit: impl FnMut(&Arc<Recorded>) -> ControlFlow<()>,
    ) -> Result<(), TailError> {
        let each = |entry: &Entry| match entry {
            Entry::Lot(recorded) => visit(recorded),
            _ => ControlFlow::Continue(()),
        };
        self.walk_entries(shard, fresh, each).await
    }

    /// Every entry after the tables' end, oldest first, until `visit` breaks off.
    async fn walk_entries(
        &self,
        shard: ShardId,
        fresh: Unprojected,
        mut visit: impl FnMut(&Entry) -> ControlFlow<()>,
    ) -> Result<(), TailError> {
        let mut each = |entries: &[Entry]| entries.iter().try_for_each(&mut visit);
        for batch in &fresh.batches {
            if each(&batch.entries).is_break() {
                return Ok(());
            }
        }
        if !fresh.more {
            return Ok(());
        }
        let place = fresh.batches.last().map(|batch| batch.sealed.mark()).or(fresh.cursor);
        let mut tail = Tail::after(shard, &self.storage, place);
        loop {
            let page = tail.next().await?;
            if page.is_empty() || page.iter().try_for_each(|batch| each(&batch.entries)).is_break() {
                return Ok(());
            }
        }
    }
}

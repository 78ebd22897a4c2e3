//! An engine on real storage that misbehaves when a test says so.
//!
//! Each call of a port that matters is announced to the test's script, which says what becomes of
//! it. The script runs on the caller's own thread: while it waits, so does that shard.

use crate::conformance::{amount, bid_id, bidder, lot_id, spec};
use futures_util::{FutureExt as _, future::BoxFuture};
use gavel_domain::{
    command::{Command, PlaceBid},
    event::Recorded,
    ids::{BidId, BidderId, LotId, OwnerId, Seq, ShardId},
    lot::{
        Lot,
        view::{LotView, Own},
    },
    receipt::Receipt,
    shard::{
        batch::{BatchId, Entry},
        keys::Keys,
    },
    wallet::{Wallet, event::WalletRecorded},
};
use gavel_engine::{
    Engine,
    ports::{
        PortFuture, Storage, StorageError,
        audit::{AuditError, AuditPage, AuditRow},
        format::{Damage, Digest, Format, Mark, Sealed},
        journal::{AppendError, Journal, Page},
        snapshots::{EntityKey, SnapshotSet, Snapshots},
        tables::{LotsPage, ProjectError, Projection, Tables},
    },
    request::{Ask, Reply},
    routing::engine::Tuning,
};
use gavel_persistence::sqlite::{EmbeddedStorage, OpenOptions};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::Notify;

/// A call that is announced.
pub(crate) enum Call<'a> {
    Seal,
    EncodeLot,
    KeptBytes,
    Append(&'a Sealed),
    Trim,
    LoadOne,
    Save(&'a [EntityKey]),
    Project(&'a [Projection]),
    ReadBids,
}

/// What becomes of it.
pub(crate) enum Fate {
    Goes,
    /// Fails, nothing done.
    Fails,
    /// Goes once that has happened.
    After(BoxFuture<'static, ()>),
    /// Fails once that has happened, nothing done.
    FailsAfter(BoxFuture<'static, ()>),
    /// Is done, and its answer is lost (of what is no append).
    GoesUnheard,
}

type Script = Box<dyn FnMut(Call<'_>) -> Fate + Send>;

/// The script, and a bell that rings when a call has come to its end.
#[derive(Clone, Default)]
pub(crate) struct Control {
    script: Arc<Mutex<Option<Script>>>,
    pub(crate) trimmed: Arc<Notify>,
    pub(crate) saved: Arc<Notify>,
    pub(crate) projected: Arc<Notify>,
}

impl Control {
    pub(crate) fn say(&self, script: impl FnMut(Call<'_>) -> Fate + Send + 'static) {
        *self.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Box::new(script));
    }

    pub(crate) fn goes(&self) {
        self.say(|_| Fate::Goes);
    }

    fn fate(&self, call: Call<'_>) -> Fate {
        // A script may panic in the place of what it is asked about.
        let mut script = self.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        script.as_mut().map_or(Fate::Goes, |script| script(call))
    }

    fn then<T: Send + 'static, E: From<StorageError> + Send + 'static>(
        &self,
        call: Call<'_>,
        real: PortFuture<T, E>,
        bell: Option<&Arc<Notify>>,
    ) -> PortFuture<T, E> {
        let (fate, bell) = (self.fate(call), bell.cloned());
        async move {
            match fate {
                Fate::Goes => {}
                Fate::Fails => return Err(scripted().into()),
                Fate::After(event) => event.await,
                Fate::FailsAfter(event) => {
                    event.await;
                    return Err(scripted().into());
                }
                Fate::GoesUnheard => {
                    let _lost = real.await;
                    return Err(scripted().into());
                }
            }
            let done = real.await;
            if let (Some(bell), true) = (bell, done.is_ok()) {
                bell.notify_one();
            }
            done
        }
        .boxed()
    }
}

fn scripted() -> StorageError {
    StorageError { operation: "as scripted".to_owned(), reason: "the test says so".to_owned() }
}

struct Staged {
    real: Storage,
    control: Control,
}

impl Format for Staged {
    fn seal(&self, shard: ShardId, id: BatchId, previous: Digest, entries: &[Entry]) -> Sealed {
        self.control.fate(Call::Seal);
        self.real.format.seal(shard, id, previous, entries)
    }
    fn open(&self, sealed: &Sealed) -> Result<Vec<Entry>, Damage> {
        self.real.format.open(sealed)
    }
    fn encode_lot(&self, lot: &Lot) -> Vec<u8> {
        self.control.fate(Call::EncodeLot);
        self.real.format.encode_lot(lot)
    }
    fn decode_lot(&self, bytes: &[u8]) -> Result<Lot, Damage> {
        self.real.format.decode_lot(bytes)
    }
    fn encode_wallet(&self, wallet: &Wallet) -> Vec<u8> {
        self.real.format.encode_wallet(wallet)
    }
    fn decode_wallet(&self, bytes: &[u8]) -> Result<Wallet, Damage> {
        self.real.format.decode_wallet(bytes)
    }
    fn encode_keys(&self, keys: &Keys) -> Vec<u8> {
        self.real.format.encode_keys(keys)
    }
    fn decode_keys(&self, bytes: &[u8]) -> Result<Keys, Damage> {
        self.real.format.decode_keys(bytes)
    }
    fn encode_view(&self, view: &LotView) -> Vec<u8> {
        self.real.format.encode_view(view)
    }
    fn decode_view(&self, bytes: &[u8]) -> Result<LotView, Damage> {
        self.real.format.decode_view(bytes)
    }
    fn encode_event(&self, event: &Recorded) -> Vec<u8> {
        self.real.format.encode_event(event)
    }
    fn decode_event(&self, bytes: &[u8]) -> Result<Recorded, Damage> {
        self.real.format.decode_event(bytes)
    }
}

impl Journal for Staged {
    fn append(&self, batch: Arc<Sealed>) -> PortFuture<(), AppendError> {
        let fate = self.control.fate(Call::Append(&batch));
        let real = self.real.journal.append(batch);
        async move {
            match fate {
                Fate::Goes | Fate::GoesUnheard => real.await,
                Fate::Fails => Err(AppendError::Unknown(scripted())),
                Fate::After(event) => {
                    event.await;
                    real.await
                }
                Fate::FailsAfter(event) => {
                    event.await;
                    Err(AppendError::Unknown(scripted()))
                }
            }
        }
        .boxed()
    }
    fn read(&self, shard: ShardId, page: Page) -> PortFuture<Vec<Sealed>, StorageError> {
        self.real.journal.read(shard, page)
    }
    fn trim(&self, shard: ShardId, up_to: BatchId) -> PortFuture<(), StorageError> {
        self.control.then(Call::Trim, self.real.journal.trim(shard, up_to), Some(&self.control.trimmed))
    }
    fn extend(&self, shard: ShardId, end: Digest, batches: Vec<Sealed>) -> PortFuture<(), StorageError> {
        self.real.journal.extend(shard, end, batches)
    }
    fn set_aside(&self, shard: ShardId, from: BatchId) -> PortFuture<(), StorageError> {
        self.real.journal.set_aside(shard, from)
    }
    fn kept_bytes(&self) -> u64 {
        self.control.fate(Call::KeptBytes);
        self.real.journal.kept_bytes()
    }
    fn ping(&self) -> PortFuture<(), StorageError> {
        self.real.journal.ping()
    }
}

impl Snapshots for Staged {
    fn load(&self, shard: ShardId) -> PortFuture<Option<SnapshotSet>, StorageError> {
        self.real.snapshots.load(shard)
    }
    fn load_one(&self, shard: ShardId, key: EntityKey) -> PortFuture<Option<(Mark, Vec<u8>)>, StorageError> {
        self.control.then(Call::LoadOne, self.real.snapshots.load_one(shard, key), None)
    }
    fn save(&self, shard: ShardId, changed: SnapshotSet, removed: Vec<EntityKey>) -> PortFuture<(), StorageError> {
        let real = self.real.snapshots.save(shard, changed, removed.clone());
        self.control.then(Call::Save(&removed), real, Some(&self.control.saved))
    }
}

impl Tables for Staged {
    fn project(&self, projections: Vec<Projection>) -> PortFuture<(), ProjectError> {
        let real = self.real.tables.project(projections.clone());
        self.control.then(Call::Project(&projections), real, Some(&self.control.projected))
    }
    fn cursors(&self) -> PortFuture<Vec<(ShardId, Mark)>, StorageError> {
        self.real.tables.cursors()
    }
    fn archived(&self, shard: ShardId, after: Option<BatchId>, limit: usize) -> PortFuture<Vec<Sealed>, StorageError> {
        self.real.tables.archived(shard, after, limit)
    }
    fn archived_batch(&self, shard: ShardId, id: BatchId) -> PortFuture<Option<Sealed>, StorageError> {
        self.real.tables.archived_batch(shard, id)
    }
    fn lot(&self, lot: LotId) -> PortFuture<Option<LotView>, StorageError> {
        self.real.tables.lot(lot)
    }
    fn lots(&self, page: LotsPage) -> PortFuture<Vec<LotView>, StorageError> {
        self.real.tables.lots(page)
    }
    fn events(&self, lot: LotId, after: Seq, limit: usize) -> PortFuture<Vec<Recorded>, StorageError> {
        self.real.tables.events(lot, after, limit)
    }
    /// Reads first, then waits: what it found may be old by then.
    fn ledger(
        &self,
        bidder: BidderId,
        currency: Option<Arc<str>>,
        after: Seq,
        limit: usize,
    ) -> PortFuture<Vec<WalletRecorded>, StorageError> {
        self.real.tables.ledger(bidder, currency, after, limit)
    }
    fn bids(&self, lot: LotId, after: Seq, limit: usize) -> PortFuture<Vec<Recorded>, StorageError> {
        let (real, fate) = (self.real.tables.bids(lot, after, limit), self.control.fate(Call::ReadBids));
        async move {
            let found = real.await;
            if let Fate::After(event) = fate {
                event.await;
            }
            found
        }
        .boxed()
    }
    fn bid(&self, lot: LotId, bidder: BidderId, id: BidId) -> PortFuture<Option<Receipt>, StorageError> {
        self.real.tables.bid(lot, bidder, id)
    }
    fn audit(&self, page: AuditPage) -> PortFuture<Vec<AuditRow>, StorageError> {
        self.real.tables.audit(page)
    }
    fn check_audit(&self) -> PortFuture<u64, AuditError> {
        self.real.tables.check_audit()
    }
    fn own(&self, lot: LotId, bidder: BidderId) -> PortFuture<Option<Own>, StorageError> {
        self.real.tables.own(lot, bidder)
    }
    fn ping(&self) -> PortFuture<(), StorageError> {
        self.real.tables.ping()
    }
}

/// A data directory, and what serves it.
pub(crate) struct Stage {
    dir: TempDir,
    embedded: EmbeddedStorage,
    pub(crate) control: Control,
    pub(crate) engine: Engine,
}

/// One shard; saved and trimmed at every look; lots stay in memory.
pub(crate) fn tuning() -> Tuning {
    Tuning {
        owner: OwnerId(uuid::Uuid::from_u128(1)),
        shards: 1,
        arbiters: 1,
        inbox: 1_000_000,
        journal_max_bytes: u64::MAX,
        checkpoint_bytes: usize::MAX / 4,
        checkpoint_after: Duration::ZERO,
        evict_after: None,
    }
}

impl Stage {
    pub(crate) async fn open(tuning: Tuning) -> Self {
        Self::on(tempfile::tempdir().expect("a directory"), tuning, Control::default()).await
    }

    async fn on(dir: TempDir, tuning: Tuning, control: Control) -> Self {
        let options = OpenOptions::new(tuning.shards, tokio::runtime::Handle::current());
        let embedded = EmbeddedStorage::open(dir.path(), options).await.expect("opens").storage;
        let staged = Arc::new(Staged { real: embedded.ports(), control: control.clone() });
        let storage = Storage {
            format: Arc::clone(&staged) as _,
            journal: Arc::clone(&staged) as _,
            snapshots: Arc::clone(&staged) as _,
            tables: staged,
        };
        let engine = Engine::start(storage, tuning).await.expect("recovers");
        Self { dir, embedded, control, engine }
    }

    /// Stops, lets something happen to what is stored, and starts again with the same script.
    pub(crate) async fn restarted<F: Future<Output = ()>>(self, tuning: Tuning, meanwhile: impl FnOnce(Storage, PathBuf) -> F) -> Self {
        let Self { dir, embedded, control, engine } = self;
        engine.shut_down().await;
        drop(engine);
        meanwhile(embedded.ports(), dir.path().to_owned()).await;
        embedded.close().await.expect("closes");
        Self::on(dir, tuning, control).await
    }

    pub(crate) fn real(&self) -> Storage {
        self.embedded.ports()
    }

    /// An open lot.
    pub(crate) async fn lot(&self, n: u128) -> LotId {
        let mut spec = spec("A lot");
        spec.draft = false;
        let made = self
            .engine
            .ask(lot_id(n), Ask::Create { spec: Box::new(spec), access: Default::default(), by: None, key: None, archived: false })
            .await;
        assert!(matches!(made, Reply::Lot(_)), "{made:?}");
        lot_id(n)
    }

    pub(crate) async fn bid(&self, lot: LotId, id: u128) -> Reply {
        self.engine.ask(lot, bid(id)).await
    }

    /// Asks until the shard serves again.
    pub(crate) async fn view(&self, lot: LotId) -> LotView {
        loop {
            match self.engine.ask(lot, Ask::View { bidder: None }).await {
                Reply::Lot(answer) => return answer.view,
                Reply::Unavailable => tokio::task::yield_now().await,
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) async fn close(&self, lot: LotId) {
        let closed = self.engine.ask(lot, Ask::Command { command: Command::Close, by: None, expected: None, key: None }).await;
        assert!(matches!(closed, Reply::Lot(_)), "{closed:?}");
    }

    /// Waits until an operator is told of something.
    pub(crate) async fn trouble(&self) -> String {
        loop {
            if let Err(troubles) = self.engine.ready().await {
                return troubles.join("; ");
            }
            tokio::task::yield_now().await;
        }
    }
}

/// The `id`-th bid of a bidder of its own: each is higher than those with a smaller number.
pub(crate) fn bid(id: u128) -> Ask {
    let minor = 100 + 10 * u64::try_from(id).expect("small");
    let bid = PlaceBid { bidder: bidder(&format!("bidder-{id}")), bid_id: bid_id(id), amount: amount(minor), max: None };
    Ask::Bid { bid, retry: false }
}

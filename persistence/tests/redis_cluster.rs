//! A Redis Cluster against the conformance suites of journal and snapshots, and what only a cluster does: nodes
//! that are lost alone, slots that move, addresses of something else.

#[expect(missing_docs, reason = "test code; each rule's name says what it is")]
pub mod conformance;

use conformance::{Backend, Stream};
use futures_util::future::{Either, join_all, select};
use gavel_domain::ids::ShardId;
use gavel_engine::ports::{
    Storage,
    format::Sealed,
    journal::{AppendError, Page},
    snapshots::SnapshotSet,
    tables::Tables,
};
use gavel_persistence::{
    redis::{Address, Durability, OpenError, Prefix, RedisOptions, RedisStorage},
    sqlite::{EmbeddedStorage, OpenOptions},
};
use gavel_test_servers::{Redis, RedisCluster};
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::runtime::Handle;

const SHARDS: u16 = 64;

fn options(url: &str, prefix: &str) -> RedisOptions {
    let (address, prefix) = (Address::try_from(url).expect("a URL"), Prefix::try_from(prefix).expect("allowed"));
    RedisOptions { durability: Durability::Relaxed, ..RedisOptions::new(address, prefix, SHARDS, Handle::current()) }
}

async fn refusal(options: RedisOptions) -> OpenError {
    RedisStorage::open(options).await.map(|opened| opened.warnings).expect_err("must be refused")
}

/// Under keys of its own in one cluster that all share: a cluster takes seconds to come together.
struct Shared {
    storage: RedisStorage,
    prefix: String,
    tables: Arc<Aside>,
}

/// Tables that no rule here looks at.
struct Aside {
    embedded: EmbeddedStorage,
    _dir: TempDir,
}

impl Aside {
    async fn new() -> Arc<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let embedded = EmbeddedStorage::open(dir.path(), OpenOptions::new(SHARDS, Handle::current())).await.expect("opens").storage;
        Arc::new(Self { embedded, _dir: dir })
    }

    fn tables(&self) -> Arc<dyn Tables> {
        self.embedded.ports().tables
    }
}

async fn shared(prefix: &str) -> RedisStorage {
    static CLUSTER: LazyLock<RedisCluster> = LazyLock::new(|| RedisCluster::of_masters(3));
    let url = tokio::task::spawn_blocking(|| CLUSTER.url()).await.expect("a cluster");
    RedisStorage::open(options(&url, prefix)).await.expect("opens").storage
}

impl Backend for Shared {
    async fn fresh() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("conformance-{}", MADE.fetch_add(1, Ordering::Relaxed));
        Self { storage: shared(&prefix).await, prefix, tables: Aside::new().await }
    }

    fn ports(&self) -> Storage {
        self.storage.ports(self.tables.tables())
    }

    async fn another(&self) -> Self {
        Self { storage: shared(&self.prefix).await, prefix: self.prefix.clone(), tables: Arc::clone(&self.tables) }
    }

    async fn restarted(self) -> Self {
        drop(self.storage);
        Self { storage: shared(&self.prefix).await, prefix: self.prefix, tables: self.tables }
    }
}

conformance!(Shared, ports: journal, snapshots);

/// A cluster of a test's own, opened.
struct Node {
    cluster: RedisCluster,
    ports: Storage,
    _tables: Arc<Aside>,
}

impl Node {
    async fn open() -> Self {
        let cluster = tokio::task::spawn_blocking(|| RedisCluster::of_masters(3)).await.expect("a cluster");
        let timeouts = RedisOptions { response_timeout: Duration::from_secs(20), ..options(&cluster.url(), "faults") };
        let tables = Aside::new().await;
        let ports = RedisStorage::open(timeouts).await.expect("opens").storage.ports(tables.tables());
        Self { cluster, ports, _tables: tables }
    }

    async fn append(&self, batch: &Arc<Sealed>) -> Result<(), AppendError> {
        self.ports.journal.append(Arc::clone(batch)).await
    }

    async fn all(&self, shard: u16) -> Vec<Sealed> {
        self.ports.journal.read(ShardId(shard), Page { after: None, bytes: usize::MAX }).await.expect("readable")
    }

    /// Which of the masters has a shard.
    fn owner(&self, shard: u16) -> usize {
        self.cluster.owner_of(&key(shard))
    }

    /// A batch of every shard, all at once.
    async fn append_to_all(&self, streams: &mut [Stream]) -> Vec<Result<(), AppendError>> {
        let batches: Vec<_> = streams.iter_mut().map(Stream::batch).collect();
        join_all(batches.iter().map(|batch| self.append(batch))).await
    }
}

fn key(shard: u16) -> String {
    format!("gavel:{{faults:{shard}}}:journal")
}

#[tokio::test]
async fn a_lost_master_is_the_loss_of_its_shards_only() {
    let mut node = Node::open().await;
    let mut streams: Vec<Stream> = (0..SHARDS).map(|shard| Stream::new(&node.ports, shard)).collect();
    for outcome in node.append_to_all(&mut streams).await {
        outcome.expect("appended");
    }
    let lost = node.owner(0);
    let of_lost: Vec<bool> = (0..SHARDS).map(|shard| node.owner(shard) == lost).collect();
    assert!(of_lost.contains(&false), "shards are on all masters");
    let address = node.cluster.masters[lost].addr().to_string();
    node.cluster.masters[lost].kill9();
    let at_first: Vec<_> = node.append_to_all(&mut streams).await;
    for (outcome, is_lost) in at_first.iter().zip(&of_lost) {
        match outcome {
            Ok(()) => assert!(!is_lost),
            Err(AppendError::Unknown(error) | AppendError::Refused(error)) => {
                assert!(*is_lost && error.reason.contains(&address), "{error}")
            }
            Err(AppendError::Mismatch) => panic!("nobody else writes"),
        }
    }
    // Who goes on goes on, beside those whose connection can't be made.
    for (outcome, is_lost) in node.append_to_all(&mut streams).await.iter().zip(&of_lost) {
        match outcome {
            Ok(()) => assert!(!is_lost),
            Err(error) => assert!(*is_lost && matches!(error, AppendError::Refused(_)), "{error:?}"),
        }
    }
    node.cluster.masters[lost].restart();
    node.cluster.serves();
    for (shard, is_lost) in (0..SHARDS).zip(of_lost) {
        assert_eq!(node.all(shard).await.len(), if is_lost { 1 } else { 3 }, "shard {shard} kept what was acknowledged");
    }
}

#[tokio::test]
async fn a_silent_master_keeps_nobody_elses_writes_waiting() {
    let node = Node::open().await;
    let mut streams: Vec<Stream> = (0..SHARDS).map(|shard| Stream::new(&node.ports, shard)).collect();
    node.append_to_all(&mut streams).await.into_iter().for_each(|outcome| outcome.expect("appended"));
    let silent = node.owner(0);
    let mut first = streams.remove(0);
    streams.retain(|stream| node.owner(stream.shard.0) != silent);
    assert!(!streams.is_empty(), "shards are on all masters");
    node.cluster.masters[silent].pause();
    let (batch, next) = (first.batch(), first.batch());
    let waiting = std::pin::pin!(node.append(&batch));
    let others = async {
        for _ in 0..3 {
            node.append_to_all(&mut streams).await.into_iter().for_each(|outcome| outcome.expect("nobody else is concerned"));
        }
    };
    let Either::Right(((), waiting)) = select(waiting, std::pin::pin!(others)).await else { panic!("the others wait for the silent one") };
    node.cluster.masters[silent].resume();
    waiting.await.expect("it answers after all");
    node.append(&next).await.expect("appended");
}

#[tokio::test]
async fn a_slot_that_moves_is_followed() {
    let node = Node::open().await;
    let mut stream = Stream::new(&node.ports, 0);
    let mut neighbours: Vec<Stream> = (1..9).map(|shard| Stream::new(&node.ports, shard)).collect();
    node.append(&stream.batch()).await.expect("appended");
    let (from, to) = (node.owner(0), (node.owner(0) + 1) % 3);
    let moving = node.cluster.begin_move(&key(0), to);
    // Its keys are there already, and only those two know: `ASK`.
    for _ in 0..3 {
        let batch = stream.batch();
        let (own, others) = tokio::join!(node.append(&batch), node.append_to_all(&mut neighbours));
        own.expect("appended where the slot goes");
        others.into_iter().for_each(|outcome| outcome.expect("nobody else is concerned"));
    }
    assert_eq!(node.all(0).await.len(), 4);
    // A key that is made meanwhile; scripts that the node was never given, too.
    assert_eq!(node.cluster.masters[to].command("SCRIPT FLUSH"), "+OK");
    node.ports.snapshots.save(ShardId(0), SnapshotSet::default(), vec![]).await.expect("saved");
    assert_eq!(node.cluster.masters[to].command("SCRIPT FLUSH"), "+OK");
    node.append(&stream.batch()).await.expect("appended");
    moving.finish();
    // `MOVED`.
    node.append(&stream.batch()).await.expect("appended where the slot went");
    assert_eq!(node.all(0).await.len(), 6);
    assert_eq!(node.ports.snapshots.load(ShardId(0)).await.expect("readable"), Some(SnapshotSet::default()));
    assert_eq!((node.owner(0), node.cluster.masters[from].command(&format!("EXISTS {}", key(0))).starts_with("-MOVED")), (to, true));
    node.ports.journal.ping().await.expect("it writes");
}

#[tokio::test]
async fn every_master_must_be_fit() {
    let node = Node::open().await;
    let master = &node.cluster.masters[2];
    assert_eq!(master.command("CONFIG SET maxmemory-policy allkeys-lru"), "+OK");
    let strict = RedisOptions { durability: Durability::Strict, ..options(&node.cluster.url(), "faults") };
    let OpenError::Unfit { lines, .. } = refusal(strict).await else { panic!("unfit") };
    assert!(lines.len() == 1 && lines[0].starts_with("it is a cluster, which may promote"), "{lines:?}");
    let warnings = RedisStorage::open(options(&node.cluster.url(), "faults")).await.expect("let in").warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[1].contains("maxmemory-policy is allkeys-lru") && warnings[1].contains(&master.addr().to_string()), "{warnings:?}");
}

#[tokio::test]
async fn a_password_is_every_nodes() {
    let node = Node::open().await;
    for master in &node.cluster.masters {
        assert_eq!(master.command("CONFIG SET requirepass correct-horse"), "+OK");
    }
    let with = |password: &str| node.cluster.url().replace("://", &format!("://:{password}@"));
    RedisStorage::open(options(&with("correct-horse"), "faults")).await.expect("opens");
    for url in [with("wrong-horse"), node.cluster.url()] {
        let error = refusal(options(&url, "faults")).await;
        assert!(matches!(error, OpenError::Credentials { .. }) && !format!("{error} {error:?}").contains("horse"), "{error}");
    }
}

#[tokio::test]
async fn every_node_is_spoken_to_in_tls() {
    let cluster = tokio::task::spawn_blocking(|| RedisCluster::tls_of_masters(3)).await.expect("a cluster");
    let error = refusal(options(&cluster.url(), "faults")).await;
    assert!(matches!(&error, OpenError::Tls { reason, .. } if reason.contains("certificate")), "{error}");
    let error = refusal(options(&cluster.url().replace("rediss", "redis"), "faults")).await;
    assert!(error.to_string().contains("use rediss+cluster://"), "{error}");
    let trusted = std::fs::read(cluster.masters[0].dir().join("cert.pem")).expect("its certificate");
    let trusting = RedisOptions { root_certificates: Some(trusted), ..options(&cluster.url(), "faults") };
    let tables = Aside::new().await;
    let ports = RedisStorage::open(trusting).await.expect("opens").storage.ports(tables.tables());
    for shard in 0..SHARDS {
        ports.journal.append(Stream::new(&ports, shard).batch()).await.expect("appended");
    }
}

#[tokio::test]
async fn addresses_of_something_else_are_named() {
    let mut node = Node::open().await;
    let plain = refusal(options(&node.cluster.masters[1].url(), "faults")).await.to_string();
    assert!(plain.contains(&node.cluster.masters[1].addr().to_string()) && plain.contains("use redis+cluster://"), "{plain}");
    let alone = Redis::durable();
    let error = refusal(options(&format!("redis+cluster://{}", alone.addr()), "faults")).await.to_string();
    assert!(error.contains(&alone.addr().to_string()) && error.contains("no node of a Redis Cluster: use redis://"), "{error}");
    let error = refusal(options(&node.cluster.url().replace("redis+", "rediss+"), "faults")).await;
    assert!(error.to_string().contains("redis+cluster://"), "{error}");
    // One node is enough to find the others, and slots that nobody has are counted.
    let one = format!("redis+cluster://{}", node.cluster.masters[2].addr());
    RedisStorage::open(options(&one, "faults")).await.expect("opens");
    for master in &node.cluster.masters {
        assert_eq!(master.command("CLUSTER DELSLOTSRANGE 0 9"), "+OK");
    }
    let error = refusal(options(&one, "faults")).await.to_string();
    assert!(error.contains("10 of the cluster's 16384 slots have no master"), "{error}");
    for master in &mut node.cluster.masters {
        master.stop();
    }
    let error = refusal(options(&one, "faults")).await;
    assert!(matches!(&error, OpenError::Unreachable { server, .. } if server.contains(&one["redis+cluster://".len()..])), "{error}");
}

//! Redis when something breaks: connections, processes, memory, data, settings. What holds while all
//! is well is in `redis.rs`.

use gavel_domain::{
    ids::{Epoch, OwnerId, ShardId},
    shard::batch::{BatchId, Entry},
    time::Timestamp,
};
use gavel_engine::ports::{
    Storage,
    format::{Digest, Mark, Sealed},
    journal::{AppendError, Page},
    snapshots::{EntityKey, SnapshotSet},
};
use gavel_persistence::{
    redis::{Address, BadAddress, Durability, OpenError, Opened, Prefix, RedisOptions, RedisStorage},
    sqlite::{EmbeddedStorage, OpenOptions},
};
use gavel_test_servers::{Flow, Proxy, Redis};
use redis::aio::MultiplexedConnection;
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    runtime::Handle,
};

fn options(url: &str) -> RedisOptions {
    RedisOptions::new(Address::try_from(url).expect("a URL"), Prefix::try_from("faults").expect("allowed"), 64, Handle::current())
}

async fn refusal(options: RedisOptions) -> OpenError {
    RedisStorage::open(options).await.map(|opened| opened.warnings).expect_err("must be refused")
}

/// Storage as the engine has it; the tables, which nothing here looks at, are files.
struct Node {
    ports: Storage,
    _dir: TempDir,
}

impl Node {
    async fn open(options: RedisOptions) -> Self {
        Self::with(RedisStorage::open(options).await.expect("opens")).await
    }

    async fn with(opened: Opened) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let embedded = EmbeddedStorage::open(dir.path(), OpenOptions::new(64, Handle::current())).await.expect("opens").storage;
        Self { ports: opened.storage.ports(embedded.ports().tables), _dir: dir }
    }

    async fn append(&self, batch: &Arc<Sealed>) -> Result<(), AppendError> {
        self.ports.journal.append(Arc::clone(batch)).await
    }

    async fn all(&self, shard: u16) -> Vec<Sealed> {
        self.ports.journal.read(ShardId(shard), Page { after: None, bytes: usize::MAX }).await.expect("readable")
    }

    /// The next batches of a shard, sealed and not yet appended.
    fn batches(&self, shard: u16, epoch: u64, previous: Digest, count: u64) -> Vec<Arc<Sealed>> {
        let mut end = previous;
        let entry = Entry::EpochOpened { owner: OwnerId(uuid::Uuid::nil()), at: Timestamp::from_millis(1) };
        let seal = |number| {
            let id = BatchId { epoch: Epoch(epoch), number };
            let batch = self.ports.format.seal(ShardId(shard), id, end, std::slice::from_ref(&entry));
            end = batch.hash;
            Arc::new(batch)
        };
        (0..count).map(seal).collect()
    }

    async fn grow(&self, shard: u16, epoch: u64, previous: Digest, count: u64) -> Vec<Arc<Sealed>> {
        let batches = self.batches(shard, epoch, previous, count);
        for batch in &batches {
            self.append(batch).await.expect("appends in order succeed");
        }
        batches
    }
}

fn plain(batches: &[Arc<Sealed>]) -> Vec<Sealed> {
    batches.iter().map(|batch| Sealed::clone(batch)).collect()
}

async fn by_hand(server: &Redis) -> MultiplexedConnection {
    let client = redis::Client::open(server.url()).expect("a URL");
    client.get_multiplexed_async_connection().await.expect("connects")
}

async fn run(conn: &mut MultiplexedConnection, command: &str) {
    let mut words = command.split(' ');
    let mut built = redis::cmd(words.next().expect("a command"));
    for word in words {
        built.arg(word);
    }
    built.exec_async(conn).await.expect(command);
}

fn unknown(outcome: &Result<(), AppendError>) {
    assert!(matches!(outcome, Err(AppendError::Unknown(_))), "{outcome:?}");
}

fn mismatch(outcome: &Result<(), AppendError>) {
    assert!(matches!(outcome, Err(AppendError::Mismatch)), "{outcome:?}");
}

fn refused(outcome: &Result<(), AppendError>, why: &str) {
    assert!(matches!(outcome, Err(AppendError::Refused(error)) if error.reason.contains(why)), "{outcome:?}");
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_same_bytes_again_count_once() {
    let server = Redis::durable();
    let proxy = Proxy::before(server.addr()).await;
    let node = Node::open(options(&proxy.instead_of(server.addr(), &server.url()))).await;
    let direct = Node::open(options(&server.url())).await;
    let batches: Vec<_> = (0..8).map(|shard| node.batches(shard, 7, Digest::default(), 2)).collect();
    for shard in &batches {
        node.append(&shard[0]).await.expect("appended");
    }

    // All of a round are lost, and all are there.
    proxy.replies(Flow::Drop);
    let dropped = proxy.next_dropped(1);
    let appends = futures_util::future::join_all(batches.iter().map(|shard| node.append(&shard[1])));
    let (outcomes, ()) = tokio::join!(appends, async {
        dropped.await;
        proxy.cut();
    });
    outcomes.iter().for_each(unknown);
    proxy.replies(Flow::Pass);
    for shard in &batches {
        node.append(&shard[1]).await.expect("it is there, or comes now");
        node.append(&shard[1]).await.expect("it is there");
    }
    for (shard, batches) in (0..).zip(&batches) {
        assert_eq!(direct.all(shard).await, plain(batches));
    }
    let bytes: usize = batches.iter().flatten().map(|batch| batch.bytes.len()).sum();
    assert_eq!(node.ports.journal.kept_bytes(), bytes as u64, "counted once");
}

#[tokio::test]
async fn a_request_that_is_lost_is_unknown_and_comes_once() {
    let server = Redis::durable();
    let proxy = Proxy::before(server.addr()).await;
    let node = Node::open(options(&proxy.instead_of(server.addr(), &server.url()))).await;
    let batches = node.batches(0, 7, Digest::default(), 2);
    node.append(&batches[0]).await.expect("appended");
    proxy.requests(Flow::Drop);
    let dropped = proxy.next_dropped(1);
    let (outcome, ()) = tokio::join!(node.append(&batches[1]), async {
        dropped.await;
        proxy.cut();
    });
    unknown(&outcome);
    proxy.requests(Flow::Pass);
    assert_eq!(node.all(0).await, plain(&batches[..1]), "reading finds a connection of its own again");
    node.append(&batches[1]).await.expect("appended");
    assert_eq!(node.all(0).await, plain(&batches));
}

#[tokio::test]
async fn a_silent_server_is_unknown_after_the_response_timeout() {
    let server = Redis::durable();
    let node = Node::open(RedisOptions { response_timeout: Duration::from_millis(50), ..options(&server.url()) }).await;
    let batches = node.batches(0, 7, Digest::default(), 2);
    node.append(&batches[0]).await.expect("appended");
    server.pause();
    unknown(&node.append(&batches[1]).await);
    server.resume();
    // The first attempt may take effect before or after; the same bytes are there once.
    while let Err(error) = node.append(&batches[1]).await {
        assert!(matches!(error, AppendError::Unknown(_)), "{error:?}");
    }
    assert_eq!(node.all(0).await, plain(&batches));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_keeps_what_it_acknowledged() {
    let mut server = Redis::durable();
    let node = Arc::new(Node::open(options(&server.url())).await);
    let (progress, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let writers: Vec<_> = (0..8)
        .map(|shard| {
            let (node, progress) = (Arc::clone(&node), progress.clone());
            tokio::spawn(async move {
                let batches = node.batches(shard, 7, Digest::default(), 5_000);
                let mut acknowledged = 0;
                for batch in &batches {
                    if node.append(batch).await.is_err() {
                        break;
                    }
                    acknowledged += 1;
                    progress.send(()).expect("somebody looks");
                }
                (batches, acknowledged)
            })
        })
        .collect();
    for _ in 0..400 {
        seen.recv().await.expect("they write");
    }
    server.kill9();
    let mut written = Vec::new();
    for writer in writers {
        written.push(writer.await.expect("no panic"));
    }
    server.restart();
    for (shard, (batches, acknowledged)) in (0..).zip(written) {
        let kept = node.all(shard).await;
        assert!(acknowledged < batches.len(), "it was killed meanwhile");
        assert!((acknowledged..=acknowledged + 1).contains(&kept.len()), "{acknowledged} acknowledged, {} kept", kept.len());
        assert_eq!(kept, plain(&batches[..kept.len()]));
    }
    node.ports.journal.ping().await.expect("it takes writes again");
}

#[tokio::test]
async fn a_server_that_is_away_refuses_and_comes_back() {
    let mut server = Redis::durable();
    let node = Node::open(options(&server.url())).await;
    let batches = node.batches(0, 7, Digest::default(), 2);
    node.append(&batches[0]).await.expect("appended");
    server.stop();
    // The connection had died already; that it had is not known before.
    drop(node.append(&batches[1]).await);
    refused(&node.append(&batches[1]).await, "no connection");
    node.ports.journal.ping().await.expect_err("nobody is there");
    server.restart();
    node.append(&batches[1]).await.expect("appended");
    assert_eq!(node.all(0).await, plain(&batches));
}

#[tokio::test]
async fn a_flushed_server_is_a_mismatch_and_lost_scripts_are_not() {
    let server = Redis::durable();
    let node = Node::open(options(&server.url())).await;
    let batches = node.batches(0, 7, Digest::default(), 3);
    let mut conn = by_hand(&server).await;
    node.append(&batches[0]).await.expect("appended");
    run(&mut conn, "SCRIPT FLUSH").await;
    node.append(&batches[1]).await.expect("the script is given again");
    node.ports.snapshots.save(ShardId(0), SnapshotSet::default(), vec![]).await.expect("saved");
    run(&mut conn, "SCRIPT FLUSH").await;
    node.ports.snapshots.save(ShardId(0), SnapshotSet::default(), vec![]).await.expect("saved");
    run(&mut conn, "FLUSHALL").await;
    mismatch(&node.append(&batches[2]).await);
    assert!(node.all(0).await.is_empty());
}

#[tokio::test]
async fn an_emptied_server_is_described_again_and_takes_no_half_snapshots() {
    let server = Redis::durable();
    let node = Node::open(options(&server.url())).await;
    let id = server.command("HGET gavel:{faults}:meta data_id");
    let batches = node.grow(0, 7, Digest::default(), 3).await;
    let saved = SnapshotSet { marker: batches[2].mark(), entities: vec![(EntityKey::Keys, b"all".to_vec())] };
    let snapshots = &node.ports.snapshots;
    snapshots.save(ShardId(0), saved.clone(), vec![]).await.expect("saved");
    assert_eq!(server.command("FLUSHALL"), "+OK");
    let error = snapshots.save(ShardId(0), saved.clone(), vec![]).await.expect_err("what changed alone is no snapshot");
    assert!(error.reason.contains("is gone"), "{error}");
    mismatch(&node.append(&node.batches(0, 8, batches[2].hash, 1)[0]).await);
    assert_eq!(server.command("HGET gavel:{faults}:meta data_id"), id);
    assert_eq!(server.command("HGET gavel:{faults}:meta shards"), "$2");

    // Who has looked and found nothing saves all.
    assert_eq!(snapshots.load(ShardId(0)).await.expect("readable"), None);
    snapshots.save(ShardId(0), saved.clone(), vec![]).await.expect("saved");
    assert_eq!(snapshots.load(ShardId(0)).await.expect("readable"), Some(saved));
    // A stream that holds nothing begins anywhere, one that holds something does not.
    let journal = &node.ports.journal;
    journal.extend(ShardId(0), batches[0].hash, plain(&batches[1..])).await.expect("it is empty");
    assert_eq!(node.all(0).await, plain(&batches[1..]));
    assert_eq!(journal.kept_bytes(), batches[1..].iter().map(|batch| batch.bytes.len() as u64).sum::<u64>());
    journal.extend(ShardId(0), batches[0].hash, plain(&batches[1..])).await.expect_err("it is not any more");
    node.grow(0, 8, batches[2].hash, 1).await;
}

#[tokio::test]
async fn who_waits_for_its_turn_before_a_silent_server_is_answered_in_time_too() {
    let server = Redis::durable();
    let (response_timeout, connect_timeout) = (Duration::from_millis(50), Duration::from_secs(3600));
    let node = Node::open(RedisOptions { response_timeout, connect_timeout, ..options(&server.url()) }).await;
    let batches: Vec<_> = (0..4).map(|shard| node.batches(shard, 7, Digest::default(), 2)).collect();
    for shard in &batches {
        node.append(&shard[0]).await.expect("appended");
    }
    server.pause();
    let in_turn = async {
        for shard in &batches {
            unknown(&node.append(&shard[1]).await);
        }
    };
    tokio::time::timeout(Duration::from_secs(60), in_turn).await.expect("not after the connection's timeout");
}

#[tokio::test]
async fn an_older_epoch_is_refused_whatever_it_believes() {
    let server = Redis::durable();
    let (old, new) = (Node::open(options(&server.url())).await, Node::open(options(&server.url())).await);
    let theirs = old.grow(0, 7, Digest::default(), 2).await;
    let ours = new.grow(0, 8, theirs[1].hash, 1).await;
    mismatch(&old.append(&old.batches(0, 7, theirs[1].hash, 3)[2]).await);
    // Even with the right predecessor: its id lies below.
    mismatch(&old.append(&old.batches(0, 7, ours[0].hash, 1)[0]).await);
    assert_eq!(new.all(0).await, plain(&[theirs, ours].concat()));
}

#[tokio::test]
async fn without_memory_nothing_is_written_and_trimming_still_works() {
    let server = Redis::durable();
    let node = Node::open(options(&server.url())).await;
    let mut batches = node.grow(0, 7, Digest::default(), 3).await;
    batches.extend(node.batches(0, 8, batches[2].hash, 1));
    let mut conn = by_hand(&server).await;
    run(&mut conn, "CONFIG SET maxmemory 1").await;
    refused(&node.append(&batches[3]).await, "OOM");
    node.ports.journal.ping().await.expect_err("an append would fail");
    node.ports.journal.extend(ShardId(0), batches[2].hash, plain(&batches[3..])).await.expect_err("no memory");
    node.ports.snapshots.save(ShardId(0), SnapshotSet::default(), vec![]).await.expect_err("no memory");
    assert_eq!(node.all(0).await, plain(&batches[..3]));
    node.ports.journal.trim(ShardId(0), batches[0].id).await.expect("it frees some");
    run(&mut conn, "CONFIG SET maxmemory 0").await;
    node.append(&batches[3]).await.expect("appended");
    assert_eq!(node.all(0).await, plain(&batches[1..]));
    assert_eq!(node.ports.snapshots.load(ShardId(0)).await.expect("readable"), None);
}

#[tokio::test]
async fn a_server_that_became_a_replica_refuses() {
    let server = Redis::durable();
    let node = Node::open(options(&server.url())).await;
    let batches = node.batches(0, 7, Digest::default(), 1);
    let mut conn = by_hand(&server).await;
    // Of itself: it never gets as far as replacing its data.
    run(&mut conn, &format!("REPLICAOF 127.0.0.1 {}", server.addr().port())).await;
    refused(&node.append(&batches[0]).await, "READONLY");
    assert!(refusal(options(&server.url())).await.to_string().contains("role is replica"));
    run(&mut conn, "REPLICAOF NO ONE").await;
    node.append(&batches[0]).await.expect("appended");
}

#[tokio::test]
async fn the_archives_batches_follow_where_damaged_ones_were_set_aside() {
    let server = Redis::durable();
    let node = Node::open(options(&server.url())).await;
    let journal = &node.ports.journal;
    let batches = node.grow(0, 7, Digest::default(), 4).await;
    let bytes = journal.kept_bytes();
    journal.set_aside(ShardId(0), batches[2].id).await.expect("moved");
    journal.extend(ShardId(0), batches[1].hash, plain(&batches[2..])).await.expect("under their own ids");
    assert_eq!(node.all(0).await, plain(&batches));
    // All of it, too; twice, since each goes to a place of its own.
    for _ in 0..2 {
        journal.set_aside(ShardId(0), batches[0].id).await.expect("moved");
        assert!(node.all(0).await.is_empty());
        assert_eq!(journal.kept_bytes(), 0);
        journal.extend(ShardId(0), Digest::default(), plain(&batches)).await.expect("from the first on");
    }
    assert_eq!((node.all(0).await, journal.kept_bytes()), (plain(&batches), bytes));
    let mut conn = by_hand(&server).await;
    let aside: Vec<String> = redis::cmd("KEYS").arg("gavel:{faults:0}:set-aside:*").query_async(&mut conn).await.expect("listed");
    assert_eq!(aside.len(), 3, "{aside:?}");
}

#[tokio::test]
async fn kept_bytes_survive_trimming_and_a_new_start() {
    let server = Redis::durable();
    let node = Node::open(options(&server.url())).await;
    let batches = node.grow(3, 7, Digest::default(), 6).await;
    node.grow(4, 7, Digest::default(), 1).await;
    node.ports.journal.trim(ShardId(3), batches[3].id).await.expect("trimmed");
    let expected: usize = batches[4].bytes.len() * 3;
    assert_eq!(node.ports.journal.kept_bytes(), expected as u64);
    let again = Node::open(options(&server.url())).await;
    assert_eq!(again.ports.journal.kept_bytes(), expected as u64);
}

#[tokio::test]
async fn what_is_not_ours_in_a_stream_is_said() {
    let server = Redis::durable();
    let node = Node::open(options(&server.url())).await;
    let mut conn = by_hand(&server).await;
    run(&mut conn, "XADD gavel:{faults:0}:journal 1-1 a b").await;
    let error = node.ports.journal.read(ShardId(0), Page { after: None, bytes: 1 }).await.expect_err("no batch");
    assert!(error.reason.contains("gavel:{faults:0}:journal holds an entry that is no batch"), "{error}");
    run(&mut conn, "SET gavel:{faults:1}:journal x").await;
    refused(&node.append(&node.batches(1, 7, Digest::default(), 1)[0]).await, "WRONGTYPE");
}

#[tokio::test]
async fn a_late_save_does_not_replace_a_later_one() {
    let server = Redis::durable();
    let node = Node::open(options(&server.url())).await;
    let set = |epoch, number, value: &[u8]| SnapshotSet {
        marker: Mark { id: BatchId { epoch: Epoch(epoch), number }, hash: Digest([1; 32]) },
        entities: vec![(EntityKey::Keys, value.to_vec())],
    };
    let snapshots = &node.ports.snapshots;
    snapshots.save(ShardId(0), set(8, 300, b"new"), vec![]).await.expect("saved");
    for (epoch, number) in [(7, 9_000), (8, 299)] {
        let error = snapshots.save(ShardId(0), set(epoch, number, b"old"), vec![]).await.expect_err("late");
        assert!(error.reason.contains("a later owner"), "{error}");
    }
    assert_eq!(snapshots.load(ShardId(0)).await.expect("readable"), Some(set(8, 300, b"new")));
    snapshots.save(ShardId(0), set(256, 0, b"newest"), vec![]).await.expect("saved");
}

#[tokio::test]
async fn a_first_save_that_did_not_end_leaves_nothing() {
    let server = Redis::durable();
    let node = Node::open(options(&server.url())).await;
    let mut conn = by_hand(&server).await;
    run(&mut conn, "HSET gavel:{faults:0}:snapshots saving somebody wann half wbob half").await;
    let snapshots = &node.ports.snapshots;
    assert_eq!(snapshots.load(ShardId(0)).await.expect("readable"), None, "nothing counts without a marker");
    let ann = EntityKey::Wallet("ann".try_into().expect("a bidder"));
    assert_eq!(snapshots.load_one(ShardId(0), ann.clone()).await.expect("readable"), None);
    let whole = SnapshotSet { marker: node.batches(0, 7, Digest::default(), 1)[0].mark(), entities: vec![(ann, b"whole".to_vec())] };
    snapshots.save(ShardId(0), whole.clone(), vec![]).await.expect("saved");
    assert_eq!(snapshots.load(ShardId(0)).await.expect("readable"), Some(whole));
}

#[tokio::test]
async fn a_save_whose_first_pieces_are_gone_is_refused() {
    let server = Redis::durable();
    let proxy = Proxy::before(server.addr()).await;
    let node = Node::open(options(&proxy.instead_of(server.addr(), &server.url()))).await;
    let marker = node.batches(0, 7, Digest::default(), 1)[0].mark();
    let long = |n| (EntityKey::Wallet(format!("b{n}").as_str().try_into().expect("a bidder")), vec![0_u8; 200_000]);
    let set = SnapshotSet { marker, entities: (0..4).map(long).collect() };
    // So that the script is there.
    node.ports.snapshots.save(ShardId(1), SnapshotSet::default(), vec![]).await.expect("saved");
    // The first piece arrives, its answer waits.
    proxy.replies(Flow::Stall);
    let snapshots = Arc::clone(&node.ports.snapshots);
    let saving = tokio::spawn(async move { snapshots.save(ShardId(0), set, vec![]).await });
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let there = async {
        while server.command("EXISTS gavel:{faults:0}:snapshots") != ":1" {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), there).await.expect("the first piece arrives");
    assert_eq!(server.command("FLUSHALL"), "+OK");
    proxy.replies(Flow::Pass);
    let error = saving.await.expect("no panic").expect_err("a half");
    assert!(error.reason.contains("is gone"), "{error}");
    assert_eq!(node.ports.snapshots.load(ShardId(0)).await.expect("readable"), None);
}

#[tokio::test]
async fn weak_settings_are_refused_or_warned_about() {
    let server = Redis::with(&["appendonly yes", "appendfsync everysec", "maxmemory-policy allkeys-lru"]);
    let OpenError::Unfit { lines, .. } = refusal(options(&server.url())).await else { panic!("unfit") };
    assert!(lines.len() == 2 && lines[0].starts_with("appendfsync is everysec"), "{lines:?}");
    let relaxed = RedisOptions { durability: Durability::Relaxed, ..options(&server.url()) };
    let opened = RedisStorage::open(relaxed).await.expect("let in");
    assert_eq!(opened.warnings, lines);
    Node::with(opened).await.grow(0, 7, Digest::default(), 1).await;
}

#[tokio::test]
async fn data_is_found_again_and_must_have_as_many_shards() {
    let server = Redis::durable();
    let first = RedisStorage::open(options(&server.url())).await.expect("opens");
    let again = RedisStorage::open(options(&server.url())).await.expect("opens");
    assert_eq!((first.created, again.created, first.storage.data_id()), (true, false, again.storage.data_id()));
    let error = refusal(RedisOptions { shards: 32, ..options(&server.url()) }).await.to_string();
    assert!(error.contains("made with 64 shards, 32 are configured"), "{error}");
    let mut conn = by_hand(&server).await;
    run(&mut conn, "HSET gavel:{faults}:meta layout 2").await;
    assert!(matches!(refusal(options(&server.url())).await, OpenError::Newer { found: 2, known: 1, .. }));
    assert!(matches!(refusal(RedisOptions { shards: 0, ..options(&server.url()) }).await, OpenError::BadShardCount(0)));
}

#[tokio::test]
async fn passwords_are_checked_and_never_told() {
    let server = Redis::with(&["appendonly yes", "appendfsync always", "requirepass correct-horse"]);
    RedisStorage::open(options(&server.url())).await.expect("opens");
    for url in [server.url().replace("correct", "wrong"), server.url().replace(":correct-horse@", "")] {
        let error = refusal(options(&url)).await;
        assert!(matches!(error, OpenError::Credentials { .. }), "{error:?}");
        assert!(error.to_string().contains(&server.addr().to_string()) && !format!("{error} {error:?}").contains("horse"), "{error}");
    }
    assert!(!format!("{:?}", options(&server.url())).contains("horse"));
    assert_eq!(Address::try_from("not a url").map(|address| address.to_string()), Err(BadAddress::Form));
}

#[tokio::test]
async fn tls_on_one_side_only_is_named() {
    let (with, without) = (Redis::tls_only(), Redis::durable());
    let error = refusal(options(&with.url().replace("rediss", "redis"))).await.to_string();
    assert!(error.contains("use rediss://"), "{error}");
    let impatient = RedisOptions { connect_timeout: Duration::from_millis(200), ..options(&without.url().replace("redis", "rediss")) };
    let error = refusal(impatient).await.to_string();
    assert!(error.contains("use redis://"), "{error}");
    // Its certificate is signed by nobody known.
    let error = refusal(options(&with.url())).await;
    assert!(matches!(&error, OpenError::Tls { reason, .. } if reason.contains("certificate")), "{error}");
    let trusted = std::fs::read(with.dir().join("cert.pem")).expect("its certificate");
    let trusting = RedisOptions { root_certificates: Some(trusted), durability: Durability::Relaxed, ..options(&with.url()) };
    Node::open(trusting).await.grow(0, 7, Digest::default(), 2).await;
}

#[tokio::test]
async fn nobody_there_is_said() {
    let mut server = Redis::durable();
    server.stop();
    let error = refusal(options(&server.url())).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    server.restart();
    server.pause();
    let error = refusal(RedisOptions { connect_timeout: Duration::from_millis(50), ..options(&server.url()) }).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
}

/// Answers as a Redis 6.2 would, as far as it is asked.
async fn old_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("redis://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = tokio::io::BufReader::new(read).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let info = "redis_version:6.2.14\r\nredis_mode:standalone\r\nrole:master\r\n";
                    let answer = match line.to_ascii_uppercase().as_str() {
                        "HELLO" => "%1\r\n+proto\r\n:3\r\n".to_owned(),
                        "INFO" => format!("${}\r\n{info}\r\n", info.len()),
                        "CONFIG" => "%0\r\n".to_owned(),
                        "CLIENT" => "+OK\r\n".to_owned(),
                        _ => continue,
                    };
                    if write.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn an_old_server_is_named_with_its_version() {
    let options = RedisOptions { durability: Durability::Relaxed, ..options(&old_server().await) };
    let OpenError::Unfit { lines, .. } = refusal(options).await else { panic!("unfit") };
    assert_eq!(lines, ["redis_version is 6.2.14, at least 7.0 is needed"]);
}

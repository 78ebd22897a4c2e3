//! The journal in a Redis Cluster, tables in PostgreSQL: masters that are lost, slots that move, addresses of something else.
//! Faults that one Redis has too are in `cluster_faults`.

use crate::{
    cluster_faults::{BIDDERS, LOTS, SOME, in_tables, on, rounds, verified},
    kit::{Load, Rng, Server, Setup, lot, until_within},
};
use gavel_test_servers::{Postgres, Redis, RedisCluster};
use std::time::Duration;

/// How long the nodes may take to agree that a master is gone and who follows it, on a busy machine.
const PROMOTION: Duration = Duration::from_secs(60);

fn key(shard: u16) -> String {
    format!("gavel:{{gavel:{shard}}}:journal")
}

/// With checkpoints so often that snapshots are saved meanwhile.
fn on_cluster(cluster: &RedisCluster, postgres: &Postgres) -> Setup {
    on(&cluster.url(), postgres).env("GAVEL__REDIS__DURABILITY", "relaxed").env("GAVEL__ENGINE__CHECKPOINT_MS", 100)
}

async fn stage(cluster: &RedisCluster, postgres: &Postgres, rng: &mut Rng) -> (Server, Load) {
    let server = on_cluster(cluster, postgres).start();
    server.log_line("it is a cluster, which may promote a replica that lacks acknowledged appends");
    let load = Load::start(&server, LOTS, BIDDERS, rng).await;
    load.goes_on(SOME);
    (server, load)
}

/// Kills a master and waits for its replica to take over.
#[track_caller]
fn replaced(cluster: &mut RedisCluster, master: usize) {
    cluster.masters[master].kill9();
    promoted(cluster, master);
}

#[track_caller]
fn promoted(cluster: &RedisCluster, master: usize) {
    let role = || cluster.replicas[master].answer("ROLE").first().is_some_and(|role| role == "master");
    until_within(PROMOTION, "the replica to be promoted", || role().then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_that_are_killed_are_followed_by_their_replicas() {
    let mut rng = Rng::seeded("masters_that_are_killed_are_followed_by_their_replicas");
    let (mut cluster, postgres) = (RedisCluster::with_replicas(3), Postgres::start());
    let (mut server, load) = stage(&cluster, &postgres, &mut rng).await;
    // Each once: two others must be left to agree.
    for master in (0..3).take(rounds(1) as usize) {
        let told = load.unavailable();
        replaced(&mut cluster, master);
        load.goes_on(SOME);
        assert!(load.unavailable() > told, "bids were `unavailable` meanwhile");
    }
    let history = verified(load, &server, &postgres).await;
    // The addresses that it was given are partly of the dead.
    server.restart();
    in_tables(&history, &server, &postgres);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_falls_silent_is_followed_by_its_replica_and_heard_no_more() {
    let mut rng = Rng::seeded("a_master_that_falls_silent_is_followed_by_its_replica_and_heard_no_more");
    let (cluster, postgres) = (RedisCluster::with_replicas(3), Postgres::start());
    let (mut server, load) = stage(&cluster, &postgres, &mut rng).await;
    let master = cluster.owner_of(&key(1));
    let told = load.unavailable();
    cluster.masters[master].pause();
    promoted(&cluster, master);
    load.goes_on(SOME);
    assert!(load.unavailable() > told, "bids were `unavailable` meanwhile");
    // It takes itself for the master until it hears of the other one, and has what was sent to it meanwhile.
    cluster.masters[master].resume();
    load.goes_on(SOME);
    let demoted = || cluster.masters[master].answer("ROLE").first().is_some_and(|role| role == "slave");
    until_within(PROMOTION, "the old master to follow the new one", || demoted().then_some(()));
    load.goes_on(SOME);
    let history = verified(load, &server, &postgres).await;
    server.restart();
    in_tables(&history, &server, &postgres);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_promoted_replica_lacks_is_written_back() {
    let mut rng = Rng::seeded("what_a_promoted_replica_lacks_is_written_back");
    let (mut cluster, postgres) = (RedisCluster::with_replicas(3), Postgres::start());
    let (mut server, load) = stage(&cluster, &postgres, &mut rng).await;
    // From here on the replica is refused by its master, and follows no more.
    let master = cluster.owner_of(&key(1));
    assert_eq!(cluster.replicas[master].command("CONFIG SET masterauth wrong"), "+OK");
    assert!(cluster.masters[master].command("CLIENT KILL TYPE replica").starts_with(':'));
    let alone = || cluster.masters[master].answer("INFO replication")[0].contains("connected_slaves:0");
    until_within(PROMOTION, "the master to be alone", || alone().then_some(()));
    load.goes_on(SOME);
    replaced(&mut cluster, master);
    load.goes_on(SOME);
    let history = verified(load, &server, &postgres).await;
    let log = server.err.text();
    let completed = ["completed from it", "written back from memory"].iter().map(|words| log.matches(words).count()).sum::<usize>();
    assert!(completed > 0 && !log.contains("lost:"), "the replica lacked something: {log}");
    server.restart();
    in_tables(&history, &server, &postgres);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_are_followed_without_a_bid_refused() {
    let mut rng = Rng::seeded("slots_that_move_are_followed_without_a_bid_refused");
    let (cluster, postgres) = (RedisCluster::of_masters(3), Postgres::start());
    let (mut server, load) = stage(&cluster, &postgres, &mut rng).await;
    for round in 0..rounds(2) {
        for shard in 0..4 {
            let to = (cluster.owner_of(&key(shard)) + 1 + round as usize % 2) % 3;
            let moving = cluster.begin_move(&key(shard), to);
            // Its keys are with the new master, the slot is not.
            load.goes_on(SOME);
            moving.finish();
            load.goes_on(SOME);
            assert_eq!(cluster.owner_of(&key(shard)), to);
        }
    }
    assert_eq!(load.unavailable(), 0, "redirections are nobody's business");
    let history = verified(load, &server, &postgres).await;
    server.restart();
    in_tables(&history, &server, &postgres);
}

/// Refused with one line that says all of this.
#[track_caller]
fn refused(url: &str, durability: &str, status: i32, parts: &[&str]) {
    let setup = Setup::new().in_redis(url).env("GAVEL__REDIS__DURABILITY", durability).env("GAVEL__REDIS__CONNECT_TIMEOUT_MS", 500);
    let dir = setup.dir().to_owned();
    let finished = setup.refused();
    let said = &finished.stderr;
    assert_eq!((finished.status.code(), said.trim().lines().count()), (Some(status), 1), "{said}");
    for part in parts.iter().chain(&["gavel: "]) {
        assert!(said.contains(part), "{part:?} is missing in: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("horse") && !dir.exists(), "{said}");
}

#[test]
fn addresses_that_are_not_the_clusters_are_named() {
    let (mut cluster, alone) = (RedisCluster::of_masters(3), Redis::durable());
    let node = cluster.masters[0].addr().to_string();
    for durability in ["relaxed", "strict"] {
        refused(&format!("redis://{node}"), durability, 1, &[&node, "it is a node of a Redis Cluster: use redis+cluster://"]);
    }
    let address = alone.addr().to_string();
    let no_cluster = [address.as_str(), "it is no node of a Redis Cluster: use redis://"];
    refused(&format!("redis+cluster://{address}"), "relaxed", 1, &no_cluster);
    refused(&cluster.url(), "strict", 2, &["redis.url", "a Redis Cluster promotes replicas", "\"relaxed\""]);
    let numbered = format!("redis+cluster://:horse@{node}/1");
    refused(&numbered, "relaxed", 2, &["redis.url", "no numbered databases", "********"]);
    assert_eq!(cluster.masters[0].command("CLUSTER DELSLOTS 7"), "+OK");
    refused(&format!("redis+cluster://{node}"), "relaxed", 1, &[&node, "1 of the cluster's 16384 slots have no master"]);
    assert_eq!(cluster.masters[0].command("CLUSTER ADDSLOTS 7"), "+OK");
    // A master that is no replica's; and none of the addresses answers.
    let lost = cluster.masters[2].addr().to_string();
    cluster.masters[2].stop();
    refused(&cluster.url(), "relaxed", 1, &[&lost, "(a Redis Cluster)", "refused"]);
    cluster.masters[2].restart();
    cluster.serves();
    let server = Setup::new().in_redis(cluster.url()).env("GAVEL__REDIS__DURABILITY", "relaxed").start();
    server.house().create(&lot());
    cluster.masters.iter_mut().for_each(|node| node.stop());
    refused(&cluster.url(), "relaxed", 1, &["(a Redis Cluster)", "refused"]);
}

//! The kit itself: what it starts serves, and what it is told to break breaks.

use gavel_test_servers::{Flow, PgBouncer, Postgres, Proxy, Redis, RedisCluster, SlowDisk};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream as Blocking},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// One inline command, its one-line answer.
fn ask(addr: SocketAddr, command: &str) -> String {
    let mut stream = Blocking::connect(addr).expect("it listens");
    stream.write_all(format!("{command}\r\n").as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n") {
        stream.read_exact(&mut byte).expect("it answers");
        answer.extend(byte);
    }
    String::from_utf8(answer).expect("text").trim_end().to_owned()
}

#[test]
fn redis_keeps_what_it_acknowledged() {
    let mut redis = Redis::durable();
    assert_eq!(ask(redis.addr(), "SET a 1"), "+OK");
    redis.kill9();
    redis.restart();
    assert_eq!(ask(redis.addr(), "INCR a"), ":2");
    redis.stop();
    Blocking::connect(redis.addr()).expect_err("it has stopped");
    redis.restart();
    assert_eq!(ask(redis.addr(), "INCR a"), ":3");
}

#[test]
fn many_at_once_have_ports_of_their_own() {
    let servers: Vec<_> = (0..4).map(|_| std::thread::spawn(|| Redis::with(&[]))).collect();
    let servers: Vec<_> = servers.into_iter().map(|server| server.join().expect("it started")).collect();
    for server in &servers {
        assert_eq!(ask(server.addr(), "INCR a"), ":1");
    }
}

#[test]
fn a_server_ends_with_its_handle() {
    let redis = Redis::with(&["requirepass secret"]);
    let (addr, dir) = (redis.addr(), redis.dir().to_owned());
    assert!(redis.url().contains(":secret@"));
    assert!(ask(addr, "GET a").starts_with("-NOAUTH"));
    drop(redis);
    Blocking::connect(addr).expect_err("it is gone");
    assert!(!dir.exists());
}

#[test]
fn a_paused_server_answers_once_it_is_resumed() {
    let redis = Redis::with(&[]);
    let mut stream = Blocking::connect(redis.addr()).expect("it listens");
    redis.pause();
    stream.write_all(b"PING\r\n").expect("the system takes it");
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("settable");
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).expect_err("it is paused");
    redis.resume();
    stream.set_read_timeout(None).expect("settable");
    stream.read_exact(&mut answer).expect("it answers");
    assert_eq!(&answer, b"+PONG\r\n");
}

#[test]
#[should_panic(expected = "redis-server did not start")]
fn a_server_that_can_not_start_says_why() {
    drop(Redis::with(&["no-such-setting yes"]));
}

/// Logs in; the first byte of the answer to `SELECT 1` that tells.
fn select_one(addr: SocketAddr) -> u8 {
    let mut stream = Blocking::connect(addr).expect("it listens");
    let mut hello = 0x0003_0000_u32.to_be_bytes().to_vec();
    hello.extend(b"user\0gavel\0database\0gavel\0\0");
    let length = u32::try_from(hello.len() + 4).expect("short").to_be_bytes();
    stream.write_all(&[&length, &*hello].concat()).expect("it reads");
    let mut until = |wanted: &[u8]| loop {
        let mut head = [0; 5];
        stream.read_exact(&mut head).expect("it answers");
        let mut body = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4];
        stream.read_exact(&mut body).expect("it answers");
        if wanted.contains(&head[0]) {
            return head[0];
        }
    };
    assert_eq!(until(b"ZE"), b'Z', "logged in");
    stream.write_all(b"Q\0\0\0\x0dSELECT 1\0").expect("it reads");
    let mut head = [0; 1];
    stream.read_exact(&mut head).expect("it answers");
    head[0]
}

#[test]
fn postgres_serves_again_after_a_kill_and_through_pgbouncer() {
    let mut postgres = Postgres::with(&["max_connections = 20"]);
    assert!(postgres.url().contains(&postgres.addr().to_string()));
    let pgbouncer = PgBouncer::before(&postgres);
    // A row description comes first.
    assert_eq!((select_one(postgres.addr()), select_one(pgbouncer.addr())), (b'T', b'T'));
    postgres.kill9();
    postgres.restart();
    assert_eq!(select_one(postgres.addr()), b'T');
    // A second one is a copy: another server with the same empty database.
    let other = Postgres::start();
    assert_ne!(other.addr(), postgres.addr());
    assert_eq!(select_one(other.addr()), b'T');
    postgres.stop();
    Blocking::connect(postgres.addr()).expect_err("it has stopped");
}

#[tokio::test]
async fn the_proxy_does_as_it_is_told() {
    let redis = Redis::with(&[]);
    let proxy = Proxy::before(redis.addr()).await;
    assert_eq!(proxy.instead_of(redis.addr(), &redis.url()), format!("redis://{}", proxy.addr()));
    let mut stream = TcpStream::connect(proxy.addr()).await.expect("it listens");
    let mut answer = [0; 4];
    let mut ask = async |stream: &mut TcpStream| {
        stream.write_all(b"INCR a\r\n").await?;
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    assert_eq!(&ask(&mut stream).await.expect("passed on"), b":1\r\n");
    proxy.replies(Flow::Delay(Duration::from_millis(1)));
    assert_eq!(&ask(&mut stream).await.expect("passed on later"), b":2\r\n");

    // What stalls comes through once it may.
    proxy.requests(Flow::Stall);
    assert!(tokio::time::timeout(Duration::from_millis(20), ask(&mut stream)).await.is_err());
    assert_eq!(self::ask(redis.addr(), "GET a"), "$1");
    proxy.requests(Flow::Pass);
    let mut late = [0; 4];
    stream.read_exact(&mut late).await.expect("passed on at last");
    assert_eq!(&late, b":3\r\n");

    // The reply is lost, the request was not.
    proxy.replies(Flow::Drop);
    let dropped = proxy.next_dropped(4);
    stream.write_all(b"INCR a\r\n").await.expect("written");
    dropped.await;
    proxy.cut();
    let cut = stream.read_exact(&mut late).await.expect_err("cut");
    assert_eq!(cut.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(self::ask(redis.addr(), "INCR a"), ":5");

    proxy.replies(Flow::Pass);
    proxy.refuse(true);
    let mut refused = TcpStream::connect(proxy.addr()).await.expect("the system accepts it");
    ask(&mut refused).await.expect_err("reset");
    proxy.refuse(false);
    let mut again = TcpStream::connect(proxy.addr()).await.expect("it listens");
    assert_eq!(&ask(&mut again).await.expect("passed on"), b":6\r\n");
}

#[test]
fn a_cluster_has_every_slot_and_promotes_a_replica() {
    let mut cluster = RedisCluster::with_replicas(3);
    let owner = cluster.owner_of("a");
    assert_eq!(ask(cluster.masters[owner].addr(), "SET a 1"), "+OK");
    assert!(ask(cluster.masters[(owner + 1) % 3].addr(), "GET a").starts_with("-MOVED"));
    assert_eq!(ask(cluster.masters[owner].addr(), "WAIT 1 0"), ":1");
    cluster.masters[owner].kill9();
    while ask(cluster.replicas[owner].addr(), "INCR a") != ":2" {
        std::thread::sleep(Duration::from_millis(20));
    }
    cluster.masters[owner].restart();
    assert!(ask(cluster.masters[owner].addr(), "CLUSTER MYID").starts_with('$'));
}

#[test]
fn a_slot_moves_with_its_keys() {
    let cluster = RedisCluster::of_masters(3);
    let (from, to) = (cluster.owner_of("a"), (cluster.owner_of("a") + 1) % 3);
    assert_eq!(ask(cluster.masters[from].addr(), "SET a 1"), "+OK");
    let moving = cluster.begin_move("a", to);
    assert!(ask(cluster.masters[from].addr(), "INCR a").starts_with("-ASK"));
    moving.finish();
    assert_eq!((ask(cluster.masters[to].addr(), "INCR a"), cluster.owner_of("a")), (":2".to_owned(), to));
}

/// Says why a test did not run here; where all must run, that is a failure.
fn skipped(test: &str, why: &str) {
    let must = std::env::var("GAVEL_TESTS_MUST_RUN").is_ok_and(|must| must != "0");
    assert!(!must, "{test} did not run: {why}");
    eprintln!("skipped: {test}: {why}");
}

#[test]
fn a_full_disk_ends_a_redis_that_keeps_its_word_and_goes_with_it() {
    let Some(mut redis) = Redis::durable_on_small_disk(64) else {
        return skipped("a_full_disk_ends_a_redis_that_keeps_its_word_and_goes_with_it", "nothing may be mounted");
    };
    assert_eq!(ask(redis.addr(), "SET a 1"), "+OK");
    redis.disk().fill();
    let mut stream = Blocking::connect(redis.addr()).expect("it listens");
    // More than may be left of a page.
    stream.write_all(format!("SET b {}\r\n", "x".repeat(8192)).as_bytes()).expect("it reads");
    assert!(redis.ended().contains("Can't recover from AOF write error"));
    redis.disk().free();
    redis.restart();
    assert_eq!((ask(redis.addr(), "INCR a").as_str(), ask(redis.addr(), "EXISTS b").as_str()), (":2", ":0"));
    let dir = redis.dir().to_owned();
    drop(redis);
    let mounts = std::fs::read_to_string("/proc/mounts").expect("there are some");
    assert!(!dir.exists() && !mounts.contains(&dir.display().to_string()), "{mounts}");
}

#[test]
fn a_slow_disk_delays_what_is_kept_until_it_is_dropped() {
    let redis = Redis::durable();
    let slow = match SlowDisk::under(redis.pid(), Duration::from_millis(500)) {
        Ok(slow) => slow,
        Err(why) => return skipped("a_slow_disk_delays_what_is_kept_until_it_is_dropped", &why),
    };
    let mut stream = Blocking::connect(redis.addr()).expect("it listens");
    stream.write_all(b"SET a 1\r\n").expect("it reads");
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("settable");
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).expect_err("it is not kept yet");
    stream.set_read_timeout(None).expect("settable");
    stream.read_exact(&mut answer).expect("it is kept");
    assert_eq!(&answer, b"+OK\r\n");
    drop(slow);
    assert_eq!(ask(redis.addr(), "INCR a"), ":2");
}

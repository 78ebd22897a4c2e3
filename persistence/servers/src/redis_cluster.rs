//! A Redis Cluster.

use crate::{Redis, certificate::make_certificate, process::temporary_dir};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Gives up on nodes that do not agree after this.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const SLOTS: u32 = 16_384;

/// Masters that share all slots, and a replica of each or none. Ends with its handle.
pub struct RedisCluster {
    /// Masters as it was made; who is one now, only the nodes know.
    pub masters: Vec<Redis>,
    /// Of each master in the same order.
    pub replicas: Vec<Redis>,
    tls: bool,
}

impl RedisCluster {
    /// So many masters, which keep what they acknowledged. Nobody is promoted, and a busy machine's pauses are nobody's failure.
    ///
    /// # Panics
    /// They do not come together within a minute.
    #[must_use]
    pub fn of_masters(count: usize) -> Self {
        Self::with(count, false, false, &["cluster-node-timeout 60000"])
    }

    /// The same; clients and nodes speak TLS, with a certificate made for them (`cert.pem` in a node's directory).
    ///
    /// # Panics
    /// They do not come together within a minute.
    #[must_use]
    pub fn tls_of_masters(count: usize) -> Self {
        Self::with(count, false, true, &["cluster-node-timeout 60000"])
    }

    /// So many masters with a replica each, which is promoted about two seconds after its master is gone, whatever it lacks.
    ///
    /// # Panics
    /// They do not come together within a minute.
    #[must_use]
    pub fn with_replicas(count: usize) -> Self {
        Self::with(count, true, false, &["cluster-node-timeout 1500", "cluster-replica-validity-factor 0", "repl-diskless-sync-delay 0"])
    }

    fn with(count: usize, replicated: bool, tls: bool, lines: &[&str]) -> Self {
        let own = ["appendonly yes", "appendfsync always", "maxmemory-policy noeviction", "cluster-announce-ip 127.0.0.1"];
        let lines: Vec<String> = own.iter().chain(lines).map(ToString::to_string).collect();
        let certificate = tls.then(|| {
            let dir = temporary_dir();
            make_certificate(dir.path());
            dir
        });
        let fill = |dir: &Path| {
            let Some(from) = &certificate else { return };
            for name in ["cert.pem", "key.pem"] {
                std::fs::copy(from.path().join(name), dir.join(name)).expect("copied");
            }
        };
        let start = |count: usize| (0..count).map(|_| Redis::node(&lines, fill)).collect::<Vec<_>>();
        let (masters, replicas) = (start(count), start(if replicated { count } else { 0 }));
        let cluster = Self { masters, replicas, tls };
        let share = SLOTS.div_ceil(u32::try_from(count).expect("a few"));
        for (number, master) in (0..).zip(&cluster.masters) {
            let last = (share * (number + 1) - 1).min(SLOTS - 1);
            ok(master, &format!("CLUSTER ADDSLOTSRANGE {} {last}", share * number));
            ok(master, &format!("CLUSTER SET-CONFIG-EPOCH {}", number + 1));
        }
        for node in cluster.nodes().skip(1) {
            let first = &cluster.masters[0];
            ok(node, &format!("CLUSTER MEET 127.0.0.1 {} {}", first.addr().port(), setting(first, "cluster-port")));
        }
        let all = cluster.nodes().count();
        let met = |node: &Redis| info(node, "CLUSTER INFO", "cluster_known_nodes") == all.to_string();
        until("nodes to meet", || cluster.nodes().all(|node| met(node) && !nodes(node).contains("handshake")));
        cluster.serves();
        for (replica, master) in cluster.replicas.iter().zip(&cluster.masters) {
            ok(replica, &format!("CLUSTER REPLICATE {}", id(master)));
        }
        let count_of = |node: &Redis, words: &str| nodes(node).lines().filter(|line| line.contains(words)).count();
        until("replicas to follow", || cluster.replicas.iter().all(|node| info(node, "INFO replication", "master_link_status") == "up"));
        until("replicas to be known", || cluster.nodes().all(|node| count_of(node, "slave ") == cluster.replicas.len()));
        cluster
    }

    /// Waits until every node that was restarted serves: at first it takes nothing, until it has heard of the others.
    ///
    /// # Panics
    /// One of them does not within a minute, or does not run.
    pub fn serves(&self) {
        until("the cluster to serve", || self.nodes().all(|node| info(node, "CLUSTER INFO", "cluster_state") == "ok"));
    }

    /// All of them, as they were started.
    fn nodes(&self) -> impl Iterator<Item = &Redis> {
        self.masters.iter().chain(&self.replicas)
    }

    /// As Gavel wants it: two of the masters and, where there are some, one of the replicas.
    #[must_use]
    pub fn url(&self) -> String {
        let some = self.masters.iter().take(2).chain(self.replicas.last());
        let tls_port = |node: &Redis| format!("127.0.0.1:{}", setting(node, "tls-port"));
        let seeds: Vec<String> = some.map(|node| if self.tls { tls_port(node) } else { node.addr().to_string() }).collect();
        format!("redis{}+cluster://{}", if self.tls { "s" } else { "" }, seeds.join(","))
    }

    /// Which of the masters as it was made has the slot of a key.
    ///
    /// # Panics
    /// None of them.
    pub fn owner_of(&self, key: &str) -> usize {
        let slot: u32 = self.masters[0].answer(&format!("CLUSTER KEYSLOT {key}"))[0].parse().expect("a number");
        let has = |node: &Redis| {
            let own = nodes(node).lines().find(|line| line.contains("myself")).expect("itself").to_owned();
            let range = |word: &str| {
                let (first, last) = word.split_once('-').unwrap_or((word, word));
                Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
            };
            own.split(' ').skip(8).filter_map(range).any(|range| range.contains(&slot))
        };
        self.masters.iter().position(has).expect("somebody has it")
    }

    /// Begins to move a key's slot from one master to another, and the keys that are in it: nobody has heard of it yet
    /// but those two, and clients are sent on with `ASK`. [`Moving::finish`] ends it.
    ///
    /// # Panics
    /// They do not do as they are told.
    #[must_use]
    pub fn begin_move(&self, key: &str, to: usize) -> Moving<'_> {
        let (from, to) = (&self.masters[self.owner_of(key)], &self.masters[to]);
        let slot = from.answer(&format!("CLUSTER KEYSLOT {key}"))[0].clone();
        ok(to, &format!("CLUSTER SETSLOT {slot} IMPORTING {}", id(from)));
        ok(from, &format!("CLUSTER SETSLOT {slot} MIGRATING {}", id(to)));
        let moving = Moving { cluster: self, from, to, slot };
        moving.keys();
        moving
    }
}

/// A slot on its way.
pub struct Moving<'a> {
    cluster: &'a RedisCluster,
    from: &'a Redis,
    to: &'a Redis,
    slot: String,
}

impl Moving<'_> {
    fn keys(&self) {
        loop {
            let keys = self.from.answer(&format!("CLUSTER GETKEYSINSLOT {} 100", self.slot));
            if keys.is_empty() {
                return;
            }
            let command = format!("MIGRATE 127.0.0.1 {} \"\" 0 60000 KEYS {}", self.to.addr().port(), keys.join(" "));
            let answer = self.from.command(&command);
            assert!(["+OK", "+NOKEY"].contains(&answer.as_str()), "{command}: {answer}");
        }
    }

    /// Moves what is left, and gives the slot to its new master.
    ///
    /// # Panics
    /// They do not do as they are told.
    pub fn finish(self) {
        self.keys();
        for node in [self.to, self.from].into_iter().chain(&self.cluster.masters) {
            ok(node, &format!("CLUSTER SETSLOT {} NODE {}", self.slot, id(self.to)));
        }
    }
}

fn ok(node: &Redis, command: &str) {
    assert_eq!(node.command(command), "+OK", "{command}");
}

fn id(node: &Redis) -> String {
    node.answer("CLUSTER MYID").remove(0)
}

/// How a node sees all of them, a line each.
fn nodes(node: &Redis) -> String {
    node.answer("CLUSTER NODES").remove(0)
}

/// A line of an answer `name:value`.
fn info(node: &Redis, command: &str, name: &str) -> String {
    let text = node.answer(command).remove(0);
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().to_owned()
}

fn setting(node: &Redis, name: &str) -> String {
    node.answer(&format!("CONFIG GET {name}")).remove(1)
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(LOOK_AGAIN);
    }
}

//! The engine of a node: starts its shards on their arbiters, takes requests in, tells how it fares.

use super::{
    directory::Directory,
    inbox::{Inbox, Requests, inbox},
    post::Post,
    request::{Ask, Reply, Request, WalletAsk, WalletRequest},
};
use crate::{
    actors::{
        admission::admit,
        shard::{Node, Shard},
    },
    clock::Clock,
    commit::{checkpoint, committer, failure::RecoveryError, recovery::recover},
    delivery::{Inlet, Outlet, Outlets, WorkerId, reply::ReplyTo},
    meters::{self, Meters},
    ports::{PortFuture, Storage, StorageError, format::Mark},
    projection::{
        backlog::Backlog,
        history::History,
        projector::{Projector, Trouble},
    },
};
use actix_rt::Arbiter;
use gavel_domain::ids::{BidderId, Epoch, LotId, OwnerId, ShardId, shard_of, shard_of_wallet};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

/// A store that takes longer to answer is not ready.
const PING: Duration = Duration::from_millis(1500);

/// The figures of an engine. Bounds are checked where they are configured.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// Names this process in the journal.
    pub owner: OwnerId,
    /// Shards in the data; fixed when it was created.
    pub shards: u16,
    /// Threads for shards.
    pub arbiters: usize,
    /// Requests that wait in an arbiter's inbox. Beyond: `overloaded`.
    pub inbox: usize,
    /// Bytes that the journal may keep. Beyond: bids are `overloaded`.
    pub journal_max_bytes: u64,
    /// Journal bytes of a shard after which it is saved.
    pub checkpoint_bytes: usize,
    /// The age of unsaved changes after which they are saved.
    pub checkpoint_after: Duration,
    /// How long a lot that is over stays in memory; none: for ever.
    pub evict_after: Option<Duration>,
}

/// A shard as an operator sees it.
#[derive(Clone, Debug)]
pub struct ShardStatus {
    /// Which.
    pub shard: ShardId,
    /// Of its current owner.
    pub epoch: Epoch,
    /// Why it does not serve; none if it does.
    pub trouble: Option<String>,
}

/// The engine. Cheap to clone, callable from any thread.
#[derive(Clone)]
pub struct Engine {
    node: Arc<Node>,
    inboxes: Arc<[Inbox]>,
    history: History,
    statuses: Arc<Mutex<Vec<watch::Receiver<ShardStatus>>>>,
    arbiters: Arc<Mutex<Vec<Arbiter>>>,
    projecting: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
    projector_trouble: Trouble,
    stop: CancellationToken,
}

impl Engine {
    /// Recovers every shard and starts to serve. Must run inside an actix system.
    ///
    /// A shard whose journal and archive tell different stories is closed (see [`Engine::ready`]);
    /// the others serve.
    ///
    /// # Errors
    /// A shard can't be recovered for another reason: nothing serves then.
    pub async fn start(storage: Storage, tuning: Tuning) -> Result<Self, RecoveryError> {
        let started = Instant::now();
        let backlog = Arc::new(Backlog::new(tuning.shards));
        let history = History::new(storage.clone(), Arc::clone(&backlog), tuning.shards);
        let node = Arc::new(Node {
            clock: Clock::start(),
            storage: storage.clone(),
            outlets: Outlets::default(),
            directory: Directory::default(),
            post: Post::new(tuning.shards),
            backlog: Arc::clone(&backlog),
            meters: Meters::new(),
            tuning: tuning.clone(),
            superseded: AtomicBool::new(false),
        });
        let cursors = storage.tables.cursors().await.map_err(|error| RecoveryError::Storage { shard: ShardId(0), error })?;
        let cursors: BTreeMap<ShardId, Mark> = cursors.into_iter().collect();

        let threads = tuning.arbiters.clamp(1, usize::from(tuning.shards));
        let (mut inboxes, mut statuses, mut arbiters, mut starting) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for thread in 0..threads {
            let (inbox, requests) = inbox(tuning.inbox);
            let (ready, is_ready) = oneshot::channel::<Ready>();
            let arbiter = Arbiter::new();
            let (node, cursors) = (Arc::clone(&node), cursors.clone());
            arbiter.spawn_fn(move || {
                actix_rt::spawn(run_arbiter(node, cursors, thread, threads, requests, ready));
            });
            inboxes.push(inbox);
            starting.push(is_ready);
            arbiters.push(arbiter);
        }
        for (thread, ready) in starting.into_iter().enumerate() {
            let shards = ready.await.map_err(|_| RecoveryError::ThreadDied { thread })?;
            statuses.extend(shards?);
        }
        let inboxes: Arc<[Inbox]> = inboxes.into();
        node.post.open(Arc::clone(&inboxes));
        node.meters.recovery_seconds.record(started.elapsed());
        let stop = CancellationToken::new();
        let projector = Projector::new(storage, backlog, tuning.shards);
        let projector_trouble = projector.trouble();
        let projecting = projector.run_apart(stop.clone()).map_err(|reason| RecoveryError::Storage {
            shard: ShardId(0),
            error: StorageError { operation: "starting the projector".to_owned(), reason: reason.to_string() },
        })?;
        tracing::info!(lots = node.directory.len(), seconds = started.elapsed().as_secs_f64(), "recovered");
        Ok(Self {
            node,
            inboxes,
            history,
            statuses: Arc::new(Mutex::new(statuses)),
            arbiters: Arc::new(Mutex::new(arbiters)),
            projecting: Arc::new(Mutex::new(Some(projecting))),
            projector_trouble,
            stop,
        })
    }

    /// Hands a request to its lot's shard. A full inbox answers `overloaded` at once.
    pub fn submit(&self, request: Request) {
        let arbiter = self.arbiter_of(&request);
        self.put(arbiter, vec![request]);
    }

    /// As [`Engine::submit`] for many, in order: each arbiter is woken once.
    pub fn submit_all(&self, requests: Vec<Request>) {
        if self.inboxes.len() == 1 {
            return self.put(0, requests);
        }
        let mut parcels: Vec<Vec<Request>> = self.inboxes.iter().map(|_| Vec::new()).collect();
        for request in requests {
            parcels[self.arbiter_of(&request)].push(request);
        }
        for (arbiter, parcel) in parcels.into_iter().enumerate().filter(|(_, parcel)| !parcel.is_empty()) {
            self.put(arbiter, parcel);
        }
    }

    fn arbiter_of(&self, request: &Request) -> usize {
        usize::from(shard_of(request.lot, self.node.tuning.shards).0) % self.inboxes.len()
    }

    fn put(&self, arbiter: usize, requests: Vec<Request>) {
        for request in self.inboxes[arbiter].put(requests) {
            request.reply.send(Reply::Overloaded);
        }
    }

    /// Asks and waits for the answer.
    pub async fn ask(&self, lot: LotId, ask: Ask) -> Reply {
        let (reply, answer) = ReplyTo::future();
        self.submit(Request { lot, ask, reply });
        answer.await.unwrap_or(Reply::Unavailable)
    }

    /// As [`Engine::submit`], to a wallet.
    pub fn submit_to_wallet(&self, request: WalletRequest) {
        let arbiter = usize::from(shard_of_wallet(&request.bidder, self.node.tuning.shards).0) % self.inboxes.len();
        if let Some(beyond) = self.inboxes[arbiter].put_wallet(request) {
            beyond.reply.send(Reply::Overloaded);
        }
    }

    /// Asks a wallet and waits for the answer.
    pub async fn ask_wallet(&self, bidder: BidderId, ask: WalletAsk) -> Reply {
        let (reply, answer) = ReplyTo::future();
        self.submit_to_wallet(WalletRequest { bidder, ask, reply });
        answer.await.unwrap_or(Reply::Unavailable)
    }

    /// Attaches a worker thread that holds sockets; none if there are too many.
    #[must_use]
    pub fn attach_worker(&self) -> Option<(WorkerId, Arc<Outlet>, Inlet)> {
        self.node.outlets.attach()
    }

    /// What was committed, however long ago.
    #[must_use]
    pub const fn history(&self) -> &History {
        &self.history
    }

    /// The lots in memory.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.node.directory
    }

    /// The engine's time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.node.clock
    }

    /// How the shards are.
    #[must_use]
    pub fn shards(&self) -> Vec<ShardStatus> {
        let statuses = self.statuses.lock();
        let now = statuses.iter().map(|watching| {
            let mut status = watching.borrow().clone();
            if watching.has_changed().is_err() {
                status.trouble.get_or_insert_with(|| "its thread has ended".to_owned());
            }
            status
        });
        now.collect()
    }

    /// Batches that the tables don't hold yet, and the age of the oldest in seconds.
    #[must_use]
    pub fn projector_lag(&self) -> (u64, f64) {
        self.node.backlog.lag()
    }

    /// Brings the gauges up to date that nobody moves as it happens.
    pub fn gauge(&self) {
        let (batches, seconds) = self.projector_lag();
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        {
            metrics::gauge!(meters::PROJECTOR_LAG_BATCHES).set(batches as f64);
            metrics::gauge!(meters::JOURNAL_BYTES).set(self.node.storage.journal.kept_bytes() as f64);
        }
        metrics::gauge!(meters::PROJECTOR_LAG_SECONDS).set(seconds);
    }

    /// A round trip through everything that an accepted bid needs.
    ///
    /// # Errors
    /// What does not answer.
    pub async fn ready(&self) -> Result<(), Vec<String>> {
        let storage = &self.node.storage;
        let (journal, tables) = tokio::join!(in_time("the journal", storage.journal.ping()), in_time("the tables", storage.tables.ping()));
        let mut troubles: Vec<String> = [journal, tables].into_iter().filter_map(Result::err).collect();
        troubles.extend(self.shards().into_iter().filter_map(|shard| Some(format!("shard {}: {}", shard.shard, shard.trouble?))));
        troubles.extend(self.projector_trouble.lock().clone());
        if troubles.is_empty() { Ok(()) } else { Err(troubles) }
    }

    /// Lets the projector finish and stops the arbiters. What is acknowledged is durable already: this
    /// only shortens the next start.
    pub async fn shut_down(&self) {
        self.stop.cancel();
        let projecting = self.projecting.lock().take();
        if let Some(projecting) = projecting {
            let _ = projecting.await;
        }
        for arbiter in self.arbiters.lock().drain(..) {
            arbiter.stop();
        }
    }
}

/// A store that is asked whether it is there.
async fn in_time(store: &str, ping: PortFuture<(), StorageError>) -> Result<(), String> {
    match tokio::time::timeout(PING, ping).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("{store} has not answered within {} ms", PING.as_millis())),
    }
}

impl Node {
    pub(crate) fn history(&self) -> History {
        History::new(self.storage.clone(), Arc::clone(&self.backlog), self.tuning.shards)
    }
}

type Ready = Result<Vec<watch::Receiver<ShardStatus>>, RecoveryError>;

/// One thread's shards: recovers them side by side, then admits requests to them.
async fn run_arbiter(
    node: Arc<Node>,
    cursors: BTreeMap<ShardId, Mark>,
    thread: usize,
    threads: usize,
    requests: Requests,
    ready: oneshot::Sender<Ready>,
) {
    let count = node.tuning.shards;
    let own = (0..count).map(ShardId).filter(|shard| usize::from(shard.0) % threads == thread);
    let recoveries = own.map(|id| {
        let (node, cursor) = (Arc::clone(&node), cursors.get(&id).copied());
        async move {
            let shard = Shard::new(id, Arc::clone(&node));
            match recover(id, &node.storage, node.tuning.owner, cursor, None, node.clock.now()).await {
                Ok(recovered) => shard.serve(recovered),
                Err(fork @ RecoveryError::Forked { .. }) => shard.close(fork.to_string()),
                Err(error) => return Err(error),
            }
            Ok(shard)
        }
    });
    let shards = match futures_util::future::try_join_all(recoveries).await {
        Ok(shards) => shards,
        Err(error) => return drop(ready.send(Err(error))),
    };
    let mut by_id: Vec<Option<Rc<Shard>>> = vec![None; usize::from(count)];
    let mut statuses = Vec::new();
    for shard in shards {
        statuses.push(shard.status());
        actix_rt::spawn(committer::commit(Rc::clone(&shard)));
        actix_rt::spawn(checkpoint::keep_up(Rc::clone(&shard)));
        actix_rt::spawn(Rc::clone(&shard).carry_letters());
        let at = usize::from(shard.id.0);
        by_id[at] = Some(shard);
    }
    let _ = ready.send(Ok(statuses));
    admit(requests, by_id).await;
}

//! The journal's one writer: a task with connections of its own, and one more for each node of a cluster.
//!
//! Whatever waits (appends of all shards above all) goes to a server in one round trip; what comes
//! meanwhile is the next. Each command is atomic by itself, so one shard's refusal is nobody
//! else's. A round without an answer is of unknown fate, all of it.

use super::{
    fault::Fault,
    keys::{Prefix, entry_id},
    link::Endpoint,
    scripts::{Script, Scripts},
    slots::Node,
};
use futures_util::FutureExt as _;
use gavel_domain::{ids::ShardId, shard::batch::BatchId};
use gavel_engine::ports::format::{Digest, Sealed};
use redis::{Cmd, Pipeline, Value, cmd};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

/// Writes that may wait: one append in flight for each shard, and there are at most 4,096.
const WRITES_WAITING: usize = 4096;
/// Commands in one round, at most ...
const MOST_IN_ROUND: usize = 256;
/// ... and it takes no more after this many bytes.
const BYTES_IN_ROUND: usize = 8 << 20;

/// Something to be written to one shard's stream.
pub(super) enum Write {
    Append(Arc<Sealed>),
    Extend {
        shard: ShardId,
        end: Digest,
        batches: Vec<Sealed>,
    },
    Trim {
        shard: ShardId,
        up_to: BatchId,
    },
    SetAside {
        shard: ShardId,
        from: BatchId,
    },
    /// Writes, and changes no stream.
    Probe,
}

impl Write {
    fn bytes(&self) -> usize {
        match self {
            Self::Append(batch) => batch.bytes.len(),
            Self::Extend { batches, .. } => batches.iter().map(|batch| batch.bytes.len()).sum(),
            Self::Trim { .. } | Self::SetAside { .. } | Self::Probe => 0,
        }
    }

    fn key(&self, prefix: &Prefix) -> String {
        match self {
            Self::Append(batch) => prefix.journal(batch.shard),
            Self::Extend { shard, .. } | Self::Trim { shard, .. } | Self::SetAside { shard, .. } => prefix.journal(*shard),
            Self::Probe => prefix.probe(),
        }
    }

    fn command(&self, prefix: &Prefix, scripts: &Scripts) -> Cmd {
        match self {
            Self::Append(batch) => {
                let mut call = scripts.call(Script::Append, 1);
                call.arg(self.key(prefix));
                add_batch(&mut call, batch);
                call
            }
            Self::Extend { end, batches, .. } => {
                let mut call = scripts.call(Script::Extend, 1);
                call.arg(self.key(prefix)).arg(&end.0[..]);
                batches.iter().for_each(|batch| add_batch(&mut call, batch));
                call
            }
            Self::Trim { up_to, .. } => {
                let mut call = scripts.call(Script::Trim, 1);
                call.arg(self.key(prefix)).arg(entry_id(*up_to));
                call
            }
            Self::SetAside { shard, from } => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                let mut call = scripts.call(Script::SetAside, 2);
                call.arg(self.key(prefix)).arg(prefix.set_aside(*shard, now, *from, uuid::Uuid::new_v4())).arg(entry_id(*from));
                call
            }
            Self::Probe => {
                let mut probe = cmd("INCR");
                probe.arg(self.key(prefix));
                probe
            }
        }
    }
}

fn add_batch(call: &mut Cmd, batch: &Sealed) {
    call.arg(entry_id(batch.id)).arg(&batch.previous.0[..]).arg(&batch.hash.0[..]).arg(&batch.bytes[..]);
}

struct Queued {
    write: Write,
    done: oneshot::Sender<Result<Value, Fault>>,
}

/// Hands work to the task. Cheap to clone; the task ends when all are gone.
#[derive(Clone)]
pub(super) struct Writer {
    writes: mpsc::Sender<Queued>,
    /// After which an append or a probe is of unknown fate, the wait for its turn included.
    patience: Duration,
}

impl Writer {
    /// `endpoint` is the writer's alone.
    pub(super) fn spawn(endpoint: Endpoint, scripts: Scripts, prefix: Prefix) -> Self {
        let (writes, queue) = mpsc::channel(WRITES_WAITING);
        let (runtime, patience) = (endpoint.pace().runtime.clone(), endpoint.pace().response_timeout);
        let task = Task { endpoint, scripts, prefix };
        match task.endpoint {
            Endpoint::Server(_) => drop(runtime.spawn(task.run(queue))),
            Endpoint::Cluster(_) => drop(runtime.spawn(task.share_out(queue))),
        }
        Self { writes, patience }
    }

    /// The server's answer, which is no error of its own.
    pub(super) async fn write(&self, write: Write) -> Result<Value, Fault> {
        let somebody_waits = matches!(write, Write::Append(_) | Write::Probe);
        let (done, answer) = oneshot::channel();
        if self.writes.send(Queued { write, done }).await.is_err() {
            return Err(Fault::Refused("the journal's writer has ended".into()));
        }
        let answer = answer.map(|answer| answer.unwrap_or_else(|_| Err(Fault::Unknown("the journal's writer ended".into()))));
        if !somebody_waits {
            return answer.await;
        }
        let in_time = tokio::time::timeout(self.patience, answer).await;
        in_time.unwrap_or_else(|_| Err(Fault::Unknown("no answer within the response timeout".into())))
    }
}

#[derive(Clone)]
struct Task {
    endpoint: Endpoint,
    scripts: Scripts,
    prefix: Prefix,
}

impl Task {
    /// Of a cluster: each node has a queue and rounds of its own, so that one that is silent keeps nobody else's
    /// writes waiting.
    async fn share_out(self, mut queue: mpsc::Receiver<Queued>) {
        let mut lanes: HashMap<Option<Node>, mpsc::Sender<Queued>> = HashMap::new();
        let begin = || {
            let (writes, queue) = mpsc::channel(WRITES_WAITING);
            tokio::spawn(self.clone().run(queue));
            writes
        };
        while let Some(queued) = queue.recv().await {
            let node = self.endpoint.node_of(&queued.write.key(&self.prefix));
            if let Err(TrySendError::Full(queued) | TrySendError::Closed(queued)) = lanes.entry(node).or_insert_with(begin).try_send(queued)
            {
                drop(queued.done.send(Err(Fault::Refused("too many writes wait for its node".into()))));
            }
        }
    }

    async fn run(self, mut queue: mpsc::Receiver<Queued>) {
        while let Some(first) = queue.recv().await {
            let mut bytes = 0;
            let mut round = Vec::new();
            let mut next = Some(first);
            // Nobody waits any more for what has waited for too long: it is not sent.
            while let Some(queued) = next.take() {
                if !queued.done.is_closed() {
                    bytes += queued.write.bytes();
                    round.push(queued);
                }
                if round.len() < MOST_IN_ROUND && bytes < BYTES_IN_ROUND {
                    next = queue.try_recv().ok();
                }
            }
            if !round.is_empty() {
                self.send(round).await;
            }
        }
    }

    async fn send(&self, round: Vec<Queued>) {
        let mut pipeline = Pipeline::with_capacity(round.len());
        for queued in &round {
            pipeline.add_command(queued.write.command(&self.prefix, &self.scripts));
        }
        for (queued, outcome) in round.into_iter().zip(self.endpoint.send(&pipeline).await) {
            let outcome = match outcome {
                Ok(Value::ServerError(error)) => Err(Fault::of_server(&error)),
                outcome => outcome,
            };
            // Whoever asked may have gone; what was written stays.
            drop(queued.done.send(outcome));
        }
    }
}

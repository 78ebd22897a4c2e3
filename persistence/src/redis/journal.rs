//! The journal: one stream a shard, appended to by a script that compares first.

use super::{
    fault::{Fault, failed},
    keys::{Prefix, entry_id, read_entry},
    link::Link,
    open::Meta,
    opening::settling,
    scripts::Script,
    writer::{Write, Writer},
};
use futures_util::FutureExt as _;
use gavel_domain::{ids::ShardId, shard::batch::BatchId};
use gavel_engine::ports::{
    PortFuture, StorageError,
    format::{Digest, Sealed},
    journal::{AppendError, Journal, Page},
};
use redis::Value;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Entries that the first answer to a reader holds; the next ones are as long as its bytes allow.
const FIRST_ENTRIES: usize = 16;
/// Entries in one answer, at most.
const MOST_ENTRIES: usize = 1024;

/// The journal in Redis. Made by [`super::RedisStorage::open`].
pub struct RedisJournal {
    pub(super) writer: Writer,
    pub(super) reader: Link,
    pub(super) prefix: Prefix,
    pub(super) kept: Arc<Kept>,
    /// What must describe the data beside the streams.
    pub(super) meta: Arc<Meta>,
}

/// Bytes of batches in all streams, as this process knows. What another process appended, or what was
/// appended without an answer, is counted when this one opens, trims, extends, sets aside or repeats.
pub(super) struct Kept {
    shards: Box<[AtomicU64]>,
    all: AtomicU64,
}

impl Kept {
    pub(super) fn new(shards: u16) -> Self {
        Self { shards: (0..shards).map(|_| AtomicU64::new(0)).collect(), all: AtomicU64::new(0) }
    }

    fn add(&self, shard: ShardId, bytes: u64) {
        if let Some(kept) = self.shards.get(usize::from(shard.0)) {
            kept.fetch_add(bytes, Ordering::Relaxed);
            self.all.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub(super) fn set(&self, shard: ShardId, bytes: u64) {
        if let Some(kept) = self.shards.get(usize::from(shard.0)) {
            let before = kept.swap(bytes, Ordering::Relaxed);
            // Wraps where it shrinks, which comes to the same.
            self.all.fetch_add(bytes.wrapping_sub(before), Ordering::Relaxed);
        }
    }
}

impl Journal for RedisJournal {
    fn append(&self, batch: Arc<Sealed>) -> PortFuture<(), AppendError> {
        let (writer, kept, reader, prefix) = (self.writer.clone(), Arc::clone(&self.kept), self.reader.clone(), self.prefix.clone());
        let meta = Arc::clone(&self.meta);
        async move {
            let operation = || format!("appending batch {} of shard {}", batch.id, batch.shard);
            match writer.write(Write::Append(Arc::clone(&batch))).await {
                Ok(Value::Int(-1)) => {
                    // What is read next must be read where this was refused.
                    reader.hang_up().await;
                    put_back(&reader, &prefix, &meta).await;
                    Err(AppendError::Mismatch)
                }
                Ok(answer) => match bytes(&answer) {
                    Some(0) => {
                        // There already: from an attempt that may not have been counted.
                        if let Err(fault) = count(&reader, &prefix, &kept, [batch.shard]).await {
                            tracing::warn!(?fault, shard = %batch.shard, "the journal's bytes were not counted");
                        }
                        Ok(())
                    }
                    Some(added) => {
                        kept.add(batch.shard, added);
                        Ok(())
                    }
                    None => Err(AppendError::Unknown(failed(operation(), format!("answered {answer:?}")))),
                },
                Err(fault) => Err(fault.append(operation())),
            }
        }
        .boxed()
    }

    fn read(&self, shard: ShardId, page: Page) -> PortFuture<Vec<Sealed>, StorageError> {
        let (reader, key) = (self.reader.clone(), self.prefix.journal(shard));
        async move {
            let operation = || format!("reading the journal of shard {shard}");
            read(&reader, shard, &key, page).await.map_err(|fault| fault.storage(operation()))
        }
        .boxed()
    }

    fn trim(&self, shard: ShardId, up_to: BatchId) -> PortFuture<(), StorageError> {
        self.change(shard, format!("trimming the journal of shard {shard} up to {up_to}"), Write::Trim { shard, up_to })
    }

    fn extend(&self, shard: ShardId, end: Digest, batches: Vec<Sealed>) -> PortFuture<(), StorageError> {
        let operation = format!("extending the journal of shard {shard}");
        let Some(first) = batches.first() else { return async { Ok(()) }.boxed() };
        let wrong = if first.previous != end {
            Some(first)
        } else {
            let follows = |pair: &&[Sealed]| pair[1].previous == pair[0].hash && pair[0].id < pair[1].id;
            batches.windows(2).find(|pair| !follows(pair)).map(|pair| &pair[1])
        };
        if let Some(wrong) = wrong.or_else(|| batches.iter().find(|batch| batch.shard != shard)) {
            let error = failed(operation, format!("batch {} does not follow what is before it", wrong.id));
            return async { Err(error) }.boxed();
        }
        self.change(shard, operation, Write::Extend { shard, end, batches })
    }

    /// An emptied stream need not hold all of the archive again, which may be larger than memory.
    fn begins_anywhere(&self) -> bool {
        true
    }

    fn set_aside(&self, shard: ShardId, from: BatchId) -> PortFuture<(), StorageError> {
        self.change(shard, format!("setting aside batches of shard {shard} from {from} on"), Write::SetAside { shard, from })
    }

    fn kept_bytes(&self) -> u64 {
        self.kept.all.load(Ordering::Relaxed)
    }

    fn ping(&self) -> PortFuture<(), StorageError> {
        let writer = self.writer.clone();
        async move { writer.write(Write::Probe).await.map(drop).map_err(|fault| fault.storage("writing to the journal".into())) }.boxed()
    }
}

impl RedisJournal {
    /// A write that is answered with the bytes the stream keeps after it.
    fn change(&self, shard: ShardId, operation: String, write: Write) -> PortFuture<(), StorageError> {
        let (writer, kept) = (self.writer.clone(), Arc::clone(&self.kept));
        async move {
            match writer.write(write).await {
                Ok(answer) => match bytes(&answer) {
                    Some(bytes) => {
                        kept.set(shard, bytes);
                        Ok(())
                    }
                    None => Err(failed(operation, "the batches do not follow the stream's end")),
                },
                Err(fault) => Err(fault.storage(operation)),
            }
        }
        .boxed()
    }
}

/// Somebody else wrote, or everything is gone: then the data's description is too, without which the next
/// start would not know whose streams these are.
async fn put_back(reader: &Link, prefix: &Prefix, meta: &Meta) {
    let answers = reader.send(|_| settling(prefix, meta)).await;
    let found = answers.ok().and_then(|answers| data_id(answers.into_iter().next_back()?));
    if found.as_ref() != Some(&meta.data_id) {
        tracing::error!(expected = %meta.data_id, ?found, "the data in Redis is not what was opened");
    }
}

/// The first of the fields.
fn data_id(answer: Value) -> Option<String> {
    let Value::Array(fields) = answer else { return None };
    redis::from_redis_value(fields.into_iter().next()?).ok()
}

/// None: a script's -1, or something else altogether.
fn bytes(answer: &Value) -> Option<u64> {
    match answer {
        Value::Int(bytes) => u64::try_from(*bytes).ok(),
        _ => None,
    }
}

async fn read(reader: &Link, shard: ShardId, key: &str, page: Page) -> Result<Vec<Sealed>, Fault> {
    let mut batches: Vec<Sealed> = Vec::new();
    let mut bytes = 0;
    let mut after = page.after;
    let mut entries = FIRST_ENTRIES;
    while bytes < page.bytes {
        let start = after.map_or_else(|| "-".into(), |id| format!("({}", entry_id(id)));
        let answer = reader
            .ask(|_, pipeline| {
                pipeline.cmd("XRANGE").arg(key).arg(&start).arg("+").arg("COUNT").arg(entries);
            })
            .await?;
        let Value::Array(found) = answer else { return Err(Fault::Refused(format!("XRANGE {key} answered {answer:?}"))) };
        let last_page = found.len() < entries;
        for entry in found {
            let batch = read_entry(shard, entry).ok_or_else(|| Fault::Refused(format!("{key} holds an entry that is no batch")))?;
            bytes += batch.bytes.len();
            after = Some(batch.id);
            batches.push(batch);
            if bytes >= page.bytes {
                return Ok(batches);
            }
        }
        if last_page {
            break;
        }
        // About what the rest of the page needs, going by what came so far.
        let each = (bytes / batches.len().max(1)).max(1);
        entries = ((page.bytes - bytes) / each).clamp(1, MOST_ENTRIES);
    }
    Ok(batches)
}

/// Counts what streams keep.
pub(super) async fn count(
    reader: &Link,
    prefix: &Prefix,
    kept: &Kept,
    shards: impl IntoIterator<Item = ShardId> + Clone,
) -> Result<(), Fault> {
    let answers = reader
        .send(|scripts| {
            let mut pipeline = redis::Pipeline::new();
            for shard in shards.clone() {
                let mut call = scripts.call(Script::Kept, 1);
                call.arg(prefix.journal(shard));
                pipeline.add_command(call);
            }
            pipeline
        })
        .await?;
    for (shard, answer) in shards.into_iter().zip(answers) {
        match answer {
            Value::ServerError(error) => return Err(Fault::of_server(&error)),
            answer => kept.set(shard, bytes(&answer).unwrap_or(0)),
        }
    }
    Ok(())
}

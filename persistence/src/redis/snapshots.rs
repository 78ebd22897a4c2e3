//! Snapshots: one hash a shard, a field an entity and one for the marker.
//!
//! A load is one command. A save is written in pieces, one script each, so that appends are not kept
//! waiting; the marker and what is removed come with the last one. Until then entities may be newer
//! than the marker, as they may be in any snapshot; a save that does not end leaves no more than that,
//! and without a marker nothing counts. A save is of what changed since the last one: where that, or an
//! earlier piece, is gone (somebody emptied the store) it is refused.

use super::{
    fault::{Fault, failed},
    keys::{MARKER, Prefix, SAVED, SAVING, entity_field, marker_bytes, read_entity_field, read_marker},
    link::Link,
    scripts::Script,
};
use futures_util::FutureExt as _;
use gavel_domain::ids::ShardId;
use gavel_engine::ports::{
    PortFuture, StorageError,
    format::Mark,
    snapshots::{EntityKey, SnapshotSet, Snapshots},
};
use redis::Value;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A piece ends with the entity that passes this many bytes: appends wait for it, and for its `fsync`.
const PIECE_BYTES: usize = 128 << 10;

/// The snapshots in Redis. Made by [`super::RedisStorage::open`].
pub struct RedisSnapshots {
    link: Link,
    prefix: Prefix,
    /// Of each shard: whether something is known to be saved.
    saved: Arc<[AtomicBool]>,
}

impl RedisSnapshots {
    pub(super) fn new(link: Link, prefix: Prefix, shards: u16) -> Self {
        Self { link, prefix, saved: (0..shards).map(|_| AtomicBool::new(false)).collect() }
    }

    fn known(&self, shard: ShardId) -> Known {
        Known { saved: Arc::clone(&self.saved), shard: usize::from(shard.0) }
    }
}

/// Whether something is known to be saved of one shard.
struct Known {
    saved: Arc<[AtomicBool]>,
    shard: usize,
}

impl Known {
    fn get(&self) -> bool {
        self.saved.get(self.shard).is_some_and(|saved| saved.load(Ordering::Relaxed))
    }

    fn set(&self, known: bool) {
        if let Some(saved) = self.saved.get(self.shard) {
            saved.store(known, Ordering::Relaxed);
        }
    }
}

impl Snapshots for RedisSnapshots {
    fn load(&self, shard: ShardId) -> PortFuture<Option<SnapshotSet>, StorageError> {
        let (link, key, known) = (self.link.clone(), self.prefix.snapshots(shard), self.known(shard));
        async move {
            let found = load(&link, &key).await.map_err(|fault| fault.storage(format!("loading the snapshot of shard {shard}")))?;
            known.set(found.is_some());
            Ok(found)
        }
        .boxed()
    }

    fn load_one(&self, shard: ShardId, entity: EntityKey) -> PortFuture<Option<(Mark, Vec<u8>)>, StorageError> {
        let (link, key) = (self.link.clone(), self.prefix.snapshots(shard));
        async move { load_one(&link, &key, &entity).await.map_err(|fault| fault.storage(format!("loading {entity:?} of shard {shard}"))) }
            .boxed()
    }

    fn save(&self, shard: ShardId, changed: SnapshotSet, removed: Vec<EntityKey>) -> PortFuture<(), StorageError> {
        let (link, key, known) = (self.link.clone(), self.prefix.snapshots(shard), self.known(shard));
        async move {
            let operation = format!("saving shard {shard}");
            match save(&link, &key, &changed, &removed, known.get()).await {
                Ok(Value::Int(0)) => {
                    known.set(true);
                    Ok(())
                }
                Ok(Value::Int(-2)) => Err(failed(operation, "what was saved before is gone")),
                Ok(_) => Err(failed(operation, "a later owner has saved already")),
                Err(fault) => Err(fault.storage(operation)),
            }
        }
        .boxed()
    }
}

async fn load(link: &Link, key: &str) -> Result<Option<SnapshotSet>, Fault> {
    let answer = link
        .ask(|_, pipeline| {
            pipeline.cmd("HGETALL").arg(key);
        })
        .await?;
    let Value::Map(fields) = answer else { return Err(strange(key)) };
    let mut marker = None;
    let mut entities = Vec::with_capacity(fields.len());
    for field in fields {
        let (Value::BulkString(field), Value::BulkString(value)) = field else { return Err(strange(key)) };
        if field == MARKER {
            marker = Some(read_marker(&value).ok_or_else(|| strange(key))?);
        } else if field != SAVING && field != SAVED {
            entities.push((read_entity_field(&field).ok_or_else(|| strange(key))?, value));
        }
    }
    // Entities alone are of a first save that did not end.
    Ok(marker.map(|marker| SnapshotSet { marker, entities }))
}

async fn load_one(link: &Link, key: &str, entity: &EntityKey) -> Result<Option<(Mark, Vec<u8>)>, Fault> {
    let answer = link
        .ask(|_, pipeline| {
            pipeline.cmd("HMGET").arg(key).arg(MARKER).arg(entity_field(entity));
        })
        .await?;
    let Value::Array(values) = answer else { return Err(strange(key)) };
    match <[Value; 2]>::try_from(values) {
        Ok([Value::BulkString(marker), Value::BulkString(bytes)]) => {
            read_marker(&marker).map(|marker| Some((marker, bytes))).ok_or_else(|| strange(key))
        }
        Ok([_, Value::Nil] | [Value::Nil, _]) => Ok(None),
        _ => Err(strange(key)),
    }
}

/// Answers as the script does, from the first piece that is refused, or from the last.
async fn save(link: &Link, key: &str, changed: &SnapshotSet, removed: &[EntityKey], onto: bool) -> Result<Value, Fault> {
    let name = uuid::Uuid::new_v4();
    let mut left = &changed.entities[..];
    let mut begins = true;
    loop {
        let mut bytes = 0;
        let passes = left.iter().position(|(_, entity)| {
            bytes += entity.len();
            bytes > PIECE_BYTES
        });
        let (piece, rest) = left.split_at(passes.map_or(left.len(), |at| at + 1));
        let ends = rest.is_empty();
        let which = match (begins, ends) {
            (true, true) => "all",
            (true, false) => "first",
            (false, false) => "middle",
            (false, true) => "last",
        };
        // Repeating it does no harm: it says what is, and a later owner's marker stops it.
        let sent = link.ask(|scripts, pipeline| {
            let mut call = scripts.call(Script::Save, 1);
            call.arg(key).arg(marker_bytes(changed.marker)).arg(u8::from(onto)).arg(which).arg(&name.as_bytes()[..]).arg(piece.len());
            for (entity, bytes) in piece {
                call.arg(entity_field(entity)).arg(&bytes[..]);
            }
            for entity in removed.iter().filter(|_| ends) {
                call.arg(entity_field(entity));
            }
            pipeline.add_command(call);
        });
        let answer = sent.await?;
        if ends || answer != Value::Int(0) {
            return Ok(answer);
        }
        (left, begins) = (rest, false);
    }
}

fn strange(key: &str) -> Fault {
    Fault::Refused(format!("{key} is no snapshot of Gavel's"))
}

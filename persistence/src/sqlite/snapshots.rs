//! Snapshots in `journal.db`, written by the journal's writer a chunk at a time.
//!
//! A save is all or nothing although it takes many transactions: its rows carry the next save
//! number and mean nothing until the marker does too. Rows that a newer one replaces are cleared
//! away afterwards; a start clears away what a crash left ([`clear_leftovers`]).

use super::{
    job::{Job, JobError, Step},
    rows::{RowError, read_mark},
    writer::Writer,
};
use crate::columns::{failed, id_numbers};
use futures_util::{FutureExt as _, future::BoxFuture};
use gavel_domain::ids::{BidderId, LotId, ShardId};
use gavel_engine::ports::{
    PortFuture, StorageError,
    format::Mark,
    snapshots::{EntityKey, SnapshotSet, Snapshots},
};
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqlitePool};
use std::collections::VecDeque;

/// One step of a save writes or clears at most this many rows ...
const SAVE_ROWS: usize = 128;
/// ... and stops after the one that passes this many bytes: appends wait for a step, and its `fsync`.
const SAVE_BYTES: usize = 128 << 10;

/// An entity as it counts now: the newest row that the marker covers.
const CURRENT: &str = "SELECT s.kind, s.id, s.bytes, m.epoch, m.number, m.hash
     FROM markers m JOIN snapshots s ON s.shard = m.shard
     WHERE m.shard = ?1 AND s.bytes IS NOT NULL AND s.save =
         (SELECT max(t.save) FROM snapshots t WHERE t.shard = s.shard AND t.kind = s.kind AND t.id = s.id AND t.save <= m.save)
     ORDER BY s.kind, s.id";
/// As [`CURRENT`], one entity.
const CURRENT_ONE: &str = "SELECT s.bytes, m.epoch, m.number, m.hash
     FROM markers m JOIN snapshots s ON s.shard = m.shard
     WHERE m.shard = ?1 AND s.kind = ?2 AND s.id = ?3 AND s.save <= m.save
     ORDER BY s.save DESC LIMIT 1";

/// The embedded snapshots.
pub(super) struct SqliteSnapshots {
    pub(super) writer: Writer,
    pub(super) readers: SqlitePool,
}

impl Snapshots for SqliteSnapshots {
    fn load(&self, shard: ShardId) -> PortFuture<Option<SnapshotSet>, StorageError> {
        let readers = self.readers.clone();
        async move { load(&readers, shard).await.map_err(|e| failed(format!("loading the snapshot of shard {shard}"), e)) }.boxed()
    }

    fn load_one(&self, shard: ShardId, key: EntityKey) -> PortFuture<Option<(Mark, Vec<u8>)>, StorageError> {
        let readers = self.readers.clone();
        async move { load_one(&readers, shard, &key).await.map_err(|e| failed(format!("loading {key:?} of shard {shard}"), e)) }.boxed()
    }

    fn save(&self, shard: ShardId, changed: SnapshotSet, removed: Vec<EntityKey>) -> PortFuture<(), StorageError> {
        let writer = self.writer.clone();
        let job = Save::new(shard, changed, removed);
        async move { writer.run(format!("saving shard {shard}"), job).await }.boxed()
    }
}

async fn load(readers: &SqlitePool, shard: ShardId) -> Result<Option<SnapshotSet>, RowError> {
    let mut transaction = readers.begin().await?;
    let marker = sqlx::query("SELECT epoch, number, hash FROM markers WHERE shard = ?")
        .bind(i64::from(shard.0))
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(marker) = marker else { return Ok(None) };
    let mut set = SnapshotSet { marker: read_mark(&marker, 0)?, entities: Vec::new() };
    for row in sqlx::query(CURRENT).bind(i64::from(shard.0)).fetch_all(&mut *transaction).await? {
        set.entities.push((read_key(row.try_get(0)?, row.try_get(1)?)?, row.try_get(2)?));
    }
    transaction.commit().await?;
    Ok(Some(set))
}

async fn load_one(readers: &SqlitePool, shard: ShardId, key: &EntityKey) -> Result<Option<(Mark, Vec<u8>)>, RowError> {
    let (kind, id) = key_columns(key);
    let row = sqlx::query(CURRENT_ONE).bind(i64::from(shard.0)).bind(kind).bind(id).fetch_optional(readers).await?;
    let Some(row) = row else { return Ok(None) };
    let bytes: Option<Vec<u8>> = row.try_get(0)?;
    let marker = read_mark(&row, 1)?;
    Ok(bytes.map(|bytes| (marker, bytes)))
}

/// The numbers are on disk.
fn key_columns(key: &EntityKey) -> (i64, Vec<u8>) {
    match key {
        EntityKey::Lot(lot) => (0, lot.0.as_bytes().to_vec()),
        EntityKey::Keys => (1, Vec::new()),
        EntityKey::Wallet(bidder) => (2, bidder.as_str().as_bytes().to_vec()),
    }
}

fn read_key(kind: i64, id: &[u8]) -> Result<EntityKey, RowError> {
    let key = match kind {
        0 => uuid::Uuid::from_slice(id).ok().map(|lot| EntityKey::Lot(LotId(lot))),
        1 => Some(EntityKey::Keys),
        2 => std::str::from_utf8(id).ok().and_then(|text| BidderId::try_from(text).ok()).map(EntityKey::Wallet),
        _ => None,
    };
    match key {
        Some(key) => Ok(key),
        None => Err(RowError::Sqlx(sqlx::Error::Decode(format!("entity kind {kind} with an id of {} bytes", id.len()).into()))),
    }
}

/// Stages rows, moves the marker, clears away what was replaced.
struct Save {
    shard: i64,
    marker: Mark,
    /// Still to be written; none: removed.
    staged: VecDeque<(EntityKey, Option<Vec<u8>>)>,
    /// Written, with their lengths: their older rows, about as long, go once the marker has moved.
    written: VecDeque<(EntityKey, usize)>,
    phase: Phase,
}

#[derive(Clone, Copy)]
enum Phase {
    Begin,
    Stage { save: i64 },
    Clear { save: i64 },
}

impl Save {
    fn new(shard: ShardId, changed: SnapshotSet, removed: Vec<EntityKey>) -> Self {
        let changes = changed.entities.into_iter().map(|(key, bytes)| (key, Some(bytes)));
        let staged = changes.chain(removed.into_iter().map(|key| (key, None))).collect();
        Self { shard: i64::from(shard.0), marker: changed.marker, staged, written: VecDeque::new(), phase: Phase::Begin }
    }

    async fn begin(&self, conn: &mut SqliteConnection) -> Result<Phase, sqlx::Error> {
        let last: Option<i64> =
            sqlx::query_scalar("SELECT save FROM markers WHERE shard = ?").bind(self.shard).fetch_optional(&mut *conn).await?;
        let save = last.unwrap_or(0) + 1;
        // What a save that failed half-way has left under this number.
        sqlx::query("DELETE FROM snapshots WHERE shard = ? AND save >= ?").bind(self.shard).bind(save).execute(conn).await?;
        Ok(Phase::Stage { save })
    }

    /// Writes a chunk; with the last one, in the same transaction, the marker.
    async fn stage(&mut self, conn: &mut SqliteConnection, save: i64) -> Result<Phase, JobError> {
        let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
        let mut bytes = 0;
        for _ in 0..SAVE_ROWS {
            let Some((key, value)) = self.staged.pop_front() else { break };
            let length = value.as_ref().map_or(0, Vec::len);
            bytes += length;
            let (kind, id) = key_columns(&key);
            sqlx::query("INSERT OR REPLACE INTO snapshots (shard, kind, id, save, bytes) VALUES (?, ?, ?, ?, ?)")
                .bind(self.shard)
                .bind(kind)
                .bind(id)
                .bind(save)
                .bind(value)
                .execute(&mut *transaction)
                .await?;
            self.written.push_back((key, length));
            if bytes > SAVE_BYTES {
                break;
            }
        }
        let last = self.staged.is_empty();
        if last {
            let (epoch, number) = id_numbers(self.marker.id)?;
            sqlx::query("INSERT OR REPLACE INTO markers (shard, save, epoch, number, hash) VALUES (?, ?, ?, ?, ?)")
                .bind(self.shard)
                .bind(save)
                .bind(epoch)
                .bind(number)
                .bind(self.marker.hash.0.to_vec())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(if last { Phase::Clear { save } } else { Phase::Stage { save } })
    }

    async fn clear(&mut self, conn: &mut SqliteConnection, save: i64) -> Result<(), sqlx::Error> {
        let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
        let mut bytes = 0;
        for _ in 0..SAVE_ROWS {
            let Some((key, length)) = self.written.pop_front() else { break };
            bytes += length;
            let (kind, id) = key_columns(&key);
            // A removal's own row goes too: nothing older is left that it would have to hide.
            sqlx::query("DELETE FROM snapshots WHERE shard = ?1 AND kind = ?2 AND id = ?3 AND (save < ?4 OR bytes IS NULL)")
                .bind(self.shard)
                .bind(kind)
                .bind(id)
                .bind(save)
                .execute(&mut *transaction)
                .await?;
            if bytes > SAVE_BYTES {
                break;
            }
        }
        transaction.commit().await
    }
}

impl Job for Save {
    fn step<'a>(&'a mut self, conn: &'a mut SqliteConnection) -> BoxFuture<'a, Result<Step, JobError>> {
        async move {
            match self.phase {
                Phase::Begin => self.phase = self.begin(conn).await?,
                Phase::Stage { save } => self.phase = self.stage(conn, save).await?,
                Phase::Clear { save } => self.clear(conn, save).await?,
            }
            let done = matches!(self.phase, Phase::Clear { .. }) && self.written.is_empty();
            Ok(if done { Step::Done } else { Step::More })
        }
        .boxed()
    }
}

/// Removes rows that no marker covers (a save that a crash cut short) and rows that a newer one
/// replaces (a crash between the marker and the clearing).
pub(super) async fn clear_leftovers(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    for statement in [
        "DELETE FROM snapshots AS s WHERE s.save > coalesce((SELECT save FROM markers m WHERE m.shard = s.shard), 0)",
        "DELETE FROM snapshots AS s WHERE s.save <
             (SELECT max(t.save) FROM snapshots t WHERE t.shard = s.shard AND t.kind = s.kind AND t.id = s.id)",
        "DELETE FROM snapshots WHERE bytes IS NULL",
    ] {
        sqlx::query(statement).execute(&mut *conn).await?;
    }
    Ok(())
}

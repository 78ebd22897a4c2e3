//! The audit trail: what administrators did, a chain of hashes a shard. Written with the ledger lines that
//! it tells of, never changed, and checked from its first row to its end.
//!
//! Each shard has one writer and so one chain: a chain over all shards would make their owners wait for
//! one another.

use super::{insert::text, link::query, rows::ReadError, tables::PostgresTables, writer::ProjectFault};
use crate::columns::{digest, to_i64};
use gavel_domain::{
    ids::ShardId,
    wallet::event::{LedgerEntry, LedgerKind, WalletRecorded},
};
use gavel_engine::ports::{StorageError, format::Digest};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use std::{borrow::Cow, collections::BTreeMap};

/// Begins what is hashed: another layout gets another number.
const LAYOUT: &[u8] = b"gavel audit 1";
/// Rows that a check reads at once.
const PAGE: i64 = 1000;

/// Why an audit trail is not known to be whole.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It could not be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Somebody changed it.
    #[error("the audit trail of shard {shard}, row {number}: {fault}")]
    Broken {
        /// Whose chain.
        shard: ShardId,
        /// The first row that is wrong, or missing.
        number: i64,
        /// What is wrong.
        fault: AuditFault,
    },
}

/// What is wrong with a row of an audit trail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// Its columns are not those that its hash was made of.
    #[error("it was changed")]
    Changed,
    /// It does not follow the row before.
    #[error("it does not follow the row before")]
    Unchained,
    /// The chain goes on, or should, without it.
    #[error("it is missing")]
    Missing,
}

/// What an administrator did: a line of the ledger that no sale made.
pub(super) struct Deed<'r> {
    shard: ShardId,
    recorded: &'r WalletRecorded,
    entry: &'r LedgerEntry,
}

impl Deed<'_> {
    /// When.
    pub(super) const fn moment(&self) -> i64 {
        self.recorded.at.as_millis()
    }
}

/// The deeds among these ledger events. A winner's payment is nobody's deed.
pub(super) fn deeds<'r>(events: impl Iterator<Item = (ShardId, &'r WalletRecorded)>) -> Vec<Deed<'r>> {
    let deed = |(shard, recorded): (ShardId, &'r WalletRecorded)| {
        let entry = recorded.event.ledger().filter(|entry| entry.kind != LedgerKind::Capture)?;
        Some(Deed { shard, recorded, entry })
    };
    events.filter_map(deed).collect()
}

/// A row, without its hash.
struct Link<'r> {
    shard: i32,
    number: i64,
    at: i64,
    actor: Cow<'r, str>,
    action: &'r str,
    bidder: &'r str,
    epoch: i64,
    seq: i64,
    currency: Cow<'r, str>,
    amount: i64,
    balance: i64,
    reason: Cow<'r, str>,
    operation: &'r [u8],
}

impl<'r> Link<'r> {
    fn of(deed: &Deed<'r>, number: i64) -> Result<Self, ProjectFault> {
        let Deed { shard, recorded, entry } = *deed;
        Ok(Self {
            shard: shard.0.into(),
            number,
            at: recorded.at.as_millis(),
            actor: text(&entry.by),
            action: entry.kind.as_str(),
            bidder: recorded.bidder.as_str(),
            epoch: to_i64("epoch", recorded.epoch.0)?,
            seq: to_i64("seq", recorded.seq.0)?,
            currency: text(&entry.currency),
            amount: entry.amount.get(),
            balance: entry.balance.get(),
            reason: text(&entry.reason),
            operation: &entry.operation.0,
        })
    }

    fn read(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            shard: row.try_get("shard")?,
            number: row.try_get("number")?,
            at: row.try_get("at")?,
            actor: row.try_get::<&str, _>("actor")?.into(),
            action: row.try_get("action")?,
            bidder: row.try_get("bidder")?,
            epoch: row.try_get("epoch")?,
            seq: row.try_get("seq")?,
            currency: row.try_get::<&str, _>("currency")?.into(),
            amount: row.try_get("amount")?,
            balance: row.try_get("balance")?,
            reason: row.try_get::<&str, _>("reason")?.into(),
            operation: row.try_get("operation")?,
        })
    }

    /// Over the layout's name, the hash before, and each column behind its length, integers as eight
    /// bytes, the least first.
    fn hash(&self, previous: Digest) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(LAYOUT);
        add(&previous.0);
        add(&i64::from(self.shard).to_le_bytes());
        add(&self.number.to_le_bytes());
        add(&self.at.to_le_bytes());
        add(self.actor.as_bytes());
        add(self.action.as_bytes());
        add(self.bidder.as_bytes());
        add(&self.epoch.to_le_bytes());
        add(&self.seq.to_le_bytes());
        add(self.currency.as_bytes());
        add(&self.amount.to_le_bytes());
        add(&self.balance.to_le_bytes());
        add(self.reason.as_bytes());
        add(self.operation);
        Digest(*hasher.finalize().as_bytes())
    }
}

/// Where a chain ends.
type End = (i64, Digest);

/// Adds deeds to their shards' chains, in the transaction of their ledger lines.
pub(super) async fn write(conn: &mut PgConnection, deeds: &[Deed<'_>]) -> Result<(), ProjectFault> {
    if deeds.is_empty() {
        return Ok(());
    }
    let mut shards: Vec<i32> = deeds.iter().map(|deed| deed.shard.0.into()).collect();
    shards.sort_unstable();
    shards.dedup();
    let sql = "SELECT shard, number, hash FROM gavel.audit_ends WHERE shard = ANY($1)";
    let mut ends = BTreeMap::new();
    for row in query(sql).bind(&shards).fetch_all(&mut *conn).await? {
        ends.insert(row.try_get::<i32, _>(0)?, read_end(&row, 1)?);
    }
    let (mut links, mut previous, mut hashes) = (Vec::with_capacity(deeds.len()), Vec::new(), Vec::new());
    for deed in deeds {
        let end = ends.entry(deed.shard.0.into()).or_insert((0, Digest::default()));
        let link = Link::of(deed, end.0 + 1)?;
        previous.push(end.1.0);
        *end = (link.number, link.hash(end.1));
        hashes.push(end.1.0);
        links.push(link);
    }
    insert(conn, &links, &previous, &hashes).await?;
    let shard: Vec<i32> = ends.keys().copied().collect();
    let number: Vec<i64> = ends.values().map(|(number, _)| *number).collect();
    let hash: Vec<[u8; 32]> = ends.into_values().map(|(_, hash)| hash.0).collect();
    query(
        "INSERT INTO gavel.audit_ends (shard, number, hash) SELECT * FROM unnest($1::int4[], $2::int8[], $3::bytea[])
         ON CONFLICT (shard) DO UPDATE SET number = excluded.number, hash = excluded.hash",
    )
    .bind(shard)
    .bind(number)
    .bind(hash)
    .execute(conn)
    .await?;
    Ok(())
}

async fn insert(conn: &mut PgConnection, links: &[Link<'_>], previous: &[[u8; 32]], hashes: &[[u8; 32]]) -> Result<(), sqlx::Error> {
    fn column<'l, T>(links: &'l [Link<'_>], of: impl Fn(&'l Link<'_>) -> T) -> Vec<T> {
        links.iter().map(of).collect()
    }
    query(
        "INSERT INTO gavel.audit (shard, number, at, actor, action, bidder, epoch, seq, currency, amount, balance, reason, operation, previous, hash)
         SELECT * FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::text[], $5::text[], $6::text[], $7::int8[], $8::int8[], $9::text[],
             $10::int8[], $11::int8[], $12::text[], $13::bytea[], $14::bytea[], $15::bytea[])",
    )
    .bind(column(links, |link| link.shard))
    .bind(column(links, |link| link.number))
    .bind(column(links, |link| link.at))
    .bind(column(links, |link| &*link.actor))
    .bind(column(links, |link| link.action))
    .bind(column(links, |link| link.bidder))
    .bind(column(links, |link| link.epoch))
    .bind(column(links, |link| link.seq))
    .bind(column(links, |link| &*link.currency))
    .bind(column(links, |link| link.amount))
    .bind(column(links, |link| link.balance))
    .bind(column(links, |link| &*link.reason))
    .bind(column(links, |link| link.operation))
    .bind(previous)
    .bind(hashes)
    .execute(conn)
    .await?;
    Ok(())
}

/// Reads number and hash.
fn read_end(row: &PgRow, at: usize) -> Result<End, ProjectFault> {
    Ok((row.try_get(at)?, digest(row.try_get(at + 1)?)?))
}

/// Why a check ended early.
enum Ended {
    Read(ReadError),
    Broken(AuditError),
}

impl<E: Into<ReadError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Read(error.into())
    }
}

impl PostgresTables {
    /// Goes through all of the audit trail. Gives the number of its rows, if nobody has changed any.
    ///
    /// Who can change every row, the ends and the code that checks can forge all of it: note the ends
    /// (`audit_ends`) elsewhere to notice that too.
    ///
    /// # Errors
    /// It is broken, and where first; or it can't be read.
    pub async fn check_audit(&self) -> Result<u64, AuditError> {
        let reader = self.reader();
        let checking = async move {
            // As of one moment, whatever is written meanwhile.
            let mut transaction = reader.begin().await?;
            let checked = check(&mut transaction).await;
            transaction.rollback().await?;
            match checked {
                Ok(rows) => Ok(Ok(rows)),
                Err(Ended::Broken(broken)) => Ok(Err(broken)),
                Err(Ended::Read(e)) => Err(e),
            }
        };
        self.unhurried("checking the audit trail".to_owned(), checking).await?
    }
}

async fn check(conn: &mut PgConnection) -> Result<u64, Ended> {
    let mut ends = BTreeMap::new();
    let sql = "SELECT s.shard, coalesce(e.number, 0), coalesce(e.hash, ''::bytea)
         FROM (SELECT shard FROM gavel.audit UNION SELECT shard FROM gavel.audit_ends) s LEFT JOIN gavel.audit_ends e USING (shard)";
    for row in query(sql).fetch_all(&mut *conn).await? {
        ends.insert(row.try_get::<i32, _>(0)?, (row.try_get::<i64, _>(1)?, row.try_get::<Vec<u8>, _>(2)?));
    }
    let mut rows = 0;
    for (shard, (last, hash)) in ends {
        let id = ShardId(u16::try_from(shard).unwrap_or(u16::MAX));
        let broken = |number, fault| Ended::Broken(AuditError::Broken { shard: id, number, fault });
        let end = walk(conn, shard, broken).await?;
        match end.0.cmp(&last) {
            std::cmp::Ordering::Less => return Err(broken(end.0 + 1, AuditFault::Missing)),
            // Rows behind the end were added by somebody else, and so was another last one.
            std::cmp::Ordering::Greater => return Err(broken(last + 1, AuditFault::Unchained)),
            std::cmp::Ordering::Equal if hash != end.1.0 => return Err(broken(last, AuditFault::Changed)),
            std::cmp::Ordering::Equal => rows += end.0.unsigned_abs(),
        }
    }
    Ok(rows)
}

/// From the first row of a shard's chain to the last; gives where it ends.
async fn walk(conn: &mut PgConnection, shard: i32, broken: impl Fn(i64, AuditFault) -> Ended) -> Result<End, Ended> {
    let mut end = (0, Digest::default());
    loop {
        let sql = "SELECT * FROM gavel.audit WHERE shard = $1 AND number > $2 ORDER BY number LIMIT $3";
        let rows = query(sql).bind(shard).bind(end.0).bind(PAGE).fetch_all(&mut *conn).await?;
        if rows.is_empty() {
            return Ok(end);
        }
        for row in &rows {
            let link = Link::read(row)?;
            if link.number != end.0 + 1 {
                return Err(broken(end.0 + 1, AuditFault::Missing));
            }
            let stored = |name| -> Result<Digest, Ended> { Ok(digest(row.try_get::<&[u8], _>(name)?)?) };
            if stored("previous")? != end.1 {
                return Err(broken(link.number, AuditFault::Unchained));
            }
            let hash = link.hash(end.1);
            if stored("hash")? != hash {
                return Err(broken(link.number, AuditFault::Changed));
            }
            end = (link.number, hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The layout of what is hashed is in the tables of whoever uses this: it stays as it is.
    #[test]
    fn a_hash_stays_as_it_is() {
        let link = Link {
            shard: 5,
            number: 1,
            at: 1_790_000_000_000,
            actor: "gm".into(),
            action: "grant",
            bidder: "ann",
            epoch: 7,
            seq: 3,
            currency: "DKP".into(),
            amount: -10,
            balance: 20,
            reason: "raid".into(),
            operation: &[9; 16],
        };
        let hash = link.hash(Digest([1; 32]));
        let text: String = hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "55cabd234a702969966cc35cf14ff13b342df75c3f12e4c069494de9f46327cd");
        assert_ne!(hash, Link { seq: 4, ..link }.hash(Digest([1; 32])));
    }
}

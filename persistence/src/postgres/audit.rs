//! The audit trail in PostgreSQL: written with what it tells of, never changed, and checked from its first
//! row to its end. What a row is, and how rows are chained, is in `crate::audit`.

use super::{
    link::query,
    rows::{ReadError, shard_number},
    tables::Reader,
    writer::ProjectFault,
};
use crate::{
    audit::{Chained, End, Link, PAGE, Walk, chain, shards},
    columns::{self, OutOfRange, from_i64, limit_number, to_i64},
};
use gavel_domain::ids::ShardId;
use gavel_engine::ports::{
    audit::{AuditError, AuditPage, AuditRow},
    tables::Projection,
};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What [`read_link`] reads, with the hashes behind.
macro_rules! select_rows {
    ($rest:literal) => {
        concat!("SELECT shard, number, at, actor, action, lot, bidder, epoch, seq, details, previous, hash FROM gavel.audit ", $rest)
    };
}

/// Adds rows to their shards' chains, in the transaction of what they tell of. (Whoever moved a shard's
/// cursor in it is the only one at the chain's end.)
pub(super) async fn write(conn: &mut PgConnection, projections: &[Projection]) -> Result<(), ProjectFault> {
    let numbers: Vec<i32> = shards(projections).into_iter().map(shard_number).collect();
    if numbers.is_empty() {
        return Ok(());
    }
    let sql = "SELECT shard, number, hash FROM gavel.audit_ends WHERE shard = ANY($1)";
    let mut ends = BTreeMap::new();
    for row in query(sql).bind(&numbers).fetch_all(&mut *conn).await? {
        ends.insert(shard_id(row.try_get(0)?)?, (row.try_get(1)?, columns::digest(row.try_get(2)?)?));
    }
    let rows = chain(projections, &mut ends)?;
    insert(conn, &rows).await?;
    move_ends(conn, &ends).await?;
    Ok(())
}

async fn move_ends(conn: &mut PgConnection, ends: &BTreeMap<ShardId, End>) -> Result<(), sqlx::Error> {
    let shard: Vec<i32> = ends.keys().map(|shard| shard_number(*shard)).collect();
    let number: Vec<i64> = ends.values().map(|(number, _)| *number).collect();
    let hash: Vec<[u8; 32]> = ends.values().map(|(_, hash)| hash.0).collect();
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

async fn insert(conn: &mut PgConnection, rows: &[Chained<'_>]) -> Result<(), sqlx::Error> {
    fn column<'l, T>(rows: &'l [Chained<'_>], of: impl Fn(&'l Chained<'_>) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    query(
        "INSERT INTO gavel.audit (shard, number, at, actor, action, lot, bidder, epoch, seq, details, previous, hash)
         SELECT * FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::int8[], $9::int8[],
             $10::text[], $11::bytea[], $12::bytea[])",
    )
    .bind(column(rows, |row| shard_number(row.link.shard)))
    .bind(column(rows, |row| row.link.number))
    .bind(column(rows, |row| row.link.at))
    .bind(column(rows, |row| &*row.link.actor))
    .bind(column(rows, |row| &*row.link.action))
    .bind(column(rows, |row| row.link.lot.as_deref().and_then(|lot| Uuid::from_slice(lot).ok())))
    .bind(column(rows, |row| row.link.bidder.as_deref()))
    .bind(column(rows, |row| row.link.epoch))
    .bind(column(rows, |row| row.link.seq))
    .bind(column(rows, |row| &*row.link.details))
    .bind(column(rows, |row| row.previous.0))
    .bind(column(rows, |row| row.hash.0))
    .execute(conn)
    .await?;
    Ok(())
}

fn shard_id(number: i32) -> Result<ShardId, OutOfRange> {
    Ok(ShardId(from_i64("shard", number.into())?))
}

fn read_link(row: &PgRow) -> Result<Link<'_>, ReadError> {
    Ok(Link {
        shard: shard_id(row.try_get(0)?)?,
        number: row.try_get(1)?,
        at: row.try_get(2)?,
        actor: row.try_get::<&str, _>(3)?.into(),
        action: row.try_get::<&str, _>(4)?.into(),
        lot: row.try_get::<Option<Uuid>, _>(5)?.map(|lot| lot.as_bytes().to_vec()),
        bidder: row.try_get::<Option<&str>, _>(6)?.map(Into::into),
        epoch: row.try_get(7)?,
        seq: row.try_get(8)?,
        details: row.try_get::<&str, _>(9)?.into(),
    })
}

/// A page of the list, newest first.
pub(super) async fn read(reader: Reader, page: AuditPage) -> Result<Vec<AuditRow>, ReadError> {
    let before = page.before.map_or(Ok((i64::MAX, i32::MAX, i64::MAX)), |place| {
        Ok::<_, ReadError>((place.at.as_millis(), shard_number(place.shard), to_i64("number", place.number)?))
    })?;
    let mut transaction = reader.begin().await?;
    // Two statements, so that each has its index. The time by itself leaves partitions out.
    let query = match page.lot {
        None => {
            query(select_rows!("WHERE at <= $1 AND (at, shard, number) < ($1, $2, $3) ORDER BY at DESC, shard DESC, number DESC LIMIT $4"))
        }
        Some(_) => query(select_rows!(
            "WHERE lot = $5 AND at <= $1 AND (at, shard, number) < ($1, $2, $3) ORDER BY at DESC, shard DESC, number DESC LIMIT $4"
        )),
    };
    let query = query.bind(before.0).bind(before.1).bind(before.2).bind(limit_number(page.limit));
    let query = match page.lot {
        None => query,
        Some(lot) => query.bind(lot.0),
    };
    let rows = query.fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    rows.iter().map(|row| Ok(read_link(row)?.row(row.try_get(10)?, row.try_get(11)?)?)).collect()
}

/// Goes through all of it, as of one moment, whatever is written meanwhile.
pub(super) async fn check(reader: Reader) -> Result<Result<u64, AuditError>, ReadError> {
    let mut transaction = reader.begin().await?;
    let checked = check_chains(&mut transaction).await;
    transaction.rollback().await?;
    match checked {
        Ok(rows) => Ok(Ok(rows)),
        Err(Ended::Broken(broken)) => Ok(Err(broken)),
        Err(Ended::Read(e)) => Err(e),
    }
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

async fn check_chains(conn: &mut PgConnection) -> Result<u64, Ended> {
    let sql = "SELECT s.shard, coalesce(e.number, 0), coalesce(e.hash, ''::bytea)
         FROM (SELECT shard FROM gavel.audit UNION SELECT shard FROM gavel.audit_ends) s LEFT JOIN gavel.audit_ends e USING (shard)";
    let mut ends = BTreeMap::new();
    for row in query(sql).fetch_all(&mut *conn).await? {
        ends.insert(shard_id(row.try_get(0)?)?, (row.try_get::<i64, _>(1)?, row.try_get::<Vec<u8>, _>(2)?));
    }
    let mut rows = 0;
    for (shard, (last, hash)) in ends {
        let mut walk = Walk::new(shard);
        loop {
            let sql = select_rows!("WHERE shard = $1 AND number > $2 ORDER BY number LIMIT $3");
            let page = query(sql).bind(shard_number(shard)).bind(walk.number()).bind(PAGE).fetch_all(&mut *conn).await?;
            if page.is_empty() {
                break;
            }
            for row in &page {
                walk.step(&read_link(row)?, row.try_get(10)?, row.try_get(11)?).map_err(Ended::Broken)?;
            }
        }
        rows += walk.ends(last, &hash).map_err(Ended::Broken)?;
    }
    Ok(rows)
}

//! The audit trail in `tables.db`. What a row is, and how rows are chained, is in `crate::audit`.

use super::{
    connect::Place,
    insert::{Insert, ProjectFault},
    migrate::{self, Found, Kind},
    open::{OpenError, sqlite_error},
    rows::{Bound, RowError, read_shard},
};
use crate::{
    audit::{Chained, End, Link, PAGE, Walk, chain, shards},
    columns::{self, failed, limit_number, to_i64},
};
use gavel_domain::ids::ShardId;
use gavel_engine::ports::{
    audit::{AuditError, AuditPage, AuditRow},
    tables::Projection,
};
use sqlx::{
    Connection as _, Row as _, SqliteConnection,
    sqlite::{SqlitePool, SqliteRow},
};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, LazyLock},
};

/// What [`read_link`] reads, with the hashes behind.
macro_rules! select_rows {
    ($rest:literal) => {
        concat!("SELECT shard, number, at, actor, action, lot, bidder, epoch, seq, details, previous, hash FROM audit ", $rest)
    };
}

static AUDIT: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new("INSERT INTO audit (shard, number, at, actor, action, lot, bidder, epoch, seq, details, previous, hash)", 12, "")
});
static ENDS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "INSERT INTO audit_ends (shard, number, hash)",
        3,
        "ON CONFLICT (shard) DO UPDATE SET number = excluded.number, hash = excluded.hash",
    )
});

/// Adds rows to their shards' chains, in the transaction of what they tell of.
pub(super) async fn write(conn: &mut SqliteConnection, projections: &[Projection]) -> Result<(), ProjectFault> {
    let mut ends = BTreeMap::new();
    for shard in shards(projections) {
        let end = sqlx::query("SELECT number, hash FROM audit_ends WHERE shard = ?").bind(i64::from(shard.0));
        if let Some(row) = end.fetch_optional(&mut *conn).await? {
            ends.insert(shard, read_end(&row)?);
        }
    }
    let rows = chain(projections, &mut ends)?;
    if rows.is_empty() {
        return Ok(());
    }
    AUDIT.run(conn, &rows, bind_row).await?;
    let ends: Vec<(ShardId, End)> = ends.into_iter().collect();
    ENDS.run(conn, &ends, |query, (shard, (number, hash))| Ok(query.bind(i64::from(shard.0)).bind(*number).bind(hash.0.to_vec()))).await?;
    Ok(())
}

fn read_end(row: &SqliteRow) -> Result<End, RowError> {
    Ok((row.try_get(0)?, columns::digest(row.try_get(1)?)?))
}

fn bind_row<'q>(query: Bound<'q>, row: &Chained<'_>) -> Result<Bound<'q>, ProjectFault> {
    let Chained { link, previous, hash } = row;
    let text = |text: &str| Arc::<str>::from(text);
    Ok(query
        .bind(i64::from(link.shard.0))
        .bind(link.number)
        .bind(link.at)
        .bind(text(&link.actor))
        .bind(text(&link.action))
        .bind(link.lot.clone())
        .bind(link.bidder.as_deref().map(text))
        .bind(link.epoch)
        .bind(link.seq)
        .bind(text(&link.details))
        .bind(previous.0.to_vec())
        .bind(hash.0.to_vec()))
}

fn read_link(row: &SqliteRow) -> Result<Link<'_>, RowError> {
    Ok(Link {
        shard: read_shard(row, 0)?,
        number: row.try_get(1)?,
        at: row.try_get(2)?,
        actor: row.try_get::<&str, _>(3)?.into(),
        action: row.try_get::<&str, _>(4)?.into(),
        lot: row.try_get(5)?,
        bidder: row.try_get::<Option<&str>, _>(6)?.map(Into::into),
        epoch: row.try_get(7)?,
        seq: row.try_get(8)?,
        details: row.try_get::<&str, _>(9)?.into(),
    })
}

/// A page of the list, newest first.
pub(super) async fn read(readers: &SqlitePool, page: AuditPage) -> Result<Vec<AuditRow>, RowError> {
    let before = page.before.map_or(Ok((i64::MAX, i64::MAX, i64::MAX)), |place| {
        Ok::<_, RowError>((place.at.as_millis(), place.shard.0.into(), to_i64("number", place.number)?))
    })?;
    // Two statements, so that each has its index.
    let query = match page.lot {
        None => sqlx::query(select_rows!("WHERE (at, shard, number) < (?1, ?2, ?3) ORDER BY at DESC, shard DESC, number DESC LIMIT ?4")),
        Some(_) => sqlx::query(select_rows!(
            "WHERE lot = ?5 AND (at, shard, number) < (?1, ?2, ?3) ORDER BY at DESC, shard DESC, number DESC LIMIT ?4"
        )),
    };
    let query = query.bind(before.0).bind(before.1).bind(before.2).bind(limit_number(page.limit));
    let query = match page.lot {
        None => query,
        Some(lot) => query.bind(lot.0.as_bytes().to_vec()),
    };
    let rows = query.fetch_all(readers).await?;
    rows.iter().map(|row| Ok(read_link(row)?.row(row.try_get(10)?, row.try_get(11)?)?)).collect()
}

/// Why a check ended early.
enum Ended {
    Read(RowError),
    Broken(AuditError),
}

impl<E: Into<RowError>> From<E> for Ended {
    fn from(error: E) -> Self {
        Self::Read(error.into())
    }
}

/// Goes through all of it, as of one moment.
pub(super) async fn check(conn: &mut SqliteConnection) -> Result<u64, AuditError> {
    let checked = async {
        let mut transaction = conn.begin().await?;
        let checked = check_chains(&mut transaction).await;
        transaction.rollback().await?;
        checked
    };
    checked.await.map_err(|ended: Ended| match ended {
        Ended::Broken(broken) => broken,
        Ended::Read(e) => failed("checking the audit trail", e).into(),
    })
}

async fn check_chains(conn: &mut SqliteConnection) -> Result<u64, Ended> {
    let sql = "SELECT s.shard, coalesce(e.number, 0), coalesce(e.hash, x'')
         FROM (SELECT DISTINCT shard FROM audit UNION SELECT shard FROM audit_ends) s LEFT JOIN audit_ends e USING (shard) ORDER BY 1";
    let mut rows = 0;
    for end in sqlx::query(sql).fetch_all(&mut *conn).await? {
        let mut walk = Walk::new(read_shard(&end, 0)?);
        loop {
            let page = sqlx::query(select_rows!("WHERE shard = ? AND number > ? ORDER BY number LIMIT ?"))
                .bind(end.try_get::<i64, _>(0)?)
                .bind(walk.number())
                .bind(PAGE)
                .fetch_all(&mut *conn)
                .await?;
            if page.is_empty() {
                break;
            }
            for row in &page {
                walk.step(&read_link(row)?, row.try_get(10)?, row.try_get(11)?).map_err(Ended::Broken)?;
            }
        }
        rows += walk.ends(end.try_get(1)?, end.try_get(2)?).map_err(Ended::Broken)?;
    }
    Ok(rows)
}

/// Why the audit trail of a data directory can't be checked, or is not whole.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// There are no tables, or none of this kind.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is nothing to check.
    #[error("{0}: there are no tables here (tables.db is missing or empty)")]
    Missing(std::path::PathBuf),
    /// Its tables are from before there was an audit trail.
    #[error("{0}: from before there was an audit trail: start the server on it once")]
    Older(std::path::PathBuf),
    /// It is broken, or can't be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// Checks the audit trail of a data directory, beside a running server or without one; changes nothing.
/// Gives the number of rows.
///
/// # Errors
/// It is broken, and where first; or it can't be read.
pub async fn check_audit(dir: impl AsRef<Path>) -> Result<u64, CheckError> {
    let place = Place::in_dir(dir.as_ref(), Kind::Tables, None);
    if std::fs::metadata(&place.path).map_or(0, |file| file.len()) == 0 {
        return Err(CheckError::Missing(place.path));
    }
    let told = |e: sqlx::Error| CheckError::Open(sqlite_error(&place.path, &e));
    let mut conn = place.looker().await.map_err(told)?;
    let looked = async {
        let found = migrate::look(&mut conn, Kind::Tables).await?;
        let has: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'audit_ends'").fetch_one(&mut conn).await?;
        Ok((found, has == 1))
    };
    let checked = match looked.await.map_err(told)? {
        (Found::Ours(_), true) => Ok(check(&mut conn).await?),
        (Found::Ours(_), false) => Err(CheckError::Older(place.path.clone())),
        (Found::Newer(found), _) => Err(OpenError::Newer { path: place.path.clone(), found, known: Kind::Tables.newest() }.into()),
        (Found::Foreign, _) => Err(OpenError::Foreign(place.path.clone()).into()),
        (Found::Blank, _) => Err(CheckError::Missing(place.path.clone())),
    };
    conn.close().await.map_err(told)?;
    checked
}

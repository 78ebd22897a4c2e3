//! The schema, and how an older one is brought up to date.
//!
//! All steps are one transaction, so the schema is never half-made; a lock that ends with it keeps a
//! second process waiting.

use super::{
    link::{Dialler, Isolation, Patience, query},
    server::{OpenError, Server},
};
use sqlx::{Connection as _, PgConnection, Row as _};
use std::time::Duration;
use tokio::runtime::Handle;

/// Version n is what the first n scripts make.
const SCRIPTS: &[&str] = &[include_str!("../../../migrations/postgres/0001_initial.sql")];

/// Held until the transaction ends. Any number will do; these are the bytes `gavelmig`.
const LOCK: i64 = 0x6761_7665_6c6d_6967;

/// A schema is made in seconds; its lock may be another process's for as long.
const PATIENCE: Duration = Duration::from_secs(600);

/// The newest schema this build knows.
pub(super) fn newest() -> u32 {
    u32::try_from(SCRIPTS.len()).unwrap_or(u32::MAX)
}

/// What [`migrate`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The schema's version as it was found; 0: there was none.
    pub from: u32,
    /// As it is now.
    pub to: u32,
}

/// What a database says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Blank,
    /// A schema of that name, but not of ours.
    Foreign,
    /// Ours.
    Ours(Meta),
}

/// The row of `meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) version: u32,
    /// None: nobody's yet.
    pub(super) owner: Option<(String, u16)>,
}

/// Makes the schema, or brings an older one up to date. Give it PostgreSQL itself, not PgBouncer: a
/// pooler may cut what takes long. `password`: in place of one in the URL.
///
/// # Errors
/// See [`OpenError`]; nothing was changed then.
pub async fn migrate(url: &str, password: Option<&str>) -> Result<Migrated, OpenError> {
    let patience = Patience { connect: Duration::from_secs(5), acquire: PATIENCE, read: PATIENCE, write: PATIENCE };
    let dialler = Dialler::new(url, password, patience, Handle::current()).ok_or(OpenError::BadUrl)?;
    let server = Server::of(&dialler);
    let mut conn = dialler.connect().await.map_err(|e| server.not_connected(&e))?;
    server.judge(&mut conn).await?;
    let migrated = bring_up(&server, &dialler, &mut conn).await?;
    // The session ends with the socket in any case.
    drop(conn.close().await);
    Ok(migrated)
}

/// As [`migrate`], on a connection whose server was judged.
async fn bring_up(server: &Server, dialler: &Dialler, conn: &mut PgConnection) -> Result<Migrated, OpenError> {
    let operation = "making its tables";
    let failed = |e: sqlx::Error| server.failed(operation, &e);
    let mut transaction = dialler.begin_writing(conn, Isolation::ReadCommitted).await.map_err(failed)?;
    query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await.map_err(failed)?;
    let from = match look(&mut transaction).await.map_err(failed)? {
        Found::Blank => 0,
        Found::Foreign => return Err(server.foreign()),
        Found::Ours(meta) if meta.version > newest() => return Err(server.newer(meta.version)),
        Found::Ours(meta) => meta.version,
    };
    for (version, script) in (1_u32..).zip(SCRIPTS).filter(|(version, _)| *version > from) {
        sqlx::raw_sql(*script).execute(&mut *transaction).await.map_err(failed)?;
        query("UPDATE gavel.meta SET version = $1").bind(i64::from(version)).execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(Migrated { from, to: newest() })
}

/// Looks without changing anything. In a transaction.
pub(super) async fn look(conn: &mut PgConnection) -> Result<Found, sqlx::Error> {
    // The catalogue may be read by everybody, whoever may use the schema.
    let row = query(
        "SELECT count(*), count(*) FILTER (WHERE c.relname = 'meta')
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'gavel'",
    )
    .fetch_one(&mut *conn)
    .await?;
    match (row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?) {
        (0, _) => return Ok(Found::Blank),
        (_, 0) => return Ok(Found::Foreign),
        _ => {}
    }
    let row = query("SELECT version, data_id, shards FROM gavel.meta").fetch_optional(conn).await?;
    let Some(row) = row else { return Ok(Found::Foreign) };
    let version = u32::try_from(row.try_get::<i32, _>(0)?).ok().filter(|version| *version > 0);
    let shards = row.try_get::<Option<i32>, _>(2)?.map(u16::try_from).transpose();
    let (Some(version), Ok(shards)) = (version, shards) else { return Ok(Found::Foreign) };
    Ok(Found::Ours(Meta { version, owner: row.try_get::<Option<String>, _>(1)?.zip(shards) }))
}

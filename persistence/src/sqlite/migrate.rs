//! The schemas of the two files, and how an older one is brought up to date.
//!
//! `application_id` says whose file it is, `user_version` which schema it has; both change in the
//! transaction of the schema itself, so a file is never half-made.

use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};

/// One of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `journal.db`
    Journal,
    /// `tables.db`
    Tables,
}

/// Schema versions start at 1; version n is what the first n scripts make.
const JOURNAL: &[&str] = &[
    include_str!("../../../migrations/sqlite/journal/0001_initial.sql"),
    include_str!("../../../migrations/sqlite/journal/0002_places.sql"),
];
const TABLES: &[&str] = &[
    include_str!("../../../migrations/sqlite/tables/0001_initial.sql"),
    include_str!("../../../migrations/sqlite/tables/0002_wallets.sql"),
    include_str!("../../../migrations/sqlite/tables/0003_audit.sql"),
];

impl Kind {
    pub(super) const fn file_name(self) -> &'static str {
        match self {
            Self::Journal => "journal.db",
            Self::Tables => "tables.db",
        }
    }

    /// In the file's header, where `file(1)` and others look.
    pub(super) const fn application_id(self) -> i32 {
        match self {
            Self::Journal => i32::from_be_bytes(*b"GVLJ"),
            Self::Tables => i32::from_be_bytes(*b"GVLT"),
        }
    }

    const fn scripts(self) -> &'static [&'static str] {
        match self {
            Self::Journal => JOURNAL,
            Self::Tables => TABLES,
        }
    }

    /// The newest schema this build knows.
    pub(super) fn newest(self) -> u32 {
        u32::try_from(self.scripts().len()).unwrap_or(u32::MAX)
    }
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing yet.
    Blank,
    /// A database, but not this one of ours.
    Foreign,
    /// Of a later Gavel.
    Newer(u32),
    /// Ours.
    Ours(Meta),
}

/// What both files must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) data_id: String,
    pub(super) shards: u16,
}

/// Looks without changing anything.
pub(super) async fn look(conn: &mut SqliteConnection, kind: Kind) -> Result<Found, sqlx::Error> {
    let application: i32 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *conn).await?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *conn).await?;
    let objects: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *conn).await?;
    if application != kind.application_id() {
        return Ok(if application == 0 && version == 0 && objects == 0 { Found::Blank } else { Found::Foreign });
    }
    match u32::try_from(version) {
        Ok(version) if version > kind.newest() => return Ok(Found::Newer(version)),
        Ok(0) | Err(_) => return Ok(Found::Foreign),
        Ok(_) => {}
    }
    let meta: Option<(String, u16)> = sqlx::query_as("SELECT data_id, shards FROM meta").fetch_optional(conn).await?;
    Ok(meta.map_or(Found::Foreign, |(data_id, shards)| Found::Ours(Meta { data_id, shards })))
}

/// Makes a blank file ours, in one transaction.
pub(super) async fn create(conn: &mut SqliteConnection, kind: Kind, meta: &Meta) -> Result<(), sqlx::Error> {
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
    for script in kind.scripts() {
        sqlx::raw_sql(*script).execute(&mut *transaction).await?;
    }
    sqlx::query("INSERT INTO meta (only_row, data_id, shards) VALUES (1, ?, ?)")
        .bind(meta.data_id.clone())
        .bind(meta.shards)
        .execute(&mut *transaction)
        .await?;
    let header = format!("PRAGMA application_id = {}; PRAGMA user_version = {}", kind.application_id(), kind.newest());
    sqlx::raw_sql(AssertSqlSafe(header)).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// Brings an older schema of ours up to date, one transaction a step.
pub(super) async fn upgrade(conn: &mut SqliteConnection, kind: Kind) -> Result<(), sqlx::Error> {
    let version: u32 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *conn).await?;
    for (number, script) in (1_u32..).zip(kind.scripts()).filter(|(number, _)| *number > version) {
        let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::raw_sql(*script).execute(&mut *transaction).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("PRAGMA user_version = {number}"))).execute(&mut *transaction).await?;
        transaction.commit().await?;
    }
    Ok(())
}

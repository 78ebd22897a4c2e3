//! Opening: what the server is, whether its tables are ours, whose data they hold.

use super::{
    link::{Dialler, Isolation, Patience, query},
    migrate::{self, Found, Meta},
    server::{OpenError, Server},
    tables::PostgresTables,
    writer::Writer,
};
use sqlx::{Connection as _, PgConnection};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Handle;

/// How to open the tables in a PostgreSQL.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`, of PostgreSQL or of a PgBouncer before it. Of its
    /// parameters `sslmode` decides on TLS (`verify-full` alone proves who answers); `sslrootcert` names a
    /// file of certificates that are trusted beside the well-known ones.
    pub url: String,
    /// In place of one in the URL.
    pub password: Option<String>,
    /// The number of shards, 1 to 4,096. Existing tables must have been made with the same.
    pub shards: u16,
    /// The journal's. Fresh tables take it over; those of other data are refused. None: fresh tables
    /// get a random one.
    pub data_id: Option<String>,
    /// Whether to make missing tables and to bring older ones up to date. Otherwise both are refused.
    pub migrate: bool,
    /// Where to do so: PostgreSQL itself, where `url` is a PgBouncer's. None: at `url`.
    pub migrate_url: Option<String>,
    /// Connections that read, at most, at least 1. One more writes.
    pub readers: u32,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a read waits for one of the connections, and a transaction for its beginning.
    pub acquire_timeout: Duration,
    /// How long one read may take.
    pub read_timeout: Duration,
    /// How long a transaction that writes may take; after it its fate is looked up.
    pub write_timeout: Duration,
    /// Serves the connections; must outlive every caller.
    pub runtime: Handle,
}

impl std::fmt::Debug for PostgresOptions {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresOptions").field("shards", &self.shards).field("data_id", &self.data_id).finish_non_exhaustive()
    }
}

impl PostgresOptions {
    /// With the built-in figures, for tables that exist.
    #[must_use]
    pub fn new(url: impl Into<String>, shards: u16, runtime: Handle) -> Self {
        Self {
            url: url.into(),
            password: None,
            shards,
            data_id: None,
            migrate: false,
            migrate_url: None,
            readers: 4,
            connect_timeout: Duration::from_secs(5),
            acquire_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            runtime,
        }
    }
}

impl PostgresOptions {
    fn dial(&self) -> Result<(Server, Dialler), OpenError> {
        if !(1..=4096).contains(&self.shards) {
            return Err(OpenError::BadShardCount(self.shards));
        }
        let patience =
            Patience { connect: self.connect_timeout, acquire: self.acquire_timeout, read: self.read_timeout, write: self.write_timeout };
        let dialler = Dialler::new(&self.url, self.password.as_deref(), patience, self.runtime.clone()).ok_or(OpenError::BadUrl)?;
        Ok((Server::of(&dialler), dialler))
    }
}

/// Open tables, and how they were found.
pub struct Opened {
    /// The backend.
    pub tables: PostgresTables,
    /// The id of the data that they belong to.
    pub data_id: String,
    /// The number of shards that they were made with.
    pub shards: u16,
    /// They were nobody's: now they are this data's.
    pub adopted: bool,
    /// What can lose committed rows; a line each.
    pub warnings: Vec<String>,
}

/// Tables that are written, and by what right: the rest is only added to.
const CHANGED: [&str; 5] = ["meta", "lots", "cursors", "wallets", "audit_ends"];
const ADDED_TO: [&str; 5] = ["bids", "events", "archive", "ledger", "audit"];

impl PostgresTables {
    /// Asks a server what it is, whose tables it holds, and what the user may do there; writes nothing. The server's name for people, then
    /// id and number of shards of the data; none: there are no tables yet, or nobody's.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn look(options: &PostgresOptions) -> Result<(Arc<str>, Option<(String, u16)>), OpenError> {
        let (server, dialler) = options.dial()?;
        let mut conn = dialler.connect().await.map_err(|e| server.not_connected(&e))?;
        server.judge(&mut conn).await?;
        let failed = |e: sqlx::Error| server.failed("reading whose tables they are", &e);
        let mut transaction = dialler.begin_writing(&mut conn, Isolation::ReadCommitted).await.map_err(failed)?;
        let found = migrate::look(&mut transaction).await.map_err(failed)?;
        let may_make: bool = sqlx::query_scalar(
            "SELECT CASE WHEN to_regnamespace('gavel') IS NULL THEN has_database_privilege(current_database(), 'CREATE')
                 ELSE has_schema_privilege('gavel', 'CREATE') END",
        )
        .persistent(false)
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.rollback().await.map_err(failed)?;
        // Another address may mean another user, whose rights are seen when it is used.
        let makes_itself = options.migrate && options.migrate_url.is_none();
        let owner = match found {
            Found::Blank if makes_itself && !may_make => {
                let reason = "it may not create the schema \"gavel\"".into();
                return Err(OpenError::Privileges { server: server.name(), reason });
            }
            Found::Blank if options.migrate => None,
            Found::Ours(meta) if options.migrate && meta.version < migrate::newest() => meta.owner,
            found => {
                let owner = ours(&server, found)?.owner;
                rights(&server, &mut conn).await?;
                owner
            }
        };
        drop(conn.close().await); // the session ends with the socket in any case
        Ok((server.name(), owner))
    }

    /// Opens the tables.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(options: PostgresOptions) -> Result<Opened, OpenError> {
        let (server, dialler) = options.dial()?;
        let mut conn = dialler.connect().await.map_err(|e| server.not_connected(&e))?;
        let warnings = server.judge(&mut conn).await?;
        if options.migrate {
            let url = options.migrate_url.as_ref().unwrap_or(&options.url);
            migrate::migrate(url, options.password.as_deref()).await?;
        }
        let opening = Opening { server, dialler, options };
        let (adopted, (data_id, shards)) = opening.adopt(&mut conn).await?;
        rights(&opening.server, &mut conn).await?;
        let Opening { server, dialler, options } = opening;
        let readers = dialler.readers(options.readers.max(1));
        let writer = Writer::new(dialler.clone(), conn);
        // Writes, so that a server that takes nothing is met here; and the months ahead exist.
        writer.ping().await.map_err(|e| server.failed("writing to its tables", &e))?;
        writer.look_ahead().await.map_err(|e| server.failed("making partitions", &e))?;
        Ok(Opened { tables: PostgresTables::new(dialler, writer, readers), data_id, shards, adopted, warnings })
    }
}

struct Opening {
    server: Server,
    dialler: Dialler,
    options: PostgresOptions,
}

impl Opening {
    /// Whose tables they are now, and whether they were nobody's before.
    async fn adopt(&self, conn: &mut PgConnection) -> Result<(bool, (String, u16)), OpenError> {
        let failed = |e: sqlx::Error| self.server.failed("reading whose tables they are", &e);
        let mut transaction = self.dialler.begin_writing(conn, Isolation::ReadCommitted).await.map_err(failed)?;
        let mut meta = ours(&self.server, migrate::look(&mut transaction).await.map_err(failed)?)?;
        let mut adopted = false;
        if meta.owner.is_none() {
            let data_id = self.options.data_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
            // Whoever comes first writes; all read the same.
            let written = query("UPDATE gavel.meta SET data_id = $1, shards = $2 WHERE data_id IS NULL")
                .bind(data_id)
                .bind(i32::from(self.options.shards))
                .execute(&mut *transaction)
                .await
                .map_err(failed)?;
            adopted = written.rows_affected() == 1;
            meta = ours(&self.server, migrate::look(&mut transaction).await.map_err(failed)?)?;
        }
        let (stored, shards) = meta.owner.ok_or_else(|| self.server.foreign())?;
        if let Some(given) = self.options.data_id.clone().filter(|given| *given != stored) {
            return Err(OpenError::OtherData { server: self.server.name(), stored, given });
        }
        if shards != self.options.shards {
            return Err(OpenError::ShardCount { server: self.server.name(), stored: shards, asked: self.options.shards });
        }
        transaction.commit().await.map_err(failed)?;
        Ok((adopted, (stored, shards)))
    }
}

/// Whether the user may do what a projection does: better asked now than met by the first bid.
async fn rights(server: &Server, conn: &mut PgConnection) -> Result<(), OpenError> {
    let failed = |e: sqlx::Error| server.failed("asking what the user may do", &e);
    let mut transaction = conn.begin().await.map_err(failed)?;
    let lacking: Option<String> = sqlx::query_scalar(
        "SELECT string_agg(one || ' on gavel.' || name, ', ')
         FROM (SELECT unnest($1::text[]) AS name, 'SELECT, INSERT, UPDATE' AS needed UNION ALL SELECT unnest($2::text[]), 'SELECT, INSERT') AS wanted
         CROSS JOIN LATERAL unnest(string_to_array(needed, ', ')) AS one
         WHERE NOT has_table_privilege('gavel.' || name, one) AND NOT (name = 'meta' AND one = 'INSERT')",
    )
    .bind(CHANGED)
    .bind(ADDED_TO)
    .persistent(false)
    .fetch_one(&mut *transaction)
    .await
    .map_err(failed)?;
    transaction.rollback().await.map_err(failed)?;
    match lacking {
        None => Ok(()),
        Some(lacking) => Err(OpenError::Privileges { server: server.name(), reason: lacking }),
    }
}

/// Tables of this version, or why not.
fn ours(server: &Server, found: Found) -> Result<Meta, OpenError> {
    let (name, known) = (server.name(), migrate::newest());
    match found {
        Found::Blank => Err(OpenError::NotMigrated { server: name }),
        Found::Foreign => Err(server.foreign()),
        Found::Ours(Meta { version, .. }) if version > known => Err(server.newer(version)),
        Found::Ours(Meta { version, .. }) if version < known => Err(OpenError::Older { server: name, found: version, known }),
        Found::Ours(meta) => Ok(meta),
    }
}

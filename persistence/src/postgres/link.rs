//! How connections are made and transactions begun: every setting is here.
//!
//! Nothing is set for a session: behind PgBouncer the next transaction may have another one.

use super::fault::silence;
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Error, PgConnection, Postgres, Transaction,
    postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions},
    query::Query,
};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Handle;

/// A connection of the pool that nobody wants for so long is closed: PgBouncer's are few.
const IDLE: Duration = Duration::from_secs(60);

/// Times that hold for all connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) acquire: Duration,
    pub(super) read: Duration,
    pub(super) write: Duration,
}

/// Makes connections with the same settings.
#[derive(Clone)]
pub(super) struct Dialler {
    options: PgConnectOptions,
    /// Host and port, for people.
    pub(super) server: Arc<str>,
    pub(super) patience: Patience,
    /// Its reactor serves the sockets, so that they outlive whoever asked first.
    pub(super) runtime: Handle,
}

impl Dialler {
    /// None: no URL of PostgreSQL's.
    pub(super) fn new(url: &str, password: Option<&str>, patience: Patience, runtime: Handle) -> Option<Self> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return None;
        }
        // PgBouncer refuses `extra_float_digits` where it is not told to let it pass, and there are no
        // floats here. Statements are never kept (see `super`).
        let mut options =
            url.parse::<PgConnectOptions>().ok()?.statement_cache_capacity(0).extra_float_digits(None).disable_statement_logging();
        if options.get_application_name().is_none() {
            options = options.application_name("gavel");
        }
        if let Some(password) = password {
            options = options.password(password);
        }
        let server = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        Some(Self { options, server: server.into(), patience, runtime })
    }

    /// A connection of one's own.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        let (options, patience) = (self.options.clone(), self.patience.connect);
        let connecting = self.runtime.spawn(async move {
            let connected = tokio::time::timeout(patience, PgConnection::connect_with(&options)).await;
            connected.unwrap_or_else(|_| Err(silence("connecting")))
        });
        connecting.await.unwrap_or(Err(Error::WorkerCrashed))
    }

    /// Connections that read. None is made before it is needed.
    pub(super) fn readers(&self, most: u32) -> PgPool {
        PgPoolOptions::new()
            .max_connections(most)
            .acquire_timeout(self.patience.acquire)
            .idle_timeout(IDLE)
            .connect_lazy_with(self.options.clone())
    }

    /// Begins a transaction that writes.
    pub(super) async fn begin_writing<'c>(
        &self,
        conn: &'c mut PgConnection,
        isolation: Isolation,
    ) -> Result<Transaction<'c, Postgres>, Error> {
        let ms = self.patience.write.as_millis();
        let level = match isolation {
            Isolation::ReadCommitted => "READ COMMITTED",
            Isolation::Serializable => "SERIALIZABLE",
        };
        // A server must not go on for long with what its client gave up, nor keep the cursors' rows locked
        // for a client that is gone. The journal is trimmed by what is committed here, so a commit that
        // does not wait for the disk is none. Looking whole small tables through would lock them whole
        // against other nodes (SERIALIZABLE), hence no such scans; what is forbidden has a price so high
        // that the server would compile the statement first, hence no `jit`.
        let sql = format!(
            "BEGIN ISOLATION LEVEL {level}; SET LOCAL statement_timeout = {ms}; SET LOCAL idle_in_transaction_session_timeout = {ms};
             SET LOCAL enable_seqscan = off; SET LOCAL jit = off;
             SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
        );
        // PgBouncer keeps a transaction waiting while it has no server for it.
        let begun = tokio::time::timeout(self.patience.acquire, conn.begin_with(AssertSqlSafe(sql))).await;
        begun.unwrap_or_else(|_| Err(silence("beginning a transaction")))
    }

    /// Begins one that reads, everything as of the same moment.
    pub(super) fn reading(&self) -> AssertSqlSafe<String> {
        let ms = self.patience.read.as_millis();
        // Every read here walks an index in its order and stops at its limit. A planner that knows
        // nothing of a fresh table yet would rather collect all of a lot and sort it.
        AssertSqlSafe(format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {ms};
             SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off;
             SET LOCAL jit = off"
        ))
    }
}

/// How a transaction that writes is kept apart from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    /// The cursors' compare-and-set is all that counts.
    ReadCommitted,
    /// For money: as if nobody else had been there.
    Serializable,
}

/// A statement that is forgotten once it ran: PgBouncer knows of no others.
pub(super) fn query<'q>(sql: &'static str) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(sql).persistent(false)
}

//! What a PostgreSQL must be, and the words for one that is not. Judges plain facts; makes and changes
//! nothing.

use super::{
    fault::{Fault, words},
    link::{Dialler, query},
    migrate,
};
use sqlx::{PgConnection, Row as _};
use std::sync::Arc;

/// Partitions are attached without stopping readers since 12; since 13 an index keeps equal entries
/// together, which the one of bids by bidder counts on. Older ones are no longer maintained.
const OLDEST: i32 = 13;

/// Why the tables were not opened. Nothing of them was changed, unless they were to be migrated. Texts
/// name the server, never a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not one that is understood.
    #[error("not a PostgreSQL URL (postgres://user:password@host:port/database)")]
    BadUrl,
    /// Outside 1 to 4,096.
    #[error("{0} shards: from 1 to 4096 are possible")]
    BadShardCount(u16),
    /// Nobody answers there.
    #[error("PostgreSQL at {server}: {reason}")]
    Unreachable {
        /// Host and port.
        server: Arc<str>,
        /// The system's words.
        reason: String,
    },
    /// The user, or the password, is wrong or missing.
    #[error("PostgreSQL at {server}: the user or password is refused: {reason}")]
    Credentials {
        /// Host and port.
        server: Arc<str>,
        /// The server's words.
        reason: String,
    },
    /// One wants TLS and the other does not, or a certificate is not trusted.
    #[error("PostgreSQL at {server}: {reason}")]
    Tls {
        /// Host and port.
        server: Arc<str>,
        /// What to change.
        reason: String,
    },
    /// The database must be made first.
    #[error("PostgreSQL at {server}: {reason}")]
    NoDatabase {
        /// Host and port.
        server: Arc<str>,
        /// The server's words.
        reason: String,
    },
    /// The server can't do what is needed.
    #[error("PostgreSQL at {server}: {}", lines.join("; "))]
    Unfit {
        /// Host and port.
        server: Arc<str>,
        /// A reason each.
        lines: Vec<String>,
    },
    /// It takes no writes.
    #[error("PostgreSQL at {server}: takes no writes: {reason}")]
    ReadOnly {
        /// Host and port.
        server: Arc<str>,
        /// Why.
        reason: String,
    },
    /// The user may not do what is needed.
    #[error("PostgreSQL at {server}: the user lacks rights: {reason}")]
    Privileges {
        /// Host and port.
        server: Arc<str>,
        /// Which.
        reason: String,
    },
    /// No space.
    #[error("PostgreSQL at {server}: its disk is full: {reason}")]
    Full {
        /// Host and port.
        server: Arc<str>,
        /// The server's words.
        reason: String,
    },
    /// There are no tables of ours.
    #[error("PostgreSQL at {server}: has no tables of Gavel's yet: migrate it first, or let the server do so at its start")]
    NotMigrated {
        /// Host and port.
        server: Arc<str>,
    },
    /// The schema is of an earlier Gavel.
    #[error(
        "PostgreSQL at {server}: its tables are of schema {found}, this version needs {known}: migrate it first, or let the server do so at its start"
    )]
    Older {
        /// Host and port.
        server: Arc<str>,
        /// As found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The schema is of a later Gavel.
    #[error("PostgreSQL at {server}: its tables were made by a newer version of Gavel (schema {found}, this one knows up to {known})")]
    Newer {
        /// Host and port.
        server: Arc<str>,
        /// As found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// Something else has our schema's name.
    #[error("PostgreSQL at {server}: its schema \"gavel\" holds something else than Gavel's tables")]
    Foreign {
        /// Host and port.
        server: Arc<str>,
    },
    /// The tables were not made with this journal.
    #[error("PostgreSQL at {server}: its tables belong to data {stored}, the journal is of data {given}: they were not made together")]
    OtherData {
        /// Host and port.
        server: Arc<str>,
        /// In the tables.
        stored: String,
        /// The journal's.
        given: String,
    },
    /// The number of shards says where data lies and can't change.
    #[error("PostgreSQL at {server}: its tables were made with {stored} shards, {asked} are configured (engine.shards)")]
    ShardCount {
        /// Host and port.
        server: Arc<str>,
        /// When they were made.
        stored: u16,
        /// Now.
        asked: u16,
    },
    /// Anything else.
    #[error("PostgreSQL at {server}: {operation}: {reason}")]
    Other {
        /// Host and port.
        server: Arc<str>,
        /// What was asked.
        operation: &'static str,
        /// The server's words.
        reason: String,
    },
}

/// Names one server in every error.
pub(super) struct Server(Arc<str>);

impl Server {
    pub(super) fn of(dialler: &Dialler) -> Self {
        Self(Arc::clone(&dialler.server))
    }

    pub(super) fn name(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// Why there is no connection.
    pub(super) fn not_connected(&self, error: &sqlx::Error) -> OpenError {
        let (server, reason) = (self.name(), words(error));
        match error {
            sqlx::Error::Tls(_) if reason.contains("does not support TLS") => {
                OpenError::Tls { server, reason: "TLS is required (sslmode), and it does not speak TLS".into() }
            }
            sqlx::Error::Tls(_) => OpenError::Tls { server, reason },
            sqlx::Error::Io(e) if certificate(e) => OpenError::Tls { server, reason: format!("TLS: {reason}") },
            // `pg_hba.conf` has a line for TLS only; the server says so behind "no encryption".
            sqlx::Error::Database(_) if reason.contains("no encryption") => {
                OpenError::Tls { server, reason: format!("it wants TLS (sslmode=require or verify-full): {reason}") }
            }
            sqlx::Error::Database(_) => self.refused("connecting", reason, Fault::of(error)),
            _ => OpenError::Unreachable { server, reason },
        }
    }

    /// Why something was not done on a connection. PgBouncer tells only then what it met.
    pub(super) fn failed(&self, operation: &'static str, error: &sqlx::Error) -> OpenError {
        match error {
            sqlx::Error::Io(_) => self.not_connected(error),
            _ => self.refused(operation, words(error), Fault::of(error)),
        }
    }

    fn refused(&self, operation: &'static str, reason: String, fault: Fault) -> OpenError {
        let server = self.name();
        match fault {
            Fault::Credentials => OpenError::Credentials { server, reason },
            Fault::NoDatabase => OpenError::NoDatabase { server, reason },
            Fault::Privileges => OpenError::Privileges { server, reason },
            Fault::ReadOnly => OpenError::ReadOnly { server, reason },
            Fault::Full => OpenError::Full { server, reason },
            Fault::NotOurs => self.foreign(),
            Fault::Away => OpenError::Unreachable { server, reason },
            Fault::Again | Fault::Busy | Fault::Refused | Fault::Other => OpenError::Other { server, operation, reason },
        }
    }

    pub(super) fn foreign(&self) -> OpenError {
        OpenError::Foreign { server: self.name() }
    }

    pub(super) fn newer(&self, found: u32) -> OpenError {
        OpenError::Newer { server: self.name(), found, known: migrate::newest() }
    }

    /// Asks a server what it is. Gives what is worth a warning, a line each.
    pub(super) async fn judge(&self, conn: &mut PgConnection) -> Result<Vec<String>, OpenError> {
        let facts = Facts::ask(conn).await.map_err(|e| self.failed("asking what it is", &e))?;
        facts.judge(self)
    }
}

/// Whether a TLS session failed for a certificate: rustls hides that in an error of input and output.
fn certificate(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData && error.to_string().contains("certificate")
}

/// What a server says of itself.
#[derive(Clone, Debug)]
struct Facts {
    /// As `server_version_num`: 150018 is 15.18.
    version: i32,
    standby: bool,
    read_only: bool,
    encoding: String,
    fsync: bool,
    full_page_writes: bool,
}

impl Facts {
    async fn ask(conn: &mut PgConnection) -> Result<Self, sqlx::Error> {
        use sqlx::Connection as _;
        let mut transaction = conn.begin().await?;
        let row = query(
            "SELECT current_setting('server_version_num')::int4, pg_is_in_recovery(), current_setting('default_transaction_read_only')::bool,
                 current_setting('server_encoding'), current_setting('fsync')::bool, current_setting('full_page_writes')::bool",
        )
        .fetch_one(&mut *transaction)
        .await?;
        transaction.rollback().await?;
        Ok(Self {
            version: row.try_get(0)?,
            standby: row.try_get(1)?,
            read_only: row.try_get(2)?,
            encoding: row.try_get(3)?,
            fsync: row.try_get(4)?,
            full_page_writes: row.try_get(5)?,
        })
    }

    fn judge(&self, server: &Server) -> Result<Vec<String>, OpenError> {
        let mut lines = Vec::new();
        if self.version < OLDEST * 10_000 {
            lines.push(format!("it is version {}.{}, at least {OLDEST} is needed", self.version / 10_000, self.version % 10_000));
        }
        if self.encoding != "UTF8" {
            lines.push(format!("the database's encoding is {}, it must be UTF8", self.encoding));
        }
        let server = server.name();
        if !lines.is_empty() {
            return Err(OpenError::Unfit { server, lines });
        }
        if self.standby {
            return Err(OpenError::ReadOnly { server, reason: "it is a standby".into() });
        }
        if self.read_only {
            return Err(OpenError::ReadOnly { server, reason: "default_transaction_read_only is on".into() });
        }
        let settings = [(self.fsync, "fsync"), (self.full_page_writes, "full_page_writes")];
        let off = settings.into_iter().filter(|(on, _)| !on);
        Ok(off.map(|(_, name)| format!("{name} is off: what it committed can be lost or damaged with its machine")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts { version: 150_018, standby: false, read_only: false, encoding: "UTF8".into(), fsync: true, full_page_writes: true }
    }

    fn judged(facts: &Facts) -> Result<Vec<String>, String> {
        facts.judge(&Server("db:5432".into())).map_err(|e| e.to_string())
    }

    #[test]
    fn each_reason_has_its_line() {
        assert_eq!(judged(&good()), Ok(vec![]));
        for (facts, line) in [
            (Facts { version: 120_022, ..good() }, "PostgreSQL at db:5432: it is version 12.22, at least 13 is needed"),
            (Facts { encoding: "LATIN1".into(), ..good() }, "PostgreSQL at db:5432: the database's encoding is LATIN1, it must be UTF8"),
            (Facts { standby: true, ..good() }, "PostgreSQL at db:5432: takes no writes: it is a standby"),
            (Facts { read_only: true, ..good() }, "PostgreSQL at db:5432: takes no writes: default_transaction_read_only is on"),
        ] {
            assert_eq!(judged(&facts), Err(line.to_owned()));
        }
        let warned = judged(&Facts { fsync: false, ..good() }).expect("good enough");
        assert_eq!(warned, ["fsync is off: what it committed can be lost or damaged with its machine"]);
    }
}

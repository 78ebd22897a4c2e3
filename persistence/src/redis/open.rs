//! Opening: what the server is, whose data it holds, what its streams keep.

use super::{
    RedisStorage,
    checks::{Durability, Facts},
    fault::{Fault, words},
    journal::{Kept, RedisJournal, count},
    keys::Prefix,
    link::{Dialler, Link},
    scripts::Scripts,
    snapshots::RedisSnapshots,
    writer::Writer,
};
use crate::record::RecordFormat;
use gavel_domain::ids::ShardId;
use redis::{
    Client, ErrorKind, IntoConnectionInfo as _, Pipeline, ProtocolVersion, RedisError, TlsCertificates, Value, aio::MultiplexedConnection,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::runtime::Handle;

/// The layout of keys and entries that this build writes.
const LAYOUT: u32 = 1;

/// How to open the data in a Redis.
#[derive(Clone)]
pub struct RedisOptions {
    /// `redis://` or `rediss://` (TLS), with user and password where they are needed.
    pub url: String,
    /// PEM: certificates trusted for TLS in place of the system's. None: the system's.
    pub root_certificates: Option<Vec<u8>>,
    /// Begins the names of all keys.
    pub prefix: Prefix,
    /// The number of shards, 1 to 4,096. Existing data must have been made with the same.
    pub shards: u16,
    /// What is promised of an acknowledged append.
    pub durability: Durability,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// After which an append is of unknown fate.
    pub response_timeout: Duration,
    /// As `response_timeout`, for reading streams and for snapshots, which are larger.
    pub bulk_timeout: Duration,
    /// Runs the writer's task and the connections'; must outlive every caller.
    pub runtime: Handle,
}

impl std::fmt::Debug for RedisOptions {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisOptions").field("prefix", &self.prefix).field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// With the built-in figures, strict.
    #[must_use]
    pub fn new(url: impl Into<String>, prefix: Prefix, shards: u16, runtime: Handle) -> Self {
        Self {
            url: url.into(),
            root_certificates: None,
            prefix,
            shards,
            durability: Durability::Strict,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(5),
            bulk_timeout: Duration::from_secs(60),
            runtime,
        }
    }
}

/// Open data, and how it was found.
pub struct Opened {
    /// The backend.
    pub storage: RedisStorage,
    /// There was none: it is new.
    pub created: bool,
    /// What [`Durability::Relaxed`] let in although it can lose acknowledged appends; a line each.
    pub warnings: Vec<String>,
}

/// Why the data was not opened. Nothing in it was changed. Texts name the server, never a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not one that is understood.
    #[error("not a Redis URL (redis://host:port or rediss://host:port for TLS)")]
    BadUrl,
    /// Outside 1 to 4,096.
    #[error("{0} shards: from 1 to 4096 are possible")]
    BadShardCount(u16),
    /// Nobody answers there.
    #[error("Redis at {server}: {reason}")]
    Unreachable {
        /// Host and port.
        server: String,
        /// The system's words.
        reason: String,
    },
    /// The password is wrong, or missing.
    #[error("Redis at {server}: the user or password is refused: {reason}")]
    Credentials {
        /// Host and port.
        server: String,
        /// The server's words.
        reason: String,
    },
    /// One speaks TLS and the other does not.
    #[error("Redis at {server}: {reason}")]
    Tls {
        /// Host and port.
        server: String,
        /// What to change.
        reason: String,
    },
    /// The server can't do, or does not promise, what is needed.
    #[error("Redis at {server}: {}", lines.join("; "))]
    Unfit {
        /// Host and port.
        server: String,
        /// A reason each.
        lines: Vec<String>,
    },
    /// The layout is of a later Gavel.
    #[error("Redis at {server}: its data was written by a newer version of Gavel (layout {found}, this one knows up to {known})")]
    Newer {
        /// Host and port.
        server: String,
        /// As found.
        found: u32,
        /// The newest known.
        known: u32,
    },
    /// The number of shards says where data lies and can't change.
    #[error("Redis at {server}: its data was made with {stored} shards, {asked} are configured (engine.shards)")]
    ShardCount {
        /// Host and port.
        server: String,
        /// When it was made.
        stored: u16,
        /// Now.
        asked: u16,
    },
    /// Anything else.
    #[error("Redis at {server}: {operation}: {reason}")]
    Other {
        /// Host and port.
        server: String,
        /// What was asked.
        operation: &'static str,
        /// The server's words.
        reason: String,
    },
}

impl RedisStorage {
    /// Opens the data under a prefix; makes it where there is none.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(options: RedisOptions) -> Result<Opened, OpenError> {
        if !(1..=4096).contains(&options.shards) {
            return Err(OpenError::BadShardCount(options.shards));
        }
        let info = options.url.as_str().into_connection_info().map_err(|_| OpenError::BadUrl)?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let info = info.set_redis_settings(settings).set_tcp_settings(tcp);
        let opening = Opening { server: info.addr().to_string(), tls: options.url.starts_with("rediss") };
        let client = match options.root_certificates.clone() {
            None => Client::open(info).map_err(|_| OpenError::BadUrl)?,
            root_cert => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert })
                .map_err(|e| OpenError::Tls { server: opening.server.clone(), reason: e.to_string() })?,
        };
        let dialler = Dialler {
            client,
            connect_timeout: options.connect_timeout,
            response_timeout: options.response_timeout,
            runtime: options.runtime.clone(),
        };
        let mut conn = dialler.connect().await.map_err(|e| opening.not_connected(&e))?;
        let facts = opening.facts(&mut conn).await?;
        let warnings = options.durability.judge(&facts).map_err(|lines| OpenError::Unfit { server: opening.server.clone(), lines })?;
        let scripts = opening.load_scripts(&mut conn).await?;
        let (data_id, created) = opening.meta(&mut conn, &options).await?;

        let bulk = Link::new(Dialler { response_timeout: options.bulk_timeout, ..dialler.clone() }, scripts.clone());
        let kept = Arc::new(Kept::new(options.shards));
        count(&bulk, &options.prefix, &kept, (0..options.shards).map(ShardId))
            .await
            .map_err(|fault| opening.other("counting the journal", &fault))?;
        let prefix = options.prefix;
        let journal = Arc::new(RedisJournal {
            writer: Writer::spawn(dialler, scripts, prefix.clone()),
            reader: bulk.clone(),
            prefix: prefix.clone(),
            kept,
        });
        let snapshots = Arc::new(RedisSnapshots { link: bulk, prefix });
        let storage = RedisStorage { format: Arc::new(RecordFormat), journal, snapshots, data_id };
        Ok(Opened { storage, created, warnings })
    }
}

/// Asks one server, and names it in every error.
struct Opening {
    server: String,
    tls: bool,
}

impl Opening {
    fn not_connected(&self, error: &RedisError) -> OpenError {
        let server = self.server.clone();
        let reason = error.to_string();
        match error.kind() {
            ErrorKind::AuthenticationFailed => return OpenError::Credentials { server, reason },
            ErrorKind::RESP3NotSupported => {
                let lines = vec!["it does not know RESP3: at least 7.0 is needed".into()];
                return OpenError::Unfit { server, lines };
            }
            _ => {}
        }
        if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) {
            return OpenError::Credentials { server, reason };
        }
        // Redis takes a TLS greeting for the beginning of a line, and waits for its end.
        if self.tls && error.is_timeout() {
            return OpenError::Unreachable { server, reason: format!("{reason}; if it does not speak TLS use redis://") };
        }
        if error.is_connection_refusal() || error.is_timeout() {
            return OpenError::Unreachable { server, reason };
        }
        if self.tls && (reason.contains("InvalidContentType") || reason.contains("corrupt message")) {
            return OpenError::Tls { server, reason: "it does not speak TLS: use redis://".into() };
        }
        if self.tls && reason.contains("certificate") {
            return OpenError::Tls { server, reason };
        }
        if !self.tls && error.is_io_error() && error.is_connection_dropped() {
            let reason = format!("it hung up at the first word ({reason}); if it wants TLS use rediss://");
            return OpenError::Tls { server, reason };
        }
        OpenError::Unreachable { server, reason }
    }

    fn other(&self, operation: &'static str, fault: &Fault) -> OpenError {
        let (Fault::Refused(reason) | Fault::Unknown(reason)) = fault;
        OpenError::Other { server: self.server.clone(), operation, reason: reason.clone() }
    }

    async fn send(&self, conn: &mut MultiplexedConnection, operation: &'static str, pipeline: &Pipeline) -> Result<Vec<Value>, OpenError> {
        let sent = conn.send_packed_commands(pipeline, 0, pipeline.len()).await;
        sent.map_err(|e| OpenError::Other { server: self.server.clone(), operation, reason: e.to_string() })
    }

    async fn facts(&self, conn: &mut MultiplexedConnection) -> Result<Facts, OpenError> {
        let operation = "asking what it is";
        let mut pipeline = Pipeline::new();
        pipeline.cmd("INFO");
        pipeline.cmd("CONFIG").arg("GET");
        for name in ["appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy"] {
            pipeline.arg(name);
        }
        let mut answers = self.send(conn, operation, &pipeline).await?.into_iter();
        let (info, config) = (answers.next().unwrap_or_default(), answers.next().unwrap_or_default());
        let info = match info {
            Value::ServerError(error) if error.code() == "NOAUTH" => {
                return Err(OpenError::Credentials { server: self.server.clone(), reason: words(&error) });
            }
            Value::ServerError(error) => return Err(self.other(operation, &Fault::of_server(&error))),
            info => redis::from_redis_value::<String>(info).map_err(|e| self.other(operation, &Fault::Refused(e.to_string())))?,
        };
        let config = match config {
            Value::ServerError(error) => Err(words(&error)),
            config => redis::from_redis_value::<HashMap<String, String>>(config).map_err(|e| e.to_string()),
        };
        Ok(Facts { info: Facts::info_lines(&info), config })
    }

    async fn load_scripts(&self, conn: &mut MultiplexedConnection) -> Result<Scripts, OpenError> {
        let operation = "loading the scripts";
        let answers = self.send(conn, operation, &Scripts::load()).await?;
        if let Some(Value::ServerError(error)) = answers.iter().find(|answer| matches!(answer, Value::ServerError(_))) {
            return Err(self.other(operation, &Fault::of_server(error)));
        }
        Scripts::loaded(answers).ok_or_else(|| self.other(operation, &Fault::Refused("not their names".into())))
    }

    /// The data's id, and whether it is new.
    async fn meta(&self, conn: &mut MultiplexedConnection, options: &RedisOptions) -> Result<(String, bool), OpenError> {
        let operation = "reading what it holds";
        let key = options.prefix.meta();
        let mut pipeline = Pipeline::new();
        // Whoever comes first writes; all read the same.
        pipeline.atomic();
        pipeline.cmd("HSETNX").arg(&key).arg("data_id").arg(uuid::Uuid::new_v4().to_string());
        pipeline.cmd("HSETNX").arg(&key).arg("shards").arg(options.shards);
        pipeline.cmd("HSETNX").arg(&key).arg("layout").arg(LAYOUT);
        pipeline.cmd("HMGET").arg(&key).arg(&["data_id", "shards", "layout"]);
        let (new, _, _, (data_id, stored, layout)) = pipeline
            .query_async::<(u8, u8, u8, (String, u16, u32))>(conn)
            .await
            .map_err(|e| OpenError::Other { server: self.server.clone(), operation, reason: e.to_string() })?;
        if layout > LAYOUT {
            return Err(OpenError::Newer { server: self.server.clone(), found: layout, known: LAYOUT });
        }
        if stored != options.shards {
            return Err(OpenError::ShardCount { server: self.server.clone(), stored, asked: options.shards });
        }
        Ok((data_id, new == 1))
    }
}

//! Opening: what the server is, whose data it holds, what its streams keep.

use super::{
    RedisStorage,
    address::{Address, Sentinels},
    checks::Durability,
    cluster::{Cluster, Nodes},
    fault::Fault,
    journal::{Kept, RedisJournal, count},
    keys::Prefix,
    line::{Line, Pace, Target},
    link::{Endpoint, Link},
    opening::Opening,
    sentinel::{Master, client},
    snapshots::RedisSnapshots,
    writer::Writer,
};
use crate::record::RecordFormat;
use gavel_domain::ids::ShardId;
use redis::{ConnectionInfo, ProtocolVersion, RedisError};
use std::{sync::Arc, time::Duration};
use tokio::runtime::Handle;

/// How to open the data in a Redis.
#[derive(Clone)]
pub struct RedisOptions {
    /// Where it is, with user and password where they are needed.
    pub address: Address,
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
    /// Without the figures.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisOptions")
            .field("address", &self.address)
            .field("prefix", &self.prefix)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// With the built-in figures, strict.
    #[must_use]
    pub const fn new(address: Address, prefix: Prefix, shards: u16, runtime: Handle) -> Self {
        Self {
            address,
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
    /// What stands there now.
    pub meta: Meta,
    /// What [`Durability::Relaxed`] let in although it can lose acknowledged appends; a line each.
    pub warnings: Vec<String>,
}

/// Why the data was not opened. Nothing in it was changed. Texts name the server, never a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
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

/// What describes the data under a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Random, made with the data.
    pub data_id: String,
    /// The number of shards, which can't change.
    pub shards: u16,
    /// Which directory holds the tables; none: it was never said.
    pub place: Option<String>,
}

/// A server that was found fit, before anything is written to it.
pub struct Found {
    opening: Opening,
    endpoint: Endpoint,
    /// A line to each server that takes writes.
    masters: Vec<(Opening, Line)>,
    options: RedisOptions,
    meta: Option<Meta>,
    warnings: Vec<String>,
}

impl RedisStorage {
    /// Opens the data under a prefix; makes it where there is none.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(options: RedisOptions) -> Result<Opened, OpenError> {
        let shards = options.shards;
        let found = Self::look(options).await?;
        let new = || Meta { data_id: uuid::Uuid::new_v4().to_string(), shards, place: None };
        let meta = found.meta().cloned().unwrap_or_else(new);
        found.open(meta).await
    }

    /// Asks a server what it is and what it holds; writes nothing.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn look(options: RedisOptions) -> Result<Found, OpenError> {
        if !(1..=4096).contains(&options.shards) {
            return Err(OpenError::BadShardCount(options.shards));
        }
        let opening = Opening { server: options.address.server(), tls: options.address.is_tls(), suffix: options.address.suffix() };
        let endpoint = endpoint(&options).map_err(|e| opening.not_connected(&e))?;
        let masters = endpoint.masters().await.map_err(|trouble| opening.no_cluster(trouble))?;
        let of_node = |node: Option<String>| node.map_or_else(|| opening.clone(), |node| opening.of_node(&node));
        let masters: Vec<(Opening, Line)> = masters.into_iter().map(|(node, line)| (of_node(node), line)).collect();
        let mut warnings: Vec<(String, Vec<&str>)> = Vec::new();
        for (opening, line) in &masters {
            line.connect().await.map_err(|e| opening.not_connected(&e))?;
            let facts = opening.facts(line).await?;
            let said = options.durability.judge(&facts).map_err(|lines| OpenError::Unfit { server: opening.server.clone(), lines })?;
            for line in said {
                match warnings.iter_mut().find(|(known, _)| *known == line) {
                    Some((_, servers)) => servers.push(&opening.server),
                    None => warnings.push((line, vec![&opening.server])),
                }
            }
        }
        // Masters of one cluster mostly have the same settings: then it is said once.
        let whose = |(line, servers): (String, Vec<&str>)| match servers.len() == masters.len() {
            true => line,
            false => format!("{line} ({})", servers.join("; ")),
        };
        let warnings = warnings.into_iter().map(whose).collect();
        let meta = opening.meta(&endpoint, &options.prefix).await?;
        Ok(Found { opening, endpoint, masters, options, meta, warnings })
    }
}

/// Whom to call, and with which settings.
fn endpoint(options: &RedisOptions) -> Result<Endpoint, RedisError> {
    let pace =
        Pace { connect_timeout: options.connect_timeout, response_timeout: options.response_timeout, runtime: options.runtime.clone() };
    let ours = |info: ConnectionInfo| {
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        info.set_redis_settings(settings).set_tcp_settings(tcp)
    };
    let certificates = &options.root_certificates;
    let info = ours(options.address.info());
    if let Some(seeds) = options.address.nodes() {
        let nodes = Nodes { seeds: seeds.clone(), info, root_certificates: certificates.clone() };
        return Ok(Endpoint::Cluster(Cluster::new(Arc::new(nodes), pace)));
    }
    let target = match options.address.sentinels() {
        None => Target::Server(Box::new(client(info, certificates.clone())?)),
        Some(Sentinels { each, master }) => {
            let sentinels = each.iter().map(|sentinel| client(sentinel.clone(), certificates.clone())).collect::<Result<_, _>>()?;
            Target::Sentinels(Arc::new(Master { name: master.clone(), sentinels, info, root_certificates: certificates.clone() }))
        }
    };
    Ok(Endpoint::Server(Line::new(target, pace)))
}

impl Found {
    /// Host and port.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.opening.server
    }

    /// What is there; none: nothing yet.
    #[must_use]
    pub const fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }

    /// Opens it with so many shards, whatever was configured.
    pub const fn set_shards(&mut self, shards: u16) {
        self.options.shards = shards;
    }

    /// Whether the journal holds everything from the very first batch of every shard on.
    ///
    /// # Errors
    /// The server does not answer, or holds something else.
    pub async fn reaches_back(&self) -> Result<bool, OpenError> {
        let shards = self.meta.as_ref().map_or(self.options.shards, |meta| meta.shards);
        self.opening.reaches_back(&self.endpoint, &self.options.prefix, shards).await
    }

    /// Opens it as what `meta` says, which is written where it does not stand there yet.
    ///
    /// # Errors
    /// What stands there is of another number of shards than configured.
    pub async fn open(self, meta: Meta) -> Result<Opened, OpenError> {
        let Self { opening, endpoint, masters, options, meta: before, warnings } = self;
        if meta.shards != options.shards {
            return Err(OpenError::ShardCount { server: opening.server, stored: meta.shards, asked: options.shards });
        }
        let mut scripts = None;
        for (opening, line) in &masters {
            scripts = Some(opening.load_scripts(line).await?);
        }
        let scripts = scripts.ok_or_else(|| opening.other("loading the scripts", &Fault::Refused("there is no master".into())))?;
        let settled = opening.settle(&endpoint, &options.prefix, &meta).await?;
        if settled.shards != options.shards {
            return Err(OpenError::ShardCount { server: opening.server, stored: settled.shards, asked: options.shards });
        }
        if before.is_some() && settled.data_id != meta.data_id {
            return Err(opening.other("reading what it holds", &Fault::Refused("the data was replaced meanwhile".into())));
        }
        let pace = Pace { response_timeout: options.bulk_timeout, ..endpoint.pace().clone() };
        let bulk = Link::new(endpoint.another(pace), scripts.clone());
        let kept = Arc::new(Kept::new(options.shards));
        count(&bulk, &options.prefix, &kept, (0..options.shards).map(ShardId))
            .await
            .map_err(|fault| opening.other("counting the journal", &fault))?;
        let prefix = options.prefix;
        let meta = settled.clone();
        let journal = Arc::new(RedisJournal {
            writer: Writer::spawn(endpoint, scripts, prefix.clone()),
            reader: bulk.clone(),
            prefix: prefix.clone(),
            kept,
            meta: Arc::new(settled),
        });
        let snapshots = Arc::new(RedisSnapshots::new(bulk, prefix, options.shards));
        let storage = RedisStorage { format: Arc::new(RecordFormat), journal, snapshots, data_id: meta.data_id.clone() };
        Ok(Opened { storage, created: before.is_none(), meta, warnings })
    }
}

//! A server, put together: storage, engine, sockets, HTTP, and how it ends.
//!
//! What each of them does is in its own room; here is only who gets what, and in which order things
//! start and stop.

use crate::{
    auth::{Gate, Issuer, IssuerError, Logins, PasswordError, Passwords, Source, TokenKeys},
    config::{JournalStore, Settings, TablesStore},
    http::{self, Api},
    telemetry::{Metrics, gauges},
    ws::{self, hub::Hub},
};
use actix_web::{App, HttpServer, middleware::from_fn, web};
use gavel_domain::ids::OwnerId;
use gavel_engine::ports::StorageError;
use gavel_engine::{Engine, routing::engine::Tuning};
use gavel_persistence::accounts::sqlite::{OpenError as AccountsError, SqliteAccounts};
use gavel_persistence::{
    postgres::PostgresOptions,
    profile::{self, Journal, OpenError, Opened, Stores, Tables},
    redis::RedisOptions,
};
use secrecy::ExposeSecret as _;
use std::{net::SocketAddr, path::PathBuf, rc::Rc, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Beyond the drain window, for the last sockets' close frames.
const LINGER: Duration = Duration::from_millis(200);

/// Connections of one worker: no bound here. Sockets have `limits.sockets`, and who comes beyond it is told so.
const CONNECTIONS: usize = u32::MAX as usize;

/// Why a server did not start, or ended. One line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Journal or tables.
    #[error(transparent)]
    Data(#[from] OpenError),
    /// Certificates for Redis.
    #[error("cannot read redis.ca_file {path}: {reason}", path = path.display())]
    Certificates {
        /// As configured.
        path: PathBuf,
        /// The system's words.
        reason: std::io::Error,
    },
    /// The token key.
    #[error(transparent)]
    Key(#[from] crate::auth::KeyError),
    /// The accounts.
    #[error(transparent)]
    Accounts(#[from] AccountsError),
    /// Reading them.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Hashing passwords.
    #[error(transparent)]
    Passwords(#[from] PasswordError),
    /// Another issuer's keys.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// A shard.
    #[error("recovery: {0}")]
    Recovery(String),
    /// The address.
    #[error("listening on {address}: {reason}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// The system's words.
        reason: std::io::Error,
    },
    /// Anything else of the system.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// A running server.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// For what runs beside it in this process.
    pub engine: Engine,
    /// Makes tokens.
    pub keys: TokenKeys,
    settings: Settings,
    storage: Stores,
    accounts: Arc<SqliteAccounts>,
    following: tokio::task::JoinHandle<()>,
    running: tokio::task::JoinHandle<std::io::Result<()>>,
    handle: actix_web::dev::ServerHandle,
    draining: CancellationToken,
}

/// Starts a server. Must run inside an actix system.
///
/// # Errors
/// The first thing that is wrong; nothing runs then.
pub async fn start(settings: Settings, metrics: Metrics) -> Result<Server, ServerError> {
    let opened = open_storage(&settings).await?;
    report(&opened, &settings);
    let keys = TokenKeys::load(&settings)?;
    let Opened { stores: storage, shards, .. } = opened;
    let accounts = Arc::new(SqliteAccounts::open(&settings.server.data_dir).await?);
    let passwords = Passwords::start(settings.auth.hash_cost(), settings.auth.password_thread_count())?;
    let logins = Logins::start(Arc::clone(&accounts), keys.clone(), passwords, settings.auth.policy()).await?;
    let issuer = open_issuer(&settings).await?;
    let tuning = Tuning {
        owner: OwnerId(Uuid::now_v7()),
        shards,
        arbiters: settings.engine.arbiter_count(),
        inbox: settings.limits.shard_queue,
        journal_max_bytes: settings.journal.max_bytes,
        checkpoint_bytes: settings.engine.checkpoint_bytes,
        checkpoint_after: settings.engine.checkpoint,
        evict_after: settings.engine.evict_after,
    };
    let ports = storage.ports();
    let journal = Arc::clone(&ports.journal);
    let engine = Engine::start(ports, tuning).await.map_err(|error| ServerError::Recovery(error.to_string()))?;

    let draining = CancellationToken::new();
    let revocations = logins.revocations();
    let gate = web::Data::new(Gate::new(keys.clone(), settings.access.anonymous).with(Arc::clone(&revocations), issuer.clone()));
    let logins = web::Data::from(logins);
    let api = web::Data::new(Api::new(engine.clone(), journal, settings.clone(), metrics.clone(), draining.clone()));
    let configured = web::Data::new(settings.clone());
    let (window, limits, hub_engine, hub_draining) = (settings.server.drain, settings.limits.clone(), engine.clone(), draining.clone());
    let served_logins = web::Data::clone(&logins);
    let currencies = settings.known_currencies();
    let server = HttpServer::new(move || {
        let hub = Hub::start(hub_engine.clone(), limits.clone(), Arc::clone(&currencies))
            .expect("workers are configured within the engine's bound");
        actix_rt::spawn(drain_when_told(Rc::clone(&hub), hub_draining.clone(), window));
        actix_rt::spawn(gauges(Rc::clone(&hub)));
        actix_rt::spawn(ws::close_revoked(Rc::clone(&hub), Arc::clone(&revocations)));
        App::new()
            .wrap(from_fn(http::cors::apply))
            .wrap(from_fn(http::request_log::log))
            .app_data(hub)
            .app_data(web::Data::clone(&gate))
            .app_data(web::Data::clone(&served_logins))
            .app_data(web::Data::clone(&api))
            .app_data(web::Data::clone(&configured))
            .service(web::resource("/v1/ws").route(web::get().to(ws::connect)).default_service(http::problem::method_not_allowed("GET")))
            .configure(http::routes)
    });
    let listen = settings.server.listen;
    let server = server
        .workers(settings.server.worker_count())
        .on_connect(ws::on_connect(settings.server.tcp_user_timeout))
        .max_connections(CONNECTIONS)
        // Whole seconds; the exact time is kept below.
        .shutdown_timeout(settings.server.shutdown.as_secs() + 1)
        .backlog(4096)
        .disable_signals()
        .bind(listen)
        .map_err(|reason| ServerError::Listen { address: listen, reason })?;
    let address = server.addrs().first().copied().unwrap_or(listen);
    let server = server.run();
    let handle = server.handle();
    let running = actix_rt::spawn(server);
    actix_rt::spawn(metrics.upkeep());
    let following = actix_rt::spawn(logins.into_inner().follow());
    if let Some(issuer) = issuer {
        actix_rt::spawn(issuer.follow());
    }
    tracing::info!(%address, "serving");
    Ok(Server { address, engine, keys, settings, storage, accounts, following, running, handle, draining })
}

/// The other issuer, if one is configured, with its keys as far as they can be had. A file is there or is a mistake; an address
/// may answer later.
async fn open_issuer(settings: &Settings) -> Result<Option<Arc<Issuer>>, IssuerError> {
    let auth = &settings.auth;
    let Some(source) = auth.jwks() else { return Ok(None) };
    let is_file = matches!(source, Source::File(_));
    let issuer = Arc::new(Issuer::new(source, auth.issuer.clone(), auth.role_claim.clone(), auth.leeway));
    match issuer.refresh().await {
        Err(error) if is_file => return Err(error),
        Err(error) => tracing::warn!(%error, "an issuer's keys can't be had yet: its tokens are refused until they can"),
        Ok(()) => {}
    }
    Ok(Some(issuer))
}

/// Opens the stores that are configured.
async fn open_storage(settings: &Settings) -> Result<Opened, ServerError> {
    let shards = u16::try_from(settings.engine.shards).unwrap_or(u16::MAX);
    let runtime = tokio::runtime::Handle::current();
    let journal = match settings.journal.store {
        JournalStore::Sqlite => Journal::DataDir,
        JournalStore::Redis => Journal::Redis(Box::new(redis_options(settings, shards, runtime.clone())?)),
    };
    let tables = match settings.tables.store {
        TablesStore::Sqlite => Tables::DataDir,
        TablesStore::Postgres => Tables::Postgres(Box::new(postgres_options(settings, shards, runtime.clone()))),
    };
    Ok(profile::open(&settings.server.data_dir, journal, tables, shards, runtime).await?)
}

/// How the tables in PostgreSQL are configured.
pub(crate) fn postgres_options(settings: &Settings, shards: u16, runtime: tokio::runtime::Handle) -> PostgresOptions {
    let postgres = &settings.postgres;
    let password = postgres.password.as_ref().map(|password| password.expose_secret().to_owned());
    PostgresOptions {
        password,
        migrate: postgres.migrate,
        migrate_url: postgres.migrate_url.as_ref().map(|url| url.as_given().to_owned()),
        readers: postgres.readers,
        connect_timeout: postgres.connect_timeout,
        read_timeout: postgres.read_timeout,
        write_timeout: postgres.write_timeout,
        ..PostgresOptions::new(postgres.url.as_given(), shards, runtime)
    }
}

fn redis_options(settings: &Settings, shards: u16, runtime: tokio::runtime::Handle) -> Result<RedisOptions, ServerError> {
    let redis = &settings.redis;
    let certificates = |path: &PathBuf| std::fs::read(path).map_err(|reason| ServerError::Certificates { path: path.clone(), reason });
    Ok(RedisOptions {
        root_certificates: redis.ca_file.as_ref().map(certificates).transpose()?,
        durability: redis.durability,
        connect_timeout: redis.connect_timeout,
        response_timeout: redis.request_timeout,
        bulk_timeout: redis.bulk_timeout,
        ..RedisOptions::new(redis.address(), redis.key_prefix.clone(), shards, runtime)
    })
}

/// Says how the data was found.
fn report(opened: &Opened, settings: &Settings) {
    let (found, journal) = (opened.found, opened.stores.journal());
    let (configured, stored) = (settings.engine.shards, opened.shards);
    if configured != u32::from(stored) {
        tracing::warn!(configured, stored, "engine.shards is set when data is created: keeping the number it was made with");
    }
    for warning in &opened.warnings {
        tracing::warn!(%warning, "this store can lose what it acknowledged");
    }
    if found.created {
        tracing::info!("new data directory");
    }
    if found.unclean_stop {
        tracing::warn!("the last process did not stop cleanly: recovering");
    }
    if found.lost_wal {
        tracing::error!(
            "journal.db-wal is missing after an unclean stop: batches that were acknowledged since the journal's last checkpoint may be lost; what the archive holds of them is put back, and named"
        );
    }
    if found.lost_journal {
        tracing::error!(
            "{journal} is missing: it is made anew from the archive; what was acknowledged and had not reached the archive, if anything had, is lost"
        );
    }
    if found.rebuilt_tables {
        tracing::warn!("{} is missing: it is made anew from the journal", opened.stores.tables());
    }
}

async fn drain_when_told(hub: Rc<Hub>, draining: CancellationToken, window: Duration) {
    draining.cancelled().await;
    hub.drain(window);
}

impl Server {
    /// Runs until SIGTERM or SIGINT, then drains: readiness says no, sockets are asked to go one by
    /// one, what is open is finished, everything is saved.
    ///
    /// # Errors
    /// The HTTP server fails.
    pub async fn run_until_told(self) -> Result<(), ServerError> {
        let Self { engine, settings, storage, accounts, following, mut running, handle, draining, .. } = self;
        tokio::select! {
            ended = &mut running => return Ok(ended.map_err(std::io::Error::other)??),
            () = told_to_stop() => {}
        }
        draining.cancel();
        tracing::info!("draining");
        // Give the sockets their time to leave, but don't wait for nobody.
        let _ = tokio::time::timeout(settings.server.drain + LINGER, ws::all_gone()).await;
        if tokio::time::timeout(settings.server.shutdown, handle.stop(true)).await.is_err() {
            tracing::warn!("requests in flight are given up: server.shutdown_ms is over");
        }
        engine.shut_down().await;
        following.abort();
        accounts.close().await;
        if let Err(error) = storage.close().await {
            tracing::warn!(%error, "storage did not close cleanly");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

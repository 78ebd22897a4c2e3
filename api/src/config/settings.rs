//! The settings themselves: what `config.toml` describes, parsed. Units, bounds and reasons of each key stand there.
//!
//! A key that 0 switches off is an `Option` here. Whether two keys go together is said by [`Settings::check`].

use super::value::{
    DAY, count_or_off, integer, millis, millis_or_off, optional_path, rate, rate_or_off, show_count_or_off, show_millis,
    show_millis_or_off, show_rate_or_off,
};
use super::{Auth, Postgres, Redis, Tables, error::Conflict};
use actix_web::http::Uri;
use gavel_domain::{
    lot::increments::{Increment, Increments},
    money::Amount,
};
use gavel_engine::limits::WORKERS;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

const MAX: u64 = u32::MAX as u64;
/// The largest WebSocket frame that can be allowed: it is held in memory until all of it is here, before it is known who
/// sends it.
const MAX_FRAME_BYTES: usize = 16 << 20;
/// Amounts stay below this, so that a JavaScript number holds them exactly.
const MAX_AMOUNT: u64 = (1 << 53) - 1;

/// The whole configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[server]`
    pub server: Server,
    /// `[engine]`
    pub engine: Engine,
    /// `[journal]`
    pub journal: Journal,
    /// `[redis]`
    pub redis: Redis,
    /// `[tables]`
    pub tables: Tables,
    /// `[postgres]`
    pub postgres: Postgres,
    /// `[limits]`
    pub limits: Limits,
    /// `[access]`
    pub access: Access,
    /// `[auth]`
    pub auth: Auth,
    /// `[lots]`
    pub lots: Lots,
    /// `[wallets]`
    pub wallets: Wallets,
    /// `[log]`
    pub log: Log,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[[currencies]]`: at least one, each code once; the first is the default.
    #[serde(deserialize_with = "currencies")]
    pub currencies: Vec<Currency>,
}

/// Where and how the process serves.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Server {
    /// Address and port; port 0 lets the system choose.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// HTTP threads, 0–64; 0 = available parallelism (see [`Server::worker_count`]).
    #[serde(deserialize_with = "integer::<0, { WORKERS as u64 }, _, _>")]
    pub workers: usize,
    /// Directory of journal, tables and key.
    #[serde(deserialize_with = "directory")]
    pub data_dir: PathBuf,
    /// Spread of the closes while draining.
    #[serde(rename = "drain_ms", deserialize_with = "millis::<0, DAY, _>", serialize_with = "show_millis")]
    pub drain: Duration,
    /// Patience with requests in flight after draining.
    #[serde(rename = "shutdown_ms", deserialize_with = "millis::<0, DAY, _>", serialize_with = "show_millis")]
    pub shutdown: Duration,
    /// `TCP_USER_TIMEOUT` of accepted sockets.
    #[serde(rename = "tcp_user_timeout_ms", deserialize_with = "millis_or_off", serialize_with = "show_millis_or_off")]
    pub tcp_user_timeout: Option<Duration>,
}

/// The shards.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Engine {
    /// Number of shards of data yet to be created, 1–4096.
    #[serde(deserialize_with = "integer::<1, 4096, _, _>")]
    pub shards: u32,
    /// Threads; 0 = available parallelism (see [`Engine::arbiter_count`]).
    #[serde(deserialize_with = "integer::<0, 1024, _, _>")]
    pub arbiters: usize,
    /// Journaled bytes after which a shard writes a checkpoint; at least 1024.
    #[serde(deserialize_with = "integer::<1024, MAX, _, _>")]
    pub checkpoint_bytes: usize,
    /// Time after which a shard with events writes a checkpoint; at least 10 ms.
    #[serde(rename = "checkpoint_ms", deserialize_with = "millis::<10, DAY, _>", serialize_with = "show_millis")]
    pub checkpoint: Duration,
    /// How long an unused closed lot stays in memory; none = for ever.
    #[serde(rename = "evict_after_ms", deserialize_with = "millis_or_off", serialize_with = "show_millis_or_off")]
    pub evict_after: Option<Duration>,
}

/// Where the journal is, and its bound.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Journal {
    /// Where journal and snapshots are.
    pub store: JournalStore,
    /// Bytes waiting for the tables beyond which new bids are `overloaded`; at least 1 MiB.
    #[serde(deserialize_with = "integer::<1_048_576, 9_223_372_036_854_775_807, _, _>")]
    pub max_bytes: u64,
}

/// Where journal and snapshots are.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum JournalStore {
    /// A file in the data directory.
    Sqlite,
    /// `[redis]`.
    Redis,
}

/// Bounds of what a client may do; none = no such bound.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Limits {
    /// Requests a second a socket.
    #[serde(deserialize_with = "rate_or_off", serialize_with = "show_rate_or_off")]
    pub requests_per_second: Option<NonZeroU32>,
    /// Requests at once before the rate applies.
    #[serde(deserialize_with = "rate")]
    pub request_burst: NonZeroU32,
    /// Time over the rate after which a socket is closed.
    #[serde(rename = "rate_limited_close_ms", deserialize_with = "millis_or_off", serialize_with = "show_millis_or_off")]
    pub rate_limited_close: Option<Duration>,
    /// Bytes of a WebSocket frame, at most 16 MiB; none = that most (see [`Limits::frame_limit`]).
    #[serde(deserialize_with = "frame_bytes", serialize_with = "show_count_or_off")]
    pub frame_bytes: Option<NonZeroUsize>,
    /// Lots joined by a socket.
    #[serde(deserialize_with = "count_or_off", serialize_with = "show_count_or_off")]
    pub lots_per_socket: Option<NonZeroUsize>,
    /// Unanswered requests of a socket; at least 1.
    #[serde(deserialize_with = "integer::<1, MAX, _, _>")]
    pub in_flight_per_socket: usize,
    /// Bytes of a REST body; at least 1024.
    #[serde(deserialize_with = "integer::<1024, MAX, _, _>")]
    pub body_bytes: usize,
    /// Bytes of pushes waiting for a socket before they are conflated; at least 4096.
    #[serde(deserialize_with = "integer::<4096, MAX, _, _>")]
    pub outbound_queue_bytes: usize,
    /// Time behind after which a reader is closed.
    #[serde(rename = "slow_reader_close_ms", deserialize_with = "millis_or_off", serialize_with = "show_millis_or_off")]
    pub slow_reader_close: Option<Duration>,
    /// Time between pings.
    #[serde(rename = "ping_interval_ms", deserialize_with = "millis_or_off", serialize_with = "show_millis_or_off")]
    pub ping_interval: Option<Duration>,
    /// Time a pong may take.
    #[serde(rename = "pong_timeout_ms", deserialize_with = "millis_or_off", serialize_with = "show_millis_or_off")]
    pub pong_timeout: Option<Duration>,
    /// Time a socket has to authenticate.
    #[serde(rename = "auth_timeout_ms", deserialize_with = "millis_or_off", serialize_with = "show_millis_or_off")]
    pub auth_timeout: Option<Duration>,
    /// Sockets of the process.
    #[serde(deserialize_with = "count_or_off", serialize_with = "show_count_or_off")]
    pub sockets: Option<NonZeroUsize>,
    /// Entries of one arbiter's admission queue; at least 1.
    #[serde(deserialize_with = "integer::<1, MAX, _, _>")]
    pub shard_queue: usize,
}

/// Who may come in without a token, and from which pages.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Access {
    /// What a caller without a token may do.
    pub anonymous: Anonymous,
    /// Origins besides the own one, as a browser sends them (`https://host[:port]`).
    #[serde(deserialize_with = "origins")]
    pub allowed_origins: Vec<String>,
}

/// What a caller without a token may do.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Nothing.
    None,
    /// What a viewer may.
    Viewer,
}

/// A currency that lots and wallets may use.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, expecting = "a table of code and scale")]
pub struct Currency {
    /// 1–16 of `A–Z 0–9`, first a letter.
    #[serde(deserialize_with = "currency_code")]
    pub code: String,
    /// Decimals of the display, 0–9.
    #[serde(deserialize_with = "integer::<0, 9, _, _>")]
    pub scale: u8,
}

/// Rules of wallets.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Wallets {
    /// The most that a balance may grow to, by currency.
    pub caps: Vec<Cap>,
}

/// The most that a balance may grow to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a table of currency and most")]
pub struct Cap {
    /// In this currency.
    #[serde(deserialize_with = "currency_code")]
    pub currency: String,
    /// Minor units.
    #[serde(deserialize_with = "integer::<0, 9007199254740991, _, _>")]
    pub most: u64,
}

/// Defaults of lots.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Lots {
    /// Not empty, first `from` 0, ascending.
    #[serde(deserialize_with = "increments")]
    pub default_increments: Vec<IncrementRow>,
}

/// From this price on, the next bid must be at least `step` higher. Both in minor units, at most 2^53−1.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, expecting = "a table of from and step")]
pub struct IncrementRow {
    /// Price.
    #[serde(deserialize_with = "integer::<0, MAX_AMOUNT, _, _>")]
    pub from: u64,
    /// Step, above 0.
    #[serde(deserialize_with = "integer::<1, MAX_AMOUNT, _, _>")]
    pub step: u64,
}

/// What is logged, and how.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// Directives of `tracing-subscriber`'s `EnvFilter`.
    #[serde(deserialize_with = "filter")]
    pub filter: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One object a line.
    Json,
}

/// What is measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Metrics {
    /// Whether `/metrics` answers.
    pub enabled: bool,
}

impl Settings {
    /// The token key's file: the one configured, or `jwt.key` in the data directory.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.auth.key_file.clone().unwrap_or_else(|| self.server.data_dir.join("jwt.key"))
    }

    /// What no value can say alone; the path is the key to point at.
    pub(super) fn check(&self) -> Result<(), Conflict> {
        self.auth.check()?;
        self.redis.check()?;
        self.postgres.check(self.tables.store, self.journal.store)
    }
}

impl Server {
    /// Threads to start: as configured, or one for each processor available; never more than the engine serves.
    #[must_use]
    pub fn worker_count(&self) -> usize {
        threads(self.workers).min(WORKERS)
    }
}

impl Lots {
    /// The default increments as the rules take them.
    ///
    /// # Errors
    /// None that the configuration's own check would not have found.
    pub fn increments(&self) -> Result<Increments, String> {
        increments_of(&self.default_increments)
    }
}

impl Limits {
    /// The bound of a frame's payload, in bytes, that holds.
    #[must_use]
    pub fn frame_limit(&self) -> usize {
        self.frame_bytes.map_or(MAX_FRAME_BYTES, NonZeroUsize::get)
    }
}

impl Engine {
    /// Threads to start: as configured, or one for each processor available; never more than shards.
    #[must_use]
    pub fn arbiter_count(&self) -> usize {
        threads(self.arbiters).min(self.shards as usize)
    }
}

fn threads(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

fn frame_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NonZeroUsize>, D::Error> {
    integer::<0, { MAX_FRAME_BYTES as u64 }, usize, D>(from).map(NonZeroUsize::new)
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(from)?;
    text.parse()
        .map_err(|_| D::Error::custom(format!("expected an IP address and a port such as 127.0.0.1:8080 or [::1]:8080, got {text:?}")))
}

fn directory<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
    optional_path(from)?.ok_or_else(|| D::Error::custom("expected a directory, got an empty text"))
}

fn currency_code<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let code = String::deserialize(from)?;
    let rest_fits = code.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if !rest_fits || code.len() > 16 || !code.starts_with(|first: char| first.is_ascii_uppercase()) {
        return Err(D::Error::custom(format!("expected 1 to 16 of A-Z and 0-9, first a letter, got {code:?}")));
    }
    Ok(code)
}

impl Settings {
    /// The currencies as the domain names them, in order.
    #[must_use]
    pub fn known_currencies(&self) -> std::sync::Arc<[gavel_domain::currency::Currency]> {
        let known = |currency: &Currency| gavel_domain::currency::Currency { code: currency.code.as_str().into(), scale: currency.scale };
        self.currencies.iter().map(known).collect()
    }

    /// The most that a balance may grow to; none: as much as amounts can say.
    #[must_use]
    pub fn cap_of(&self, currency: &str) -> Option<Amount> {
        let cap = self.wallets.caps.iter().find(|cap| cap.currency == currency)?;
        Amount::new(cap.most).ok()
    }
}

fn currencies<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Currency>, D::Error> {
    let list = Vec::<Currency>::deserialize(from)?;
    if list.is_empty() {
        return Err(D::Error::custom("expected at least one currency"));
    }
    for (index, currency) in list.iter().enumerate() {
        if list[..index].iter().any(|earlier| earlier.code == currency.code) {
            return Err(D::Error::custom(format!("{} stands twice", currency.code)));
        }
    }
    Ok(list)
}

fn increments<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IncrementRow>, D::Error> {
    let rows = Vec::<IncrementRow>::deserialize(from)?;
    if rows.first().is_none_or(|first| first.from != 0) {
        return Err(D::Error::custom("expected a first row with from = 0"));
    }
    if let Some(pair) = rows.windows(2).find(|pair| pair[0].from >= pair[1].from) {
        let (before, after) = (pair[0].from, pair[1].from);
        return Err(D::Error::custom(format!("expected rows ascending by from, got {after} after {before}")));
    }
    match increments_of(&rows) {
        Ok(_) => Ok(rows),
        Err(reason) => Err(D::Error::custom(reason)),
    }
}

/// The rows as the rules take them.
fn increments_of(rows: &[IncrementRow]) -> Result<Increments, String> {
    let amount = |minor| Amount::new(minor).map_err(|error| error.to_string());
    let rows = rows.iter().map(|row| Ok(Increment { from: amount(row.from)?, step: amount(row.step)? }));
    Increments::new(rows.collect::<Result<Vec<_>, String>>()?).map_err(|error| error.to_string())
}

fn origins<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let list = Vec::<String>::deserialize(from)?;
    for origin in &list {
        // A browser sends scheme, host and port in lower case, without a path; anything else would never match.
        let fits = origin.parse::<Uri>().is_ok_and(|uri| match (uri.scheme_str(), uri.authority()) {
            (Some(scheme @ ("http" | "https")), Some(authority)) => {
                *origin == format!("{scheme}://{authority}").to_ascii_lowercase() && !authority.as_str().contains('@')
            }
            _ => false,
        });
        if !fits {
            let wanted = "expected an origin such as https://bids.example.org, lower case and without a path";
            return Err(D::Error::custom(format!("{wanted}, got {origin:?}")));
        }
    }
    Ok(list)
}

fn filter<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    match tracing_subscriber::EnvFilter::builder().parse(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(D::Error::custom(format!("not a log filter: {error}"))),
    }
}

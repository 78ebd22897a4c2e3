//! `[tables]` and `[postgres]`: where the tables are, and what is expected of their PostgreSQL. A password is
//! shown nowhere.

use super::{
    error::Conflict,
    redis::{password, show_masked, text},
    settings::JournalStore,
    value::{DAY, integer, millis, show_millis},
};
use gavel_persistence::{postgres::Url, redis::masked};
use secrecy::SecretString;
use serde::de::Deserializer;
use serde::{Deserialize, Serialize, Serializer};
use std::time::Duration;

/// Where the tables are.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Tables {
    /// Where tables and archive are.
    pub store: TablesStore,
}

/// Where tables and archive are.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum TablesStore {
    /// A file in the data directory.
    Sqlite,
    /// `[postgres]`.
    Postgres,
}

/// The PostgreSQL that has the tables.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Postgres {
    /// Where it is, or the PgBouncer before it.
    #[serde(deserialize_with = "url", serialize_with = "show_url")]
    pub url: Url,
    /// Its password, instead of one in the URLs.
    #[serde(deserialize_with = "password", serialize_with = "show_masked")]
    pub password: Option<SecretString>,
    /// PostgreSQL itself, for migrations; none: `url`.
    #[serde(deserialize_with = "optional_url", serialize_with = "show_optional_url")]
    pub migrate_url: Option<Url>,
    /// Whether the server migrates at its start.
    pub migrate: bool,
    /// Connections that read; one more writes.
    #[serde(deserialize_with = "integer::<1, 1000, _, _>")]
    pub readers: u32,
    /// For making a connection; at least 1 ms.
    #[serde(rename = "connect_timeout_ms", deserialize_with = "millis::<1, DAY, _>", serialize_with = "show_millis")]
    pub connect_timeout: Duration,
    /// For one read; at least 1 ms.
    #[serde(rename = "read_timeout_ms", deserialize_with = "millis::<1, DAY, _>", serialize_with = "show_millis")]
    pub read_timeout: Duration,
    /// For a transaction that writes; at least 1 ms.
    #[serde(rename = "write_timeout_ms", deserialize_with = "millis::<1, DAY, _>", serialize_with = "show_millis")]
    pub write_timeout: Duration,
}

impl Postgres {
    /// Where migrations go.
    #[must_use]
    pub fn migrated_at(&self) -> &Url {
        self.migrate_url.as_ref().unwrap_or(&self.url)
    }

    /// What no value says alone.
    pub(super) fn check(&self, tables: TablesStore, journal: JournalStore) -> Result<(), Conflict> {
        if tables == TablesStore::Postgres && journal == JournalStore::Sqlite {
            return Err((&["tables", "store"], "\"postgres\" goes with journal.store = \"redis\"".into()));
        }
        let has = self.url.has_password() || self.migrate_url.as_ref().is_some_and(Url::has_password);
        if self.password.is_some() && has {
            return Err((&["postgres", "password"], "a URL of postgres has a password too: give one of them".into()));
        }
        Ok(())
    }
}

fn read<E: serde::de::Error>(text: &str) -> Result<Url, E> {
    let wanted = "expected postgres://user@host:port/database";
    Url::try_from(text).map_err(|_| E::custom(format!("{wanted}, got {:?}", masked(text))))
}

fn url<'de, D: Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    read(&text(from)?)
}

fn optional_url<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Url>, D::Error> {
    let text = text(from)?;
    if text.is_empty() { Ok(None) } else { read(&text).map(Some) }
}

fn show_url<S: Serializer>(url: &Url, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(url)
}

fn show_optional_url<S: Serializer>(url: &Option<Url>, to: S) -> Result<S::Ok, S::Error> {
    url.as_ref().map(ToString::to_string).unwrap_or_default().serialize(to)
}

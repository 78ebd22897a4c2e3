//! Journal and snapshots in Redis, tables in the data directory.
//!
//! Redis is asked first, and nothing is written to it before the directory has been looked at: a
//! server that does not start has changed neither.

use super::{Open, OpenError, Opened, Stores};
use crate::{
    redis::{Meta, RedisOptions, RedisStorage},
    sqlite::{FoundState, FoundTables, note},
};
use std::path::PathBuf;

pub(super) async fn open(dir: PathBuf, options: RedisOptions, shards: u16) -> Result<Opened, OpenError> {
    let noted = note(&dir)?;
    let mut redis = RedisStorage::look(RedisOptions { shards, ..options.clone() }).await?;
    if let Some(place) = redis.meta().and_then(|meta| meta.place.clone())
        && noted.as_ref() != Some(&place)
    {
        return Err(OpenError::OtherPlace { server: redis.server().into(), place });
    }
    let mut tables = FoundTables::look(&dir).await?;
    let mut found = FoundState { unclean_stop: tables.unclean_stop(), ..FoundState::default() };
    let (data_id, shards) = match (redis.meta().cloned(), tables.meta()) {
        (None, None) => {
            found.created = true;
            (uuid::Uuid::new_v4().to_string(), shards)
        }
        (Some(journal), None) => {
            if !redis.reaches_back().await? {
                return Err(OpenError::TablesMissing { tables: tables.path().into(), server: redis.server().into() });
            }
            found.rebuilt_tables = true;
            (journal.data_id, journal.shards)
        }
        (None, Some((id, shards))) => {
            found.lost_journal = true;
            (id.to_owned(), shards)
        }
        (Some(journal), Some((id, shards))) => {
            if journal.data_id != id || journal.shards != shards {
                return Err(OpenError::OtherData {
                    tables: tables.path().into(),
                    table_id: id.to_owned(),
                    server: redis.server().into(),
                    journal_id: journal.data_id,
                });
            }
            (journal.data_id, shards)
        }
    };
    // The note first: who finds its name in Redis must find it here too.
    let ours = Meta { data_id, shards, place: Some(tables.name()?) };
    redis.set_shards(shards);
    let server = redis.server().to_owned();
    let journal = redis.open(ours.clone()).await?;
    if journal.meta != ours {
        // Another one came first, at this very moment.
        return Err(OpenError::OtherPlace { server, place: journal.meta.place.unwrap_or_default() });
    }
    let tables = tables.open(&ours.data_id, shards).await?;
    let ports = journal.storage.ports(tables.port());
    let stores = Stores { ports, journal: "the journal in Redis", open: Open::Apart { _journal: journal.storage, tables } };
    Ok(Opened { stores, shards, found, warnings: journal.warnings })
}

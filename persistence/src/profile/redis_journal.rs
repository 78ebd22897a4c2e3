//! Journal and snapshots in Redis, tables in the data directory or in PostgreSQL.
//!
//! All stores are asked first, and nothing is written to any before each has been looked at: a server
//! that does not start has changed none.

use super::{Apart, Open, OpenError, Opened, Stores};
use crate::{
    postgres::{PostgresOptions, PostgresTables},
    redis::{Found as FoundRedis, Meta, RedisOptions, RedisStorage},
    sqlite::{FoundState, FoundTables, NotedDir, note, tables_note},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// With the tables in the data directory.
pub(super) async fn with_files(dir: PathBuf, options: RedisOptions, shards: u16) -> Result<Opened, OpenError> {
    let mut redis = look(&dir, options, shards).await?;
    let mut tables = FoundTables::look(&dir).await?;
    let mut found = FoundState { unclean_stop: tables.dir().unclean_stop(), ..FoundState::default() };
    let stored = tables.meta().map(|(id, shards)| (id.to_owned(), shards));
    let name = tables.path().display().to_string();
    let (data_id, shards) = agree(&mut redis, stored, &name, &mut found, shards).await?;
    // The note first: who finds its name in Redis must find it here too.
    let place = tables.dir().name()?;
    let journal = open(redis, Meta { data_id, shards, place: Some(place) }).await?;
    let tables = tables.open(&journal.meta.data_id, shards).await?;
    let ports = journal.storage.ports(tables.port());
    let open = Open::Apart { _journal: journal.storage, tables: Apart::InDir(tables) };
    let stores = Stores { ports, journal: "the journal in Redis", tables: "tables.db", open };
    Ok(Opened { stores, shards, found, warnings: journal.warnings })
}

/// With the tables in PostgreSQL. The data directory still has the accounts and the key, and its note says
/// which journal it goes with.
pub(super) async fn with_postgres(dir: PathBuf, options: RedisOptions, tables: PostgresOptions, shards: u16) -> Result<Opened, OpenError> {
    let known = tables_note(&dir)?;
    let mut redis = look(&dir, options, shards).await?;
    let (server, stored) = PostgresTables::look(&tables).await?;
    let mut found = FoundState::default();
    // Unlike a file, a database is there for any directory. Only the one that had this journal may begin it
    // anew: another has the wrong Redis, or would take over from a server that lives.
    if let (None, Some((data_id, _))) = (redis.meta(), &stored)
        && known.as_ref() != Some(data_id)
    {
        let (tables, data_id, dir) = (server.to_string(), data_id.clone(), dir.display().to_string());
        return Err(OpenError::StrayTables { tables, data_id, server: redis.server().into(), dir });
    }
    let name = format!("PostgreSQL at {server}");
    let (data_id, shards) = agree(&mut redis, stored, &name, &mut found, shards).await?;
    let mut dir = NotedDir::take_bare(&dir)?;
    found.unclean_stop = dir.unclean_stop();
    // The notes first: who finds a name or an id elsewhere must find it here too.
    let place = dir.name()?;
    dir.note_tables(&data_id)?;
    // Before Redis hears of this data: what PostgreSQL refuses, it refuses here.
    let opened = PostgresTables::open(PostgresOptions { shards, data_id: Some(data_id.clone()), ..tables }).await?;
    let journal = open(redis, Meta { data_id, shards, place: Some(place) }).await?;
    dir.mark_running()?;
    let ports = journal.storage.ports(Arc::new(opened.tables));
    let open = Open::Apart { _journal: journal.storage, tables: Apart::InPostgres { dir } };
    let stores = Stores { ports, journal: "the journal in Redis", tables: "the schema in PostgreSQL", open };
    let warnings = journal.warnings.into_iter().chain(opened.warnings).collect();
    Ok(Opened { stores, shards, found, warnings })
}

/// Asks Redis, which must not go with another directory.
async fn look(dir: &Path, options: RedisOptions, shards: u16) -> Result<FoundRedis, OpenError> {
    let noted = note(dir)?;
    let redis = RedisStorage::look(RedisOptions { shards, ..options }).await?;
    match redis.meta().and_then(|meta| meta.place.clone()) {
        Some(place) if noted.as_ref() != Some(&place) => Err(OpenError::OtherPlace { server: redis.server().into(), place }),
        _ => Ok(redis),
    }
}

/// Id and number of shards, where journal and tables are of the same data or one of them is new.
async fn agree(
    redis: &mut FoundRedis,
    tables: Option<(String, u16)>,
    name: &str,
    found: &mut FoundState,
    asked: u16,
) -> Result<(String, u16), OpenError> {
    match (redis.meta().cloned(), tables) {
        (None, None) => {
            found.created = true;
            Ok((uuid::Uuid::new_v4().to_string(), asked))
        }
        (Some(journal), None) => {
            if !redis.reaches_back().await? {
                return Err(OpenError::TablesMissing { tables: name.into(), server: redis.server().into() });
            }
            found.rebuilt_tables = true;
            Ok((journal.data_id, journal.shards))
        }
        (None, Some(stored)) => {
            found.lost_journal = true;
            Ok(stored)
        }
        (Some(journal), Some((id, shards))) if journal.data_id != id || journal.shards != shards => {
            Err(OpenError::OtherData { tables: name.into(), table_id: id, server: redis.server().into(), journal_id: journal.data_id })
        }
        (Some(_), Some(stored)) => Ok(stored),
    }
}

async fn open(mut redis: FoundRedis, ours: Meta) -> Result<crate::redis::Opened, OpenError> {
    redis.set_shards(ours.shards);
    let server = redis.server().to_owned();
    let journal = redis.open(ours.clone()).await?;
    if journal.meta != ours {
        // Another one came first, at this very moment.
        return Err(OpenError::OtherPlace { server, place: journal.meta.place.unwrap_or_default() });
    }
    Ok(journal)
}

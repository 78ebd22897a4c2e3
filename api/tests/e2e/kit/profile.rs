//! Where the servers of a test run keep their data: in files; or (`GAVEL_TEST_PROFILE=redis`) the journal in one Redis that
//! all tests share, each data directory under keys of its own; or (`cluster`) beside it the tables in one PostgreSQL, each
//! data directory in a database of its own.

use gavel_test_servers::{Postgres, Redis};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
};

/// The longest prefix of keys.
const LONGEST: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    Files,
    Redis,
    Cluster,
}

static PROFILE: LazyLock<Profile> = LazyLock::new(|| match std::env::var("GAVEL_TEST_PROFILE").as_deref() {
    Err(_) | Ok("" | "sqlite") => Profile::Files,
    Ok("redis") => Profile::Redis,
    Ok("cluster") => Profile::Cluster,
    Ok(other) => panic!("GAVEL_TEST_PROFILE is sqlite, redis or cluster, not {other}"),
});

/// The address of the run's Redis; none where journals are in files.
pub(super) fn shared_redis() -> Option<String> {
    static REDIS: LazyLock<Redis> = LazyLock::new(Redis::durable);
    (*PROFILE != Profile::Files).then(|| REDIS.url())
}

/// The database of a data directory's tables; none where they are in files.
pub(super) fn shared_database(dir: &Path) -> Option<String> {
    static POSTGRES: LazyLock<Postgres> = LazyLock::new(|| Postgres::with(&["max_connections = 400"]));
    static DATABASES: LazyLock<Mutex<HashMap<PathBuf, String>>> = LazyLock::new(Mutex::default);
    if *PROFILE != Profile::Cluster {
        return None;
    }
    let mut databases = DATABASES.lock().unwrap();
    let number = databases.len();
    Some(databases.entry(dir.to_owned()).or_insert_with(|| POSTGRES.database(&format!("d{number}"))).clone())
}

/// The prefix of a data directory's keys: temporary directories have names of their own.
pub(super) fn prefix_of(dir: &Path) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' };
    let name: Vec<char> = dir.to_string_lossy().chars().map(allowed).collect();
    name[name.len().saturating_sub(LONGEST)..].iter().collect()
}

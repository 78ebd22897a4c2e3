//! Where the servers of a test run keep their journal: in files, or (`GAVEL_TEST_PROFILE=redis`) in one Redis that all tests
//! share, each data directory under keys of its own.

use gavel_test_servers::Redis;
use std::{path::Path, sync::LazyLock};

/// The longest prefix of keys.
const LONGEST: usize = 64;

/// The address of the run's Redis; none where journals are in files.
pub(super) fn shared_redis() -> Option<String> {
    static REDIS: LazyLock<Option<Redis>> = LazyLock::new(|| match std::env::var("GAVEL_TEST_PROFILE").as_deref() {
        Err(_) | Ok("" | "sqlite") => None,
        Ok("redis") => Some(Redis::durable()),
        Ok(other) => panic!("GAVEL_TEST_PROFILE is sqlite or redis, not {other}"),
    });
    REDIS.as_ref().map(Redis::url)
}

/// The prefix of a data directory's keys: temporary directories have names of their own.
pub(super) fn prefix_of(dir: &Path) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' };
    let name: Vec<char> = dir.to_string_lossy().chars().map(allowed).collect();
    name[name.len().saturating_sub(LONGEST)..].iter().collect()
}

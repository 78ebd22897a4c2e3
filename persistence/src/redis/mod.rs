//! Journal and snapshots in Redis: the cluster profile's. Tables are elsewhere.
//!
//! A shard's journal is one stream, its snapshots are one hash. One task with connections of its own
//! writes the journal (`writer.rs`); readers and snapshots share others. Whether that is one server
//! (`line.rs`) or a cluster of them (`cluster.rs`) is nobody's business above `link.rs`. What a stale
//! owner sends is refused by scripts that compare before they write (`scripts.rs`). Files are named
//! like the ports they serve. No rules here, and no encodings of records (see `crate::record`).

mod address;
mod checks;
mod cluster;
mod fault;
mod journal;
mod keys;
mod line;
mod link;
mod open;
mod opening;
mod scripts;
mod sentinel;
mod slots;
mod snapshots;
mod writer;

pub use address::{Address, BadAddress, masked};
pub use checks::Durability;
pub use journal::RedisJournal;
pub use keys::{BadPrefix, Prefix};
pub use open::{Found, Meta, OpenError, Opened, RedisOptions};
pub use snapshots::RedisSnapshots;

use crate::record::RecordFormat;
use gavel_engine::ports::{Storage, tables::Tables};
use std::sync::Arc;

/// Open data. Its ports may be cloned freely; connections end with the last of them.
pub struct RedisStorage {
    format: Arc<RecordFormat>,
    journal: Arc<RedisJournal>,
    snapshots: Arc<RedisSnapshots>,
    data_id: String,
}

impl RedisStorage {
    /// The ports, with tables from elsewhere.
    #[must_use]
    pub fn ports(&self, tables: Arc<dyn Tables>) -> Storage {
        Storage {
            format: Arc::clone(&self.format) as _,
            journal: Arc::clone(&self.journal) as _,
            snapshots: Arc::clone(&self.snapshots) as _,
            tables,
        }
    }

    /// The random id of this data, made with it.
    #[must_use]
    pub fn data_id(&self) -> &str {
        &self.data_id
    }
}

//! An engine in this process, for tests of what is asked of it.

use gavel_domain::ids::OwnerId;
use gavel_engine::{Engine, ports::tables::Tables, routing::engine::Tuning};
use gavel_persistence::sqlite::{EmbeddedStorage, OpenOptions};
use std::{path::Path, sync::Arc, time::Duration};
use uuid::Uuid;

/// With a new data directory; `tables` may put something between.
pub(super) async fn start(dir: &Path, tables: impl FnOnce(Arc<dyn Tables>) -> Arc<dyn Tables>) -> (Engine, EmbeddedStorage) {
    let options = OpenOptions::new(4, tokio::runtime::Handle::current());
    let storage = EmbeddedStorage::open(dir, options).await.unwrap().storage;
    let mut ports = storage.ports();
    ports.tables = tables(ports.tables);
    let tuning = Tuning {
        owner: OwnerId(Uuid::now_v7()),
        shards: 4,
        arbiters: 1,
        inbox: 1000,
        journal_max_bytes: 1 << 30,
        checkpoint_bytes: 1 << 20,
        checkpoint_after: Duration::from_secs(30),
        evict_after: None,
    };
    (Engine::start(ports, tuning).await.unwrap(), storage)
}

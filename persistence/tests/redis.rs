//! Redis against the conformance suites of journal and snapshots, on a server of its own each. What
//! only it does, and what it does when things break, is in `redis_faults.rs`.

#[expect(missing_docs, reason = "test code; each rule's name says what it is")]
pub mod conformance;

use conformance::Backend;
use gavel_engine::ports::{Storage, tables::Tables};
use gavel_persistence::{
    redis::{Address, Prefix, RedisOptions, RedisStorage},
    sqlite::{EmbeddedStorage, OpenOptions},
};
use gavel_test_servers::Redis as Server;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Handle;

struct Redis {
    storage: RedisStorage,
    server: Arc<tokio::sync::Mutex<Server>>,
    url: String,
    tables: Arc<Aside>,
}

/// Tables that no rule here looks at.
struct Aside {
    embedded: EmbeddedStorage,
    _dir: TempDir,
}

impl Aside {
    fn tables(&self) -> Arc<dyn Tables> {
        self.embedded.ports().tables
    }
}

async fn open(url: &str) -> RedisStorage {
    let prefix = Prefix::try_from("conformance").expect("allowed");
    RedisStorage::open(RedisOptions::new(Address::try_from(url).expect("a URL"), prefix, 64, Handle::current()))
        .await
        .expect("opens")
        .storage
}

impl Backend for Redis {
    async fn fresh() -> Self {
        let server = tokio::task::spawn_blocking(Server::durable).await.expect("a server");
        let dir = tempfile::tempdir().expect("a directory");
        let embedded = EmbeddedStorage::open(dir.path(), OpenOptions::new(64, Handle::current())).await.expect("opens").storage;
        let url = server.url();
        Self {
            storage: open(&url).await,
            server: Arc::new(tokio::sync::Mutex::new(server)),
            url,
            tables: Arc::new(Aside { embedded, _dir: dir }),
        }
    }

    fn ports(&self) -> Storage {
        self.storage.ports(self.tables.tables())
    }

    async fn another(&self) -> Self {
        Self { storage: open(&self.url).await, server: Arc::clone(&self.server), url: self.url.clone(), tables: Arc::clone(&self.tables) }
    }

    async fn restarted(self) -> Self {
        drop(self.storage);
        self.server.lock().await.restart();
        Self { storage: open(&self.url).await, server: self.server, url: self.url, tables: self.tables }
    }
}

conformance!(Redis, ports: journal, snapshots);

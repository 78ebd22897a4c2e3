//! The embedded backend against the conformance suite. What only it does is in `sqlite_dir.rs`.

#[expect(missing_docs, reason = "test code; each rule's name says what it is")]
pub mod conformance;

use conformance::Backend;
use gavel_engine::ports::Storage;
use gavel_persistence::sqlite::{EmbeddedStorage, OpenOptions};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::runtime::Handle;

struct Sqlite {
    storage: EmbeddedStorage,
    dir: Arc<TempDir>,
}

impl Sqlite {
    async fn open(dir: Arc<TempDir>) -> Self {
        let opened = EmbeddedStorage::open(dir.path(), OpenOptions::new(64, Handle::current())).await.expect("opens");
        Self { storage: opened.storage, dir }
    }
}

impl Backend for Sqlite {
    async fn fresh() -> Self {
        Self::open(Arc::new(tempfile::tempdir().expect("a directory"))).await
    }

    fn ports(&self) -> Storage {
        self.storage.ports()
    }

    async fn another(&self) -> Self {
        // The lock is on the file, not on its name: without the name, a second process gets in.
        std::fs::remove_file(self.dir.path().join("gavel.lock")).expect("there");
        Self::open(Arc::clone(&self.dir)).await
    }

    async fn restarted(self) -> Self {
        self.storage.close().await.expect("closes");
        Self::open(self.dir).await
    }
}

conformance!(Sqlite);

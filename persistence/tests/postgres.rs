//! PostgreSQL against the conformance suite of the tables, directly and through PgBouncer in transaction
//! mode; each rule in a database of its own. What only it does is in `postgres_open.rs`, what it does when
//! things break in `postgres_faults.rs`.

#[expect(missing_docs, reason = "test code; each rule's name says what it is")]
pub mod conformance;
#[expect(missing_docs, reason = "test code")]
pub mod postgres_stage;

use conformance::Backend;
use gavel_engine::ports::Storage;
use gavel_test_servers::PgBouncer;
use postgres_stage::{Stage, open, server};
use std::sync::{Arc, OnceLock};

struct Postgres {
    stage: Arc<Stage>,
    ports: Storage,
    url: String,
}

impl Postgres {
    async fn with(database: impl FnOnce(&str) -> String) -> Self {
        let stage = Stage::fresh().await;
        let url = database(&stage.database);
        Self { ports: stage.ports(open(&url).await.tables), stage: Arc::new(stage), url }
    }

    async fn reopened(&self) -> Self {
        Self { ports: self.stage.ports(open(&self.url).await.tables), stage: Arc::clone(&self.stage), url: self.url.clone() }
    }
}

struct Direct(Postgres);

impl Backend for Direct {
    async fn fresh() -> Self {
        Self(Postgres::with(postgres_stage::url_of).await)
    }

    fn ports(&self) -> Storage {
        self.0.ports.clone()
    }

    async fn another(&self) -> Self {
        Self(self.0.reopened().await)
    }

    async fn restarted(self) -> Self {
        Self(self.0.reopened().await)
    }
}

/// Few connections to the server for many clients: each transaction gets another one.
fn pooler() -> &'static PgBouncer {
    static POOLER: OnceLock<PgBouncer> = OnceLock::new();
    POOLER.get_or_init(|| {
        let addr = server().addr();
        let any = format!("* = host={} port={} user=gavel", addr.ip(), addr.port());
        PgBouncer::before_addr(addr, &["default_pool_size = 2", "max_client_conn = 1000", "[databases]", &any])
    })
}

struct Pooled(Postgres);

impl Backend for Pooled {
    async fn fresh() -> Self {
        let addr = tokio::task::spawn_blocking(|| pooler().addr()).await.expect("a pooler");
        Self(Postgres::with(|database| format!("postgres://gavel@{addr}/{database}")).await)
    }

    fn ports(&self) -> Storage {
        self.0.ports.clone()
    }

    async fn another(&self) -> Self {
        Self(self.0.reopened().await)
    }

    async fn restarted(self) -> Self {
        Self(self.0.reopened().await)
    }
}

mod directly {
    use super::Direct;
    crate::conformance!(Direct, ports: tables, audit);
}

mod through_pgbouncer {
    use super::Pooled;
    crate::conformance!(Pooled, ports: tables, audit);
}

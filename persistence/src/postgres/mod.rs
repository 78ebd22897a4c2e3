//! The tables and the archive in PostgreSQL: the cluster profile's. Journal and snapshots are elsewhere.
//!
//! One connection writes (`writer.rs`, `project.rs`), a bounded pool reads (`tables.rs`). Everything,
//! reads too, runs in a transaction with statements that are never kept: so it works through PgBouncer in
//! transaction mode as well, which gives each transaction another server. Nothing here may rely on a
//! session. Files are named like the ports they serve. No rules here, and no encodings of records (see
//! `crate::record`).

mod audit;
mod fault;
mod insert;
mod ledger;
mod link;
mod migrate;
mod months;
mod open;
mod project;
mod rows;
mod server;
mod tables;
mod url;
mod writer;

pub use migrate::{Migrated, migrate};
pub use open::{Opened, PostgresOptions};
pub use server::OpenError;
pub use tables::PostgresTables;
pub use url::{BadUrl, Url};
pub use writer::SERIALIZATION_FAILURES;

//! The backends of the engine's ports, and the one way records are written.
//!
//! [`record`] turns batches, snapshots and rows into bytes; [`sqlite`] keeps them in files next to
//! the process (the embedded profile); [`redis`] keeps journal and snapshots in a Redis, [`postgres`] the
//! tables in a PostgreSQL; [`profile`] opens those that make up a server's storage. [`accounts`] has ports of
//! its own, for users and their sessions, which the engine does not know. No rules and no HTTP here; SQL only
//! here.

pub mod accounts;
mod audit;
mod columns;
pub mod postgres;
pub mod profile;
pub mod record;
pub mod redis;
pub mod sqlite;

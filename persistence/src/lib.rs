//! The backends of the engine's ports, and the one way records are written.
//!
//! [`record`] turns batches, snapshots and rows into bytes; [`sqlite`] keeps them in files next to
//! the process (the embedded profile); [`redis`] keeps journal and snapshots for several nodes, [`postgres`]
//! their tables. [`accounts`] has ports of its own, for users and their sessions, which the engine does not
//! know. No rules and no HTTP here; SQL only here.

pub mod accounts;
mod columns;
pub mod postgres;
pub mod record;
pub mod redis;
pub mod sqlite;

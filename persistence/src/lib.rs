//! The backends of the engine's ports, and the one way records are written.
//!
//! [`record`] turns batches, snapshots and rows into bytes; [`sqlite`] keeps them in files next to
//! the process (the embedded profile). No rules and no HTTP here; SQL only here.

pub mod record;
pub mod sqlite;

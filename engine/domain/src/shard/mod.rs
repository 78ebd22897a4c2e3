//! What is true of a shard, whatever drives it: batches of entries, outputs that wait for them,
//! idempotency keys, and the state that a journal adds up to. Pure, like the rest.

pub mod batch;
pub mod entities;
pub mod keys;
pub mod staging;

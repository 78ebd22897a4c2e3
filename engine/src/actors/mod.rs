//! The actors: thin drivers without rules. A shard and its lots share one arbiter (one thread), so
//! they talk by plain calls and local mailboxes.

pub(crate) mod admission;
pub(crate) mod lot;
pub(crate) mod outputs;
mod rebuild;
pub(crate) mod shard;

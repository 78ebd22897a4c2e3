//! The actors: thin drivers without rules. A shard, its lots and its wallets share one arbiter (one thread), so
//! they talk by plain calls and local mailboxes.

pub(crate) mod admission;
pub(crate) mod backing;
mod desk;
pub(crate) mod lot;
pub(crate) mod outputs;
mod rebuild;
mod seat;
pub(crate) mod shard;
pub(crate) mod wallet;
mod wallets;

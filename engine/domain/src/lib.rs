//! Gavel's rules, and nothing else.
//!
//! Everything here is a pure function of its arguments: no clock (time is passed in), no
//! randomness, no IO, no async, no iteration over a hash map. The same commands at the same times
//! therefore give the same events on every machine, live and in replay.
//!
//! The walk of a bid: [`command::PlaceBid`] → [`lot::Lot::decide`] (judges, changes nothing) →
//! [`event::LotEvent`]s → [`lot::Lot::apply`] (the only mutator) → [`receipt::Receipt`].
//! A bid that a wallet backs takes one turn more: [`wallet::Wallet`] holds its maximum first, and
//! [`claims`] say which holds a lot still stands by.
//! [`shard`] holds what is true of many lots with one journal: staging, batches, idempotency keys.

pub mod act;
pub mod claims;
pub mod command;
pub mod currency;
pub mod event;
pub mod ids;
pub mod lot;
pub mod money;
pub mod receipt;
pub mod reject;
pub mod shard;
pub mod time;
pub mod wallet;

//! What goes over the wire: the JSON (and bincode) shapes of PROTOCOL, made from the domain's
//! values. Only this crate knows them.
//!
//! All types serialize both ways: to JSON as PROTOCOL shows it, to bincode as `docs/bincode.md`
//! lists it. Hence no `skip_serializing_if` and no tags on fields (bincode has no names).

pub mod event;
pub mod json_only;
pub mod lot;
pub mod message;
pub mod names;
pub mod spec;
pub mod wallet;

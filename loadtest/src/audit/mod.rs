//! What the server must have done, worked out again by this client from the protocol's rules alone.
//! Nothing here talks to the server or measures.

pub(crate) mod english;
pub(crate) mod ledger;
pub(crate) mod refusals;
mod violation;

pub(crate) use violation::Violation;

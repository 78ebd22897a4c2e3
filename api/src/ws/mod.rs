//! WebSockets: `GET /v1/ws`.
//!
//! A socket is an actor ([`session`]) that reads requests and hands them to the engine; what comes
//! back reaches its worker's [`hub`] in the order of the journal, and from there the socket's
//! [`outbox`]. Nothing here waits for a slow reader.

mod codec;
mod frames;
pub mod hub;
mod joins;
mod link;
mod outbox;
mod purses;
mod revocation;
mod session;
mod throttle;
mod upgrade;

pub use revocation::close_revoked;
pub use upgrade::{Connection, all_gone, connect, on_connect};

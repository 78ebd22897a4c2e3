//! Gavel's engine: the actors that drive the rules, and the ports to what must outlive them.
//!
//! The walk of a request: [`routing`] finds the lot's shard and puts the request into its arbiter's
//! bounded inbox → `actors` stamp, judge and apply it, and stage what follows → `commit` makes a
//! batch of it durable → only then [`delivery`] hands out replies and events, and [`projection`]
//! brings the tables up behind.
//!
//! No rules live here (they are in `gavel-domain`), no SQL, no HTTP, no JSON.

mod actors;
pub mod clock;
mod commit;
pub mod delivery;
pub mod limits;
pub mod meters;
pub mod ports;
pub mod projection;
pub mod routing;
mod supervision;
mod tail;

pub use routing::{engine::Engine, request};

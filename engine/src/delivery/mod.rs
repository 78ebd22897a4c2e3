//! From a shard to the workers that hold the sockets: replies and committed events.
//!
//! A shard sends each worker one [`Parcel`] a commit, in the order of the journal; what a worker's
//! hub makes of it (frames, queues, conflation) is the edge's matter.

pub mod outlet;
pub mod reply;

pub use outlet::{Inlet, Item, Outlet, Outlets, Parcel, WorkerId};

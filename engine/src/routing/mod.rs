//! From a lot's id to the shard that owns it, and the requests that travel there.

pub mod directory;
pub mod engine;
pub(crate) mod inbox;
pub mod request;

//! From the id of a lot or a wallet to the shard that owns it: the requests that travel there, and the
//! letters between them.

pub mod directory;
pub mod engine;
pub(crate) mod inbox;
pub(crate) mod post;
pub mod request;

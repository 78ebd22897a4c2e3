//! How decisions become durable, and how a shard comes back: the committer appends, checkpoints
//! keep recovery short, recovery rebuilds.

pub(crate) mod checkpoint;
pub(crate) mod committer;
pub(crate) mod entity;
pub(crate) mod failure;
pub(crate) mod recovery;
pub(crate) mod verify;

//! Sockets: the upgrade, and one thread that drives thousands of them by readiness.
//! Knows WebSocket frames and bytes; what the text means is the scenario's.

mod alarm;
mod handshake;
mod swarm;
mod target;

pub(crate) use handshake::{UpgradeError, open_all};
pub(crate) use swarm::{SocketError, Swarm};
pub(crate) use target::{BadUrl, Target};

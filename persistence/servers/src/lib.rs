//! Private server processes for tests: Redis (alone or as a cluster), PostgreSQL and PgBouncer from Debian's packages, a
//! TCP proxy that misbehaves on demand, and disks that do.
//!
//! Each server has a free port and a temporary directory of its own, is ready when its constructor
//! returns, and ends with its handle (or with the test's process, if that is killed). Everything
//! panics with what is wrong: a test that needs a server can't go on without it. Nothing that ships
//! may depend on this crate.

mod certificate;
mod disk;
mod pgbouncer;
mod postgres;
mod process;
mod proxy;
mod redis;
mod redis_cluster;

pub use disk::{Disk, SlowDisk};
pub use pgbouncer::PgBouncer;
pub use postgres::Postgres;
pub use process::Server;
pub use proxy::{Flow, Proxy};
pub use redis::Redis;
pub use redis_cluster::{Moving, RedisCluster};

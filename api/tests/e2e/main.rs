//! End to end: every test here drives the built binary from outside, over its command line, REST and WebSocket, and asserts
//! what a caller of `docs`' protocol would notice. Nothing of the crate's own code is called, but in `bincode_vectors`, and where a
//! test needs to know which thread a wallet lives on.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod kit;

mod access;
mod accounts;
mod accounts_cli;
mod accounts_issuer;
mod accounts_lockout;
mod audit;
mod bad_input;
mod bincode;
mod bincode_vectors;
mod browser;
mod cli;
mod cluster_clock;
mod cluster_disks;
mod cluster_faults;
mod cluster_redis;
mod cluster_start;
mod crash;
mod data_dir;
mod deploy;
mod loadtest;
#[cfg(feature = "failpoints")]
mod panic;
mod redis_faults;
mod redis_start;
mod rest;
mod rest_bounds;
mod rest_changes;
mod rules;
mod slow_reader;
mod socket;
mod socket_bounds;
mod socket_limits;
mod wallet_admin;
mod wallet_admin_cli;
#[cfg(feature = "failpoints")]
mod wallet_admin_crash;
mod wallet_admin_import;
mod wallet_saga;
mod wallet_saga_input;
#[cfg(feature = "failpoints")]
mod wallet_saga_kill;
#[cfg(feature = "failpoints")]
mod wallet_saga_panic;
mod wallet_saga_rules;
mod wallet_saga_socket;

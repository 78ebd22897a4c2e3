//! Gavel's edge: REST, WebSocket, pages and the command line over the engine. Rules of auctions are not here.

pub mod auth;
pub mod cli;
pub mod config;
pub mod demo;
pub mod http;
pub mod pages;
pub mod server;
pub mod telemetry;
pub mod wire;
pub mod ws;

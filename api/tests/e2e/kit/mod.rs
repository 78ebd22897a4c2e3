//! What the suites stand on: a private server process, clients that speak the protocol, and the auditor that compares what
//! clients were told with what the server shows afterwards.

pub(crate) mod accounts;
pub(crate) mod bincode;
mod history;
mod http;
mod lines;
mod load;
mod lots;
mod profile;
mod rng;
mod server;
mod socket;
mod tokens;
mod wallets;

pub(crate) use history::History;
pub(crate) use http::{Answer, Rest};
pub(crate) use load::Load;
pub(crate) use lots::{event_name, in_ms, lot, lot_with, now_ms, parse_ms, passed, uuid};
pub(crate) use rng::Rng;
pub(crate) use server::{Finished, Server, Setup, gavel};
pub(crate) use socket::{Handshake, News, Socket};
pub(crate) use tokens::{Claims, forge, unsigned};
pub(crate) use wallets::{Purse, SHARDS, backed_with, bidders_on, captures};

use std::time::{Duration, Instant};

/// How long anything awaited may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Asks again until `read` gives something, at most [`PATIENCE`]: for what a server tells only those who ask. A time is
/// awaited by [`passed`], a line of the log by [`Server::log_line`].
#[track_caller]
pub(crate) fn until<T>(what: &str, read: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, read)
}

/// The same, of what takes longer.
#[track_caller]
pub(crate) fn until_within<T>(patience: Duration, what: &str, mut read: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = read() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A pace for what is asked again and again; nothing is awaited by it. What comes late makes all after it as late.
pub(crate) fn pace(every: Duration) -> tokio::time::Interval {
    let mut pace = tokio::time::interval(every);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    pace
}

/// Why a test that needs a small disk of its own may not run.
pub(crate) const CANT_MOUNT: &str = "a file system of its own can't be mounted: only root can, and in a container only where it is allowed";

/// Says why a test did not run here; where all must run (`scripts/test`), that is a failure.
#[track_caller]
pub(crate) fn skipped(test: &str, why: &str) {
    let must = std::env::var("GAVEL_TESTS_MUST_RUN").is_ok_and(|must| must != "0");
    assert!(!must, "{test} did not run: {why}");
    println!("skipped: {test}: {why}");
    eprintln!("skipped: {test}: {why}");
}

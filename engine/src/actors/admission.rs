//! Admission: the bounded inbox of an arbiter. Here a request gets its time, once.

use super::shard::Shard;
use crate::{request::Request, routing::inbox::Requests, supervision::words};
use gavel_domain::{ids::shard_of, time::Timestamp};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    time::Instant,
};

/// A request with the time by which it is judged.
pub(crate) struct Admitted {
    pub(crate) request: Request,
    pub(crate) at: Timestamp,
    /// The same moment, for measuring.
    pub(crate) since: Instant,
}

/// Takes requests from the inbox and hands them to their shards, a turn at a time so that the actors
/// and the committers run in between.
pub(crate) async fn admit(mut inbox: Requests, shards: Vec<Option<Rc<Shard>>>) {
    let count = u16::try_from(shards.len()).unwrap_or(u16::MAX);
    while let Some(turn) = inbox.next().await {
        for request in turn {
            let shard = usize::from(shard_of(request.lot, count).0);
            let Some(Some(shard)) = shards.get(shard) else { continue };
            let admitted = Admitted { request, at: shard.now(), since: Instant::now() };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| shard.admit(admitted))) {
                shard.close(format!("{} while a request was admitted", words(panic.as_ref())));
            }
        }
        tokio::task::yield_now().await;
    }
}

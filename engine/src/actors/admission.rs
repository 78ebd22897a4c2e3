//! Admission: the bounded inbox of an arbiter. Here a request gets its time, once.

use super::shard::Shard;
use crate::{
    request::Request,
    routing::inbox::{Parcel, Requests},
    supervision::words,
};
use gavel_domain::{
    claims::{Address, Letter},
    ids::{ShardId, shard_of, shard_of_wallet},
    time::Timestamp,
};
use std::{
    collections::HashMap,
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
    let at = |id: ShardId| shards.get(usize::from(id.0)).and_then(Option::as_ref);
    while let Some(parcel) = inbox.next().await {
        match parcel {
            Parcel::Requests(requests) => {
                // They came in one turn of a worker's loop: they are admitted in one moment.
                let since = Instant::now();
                for request in requests {
                    let Some(shard) = at(shard_of(request.lot, count)) else { continue };
                    let admitted = Admitted { request, at: shard.now(), since };
                    guard(shard, || shard.admit(admitted));
                }
            }
            Parcel::Wallet(request) => {
                let Some(shard) = at(shard_of_wallet(&request.bidder, count)) else { continue };
                guard(shard, || shard.admit_to_wallet(request));
            }
            Parcel::Letters(letters) => {
                for (to, letters) in by_address(letters) {
                    let Some(shard) = at(to.shard(count)) else { continue };
                    guard(shard, || shard.deliver(&to, letters));
                }
            }
        }
        tokio::task::yield_now().await;
    }
}

/// A panic outside of the rules: nobody can say what state it left behind.
fn guard(shard: &Shard, admit: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(admit)) {
        shard.close(format!("{} while a request was admitted", words(panic.as_ref())));
    }
}

/// Each addressee's letters together, in order: an actor is woken once for all of them.
fn by_address(letters: Vec<Letter>) -> Vec<(Address, Vec<Letter>)> {
    let mut sorted: Vec<(Address, Vec<Letter>)> = Vec::new();
    let mut places = HashMap::new();
    for letter in letters {
        let to = letter.to();
        match sorted.last_mut() {
            Some((last, its)) if *last == to => its.push(letter),
            _ => {
                let place = *places.entry(to.clone()).or_insert(sorted.len());
                if place == sorted.len() {
                    sorted.push((to, vec![letter]));
                } else {
                    sorted[place].1.push(letter);
                }
            }
        }
    }
    sorted
}

//! Lots, wallets and the letters between them through crashes, by seed: shards lose what is not
//! committed, entities are rebuilt, letters get lost, come twice, late and out of order.
//!
//! An auditor that shares no code with the wallets recomputes balances and holds from the journals
//! alone ([`auditor`]), after every recovery and at the end, when all has come to rest.
//!
//! `GAVEL_SEED=17 cargo test -p gavel-domain --test wallets` runs one seed again; `GAVEL_SEEDS=1000`
//! runs that many instead of the usual.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "wallets/auditor.rs"]
mod auditor;
#[path = "wallets/clerk.rs"]
mod clerk;
mod fixtures;
#[path = "wallets/world.rs"]
mod world;

use std::collections::BTreeMap;
use world::World;

/// A million steps in all.
const SEEDS: u64 = 100;
const STEPS: u32 = 10_000;

pub(crate) type Counts = BTreeMap<&'static str, u64>;

#[test]
fn no_path_loses_or_doubles_money() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("an integer"));
    let mut counts = Counts::new();
    if let Some(seed) = number("GAVEL_SEED") {
        run(seed, &mut counts);
        println!("{counts:#?}");
        return;
    }
    (0..number("GAVEL_SEEDS").unwrap_or(SEEDS)).for_each(|seed| run(seed, &mut counts));
    println!("{counts:#?}");
    let must_happen = "placed, placed without leading, raise placed, insufficient, refused after its hold, receipt again, shard crashed, \
        shard crashed with the batch written, entity rebuilt, letter lost, letter twice, attempt timed out, close waited, turn waited, \
        close gave up, answer too late, sold, unsold, cancelled, bought, captured, captured again, settled, query answered, \
        word heard, word without news, forced deduction, overdrawn refused, decayed, granted again, \
        not registered, too many leads, beyond the spend limit, pledge bought";
    for what in must_happen.split(',').map(str::trim) {
        assert!(counts.get(what).is_some_and(|count| *count >= 3), "hardly ever: {what}\n{counts:#?}");
    }
}

fn run(seed: u64, counts: &mut Counts) {
    let so_far = std::mem::take(counts);
    let world = std::panic::AssertUnwindSafe(World::new(seed, so_far));
    match std::panic::catch_unwind(|| { world }.0.run(STEPS)) {
        Ok(after) => *counts = after,
        Err(panic) => {
            let why = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            panic!("GAVEL_SEED={seed}: {}", why.unwrap_or_default());
        }
    }
}

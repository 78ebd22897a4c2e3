//! Rebuilding one lot or wallet of a shard that serves: after a panic under the rules, or of its
//! actor.
//!
//! Its requests wait meanwhile. Storage that is away is asked again until it answers. What
//! can't be rebuilt from what is stored would hold back the shard's snapshots, and with them the end
//! of the journal: its shard is closed, which is the alarm.

use super::shard::Shard;
use crate::{
    commit::{
        entity::{Entity, recover_one},
        failure::RecoveryError,
    },
    meters::ACTOR_REBUILDS,
    supervision::watched,
};
use gavel_domain::{ids::Epoch, shard::batch::Entry};
use std::{
    rc::Rc,
    time::{Duration, Instant},
};

/// Between tries while storage is away, and between rebuilds that follow each other closely:
/// doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What lasts this long has recovered.
const LASTS: Duration = Duration::from_secs(60);

/// The rebuilds of one entity.
#[derive(Default)]
pub(super) struct Rebuilds {
    in_a_row: u32,
    last: Option<Instant>,
}

impl Rebuilds {
    /// How long the next has to wait: what panics each time it is back must not take the processor
    /// from the others.
    pub(super) fn next(&mut self) -> Duration {
        let again = self.last.is_some_and(|last| last.elapsed() < LASTS);
        self.in_a_row = if again { self.in_a_row + 1 } else { 0 };
        self.last = Some(Instant::now());
        match self.in_a_row {
            0 => Duration::ZERO,
            more => (FIRST_PAUSE * 2_u32.saturating_pow(more - 1)).min(LONGEST_PAUSE),
        }
    }
}

/// An entity and the shard under an epoch of which it is rebuilt.
struct Rebuilding<E: Entity> {
    shard: Rc<Shard>,
    epoch: Epoch,
    id: E::Id,
    /// Its events that are not in the journal yet.
    on_their_way: Vec<Entry>,
    pause: Duration,
}

impl Shard {
    /// Rebuilds one entity from snapshot and journal, and what is still on its way there; its actor
    /// keeps requests meanwhile, and gets it by `restored`.
    pub(super) fn rebuild<E: Entity>(self: &Rc<Self>, id: &E::Id, pause: Duration, restored: impl FnOnce(Box<E>) + 'static) {
        metrics::counter!(ACTOR_REBUILDS).increment(1);
        let on_their_way = self.with_uncommitted(|entries| entries.filter(|entry| E::concerns(id, entry)).cloned().collect());
        let rebuilding = Rebuilding::<E> { shard: Rc::clone(self), epoch: self.epoch().get(), id: id.clone(), on_their_way, pause };
        actix_rt::spawn(async move {
            let reason = match watched(rebuilding.run(restored)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic,
            };
            if rebuilding.shard.serves_in(rebuilding.epoch) {
                rebuilding.shard.close(format!("{} can't be rebuilt: {reason}", E::named(&rebuilding.id)));
            }
        });
    }
}

impl<E: Entity> Rebuilding<E> {
    async fn run(&self, restored: impl FnOnce(Box<E>)) -> Result<(), RecoveryError> {
        let (shard, id) = (&self.shard, &self.id);
        tokio::time::sleep(self.pause).await;
        let mut pause = FIRST_PAUSE;
        loop {
            let recovered = recover_one::<E>(shard.id, id, &shard.node.storage, &self.on_their_way).await;
            if !shard.serves_in(self.epoch) {
                return Ok(()); // the whole shard was recovered meanwhile, this with it
            }
            match recovered {
                Ok(state) => {
                    tracing::info!(shard = %shard.id, what = E::named(id), "rebuilt from snapshot and journal");
                    restored(Box::new(state));
                    return Ok(());
                }
                Err(RecoveryError::Storage { error, .. }) => {
                    tracing::warn!(shard = %shard.id, what = E::named(id), %error, "can't be rebuilt yet");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rebuilds_that_follow_each_other_wait_longer_and_longer() {
        let mut rebuilds = Rebuilds::default();
        let pauses: Vec<_> = (0..12).map(|_| rebuilds.next()).collect();
        assert_eq!(pauses[..4], [0, 50, 100, 200].map(Duration::from_millis));
        assert_eq!(pauses[11], LONGEST_PAUSE);
    }
}

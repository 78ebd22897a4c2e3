//! Rebuilding one lot of a shard that serves: after a panic under the rules, or of its actor.
//!
//! Its requests wait meanwhile. Storage that is away is asked again until it answers. A lot that
//! can't be rebuilt from what is stored would hold back the shard's snapshots, and with them the end
//! of the journal: its shard is closed, which is the alarm.

use super::{
    lot::{Begin, LotActor, Restored},
    shard::Shard,
};
use crate::{
    commit::{failure::RecoveryError, recovery::recover_lot},
    meters::ACTOR_REBUILDS,
    supervision::watched,
};
use actix::{Actor as _, Addr};
use gavel_domain::{
    event::Recorded,
    ids::{Epoch, LotId},
    shard::batch::Entry,
};
use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

/// Between tries while storage is away, and between rebuilds that follow each other closely:
/// doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A lot that lasts this long has recovered.
const LASTS: Duration = Duration::from_secs(60);

/// The rebuilds of one lot.
#[derive(Default)]
pub(super) struct Rebuilds {
    in_a_row: u32,
    last: Option<Instant>,
}

impl Rebuilds {
    /// How long the next has to wait: a lot that panics each time it is back must not take the
    /// processor from the others.
    fn next(&mut self) -> Duration {
        let again = self.last.is_some_and(|last| last.elapsed() < LASTS);
        self.in_a_row = if again { self.in_a_row + 1 } else { 0 };
        self.last = Some(Instant::now());
        match self.in_a_row {
            0 => Duration::ZERO,
            more => (FIRST_PAUSE * 2_u32.saturating_pow(more - 1)).min(LONGEST_PAUSE),
        }
    }
}

impl Shard {
    /// Starts an actor in the place of one that died.
    pub(super) fn replace(self: &Rc<Self>, lot: LotId) -> Addr<LotActor> {
        let actor = LotActor::new(Rc::clone(self), lot, Begin::Rebuilding).start();
        self.with_slot(lot, |slot| slot.actor = actor.clone());
        self.rebuild(lot, actor.clone());
        actor
    }

    /// Replaces the actors that died of a panic outside of the rules: their timers died with them.
    pub(crate) fn replace_dead(self: &Rc<Self>) {
        for lot in self.dead() {
            tracing::error!(shard = %self.id, %lot, "a lot's actor died: the lot is rebuilt");
            self.replace(lot);
        }
    }

    /// Rebuilds one lot from snapshot and journal, and what is still on its way there; its actor
    /// keeps requests meanwhile.
    pub(super) fn rebuild(self: &Rc<Self>, lot: LotId, actor: Addr<LotActor>) {
        metrics::counter!(ACTOR_REBUILDS).increment(1);
        let on_their_way: Vec<Arc<Recorded>> = self.with_uncommitted(|entries| {
            let of_lot = entries.filter_map(|entry| match entry {
                Entry::Lot(recorded) if recorded.lot == lot => Some(Arc::clone(recorded)),
                _ => None,
            });
            of_lot.collect()
        });
        let pause = self.with_slot(lot, |slot| slot.rebuilds.next()).unwrap_or_default();
        let (shard, epoch) = (Rc::clone(self), self.epoch().get());
        actix_rt::spawn(async move {
            tokio::time::sleep(pause).await;
            let rebuilding = rebuild_until_done(&shard, epoch, lot, &on_their_way, &actor);
            let reason = match watched(rebuilding).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => panic,
            };
            if shard.serves_in(epoch) {
                shard.close(format!("lot {lot} can't be rebuilt: {reason}"));
            }
        });
    }
}

async fn rebuild_until_done(
    shard: &Rc<Shard>,
    epoch: Epoch,
    lot: LotId,
    on_their_way: &[Arc<Recorded>],
    actor: &Addr<LotActor>,
) -> Result<(), RecoveryError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let recovered = recover_lot(shard.id, lot, &shard.node.storage, on_their_way).await;
        if !shard.serves_in(epoch) {
            return Ok(()); // the whole shard was recovered meanwhile, this lot with it
        }
        match recovered {
            Ok(state) => {
                tracing::info!(shard = %shard.id, %lot, "lot rebuilt from snapshot and journal");
                actor.do_send(Restored(Box::new(state)));
                return Ok(());
            }
            Err(RecoveryError::Storage { error, .. }) => {
                tracing::warn!(shard = %shard.id, %lot, %error, "the lot can't be rebuilt yet");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error),
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

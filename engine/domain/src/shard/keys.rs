//! Idempotency keys: the first answer to a request, kept for a day in the batch of its effect.

use crate::{
    lot::view::LotView,
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// How long an answer is kept.
pub const KEPT: Millis = Millis(24 * 3_600_000);

/// A key as it was used, with the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    /// Who, what and which key, as one text (made by the edge: `sub`, method, path, key).
    pub scope: Arc<str>,
    /// A digest of the request's body.
    pub body: [u8; 32],
    /// When it took effect.
    pub at: Timestamp,
    /// The lot as it was answered.
    pub answer: LotView,
}

/// What a key says about a new request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Never seen, or longer ago than it is kept.
    No,
    /// The same request: this was the answer.
    Answered(Arc<KeyUse>),
    /// Used for another body.
    OtherBody,
}

/// The keys of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    by_scope: BTreeMap<Arc<str>, Arc<KeyUse>>,
    /// Oldest first, one a scope.
    order: VecDeque<Arc<str>>,
}

impl Keys {
    /// What is known of a key at `now`.
    #[must_use]
    pub fn look_up(&self, scope: &str, body: &[u8; 32], now: Timestamp) -> Known {
        match self.by_scope.get(scope) {
            Some(known) if now.since(known.at) >= KEPT => Known::No,
            Some(known) if known.body == *body => Known::Answered(Arc::clone(known)),
            Some(_) => Known::OtherBody,
            None => Known::No,
        }
    }

    /// Keeps a use; forgets those a day older than the latest.
    ///
    /// What is kept depends on the uses alone, not on their order or on how often each is applied:
    /// keys from a snapshot may be ahead of the journal that is then replayed over them.
    pub fn apply(&mut self, used: &Arc<KeyUse>) {
        let latest = self.order.back().and_then(|newest| self.by_scope.get(newest)).map_or(used.at, |newest| newest.at.max(used.at));
        match self.by_scope.get(&used.scope) {
            Some(known) if known.at >= used.at => return,
            Some(_) => self.order.retain(|scope| *scope != used.scope),
            None => {}
        }
        let own = (used.at, &used.scope);
        let place = self.order.partition_point(|scope| self.by_scope.get(scope).is_some_and(|known| (known.at, scope) < own));
        self.order.insert(place, Arc::clone(&used.scope));
        self.by_scope.insert(Arc::clone(&used.scope), Arc::clone(used));
        while let Some(oldest) = self.order.front()
            && self.by_scope.get(oldest).is_none_or(|old| latest.since(old.at) >= KEPT)
        {
            self.by_scope.remove(oldest);
            self.order.pop_front();
        }
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_scope.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_scope.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        currency::Currency,
        event::{LotEvent, Recorded},
        ids::{Epoch, LotId, Seq},
        lot::{
            increments::{Increment, Increments},
            spec::{English, Funding, LotSpec, Rules},
        },
        money::Amount,
    };

    const DAY: i64 = 24 * 3_600_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn used(scope: &str, body: u8, millis: i64) -> Arc<KeyUse> {
        let increments = Increments::new([Increment { from: Amount::ZERO, step: Amount::MAX }]).expect("a good table");
        let english = English { start_price: Amount::ZERO, reserve_price: None, buy_now_price: None, proxy: true, increments };
        let spec = LotSpec {
            title: "lot".into(),
            description: "".into(),
            currency: Currency { code: "DKP".into(), scale: 0 },
            funding: Funding::Open,
            rules: Rules::English(english),
            draft: true,
            opens_at: None,
            closes_at: None,
            soft_close: None,
        };
        let event = LotEvent::Created(Box::new(spec));
        let created = Recorded { lot: LotId(uuid::Uuid::nil()), epoch: Epoch(1), seq: Seq(1), at: at(millis), event };
        let answer = LotView::from_creation(&created).expect("a creation");
        Arc::new(KeyUse { scope: scope.into(), body: [body; 32], at: at(millis), answer })
    }

    fn keys(uses: &[&Arc<KeyUse>]) -> Keys {
        let mut keys = Keys::default();
        uses.iter().for_each(|used| keys.apply(used));
        keys
    }

    #[test]
    fn a_key_answers_for_a_day() {
        let use_a = used("a", 1, 5);
        let keys = keys(&[&use_a]);
        assert_eq!(keys.look_up("a", &[1; 32], at(5)), Known::Answered(Arc::clone(&use_a)));
        assert_eq!(keys.look_up("a", &[1; 32], at(DAY + 4)), Known::Answered(use_a));
        assert_eq!(keys.look_up("a", &[1; 32], at(DAY + 5)), Known::No);
        assert_eq!(keys.look_up("a", &[2; 32], at(6)), Known::OtherBody);
        assert_eq!(keys.look_up("a", &[2; 32], at(DAY + 5)), Known::No);
        assert_eq!(keys.look_up("b", &[1; 32], at(6)), Known::No);
    }

    #[test]
    fn what_is_a_day_old_is_forgotten() {
        let (a, b, c) = (used("a", 1, 0), used("b", 1, 1), used("c", 1, DAY));
        assert_eq!(keys(&[&a, &b, &c]), keys(&[&b, &c]));
        assert_eq!(keys(&[&a, &b, &c]).len(), 2);
        assert!(Keys::default().is_empty());
    }

    #[test]
    fn a_key_may_be_used_again_after_its_day() {
        let (a, b, again) = (used("a", 1, 0), used("b", 1, 10), used("a", 2, DAY));
        let keys = keys(&[&a, &b, &again]);
        assert_eq!(keys.look_up("a", &[2; 32], at(DAY + 1)), Known::Answered(again));
        assert_eq!(keys.len(), 2);
    }

    /// A snapshot's keys may be ahead of its marker, so the journal's tail comes over them again.
    #[test]
    fn replay_over_newer_keys_changes_nothing() {
        let history = [
            used("a", 1, 0),
            used("b", 1, 0),
            used("c", 1, DAY / 2),
            used("d", 1, DAY / 2),
            used("a", 2, DAY),
            used("e", 1, DAY + 1),
            used("c", 2, 2 * DAY),
            used("f", 1, 2 * DAY),
        ];
        for end in 0..=history.len() {
            let live = keys(&history[..end].iter().collect::<Vec<_>>());
            for marker in 0..=end {
                let mut replayed = live.clone();
                history[marker..end].iter().for_each(|used| replayed.apply(used));
                assert_eq!(replayed, live, "after {end}, replayed from {marker}");
            }
        }
    }
}

//! The engine's clock: the wall's time at the start, and steady from there on.
//!
//! A step of the machine's clock (an operator, NTP) must not close a lot early or take time back,
//! so the wall is read once; nor is time ever below the last journaled one.

use gavel_domain::time::Timestamp;
use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant, SystemTime},
};

/// Tells the time to every shard of a node.
#[derive(Debug)]
pub struct Clock {
    wall_at_start: i64,
    started: Instant,
    /// Milliseconds added, so that time is never below what the journal knows.
    ahead: AtomicI64,
}

impl Clock {
    /// Starts at the machine's current time.
    #[must_use]
    pub fn start() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { wall_at_start: i64::try_from(wall.as_millis()).unwrap_or(0), started: Instant::now(), ahead: AtomicI64::new(0) }
    }

    /// The current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.steady().saturating_add(self.ahead.load(Ordering::Relaxed)))
    }

    /// The wall's time at the start and what has passed since.
    fn steady(&self) -> i64 {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.wall_at_start.saturating_add(elapsed)
    }

    /// Makes sure that no time before `floor` is told any more. Shards call it side by side: the
    /// furthest floor counts, not the sum.
    pub fn not_before(&self, floor: Timestamp) {
        self.ahead.fetch_max(floor.as_millis().saturating_sub(self.steady()), Ordering::Relaxed);
    }

    /// How long until `at`; zero if it has passed.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        Duration::from_millis(at.since(self.now()).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gavel_domain::time::Millis;

    #[test]
    fn many_floors_at_once_are_as_far_as_the_furthest() {
        let clock = Clock::start();
        let floor = clock.now().plus(Millis(3_600_000));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|_| clock.not_before(floor)));
            }
        });
        let now = clock.now();
        assert!(now >= floor && now < floor.plus(Millis(3_600_000)), "{now:?} for {floor:?}");
        clock.not_before(Timestamp::from_millis(0));
        assert!(clock.now() >= now, "never back");
    }
}

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
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(self.wall_at_start.saturating_add(elapsed).saturating_add(self.ahead.load(Ordering::Relaxed)))
    }

    /// Makes sure that no time before `floor` is told any more.
    pub fn not_before(&self, floor: Timestamp) {
        let behind = floor.as_millis() - self.now().as_millis();
        if behind > 0 {
            self.ahead.fetch_add(behind, Ordering::Relaxed);
        }
    }

    /// How long until `at`; zero if it has passed.
    #[must_use]
    pub fn until(&self, at: Timestamp) -> Duration {
        Duration::from_millis(at.since(self.now()).0)
    }
}

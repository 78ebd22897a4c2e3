//! How many requests a socket may send, and when it is shown the door.

use crate::config::Limits;
use governor::{
    DefaultDirectRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};
use std::time::{Duration, Instant};

/// A pause this long without a refused request starts the count anew.
const FORGIVEN_AFTER: Duration = Duration::from_secs(1);

/// The request budget of one socket.
pub(super) struct Throttle {
    budget: Option<DefaultDirectRateLimiter>,
    clock: DefaultClock,
    close_after: Option<Duration>,
    /// First and last refusal of the current stretch.
    refusing: Option<(Instant, Instant)>,
}

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// `rate_limited`, until then.
    Refuse(Duration),
    /// It went on too long: close.
    Close,
}

impl Throttle {
    pub(super) fn new(limits: &Limits) -> Self {
        let budget = limits.requests_per_second.map(|rate| RateLimiter::direct(Quota::per_second(rate).allow_burst(limits.request_burst)));
        Self { budget, clock: DefaultClock::default(), close_after: limits.rate_limited_close, refusing: None }
    }

    pub(super) fn admit(&mut self) -> Verdict {
        let Some(budget) = &self.budget else { return Verdict::Pass };
        let Err(not_until) = budget.check() else { return Verdict::Pass };
        let now = Instant::now();
        let since = match self.refusing {
            Some((since, last)) if now - last < FORGIVEN_AFTER => since,
            _ => now,
        };
        self.refusing = Some((since, now));
        if self.close_after.is_some_and(|after| now - since >= after) {
            return Verdict::Close;
        }
        Verdict::Refuse(not_until.wait_time_from(self.clock.now()))
    }
}

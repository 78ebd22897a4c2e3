//! Time for a whole run: microseconds since it began, and the processor time this process has used.
//! Wall-clock time (tokens need it) does not belong here.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// Microseconds since the clock was made.
pub(crate) type Micros = u64;

/// A monotonic clock that starts at zero.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Micros {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The length from `since` to `now` where `since` was kept in 32 bits: right for anything below 71 minutes.
pub(crate) fn since(now: Micros, since: u32) -> Micros {
    u64::from(short(now).wrapping_sub(since))
}

/// The 32 low bits of a time, as kept in the compact records.
pub(crate) fn short(at: Micros) -> u32 {
    (at & u64::from(u32::MAX)) as u32
}

/// Seconds as given on the command line, in microseconds.
pub(crate) fn from_seconds(seconds: f64) -> Micros {
    (seconds * 1e6) as Micros
}

/// Seconds of processor time (user and system) this process has used so far.
pub(crate) fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_survives_the_wrap_of_its_start() {
        let start: Micros = u64::from(u32::MAX) - 5;
        assert_eq!(since(start + 20, short(start)), 20);
    }
}

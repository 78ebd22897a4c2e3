//! How long wrong passwords lock out: arithmetic alone, the same for every backend and for addresses.

use gavel_domain::time::Millis;

/// Failures this old count no more.
pub const FORGOTTEN_AFTER: Millis = Millis(24 * 3_600_000);

/// From the `after`th failure in a row on each locks out, for twice as long as the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Failures that lock out for the first time; 0: none ever does.
    pub after: u32,
    /// The first lock-out.
    pub first: Millis,
    /// The longest.
    pub longest: Millis,
}

impl Backoff {
    /// How long the last of that many failures in a row locks out; zero: not at all.
    #[must_use]
    pub fn after_failures(&self, failures: u32) -> Millis {
        let Some(doublings) = failures.checked_sub(self.after).filter(|_| self.after > 0) else { return Millis(0) };
        let factor = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX);
        Millis(self.first.0.saturating_mul(factor).min(self.longest.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lock_out_is_twice_the_last_up_to_the_longest() {
        let backoff = Backoff { after: 5, first: Millis(1000), longest: Millis(900_000) };
        for (failures, locked) in
            [(0, 0), (4, 0), (5, 1000), (6, 2000), (7, 4000), (14, 512_000), (15, 900_000), (70, 900_000), (u32::MAX, 900_000)]
        {
            assert_eq!(backoff.after_failures(failures), Millis(locked), "{failures}");
        }
        let never = Backoff { after: 0, ..backoff };
        assert_eq!(never.after_failures(u32::MAX), Millis(0));
        let at_once = Backoff { after: 1, ..backoff };
        assert_eq!((at_once.after_failures(0), at_once.after_failures(1)), (Millis(0), Millis(1000)));
    }
}

//! How points lose their worth: by percent or by a fixed amount.
//!
//! The rounding rule: what is taken is rounded down to whole minor units, so nobody loses more than
//! the percentage says. Never more than is available is taken (holds stay backed), and nothing from a
//! balance that is not above zero.

use crate::money::{Amount, SignedAmount};
use serde::{Deserialize, Serialize};

/// A rule of decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decay {
    /// Of the balance, in hundredths of a percent, 1 to 10,000.
    BasisPoints(u16),
    /// The same from everybody, as far as it is there.
    Fixed(Amount),
}

impl Decay {
    /// What is taken of a balance of which so much is available.
    #[must_use]
    pub fn taken_from(self, balance: SignedAmount, available: SignedAmount) -> Amount {
        let wanted = match self {
            Self::BasisPoints(points) => {
                let share = u128::from(balance.positive().get()) * u128::from(points.min(10_000)) / 10_000;
                u64::try_from(share).ok().and_then(|share| Amount::new(share).ok()).unwrap_or(Amount::MAX)
            }
            Self::Fixed(amount) => amount.min(balance.positive()),
        };
        wanted.min(available.positive())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rule: Decay, balance: i64, available: i64) -> u64 {
        let signed = |minor| SignedAmount::new(minor).expect("in range");
        rule.taken_from(signed(balance), signed(available)).get()
    }

    #[test]
    fn what_is_taken_is_rounded_down_and_never_held_points() {
        let percent = |hundredths| Decay::BasisPoints(hundredths);
        assert_eq!(taken(percent(1000), 99, 99), 9, "10 % of 99 is 9.9");
        assert_eq!(taken(percent(1000), 9, 9), 0);
        assert_eq!(taken(percent(1), 9999, 9999), 0);
        assert_eq!(taken(percent(10_000), 99, 99), 99);
        assert_eq!(taken(percent(1000), 100, 4), 4, "the rest is held");
        assert_eq!(taken(percent(1000), 100, -20), 0);
        assert_eq!(taken(percent(1000), -100, -100), 0);
        assert_eq!(taken(percent(10_000), (1 << 53) - 1, (1 << 53) - 1), (1 << 53) - 1);
        let fixed = Decay::Fixed(Amount::new(30).expect("in range"));
        assert_eq!((taken(fixed, 100, 100), taken(fixed, 20, 20), taken(fixed, 100, 5), taken(fixed, -5, -5)), (30, 20, 5, 0));
    }
}

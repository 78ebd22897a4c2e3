//! Amounts of money or points: integers in the currency's minor unit.
//!
//! Not here: currencies and how an amount is shown ([`crate::currency`]).

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::fmt;

/// An amount in minor units, `0 ..= 2^53 - 1` (the integers that every JSON reader keeps exact).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Amount(u64);

/// An integer outside `0 ..= 2^53 - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not an amount: amounts are integers from 0 to {max}", max = Amount::MAX.get())]
pub struct AmountOutOfRange(pub u64);

impl Amount {
    /// No money at all.
    pub const ZERO: Self = Self(0);
    /// 2^53 − 1.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// Checks the bound.
    ///
    /// # Errors
    /// Above [`Amount::MAX`].
    pub const fn new(minor: u64) -> Result<Self, AmountOutOfRange> {
        if minor > Self::MAX.0 {
            return Err(AmountOutOfRange(minor));
        }
        Ok(Self(minor))
    }

    /// The number of minor units.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sum, or [`Amount::MAX`] where it would pass it. No overflow: twice the maximum fits `u64`.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        let sum = self.0 + other.0;
        if sum > Self::MAX.0 { Self::MAX } else { Self(sum) }
    }

    /// The difference, or zero where `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl TryFrom<u64> for Amount {
    type Error = AmountOutOfRange;
    fn try_from(minor: u64) -> Result<Self, AmountOutOfRange> {
        Self::new(minor)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A signed amount in minor units, `-(2^53 - 1) ..= 2^53 - 1`: a balance, or a change of one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SignedAmount(i64);

/// An integer outside `-(2^53 - 1) ..= 2^53 - 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is out of range: from -{max} to {max}", max = Amount::MAX.get())]
pub struct SignedOutOfRange(pub i64);

impl SignedAmount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    const MOST: i64 = (1 << 53) - 1;

    /// Checks the bound.
    ///
    /// # Errors
    /// Further from zero than [`Amount::MAX`].
    pub const fn new(minor: i64) -> Result<Self, SignedOutOfRange> {
        if minor > Self::MOST || minor < -Self::MOST { Err(SignedOutOfRange(minor)) } else { Ok(Self(minor)) }
    }

    /// The number of minor units.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum; no overflow: twice the bound fits `i64`.
    ///
    /// # Errors
    /// The sum is out of range.
    pub const fn plus(self, other: Self) -> Result<Self, SignedOutOfRange> {
        Self::new(self.0 + other.0)
    }

    /// The difference.
    ///
    /// # Errors
    /// The difference is out of range.
    pub const fn minus(self, other: Self) -> Result<Self, SignedOutOfRange> {
        Self::new(self.0 - other.0)
    }

    /// The same without a sign; zero where it is negative.
    #[must_use]
    pub fn positive(self) -> Amount {
        Amount(u64::try_from(self.0).unwrap_or(0))
    }

    /// The opposite.
    #[must_use]
    pub const fn negated(self) -> Self {
        Self(-self.0)
    }
}

impl From<Amount> for SignedAmount {
    fn from(amount: Amount) -> Self {
        Self(i64::try_from(amount.0).expect("an amount is below 2^53"))
    }
}

impl<'de> Deserialize<'de> for SignedAmount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(i64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl fmt::Display for SignedAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SignedAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold() {
        assert_eq!(Amount::new(1 << 53), Err(AmountOutOfRange(1 << 53)));
        assert_eq!(Amount::new((1 << 53) - 1), Ok(Amount::MAX));
        assert_eq!(Amount::MAX.saturating_add(Amount::MAX), Amount::MAX);
        assert_eq!(Amount::ZERO.saturating_sub(Amount::MAX), Amount::ZERO);
        let most = SignedAmount::from(Amount::MAX);
        assert_eq!(most.plus(SignedAmount(1)), Err(SignedOutOfRange(1 << 53)));
        assert_eq!(most.negated().minus(SignedAmount(1)), Err(SignedOutOfRange(-(1 << 53))));
        assert_eq!((most.positive(), most.negated().positive()), (Amount::MAX, Amount::ZERO));
    }
}

//! How far above the price a challenger must go: a table of steps that grow with the price.

use crate::money::Amount;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use std::sync::Arc;

/// From this price on, this step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Increment {
    /// The lowest price the row is for.
    pub from: Amount,
    /// The step; above zero.
    pub step: Amount,
}

/// A table of increments: not empty, the first row from 0, ascending, every step above zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Increments(Arc<[Increment]>);

/// What is wrong with a table; rows count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IncrementError {
    /// No row at all.
    #[error("needs at least one row")]
    Empty,
    /// Prices below the first row would have no step.
    #[error("the first row must be from 0")]
    FirstNotZero,
    /// Rows out of order.
    #[error("row {0}: `from` must be above that of the row before")]
    NotAscending(usize),
    /// A challenger would not have to go higher.
    #[error("row {0}: `step` must be above 0")]
    ZeroStep(usize),
    /// More rows than anyone needs.
    #[error("at most {} rows", Increments::MOST)]
    TooMany,
}

impl Increments {
    /// Rows in a table, at most.
    pub const MOST: usize = 100;

    /// Checks a table.
    ///
    /// # Errors
    /// The first row that is wrong.
    pub fn new(rows: impl Into<Arc<[Increment]>>) -> Result<Self, IncrementError> {
        let rows = rows.into();
        let first = rows.first().ok_or(IncrementError::Empty)?;
        if rows.len() > Self::MOST {
            return Err(IncrementError::TooMany);
        }
        if first.from != Amount::ZERO {
            return Err(IncrementError::FirstNotZero);
        }
        if let Some(at) = rows.windows(2).position(|pair| pair[1].from <= pair[0].from) {
            return Err(IncrementError::NotAscending(at + 2));
        }
        if let Some(at) = rows.iter().position(|row| row.step == Amount::ZERO) {
            return Err(IncrementError::ZeroStep(at + 1));
        }
        Ok(Self(rows))
    }

    /// The step at a price: that of the last row whose `from` is not above it.
    #[must_use]
    pub fn step(&self, price: Amount) -> Amount {
        let after = self.0.partition_point(|row| row.from <= price);
        self.0[after.saturating_sub(1)].step
    }

    /// The price one step up. At the top of all amounts it stays there.
    #[must_use]
    pub fn above(&self, price: Amount) -> Amount {
        price.saturating_add(self.step(price))
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &[Increment] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Increments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Vec::<Increment>::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u64, u64)]) -> Result<Increments, IncrementError> {
        let amount = |n| Amount::new(n).expect("small");
        Increments::new(rows.iter().map(|&(from, step)| Increment { from: amount(from), step: amount(step) }).collect::<Vec<_>>())
    }

    #[test]
    fn a_step_holds_from_its_row_on() {
        let table = table(&[(0, 5), (100, 10), (1000, 50)]).expect("a good table");
        for (price, step) in [(0, 5), (99, 5), (100, 10), (999, 10), (1000, 50), (1_000_000, 50)] {
            assert_eq!(table.step(Amount::new(price).expect("small")).get(), step, "at {price}");
        }
        assert_eq!(table.above(Amount::MAX), Amount::MAX);
    }

    #[test]
    fn bad_tables_are_named() {
        assert_eq!(table(&[]), Err(IncrementError::Empty));
        assert_eq!(table(&[(1, 5)]), Err(IncrementError::FirstNotZero));
        assert_eq!(table(&[(0, 5), (10, 1), (10, 2)]), Err(IncrementError::NotAscending(3)));
        assert_eq!(table(&[(0, 5), (10, 0)]), Err(IncrementError::ZeroStep(2)));
    }
}

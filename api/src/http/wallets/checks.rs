//! What the wallets, as they are, say to the rows of an import.
//!
//! Deductions come before grants: what a table grants does not pay for what it deducts. Rows of one wallet and currency count
//! together, in their order.

use super::table::{Row, RowError};
use gavel_domain::{
    ids::BidderId,
    money::{Amount, SignedAmount},
    wallet::view::WalletView,
};
use std::{collections::HashMap, sync::Arc};

/// One purse on its way through the rows.
struct Purse {
    available: SignedAmount,
    balance: SignedAmount,
}

/// The rows that can't be applied as things are, in their order.
pub(super) fn check<'a>(
    rows: &'a [Row],
    views: &HashMap<BidderId, Arc<WalletView>>,
    cap_of: impl Fn(&str) -> Option<Amount>,
) -> Vec<RowError> {
    let mut purses: HashMap<(&'a BidderId, &'a str), Purse> = HashMap::new();
    let mut errors = Vec::new();
    let (deductions, grants): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.amount < SignedAmount::ZERO);
    for row in deductions.into_iter().chain(grants) {
        let purse = purses.entry((&row.bidder, row.currency.as_ref())).or_insert_with(|| Purse::of(views.get(&row.bidder), &row.currency));
        if let Err(detail) = purse.take(row.amount, &row.currency, &cap_of) {
            errors.push(RowError { line: row.line, detail });
        }
    }
    errors.sort_unstable();
    errors
}

impl Purse {
    fn of(view: Option<&Arc<WalletView>>, currency: &str) -> Self {
        let known = view.and_then(|view| view.items.iter().find(|item| item.currency.as_ref() == currency));
        known.map_or(Self { available: SignedAmount::ZERO, balance: SignedAmount::ZERO }, |item| Self {
            available: item.available,
            balance: item.balance,
        })
    }

    fn take(&mut self, amount: SignedAmount, currency: &str, cap_of: impl Fn(&str) -> Option<Amount>) -> Result<(), String> {
        if amount < SignedAmount::ZERO {
            let needed = amount.negated();
            if self.available < needed {
                return Err(format!("not enough in the wallet: {} {currency} available, {needed} needed", self.available));
            }
            // What is available is within the balance, which is in range.
            self.available = self.available.plus(amount).unwrap_or_default();
            self.balance = self.balance.plus(amount).unwrap_or_default();
            return Ok(());
        }
        let balance = self.balance.plus(amount).map_err(|_| "the balance would pass 2^53 - 1".to_owned())?;
        match cap_of(currency) {
            Some(cap) if balance > cap.into() => Err(format!("the balance would be {balance}, beyond the cap of {cap} {currency}")),
            _ => {
                self.balance = balance;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gavel_domain::{
        ids::Position,
        wallet::{permit::Terms, view::PurseView},
    };

    fn bidder(name: &str) -> BidderId {
        BidderId::try_from(name).unwrap()
    }

    fn signed(minor: i64) -> SignedAmount {
        SignedAmount::new(minor).unwrap()
    }

    /// Alice has 100 DKP of which 40 are held.
    fn errors(rows: &[(&str, i64)], cap: Option<u64>) -> Vec<(u32, String)> {
        let (balance, held) = (signed(100), Amount::new(40).unwrap());
        let purse = PurseView {
            currency: "DKP".into(),
            balance,
            held,
            available: signed(60),
            holds: Vec::new(),
            pledges: Vec::new(),
            terms: Terms::default(),
            spent: Amount::ZERO,
        };
        let view = WalletView { bidder: bidder("alice"), position: Position::default(), items: vec![purse] };
        let row = |(line, (name, amount)): (u32, &(&str, i64))| Row {
            line,
            bidder: bidder(name),
            currency: "DKP".into(),
            amount: signed(*amount),
            reason: "x".into(),
        };
        let rows: Vec<Row> = (2..).zip(rows).map(row).collect();
        let views = HashMap::from([(bidder("alice"), Arc::new(view))]);
        check(&rows, &views, |_| cap.map(|cap| Amount::new(cap).unwrap())).into_iter().map(|error| (error.line, error.detail)).collect()
    }

    #[test]
    fn rows_of_a_wallet_count_together_and_deductions_first() {
        assert_eq!(errors(&[("alice", -60)], None), []);
        assert_eq!(errors(&[("alice", -30), ("alice", -30)], None), []);
        assert_eq!(
            errors(&[("alice", 500), ("alice", -30), ("alice", -31), ("alice", -30)], None),
            [(4, "not enough in the wallet: 30 DKP available, 31 needed".to_owned())]
        );
        assert_eq!(errors(&[("bob", -1)], None).len(), 1);
        assert_eq!(errors(&[("bob", (1 << 53) - 1), ("bob", 1)], None), [(3, "the balance would pass 2^53 - 1".to_owned())]);
    }

    #[test]
    fn a_cap_bounds_balances_after_deductions() {
        assert_eq!(errors(&[("alice", 20), ("alice", -20), ("bob", 100)], Some(100)), []);
        let beyond = "the balance would be 101, beyond the cap of 100 DKP".to_owned();
        assert_eq!(errors(&[("alice", 1), ("bob", 60), ("bob", 41), ("bob", 40)], Some(100)), [(2, beyond.clone()), (4, beyond)]);
    }
}

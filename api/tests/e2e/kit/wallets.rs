//! Wallets from outside: what an administrator does to them, what is in them, and what must add up.

use super::{Answer, PATIENCE, Rest, Server, lot_with, until_within, uuid};
use gavel_domain::ids::{BidderId, shard_of, shard_of_wallet};
use serde_json::{Value, json};
use std::time::Duration;

/// What a hold that nobody needs may take to end: a wallet asks about one that it finds unchanged five seconds later, and
/// a bid is given up after two.
pub(crate) const COMES_TO_REST: Duration = Duration::from_secs(20).saturating_add(PATIENCE);

/// One currency of a wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Purse {
    pub(crate) balance: i64,
    pub(crate) held: i64,
    /// What each lot holds.
    pub(crate) holds: Vec<(String, i64)>,
}

impl Purse {
    /// The points among a wallet's items; holds the sums to each other.
    #[track_caller]
    pub(crate) fn of(items: &Value) -> Self {
        let item = items.as_array().unwrap().iter().find(|item| item["currency"] == "DKP").unwrap_or_else(|| panic!("no DKP: {items}"));
        let number = |name: &str| item[name].as_i64().unwrap_or_else(|| panic!("{name} of {item}"));
        let hold = |hold: &Value| (hold["lot"].as_str().unwrap().to_owned(), hold["amount"].as_i64().unwrap());
        let holds: Vec<_> = item["holds"].as_array().unwrap().iter().map(hold).collect();
        let purse = Self { balance: number("balance"), held: number("held"), holds };
        assert_eq!(number("available"), purse.balance - purse.held, "{item}");
        assert_eq!(purse.held, purse.holds.iter().map(|(_, amount)| amount).sum::<i64>(), "{item}");
        purse
    }

    /// Balance and what is held.
    pub(crate) const fn sums(&self) -> (i64, i64) {
        (self.balance, self.held)
    }

    /// What a lot holds.
    pub(crate) fn held_for(&self, lot: &str) -> i64 {
        self.holds.iter().filter(|(of, _)| of == lot).map(|(_, amount)| amount).sum()
    }
}

impl Rest {
    /// A bidder's points.
    #[track_caller]
    pub(crate) fn purse(&self, bidder: &str) -> Purse {
        purse_of(bidder, &self.get(&format!("/v1/wallets/{bidder}")))
    }

    /// All of a bidder's ledger, held to itself: each line's balance is the sum up to it.
    #[track_caller]
    pub(crate) fn ledger(&self, bidder: &str) -> Vec<Value> {
        let lines = self.all(&format!("/v1/wallets/{bidder}/ledger"), 500);
        let mut sum = 0;
        for line in &lines {
            sum += line["amount"].as_i64().unwrap();
            assert_eq!(line["balance"], sum, "{bidder}: {line}");
        }
        lines
    }

    /// Changes a bidder's points, under a new key.
    #[track_caller]
    pub(crate) fn adjust(&self, bidder: &str, body: &Value) -> Answer {
        self.adjust_as(&uuid(), bidder, body)
    }

    /// The same under a key of one's own.
    #[track_caller]
    pub(crate) fn adjust_as(&self, key: &str, bidder: &str, body: &Value) -> Answer {
        self.post_with(&format!("/v1/wallets/{bidder}/adjustments"), &[("idempotency-key", key)], body)
    }

    /// Gives a bidder points.
    #[track_caller]
    pub(crate) fn grant(&self, bidder: &str, amount: i64) -> Value {
        self.adjust(bidder, &json!({"currency": "DKP", "amount": amount, "reason": "raid"})).expect(201)
    }

    /// Waits until balance and holds are these, and stay explained.
    #[track_caller]
    pub(crate) fn comes_to(&self, bidder: &str, balance: i64, held: i64) {
        let mut last = None;
        let what = format!("{bidder} to have {balance} and {held} of it held");
        until_within(COMES_TO_REST, &what, || {
            let purse = purse_of(bidder, &self.unless_unavailable(&format!("/v1/wallets/{bidder}"))?);
            let there = purse.sums() == (balance, held);
            if last.as_ref() != Some(&purse) {
                println!("{bidder}: {purse:?}");
                last = Some(purse);
            }
            there.then_some(())
        });
    }

    /// Waits until the winner has paid for a lot; the lot.
    #[track_caller]
    pub(crate) fn settled(&self, lot: &str) -> Value {
        until_within(COMES_TO_REST, "the lot to be settled", || {
            Some(self.unless_unavailable(&format!("/v1/lots/{lot}"))?.expect(200)).filter(|lot| lot["settled"] == true)
        })
    }

    /// None while the shard is being recovered.
    #[track_caller]
    fn unless_unavailable(&self, path: &str) -> Option<Answer> {
        Some(self.get(path)).filter(|answer| answer.status != 503)
    }
}

#[track_caller]
fn purse_of(bidder: &str, answer: &Answer) -> Purse {
    let wallet = answer.expect(200);
    assert_eq!(wallet["bidder"], bidder, "{wallet}");
    Purse::of(&wallet["items"])
}

impl Server {
    /// REST calls as the administrator `root`.
    pub(crate) fn admin(&self) -> Rest {
        self.rest("root", "admin")
    }

    /// A new lot whose bids wallets back; its id.
    #[track_caller]
    pub(crate) fn backed(&self, fields: Value) -> String {
        self.house().create(&backed_with(fields))["id"].as_str().unwrap().to_owned()
    }

    /// A new lot of these that lives on a shard (of [`SHARDS`]).
    #[track_caller]
    pub(crate) fn backed_on(&self, shard: u16, fields: &Value) -> String {
        let new = || Some(self.backed(fields.clone())).filter(|lot| shard_of(lot.parse().unwrap(), SHARDS).0 == shard);
        std::iter::repeat_with(new).flatten().next().unwrap()
    }
}

/// [`lot_with`], of a lot whose bids wallets back.
pub(crate) fn backed_with(fields: Value) -> Value {
    let mut lot = lot_with(fields);
    lot["funding"] = json!("wallet");
    lot
}

/// So many that wallets live on two of them, 0 and 33.
pub(crate) const SHARDS: u16 = 64;

/// Names of bidders whose wallets live on a shard (of [`SHARDS`]).
pub(crate) fn bidders_on(shard: u16) -> impl Iterator<Item = String> {
    let on = move |name: &String| shard_of_wallet(&BidderId::try_from(name.as_str()).unwrap(), SHARDS).0 == shard;
    (0..).map(|n| format!("bidder-{n}")).filter(on)
}

/// What the ledger says was captured: by lot, what was paid.
pub(crate) fn captures(ledger: &[Value]) -> impl Iterator<Item = (&str, i64)> {
    let of_sales = ledger.iter().filter(|line| line["kind"] == "capture");
    of_sales.map(|line| (line["lot"].as_str().unwrap(), -line["amount"].as_i64().unwrap()))
}

//! A lot of the stub: the English rules without times, its history, and the flaws of single bids.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use super::Flaw;

/// A lot.
pub(super) struct Lot {
    pub(super) id: Uuid,
    pub(super) seq: u64,
    pub(super) closed: bool,
    pub(super) watchers: Vec<UnboundedSender<Arc<str>>>,
    pub(super) bids: Vec<Past>,
    proxy: bool,
    start: u64,
    /// Bids are covered by wallets.
    wallet: bool,
    price: Option<u64>,
    leader: Option<(String, u64)>,
    /// How many bids were pushed.
    pushed: usize,
    /// Bids told to be `unavailable`.
    unknown: Vec<Uuid>,
    silent: bool,
}

/// An accepted bid.
pub(super) struct Past {
    seq: u64,
    bidder: String,
    bid_id: Uuid,
    amount: u64,
    price: u64,
    leading: bool,
    leader: String,
}

/// What becomes of a bid.
pub(super) enum Answer {
    Receipt { seq: u64, price: u64, leading: bool },
    Refused { code: &'static str, temporary: bool, minimum: Option<u64> },
    Silence,
    Hangup,
}

impl Lot {
    pub(super) fn new(proxy: bool, start: u64, wallet: bool) -> Self {
        Self {
            id: Uuid::new_v4(),
            seq: 1,
            closed: false,
            watchers: vec![],
            bids: vec![],
            proxy,
            start,
            wallet,
            price: None,
            leader: None,
            pushed: 0,
            unknown: vec![],
            silent: false,
        }
    }

    /// What it holds of a bidder.
    pub(super) fn held(&self, bidder: &str) -> u64 {
        let leads = self.leader.as_ref().filter(|(leader, _)| leader == bidder && self.wallet && !self.closed);
        leads.map_or(0, |(_, max)| *max)
    }

    pub(super) fn json(&self) -> Value {
        let leader = self.leader.as_ref().map(|(leader, _)| leader);
        let outcome = match (self.closed, leader) {
            (false, _) => Value::Null,
            (true, None) => json!({"unsold": {"reason": "no_bids"}}),
            (true, Some(leader)) => json!({"sold": {"winner": leader, "price": self.price}}),
        };
        json!({
            "id": self.id, "currency": {"code": "DKP", "scale": 0}, "price": self.price, "leader": leader, "bid_count": self.bids.len(),
            "position": {"epoch": 1, "seq": self.seq}, "outcome": outcome,
        })
    }

    /// A page of the accepted bids; the cursor is a number.
    pub(super) fn history(&self, query: &str, flaw: Flaw) -> Value {
        let field = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        let limit: usize = field("limit").unwrap().parse().unwrap();
        let from: usize = field("cursor").map_or(0, |cursor| cursor.parse().unwrap());
        let page = self.bids.iter().enumerate().skip(from).take(limit);
        let kept = page.filter(|(number, _)| flaw != Flaw::Forget(*number as u64 + 1));
        let items: Vec<_> = kept
            .map(|(_, bid)| {
                json!({
                    "seq": bid.seq, "at": "2026-11-22T01:02:03.456Z", "bidder": bid.bidder, "amount": bid.amount,
                    "price": bid.price, "leader": bid.leader, "bid_id": bid.bid_id,
                })
            })
            .collect();
        let next = (from + limit < self.bids.len()).then(|| (from + limit).to_string());
        json!({"items": items, "next": next})
    }

    /// Judges a bid.
    pub(super) fn bid(&mut self, bidder: &str, bid_id: Uuid, amount: u64, retry: bool, flaw: Flaw) -> Answer {
        if retry && self.unknown.contains(&bid_id) {
            let bid = self.bids.iter().find(|bid| bid.bid_id == bid_id).unwrap();
            return Answer::Receipt { seq: bid.seq, price: bid.price, leading: bid.leading };
        }
        let number = self.bids.len() as u64 + 1;
        if flaw == Flaw::Silence(number) && !self.silent {
            self.silent = true;
            return Answer::Silence;
        }
        if flaw == Flaw::Hangup(number) {
            return Answer::Hangup;
        }
        let minimum = self.price.map_or(self.start, |price| price + 1);
        if flaw == Flaw::RefuseWrongly(number) {
            return Answer::Refused { code: "bid_too_low", temporary: false, minimum: Some(amount) };
        }
        if let Flaw::RefuseAs(at, code) = flaw
            && at == number
            && !self.silent
        {
            self.silent = true;
            return Answer::Refused { code, temporary: false, minimum: Some(amount + 1) };
        }
        let (mut price, leading) = match self.judge(bidder, amount, minimum) {
            Ok(judged) => judged,
            Err(code) => return Answer::Refused { code, temporary: false, minimum: Some(minimum) },
        };
        self.price = Some(price);
        if leading {
            self.leader = Some((bidder.to_owned(), amount));
        }
        self.seq += match flaw {
            Flaw::SkipSeq(at) if at == number => 2,
            Flaw::RepeatSeq(at) if at == number => 0,
            _ => 1,
        };
        price += u64::from(flaw == Flaw::Misprice(number));
        let leader = self.leader.as_ref().map(|(leader, _)| leader.clone()).unwrap();
        let past = |seq| Past { seq, bidder: bidder.to_owned(), bid_id, amount: amount.min(price), price, leading, leader };
        self.bids.push(past(self.seq));
        if flaw == Flaw::Miscount(number) {
            self.bids.push(Past { leader: String::new(), bidder: String::new(), ..*self.bids.last().unwrap() });
        }
        if flaw == Flaw::Unavailable(number) {
            self.unknown.push(bid_id);
            return Answer::Refused { code: "unavailable", temporary: true, minimum: None };
        }
        Answer::Receipt { seq: self.seq, price, leading }
    }

    /// The price and whether the bidder leads.
    fn judge(&self, bidder: &str, amount: u64, minimum: u64) -> Result<(u64, bool), &'static str> {
        if let (Some((leader, max)), Some(price)) = (&self.leader, self.price) {
            if leader == bidder {
                return match (self.proxy, amount > *max) {
                    (false, _) => Err("already_leading"),
                    (_, false) => Err("max_not_raised"),
                    _ => Ok((price, true)),
                };
            }
            if amount >= minimum && amount <= *max {
                return Ok((*max.min(&(amount + 1)), false));
            }
        }
        if amount < minimum { Err("bid_too_low") } else { Ok((amount, true)) }
    }

    /// Tells the watchers what was not told.
    pub(super) fn push(&mut self, flaw: Flaw) {
        let (from, id) = (self.pushed, self.id);
        self.pushed = self.bids.len();
        if from == self.pushed || self.watchers.is_empty() {
            return;
        }
        let mut text = format!("{{\"push\":{{\"lot\":\"{id}\",\"events\":[");
        let mut comma = "";
        for (number, bid) in self.bids.iter().enumerate().skip(from) {
            let number = number as u64 + 1;
            if flaw == Flaw::DropDelivery(number) {
                continue;
            }
            let wrong = matches!(flaw, Flaw::ConflateWrongly(at, _) if at == number);
            if wrong || flaw == Flaw::Conflate(number) {
                let position = json!({"epoch": 1, "seq": bid.seq});
                let mut lot = json!({"price": bid.price, "leader": bid.leader, "bid_count": number});
                if let Flaw::ConflateWrongly(_, field) = flaw {
                    lot[field] = json!(lot[field].as_u64().unwrap() + 1);
                }
                let resync = json!({"push": {"lot": id, "resync": {"lot": lot, "position": position}}});
                write!(text, "]}}}}\n{resync}\n{{\"push\":{{\"lot\":\"{id}\",\"events\":[").unwrap();
                comma = "";
                continue;
            }
            let Past { seq, bidder, amount, leader, .. } = bid;
            let one = |wrong: Flaw| u64::from(flaw == wrong);
            let price = bid.price + one(Flaw::MispricePush(number));
            let amount = amount + one(Flaw::MisquotePush(number));
            let count = number + one(Flaw::MiscountPush(number));
            let bidder = if flaw == Flaw::MisnamePush(number) { "mallory" } else { bidder };
            let leader = if flaw == Flaw::MisleadPush(number) { "mallory" } else { leader };
            write!(
                text,
                "{comma}{{\"epoch\":1,\"seq\":{seq},\"at\":\"2026-11-22T01:02:03.456Z\",\"bid_placed\":{{\"bidder\":\"{bidder}\",\
                 \"amount\":{amount},\"price\":{price},\"leader\":\"{leader}\",\"bid_count\":{count},\"reserve_met\":null}}}}"
            )
            .unwrap();
            comma = ",";
        }
        text.push_str("]}}\n");
        let text: Arc<str> = text.into();
        self.watchers.retain(|watcher| watcher.send(text.clone()).is_ok());
    }
}

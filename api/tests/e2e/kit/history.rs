//! The auditor: what clients were told, compared with what the server shows afterwards.

use super::{Rest, event_name};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Receipts and events that clients hold.
#[derive(Default)]
pub(crate) struct History {
    /// By lot, bidder and bid_id: a receipt never changes.
    receipts: HashMap<(String, String, String), Value>,
    /// By lot and seq: what was pushed.
    events: HashMap<(String, u64), Value>,
}

impl History {
    /// A receipt that `bidder` was given. One given before must be the same.
    #[track_caller]
    pub(crate) fn receipt(&mut self, bidder: &str, receipt: &Value) {
        let text = |name: &str| receipt[name].as_str().unwrap_or_else(|| panic!("{name} of {receipt}")).to_owned();
        let key = (text("lot"), bidder.to_owned(), text("bid_id"));
        if let Some(known) = self.receipts.insert(key, receipt.clone()) {
            assert_eq!(known, *receipt, "another receipt for the same bid");
        }
    }

    /// An event that was pushed. One seen before, by anybody, must be the same.
    #[track_caller]
    pub(crate) fn event(&mut self, lot: &str, event: &Value) {
        let seq = event["seq"].as_u64().unwrap_or_else(|| panic!("no seq: {event}"));
        if let Some(known) = self.events.insert((lot.to_owned(), seq), event.clone()) {
            assert_eq!(known, *event, "two events with one seq");
        }
    }

    /// Takes over what another one holds.
    pub(crate) fn extend(&mut self, other: Self) {
        for ((_, bidder, _), receipt) in other.receipts {
            self.receipt(&bidder, &receipt);
        }
        for ((lot, _), event) in other.events {
            self.event(&lot, &event);
        }
    }

    pub(crate) fn receipts(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.receipts.iter().map(|((_, bidder, _), receipt)| (bidder.as_str(), receipt))
    }

    pub(crate) fn receipt_count(&self) -> usize {
        self.receipts.len()
    }

    pub(crate) fn event_count(&self) -> usize {
        self.events.len()
    }

    /// Holds the server to everything it told about these lots. `admin` sees every `bid_id`. Gives the accepted bids.
    #[track_caller]
    pub(crate) fn verify(&self, admin: &Rest, lots: &[String]) -> Accepted {
        let mut accepted = Accepted::default();
        let mut found = 0;
        for lot in lots {
            let events = contiguous(lot, &admin.all(&format!("/v1/lots/{lot}/events"), 500));
            let bids = admin.all(&format!("/v1/lots/{lot}/bids"), 500);
            check_bids(lot, &bids, &events);
            for bid in &bids {
                let key = (lot.clone(), bid["bidder"].as_str().unwrap().to_owned(), bid["bid_id"].as_str().unwrap().to_owned());
                if let Some(receipt) = self.receipts.get(&key) {
                    check_receipt(receipt, bid);
                    found += 1;
                }
                assert!(accepted.0.insert(key), "a bid_id is in the history twice: {bid}");
            }
            check_lot(&admin.lot(lot), &bids, &events);
            for ((_, seq), pushed) in self.events.iter().filter(|((of, _), _)| of == lot) {
                assert_eq!(events.get(seq), Some(pushed), "lot {lot}: an event that was pushed is not what the history has");
            }
        }
        let held = self.receipts.keys().filter(|(lot, ..)| lots.contains(lot)).count();
        let lost = || self.receipts.iter().filter(|(key, _)| !accepted.0.contains(*key)).collect::<Vec<_>>();
        assert_eq!(found, held, "receipts without a bid in the history: {:?}", lost());
        accepted
    }
}

/// Accepted bids: lot, bidder, bid_id.
#[derive(Default)]
pub(crate) struct Accepted(HashSet<(String, String, String)>);

impl Accepted {
    pub(crate) fn holds(&self, lot: &str, bidder: &str, bid_id: &str) -> bool {
        self.0.contains(&(lot.to_owned(), bidder.to_owned(), bid_id.to_owned()))
    }
}

fn contiguous(lot: &str, events: &[Value]) -> BTreeMap<u64, Value> {
    for (expected, event) in (1_u64..).zip(events) {
        assert_eq!(event["seq"], expected, "lot {lot}: the events' seq is not contiguous");
    }
    (1_u64..).zip(events.iter().cloned()).collect()
}

fn check_bids(lot: &str, bids: &[Value], events: &BTreeMap<u64, Value>) {
    let placed: Vec<_> = events.values().filter(|event| event_name(event) == "bid_placed").collect();
    assert_eq!(bids.len(), placed.len(), "lot {lot}: bids and bid_placed events");
    let mut price = 0;
    for (bid, event) in bids.iter().zip(placed) {
        let same = json!({
            "seq": event["seq"], "at": event["at"], "bidder": event["bid_placed"]["bidder"],
            "amount": event["bid_placed"]["amount"], "price": event["bid_placed"]["price"],
            "leader": event["bid_placed"]["leader"],
        });
        for (name, value) in same.as_object().unwrap() {
            assert_eq!(bid[name], *value, "lot {lot}: {name} of {bid} and {event}");
        }
        let next = bid["price"].as_u64().unwrap();
        assert!(next >= price, "lot {lot}: the price fell at {bid}");
        price = next;
    }
}

fn check_receipt(receipt: &Value, bid: &Value) {
    let amount = receipt["amount"].as_u64().unwrap().min(receipt["price"].as_u64().unwrap());
    let told = json!([receipt["seq"], receipt["price"], receipt["received_at"], amount]);
    let shown = json!([bid["seq"], bid["price"], bid["at"], bid["amount"]]);
    assert_eq!(told, shown, "receipt {receipt} and bid {bid}");
    let leads = bid["leader"] == bid["bidder"];
    assert_eq!(receipt["leading"], leads, "receipt {receipt} and bid {bid}");
}

/// The lot is what its events make it, and counts the bids of its history.
fn check_lot(lot: &Value, bids: &[Value], events: &BTreeMap<u64, Value>) {
    let Some((seq, last)) = events.last_key_value() else { return };
    // Events may have followed since they were read; then there is nothing to compare.
    if lot["position"]["seq"] != *seq {
        assert!(lot["position"]["seq"].as_u64() > Some(*seq), "the lot is behind its events: {lot}");
        return;
    }
    assert_eq!(lot["position"]["epoch"], last["epoch"], "{lot}");
    let bid = events.values().rev().find(|event| event_name(event) == "bid_placed").map(|event| &event["bid_placed"]);
    let null = Value::Null;
    for name in ["price", "leader"] {
        assert_eq!(lot[name], *bid.map_or(&null, |bid| &bid[name]), "{name} of {lot}");
    }
    assert_eq!(lot["bid_count"], bid.map_or(0, |bid| bid["bid_count"].as_u64().unwrap()), "{lot}");
    assert_eq!(lot["bid_count"], bids.len(), "{lot}");
}

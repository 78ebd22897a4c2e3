//! What a server says: receipts, refusals, answers and pushes, read from text frames of one message or several.
//! The common ones are scanned in a single pass in whatever order their fields come; everything else, and
//! anything the scan gives up on, goes through a full JSON parser with the same result.

use std::borrow::Cow;

use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use super::scan::Scan;

/// An accepted bid, as its bidder is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    pub(crate) bid_id: Uuid,
    pub(crate) lot: Uuid,
    pub(crate) seq: u64,
    pub(crate) amount: u64,
    pub(crate) max: u64,
    pub(crate) price: u64,
    pub(crate) leading: bool,
}

/// An `error` answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal<'a> {
    pub(crate) code: Cow<'a, str>,
    /// The message for people, escapes left as they were sent.
    pub(crate) message: Cow<'a, str>,
    pub(crate) temporary: bool,
    pub(crate) minimum: Option<u64>,
    pub(crate) retry_after_ms: Option<u64>,
}

/// In the place of a bidder's number: a name which none of this run's bidders has.
pub(crate) const STRANGER: u32 = u32::MAX;

/// One public event of a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) seq: u64,
    /// What it says, if it is a `bid_placed`.
    pub(crate) placed: Option<Placed>,
}

/// An accepted bid, as everybody is told. Bidders are numbers, or [`STRANGER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) bidder: u32,
    /// The public amount: no more than the price.
    pub(crate) amount: u64,
    pub(crate) price: u64,
    pub(crate) leader: u32,
    pub(crate) bid_count: u64,
}

/// A lot as a join or a resync shows it, as far as this client compares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) price: Option<u64>,
    pub(crate) leader: Option<u32>,
    pub(crate) bid_count: u64,
}

/// One message from the server.
#[derive(Debug, PartialEq)]
pub(crate) enum Message<'a> {
    Receipt {
        request: u64,
        receipt: Receipt,
    },
    Refusal {
        request: u64,
        refusal: Refusal<'a>,
    },
    /// The answer to a join: the lot as it was at `seq`.
    Joined {
        request: u64,
        seq: u64,
        shown: Shown,
    },
    /// Any other `ok`: its body.
    Answer {
        request: u64,
        body: Value,
    },
    Events {
        lot: Uuid,
        events: &'a [Event],
    },
    /// The lot's events up to this `seq` were left out; as it was there.
    Resync {
        lot: Uuid,
        seq: u64,
        shown: Shown,
    },
    /// A push to one bidder, or one this client does not know.
    Other,
}

/// A text frame that is not the protocol.
#[derive(Debug, Error)]
#[error("not a message of the protocol ({why}): {excerpt}")]
pub(crate) struct Malformed {
    why: String,
    excerpt: String,
}

/// Reads frames; holds the room for a push's events.
#[derive(Default)]
pub(crate) struct Reader {
    /// What comes before the number in the name of each of this run's bidders.
    name: String,
    events: Vec<Event>,
    slow: u64,
}

/// What a scan of one message found.
enum Found<'a> {
    Receipt(Receipt),
    Refusal(Refusal<'a>),
    Events(Uuid),
    Other,
}

impl Reader {
    /// Knows bidders by `name` followed by their number.
    pub(crate) fn new(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// Calls `each` with every message of a text frame.
    pub(crate) fn read<E: From<Malformed>>(&mut self, text: &[u8], mut each: impl FnMut(Message<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut at = 0;
        while Scan::new(text, at).more() {
            if let Some((request, found, end)) = self.scan(text, at) {
                at = end;
                each(match (request, found) {
                    (Some(request), Found::Receipt(receipt)) => Message::Receipt { request, receipt },
                    (Some(request), Found::Refusal(refusal)) => Message::Refusal { request, refusal },
                    (_, Found::Events(lot)) => Message::Events { lot, events: &self.events },
                    _ => Message::Other,
                })?;
                continue;
            }
            self.slow += 1;
            let mut whole = serde_json::Deserializer::from_slice(&text[at..]).into_iter::<Value>();
            let malformed = |why: String| Malformed { why, excerpt: excerpt(&text[at..]) };
            let value = whole.next().ok_or_else(|| malformed("nothing".into()))?;
            let value = value.map_err(|error| malformed(error.to_string()))?;
            let end = at + whole.byte_offset();
            each(self.parse(&value).ok_or_else(|| malformed("unexpected shape".into()))?)?;
            at = end;
        }
        Ok(())
    }

    /// How many messages needed the full parser.
    pub(crate) fn slow(&self) -> u64 {
        self.slow
    }

    /// The message at `at` and where it ends, if it is one of the common ones.
    fn scan<'a>(&mut self, text: &'a [u8], at: usize) -> Option<(Option<u64>, Found<'a>, usize)> {
        let (mut request, mut found) = (None, None);
        let mut scan = Scan::new(text, at);
        scan.object(|scan, key| {
            match key {
                b"id" => request = Some(scan.integer()?),
                b"ok" => scan.object(|scan, key| {
                    found = Some(Found::Receipt((key == b"receipt").then(|| receipt(scan))??));
                    Some(())
                })?,
                b"error" => found = Some(Found::Refusal(refusal(scan)?)),
                b"push" => found = Some(self.push(text, scan)?),
                _ => drop(scan.skip()?),
            }
            Some(())
        })?;
        let found = found?;
        (request.is_some() || matches!(found, Found::Events(_) | Found::Other)).then_some((request, found, scan.at()))
    }

    fn push<'a>(&mut self, text: &'a [u8], scan: &mut Scan<'a>) -> Option<Found<'a>> {
        let (mut lot, mut some) = (None, false);
        self.events.clear();
        scan.object(|scan, key| {
            match key {
                b"lot" => lot = Some(Uuid::try_parse_ascii(scan.string()?).ok()?),
                b"events" => {
                    some = true;
                    scan.array(|scan| {
                        let event = event(scan, self.name.as_bytes())?;
                        self.events.push(event);
                        Some(())
                    })?;
                }
                // Rare and large: the full parser's.
                b"resync" => return None,
                _ => drop(scan.skip()?),
            }
            Some(())
        })?;
        debug_assert!(scan.at() <= text.len());
        Some(if some { Found::Events(lot?) } else { Found::Other })
    }

    /// The same from a parsed value.
    fn parse(&mut self, value: &Value) -> Option<Message<'_>> {
        if let Some(push) = value.get("push") {
            let lot = uuid(push, "lot");
            if let Some(resync) = push.get("resync") {
                let (seq, shown) = self.shown(resync)?;
                return Some(Message::Resync { lot: lot?, seq, shown });
            }
            let Some(events) = push.get("events") else { return Some(Message::Other) };
            self.events.clear();
            for event in events.as_array()? {
                let placed = match event.get("bid_placed") {
                    Some(placed) => Some(self.placed(placed)?),
                    None => None,
                };
                self.events.push(Event { seq: event.get("seq")?.as_u64()?, placed });
            }
            return Some(Message::Events { lot: lot?, events: &self.events });
        }
        let request = value.get("id")?.as_u64()?;
        if let Some(error) = value.get("error") {
            let text = |key: &str| Some(Cow::Owned(error.get(key)?.as_str()?.to_owned()));
            let number = |key: &str| error.get(key).and_then(Value::as_u64);
            let refusal = Refusal {
                code: text("code")?,
                message: text("message").unwrap_or_default(),
                temporary: error.get("temporary").and_then(Value::as_bool).unwrap_or_default(),
                minimum: number("minimum"),
                retry_after_ms: number("retry_after_ms"),
            };
            return Some(Message::Refusal { request, refusal });
        }
        let body = value.get("ok")?;
        if let Some(joined) = body.get("joined") {
            let (seq, shown) = self.shown(joined)?;
            return Some(Message::Joined { request, seq, shown });
        }
        let Some(receipt) = body.get("receipt") else {
            return Some(Message::Answer { request, body: body.clone() });
        };
        let number = |key: &str| receipt.get(key)?.as_u64();
        let receipt = Receipt {
            bid_id: uuid(receipt, "bid_id")?,
            lot: uuid(receipt, "lot")?,
            seq: number("seq")?,
            amount: number("amount")?,
            max: number("max")?,
            price: number("price")?,
            leading: receipt.get("leading")?.as_bool()?,
        };
        Some(Message::Receipt { request, receipt })
    }

    fn placed(&self, placed: &Value) -> Option<Placed> {
        let number = |key: &str| placed.get(key)?.as_u64();
        let bidder = |key: &str| Some(bidder(placed.get(key)?.as_str()?.as_bytes(), self.name.as_bytes()));
        Some(Placed {
            bidder: bidder("bidder")?,
            amount: number("amount")?,
            price: number("price")?,
            leader: bidder("leader")?,
            bid_count: number("bid_count")?,
        })
    }

    /// What is shown of a lot and where: the body of `joined`, and of a resync.
    fn shown(&self, body: &Value) -> Option<(u64, Shown)> {
        let lot = body.get("lot")?;
        let leader = lot.get("leader")?.as_str().map(|name| bidder(name.as_bytes(), self.name.as_bytes()));
        let shown = Shown { price: lot.get("price")?.as_u64(), leader, bid_count: lot.get("bid_count")?.as_u64()? };
        Some((body.get("position")?.get("seq")?.as_u64()?, shown))
    }
}

/// The number of the bidder of this name.
fn bidder(name: &[u8], before: &[u8]) -> u32 {
    let number = name.strip_prefix(before).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    number.unwrap_or(STRANGER)
}

fn receipt(scan: &mut Scan<'_>) -> Option<Receipt> {
    let (mut bid_id, mut lot, mut leading) = (None, None, None);
    let [mut seq, mut amount, mut max, mut price] = [None; 4];
    scan.object(|scan, key| {
        match key {
            b"bid_id" => bid_id = Some(Uuid::try_parse_ascii(scan.string()?).ok()?),
            b"lot" => lot = Some(Uuid::try_parse_ascii(scan.string()?).ok()?),
            b"seq" => seq = Some(scan.integer()?),
            b"amount" => amount = Some(scan.integer()?),
            b"max" => max = Some(scan.integer()?),
            b"price" => price = Some(scan.integer()?),
            b"leading" => leading = Some(scan.boolean()?),
            _ => drop(scan.skip()?),
        }
        Some(())
    })?;
    let (bid_id, lot, leading) = (bid_id?, lot?, leading?);
    Some(Receipt { bid_id, lot, seq: seq?, amount: amount?, max: max?, price: price?, leading })
}

fn refusal<'a>(scan: &mut Scan<'a>) -> Option<Refusal<'a>> {
    let (mut code, mut message, mut temporary) = (None, Cow::default(), false);
    let [mut minimum, mut retry_after_ms] = [None; 2];
    let number = |scan: &mut Scan<'a>| scan.skip().map(|text| Scan::new(text, 0).integer());
    scan.object(|scan, key| {
        match key {
            b"code" => code = Some(String::from_utf8_lossy(scan.string()?)),
            b"message" => message = String::from_utf8_lossy(scan.skip()?.get(1..)?.strip_suffix(b"\"")?),
            b"temporary" => temporary = scan.boolean()?,
            b"minimum" => minimum = number(scan)?,
            b"retry_after_ms" => retry_after_ms = number(scan)?,
            _ => drop(scan.skip()?),
        }
        Some(())
    })?;
    Some(Refusal { code: code?, message, temporary, minimum, retry_after_ms })
}

fn event(scan: &mut Scan<'_>, name: &[u8]) -> Option<Event> {
    let (mut seq, mut all) = (None, None);
    scan.object(|scan, key| {
        match key {
            b"seq" => seq = Some(scan.integer()?),
            b"bid_placed" => all = Some(placed(scan, name)?),
            _ => drop(scan.skip()?),
        }
        Some(())
    })?;
    Some(Event { seq: seq?, placed: all })
}

fn placed(scan: &mut Scan<'_>, name: &[u8]) -> Option<Placed> {
    let [mut by, mut leader] = [None; 2];
    let [mut amount, mut price, mut bid_count] = [None; 3];
    scan.object(|scan, key| {
        match key {
            b"bidder" => by = Some(bidder(scan.string()?, name)),
            b"leader" => leader = Some(bidder(scan.string()?, name)),
            b"amount" => amount = Some(scan.integer()?),
            b"price" => price = Some(scan.integer()?),
            b"bid_count" => bid_count = Some(scan.integer()?),
            _ => drop(scan.skip()?),
        }
        Some(())
    })?;
    Some(Placed { bidder: by?, amount: amount?, price: price?, leader: leader?, bid_count: bid_count? })
}

fn uuid(of: &Value, key: &str) -> Option<Uuid> {
    of.get(key)?.as_str()?.parse().ok()
}

fn excerpt(text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..text.len().min(160)]).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    const LOT: &str = "018f3c5e-0000-7000-8000-00000000000a";
    const BID: &str = "018f3c5e-0000-4000-8000-00000000000b";

    fn reader() -> Reader {
        Reader::new("bidder-x-".into())
    }

    /// All messages of a frame, printed, and how many needed the full parser.
    fn read(text: &str) -> (Vec<String>, u64) {
        let (mut reader, mut all) = (reader(), vec![]);
        let each = |message: Message<'_>| {
            all.push(format!("{message:?}"));
            Ok::<(), Malformed>(())
        };
        reader.read(text.as_bytes(), each).unwrap();
        (all, reader.slow())
    }

    /// The scan must read `text`, and exactly as the full parser does.
    fn check(text: &str) -> String {
        let (fast, slow) = read(text);
        assert_eq!((fast.len(), slow), (1, 0), "{text}");
        let value = serde_json::from_str(text).unwrap();
        assert_eq!(fast[0], format!("{:?}", reader().parse(&value).unwrap()));
        fast[0].clone()
    }

    #[test]
    fn receipts_are_scanned_in_any_order_of_fields() {
        let fields = [
            format!(r#""bid_id":"{BID}""#),
            format!(r#""lot":"{LOT}""#),
            r#""epoch":3"#.into(),
            r#""seq":122"#.into(),
            r#""amount":150"#.into(),
            r#""max":400"#.into(),
            r#""price":151"#.into(),
            r#""leading":true"#.into(),
            r#""received_at":"2026-11-22T01:02:03.456Z""#.into(),
            r#""closes_at":null"#.into(),
            r#""new":{"a":[1,"}"]}"#.into(),
        ];
        for turn in 0..fields.len() {
            let mut fields = fields.clone();
            fields.rotate_left(turn);
            let body = format!(r#""ok":{{"receipt":{{{}}}}}"#, fields.join(","));
            let first = check(&format!(r#"{{"id":7,{body}}}"#));
            assert_eq!(first, check(&format!(r#" {{ {body} , "id" : 7 }} "#)));
            assert!(first.contains("request: 7") && first.contains("seq: 122") && first.contains("price: 151"));
        }
    }

    #[test]
    fn refusals_and_pushes_are_scanned() {
        let refusal = check(
            r#"{"error":{"message":"at least \"160\"","code":"bid_too_low","minimum":160,"temporary":false},"id":3}"#
                .replace("\\\"", "'")
                .as_str(),
        );
        assert!(refusal.contains("bid_too_low") && refusal.contains("Some(160)"));
        check(r#"{"id":3,"error":{"code":"rate_limited","message":"","temporary":true,"retry_after_ms":50,"minimum":null}}"#);
        let placed = r#"{"seq":5,"bid_placed":{"bidder":"bidder-x-3","amount":8,"price":9,"leader":"bob","bid_count":2},"epoch":1}"#;
        let events = format!(r#"[{placed},{{"epoch":1,"at":"x","seq":6,"paused":{{"reason":null}}}}]"#);
        let push = check(&format!(r#"{{"push":{{"lot":"{LOT}","events":{events}}}}}"#));
        assert_eq!(push, check(&format!(r#"{{"push":{{"events":{events},"lot":"{LOT}"}}}}"#)));
        assert!(
            push.contains("seq: 5, placed: Some(Placed { bidder: 3, amount: 8, price: 9, leader: 4294967295, bid_count: 2 })"),
            "{push}"
        );
        assert!(push.contains("seq: 6, placed: None"));
        check(&format!(r#"{{"push":{{"lot":"{LOT}","events":[]}}}}"#));
        check(&format!(r#"{{"push":{{"lot":"{LOT}","own":{{"leading":false,"max":400}}}}}}"#));
    }

    #[test]
    fn the_rare_ones_take_the_full_parser() {
        let body = r#"{"lot":{"price":7,"leader":"bidder-x-12","bid_count":4},"position":{"epoch":1,"seq":9}}"#;
        let told = "seq: 9, shown: Shown { price: Some(7), leader: Some(12), bid_count: 4 } }";
        let (all, slow) = read(&format!(r#"{{"push":{{"lot":"{LOT}","resync":{body}}}}}"#));
        assert!(all[0].starts_with("Resync") && all[0].ends_with(told), "{all:?}");
        assert_eq!(slow, 1);
        let (all, _) = read(&format!(r#"{{"id":4,"ok":{{"joined":{body}}}}}"#));
        assert!(all[0].starts_with("Joined { request: 4") && all[0].ends_with(told), "{all:?}");
        let (all, _) = read(r#"{"id":4,"ok":{"left":{"lot":"x"}}}"#);
        assert!(all[0].starts_with("Answer { request: 4"), "{all:?}");
        let escaped = r#"{"id":1,"error":{"code":"bid_too\u005flow","message":"","temporary":false,"minimum":4}}"#;
        let (all, slow) = read(escaped);
        assert!(all[0].contains("bid_too_low") && slow == 1, "{all:?}");
    }

    #[test]
    fn several_messages_share_a_frame() {
        let own = format!(r#"{{"push":{{"lot":"{LOT}","own":{{}}}}}}"#);
        let (all, slow) = read(&format!("{own}\n{{\"id\":4,\"ok\":{{\"time\":{{}}}}}}\r\n\n{own}\n"));
        assert_eq!((all.len(), slow), (3, 1));
        assert!(all[1].starts_with("Answer"));
    }

    #[test]
    fn what_is_no_message_is_told() {
        let short = format!(r#"{{"push":{{"lot":"{LOT}","events":[{{"seq":1,"bid_placed":{{"price":9}}}}]}}}}"#);
        for text in ["x", "{", r#"{"id":1}"#, r#"{"ok":{}}"#, r#"{"id":-1,"ok":{}}"#, "[]", r#"{"push":{"events":[]}}"#, &short] {
            let read = reader().read(text.as_bytes(), |_| Ok::<(), Malformed>(()));
            assert!(read.is_err_and(|error| error.to_string().contains(text)), "{text}");
        }
    }
}

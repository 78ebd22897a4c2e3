//! `gavel.bincode.v1` as a foreign client would write it, from `docs/bincode.md` alone: requests become bytes, and bytes
//! become the message that the JSON subprotocol would have sent.

use super::lots::{at, parse_ms};
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// A request, given as JSON, in bytes.
pub(crate) fn request(frame: &Value) -> Vec<u8> {
    let mut out = Writer::default();
    let fields = frame.as_object().unwrap();
    let (name, body) = fields.iter().find(|(name, _)| *name != "id").unwrap_or_else(|| panic!("no command: {frame}"));
    out.signed(frame["id"].as_i64().unwrap());
    match name.as_str() {
        "auth" => out.unsigned(0).text(&body["token"]),
        "join" if body["wallet"].is_string() => out.unsigned(5).text(&body["wallet"]),
        "leave" if body["wallet"].is_string() => out.unsigned(6).text(&body["wallet"]),
        "join" => {
            out.unsigned(1).uuid(&body["lot"]);
            let position = body.get("position").filter(|position| !position.is_null());
            out.option(position, |out, position| out.number(&position["epoch"]).number(&position["seq"]))
        }
        "bid" => {
            out.unsigned(2).uuid(&body["lot"]).uuid(&body["bid_id"]).number(&body["amount"]);
            out.option(body.get("max"), |out, max| out.number(max)).byte(u8::from(body["retry"] == true))
        }
        "leave" => out.unsigned(3).uuid(&body["lot"]),
        "time" => out.unsigned(4),
        other => panic!("bincode can't say {other}"),
    };
    out.0
}

/// A server's message in bytes, all of them, as JSON.
pub(crate) fn message(bytes: &[u8]) -> Value {
    let mut reader = Reader { bytes: bytes.to_vec(), at: 0 };
    let message = match reader.unsigned() {
        0 => json!({"id": reader.signed(), "ok": reader.ok()}),
        1 => json!({"id": reader.signed(), "error": reader.error()}),
        2 => json!({"push": reader.push()}),
        3 => json!({"push": reader.object(&[("wallet", Reader::text), ITEMS])}),
        other => panic!("no such message: {other}"),
    };
    assert_eq!(reader.at, bytes.len(), "bytes after {message}");
    message
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    fn tagged(&mut self, tag: u8, bytes: &[u8]) -> &mut Self {
        self.0.push(tag);
        self.0.extend_from_slice(bytes);
        self
    }

    fn unsigned(&mut self, number: u64) -> &mut Self {
        if let Ok(small) = u8::try_from(number)
            && small < 251
        {
            return self.byte(small);
        }
        if let Ok(number) = u16::try_from(number) {
            return self.tagged(251, &number.to_le_bytes());
        }
        if let Ok(number) = u32::try_from(number) {
            return self.tagged(252, &number.to_le_bytes());
        }
        self.tagged(253, &number.to_le_bytes())
    }

    fn signed(&mut self, number: i64) -> &mut Self {
        self.unsigned(((number << 1) ^ (number >> 63)).cast_unsigned())
    }

    fn number(&mut self, number: &Value) -> &mut Self {
        self.unsigned(number.as_u64().unwrap_or_else(|| panic!("{number} is no number")))
    }

    fn text(&mut self, text: &Value) -> &mut Self {
        let text = text.as_str().unwrap();
        self.unsigned(text.len() as u64).0.extend_from_slice(text.as_bytes());
        self
    }

    fn uuid(&mut self, id: &Value) -> &mut Self {
        let id: Uuid = id.as_str().unwrap().parse().unwrap();
        self.tagged(16, id.as_bytes())
    }

    fn option(&mut self, value: Option<&Value>, write: for<'a> fn(&'a mut Self, &Value) -> &'a mut Self) -> &mut Self {
        self.byte(u8::from(value.is_some()));
        match value {
            Some(value) => write(self, value),
            None => self,
        }
    }
}

struct Reader {
    bytes: Vec<u8>,
    at: usize,
}

type Read = fn(&mut Reader) -> Value;
type Field = (&'static str, Read);

const CURRENCY: &[Field] = &[("code", Reader::text), ("scale", |from| json!(from.byte()))];
const POSITION: &[Field] = &[("epoch", Reader::number), ("seq", Reader::number)];
const INCREMENT: &[Field] = &[("from", Reader::number), ("step", Reader::number)];
const OWN: &[Field] = &[("leading", Reader::flag), ("max", Reader::number)];
const RULES: &[Field] = &[
    ("format", |from| from.one_of(&["english"])),
    ("start_price", Reader::number),
    ("reserve_price", |from| from.option(Reader::number)),
    ("buy_now_price", |from| from.option(Reader::number)),
    ("proxy", Reader::flag),
    ("increments", |from| from.list(|from| from.object(INCREMENT))),
];
const SOFT_CLOSE: &[Field] = &[
    ("window_ms", Reader::number),
    ("mode", |from| from.one_of(&["reset", "add"])),
    ("by_ms", Reader::number),
    ("max_extensions", |from| from.option(Reader::number)),
    ("hard_close_at", |from| from.option(Reader::time)),
];
const LOT: &[Field] = &[
    ("id", Reader::uuid),
    ("title", Reader::text),
    ("description", Reader::text),
    ("currency", |from| from.object(CURRENCY)),
    ("funding", |from| from.one_of(&["open", "wallet"])),
    ("rules", |from| from.object(RULES)),
    ("opens_at", |from| from.option(Reader::time)),
    ("closes_at", |from| from.option(Reader::time)),
    ("soft_close", |from| from.option(|from| from.object(SOFT_CLOSE))),
    ("status", |from| from.one_of(&["draft", "scheduled", "open", "paused", "closed", "cancelled"])),
    ("price", |from| from.option(Reader::number)),
    ("leader", |from| from.option(Reader::text)),
    ("bid_count", Reader::number),
    ("minimum_bid", Reader::number),
    ("reserve_met", |from| from.option(Reader::flag)),
    ("buy_now_available", Reader::flag),
    ("extensions", Reader::number),
    ("remaining_ms", |from| from.option(Reader::number)),
    ("position", |from| from.object(POSITION)),
    ("outcome", |from| from.option(Reader::outcome)),
    ("settled", Reader::flag),
    ("created_at", Reader::time),
    ("own", |from| from.option(|from| from.object(OWN))),
];
const JOINED: &[Field] = &[
    ("lot", |from| from.object(LOT)),
    ("position", |from| from.object(POSITION)),
    ("recovered", Reader::flag),
    ("events", |from| from.list(Reader::event)),
    ("server_time", Reader::time),
];
const LIMITS: &[Field] = &[
    ("frame_bytes", Reader::number),
    ("lots_per_socket", Reader::number),
    ("requests_per_second", Reader::number),
    ("request_burst", Reader::number),
    ("in_flight", Reader::number),
];
const SESSION: &[Field] =
    &[("bidder", Reader::text), ("role", Reader::text), ("server_time", Reader::time), ("limits", |from| from.object(LIMITS))];
const RECEIPT: &[Field] = &[
    ("bid_id", Reader::uuid),
    ("lot", Reader::uuid),
    ("epoch", Reader::number),
    ("seq", Reader::number),
    ("amount", Reader::number),
    ("max", Reader::number),
    ("price", Reader::number),
    ("leading", Reader::flag),
    ("received_at", Reader::time),
    ("deadline", |from| from.option(Reader::time)),
    ("closes_at", |from| from.option(Reader::time)),
];
const BID: &[Field] = &[
    ("bidder", Reader::text),
    ("amount", Reader::number),
    ("price", Reader::number),
    ("leader", Reader::text),
    ("bid_count", Reader::number),
    ("minimum_bid", Reader::number),
    ("reserve_met", |from| from.option(Reader::flag)),
];
/// Each as an option: none is a field that JSON leaves out.
const CHANGED: &[Field] = &[
    ("title", Reader::text),
    ("description", Reader::text),
    ("currency", |from| from.object(CURRENCY)),
    ("rules", |from| from.object(RULES)),
    ("opens_at", |from| from.option(Reader::time)),
    ("closes_at", |from| from.option(Reader::time)),
    ("soft_close", |from| from.option(|from| from.object(SOFT_CLOSE))),
    ("price", Reader::number),
];
/// Likewise.
const FIGURES: &[Field] =
    &[("minimum", Reader::number), ("received_at", Reader::time), ("deadline", Reader::time), ("retry_after_ms", Reader::number)];

const ITEMS: Field = ("items", |from| from.list(|from| from.object(PURSE)));
const PURSE: &[Field] = &[
    ("currency", Reader::text),
    ("scale", |from| from.option(|from| json!(from.byte()))),
    ("balance", |from| json!(from.signed())),
    ("held", Reader::number),
    ("available", |from| json!(from.signed())),
    ("holds", |from| from.list(|from| from.object(&[("lot", Reader::uuid), ("amount", Reader::number)]))),
];

impl Reader {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.bytes[self.at..self.at + N].try_into().unwrap();
        self.at += N;
        taken
    }

    fn byte(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }

    fn unsigned(&mut self) -> u64 {
        match self.byte() {
            251 => u16::from_le_bytes(self.take()).into(),
            252 => u32::from_le_bytes(self.take()).into(),
            253 => u64::from_le_bytes(self.take()),
            254.. => panic!("no integer of the protocol is that long"),
            small => small.into(),
        }
    }

    fn signed(&mut self) -> i64 {
        let number = self.unsigned();
        (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
    }

    fn number(&mut self) -> Value {
        json!(self.unsigned())
    }

    fn time(&mut self) -> Value {
        let time = json!(at(self.signed()));
        parse_ms(&time);
        time
    }

    fn flag(&mut self) -> Value {
        match self.byte() {
            0 => json!(false),
            1 => json!(true),
            other => panic!("{other} is no flag"),
        }
    }

    fn text(&mut self) -> Value {
        let length = usize::try_from(self.unsigned()).unwrap();
        let text = self.bytes[self.at..self.at + length].to_vec();
        self.at += length;
        json!(String::from_utf8(text).unwrap())
    }

    fn uuid(&mut self) -> Value {
        assert_eq!(self.byte(), 16, "the length of a UUID");
        json!(Uuid::from_bytes(self.take()).to_string())
    }

    fn option(&mut self, read: Read) -> Value {
        if self.flag() == true { read(self) } else { Value::Null }
    }

    fn list(&mut self, read: Read) -> Value {
        let length = self.unsigned();
        (0..length).map(|_| read(self)).collect()
    }

    fn variant(&mut self, names: &[&'static str]) -> &'static str {
        let index = usize::try_from(self.unsigned()).unwrap();
        names.get(index).unwrap_or_else(|| panic!("{index} is none of {names:?}"))
    }

    fn one_of(&mut self, names: &[&'static str]) -> Value {
        json!(self.variant(names))
    }

    fn object(&mut self, fields: &[Field]) -> Value {
        fields.iter().map(|(name, read)| ((*name).to_owned(), read(self))).collect::<Map<_, _>>().into()
    }

    fn some_of(&mut self, fields: &[Field], into: &mut Value) {
        for (name, read) in fields {
            if self.flag() == true {
                into[*name] = read(self);
            }
        }
    }

    fn ok(&mut self) -> Value {
        let name = self.variant(&["session", "joined", "receipt", "left", "time", "joined_wallet", "left_wallet"]);
        let body = match name {
            "session" => self.object(SESSION),
            "joined" => self.object(JOINED),
            "receipt" => self.object(RECEIPT),
            "left" => self.object(&[("lot", Self::uuid)]),
            "joined_wallet" => self.object(&[("bidder", Self::text), ITEMS]),
            "left_wallet" => self.object(&[("wallet", Self::text)]),
            _ => self.object(&[("server_time", Self::time)]),
        };
        json!({name: body})
    }

    fn error(&mut self) -> Value {
        let mut error = self.object(&[("code", Self::text), ("message", Self::text), ("temporary", Self::flag)]);
        self.some_of(FIGURES, &mut error);
        error
    }

    fn push(&mut self) -> Value {
        let lot = self.uuid();
        let name = self.variant(&["events", "own", "resync"]);
        let body = match name {
            "events" => self.list(Self::event),
            "own" => self.object(OWN),
            _ => self.object(JOINED),
        };
        json!({"lot": lot, name: body})
    }

    fn outcome(&mut self) -> Value {
        let name = self.variant(&["sold", "unsold"]);
        let body = match name {
            "sold" => self.object(&[("winner", Self::text), ("price", Self::number)]),
            _ => self.object(&[("reason", |from| from.one_of(&["no_bids", "reserve_not_met"]))]),
        };
        json!({name: body})
    }

    fn event(&mut self) -> Value {
        let mut event = self.object(&[("epoch", Self::number), ("seq", Self::number), ("at", Self::time)]);
        const NAMES: &[&str] = &[
            "opened",
            "bid_placed",
            "extended",
            "paused",
            "resumed",
            "changed",
            "price_dropped",
            "bid_retracted",
            "closed",
            "cancelled",
            "settled",
            "registered",
            "unregistered",
        ];
        let name = self.variant(NAMES);
        event[name] = match name {
            "opened" | "resumed" => self.object(&[("closes_at", |from| from.option(Self::time))]),
            "bid_placed" | "bid_retracted" => self.object(BID),
            "extended" => self.object(&[("closes_at", Self::time), ("extensions", Self::number)]),
            "paused" => self.object(&[("remaining_ms", |from| from.option(Self::number)), ("reason", |from| from.option(Self::text))]),
            "changed" => {
                let mut changed = json!({});
                self.some_of(CHANGED, &mut changed);
                changed["minimum_bid"] = self.number();
                changed["reserve_met"] = self.option(Self::flag);
                changed
            }
            "price_dropped" => self.object(&[("price", Self::number)]),
            "closed" => self.object(&[("outcome", Self::outcome)]),
            "cancelled" => self.object(&[("reason", |from| from.option(Self::text))]),
            "registered" | "unregistered" => self.object(&[("bidders", |from| from.list(Self::text))]),
            _ => json!({}),
        };
        event
    }
}

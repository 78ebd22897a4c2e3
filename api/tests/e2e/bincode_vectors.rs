//! The examples of `docs/bincode.md` against the server's own types, and against the client of this suite: each is JSON and
//! the bytes that say the same.

use crate::kit::bincode as foreign;
use gavel::{
    http::problem::Code,
    wire::{
        event::{BidBody, EventBody, What},
        message::{ClientFrame, ErrorBody, JoinedBody, LimitsBody, OkBody, Push, PushBody, ServerMessage, SessionBody},
        names::Names,
        wallet::{HoldBody, PurseBody, WalletBody},
    },
};
use gavel_domain::{
    event::{Change, LotEvent, Recorded},
    ids::{Epoch, LotId, Position, Seq},
    lot::{
        spec::{English, Rules},
        view::Own,
    },
    money::Amount,
    time::{Millis, Timestamp},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

const DOC: &str = include_str!("../../../docs/bincode.md");

/// One example.
struct Vector {
    name: &'static str,
    json: Value,
    bytes: Vec<u8>,
}

/// The examples under a heading.
fn vectors(heading: &str) -> Vec<Vector> {
    let chapter = DOC.split("\n## ").find_map(|chapter| chapter.strip_prefix(heading)).expect("the heading");
    let between = |text: &'static str, fence: &str| text.split_once(fence)?.1.split_once("```").map(|(inside, _)| inside);
    let read = |text: &'static str| Vector {
        name: text.lines().next().unwrap(),
        json: serde_json::from_str(between(text, "```json\n").expect("JSON")).unwrap(),
        bytes: between(text, "```hex\n").expect("hex").lines().flat_map(hex).collect(),
    };
    chapter.split("### ").skip(1).map(read).collect()
}

/// The bytes of a line, up to its remark.
fn hex(line: &str) -> Vec<u8> {
    let (digits, _) = line.split_once('#').unwrap_or((line, ""));
    let digits: String = digits.split_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or_else(|error| panic!("{error}: {line}"));
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn show(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encode(message: &impl Serialize) -> Vec<u8> {
    bincode::serde::encode_to_vec(message, bincode::config::standard()).unwrap()
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), bincode::error::DecodeError> {
    bincode::serde::decode_from_slice(bytes, bincode::config::standard())
}

#[test]
fn every_request_is_read_from_its_bytes_as_from_its_json() {
    let vectors = vectors("Requests, in bytes");
    for Vector { name, json, bytes } in &vectors {
        assert_eq!(show(&foreign::request(json)), show(bytes), "{name}");
        let (frame, read): (ClientFrame, _) = decode(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read, bytes.len(), "{name}");
        let from_json: ClientFrame = serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(frame, from_json, "{name}");
        // A frame that was cut off anywhere is none.
        for end in 0..bytes.len() {
            assert!(decode::<ClientFrame>(&bytes[..end]).is_err(), "{name}, {end} bytes of it");
        }
    }
    for command in ["auth", "join", "bid", "leave", "time"] {
        assert!(vectors.iter().any(|vector| vector.json[command].is_object()), "no example of {command}");
    }
    for command in ["join", "leave"] {
        assert!(vectors.iter().any(|vector| vector.json[command]["wallet"].is_string()), "no example of {command} of a wallet");
    }
}

#[test]
fn every_message_is_written_as_its_bytes_and_its_json() {
    let vectors = vectors("Messages of the server, in bytes");
    for Vector { name, json, bytes } in &vectors {
        let message = message(json);
        assert_eq!(serde_json::to_value(&message).unwrap(), *json, "{name}");
        assert_eq!(show(&encode(&message)), show(bytes), "{name}");
        assert_eq!(foreign::message(bytes), *json, "{name}");
    }
    let text = vectors.iter().map(|vector| vector.json.to_string()).collect::<String>();
    let all = "session joined receipt left time events own resync opened bid_placed extended paused resumed changed price_dropped \
               bid_retracted closed sold unsold cancelled settled registered unregistered joined_wallet left_wallet";
    for kind in all.split_whitespace() {
        assert!(text.contains(&format!("\"{kind}\":{{")) || text.contains(&format!("\"{kind}\":[")), "no example of {kind}");
    }
    assert!(vectors.iter().any(|vector| vector.json["push"]["wallet"].is_string()), "no example of a wallet that is pushed");
}

/// The server's own message of an example. Where a type has no way from JSON, field by field.
fn message(json: &Value) -> ServerMessage {
    let id = json["id"].as_i64();
    if let Some(error) = json.get("error") {
        return ServerMessage::Error { id: id.unwrap(), error: error_body(error) };
    }
    if let Some(wallet) = json["push"].get("wallet") {
        return ServerMessage::Wallet(wallet_body(wallet, &json["push"]["items"]));
    }
    if let Some(push) = json.get("push") {
        let what = match only(push, &["lot"]) {
            ("events", events) => Push::Events(list(events, event)),
            ("own", own) => Push::Own(get::<Own>(own)),
            ("resync", joined) => Push::Resync(Box::new(joined_body(joined))),
            other => panic!("{other:?}"),
        };
        return ServerMessage::Push(PushBody { lot: get(&push["lot"]), what });
    }
    let ok = match only(&json["ok"], &[]) {
        ("session", session) => OkBody::Session(Box::new(session_body(session))),
        ("joined", joined) => OkBody::Joined(Box::new(joined_body(joined))),
        ("receipt", receipt) => OkBody::Receipt(get(receipt)),
        ("left", left) => OkBody::Left { lot: get(&left["lot"]) },
        ("joined_wallet", wallet) => OkBody::JoinedWallet(Box::new(wallet_body(&wallet["bidder"], &wallet["items"]))),
        ("left_wallet", left) => OkBody::LeftWallet { wallet: get(&left["wallet"]) },
        ("time", time) => OkBody::Time { server_time: get(&time["server_time"]) },
        other => panic!("{other:?}"),
    };
    ServerMessage::Ok { id: id.unwrap(), ok }
}

fn get<T: DeserializeOwned>(json: &Value) -> T {
    serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json}"))
}

/// A field that may be missing.
fn some<T>(json: &Value, name: &str, get: impl FnOnce(&Value) -> T) -> Option<T> {
    json.get(name).map(get)
}

fn list<T>(json: &Value, get: impl FnMut(&Value) -> T) -> Vec<T> {
    json.as_array().unwrap().iter().map(get).collect()
}

/// The one field of an object beside these.
fn only<'a>(json: &'a Value, beside: &[&str]) -> (&'a str, &'a Value) {
    let fields: &Map<String, Value> = json.as_object().unwrap();
    let (name, value) = fields.iter().find(|(name, _)| !beside.contains(&name.as_str())).unwrap();
    (name, value)
}

fn error_body(error: &Value) -> ErrorBody {
    let code = Code::ALL.into_iter().find(|code| code.as_str() == error["code"]).unwrap();
    ErrorBody {
        temporary: get(&error["temporary"]),
        minimum: some(error, "minimum", get),
        received_at: some(error, "received_at", get),
        deadline: some(error, "deadline", get),
        retry_after_ms: some(error, "retry_after_ms", get),
        ..ErrorBody::new(code, error["message"].as_str().unwrap())
    }
}

fn session_body(session: &Value) -> SessionBody {
    let limit = |name: &str| get::<u64>(&session["limits"][name]);
    SessionBody {
        bidder: session["bidder"].as_str().unwrap().into(),
        role: ["viewer", "bidder"].into_iter().find(|role| session["role"] == *role).unwrap(),
        server_time: get(&session["server_time"]),
        limits: LimitsBody {
            frame_bytes: limit("frame_bytes"),
            lots_per_socket: limit("lots_per_socket"),
            requests_per_second: limit("requests_per_second"),
            request_burst: limit("request_burst"),
            in_flight: limit("in_flight"),
        },
    }
}

fn joined_body(joined: &Value) -> JoinedBody {
    JoinedBody {
        lot: get(&joined["lot"]),
        position: get::<Position>(&joined["position"]),
        recovered: get(&joined["recovered"]),
        events: list(&joined["events"], event),
        server_time: get(&joined["server_time"]),
    }
}

fn wallet_body(bidder: &Value, items: &Value) -> WalletBody {
    let hold = |hold: &Value| HoldBody { lot: get(&hold["lot"]), amount: get(&hold["amount"]) };
    let purse = |purse: &Value| PurseBody {
        currency: purse["currency"].as_str().unwrap().into(),
        scale: get(&purse["scale"]),
        balance: get(&purse["balance"]),
        held: get(&purse["held"]),
        available: get(&purse["available"]),
        holds: list(&purse["holds"], hold),
        permit: Default::default(),
    };
    WalletBody { bidder: get(bidder), items: list(items, purse) }
}

fn event(json: &Value) -> EventBody {
    let (name, body) = only(json, &["epoch", "seq", "at"]);
    let (epoch, seq, at): (Epoch, Seq, Timestamp) = (get(&json["epoch"]), get(&json["seq"]), get(&json["at"]));
    let what = match name {
        "opened" => What::Opened { closes_at: get(&body["closes_at"]) },
        "bid_placed" => What::BidPlaced(bid_body(body)),
        "extended" => What::Extended { closes_at: get(&body["closes_at"]), extensions: get(&body["extensions"]) },
        "paused" => What::Paused { remaining_ms: get::<Option<Millis>>(&body["remaining_ms"]), reason: get(&body["reason"]) },
        "resumed" => What::Resumed { closes_at: get(&body["closes_at"]) },
        "changed" => changed(epoch, seq, at, body),
        "price_dropped" => What::PriceDropped { price: get(&body["price"]) },
        "bid_retracted" => What::BidRetracted(bid_body(body)),
        "closed" => What::Closed { outcome: get(&body["outcome"]) },
        "cancelled" => What::Cancelled { reason: get(&body["reason"]) },
        "settled" => What::Settled {},
        "registered" => What::Registered { bidders: get(&body["bidders"]) },
        "unregistered" => What::Unregistered { bidders: get(&body["bidders"]) },
        other => panic!("{other}"),
    };
    EventBody { epoch, seq, at, what }
}

fn bid_body(bid: &Value) -> BidBody {
    BidBody {
        bidder: get(&bid["bidder"]),
        amount: get::<Amount>(&bid["amount"]),
        price: get(&bid["price"]),
        leader: get(&bid["leader"]),
        bid_count: get(&bid["bid_count"]),
        minimum_bid: get(&bid["minimum_bid"]),
        reserve_met: get(&bid["reserve_met"]),
    }
}

/// By way of the domain's event, which alone makes one; with a reserve price that must not show.
fn changed(epoch: Epoch, seq: Seq, at: Timestamp, body: &Value) -> What {
    let rules = |rules: &Value| {
        Rules::English(English {
            start_price: get(&rules["start_price"]),
            reserve_price: Some(get(&json!(300))),
            buy_now_price: get(&rules["buy_now_price"]),
            proxy: get(&rules["proxy"]),
            increments: get(&rules["increments"]),
        })
    };
    let change = Change {
        title: some(body, "title", get),
        description: some(body, "description", get),
        currency: some(body, "currency", get),
        rules: some(body, "rules", rules),
        opens_at: some(body, "opens_at", get),
        closes_at: some(body, "closes_at", get),
        soft_close: some(body, "soft_close", get),
        price: some(body, "price", get),
        minimum_bid: get(&body["minimum_bid"]),
        reserve_met: get(&body["reserve_met"]),
    };
    let lot = LotId(uuid::Uuid::nil());
    EventBody::new(&Recorded { lot, epoch, seq, at, event: LotEvent::Changed(Box::new(change)) }, Names::OWN).unwrap().what
}

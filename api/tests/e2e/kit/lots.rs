//! What is sent and read in JSON: lots to create, times, ids.

use jiff::Timestamp;
use serde_json::{Value, json};

/// The current time, in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Waits until a moment is over.
pub(crate) fn passed(ms: i64) {
    while let Ok(left @ 0..) = u64::try_from(ms - now_ms()) {
        std::thread::sleep(std::time::Duration::from_millis(left + 1));
    }
}

/// A time as the protocol writes it.
pub(super) fn at(ms: i64) -> String {
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap())
}

/// A time that far from now.
pub(crate) fn in_ms(ms: i64) -> String {
    at(now_ms() + ms)
}

/// Reads a time the server wrote; holds it to the protocol's one form.
#[track_caller]
pub(crate) fn parse_ms(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("{time} is no time"));
    assert!(text.len() == 24 && text.ends_with('Z') && text.as_bytes()[19] == b'.', "{text} is not UTC in milliseconds");
    text.parse::<Timestamp>().unwrap_or_else(|error| panic!("{text}: {error}")).as_millisecond()
}

/// A lot that is open for ten minutes, starts at 100, and goes up in steps of 10.
pub(crate) fn lot() -> Value {
    lot_with(json!({}))
}

/// [`lot`] with other fields; an object is merged, anything else replaces.
pub(crate) fn lot_with(fields: Value) -> Value {
    let mut lot = json!({
        "title": "Ashkandi", "description": "", "currency": {"code": "DKP", "scale": 0}, "funding": "open",
        "rules": {
            "format": "english", "start_price": 100, "reserve_price": null, "buy_now_price": null, "proxy": true,
            "increments": [{"from": 0, "step": 10}],
        },
        "opens_at": null, "closes_at": in_ms(600_000), "soft_close": null,
    });
    merge(&mut lot, fields);
    lot
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A new id for a lot or a bid.
pub(crate) fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// What an event says happened.
pub(crate) fn event_name(event: &Value) -> &str {
    let mut names = event.as_object().unwrap().keys().map(String::as_str);
    names.find(|name| !["epoch", "seq", "at"].contains(name)).unwrap_or("")
}

//! The few REST calls around a run: lots are made, read, closed, their history is paged through; wallets are filled
//! and read.
//! Blocking; never used while a scenario measures.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use thiserror::Error;
use ureq::{Agent, Body, http::Response};
use uuid::Uuid;

use crate::net::Target;

/// A call that did not give what it should.
#[derive(Debug, Error)]
pub(crate) enum RestError {
    #[error("{call}: the server is unreachable: {error}")]
    Unreachable { call: String, error: ureq::Error },
    #[error("{call}: the server answered {status}: {detail}")]
    Refused { call: String, status: u16, detail: String },
    #[error("{call}: the answer is not what the protocol says: {why}")]
    Malformed { call: String, why: String },
}

/// What this client reads of a lot.
#[derive(Debug, Deserialize)]
pub(crate) struct LotState {
    pub(crate) id: Uuid,
    pub(crate) price: Option<u64>,
    pub(crate) leader: Option<String>,
    pub(crate) bid_count: u64,
    pub(crate) position: Position,
    #[serde(default)]
    pub(crate) currency: Currency,
    #[serde(default)]
    pub(crate) outcome: Option<Outcome>,
}

/// What a lot is paid in.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Currency {
    pub(crate) code: String,
}

/// A bidder's money.
#[derive(Debug, Deserialize)]
pub(crate) struct Wallet {
    pub(crate) items: Vec<Money>,
}

/// A wallet's part in one currency, in its minor unit.
#[derive(Debug, Deserialize)]
pub(crate) struct Money {
    pub(crate) currency: String,
    pub(crate) balance: i64,
    pub(crate) held: u64,
    pub(crate) available: i64,
}

/// A place in a lot's events.
#[derive(Debug, Deserialize)]
pub(crate) struct Position {
    pub(crate) seq: u64,
}

/// How a lot ended.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Outcome {
    #[serde(default)]
    pub(crate) sold: Option<Sold>,
}

/// Who got it for how much.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct Sold {
    pub(crate) winner: String,
    pub(crate) price: u64,
}

/// An accepted bid in a lot's history.
#[derive(Debug, Deserialize)]
pub(crate) struct PastBid {
    pub(crate) seq: u64,
    pub(crate) bidder: String,
    pub(crate) price: u64,
    pub(crate) bid_id: Option<Uuid>,
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// The server's REST side, as an administrator.
pub(crate) struct Rest {
    agent: Agent,
    base: String,
    bearer: String,
}

impl Rest {
    pub(crate) fn new(target: &Target, token: &str) -> Self {
        let agent = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(30))).build().new_agent();
        let base = format!("http://{}{}/v1", target.authority, target.prefix);
        Self { agent, base, bearer: format!("Bearer {token}") }
    }

    /// Makes an English hammer sale, open at once, start price 1, steps of 1.
    pub(crate) fn create_lot(&self, title: &str, proxy: bool, funding: &str) -> Result<LotState, RestError> {
        let body = json!({
            "title": title,
            "funding": funding,
            "rules": {
                "format": "english", "start_price": 1, "proxy": proxy, "increments": [{"from": 0, "step": 1}],
            },
            "closes_at": null,
        });
        self.post("/lots", &body, None)
    }

    pub(crate) fn lot(&self, lot: Uuid) -> Result<LotState, RestError> {
        self.get(&format!("/lots/{lot}"))
    }

    pub(crate) fn close_lot(&self, lot: Uuid) -> Result<LotState, RestError> {
        self.post(&format!("/lots/{lot}/close"), &json!({"reason": "the load test is over"}), None)
    }

    pub(crate) fn wallet(&self, bidder: &str) -> Result<Wallet, RestError> {
        self.get(&format!("/wallets/{bidder}"))
    }

    /// Grants a bidder an amount.
    pub(crate) fn adjust(&self, bidder: &str, currency: &str, amount: u64) -> Result<(), RestError> {
        let body = json!({"currency": currency, "amount": amount, "reason": "load test"});
        let key = Uuid::new_v4().to_string();
        self.post::<Value>(&format!("/wallets/{bidder}/adjustments"), &body, Some(&key)).map(drop)
    }

    /// The page of a lot's history at `cursor`, as long as a page can be.
    pub(crate) fn bids(&self, lot: Uuid, cursor: Option<&str>) -> Result<Page<PastBid>, RestError> {
        let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        self.get(&format!("/lots/{lot}/bids?limit=500{cursor}"))
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RestError> {
        let call = self.agent.get(format!("{}{path}", self.base)).header("Authorization", &self.bearer).call();
        answer(format!("GET {path}"), call)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &Value, key: Option<&str>) -> Result<T, RestError> {
        let mut request = self.agent.post(format!("{}{path}", self.base)).header("Authorization", &self.bearer);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        answer(format!("POST {path}"), request.send_json(body))
    }
}

fn answer<T: DeserializeOwned>(call: String, answer: Result<Response<Body>, ureq::Error>) -> Result<T, RestError> {
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Err(RestError::Unreachable { call, error }),
    };
    let status = answer.status().as_u16();
    let text = match answer.body_mut().read_to_string() {
        Ok(text) => text,
        Err(error) => return Err(RestError::Unreachable { call, error }),
    };
    if !(200..300).contains(&status) {
        let detail = text.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect();
        return Err(RestError::Refused { call, status, detail });
    }
    serde_json::from_str(&text).map_err(|error| RestError::Malformed { call, why: error.to_string() })
}

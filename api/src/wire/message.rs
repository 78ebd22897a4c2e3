//! What goes over a socket: requests, replies and pushes of both subprotocols.
//!
//! The order of enums and fields is that of `docs/bincode.md`: only ever add at the end.

use super::{
    event::EventBody,
    lot::LotBody,
    wallet::{PurseBody, WalletBody},
};
use crate::http::problem::Code;
use gavel_domain::{
    ids::{BidId, BidderId, LotId, Position},
    lot::view::Own,
    money::Amount,
    receipt::Receipt,
    time::Timestamp,
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor},
    ser::SerializeMap,
};
use std::{fmt, sync::Arc};

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFrame {
    /// The client's own number; comes back in the reply.
    pub id: i64,
    /// What it wants.
    pub request: ClientRequest,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientRequest {
    /// Who it is, or its new token.
    Auth(AuthRequest),
    /// A lot and its events.
    Join(JoinRequest),
    /// A bid.
    Bid(BidRequest),
    /// No more events of a lot.
    Leave(LeaveRequest),
    /// The server's time.
    Time(TimeRequest),
    /// The bidder's own wallet, and its changes from now on. In JSON a `join` too.
    JoinWallet(JoinWalletRequest),
    /// No more changes of the wallet. In JSON a `leave` too.
    LeaveWallet(LeaveWalletRequest),
}

/// See [`ClientRequest::Auth`].
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthRequest {
    /// An access token. Never logged.
    pub token: String,
}

impl fmt::Debug for AuthRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthRequest(…)")
    }
}

/// See [`ClientRequest::Join`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// Which.
    pub lot: LotId,
    /// The last event that the client has.
    #[serde(default)]
    pub position: Option<Position>,
}

/// See [`ClientRequest::JoinWallet`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinWalletRequest {
    /// Whose.
    pub wallet: String,
}

/// See [`ClientRequest::LeaveWallet`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveWalletRequest {
    /// Whose.
    pub wallet: String,
}

/// What `join` and `leave` may hold in JSON: a lot, or a wallet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    #[serde(default)]
    lot: Option<LotId>,
    #[serde(default)]
    position: Option<Position>,
    #[serde(default)]
    wallet: Option<String>,
}

impl Place {
    fn join(self) -> Result<ClientRequest, &'static str> {
        match self {
            Self { lot: Some(lot), position, wallet: None } => Ok(ClientRequest::Join(JoinRequest { lot, position })),
            Self { lot: None, position: None, wallet: Some(wallet) } => Ok(ClientRequest::JoinWallet(JoinWalletRequest { wallet })),
            _ => Err("join: a lot (with a position, if there is one), or a wallet"),
        }
    }

    fn leave(self) -> Result<ClientRequest, &'static str> {
        match self {
            Self { lot: Some(lot), position: None, wallet: None } => Ok(ClientRequest::Leave(LeaveRequest { lot })),
            Self { lot: None, position: None, wallet: Some(wallet) } => Ok(ClientRequest::LeaveWallet(LeaveWalletRequest { wallet })),
            _ => Err("leave: a lot, or a wallet"),
        }
    }
}

/// See [`ClientRequest::Bid`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BidRequest {
    /// On what.
    pub lot: LotId,
    /// The client's name of the bid.
    pub bid_id: BidId,
    /// At least this.
    pub amount: Amount,
    /// At most this.
    #[serde(default)]
    pub max: Option<Amount>,
    /// Sent before.
    #[serde(default)]
    pub retry: bool,
}

/// See [`ClientRequest::Leave`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveRequest {
    /// Which.
    pub lot: LotId,
}

/// See [`ClientRequest::Time`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeRequest {}

const COMMANDS: &[&str] = &["auth", "join", "bid", "leave", "time"];

/// `{"id":1,"bid":{…}}`: an id and exactly one command, in any order.
impl<'de> Deserialize<'de> for ClientFrame {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            let (id, request) = Deserialize::deserialize(deserializer)?;
            return Ok(Self { id, request });
        }
        struct Frame;
        impl<'de> Visitor<'de> for Frame {
            type Value = ClientFrame;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with an id and one command")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ClientFrame, A::Error> {
                let (mut id, mut request) = (None, None);
                while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    let read = match key.as_ref() {
                        "id" if id.is_none() => {
                            id = Some(map.next_value()?);
                            continue;
                        }
                        "auth" => ClientRequest::Auth(map.next_value()?),
                        "join" => map.next_value::<Place>()?.join().map_err(A::Error::custom)?,
                        "bid" => ClientRequest::Bid(map.next_value()?),
                        "leave" => map.next_value::<Place>()?.leave().map_err(A::Error::custom)?,
                        "time" => ClientRequest::Time(map.next_value()?),
                        "id" => return Err(A::Error::duplicate_field("id")),
                        other => return Err(A::Error::unknown_field(other, COMMANDS)),
                    };
                    if request.replace(read).is_some() {
                        return Err(A::Error::custom("more than one command in a request"));
                    }
                }
                Ok(ClientFrame {
                    id: id.ok_or_else(|| A::Error::missing_field("id"))?,
                    request: request.ok_or_else(|| A::Error::custom("no command: one of auth, join, bid, leave, time"))?,
                })
            }
        }
        deserializer.deserialize_map(Frame)
    }
}

/// Only the id of a request that is wrong otherwise.
#[derive(Deserialize)]
pub struct IdOnly {
    /// See [`ClientFrame::id`].
    pub id: i64,
}

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage {
    /// The request did what it should.
    Ok {
        /// The request's.
        id: i64,
        /// The answer.
        ok: OkBody,
    },
    /// It did not.
    Error {
        /// The request's.
        id: i64,
        /// Why.
        error: ErrorBody,
    },
    /// Something that was not asked for now.
    Push(PushBody),
    /// A push too: a joined wallet as it is now.
    Wallet(WalletBody),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OkBody {
    /// To `auth`.
    Session(Box<SessionBody>),
    /// To `join`.
    Joined(Box<JoinedBody>),
    /// To `bid`.
    Receipt(Box<Receipt>),
    /// To `leave`.
    Left {
        /// Which.
        lot: LotId,
    },
    /// To `time`.
    Time {
        /// Now.
        server_time: Timestamp,
    },
    /// To a `join` of a wallet.
    JoinedWallet(Box<WalletBody>),
    /// To a `leave` of a wallet.
    LeftWallet {
        /// Whose.
        wallet: String,
    },
}

/// Who the socket is, and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionBody {
    /// The token's `sub`.
    pub bidder: Arc<str>,
    /// The token's role.
    pub role: &'static str,
    /// Now.
    pub server_time: Timestamp,
    /// What the socket may do. Zero: no limit.
    pub limits: LimitsBody,
}

/// See [`SessionBody::limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LimitsBody {
    /// Bytes in a frame.
    pub frame_bytes: u64,
    /// Lots joined at once.
    pub lots_per_socket: u64,
    /// Requests a second.
    pub requests_per_second: u64,
    /// Requests at once.
    pub request_burst: u64,
    /// Requests without a reply yet.
    pub in_flight: u64,
}

/// A joined lot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JoinedBody {
    /// As it is.
    pub lot: LotBody,
    /// Its last event.
    pub position: Position,
    /// Whether `events` are exactly those that were missed.
    pub recovered: bool,
    /// The missed events.
    pub events: Vec<EventBody>,
    /// Now.
    pub server_time: Timestamp,
}

/// Why a request did nothing. In JSON without the fields that are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    /// As in REST.
    pub code: Code,
    /// For people.
    pub message: String,
    /// Whether to ask again with the same `bid_id`.
    pub temporary: bool,
    /// For `bid_too_low`.
    pub minimum: Option<Amount>,
    /// For bids.
    pub received_at: Option<Timestamp>,
    /// For bids: the closing time judged by.
    pub deadline: Option<Timestamp>,
    /// For `rate_limited`.
    pub retry_after_ms: Option<u64>,
}

/// A push for one lot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushBody {
    /// Which.
    pub lot: LotId,
    /// What.
    pub what: Push,
}

/// What is pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Push {
    /// Committed events, in order.
    Events(Vec<EventBody>),
    /// The bidder's own standing has changed.
    Own(Own),
    /// In place of pushes that were left out.
    Resync(Box<JoinedBody>),
}

impl ErrorBody {
    /// An error without figures.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            temporary: code.temporary(),
            minimum: None,
            received_at: None,
            deadline: None,
            retry_after_ms: None,
        }
    }
}

impl Serialize for ServerMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return match self {
                Self::Ok { id, ok } => serializer.serialize_newtype_variant("ServerMessage", 0, "ok", &(id, ok)),
                Self::Error { id, error } => serializer.serialize_newtype_variant("ServerMessage", 1, "error", &(id, error)),
                Self::Push(push) => serializer.serialize_newtype_variant("ServerMessage", 2, "push", &(push.lot, &push.what)),
                Self::Wallet(wallet) => serializer.serialize_newtype_variant("ServerMessage", 3, "wallet", wallet),
            };
        }
        let mut map = serializer.serialize_map(None)?;
        match self {
            Self::Ok { id, ok } => {
                map.serialize_entry("id", id)?;
                map.serialize_entry("ok", ok)?;
            }
            Self::Error { id, error } => {
                map.serialize_entry("id", id)?;
                map.serialize_entry("error", error)?;
            }
            Self::Push(push) => map.serialize_entry("push", push)?,
            Self::Wallet(wallet) => map.serialize_entry("push", &WalletPush { wallet: &wallet.bidder, items: &wallet.items })?,
        }
        map.end()
    }
}

/// A wallet's push in JSON.
#[derive(Serialize)]
struct WalletPush<'a> {
    wallet: &'a BidderId,
    items: &'a [PurseBody],
}

impl Serialize for PushBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("lot", &self.lot)?;
        match &self.what {
            Push::Events(events) => map.serialize_entry("events", events)?,
            Push::Own(own) => map.serialize_entry("own", own)?,
            Push::Resync(joined) => map.serialize_entry("resync", joined)?,
        }
        map.end()
    }
}

impl Serialize for ErrorBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { code, message, temporary, minimum, received_at, deadline, retry_after_ms } = self;
        if !serializer.is_human_readable() {
            return (code.as_str(), message, temporary, minimum, received_at, deadline, retry_after_ms).serialize(serializer);
        }
        fn some<M: SerializeMap, T: Serialize>(map: &mut M, name: &'static str, field: Option<&T>) -> Result<(), M::Error> {
            field.map_or(Ok(()), |value| map.serialize_entry(name, value))
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", code.as_str())?;
        map.serialize_entry("message", message)?;
        map.serialize_entry("temporary", temporary)?;
        some(&mut map, "minimum", minimum.as_ref())?;
        some(&mut map, "received_at", received_at.as_ref())?;
        some(&mut map, "deadline", deadline.as_ref())?;
        some(&mut map, "retry_after_ms", retry_after_ms.as_ref())?;
        map.end()
    }
}

/// A bidder from a subject; none if the token's `sub` is no bidder id (it always is one).
#[must_use]
pub fn bidder(sub: &str) -> Option<BidderId> {
    BidderId::try_from(sub).ok()
}

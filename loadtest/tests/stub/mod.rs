//! A stand-in for the server, in this process: the few REST calls and the WebSocket of the protocol, lots judged by
//! the English rules without times, and flaws to be found. It keeps nothing durable and limits nothing.

mod lot;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures_util::{FutureExt, SinkExt, StreamExt};
use jsonwebtoken::{DecodingKey, Validation};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use uuid::Uuid;

use lot::{Answer, Lot};

/// The HS256 secret of every stub.
pub(crate) const KEY: &str = "a key for tests alone, long enough for HS256";

/// What a stub does wrong; each once, at the bid with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code, reason = "not every user of the stub needs every flaw")]
pub(crate) enum Flaw {
    None,
    /// Leaves a sequence number out.
    SkipSeq(u64),
    /// Does not push a bid.
    DropDelivery(u64),
    /// Says a price one too high, in receipt, push and history.
    Misprice(u64),
    /// Says a price one too high in the push alone.
    MispricePush(u64),
    /// Says in the push alone that somebody else bid.
    MisnamePush(u64),
    /// Says in the push alone that somebody else leads.
    MisleadPush(u64),
    /// Says an amount one too high in the push alone.
    MisquotePush(u64),
    /// Counts one bid too many in the push alone.
    MiscountPush(u64),
    /// Replaces a push by a resync with another price, or with one bid too many.
    ConflateWrongly(u64, &'static str),
    /// Answers a request twice.
    AnswerTwice(u64),
    /// Gives a sequence number out twice.
    RepeatSeq(u64),
    /// Never answers a bid.
    Silence(u64),
    /// Forgets a bid in the history alone.
    Forget(u64),
    /// Counts a bid twice.
    Miscount(u64),
    /// Refuses a bid that is high enough, with a minimum no higher than it.
    RefuseWrongly(u64),
    /// Refuses a good bid with this code and a minimum one higher.
    RefuseAs(u64, &'static str),
    /// Knows no wallets.
    NoWallets,
    /// Holds one more than it should.
    HoldTooMuch,
    /// Holds what nobody has.
    HoldUncovered,
    /// Closes the bidder's socket.
    Hangup(u64),
    /// No flaw: says a decided bid's outcome is unknown; asked again with `retry`, no earlier than [`LATER_MS`], it gives
    /// the receipt.
    Unavailable(u64),
    /// No flaw: replaces a push by a resync.
    Conflate(u64),
    /// No flaw: fields in another order, white space, unknown fields, empty lines.
    Reorder,
}

/// When to ask again for what is unknown.
pub(crate) const LATER_MS: u64 = 600;

struct World {
    flaw: Flaw,
    lots: HashMap<Uuid, Lot>,
    balances: HashMap<String, u64>,
}

impl World {
    fn wallet(&self, bidder: &str) -> Value {
        let balance = self.balances.get(bidder).copied().unwrap_or_default();
        let held: u64 = self.lots.values().map(|lot| lot.held(bidder)).sum();
        let held = match self.flaw {
            Flaw::HoldTooMuch => held + 1,
            Flaw::HoldUncovered => balance + 1,
            _ => held,
        };
        let item = json!({"currency": "DKP", "balance": balance, "held": held, "available": balance as i64 - held as i64});
        json!({"bidder": bidder, "items": [{"currency": "USD", "balance": 0, "held": 0, "available": 0}, item]})
    }
}

type Shared = Arc<Mutex<World>>;

/// Serves until dropped.
pub(crate) async fn serve(listener: TcpListener, flaw: Flaw) {
    let world = Arc::new(Mutex::new(World { flaw, lots: HashMap::new(), balances: HashMap::new() }));
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        tokio::spawn(connection(stream, world.clone()));
    }
}

/// Starts a stub on a free port of a thread of its own, for as long as the process lives.
#[allow(dead_code, reason = "the example listens by itself")]
pub(crate) fn start(flaw: Flaw) -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            serve(listener, flaw).await;
        });
    });
    told.recv().unwrap()
}

async fn connection(mut stream: TcpStream, world: Shared) {
    let mut seen = vec![0; 8192];
    let head = loop {
        let Ok(read @ 1..) = stream.peek(&mut seen).await else { return };
        if let Some(end) = seen[..read].windows(4).position(|window| window == b"\r\n\r\n") {
            break String::from_utf8_lossy(&seen[..end + 4]).into_owned();
        }
        tokio::task::yield_now().await;
    };
    if head.to_ascii_lowercase().contains("upgrade: websocket") {
        return socket(stream, world).await;
    }
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut request = vec![0; head.len() + length];
    stream.read_exact(&mut request).await.unwrap();
    let claims = claims(&field("authorization").unwrap_or_default());
    let (status, body) = match claims {
        Some(claims) if claims.role == "admin" => rest(&head, &request[head.len()..], &world),
        _ => (401, json!({"code": "unauthenticated"})),
    };
    let body = body.to_string();
    let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    role: String,
}

fn claims(authorization: &str) -> Option<Claims> {
    let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.set_audience(&["gavel"]);
    let token = authorization.strip_prefix("Bearer ")?;
    let key = DecodingKey::from_secret(KEY.as_bytes());
    jsonwebtoken::decode::<Claims>(token, &key, &validation).ok().map(|data| data.claims)
}

fn rest(head: &str, body: &[u8], world: &Shared) -> (u16, Value) {
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut world = world.lock().unwrap();
    let flaw = world.flaw;
    let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
    match (method, &parts[..]) {
        ("POST", ["v1", "lots"]) => {
            let wanted: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(wanted["closes_at"], Value::Null);
            let wallet = wanted["funding"] == "wallet";
            let lot = Lot::new(wanted["rules"]["proxy"] == true, wanted["rules"]["start_price"].as_u64().unwrap(), wallet);
            let shown = lot.json();
            world.lots.insert(lot.id, lot);
            (201, shown)
        }
        (_, ["v1", "wallets", ..]) if flaw == Flaw::NoWallets => (404, json!({"code": "not_found"})),
        ("GET", ["v1", "wallets", bidder]) => (200, world.wallet(bidder)),
        ("POST", ["v1", "wallets", bidder, "adjustments"]) => {
            assert!(head.to_ascii_lowercase().contains("idempotency-key: "), "{head}");
            let wanted: Value = serde_json::from_slice(body).unwrap();
            assert_eq!((&wanted["currency"], wanted["reason"].is_string()), (&json!("DKP"), true), "{wanted}");
            *world.balances.entry((*bidder).to_owned()).or_default() += wanted["amount"].as_u64().unwrap();
            (201, wanted)
        }
        (_, ["v1", "lots", id, rest @ ..]) => {
            let lot = id.parse().ok().and_then(|id: Uuid| world.lots.get_mut(&id));
            match (method, lot, rest) {
                ("GET", Some(lot), []) => (200, lot.json()),
                ("GET", Some(lot), ["bids"]) => (200, lot.history(query, flaw)),
                ("POST", Some(lot), ["close"]) => {
                    lot.closed = true;
                    (200, lot.json())
                }
                _ => (404, json!({"code": "not_found"})),
            }
        }
        _ => (404, json!({"code": "not_found"})),
    }
}

#[derive(Deserialize)]
struct Asked {
    id: u64,
    bid: Option<AskedBid>,
    join: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    lot: Uuid,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedBid {
    lot: Uuid,
    bid_id: Uuid,
    amount: u64,
    #[serde(default)]
    retry: bool,
}

#[allow(clippy::result_large_err, reason = "the library's callback is made so")]
async fn socket(stream: TcpStream, world: Shared) {
    let mut sub = String::new();
    let upgrade = |request: &Request, mut response: Response| {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let Some(claims) = claims(header("authorization")) else {
            return Err(ErrorResponse::new(Some("unauthenticated".into())));
        };
        sub = claims.sub;
        let chosen = header("sec-websocket-protocol").parse().unwrap();
        response.headers_mut().insert("sec-websocket-protocol", chosen);
        Ok(response)
    };
    let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, upgrade).await else { return };
    let (pushes, mut pushed): (UnboundedSender<Arc<str>>, UnboundedReceiver<Arc<str>>) = unbounded_channel();
    let _ = socket.send(Message::Ping("x".into())).await;
    loop {
        let mut out = String::new();
        tokio::select! {
            biased;
            message = socket.next() => {
                let mut next = Some(message);
                let mut touched = vec![];
                while let Some(message) = next {
                    let Some(Ok(message)) = message else { return };
                    if let Message::Text(text) = message {
                        let mut world = world.lock().unwrap();
                        if !answer(&mut world, &text, &sub, &pushes, &mut out, &mut touched) {
                            return;
                        }
                    }
                    next = socket.next().now_or_never();
                }
                let mut world = world.lock().unwrap();
                let flaw = world.flaw;
                for lot in touched {
                    world.lots.get_mut(&lot).unwrap().push(flaw);
                }
            }
            Some(push) = pushed.recv() => {
                out.push_str(&push);
                while let Ok(push) = pushed.try_recv() {
                    out.push_str(&push);
                }
            }
        }
        if !out.is_empty() && socket.send(Message::text(out)).await.is_err() {
            return;
        }
    }
}

/// Answers one request; false hangs up.
fn answer(world: &mut World, text: &str, sub: &str, pushes: &UnboundedSender<Arc<str>>, out: &mut String, touched: &mut Vec<Uuid>) -> bool {
    let flaw = world.flaw;
    let asked: Asked = serde_json::from_str(text).unwrap();
    let id = asked.id;
    if let Some(Named { lot }) = asked.join {
        let lot = world.lots.get_mut(&lot).unwrap();
        lot.push(flaw);
        lot.watchers.push(pushes.clone());
        let seq = lot.seq;
        let joined = json!({"lot": lot.json(), "position": {"epoch": 1, "seq": seq}, "recovered": false});
        writeln!(out, "{}", json!({"id": id, "ok": {"joined": joined}})).unwrap();
        return true;
    }
    let AskedBid { lot: lot_id, bid_id, amount, retry } = asked.bid.unwrap();
    let lot = world.lots.get_mut(&lot_id).unwrap();
    match lot.bid(sub, bid_id, amount, retry, flaw) {
        Answer::Receipt { seq, price, leading } => {
            if !touched.contains(&lot_id) {
                touched.push(lot_id);
            }
            let line = if flaw == Flaw::Reorder {
                format!(
                    "{{ \"ok\": {{\"receipt\" : {{\"new\":[\"}}\"],\"leading\":{leading},\"price\":{price},\"max\":{amount},\
                     \"amount\":{amount}, \"seq\":{seq},\"lot\":\"{lot_id}\",\"bid_id\":\"{bid_id}\"}}}}, \"id\":{id}}}\r\n\n"
                )
            } else {
                format!(
                    "{{\"id\":{id},\"ok\":{{\"receipt\":{{\"bid_id\":\"{bid_id}\",\"lot\":\"{lot_id}\",\"epoch\":1,\"seq\":{seq},\
                     \"amount\":{amount},\"max\":{amount},\"price\":{price},\"leading\":{leading},\
                     \"received_at\":\"2026-11-22T01:02:03.456Z\",\"deadline\":null,\"closes_at\":null}}}}}}\n"
                )
            };
            out.push_str(&line);
            if flaw == Flaw::AnswerTwice(lot.bids.len() as u64) {
                out.push_str(&line);
            }
        }
        Answer::Refused { code, temporary, minimum } => {
            let minimum = minimum.map_or("null".into(), |minimum| minimum.to_string());
            let later = if temporary { LATER_MS } else { 1 };
            writeln!(
                out,
                "{{\"id\":{id},\"error\":{{\"code\":\"{code}\",\"message\":\"no\",\"temporary\":{temporary},\
                 \"retry_after_ms\":{later},\"minimum\":{minimum}}}}}"
            )
            .unwrap();
        }
        Answer::Silence => {}
        Answer::Hangup => return false,
    }
    true
}

//! A WebSocket client of `gavel.json.v1`, and of `gavel.bincode.v1` where that was chosen: a test says and sees JSON either way.
//! It reads only while something is awaited, so a test that awaits nothing of a
//! socket is a reader that has stopped.

use super::{PATIENCE, Purse, bincode};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest as _, http::HeaderValue},
};

/// What a client says when it asks for a socket.
#[derive(Clone, Default)]
pub(crate) struct Handshake {
    bearer: Option<String>,
    protocols: Vec<String>,
    headers: Vec<(&'static str, String)>,
    small_buffers: bool,
}

impl Handshake {
    /// `Authorization: Bearer`.
    pub(crate) fn bearer(mut self, token: &str) -> Self {
        self.bearer = Some(token.to_owned());
        self
    }

    /// Another entry of `Sec-WebSocket-Protocol`.
    pub(crate) fn protocol(mut self, name: &str) -> Self {
        self.protocols.push(name.to_owned());
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The kernel keeps little for this reader, so that one who stops reading is noticed soon.
    pub(crate) fn small_buffers(mut self) -> Self {
        self.small_buffers = true;
        self
    }

    /// Opens the socket; the HTTP status and body where the server does not upgrade.
    pub(crate) async fn open(&self, address: &str) -> Result<Socket, (u16, String)> {
        match self.try_open(address).await {
            Ok(socket) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => {
                let body = response.body().as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
                Err((response.status().as_u16(), body.unwrap_or_default()))
            }
            Err(error) => panic!("the upgrade failed: {error}"),
        }
    }

    pub(crate) async fn try_open(&self, address: &str) -> Result<Socket, tungstenite::Error> {
        let mut request = format!("ws://{address}/v1/ws").into_client_request()?;
        let headers = request.headers_mut();
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        if let Some(token) = &self.bearer {
            headers.insert("authorization", value(&format!("Bearer {token}")));
        }
        if !self.protocols.is_empty() {
            headers.insert("sec-websocket-protocol", value(&self.protocols.join(", ")));
        }
        for (name, text) in &self.headers {
            headers.insert(*name, value(text));
        }
        let tcp = tokio::net::TcpSocket::new_v4()?;
        if self.small_buffers {
            tcp.set_recv_buffer_size(4096)?;
        }
        let stream = tcp.connect(address.parse().unwrap()).await?;
        stream.set_nodelay(true)?;
        let (ws, response) = client_async(request, stream).await?;
        let protocol = response.headers().get("sec-websocket-protocol").map(|name| name.to_str().unwrap().to_owned());
        Ok(Socket {
            ws,
            protocol,
            last_id: 0,
            replies: VecDeque::new(),
            events: VecDeque::new(),
            owns: VecDeque::new(),
            resyncs: VecDeque::new(),
            purses: VecDeque::new(),
            closed: None,
        })
    }
}

/// The connection is gone; with the code of the close frame, if there was one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone(pub(crate) Option<u16>);

/// What a reader that may have missed something comes upon.
pub(crate) enum News {
    Event(Value),
    Resync(Value),
}

/// An open socket. Things are named by lot and kept in order of arrival until they are asked for.
pub(crate) struct Socket {
    ws: WebSocketStream<TcpStream>,
    /// The subprotocol the server chose.
    pub(crate) protocol: Option<String>,
    last_id: i64,
    replies: VecDeque<Value>,
    pub(crate) events: VecDeque<(String, Value)>,
    pub(crate) owns: VecDeque<(String, Value)>,
    pub(crate) resyncs: VecDeque<(String, Value)>,
    /// The own wallet, as it was pushed.
    pub(crate) purses: VecDeque<Purse>,
    closed: Option<Gone>,
}

impl Socket {
    /// An authenticated socket (by header).
    pub(crate) async fn open(address: &str, token: &str) -> Self {
        Handshake::default().bearer(token).open(address).await.unwrap()
    }

    /// Sends a frame as it is.
    pub(crate) async fn send_text(&mut self, text: impl Into<String>) -> Result<(), Gone> {
        self.send_message(Message::text(text.into())).await
    }

    /// Sends all these frames without waiting for anything, and reads meanwhile: until so many replies are there or the
    /// server has closed. The replies, and the close code.
    pub(crate) async fn flood(&mut self, frames: Vec<String>, replies: usize) -> (Vec<Value>, Option<u16>) {
        let (mut sink, mut stream) = (&mut self.ws).split();
        let send = async move {
            for frame in frames {
                if sink.send(Message::text(frame)).await.is_err() {
                    return;
                }
            }
        };
        let read = async {
            let mut read = Vec::new();
            while read.len() < replies {
                match timeout_at(Instant::now() + PATIENCE, stream.next()).await.expect("replies stay out") {
                    Some(Ok(Message::Text(text))) => {
                        read.extend(text.lines().filter(|line| !line.is_empty()).map(|line| serde_json::from_str(line).unwrap()));
                    }
                    Some(Ok(Message::Close(frame))) => return (read, frame.map(|frame| frame.code.into())),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => panic!("no close frame before the end of the connection: {error}"),
                    None => panic!("no close frame before the end of the connection"),
                }
            }
            (read, None)
        };
        let ((), read) = tokio::join!(send, read);
        read
    }

    /// Sends a binary frame as it is.
    pub(crate) async fn send_binary(&mut self, bytes: Vec<u8>) -> Result<(), Gone> {
        self.send_message(Message::binary(bytes)).await
    }

    fn is_binary(&self) -> bool {
        self.protocol.as_deref() == Some("gavel.bincode.v1")
    }

    pub(crate) async fn send_message(&mut self, message: Message) -> Result<(), Gone> {
        self.ws.send(message).await.map_err(|_| self.closed.unwrap_or(Gone(None)))
    }

    /// Sends a command under the next id, and gives the id.
    pub(crate) async fn try_send(&mut self, command: &Value) -> Result<i64, Gone> {
        self.last_id += 1;
        let mut request = command.clone();
        request["id"] = json!(self.last_id);
        if self.is_binary() {
            self.send_binary(bincode::request(&request)).await?;
        } else {
            self.send_text(request.to_string()).await?;
        }
        Ok(self.last_id)
    }

    pub(crate) async fn send(&mut self, command: Value) -> i64 {
        self.try_send(&command).await.unwrap()
    }

    /// The reply to an id: `Ok` of `ok`, `Err` of `error`.
    pub(crate) async fn try_reply(&mut self, id: i64) -> Result<Result<Value, Value>, Gone> {
        let find = |socket: &mut Self| {
            let place = socket.replies.iter().position(|reply| reply["id"] == id)?;
            socket.replies.remove(place)
        };
        let mut reply = self.wait(find).await?;
        let keys = reply.as_object().unwrap().len();
        assert_eq!(keys, 2, "a reply is its id and one of ok and error: {reply}");
        Ok(match (reply["ok"].take(), reply["error"].take()) {
            (Value::Null, error) if error["code"].is_string() && error["message"].is_string() => Err(error),
            (ok, Value::Null) if ok.is_object() => Ok(ok),
            (ok, error) => panic!("neither ok nor error: {ok} {error}"),
        })
    }

    pub(crate) async fn reply(&mut self, id: i64) -> Result<Value, Value> {
        match self.try_reply(id).await {
            Ok(reply) => reply,
            Err(Gone(code)) => panic!("the socket was closed ({code:?}) before the reply to {id}"),
        }
    }

    pub(crate) async fn try_ask(&mut self, command: &Value) -> Result<Result<Value, Value>, Gone> {
        let id = self.try_send(command).await?;
        self.try_reply(id).await
    }

    /// Asks, and expects `ok`.
    pub(crate) async fn ok(&mut self, command: Value) -> Value {
        let id = self.send(command.clone()).await;
        self.reply(id).await.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Asks, and expects this refusal.
    pub(crate) async fn error(&mut self, command: Value, code: &str) -> Value {
        let id = self.send(command.clone()).await;
        match self.reply(id).await {
            Err(error) if error["code"] == code => error,
            other => panic!("{command}: expected {code}, got {other:?}"),
        }
    }

    /// Joins a lot; what `joined` holds.
    pub(crate) async fn join(&mut self, lot: &str) -> Value {
        self.ok(json!({"join": {"lot": lot}})).await["joined"].take()
    }

    /// Joins a lot from a position on; what `joined` holds.
    pub(crate) async fn resume(&mut self, lot: &str, position: &Value) -> Value {
        self.ok(json!({"join": {"lot": lot, "position": position}})).await["joined"].take()
    }

    /// Joins a bidder's wallet; the points in it.
    pub(crate) async fn join_wallet(&mut self, bidder: &str) -> Purse {
        let joined = self.ok(json!({"join": {"wallet": bidder}})).await["joined_wallet"].take();
        assert_eq!(joined["bidder"], bidder, "{joined}");
        Purse::of(&joined["items"])
    }

    /// The next push of the own wallet: the points in it.
    pub(crate) async fn purse(&mut self) -> Purse {
        let found = self.wait(|socket| socket.purses.pop_front()).await;
        found.unwrap_or_else(|gone| panic!("no push of the wallet: {gone:?}"))
    }

    /// Bids, and expects the receipt.
    pub(crate) async fn bid(&mut self, lot: &str, amount: u64) -> Value {
        self.bid_as(json!({"lot": lot, "bid_id": super::uuid(), "amount": amount})).await
    }

    /// Bids up to a maximum, and expects the receipt.
    pub(crate) async fn bid_max(&mut self, lot: &str, amount: u64, max: u64) -> Value {
        self.bid_as(json!({"lot": lot, "bid_id": super::uuid(), "amount": amount, "max": max})).await
    }

    /// Bids, and expects the receipt.
    pub(crate) async fn bid_as(&mut self, bid: Value) -> Value {
        self.ok(json!({"bid": bid})).await["receipt"].take()
    }

    /// Bids, and expects this refusal.
    pub(crate) async fn bid_refused(&mut self, lot: &str, amount: u64, code: &str) -> Value {
        self.error(json!({"bid": {"lot": lot, "bid_id": super::uuid(), "amount": amount}}), code).await
    }

    /// The next event of a lot.
    pub(crate) async fn event(&mut self, lot: &str) -> Value {
        let found = self.wait(|socket| take(&mut socket.events, lot)).await;
        found.unwrap_or_else(|gone| panic!("no event of {lot}: {gone:?}"))
    }

    /// The next event of a lot, which must be of this name; what it says.
    pub(crate) async fn event_named(&mut self, lot: &str, name: &str) -> Value {
        let event = self.event(lot).await;
        assert_eq!(super::event_name(&event), name, "{event}");
        event[name].clone()
    }

    /// The next push about this bidder's own standing.
    pub(crate) async fn own(&mut self, lot: &str) -> Value {
        let found = self.wait(|socket| take(&mut socket.owns, lot)).await;
        found.unwrap_or_else(|gone| panic!("no own of {lot}: {gone:?}"))
    }

    /// The next resync of a lot.
    pub(crate) async fn resync(&mut self, lot: &str) -> Value {
        let found = self.wait(|socket| take(&mut socket.resyncs, lot)).await;
        found.unwrap_or_else(|gone| panic!("no resync of {lot}: {gone:?}"))
    }

    /// The next event or resync of a lot, whichever came first; for who has not waited for anything since the join.
    pub(crate) async fn news(&mut self, lot: &str) -> News {
        let find =
            |socket: &mut Self| take(&mut socket.events, lot).map(News::Event).or_else(|| take(&mut socket.resyncs, lot).map(News::Resync));
        self.wait(find).await.unwrap_or_else(|gone| panic!("no news of {lot}: {gone:?}"))
    }

    /// Waits until all that the server had sent before now has been read.
    pub(crate) async fn catch_up(&mut self) {
        self.ok(json!({"time": {}})).await;
    }

    /// Waits for the server to close; the code of its close frame.
    pub(crate) async fn closed(&mut self) -> u16 {
        self.gone().await.expect("a close frame before the end of the connection")
    }

    /// Waits for the end of the connection; the code of the close frame, if there was one.
    pub(crate) async fn gone(&mut self) -> Option<u16> {
        match self.wait(|_| None::<()>).await {
            Err(Gone(code)) => code,
            Ok(()) => unreachable!("nothing else was awaited"),
        }
    }

    /// Closes, and waits until the server has answered.
    pub(crate) async fn close(&mut self) {
        let _ = self.ws.close(None).await;
        let _ = self.wait(|_| None::<()>).await;
    }

    /// Reads until `find` gives something.
    async fn wait<T>(&mut self, mut find: impl FnMut(&mut Self) -> Option<T>) -> Result<T, Gone> {
        let end = Instant::now() + PATIENCE + PATIENCE;
        loop {
            if let Some(found) = find(self) {
                return Ok(found);
            }
            if let Some(gone) = self.closed {
                return Err(gone);
            }
            let Ok(message) = timeout_at(end, self.ws.next()).await else {
                panic!("waited in vain; unread: {:?} {:?} {:?} {:?}", self.replies, self.events, self.owns, self.purses);
            };
            self.take_in(message);
        }
    }

    fn take_in(&mut self, message: Option<Result<Message, tungstenite::Error>>) {
        match message {
            Some(Ok(Message::Binary(bytes))) if self.is_binary() => self.take_line(bincode::message(&bytes)),
            Some(Ok(Message::Text(text))) if !self.is_binary() => {
                for line in text.lines().filter(|line| !line.is_empty()) {
                    self.take_line(serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")));
                }
            }
            Some(Ok(Message::Close(frame))) => self.closed = Some(Gone(frame.map(|frame| frame.code.into()))),
            Some(Ok(Message::Binary(_) | Message::Text(_))) => panic!("a frame of the other subprotocol"),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => self.closed = Some(self.closed.unwrap_or(Gone(None))),
        }
    }

    fn take_line(&mut self, mut line: Value) {
        if line.get("id").is_some() {
            return self.replies.push_back(line);
        }
        let push = line["push"].take();
        if push["wallet"].is_string() {
            assert_eq!(push.as_object().unwrap().len(), 2, "{push}");
            return self.purses.push_back(Purse::of(&push["items"]));
        }
        let lot = push["lot"].as_str().unwrap_or_else(|| panic!("a push without a lot: {push}")).to_owned();
        for (name, value) in push.as_object().unwrap() {
            match name.as_str() {
                "lot" => {}
                "events" => self.events.extend(value.as_array().unwrap().iter().map(|event| (lot.clone(), event.clone()))),
                "own" => self.owns.push_back((lot.clone(), value.clone())),
                "resync" => self.resyncs.push_back((lot.clone(), value.clone())),
                other => panic!("an unknown push {other}: {push}"),
            }
        }
    }
}

fn take(from: &mut VecDeque<(String, Value)>, lot: &str) -> Option<Value> {
    let place = from.iter().position(|(of, _)| of == lot)?;
    from.remove(place).map(|(_, value)| value)
}

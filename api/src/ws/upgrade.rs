//! The handshake: who may open a socket, and how it is set up.

use super::{
    codec::{Codec, PROTOCOLS},
    hub::Hub,
    outbox::OutboxStream,
    session::{Session, who},
};
use crate::{
    auth::Gate,
    config::Settings,
    http::{
        Api,
        problem::{Code, Problem},
    },
};
use actix::{Actor, AsyncContext};
use actix_http::ws::HandshakeError;
use actix_web::{
    HttpRequest, HttpResponse,
    dev::Extensions,
    http::{StatusCode, header},
    web,
};
use actix_web_actors::ws;
use std::{
    any::Any,
    rc::Rc,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::sync::Notify;

/// When to come again while the server goes away.
const COME_AGAIN: Duration = Duration::from_secs(1);

/// Sockets of this process.
static SOCKETS: AtomicUsize = AtomicUsize::new(0);
/// A socket has gone.
static ONE_GONE: Notify = Notify::const_new();

/// A connection's second handle, to cut it off when its peer does not read.
pub struct Connection(socket2::Socket);

/// Sets a new connection up: small writes at once, dead peers noticed.
pub fn on_connect(user_timeout: Option<Duration>) -> impl Fn(&dyn Any, &mut Extensions) + Send + Clone + 'static {
    move |connection, data| {
        let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() else { return };
        let socket = socket2::SockRef::from(stream);
        // A connection that is gone already will be noticed when it is read.
        let _ = socket.set_tcp_nodelay(true);
        if user_timeout.is_some() {
            let _ = socket.set_tcp_user_timeout(user_timeout);
        }
        if let Ok(second) = socket.try_clone() {
            data.insert(Connection(second));
        }
    }
}

/// `GET /v1/ws`.
///
/// # Errors
/// Not a WebSocket handshake, a bad token, a foreign origin, too many sockets.
pub async fn connect(
    request: HttpRequest,
    payload: web::Payload,
    gate: web::Data<Gate>,
    settings: web::Data<Settings>,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    let hub = request.app_data::<Rc<Hub>>().cloned().ok_or_else(Problem::internal)?;
    if api.draining.is_cancelled() {
        return Err(Problem::new(Code::Unavailable, "the server is going away: connect again").retry_after(COME_AGAIN));
    }
    check_origin(&request, &settings.access.allowed_origins)?;
    let principal = match gate.socket(&request) {
        Err(error) if gate.new_keys(&error).await => gate.socket(&request),
        outcome => outcome,
    };
    let principal = principal.map_err(Problem::from)?;
    let counted = Counted::new(settings.limits.sockets.map_or(usize::MAX, std::num::NonZero::get))
        .ok_or_else(|| Problem::new(Code::Overloaded, "too many sockets are open"))?;

    // The list may be given in several lines, of which the library reads the first: the choice is ours.
    let mut response = ws::handshake_with_protocols(&request, &[]).map_err(no_handshake)?;
    let chosen = chosen(&request);
    if let Some(protocol) = chosen {
        response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, protocol));
    }
    let socket = request.conn_data::<Connection>().and_then(|connection| connection.0.try_clone().ok());
    let link = hub.enter(Codec::of_protocol(chosen), who(principal.as_ref()), socket);
    let outbox = Rc::clone(&link.outbox);
    let anonymous = settings.access.anonymous;
    Session::create(|ctx| {
        ctx.add_stream(Hold { payload, _counted: counted });
        Session::new(hub, link, gate, anonymous, principal)
    });
    Ok(response.streaming(OutboxStream(outbox)))
}

/// The subprotocol that the handshake answers with: the client's first that is known.
fn chosen(request: &HttpRequest) -> Option<&'static str> {
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).filter_map(|value| value.to_str().ok());
    offered.flat_map(|list| list.split(',')).find_map(|offer| PROTOCOLS.into_iter().find(|known| *known == offer.trim()))
}

/// Why a request is no handshake (RFC 6455, section 4.2).
fn no_handshake(error: HandshakeError) -> Problem {
    let (status, headers) = match error {
        HandshakeError::BadWebsocketKey => (StatusCode::BAD_REQUEST, vec![]),
        HandshakeError::GetMethodRequired => (StatusCode::METHOD_NOT_ALLOWED, vec![(header::ALLOW, "GET")]),
        HandshakeError::NoVersionHeader | HandshakeError::UnsupportedVersion => {
            (StatusCode::UPGRADE_REQUIRED, vec![(header::UPGRADE, "websocket"), (header::SEC_WEBSOCKET_VERSION, "13")])
        }
        HandshakeError::NoWebsocketUpgrade | HandshakeError::NoConnectionUpgrade => {
            (StatusCode::UPGRADE_REQUIRED, vec![(header::UPGRADE, "websocket")])
        }
    };
    Problem::invalid(format!("not a WebSocket handshake: {error}")).under(status, headers)
}

/// Browsers say from which page a socket is opened; others don't.
fn check_origin(request: &HttpRequest, allowed: &[String]) -> Result<(), Problem> {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    let same = request.headers().get(header::HOST).is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(host.as_bytes()));
    if same || allowed.iter().any(|known| known == origin) {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "sockets from this origin are not allowed"))
}

/// Resolves once no socket of this process is open.
pub async fn all_gone() {
    while SOCKETS.load(Ordering::Relaxed) > 0 {
        ONE_GONE.notified().await;
    }
}

/// One of the sockets that are counted.
struct Counted;

impl Counted {
    fn new(most: usize) -> Option<Self> {
        let before = SOCKETS.fetch_add(1, Ordering::Relaxed);
        let counted = Self; // counts down again if there are too many
        (before < most).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        SOCKETS.fetch_sub(1, Ordering::Relaxed);
        ONE_GONE.notify_one();
    }
}

/// What the socket sends, and its place among the counted.
struct Hold {
    payload: web::Payload,
    _counted: Counted,
}

impl futures_util::Stream for Hold {
    type Item = <web::Payload as futures_util::Stream>::Item;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Option<Self::Item>> {
        std::pin::Pin::new(&mut self.payload).poll_next(cx)
    }
}

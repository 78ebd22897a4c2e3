//! The upgrade of a plain TCP connection to `gavel.json.v1`, many at a time, before the sockets join the swarm.
//! Blocking, with a time limit; nothing here is on the hot path.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use thiserror::Error;
use tungstenite::handshake::{client::generate_key, derive_accept_key};

use super::Target;

const SUBPROTOCOL: &str = "gavel.json.v1";
/// Upgrades in flight at once: below any server's backlog of accepts.
const AT_ONCE: usize = 128;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest head of an answer, in bytes.
const LONGEST_HEAD: usize = 16 << 10;

/// A connection that is a WebSocket now.
pub(crate) struct Opening {
    pub(crate) stream: TcpStream,
    /// Bytes of frames that came right behind the answer.
    pub(crate) rest: Vec<u8>,
}

/// Why a socket did not open.
#[derive(Debug, Error)]
pub(crate) enum UpgradeError {
    #[error("cannot connect to {0}: {1}")]
    Connect(String, #[source] io::Error),
    #[error("socket {0}: the upgrade failed: {1}")]
    Io(usize, #[source] io::Error),
    #[error("socket {0}: the server did not upgrade: {1}")]
    Refused(usize, String),
}

/// Opens one socket for each token, in order.
pub(crate) fn open_all(target: &Target, tokens: &[String]) -> Result<Vec<Opening>, UpgradeError> {
    let connect = |error| UpgradeError::Connect(target.authority.clone(), error);
    let addresses: Vec<SocketAddr> = target.authority.to_socket_addrs().map_err(connect)?.collect();
    let mut open = Vec::with_capacity(tokens.len());
    for batch in tokens.chunks(AT_ONCE) {
        let mut asked = Vec::with_capacity(batch.len());
        for token in batch {
            let stream = TcpStream::connect(&addresses[..]).map_err(connect)?;
            let socket = open.len() + asked.len();
            asked.push(ask(stream, target, token).map_err(|error| UpgradeError::Io(socket, error))?);
        }
        for (stream, key) in asked {
            let opening = answer(open.len(), stream, &key)?;
            open.push(opening);
        }
    }
    Ok(open)
}

fn ask(mut stream: TcpStream, target: &Target, token: &str) -> io::Result<(TcpStream, String)> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let key = generate_key();
    let Target { authority, prefix } = target;
    let request = format!(
        "GET {prefix}/v1/ws HTTP/1.1\r\nHost: {authority}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    Ok((stream, key))
}

fn answer(socket: usize, mut stream: TcpStream, key: &str) -> Result<Opening, UpgradeError> {
    let refused = |why: String| Err(UpgradeError::Refused(socket, why));
    let mut bytes = Vec::with_capacity(1024);
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let mut some = [0; 1024];
        let read = stream.read(&mut some).map_err(|error| UpgradeError::Io(socket, error))?;
        if read == 0 || bytes.len() > LONGEST_HEAD {
            return refused(format!("no answer but {:?}", String::from_utf8_lossy(&bytes)));
        }
        bytes.extend_from_slice(&some[..read]);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return refused(format!("{status} {}", String::from_utf8_lossy(&bytes[end..])));
    }
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if field("sec-websocket-accept") != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return refused("wrong Sec-WebSocket-Accept".into());
    }
    if field("sec-websocket-protocol") != Some(SUBPROTOCOL) {
        return refused(format!("it did not choose {SUBPROTOCOL}"));
    }
    Ok(Opening { stream, rest: bytes.split_off(end) })
}

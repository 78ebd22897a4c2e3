//! Many WebSockets on one thread: readiness in, whole text frames out, writes as large as what is queued.
//! Answers pings by itself. It never interprets text and never decides what to send.

use std::io::{self, Read, Write};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use thiserror::Error;

use super::alarm::Alarm;
use super::handshake::Opening;
use crate::clock::{Clock, Micros};
use crate::wire::frame::{self, FrameError, Opcode};

/// How much is read at once, in bytes.
const CHUNK: usize = 256 << 10;
/// Below this many microseconds a wait is worth the exact timer.
const EXACT_BELOW: Micros = 5_000;
const ALARM: Token = Token(usize::MAX - 1);

/// A socket that is no longer usable.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    #[error("waiting for the sockets failed: {0}")]
    Poll(#[source] io::Error),
    #[error("socket {0}: {1}")]
    Io(usize, #[source] io::Error),
    #[error("socket {0}: the server sent {1}")]
    Frame(usize, #[source] FrameError),
    #[error("socket {0}: the server sent a frame of the wrong kind ({1:?})")]
    Kind(usize, Opcode),
    #[error("socket {socket}: the server closed it with {code}{}", hint(*.code))]
    Closed { socket: usize, code: u16 },
    #[error("socket {0}: the server ended the connection without a close frame")]
    Ended(usize),
}

fn hint(code: u16) -> &'static str {
    match code {
        1012 => " (draining)",
        4001 => " (too slow)",
        4002 => " (no pong)",
        4004 => " (token expired)",
        4501 => " (protocol error)",
        4502 => " (over a limit: is the server's requests_per_second 0?)",
        _ => "",
    }
}

/// One socket.
struct Socket {
    stream: TcpStream,
    /// The beginning of a frame whose rest has not come.
    partial: Vec<u8>,
    /// The beginning of a message whose last fragment has not come.
    fragments: Vec<u8>,
    /// What is queued or was not taken yet.
    out: Vec<u8>,
    /// The kernel's buffer is full; a readiness event will say when to go on.
    full: bool,
}

/// All sockets of a run.
pub(crate) struct Swarm {
    poll: Poll,
    events: Events,
    sockets: Vec<Socket>,
    /// Where every socket is read into.
    room: Vec<u8>,
    alarm: Alarm,
    clock: Clock,
}

impl Swarm {
    /// Takes over sockets just opened; they keep their order as their numbers.
    pub(crate) fn new(opened: Vec<Opening>, clock: Clock) -> Result<Self, SocketError> {
        let poll = Poll::new().map_err(SocketError::Poll)?;
        let alarm = Alarm::new(poll.registry(), ALARM).map_err(SocketError::Poll)?;
        let mut sockets = Vec::with_capacity(opened.len());
        for (number, Opening { stream, rest }) in opened.into_iter().enumerate() {
            let failed = |error| SocketError::Io(number, error);
            stream.set_nonblocking(true).map_err(failed)?;
            let mut stream = TcpStream::from_std(stream);
            let both = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut stream, Token(number), both).map_err(failed)?;
            sockets.push(Socket { stream, partial: rest, fragments: vec![], out: vec![], full: false });
        }
        Ok(Self { poll, events: Events::with_capacity(1024), sockets, room: vec![0; CHUNK], alarm, clock })
    }

    /// Waits at most `wait`, then reads whatever is there, calling `text` with each text message, the number of
    /// its socket and the time its bytes were read.
    pub(crate) fn poll<E: From<SocketError>>(
        &mut self,
        wait: Micros,
        mut text: impl FnMut(usize, &[u8], Micros) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut timeout = Duration::from_millis(wait / 1000);
        if wait > 0 && wait < EXACT_BELOW {
            self.alarm.set(wait).map_err(SocketError::Poll)?;
            timeout = Duration::from_millis(wait.div_ceil(1000));
        }
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(SocketError::Poll(error).into()),
            _ => {}
        }
        for event in events.iter().filter(|event| event.token() != ALARM) {
            let number = event.token().0;
            if event.is_writable() && self.sockets[number].full {
                self.sockets[number].full = false;
                self.flush(number)?;
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.read(number, event.is_read_closed() || event.is_error(), &mut text)?;
            }
        }
        self.events = events;
        Ok(())
    }

    /// Where to append frames for a socket; `flush` sends them.
    pub(crate) fn out(&mut self, socket: usize) -> &mut Vec<u8> {
        &mut self.sockets[socket].out
    }

    /// Sends what is queued, in one write if the kernel takes it.
    pub(crate) fn flush(&mut self, number: usize) -> Result<(), SocketError> {
        let socket = &mut self.sockets[number];
        let mut sent = 0;
        while !socket.full && sent < socket.out.len() {
            match socket.stream.write(&socket.out[sent..]) {
                Ok(some) => sent += some,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => socket.full = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(SocketError::Io(number, error)),
            }
        }
        socket.out.drain(..sent);
        Ok(())
    }

    /// Reads what is there; `ended` if the event already tells that nothing follows it.
    fn read<E: From<SocketError>>(
        &mut self,
        number: usize,
        ended: bool,
        text: &mut impl FnMut(usize, &[u8], Micros) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut room = std::mem::take(&mut self.room);
        loop {
            let socket = &mut self.sockets[number];
            let kept = socket.partial.len();
            if room.len() < kept + CHUNK {
                room.resize(kept + CHUNK, 0);
            }
            let read = match socket.stream.read(&mut room[kept..]) {
                Ok(0) => return Err(SocketError::Ended(number).into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(SocketError::Io(number, error).into()),
            };
            room[..kept].copy_from_slice(&socket.partial);
            socket.partial.clear();
            let (now, end) = (self.clock.now(), kept + read);
            let mut at = 0;
            while let Some(frame) = frame::decode(&room[at..end]).map_err(|error| SocketError::Frame(number, error))? {
                let payload = &room[at + frame.payload.start..at + frame.payload.end];
                at += frame.payload.end;
                self.take(number, frame.fin, frame.opcode, payload, now, text)?;
            }
            self.sockets[number].partial.extend_from_slice(&room[at..end]);
            // A short read has emptied the socket (epoll(7), question 9): what comes later is a new event. An end
            // that came with the bytes is not.
            if end < room.len() && !ended {
                break;
            }
        }
        self.room = room;
        Ok(())
    }

    fn take<E: From<SocketError>>(
        &mut self,
        number: usize,
        fin: bool,
        opcode: Opcode,
        payload: &[u8],
        now: Micros,
        text: &mut impl FnMut(usize, &[u8], Micros) -> Result<(), E>,
    ) -> Result<(), E> {
        let socket = &mut self.sockets[number];
        match opcode {
            Opcode::Text if fin => text(number, payload, now),
            Opcode::Text | Opcode::Continuation => {
                socket.fragments.extend_from_slice(payload);
                if !fin {
                    return Ok(());
                }
                let whole = std::mem::take(&mut socket.fragments);
                text(number, &whole, now)
            }
            Opcode::Ping => {
                frame::encode(&mut socket.out, Opcode::Pong, payload);
                Ok(self.flush(number)?)
            }
            Opcode::Pong => Ok(()),
            Opcode::Close => {
                // 1005 stands for a close frame without a code (RFC 6455, 7.1.5).
                let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                Err(SocketError::Closed { socket: number, code }.into())
            }
            Opcode::Binary => Err(SocketError::Kind(number, opcode).into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use std::net::{Shutdown, TcpListener};

    use super::*;

    /// A swarm of one socket that the peer has sent `bytes` and no more, and the peer.
    fn sent(bytes: &[u8]) -> (Swarm, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(bytes).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        (Swarm::new(vec![Opening { stream, rest: vec![] }], Clock::start()).unwrap(), peer)
    }

    /// Everything read until the end of the connection, and how it ended.
    fn read(swarm: &mut Swarm) -> (Vec<String>, String) {
        let mut texts = vec![];
        loop {
            let end = swarm.poll::<SocketError>(1_000_000, |_, text, _| {
                texts.push(String::from_utf8_lossy(text).into_owned());
                Ok(())
            });
            if let Err(error) = end {
                return (texts, error.to_string());
            }
        }
    }

    #[test]
    fn fragments_are_joined_and_pings_between_them_answered() {
        let (mut swarm, mut peer) = sent(b"\x81\x01a\x01\x01b\x89\x02hi\x80\x01c\x81\x00");
        let (texts, end) = read(&mut swarm);
        assert_eq!(texts, ["a", "bc", ""]);
        assert!(end.ends_with("without a close frame"), "{end}");
        let mut pong = [0; 8];
        peer.read_exact(&mut pong).unwrap();
        assert_eq!(&pong, b"\x8a\x82\0\0\0\0hi");
    }

    #[test]
    fn what_ends_a_socket_is_told() {
        for (bytes, told) in [
            (&b"\x88\x02\x0f\xa1"[..], "closed it with 4001 (too slow)"),
            (b"\x88\x00", "closed it with 1005"),
            (b"\x82\x00", "wrong kind (Binary)"),
            (b"\x81\x80", "a masked frame"),
        ] {
            let (_, end) = read(&mut sent(bytes).0);
            assert!(end.contains(told), "{end}");
        }
    }
}

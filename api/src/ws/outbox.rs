//! What waits to be written to a socket: bytes of whole frames, all of which go out in one write.

use actix_http::ws::{OpCode, Parser};
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};
use tokio::sync::Notify;

/// The queue of one socket. Bounded by who fills it: pushes stop at a limit, joins wait until there is room for their
/// answers ([`super::joins`]), and a socket with more than that waiting is closed ([`super::hub::Hub::replied`]).
#[derive(Default)]
pub(super) struct Outbox {
    bytes: RefCell<BytesMut>,
    /// What the latest ping carried. A pong may answer that one alone (RFC 6455, section 5.5.3), so that pings of a peer
    /// that does not read cost nothing.
    pong: RefCell<Option<Bytes>>,
    waker: Cell<Option<Waker>>,
    ended: Cell<bool>,
    /// How often the connection has taken what waited.
    taken: Cell<u64>,
    /// There is more room than before, or the end was reached.
    pub(super) moved: Notify,
}

impl Outbox {
    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes.borrow().len()
    }

    /// Appends frames.
    pub(super) fn write(&self, write: impl FnOnce(&mut BytesMut)) {
        if self.ended.get() {
            return;
        }
        write(&mut self.bytes.borrow_mut());
        self.wake();
    }

    /// Answers a ping, in place of earlier ones that have no answer yet.
    pub(super) fn pong(&self, payload: Bytes) {
        self.pong.replace(Some(payload));
        self.wake();
    }

    /// How often the connection has taken what waited: it goes up as long as the peer reads.
    pub(super) fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Whether the connection, too, has next to nothing left to write.
    pub(super) fn is_idle(&self) -> bool {
        let waker = self.waker.take();
        let waits_for_more = waker.is_some();
        self.waker.set(waker);
        waits_for_more && self.len() == 0
    }

    /// Ends the socket's stream once what waits is written.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.moved.notify_one();
        self.wake();
    }

    pub(super) fn is_ended(&self) -> bool {
        self.ended.get()
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The response body of the upgraded connection.
pub(super) struct OutboxStream(pub(super) Rc<Outbox>);

impl Stream for OutboxStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let outbox = &self.0;
        let mut bytes = outbox.bytes.borrow_mut();
        if let Some(payload) = outbox.pong.take()
            && !outbox.ended.get()
        {
            Parser::write_message(&mut bytes, payload, OpCode::Pong, true, false);
        }
        if !bytes.is_empty() {
            outbox.taken.set(outbox.taken.get() + 1);
            outbox.moved.notify_one();
            return Poll::Ready(Some(Ok(bytes.split().freeze())));
        }
        if outbox.ended.get() {
            return Poll::Ready(None);
        }
        outbox.waker.set(Some(cx.waker().clone()));
        outbox.moved.notify_one();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{StreamExt as _, task::noop_waker_ref};

    fn taken(stream: &mut OutboxStream) -> Option<usize> {
        match stream.poll_next_unpin(&mut Context::from_waker(noop_waker_ref())) {
            Poll::Ready(Some(Ok(bytes))) => Some(bytes.len()),
            _ => None,
        }
    }

    #[test]
    fn only_the_latest_ping_is_answered_and_none_after_the_end() {
        let outbox = Rc::new(Outbox::default());
        let mut stream = OutboxStream(Rc::clone(&outbox));
        for _ in 0..1000 {
            outbox.pong(Bytes::from_static(b"ping"));
        }
        assert_eq!((outbox.len(), taken(&mut stream), taken(&mut stream)), (0, Some(6), None));
        outbox.pong(Bytes::from_static(b"ping"));
        outbox.end();
        assert_eq!(taken(&mut stream), None);
    }

    #[test]
    fn the_connection_is_idle_once_it_asks_in_vain() {
        let outbox = Rc::new(Outbox::default());
        let mut stream = OutboxStream(Rc::clone(&outbox));
        assert!(!outbox.is_idle());
        assert_eq!((taken(&mut stream), outbox.is_idle(), outbox.taken()), (None, true, 0));
        outbox.write(|out| out.extend_from_slice(b"frame"));
        assert!(!outbox.is_idle());
        assert_eq!((taken(&mut stream), outbox.is_idle(), outbox.taken()), (Some(5), false, 1));
        assert_eq!((taken(&mut stream), outbox.is_idle()), (None, true));
    }
}

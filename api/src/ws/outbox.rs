//! What waits to be written to a socket: bytes of whole frames, all of which go out in one write.

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

/// The queue of one socket. Bounded by who fills it: pushes stop at a limit, replies are as many as
/// the requests in flight.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: RefCell<BytesMut>,
    waker: Cell<Option<Waker>>,
    ended: Cell<bool>,
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

    /// Ends the socket's stream once what waits is written.
    pub(super) fn end(&self) {
        self.ended.set(true);
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
        if !bytes.is_empty() {
            return Poll::Ready(Some(Ok(bytes.split().freeze())));
        }
        if outbox.ended.get() {
            return Poll::Ready(None);
        }
        outbox.waker.set(Some(cx.waker().clone()));
        Poll::Pending
    }
}

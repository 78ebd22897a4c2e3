//! Where a reply goes. Exactly one goes there, whatever becomes of the request.

use super::{Item, Outlet};
use crate::request::Reply;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The asker of a request. Dropped unanswered (an actor died, a shard recovers), it is told
/// `unavailable`: nobody waits for ever.
#[derive(Debug)]
pub struct ReplyTo(Option<Asker>);

#[derive(Debug)]
enum Asker {
    Session { outlet: Arc<Outlet>, session: u64, request: i64 },
    Future(oneshot::Sender<Reply>),
}

impl ReplyTo {
    /// A session on a worker; the reply travels with that worker's parcels.
    #[must_use]
    pub const fn session(outlet: Arc<Outlet>, session: u64, request: i64) -> Self {
        Self(Some(Asker::Session { outlet, session, request }))
    }

    /// A task that waits for the answer.
    #[must_use]
    pub fn future() -> (Self, oneshot::Receiver<Reply>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(Asker::Future(sender))), receiver)
    }

    /// Nobody.
    #[must_use]
    pub const fn nobody() -> Self {
        Self(None)
    }

    /// Answers now.
    pub fn send(mut self, reply: Reply) {
        if let Some((outlet, item)) = self.take(reply) {
            outlet.send(vec![item]);
        }
    }

    /// Answers a task now; for a session, gives what belongs into its worker's parcel.
    pub(crate) fn take(&mut self, reply: Reply) -> Option<(Arc<Outlet>, Item)> {
        match self.0.take()? {
            Asker::Session { outlet, session, request } => Some((outlet, Item::Reply { session, request, reply })),
            Asker::Future(sender) => {
                // The asker may have gone away meanwhile (a cancelled request): nothing to tell.
                let _ = sender.send(reply);
                None
            }
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if let Some((outlet, item)) = self.take(Reply::Unavailable) {
            outlet.send(vec![item]);
        }
    }
}

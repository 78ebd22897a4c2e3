//! One way to each worker: unbounded in form, bounded in fact.
//!
//! Replies are as many as there are requests, and those are bounded per socket. Events are counted,
//! and beyond [`limits::WORKER_EVENTS`] a worker gets a note to resync in place of them, so a worker
//! that stands still never makes a shard wait or memory grow.

use crate::{limits, request::Reply};
use gavel_domain::{event::Recorded, ids::LotId, wallet::view::WalletView};
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::mpsc;

/// A worker thread that holds sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WorkerId(pub u8);

impl WorkerId {
    /// Its bit in a set of workers.
    #[must_use]
    pub const fn bit(self) -> u64 {
        1 << self.0
    }
}

/// What a shard has for a worker.
#[derive(Debug)]
pub enum Item {
    /// The answer to a session's request.
    Reply {
        /// Which session, as the worker numbers them.
        session: u64,
        /// Which of its requests.
        request: i64,
        /// The answer.
        reply: Reply,
    },
    /// A committed event of a lot that this worker watches.
    Event(Arc<Recorded>),
    /// A wallet that this worker watches, as it is now.
    Wallet(Arc<WalletView>),
    /// Events of this lot were left out: ask for it anew.
    Missed(LotId),
}

/// Items in order.
pub type Parcel = Vec<Item>;

/// The sending end.
#[derive(Debug)]
pub struct Outlet {
    sender: mpsc::UnboundedSender<Parcel>,
    events_waiting: Arc<AtomicUsize>,
}

/// The worker's end.
#[derive(Debug)]
pub struct Inlet {
    receiver: mpsc::UnboundedReceiver<Parcel>,
    events_waiting: Arc<AtomicUsize>,
}

impl Outlet {
    fn pair() -> (Self, Inlet) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let events_waiting = Arc::new(AtomicUsize::new(0));
        (Self { sender, events_waiting: Arc::clone(&events_waiting) }, Inlet { receiver, events_waiting })
    }

    /// Sends a parcel. A worker that has gone takes its sockets with it: nothing to tell then.
    pub fn send(&self, mut parcel: Parcel) {
        let events = parcel.iter().filter(|item| matches!(item, Item::Event(_))).count();
        if events > 0 {
            let waiting = self.events_waiting.fetch_add(events, Ordering::Relaxed) + events;
            if waiting > limits::WORKER_EVENTS {
                leave_events_out(&mut parcel);
                self.events_waiting.fetch_sub(events, Ordering::Relaxed);
            }
        }
        let _ = self.sender.send(parcel);
    }
}

/// Puts one note a lot in place of its events.
fn leave_events_out(parcel: &mut Parcel) {
    let mut noted = std::collections::BTreeSet::new();
    parcel.retain_mut(|item| {
        let Item::Event(event) = item else { return true };
        let lot = event.lot;
        *item = Item::Missed(lot);
        noted.insert(lot)
    });
}

impl Inlet {
    /// The next parcel; none once the engine is gone.
    pub async fn next(&mut self) -> Option<Parcel> {
        let parcel = self.receiver.recv().await?;
        Some(self.counted(parcel))
    }

    /// The next parcel if there is one already.
    pub fn try_next(&mut self) -> Option<Parcel> {
        let parcel = self.receiver.try_recv().ok()?;
        Some(self.counted(parcel))
    }

    fn counted(&self, parcel: Parcel) -> Parcel {
        let events = parcel.iter().filter(|item| matches!(item, Item::Event(_))).count();
        self.events_waiting.fetch_sub(events, Ordering::Relaxed);
        parcel
    }
}

/// The ways to all workers.
#[derive(Debug)]
pub struct Outlets {
    ways: [OnceLock<Arc<Outlet>>; limits::WORKERS],
    attached: AtomicUsize,
}

impl Default for Outlets {
    fn default() -> Self {
        Self { ways: [const { OnceLock::new() }; limits::WORKERS], attached: AtomicUsize::new(0) }
    }
}

impl Outlets {
    /// A new worker. None once [`limits::WORKERS`] are attached.
    pub fn attach(&self) -> Option<(WorkerId, Arc<Outlet>, Inlet)> {
        let number = self.attached.fetch_add(1, Ordering::Relaxed);
        let (outlet, inlet) = Outlet::pair();
        let outlet = Arc::clone(self.ways.get(number)?.get_or_init(|| Arc::new(outlet)));
        Some((WorkerId(u8::try_from(number).ok()?), outlet, inlet))
    }

    /// The way to a worker.
    #[must_use]
    pub fn to(&self, worker: WorkerId) -> Option<&Arc<Outlet>> {
        self.ways.get(usize::from(worker.0))?.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_stay_when_events_are_left_out() {
        let lot = LotId(uuid::Uuid::nil());
        let event = || {
            Item::Event(Arc::new(Recorded {
                lot,
                epoch: gavel_domain::ids::Epoch(1),
                seq: gavel_domain::ids::Seq(1),
                at: gavel_domain::time::Timestamp::default(),
                event: gavel_domain::event::LotEvent::Settled,
            }))
        };
        let (outlet, mut inlet) = Outlet::pair();
        for _ in 0..limits::WORKER_EVENTS {
            outlet.send(vec![event()]);
        }
        outlet.send(vec![event(), Item::Reply { session: 1, request: 1, reply: Reply::Done }, event()]);
        let mut last = Vec::new();
        while let Some(parcel) = inlet.try_next() {
            last = parcel;
        }
        assert!(matches!(last.as_slice(), [Item::Missed(_), Item::Reply { .. }]), "{last:?}");
        outlet.send(vec![event()]);
        assert!(matches!(inlet.try_next().as_deref(), Some([Item::Event(_)])), "room again once the worker has caught up");
    }
}

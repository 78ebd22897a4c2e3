//! What waits behind the journal to leave a shard, and how it leaves.

use crate::{
    delivery::{Item, Outlet, Outlets, Parcel, WorkerId, reply::ReplyTo},
    meters::Meters,
    request::Reply,
};
use gavel_domain::event::Recorded;
use smallvec::SmallVec;
use std::{sync::Arc, time::Instant};
use tokio::sync::oneshot;

/// Something that depends on uncommitted state.
pub(crate) enum Output {
    Reply {
        to: ReplyTo,
        reply: Reply,
        /// For a bid: when it was admitted.
        admitted: Option<Instant>,
    },
    /// An event for those workers (bits).
    Event { event: Arc<Recorded>, workers: u64 },
    /// Somebody waits until all that was staged before is durable.
    Barrier(oneshot::Sender<()>),
}

/// Sends outputs on, one parcel a worker, in order.
pub(crate) fn release(outputs: impl IntoIterator<Item = Output>, outlets: &Outlets, meters: &Meters) {
    let mut parcels: SmallVec<[(Arc<Outlet>, Parcel); 4]> = SmallVec::new();
    let now = Instant::now();
    for output in outputs {
        match output {
            Output::Reply { mut to, reply, admitted } => {
                if let Some(admitted) = admitted {
                    meters.receipt_seconds.record(now.saturating_duration_since(admitted));
                }
                if let Some((outlet, item)) = to.take(reply) {
                    parcel(&mut parcels, &outlet).push(item);
                }
            }
            Output::Event { event, workers } => {
                let mut left = workers;
                while left != 0 {
                    let worker = left.trailing_zeros();
                    left &= left - 1;
                    let Some(outlet) = u8::try_from(worker).ok().and_then(|worker| outlets.to(WorkerId(worker))) else { continue };
                    parcel(&mut parcels, outlet).push(Item::Event(Arc::clone(&event)));
                }
            }
            Output::Barrier(waiting) => {
                let _ = waiting.send(());
            }
        }
    }
    for (outlet, parcel) in parcels {
        outlet.send(parcel);
    }
}

fn parcel<'a>(parcels: &'a mut SmallVec<[(Arc<Outlet>, Parcel); 4]>, outlet: &Arc<Outlet>) -> &'a mut Parcel {
    let at = parcels.iter().position(|(known, _)| Arc::ptr_eq(known, outlet)).unwrap_or_else(|| {
        parcels.push((Arc::clone(outlet), Vec::new()));
        parcels.len() - 1
    });
    &mut parcels[at].1
}

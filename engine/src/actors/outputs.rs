//! What waits behind the journal to leave a shard, and how it leaves.

use super::shard::Node;
use crate::{
    delivery::{Item, Outlet, Outlets, Parcel, WorkerId, reply::ReplyTo},
    request::Reply,
};
use gavel_domain::{
    claims::Letter,
    event::Recorded,
    ids::{BidderId, LotId},
    wallet::view::WalletView,
};
use smallvec::SmallVec;
use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
    time::Instant,
};
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
    /// A wallet as it is now, for those workers (bits).
    Wallet { view: Arc<WalletView>, workers: u64 },
    /// To a wallet or a lot, which may live on another thread.
    Letter(Letter),
    /// Somebody waits until all that was staged before is durable.
    Barrier(oneshot::Sender<()>),
}

/// Sends outputs on, one parcel a worker and one an arbiter, in order.
pub(crate) fn release(outputs: impl IntoIterator<Item = Output>, node: &Node) {
    let (outlets, meters) = (&node.outlets, &node.meters);
    let mut parcels: SmallVec<[(Arc<Outlet>, Parcel); 4]> = SmallVec::new();
    let mut letters = Letters::default();
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
                for outlet in each(workers, outlets) {
                    parcel(&mut parcels, outlet).push(Item::Event(Arc::clone(&event)));
                }
            }
            Output::Wallet { view, workers } => {
                for outlet in each(workers, outlets) {
                    parcel(&mut parcels, outlet).push(Item::Wallet(Arc::clone(&view)));
                }
            }
            Output::Letter(letter) => write(&mut letters, letter),
            Output::Barrier(waiting) => {
                let _ = waiting.send(());
            }
        }
    }
    if !letters.all.is_empty() {
        node.post.send(letters.all);
    }
    for (outlet, parcel) in parcels {
        outlet.send(parcel);
    }
}

/// Adds a letter. A lot's later word says all that an earlier one did, so of two to the same wallet
/// only the later goes: a hot lot outbids the same bidders again and again within a batch.
fn write(letters: &mut Letters, letter: Letter) {
    if let Letter::Word { wallet, lot, .. } = &letter {
        match letters.words.entry((wallet.clone(), *lot)) {
            Entry::Occupied(earlier) => {
                letters.all[*earlier.get()] = letter;
                return;
            }
            Entry::Vacant(new) => {
                new.insert(letters.all.len());
            }
        }
    }
    letters.all.push(letter);
}

/// What is written within a batch.
#[derive(Default)]
struct Letters {
    all: Vec<Letter>,
    /// Where the word of a lot to a wallet is.
    words: HashMap<(BidderId, LotId), usize>,
}

/// The workers of a set of bits.
fn each(workers: u64, outlets: &Outlets) -> impl Iterator<Item = &Arc<Outlet>> {
    let mut left = workers;
    std::iter::from_fn(move || {
        let worker = u8::try_from(left.trailing_zeros()).ok().filter(|_| left != 0)?;
        left &= left - 1;
        Some(WorkerId(worker))
    })
    .filter_map(|worker| outlets.to(worker))
}

fn parcel<'a>(parcels: &'a mut SmallVec<[(Arc<Outlet>, Parcel); 4]>, outlet: &Arc<Outlet>) -> &'a mut Parcel {
    let at = parcels.iter().position(|(known, _)| Arc::ptr_eq(known, outlet)).unwrap_or_else(|| {
        parcels.push((Arc::clone(outlet), Vec::new()));
        parcels.len() - 1
    });
    &mut parcels[at].1
}

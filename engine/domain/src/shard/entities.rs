//! The state that a shard's journal adds up to. Recovery, replay and the tests build it from
//! batches; live, the actors hold the same lots one by one.

use crate::{
    event::Recorded,
    ids::{BidderId, LotId, Seq},
    lot::Lot,
    shard::{batch::Entry, keys::Keys},
    time::Timestamp,
    wallet::{Wallet, event::WalletRecorded},
};
use std::{collections::BTreeMap, sync::Arc};

/// Everything that lives in one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entities {
    /// By id.
    pub lots: BTreeMap<LotId, Lot>,
    /// By bidder.
    pub wallets: BTreeMap<BidderId, Wallet>,
    /// Idempotency keys.
    pub keys: Keys,
    /// The latest time of any entry: the clock never goes below it.
    pub latest: Timestamp,
}

/// A journal that does not fit together: a bug or foreign data, never a rule's refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// An event of a lot that was never created.
    #[error("event {seq:?} of lot {lot}, which nothing has created")]
    UnknownLot {
        /// Whose.
        lot: LotId,
        /// Which.
        seq: Seq,
    },
    /// An event too far ahead.
    #[error("event {seq:?} of lot {lot}, which stands at {at:?}")]
    Gap {
        /// Whose.
        lot: LotId,
        /// Which.
        seq: Seq,
        /// Where the lot stands.
        at: Seq,
    },
    /// An event of a wallet too far ahead.
    #[error("event {seq:?} of the wallet of {bidder}, which stands at {at:?}")]
    WalletGap {
        /// Whose.
        bidder: BidderId,
        /// Which.
        seq: Seq,
        /// Where the wallet stands.
        at: Seq,
    },
}

impl Entities {
    /// Applies one entry of the journal. Entries that a snapshot holds already are passed over.
    ///
    /// # Errors
    /// It doesn't continue what is here.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Misfit> {
        match entry {
            Entry::EpochOpened { at, .. } => self.latest = self.latest.max(*at),
            Entry::Key(used) => {
                self.latest = self.latest.max(used.at);
                self.keys.apply(used);
            }
            Entry::Lot(recorded) => {
                self.latest = self.latest.max(recorded.at);
                self.apply_to_lot(recorded)?;
            }
            Entry::Wallet(recorded) => {
                self.latest = self.latest.max(recorded.at);
                let wallet = self.wallets.entry(recorded.bidder.clone()).or_insert_with(|| Wallet::new(recorded.bidder.clone()));
                catch_up_wallet(wallet, recorded)?;
            }
            // State is what the events make it; who made them is for the audit trail.
            Entry::Act(act) => self.latest = self.latest.max(act.at),
        }
        Ok(())
    }

    fn apply_to_lot(&mut self, recorded: &Arc<Recorded>) -> Result<(), Misfit> {
        let (lot, seq) = (recorded.lot, recorded.seq);
        if let Some(known) = self.lots.get_mut(&lot) {
            return catch_up(known, recorded);
        }
        if recorded.event.creation().is_none() {
            return Err(Misfit::UnknownLot { lot, seq });
        }
        self.lots.extend(Lot::from_creation(recorded).map(|created| (lot, created)));
        Ok(())
    }
}

/// Applies an event to its lot unless the lot has it already.
///
/// # Errors
/// An event in between is missing.
pub fn catch_up(lot: &mut Lot, recorded: &Arc<Recorded>) -> Result<(), Misfit> {
    let at = lot.position().seq;
    if recorded.seq == at.next() {
        lot.apply(recorded);
    } else if recorded.seq > at {
        return Err(Misfit::Gap { lot: recorded.lot, seq: recorded.seq, at });
    }
    Ok(())
}

/// Applies an event to its wallet unless the wallet has it already.
///
/// # Errors
/// An event in between is missing.
pub fn catch_up_wallet(wallet: &mut Wallet, recorded: &Arc<WalletRecorded>) -> Result<(), Misfit> {
    let (bidder, seq) = (&recorded.bidder, recorded.seq);
    wallet.catch_up(recorded).map_err(|at| Misfit::WalletGap { bidder: bidder.clone(), seq, at })
}

//! What a lot still answers that is over and out of memory; the same over REST and WebSocket.

use gavel_domain::{
    command::PlaceBid,
    lot::{same_bid, view::LotView},
    receipt::Receipt,
    reject::{Refusal, Reject},
};
use gavel_engine::{Engine, ports::StorageError};

/// It takes no bids, but knows those it took.
///
/// # Errors
/// The history can't be read; inside, the refusal.
pub(crate) async fn bid_on_archived(engine: &Engine, lot: &LotView, bid: &PlaceBid) -> Result<Result<Receipt, Refusal>, StorageError> {
    let known = engine.history().receipt(lot.id, &bid.bidder, bid.bid_id).await?;
    let judged = known.map_or(Err(Reject::LotClosed), |receipt| same_bid(bid, receipt));
    Ok(judged.map_err(|reject| Refusal { reject, received_at: engine.clock().now(), deadline: lot.closes_at }))
}

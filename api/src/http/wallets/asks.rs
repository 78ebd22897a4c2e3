//! Asking many wallets: some at once, and again where one has no answer for the moment.

use crate::http::{Api, asking::refused, problem::Problem};
use futures_util::{Stream, StreamExt as _, stream};
use gavel_domain::{
    ids::BidderId,
    money::Amount,
    wallet::{
        command::{Adjustment, Change},
        event::WalletRecorded,
        view::WalletView,
    },
};
use gavel_engine::{
    Engine,
    request::{Reply, WalletAsk},
};
use std::{future::Future, sync::Arc, time::Duration};

/// Wallets that are asked at once.
pub(super) const AT_ONCE: usize = 256;
/// How often a wallet is asked that has no answer for the moment, the pauses doubling from [`FIRST_PAUSE`].
const TRIES: u32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Asks; after `overloaded` or `unavailable` again, which is harmless: a change has a name and happens once.
async fn patiently(engine: &Engine, bidder: &BidderId, ask: impl Fn() -> WalletAsk) -> Reply {
    let mut tries = 0;
    loop {
        tries += 1;
        match engine.ask_wallet(bidder.clone(), ask()).await {
            Reply::Overloaded | Reply::Unavailable if tries < TRIES => tokio::time::sleep(FIRST_PAUSE * (1 << (tries - 1))).await,
            reply => return reply,
        }
    }
}

/// The wallet as it is.
pub(super) async fn view(engine: &Engine, bidder: &BidderId) -> Result<Arc<WalletView>, Problem> {
    match patiently(engine, bidder, || WalletAsk::View).await {
        Reply::Wallet(view) => Ok(view),
        other => Err(refused(other)),
    }
}

/// Changes a balance.
pub(super) async fn adjust(engine: &Engine, bidder: &BidderId, adjustment: Adjustment) -> Reply {
    patiently(engine, bidder, || WalletAsk::Adjust(Box::new(adjustment.clone()))).await
}

/// Whether a change was made already, and what it was. Asks for the same name to do what never changes anything.
///
/// # Errors
/// No answer, or the name stands for something else.
pub(super) async fn look_up(engine: &Engine, bidder: &BidderId, adjustment: Adjustment) -> Result<Option<Arc<WalletRecorded>>, Problem> {
    match adjust(engine, bidder, Adjustment { change: Change::CutTo(Amount::MAX), ..adjustment }).await {
        Reply::Done => Ok(None),
        Reply::Posted(recorded) => Ok(Some(recorded)),
        other => Err(refused(other)),
    }
}

/// What becomes of each item, in their order, some under way at once.
pub(super) fn each<I, F>(items: I, ask: impl FnMut(I::Item) -> F) -> impl Stream<Item = F::Output>
where
    I: IntoIterator,
    F: Future,
{
    stream::iter(items).map(ask).buffered(AT_ONCE)
}

impl Api {
    /// Every wallet in which something ever happened.
    ///
    /// # Errors
    /// A shard does not serve for the moment: its wallets are not known.
    pub(super) fn known_wallets(&self) -> Result<Vec<BidderId>, Problem> {
        let all_serve = || self.engine.shards().iter().all(|shard| shard.trouble.is_none());
        let (before, wallets) = (all_serve(), self.engine.directory().wallets());
        if before && all_serve() { Ok(wallets) } else { Err(refused(Reply::Unavailable)) }
    }
}

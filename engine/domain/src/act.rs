//! What auctioneers and administrators do to lots: who, what, and which event came of it. An act is
//! journaled in the batch of its effect, so there is exactly one where there is an effect, and none where
//! nothing changed. Bids are no acts, nor is what a deadline brings; what is done to wallets carries its
//! name in the wallet's own events.

use crate::{
    command::Command,
    event::{Change, LotEvent},
    ids::{BidderId, Epoch, LotId, Seq},
    time::{Millis, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One act, with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Who acted: the token's `sub`.
    pub by: Arc<str>,
    /// When it took effect.
    pub at: Timestamp,
    /// On which lot.
    pub lot: LotId,
    /// The epoch that journaled it.
    pub epoch: Epoch,
    /// The first of the lot's events that came of it.
    pub seq: Seq,
    /// What was done.
    pub deed: Deed,
}

/// What was done to a lot, with what matters of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Created.
    Create {
        /// Under which title.
        title: Arc<str>,
    },
    /// Opened by hand.
    Open,
    /// Paused.
    Pause {
        /// As shown to bidders.
        reason: Option<Arc<str>>,
    },
    /// Resumed.
    Resume,
    /// Its closing time was moved.
    Extend {
        /// By how much.
        by: Millis,
        /// To when.
        closes_at: Timestamp,
    },
    /// Cancelled.
    Cancel {
        /// As shown to bidders.
        reason: Option<Arc<str>>,
    },
    /// Closed by hand.
    Close,
    /// Changed; with the new values.
    Change(Box<Change>),
    /// Those who were not registered yet may bid now.
    Register(Vec<BidderId>),
    /// These may bid no more.
    Unregister(Vec<BidderId>),
}

impl Deed {
    /// What a command did, by the first event that came of it; none for commands that nobody gives.
    #[must_use]
    pub fn of(command: &Command, effect: &LotEvent) -> Option<Self> {
        Some(match (command, effect) {
            (Command::Open, _) => Self::Open,
            (Command::Pause { reason }, _) => Self::Pause { reason: reason.clone() },
            (Command::Resume, _) => Self::Resume,
            (Command::Extend { by }, LotEvent::Extended { closes_at, .. }) => Self::Extend { by: *by, closes_at: *closes_at },
            (Command::Cancel { reason }, _) => Self::Cancel { reason: reason.clone() },
            (Command::Close, _) => Self::Close,
            (Command::Change(_), LotEvent::Changed(change)) => Self::Change(change.clone()),
            (Command::Register(_), LotEvent::Registered(bidders)) => Self::Register(bidders.clone()),
            (Command::Unregister(_), LotEvent::Unregistered(bidders)) => Self::Unregister(bidders.clone()),
            _ => return None,
        })
    }

    /// As it is written everywhere.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Open => "open",
            Self::Pause { .. } => "pause",
            Self::Resume => "resume",
            Self::Extend { .. } => "extend",
            Self::Cancel { .. } => "cancel",
            Self::Close => "close",
            Self::Change(_) => "change",
            Self::Register(_) => "register",
            Self::Unregister(_) => "unregister",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Outcome;

    #[test]
    fn a_deed_says_what_came_of_the_command() {
        let ann = BidderId::try_from("ann").expect("a bidder");
        let ben = BidderId::try_from("ben").expect("a bidder");
        let closes_at = Timestamp::from_millis(9);
        let reason: Option<Arc<str>> = Some("fire".into());
        let closed = LotEvent::Closed(Outcome::Unsold { reason: crate::event::Unsold::NoBids });
        let change = Box::new(Change { title: Some("New".into()), ..Change::default() });
        for (command, effect, deed) in [
            (Command::Open, LotEvent::Opened { closes_at: None }, Some(Deed::Open)),
            (
                Command::Pause { reason: reason.clone() },
                LotEvent::Paused { remaining: None, reason: reason.clone() },
                Some(Deed::Pause { reason: reason.clone() }),
            ),
            (
                Command::Extend { by: Millis(5) },
                LotEvent::Extended { closes_at, extensions: 0 },
                Some(Deed::Extend { by: Millis(5), closes_at }),
            ),
            (Command::Close, closed.clone(), Some(Deed::Close)),
            // Ben was registered already.
            (Command::Register(vec![ann.clone(), ben]), LotEvent::Registered(vec![ann.clone()]), Some(Deed::Register(vec![ann.clone()]))),
            (Command::Unregister(ann.clone()), LotEvent::Unregistered(vec![ann.clone()]), Some(Deed::Unregister(vec![ann]))),
            (Command::Tick, closed, None),
            (Command::Settle, LotEvent::Settled, None),
        ] {
            assert_eq!(Deed::of(&command, &effect), deed, "{command:?}");
        }
        let changed = LotEvent::Changed(change.clone());
        assert_eq!(Deed::of(&Command::Change(Box::new(spec())), &changed), Some(Deed::Change(change)));
    }

    fn spec() -> crate::lot::spec::LotSpec {
        use crate::{
            currency::Currency,
            lot::{
                increments::{Increment, Increments},
                spec::{English, Funding, LotSpec, Rules},
            },
            money::Amount,
        };
        let increments = Increments::new(vec![Increment { from: Amount::ZERO, step: Amount::MAX }]).expect("a table");
        LotSpec {
            title: "New".into(),
            description: "".into(),
            currency: Currency { code: "DKP".into(), scale: 0 },
            funding: Funding::Open,
            rules: Rules::English(English { start_price: Amount::ZERO, reserve_price: None, buy_now_price: None, proxy: true, increments }),
            draft: true,
            opens_at: None,
            closes_at: None,
            soft_close: None,
        }
    }
}

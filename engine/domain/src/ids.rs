//! Who and what: lots, bids, bidders, shards, epochs, sequence numbers, positions.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, sync::Arc};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// A lot, for ever. Any UUID version; decides the lot's shard.
    LotId
);
uuid_id!(
    /// The client's own name of a bid, unique per lot and bidder.
    BidId
);

uuid_id!(
    /// A process that owns shards, from its start to its end.
    OwnerId
);

/// A bidder: the token's `sub`. 1–64 of `A–Z a–z 0–9 . _ -`, first a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BidderId(Arc<str>);

/// Text that is no bidder id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a bidder is 1 to 64 of A-Z a-z 0-9 . _ - and starts with a letter or digit")]
pub struct NotABidder;

impl BidderId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for BidderId {
    type Error = NotABidder;
    fn try_from(text: &str) -> Result<Self, NotABidder> {
        let bytes = text.as_bytes();
        let first = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        let rest = bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if !first || !rest || bytes.len() > 64 {
            return Err(NotABidder);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for BidderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BidderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for BidderId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BidderId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::try_from(text.as_ref()).map_err(D::Error::custom)
    }
}

/// One of the fixed number of shards, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(pub u16);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One ownership of a shard: each owner opens a higher one in the journal before it writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// The number of an event in its lot: the first is 1, none is left out; goes on across epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The number that follows.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Where a reader of a lot stands: the last event it has, and the epoch that journaled it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The epoch that journaled event `seq`.
    pub epoch: Epoch,
    /// The last event seen.
    pub seq: Seq,
}

/// One try to back a bid with a hold. Never given twice: the epoch is the lot's shard's, the number
/// counts in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// Of the shard that tries.
    pub epoch: Epoch,
    /// Counts the shard's attempts in that epoch, from 1.
    pub number: u64,
}

/// Names one change of a wallet, so that it happens once: a digest of who asked with which key, or
/// the lot that was won.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OperationId(pub [u8; 16]);

impl From<LotId> for OperationId {
    fn from(lot: LotId) -> Self {
        Self(lot.0.into_bytes())
    }
}

/// The shard of a lot. Stable for ever, since it says where data lies.
#[must_use]
pub fn shard_of(lot: LotId, shards: u16) -> ShardId {
    shard_of_hash(fnv1a(lot.0.as_bytes()), shards)
}

/// The shard of a bidder's wallet. Stable for ever, since it says where data lies.
///
/// Wallets live in one shard out of 32: a hot lot asks hundreds of wallets within one commit, and each
/// shard among them costs that commit a batch of its own. Names are short and differ at their ends,
/// which FNV hardly carries upwards: hence one more round of mixing than for a lot.
#[must_use]
pub fn shard_of_wallet(bidder: &BidderId, shards: u16) -> ShardId {
    let hash = fnv1a(bidder.as_str().as_bytes());
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let home = shard_of_hash(hash ^ (hash >> 33), (shards / 32).max(1)).0;
    // One of each 32 in a row, another each time: threads take shards in turn, and share these evenly.
    ShardId(home * 32 + home % 32)
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn shard_of_hash(hash: u64, shards: u16) -> ShardId {
    // The upper half is the better mixed one; the remainder fits since `shards` is 16 bits.
    ShardId(u16::try_from((hash >> 32) % u64::from(shards.max(1))).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bidder_syntax() {
        let longest = "a".repeat(64);
        for good in ["a", "0", "a.b_c-D9", longest.as_str()] {
            assert!(BidderId::try_from(good).is_ok(), "{good}");
        }
        let too_long = "a".repeat(65);
        for bad in ["", ".a", "-a", "_a", "a b", "ä", "a\n", too_long.as_str()] {
            assert!(BidderId::try_from(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shards_share_lots_evenly() {
        let mut counts = [0_u32; 64];
        for n in 0..64_000_u128 {
            counts[usize::from(shard_of(LotId(Uuid::from_u128(n << 64 | n)), 64).0)] += 1;
        }
        assert!(counts.iter().all(|c| (700..1300).contains(c)), "{counts:?}");
    }

    #[test]
    fn a_lot_stays_in_its_shard() {
        // Data written by earlier versions lies where this function said.
        let lot = LotId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!((shard_of(lot, 64), shard_of(lot, 4096), shard_of(lot, 1)), (ShardId(39), ShardId(679), ShardId(0)));
    }

    #[test]
    fn some_shards_share_wallets_evenly() {
        let mut counts = [0_u32; 64];
        for n in 0..64_000 {
            let bidder = BidderId::try_from(format!("player-{n}").as_str()).expect("a bidder");
            counts[usize::from(shard_of_wallet(&bidder, 64).0)] += 1;
        }
        assert!([0, 33].iter().all(|home| (31_000..33_000).contains(&counts[*home])), "{counts:?}");
        assert_eq!(counts[0] + counts[33], 64_000, "{counts:?}");
        let bidder = BidderId::try_from("ann").expect("a bidder");
        let shards = [1, 7, 8, 64, 4096].map(|shards| shard_of_wallet(&bidder, shards).0);
        assert_eq!(shards, [0, 0, 0, 33, 429], "as earlier versions said");
    }
}

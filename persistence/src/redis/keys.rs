//! Names of keys, ids of stream entries, and their fields. What they mean is in
//! `docs/decisions` (the page on Redis).
//!
//! A batch `<epoch>-<number>` is the entry `<epoch>-<number + 1>`: Redis has no entry 0-0.

use gavel_domain::{
    ids::{BidderId, Epoch, LotId, ShardId},
    shard::batch::BatchId,
};
use gavel_engine::ports::{
    format::{Digest, Mark, Sealed},
    snapshots::EntityKey,
};
use redis::Value;
use std::sync::Arc;

/// The field of the marker; those of entities begin with another letter.
pub(super) const MARKER: &[u8] = b"marker";
/// The name of the save whose pieces are being written ...
pub(super) const SAVING: &[u8] = b"saving";
/// ... and of the last one that ended.
pub(super) const SAVED: &[u8] = b"saved";

/// Begins the name of every key: one Redis can hold the data of several servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(Arc<str>);

/// A prefix may have 1 to 64 letters, digits, `.`, `_` and `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a prefix of keys has 1 to 64 letters, digits, '.', '_' and '-'")]
pub struct BadPrefix;

impl TryFrom<&str> for Prefix {
    type Error = BadPrefix;

    fn try_from(text: &str) -> Result<Self, BadPrefix> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let good = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        if good { Ok(Self(text.into())) } else { Err(BadPrefix) }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Prefix {
    /// All keys of a shard are in one hash slot: that of what is between the braces.
    fn of_shard(&self, shard: ShardId, what: &str) -> String {
        format!("gavel:{{{}:{shard}}}:{what}", self.0)
    }

    pub(super) fn journal(&self, shard: ShardId) -> String {
        self.of_shard(shard, "journal")
    }

    pub(super) fn snapshots(&self, shard: ShardId) -> String {
        self.of_shard(shard, "snapshots")
    }

    /// `unix_ms` is for people; `place` makes each one new, for ids there only grow too.
    pub(super) fn set_aside(&self, shard: ShardId, unix_ms: u128, from: BatchId, place: uuid::Uuid) -> String {
        self.of_shard(shard, &format!("set-aside:{unix_ms}:{from}:{place}"))
    }

    pub(super) fn meta(&self) -> String {
        format!("gavel:{{{}}}:meta", self.0)
    }

    pub(super) fn probe(&self) -> String {
        format!("gavel:{{{}}}:probe", self.0)
    }
}

/// The entry of a batch. The last of all numbers has none: an entry there is refused by Redis, for
/// it is that of the number before.
pub(super) fn entry_id(id: BatchId) -> String {
    format!("{}-{}", id.epoch.0, id.number.saturating_add(1))
}

fn batch_id(entry: &[u8]) -> Option<BatchId> {
    let (epoch, number) = std::str::from_utf8(entry).ok()?.split_once('-')?;
    let number = number.parse::<u64>().ok()?.checked_sub(1)?;
    Some(BatchId { epoch: Epoch(epoch.parse().ok()?), number })
}

/// An entry as `XRANGE` gives it; none: it is not one of ours.
pub(super) fn read_entry(shard: ShardId, entry: Value) -> Option<Sealed> {
    let Value::Array(entry) = entry else { return None };
    let [Value::BulkString(id), Value::Array(fields)] = <[Value; 2]>::try_from(entry).ok()? else { return None };
    let [previous_name, previous, hash_name, hash, total_name, _, bytes_name, bytes] = <[Value; 8]>::try_from(fields).ok()?;
    let names = [previous_name, hash_name, total_name, bytes_name];
    let expected: [&[u8]; 4] = [b"previous", b"hash", b"total", b"bytes"];
    let named = names.iter().zip(expected).all(|(name, expected)| matches!(name, Value::BulkString(name) if name == expected));
    let (Value::BulkString(previous), Value::BulkString(hash), Value::BulkString(bytes)) = (previous, hash, bytes) else { return None };
    named.then_some(())?;
    Some(Sealed {
        shard,
        id: batch_id(&id)?,
        previous: Digest(previous.try_into().ok()?),
        hash: Digest(hash.try_into().ok()?),
        bytes: bytes.into(),
    })
}

/// Epoch, number (both big-endian), digest.
pub(super) fn marker_bytes(mark: Mark) -> Vec<u8> {
    [&mark.id.epoch.0.to_be_bytes()[..], &mark.id.number.to_be_bytes(), &mark.hash.0].concat()
}

pub(super) fn read_marker(bytes: &[u8]) -> Option<Mark> {
    let (epoch, rest) = bytes.split_first_chunk::<8>()?;
    let (number, hash) = rest.split_first_chunk::<8>()?;
    let id = BatchId { epoch: Epoch(u64::from_be_bytes(*epoch)), number: u64::from_be_bytes(*number) };
    Some(Mark { id, hash: Digest(hash.try_into().ok()?) })
}

/// The letters are in the store: never use one for something else.
pub(super) fn entity_field(key: &EntityKey) -> Vec<u8> {
    match key {
        EntityKey::Lot(lot) => [b"l", &lot.0.as_bytes()[..]].concat(),
        EntityKey::Keys => b"k".to_vec(),
        EntityKey::Wallet(bidder) => [b"w", bidder.as_str().as_bytes()].concat(),
    }
}

pub(super) fn read_entity_field(field: &[u8]) -> Option<EntityKey> {
    match field.split_first()? {
        (b'l', id) => uuid::Uuid::from_slice(id).ok().map(|lot| EntityKey::Lot(LotId(lot))),
        (b'k', []) => Some(EntityKey::Keys),
        (b'w', name) => std::str::from_utf8(name).ok().and_then(|text| BidderId::try_from(text).ok()).map(EntityKey::Wallet),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_the_entry_one_above() {
        let id = |epoch, number| BatchId { epoch: Epoch(epoch), number };
        assert_eq!(entry_id(id(0, 0)), "0-1");
        assert_eq!(entry_id(id(1_800_000_000, 41)), "1800000000-42");
        assert_eq!(batch_id(b"1800000000-42"), Some(id(1_800_000_000, 41)));
        assert_eq!(batch_id(entry_id(id(u64::MAX, u64::MAX - 1)).as_bytes()), Some(id(u64::MAX, u64::MAX - 1)));
        for wrong in ["5-0", "5", "x-1", "-1"] {
            assert_eq!(batch_id(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn keys_of_a_shard_share_their_slot() {
        let prefix = Prefix::try_from("eu-1").expect("allowed");
        let id = BatchId { epoch: Epoch(7), number: 2 };
        let keys = [prefix.journal(ShardId(3)), prefix.snapshots(ShardId(3)), prefix.set_aside(ShardId(3), 9, id, uuid::Uuid::nil())];
        assert_eq!(
            keys,
            ["gavel:{eu-1:3}:journal", "gavel:{eu-1:3}:snapshots", "gavel:{eu-1:3}:set-aside:9:7-2:00000000-0000-0000-0000-000000000000"]
        );
        for wrong in ["", "a}b", "a:b", &"x".repeat(65)] {
            Prefix::try_from(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn markers_and_fields_come_back() {
        let mark = Mark { id: BatchId { epoch: Epoch(7), number: 9 }, hash: Digest([3; 32]) };
        assert_eq!(read_marker(&marker_bytes(mark)), Some(mark));
        assert_eq!(read_marker(&marker_bytes(mark)[1..]), None);
        let keys =
            [EntityKey::Keys, EntityKey::Lot(LotId(uuid::Uuid::from_u128(5))), EntityKey::Wallet("ann".try_into().expect("a bidder"))];
        for key in keys {
            assert_eq!(read_entity_field(&entity_field(&key)), Some(key));
        }
        assert!([MARKER, SAVING, SAVED].iter().all(|field| read_entity_field(field).is_none()));
    }
}

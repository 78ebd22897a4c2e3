//! How records are written: [`RecordFormat`], the one implementation of the engine's `Format`.
//!
//! A record is a [`header`] and a payload. The header says what it is, by which version it was
//! written, how long it is, and a checksum. The version that is written today encodes the domain's own
//! types, pinned by the files in `tests/fixtures`. A change of a domain type that breaks them begins a
//! new version: what the types were moves into a module of the old version ([`v1`]), which stays for
//! ever, and [`Stored`] gets a way to read it. What is stored where is the backends' matter.

mod header;
mod payload;
mod v1;

use gavel_domain::{
    event::Recorded,
    ids::ShardId,
    lot::{Lot, view::LotView},
    shard::{
        batch::{BatchId, Entry},
        keys::Keys,
    },
    wallet::Wallet,
};
use gavel_engine::ports::format::{Damage, Digest, Format, Sealed};
use header::{Header, Kind};
use serde::{Serialize, de::DeserializeOwned};
use std::cell::RefCell;

/// The version that is written, and the newest that is read.
pub const VERSION: u16 = 2;

/// A scratch buffer above this many bytes is given back after use.
const SCRATCH_KEPT_BYTES: usize = 1 << 20;

thread_local! {
    /// Batches are encoded here and then copied once into their `Arc`, so that nothing grows and
    /// moves on the hot path.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Encodes and decodes records; holds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordFormat;

impl Format for RecordFormat {
    fn seal(&self, shard: ShardId, id: BatchId, previous: Digest, entries: &[Entry]) -> Sealed {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            write(scratch, Kind::Batch, entries);
            let hash = digest(shard, id, previous, &scratch[header::LENGTH..]);
            let sealed = Sealed { shard, id, previous, hash, bytes: scratch.as_slice().into() };
            if scratch.capacity() > SCRATCH_KEPT_BYTES {
                *scratch = Vec::new();
            }
            sealed
        })
    }

    fn open(&self, sealed: &Sealed) -> Result<Vec<Entry>, Damage> {
        let (version, payload) = header::check(&sealed.bytes, Kind::Batch)?;
        // The digest is over shard, id and predecessor too: one that fits proves all of them.
        if digest(sealed.shard, sealed.id, sealed.previous, payload) != sealed.hash {
            return Err(Damage::Corrupt(format!("batch {} of shard {} is not what its digest says", sealed.id, sealed.shard)));
        }
        Vec::read(version, payload)
    }

    fn encode_lot(&self, lot: &Lot) -> Vec<u8> {
        encode(Kind::Lot, lot)
    }

    fn decode_lot(&self, bytes: &[u8]) -> Result<Lot, Damage> {
        read(bytes, Kind::Lot)
    }

    fn encode_wallet(&self, wallet: &Wallet) -> Vec<u8> {
        encode(Kind::Wallet, wallet)
    }

    fn decode_wallet(&self, bytes: &[u8]) -> Result<Wallet, Damage> {
        read(bytes, Kind::Wallet)
    }

    fn encode_keys(&self, keys: &Keys) -> Vec<u8> {
        encode(Kind::Keys, keys)
    }

    fn decode_keys(&self, bytes: &[u8]) -> Result<Keys, Damage> {
        read(bytes, Kind::Keys)
    }

    fn encode_view(&self, view: &LotView) -> Vec<u8> {
        encode(Kind::View, view)
    }

    fn decode_view(&self, bytes: &[u8]) -> Result<LotView, Damage> {
        read(bytes, Kind::View)
    }

    fn encode_event(&self, event: &Recorded) -> Vec<u8> {
        encode(Kind::Event, event)
    }

    fn decode_event(&self, bytes: &[u8]) -> Result<Recorded, Damage> {
        read(bytes, Kind::Event)
    }
}

fn encode<T: Serialize + ?Sized>(kind: Kind, value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(&mut out, kind, value);
    out
}

/// Leaves room for the header, encodes behind it, then fills the header in.
fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, kind: Kind, value: &T) {
    out.resize(header::LENGTH, 0);
    payload::encode(value, out);
    Header { kind, version: VERSION }.fill_in(out);
}

fn read<T: Stored>(bytes: &[u8], kind: Kind) -> Result<T, Damage> {
    let (version, payload) = header::check(bytes, kind)?;
    T::read(version, payload)
}

/// What is stored. Every version ever written stays readable.
trait Stored: DeserializeOwned {
    /// Reads what version 1 wrote.
    fn from_v1(payload: &[u8]) -> Result<Self, Damage>;

    /// Reads a payload of any version.
    fn read(version: u16, payload: &[u8]) -> Result<Self, Damage> {
        match version {
            1 => Self::from_v1(payload),
            VERSION => payload::decode(payload),
            0 => Err(Damage::Corrupt("record version 0 was never written".into())),
            found => Err(Damage::Newer { found, known: VERSION }),
        }
    }
}

fn digest(shard: ShardId, id: BatchId, previous: Digest, payload: &[u8]) -> Digest {
    // One small buffer instead of four updates of the hasher.
    let mut place = [0_u8; 50];
    place[..32].copy_from_slice(&previous.0);
    place[32..34].copy_from_slice(&shard.0.to_le_bytes());
    place[34..42].copy_from_slice(&id.epoch.0.to_le_bytes());
    place[42..].copy_from_slice(&id.number.to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&place).update(payload);
    Digest(*hasher.finalize().as_bytes())
}

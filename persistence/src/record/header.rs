//! The sixteen bytes before every payload. Integers are little-endian:
//! magic `GAVL` (4), kind (1), zero (1), version (2), payload length (4), CRC-32 (4).
//!
//! The checksum covers the twelve bytes before it and the payload. What payloads mean is not
//! known here.

use gavel_engine::ports::format::Damage;

/// Bytes in a header.
pub(super) const LENGTH: usize = 16;
const MAGIC: [u8; 4] = *b"GAVL";
/// Where the checksum lies; what is before it is covered by it.
const CHECKSUM_AT: usize = 12;

/// What a record holds. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Batch = 1,
    Lot = 2,
    Keys = 3,
    View = 4,
    Event = 5,
    Wallet = 6,
}

/// What a writer says of its payload.
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) version: u16,
}

impl Header {
    /// Writes itself over the first [`LENGTH`] bytes of `record`, whose payload is complete.
    pub(super) fn fill_in(&self, record: &mut [u8]) {
        // A payload is bounded far below 4 GiB by every queue before it.
        let length = u32::try_from(record.len() - LENGTH).expect("a payload below 4 GiB");
        record[..4].copy_from_slice(&MAGIC);
        record[4] = self.kind as u8;
        record[5] = 0;
        record[6..8].copy_from_slice(&self.version.to_le_bytes());
        record[8..CHECKSUM_AT].copy_from_slice(&length.to_le_bytes());
        let sum = checksum(record);
        record[CHECKSUM_AT..LENGTH].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Checks that `record` is whole, unchanged and of that kind: its version and payload.
///
/// # Errors
/// It is not. A version is not judged here, so that a newer one is told from damage.
pub(super) fn check(record: &[u8], kind: Kind) -> Result<(u16, &[u8]), Damage> {
    let corrupt = |what: String| Err(Damage::Corrupt(what));
    if record.len() < LENGTH {
        return corrupt(format!("a record of {} bytes is shorter than its header", record.len()));
    }
    if record[..4] != MAGIC {
        return corrupt("the magic number is missing".into());
    }
    let length = u32::from_le_bytes([record[8], record[9], record[10], record[11]]);
    let payload = &record[LENGTH..];
    if usize::try_from(length) != Ok(payload.len()) {
        return corrupt(format!("{} bytes of payload where the header says {length}", payload.len()));
    }
    let written = u32::from_le_bytes([record[12], record[13], record[14], record[15]]);
    if checksum(record) != written {
        return corrupt("the checksum does not fit".into());
    }
    if record[4] != kind as u8 || record[5] != 0 {
        return corrupt(format!("kind {} where {kind:?} was expected", record[4]));
    }
    Ok((u16::from_le_bytes([record[6], record[7]]), payload))
}

fn checksum(record: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&record[..CHECKSUM_AT]);
    sum.update(&record[LENGTH..]);
    sum.finalize()
}

//! The encoding of every payload, in every version so far: bincode 2, standard configuration.
//!
//! What differs between versions is what is encoded, not how.

use bincode::{
    config::{Configuration, Limit, LittleEndian, Varint},
    enc::write::Writer,
    error::EncodeError,
};
use gavel_engine::ports::format::Damage;
use serde::{Serialize, de::DeserializeOwned};

/// The most that decoding one payload may claim, in bytes: above any batch, below what a length
/// out of damaged bytes would ask for.
const MOST_BYTES: usize = 1 << 30;

const fn config() -> Configuration<LittleEndian, Varint, Limit<MOST_BYTES>> {
    bincode::config::standard().with_limit::<MOST_BYTES>()
}

struct Sink<'a>(&'a mut Vec<u8>);

impl Writer for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Appends the encoding of `value`.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    bincode::serde::encode_into_writer(value, Sink(out), config())
        .expect("the domain's types are plain data, and writing to memory does not fail");
}

/// Decodes a whole payload.
///
/// # Errors
/// It is no such value, or something is left over.
pub(super) fn decode<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Damage> {
    let (value, read) = bincode::serde::decode_from_slice(payload, config()).map_err(|e| Damage::Corrupt(e.to_string()))?;
    if read != payload.len() {
        return Err(Damage::Corrupt(format!("{} bytes are left over", payload.len() - read)));
    }
    Ok(value)
}

//! Fields that came after the bincode subprotocol was fixed: its structs never change, so there they
//! are not written at all.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A field of JSON alone; left out there where it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonOnly<T>(pub Option<T>);

impl<T> Default for JsonOnly<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> JsonOnly<T> {
    /// Whether to leave it out.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

impl<T: Serialize> Serialize for JsonOnly<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A unit takes no bytes.
        if serializer.is_human_readable() { self.0.serialize(serializer) } else { serializer.serialize_unit() }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for JsonOnly<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() { Option::deserialize(deserializer).map(Self) } else { Ok(Self(None)) }
    }
}

//! How long a token lasts, as people write it: `90s`, `15m`, `12h`, `30d`.

use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
/// A hundred years: beyond it somebody wants a token without end, and there is none.
const MAX_SECONDS: u64 = 36_500 * 86_400;

/// A positive number of whole seconds, at most 36,500 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(u64);

/// A text that is no such time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a positive whole number and a unit, such as 90s, 15m, 12h or 30d (at most 36500d)")]
pub struct TtlError;

impl Ttl {
    /// Whole seconds.
    #[must_use]
    pub fn as_secs(self) -> u64 {
        self.0
    }
}

impl From<Ttl> for Duration {
    fn from(ttl: Ttl) -> Self {
        Self::from_secs(ttl.0)
    }
}

impl FromStr for Ttl {
    type Err = TtlError;

    fn from_str(text: &str) -> Result<Self, TtlError> {
        let (unit, seconds) = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit)).ok_or(TtlError)?;
        let number = text.strip_suffix(unit).unwrap_or_default();
        // `parse` alone would take a sign.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TtlError);
        }
        let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).ok_or(TtlError)?;
        if (1..=MAX_SECONDS).contains(&total) { Ok(Self(total)) } else { Err(TtlError) }
    }
}

impl fmt::Display for Ttl {
    /// In the largest unit that divides it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, seconds) = UNITS.into_iter().find(|(_, seconds)| self.0.is_multiple_of(*seconds)).unwrap_or(('s', 1));
        write!(f, "{}{unit}", self.0 / seconds)
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|error| D::Error::custom(format!("{error}, got {text:?}")))
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::Ttl;

    #[test]
    fn units_bounds_and_the_way_back() {
        let good = [("90s", 90, "90s"), ("15m", 900, "15m"), ("12h", 43_200, "12h"), ("30d", 2_592_000, "30d")];
        for (text, seconds, shown) in good.into_iter().chain([("24h", 86_400, "1d"), ("01s", 1, "1s")]) {
            let ttl: Ttl = text.parse().unwrap();
            assert_eq!((ttl.as_secs(), ttl.to_string().as_str()), (seconds, shown));
        }
        for bad in ["", "s", "0s", "-1s", "+1s", "1", "1.5h", "1 h", "1w", "12H", "36501d", "99999999999999999999s", "1ä"] {
            assert!(bad.parse::<Ttl>().is_err(), "{bad:?}");
        }
    }
}

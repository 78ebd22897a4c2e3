//! How single values are read: integers with their bounds, durations in milliseconds, 0 for "off". An error says the bounds.
//! No key is named here.

use serde::de::{Deserializer, Error as _, Unexpected, Visitor};
use serde::{Deserialize as _, Serialize, Serializer};
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A day, in milliseconds: no duration here has a reason to be longer.
pub(super) const DAY: u64 = 86_400_000;

struct Between<const MIN: u64, const MAX: u64>;

impl<const MIN: u64, const MAX: u64> Visitor<'_> for Between<MIN, MAX> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer from {MIN} to {MAX}")
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<u64, E> {
        match u64::try_from(value) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<u64, E> {
        if (MIN..=MAX).contains(&value) { Ok(value) } else { Err(E::invalid_value(Unexpected::Unsigned(value), &self)) }
    }
}

pub(super) fn integer<'de, const MIN: u64, const MAX: u64, T, D>(from: D) -> Result<T, D::Error>
where
    T: TryFrom<u64>,
    D: Deserializer<'de>,
{
    let number = from.deserialize_u64(Between::<MIN, MAX>)?;
    T::try_from(number).map_err(|_| D::Error::custom("too large for this machine"))
}

pub(super) fn millis<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    integer::<MIN, MAX, u64, D>(from).map(Duration::from_millis)
}

/// 0 is off, everything else is a duration of at most a day.
pub(super) fn millis_or_off<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    millis::<0, DAY, D>(from).map(|duration| Some(duration).filter(|duration| !duration.is_zero()))
}

/// 0 is off, everything else at most `u32::MAX`.
pub(super) fn count_or_off<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NonZeroUsize>, D::Error> {
    integer::<0, { u32::MAX as u64 }, usize, D>(from).map(NonZeroUsize::new)
}

/// 0 is off, everything else at most a million.
pub(super) fn rate_or_off<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NonZeroU32>, D::Error> {
    integer::<0, 1_000_000, u32, D>(from).map(NonZeroU32::new)
}

pub(super) fn rate<'de, D: Deserializer<'de>>(from: D) -> Result<NonZeroU32, D::Error> {
    let number = integer::<1, 1_000_000, u32, D>(from)?;
    NonZeroU32::new(number).ok_or_else(|| D::Error::custom("must not be 0"))
}

pub(super) fn show_millis<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).serialize(to)
}

pub(super) fn show_millis_or_off<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    show_millis(&duration.unwrap_or_default(), to)
}

pub(super) fn show_count_or_off<S: Serializer>(count: &Option<NonZeroUsize>, to: S) -> Result<S::Ok, S::Error> {
    count.map_or(0, NonZeroUsize::get).serialize(to)
}

pub(super) fn show_rate_or_off<S: Serializer>(rate: &Option<NonZeroU32>, to: S) -> Result<S::Ok, S::Error> {
    rate.map_or(0, NonZeroU32::get).serialize(to)
}

/// An empty text is none.
pub(super) fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(from)?;
    if text.contains('\0') {
        return Err(D::Error::custom("a path can't hold a NUL"));
    }
    Ok(Some(PathBuf::from(text)).filter(|path| !path.as_os_str().is_empty()))
}

pub(super) fn show_optional_path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.as_deref().unwrap_or(Path::new("")).serialize(to)
}

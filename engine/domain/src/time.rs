//! Points in time and spans, in whole milliseconds. Nothing here reads a clock.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// Milliseconds since the Unix epoch, UTC. As text: RFC 3339 with milliseconds and `Z`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A span in milliseconds; never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

/// The longest span anything is configured or asked with: a hundred years.
pub const LONGEST: Millis = Millis(100 * 366 * 24 * 3_600_000);

impl Timestamp {
    /// 0001-01-01 and 9999-12-31: what RFC 3339 can write, with a day of room at either end.
    const BOUNDS: (i64, i64) = (-62_135_510_400_000, 253_402_207_200_000);

    /// From milliseconds since the Unix epoch, held within the years 1 to 9999.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        let (low, high) = Self::BOUNDS;
        Self(if millis < low {
            low
        } else if millis > high {
            high
        } else {
            millis
        })
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This time and `span` later, held within the year 9999.
    #[must_use]
    pub fn plus(self, span: Millis) -> Self {
        let span = i64::try_from(span.0).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_add(span))
    }

    /// This time and `span` earlier, held within the year 1.
    #[must_use]
    pub fn minus(self, span: Millis) -> Self {
        let span = i64::try_from(span.0).unwrap_or(i64::MAX);
        Self::from_millis(self.0.saturating_sub(span))
    }

    /// The span from `earlier` to this time; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Millis {
        Millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 24];
        f.write_str(write_rfc3339(self.0, &mut text))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// RFC 3339, section 5.6, of any offset. (Its note lets an application take a space for the `T`; this one does not.)
impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        if !is_rfc3339(text.as_bytes()) {
            return Err(jiff::Error::from_args(format_args!("expected a form such as 2026-11-22T01:02:03.456Z")));
        }
        text.parse::<jiff::Timestamp>().map(|t| Self::from_millis(t.as_millisecond()))
    }
}

/// Whether a text has the form: jiff reads others too, such as times without seconds. Ranges are left to it.
fn is_rfc3339(text: &[u8]) -> bool {
    let fits = |text: &[u8], form: &[u8]| {
        text.len() == form.len()
            && text.iter().zip(form).all(|(byte, form)| match form {
                b'0' => byte.is_ascii_digit(),
                b'T' => byte.eq_ignore_ascii_case(&b'T'),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
    };
    let Some((time, rest)) = text.split_at_checked(19) else { return false };
    let offset = match rest {
        [b'.', fraction @ ..] => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        rest => rest,
    };
    fits(time, b"0000-00-00T00:00:00") && (offset.eq_ignore_ascii_case(b"Z") || fits(offset, b"+00:00"))
}

/// Text for people's formats, an integer for binary ones.
impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_i64(self.0);
        }
        let mut text = [0; 24];
        serializer.serialize_str(write_rfc3339(self.0, &mut text))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self::from_millis);
        }
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|e| D::Error::custom(format!("not an RFC 3339 time: {e}")))
    }
}

/// Formats without allocation: three of these are in every receipt, so they count on the hot path
/// (jiff's printer was measured at about four times this).
fn write_rfc3339(millis: i64, out: &mut [u8; 24]) -> &str {
    let days = millis.div_euclid(86_400_000);
    let in_day = millis.rem_euclid(86_400_000);
    let (year, month, day) = civil_from_days(days);
    let mut put = |at: usize, digits: usize, mut value: i64| {
        for i in (at..at + digits).rev() {
            out[i] = b'0' + u8::try_from(value % 10).unwrap_or(0);
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, in_day / 3_600_000);
    put(14, 2, in_day / 60_000 % 60);
    put(17, 2, in_day / 1000 % 60);
    put(20, 3, in_day % 1000);
    for (at, mark) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')] {
        out[at] = mark;
    }
    std::str::from_utf8(out).expect("only ASCII was written")
}

/// Days since 1970-01-01 to year, month, day in the proleptic Gregorian calendar, by counting eras
/// of 400 years that start on 1 March (so that the leap day ends a year).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_what_jiff_writes() {
        let mut millis = -62_135_510_400_000_i64;
        while millis < 253_402_207_200_000 {
            let time = Timestamp::from_millis(millis);
            let theirs = format!("{:.3}", jiff::Timestamp::from_millisecond(millis).expect("in range"));
            assert_eq!(time.to_string(), theirs);
            assert_eq!(time.to_string().parse::<Timestamp>().expect("own text"), time);
            millis += 86_399_999 * 977; // drifts through days and milliseconds
        }
    }

    #[test]
    fn only_the_form_of_rfc_3339_is_read() {
        let at = |text: &str| text.parse::<Timestamp>().ok().map(|time| time.to_string());
        for good in [
            "2026-11-22T10:15:00Z",
            "2026-11-22T10:15:00.000Z",
            "2026-11-22t10:15:00.0000000z",
            "2026-11-22T12:15:00+02:00",
            "2026-11-22T05:45:00.000-04:30",
        ] {
            assert_eq!(at(good).as_deref(), Some("2026-11-22T10:15:00.000Z"), "{good}");
        }
        for bad in [
            "",
            "2026-11-22",
            "2026-11-22T10Z",
            "2026-11-22T10:15Z",
            "20261122T101500Z",
            "2026-11-22 10:15:00Z",
            "2026-11-22T10:15:00",
            "2026-11-22T10:15:00.Z",
            "2026-11-22T10:15:00,5Z",
            "2026-11-22T10:15:00Z[UTC]",
            "2026-11-22T10:15:00+02",
            "2026-11-22T10:15:00+0200",
            "2026-11-22T10:15:00+02:00:00",
            "+002026-11-22T10:15:00Z",
            "2026-13-22T10:15:00Z",
            "2026-11-22T24:15:00Z",
            " 2026-11-22T10:15:00Z",
        ] {
            assert_eq!(at(bad), None, "{bad}");
        }
    }

    #[test]
    fn spans_never_go_below_zero() {
        let (a, b) = (Timestamp::from_millis(5), Timestamp::from_millis(9));
        assert_eq!((b.since(a), a.since(b)), (Millis(4), Millis(0)));
    }
}

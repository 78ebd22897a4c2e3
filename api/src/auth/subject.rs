//! A token holder's name. Nothing about what it may do.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// 1–64 of `A–Z a–z 0–9 . _ -`, first a letter or digit. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(Arc<str>);

/// A name outside that syntax.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 64 of A-Z a-z 0-9 . _ -, first a letter or digit")]
pub struct SubjectError;

impl Subject {
    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Subject {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        let starts = text.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric());
        let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if starts && fits && text.len() <= 64 { Ok(Self(text.into())) } else { Err(SubjectError) }
    }
}

#[cfg(test)]
mod tests {
    use super::Subject;

    #[test]
    fn the_syntax_holds_at_its_edges() {
        let longest = "x".repeat(64);
        for good in ["a", "7", "Alice.B_c-d", longest.as_str()] {
            assert_eq!(good.parse::<Subject>().unwrap().as_str(), good);
        }
        let longer = "x".repeat(65);
        for bad in ["", ".a", "-a", "_a", "a b", "a/b", "ä", "a\n", "a\0", longer.as_str()] {
            assert!(bad.parse::<Subject>().is_err(), "{bad:?}");
        }
    }
}

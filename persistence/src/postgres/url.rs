//! Where a PostgreSQL is, as configured. Its password is in no text that is made of it.

use sqlx::postgres::PgConnectOptions;
use std::fmt;

/// What stands in the place of a password.
const MASK: &str = "********";

/// `postgres://[user[:password]@]host[:port]/database[?sslmode=…&sslrootcert=…]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(String);

/// Not a URL of a PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PostgreSQL URL (postgres://user@host:port/database)")]
pub struct BadUrl;

impl TryFrom<&str> for Url {
    type Error = BadUrl;

    fn try_from(text: &str) -> Result<Self, BadUrl> {
        let known = ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
        // A password among the parameters would be shown.
        let hides = text.split_once('?').is_some_and(|(_, parameters)| parameters.split('&').any(|one| one.starts_with("password=")));
        let whole = known && !hides && text.parse::<PgConnectOptions>().is_ok();
        if whole { Ok(Self(text.to_owned())) } else { Err(BadUrl) }
    }
}

impl Url {
    /// As given, with the password if it has one.
    #[must_use]
    pub fn as_given(&self) -> &str {
        &self.0
    }

    /// Whether it has a password.
    #[must_use]
    pub fn has_password(&self) -> bool {
        credentials(&self.0).is_some_and(|(_, credentials, _)| credentials.contains(':'))
    }
}

/// What is before user and password, they, and what is after.
fn credentials(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("://")? + 3;
    // The last one: a password may hold an @ of its own.
    let end = start + text[start..].rfind('@')?;
    Some((&text[..start], &text[start..end], &text[end..]))
}

/// Without the password.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match credentials(&self.0) {
            Some((before, credentials, after)) if credentials.contains(':') => {
                let user = credentials.split(':').next().unwrap_or_default();
                write!(f, "{before}{user}:{MASK}{after}")
            }
            _ => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_told() {
        for (given, shown, has) in [
            ("postgres://127.0.0.1/gavel", "postgres://127.0.0.1/gavel", false),
            ("postgres://ann@h:1/gavel", "postgres://ann@h:1/gavel", false),
            ("postgresql://ann:horse@h:1/gavel", "postgresql://ann:********@h:1/gavel", true),
            ("postgres://ann:ho%40rse@h/gavel?sslmode=disable", "postgres://ann:********@h/gavel?sslmode=disable", true),
        ] {
            let url = Url::try_from(given).expect("a URL");
            assert_eq!((url.to_string().as_str(), url.has_password()), (shown, has));
            assert!(!format!("{url:?}").contains("horse"));
        }
        for wrong in ["", "h:5432", "mysql://h/gavel", "postgres://h:port/gavel", "postgres://h/gavel?password=horse"] {
            assert_eq!(Url::try_from(wrong), Err(BadUrl), "{wrong}");
        }
    }
}

//! Where a Redis is, and the credentials that go with it. A password is in no text that is made of it.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use std::fmt;

/// What stands in the place of a password.
const MASK: &str = "********";

/// `redis://[user:password@]host:port[/database]`, or `rediss://` for TLS.
#[derive(Clone)]
pub struct Address {
    info: ConnectionInfo,
    /// As given, without the password.
    shown: String,
}

/// Not a URL of a Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Redis URL (redis://host:port, or rediss://host:port for TLS)")]
pub struct BadAddress;

impl TryFrom<&str> for Address {
    type Error = BadAddress;

    fn try_from(text: &str) -> Result<Self, BadAddress> {
        if !["redis://", "rediss://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Err(BadAddress);
        }
        let info = text.into_connection_info().map_err(|_| BadAddress)?;
        Ok(Self { info, shown: masked(text) })
    }
}

impl Address {
    /// The same with this password, whatever the URL says.
    #[must_use]
    pub fn with_password(self, password: &str) -> Self {
        let settings = self.info.redis_settings().clone().set_password(password);
        Self { info: self.info.set_redis_settings(settings), ..self }
    }

    /// Whether there is a password in it.
    #[must_use]
    pub fn has_password(&self) -> bool {
        self.info.redis_settings().password().is_some()
    }

    /// Whether TLS is spoken.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.info.clone()
    }
}

impl fmt::Display for Address {
    /// As it was given, with the password masked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A text with what stands between `user:` and `@` masked, whether it is a good URL or not.
#[must_use]
pub fn masked(text: &str) -> String {
    let Some(start) = text.find("://").map(|at| at + 3) else { return text.to_owned() };
    // The last one: a password may hold an @ of its own.
    let Some(end) = text[start..].rfind('@').map(|at| start + at) else { return text.to_owned() };
    let user = text[start..end].split(':').next().unwrap_or_default();
    format!("{}{user}:{MASK}{}", &text[..start], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_told() {
        for (given, shown) in [
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
            ("redis://:horse@h:1/2", "redis://:********@h:1/2"),
            ("rediss://ann:horse@h:1", "rediss://ann:********@h:1"),
            ("rediss://ann:ho@rse:x@h:1", "rediss://ann:********@h:1"),
        ] {
            assert_eq!(masked(given), shown);
            if let Ok(address) = Address::try_from(given) {
                assert_eq!((address.to_string(), format!("{address:?}")), (shown.to_owned(), shown.to_owned()));
            }
        }
        let given = Address::try_from("redis://h:1").expect("a URL");
        assert!(!given.has_password());
        let with = given.with_password("horse");
        assert!(with.has_password() && !format!("{with} {with:?}").contains("horse"));
    }

    #[test]
    fn what_is_no_address_of_a_redis_is_refused() {
        for wrong in ["", "127.0.0.1:6379", "http://h:1", "redis://", "redis://h:port", "unix:///run/redis", "redis://h:1/db"] {
            assert_eq!(Address::try_from(wrong).map(|address| address.to_string()), Err(BadAddress), "{wrong}");
        }
        assert!(Address::try_from("rediss://h:1").expect("a URL").is_tls());
    }
}

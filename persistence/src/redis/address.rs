//! Where a Redis is, and the credentials that go with it. A password is in no text that is made of it.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use std::fmt;

/// What stands in the place of a password.
const MASK: &str = "********";

/// `redis://[user:password@]host:port[/database]`, or
/// `redis+sentinel://[user:password@]host:port[,host:port …]/master[/database]`, which names Sentinels and what they
/// call the master; user and password are the master's. `rediss` in place of `redis`: with TLS.
#[derive(Clone)]
pub struct Address {
    /// With the credentials. Of Sentinels: their master, once its host and port are known.
    info: ConnectionInfo,
    sentinels: Option<Sentinels>,
    /// As given, without the password.
    shown: String,
}

/// Who knows where the master is.
#[derive(Clone)]
pub(super) struct Sentinels {
    pub(super) each: Vec<ConnectionInfo>,
    /// What they call it.
    pub(super) master: String,
}

/// Not a URL of a Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Redis URL (redis://host:port, or rediss://host:port for TLS)")]
pub struct BadAddress;

impl TryFrom<&str> for Address {
    type Error = BadAddress;

    fn try_from(text: &str) -> Result<Self, BadAddress> {
        let (scheme, rest) = text.split_once("://").ok_or(BadAddress)?;
        let parsed = |text: &str| text.into_connection_info().map_err(|_| BadAddress);
        let (info, sentinels) = match (scheme, scheme.strip_suffix("+sentinel")) {
            ("redis" | "rediss", _) => (parsed(text)?, None),
            (_, Some(scheme @ ("redis" | "rediss"))) => {
                let (user, place) = rest.rsplit_once('@').map_or(("", rest), |(user, place)| (&rest[..=user.len()], place));
                let (hosts, path) = place.split_once('/').ok_or(BadAddress)?;
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let each = hosts.split(',').map(|host| parsed(&format!("{scheme}://{host}"))).collect::<Result<Vec<_>, _>>()?;
                let first = hosts.split(',').next().unwrap_or_default();
                let info = parsed(&format!("{scheme}://{user}{first}/{database}"))?;
                if master.is_empty() {
                    return Err(BadAddress);
                }
                (info, Some(Sentinels { each, master: master.to_owned() }))
            }
            _ => return Err(BadAddress),
        };
        Ok(Self { info, sentinels, shown: masked(text) })
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

    /// Whether Sentinels say where it is.
    #[must_use]
    pub const fn is_sentinel(&self) -> bool {
        self.sentinels.is_some()
    }

    pub(super) const fn sentinels(&self) -> Option<&Sentinels> {
        self.sentinels.as_ref()
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.info.clone()
    }

    /// What people call it.
    pub(super) fn server(&self) -> String {
        match &self.sentinels {
            None => self.info.addr().to_string(),
            Some(sentinels) => {
                let each: Vec<String> = sentinels.each.iter().map(|sentinel| sentinel.addr().to_string()).collect();
                format!("{} (master {:?} of these Sentinels)", each.join(","), sentinels.master)
            }
        }
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

/// A text with what stands between `user:` and `@` masked; where it is no URL, all before the `@`.
#[must_use]
pub fn masked(text: &str) -> String {
    // The last one: a password may hold an @ of its own.
    let Some(end) = text.rfind('@') else { return text.to_owned() };
    match text[..end].find("://").map(|at| at + 3) {
        Some(start) => {
            let user = text[start..end].split(':').next().unwrap_or_default();
            format!("{}{user}:{MASK}{}", &text[..start], &text[end..])
        }
        None => format!("{MASK}{}", &text[end..]),
    }
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
            ("redis:/ann:horse@h:1", "********@h:1"),
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
    fn sentinels_are_named_with_their_master() {
        let given = "redis+sentinel://ann:horse@h:1,i:2/main/3";
        let address = Address::try_from(given).expect("a URL");
        assert_eq!(address.to_string(), "redis+sentinel://ann:********@h:1,i:2/main/3");
        assert_eq!(address.server(), "h:1,i:2 (master \"main\" of these Sentinels)");
        let settings = address.info.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("ann"), Some("horse"), 3));
        assert!(address.is_sentinel() && !address.is_tls());
        assert!(Address::try_from("rediss+sentinel://h:1/main").expect("a URL").is_tls());
        for wrong in ["redis+sentinel://h:1", "redis+sentinel://h:1/", "redis+sentinel:///main", "redis+sentinel://h:x/main"] {
            assert_eq!(Address::try_from(wrong).map(|address| address.to_string()), Err(BadAddress), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_redis_is_refused() {
        for wrong in ["", "127.0.0.1:6379", "http://h:1", "redis://", "redis://h:port", "unix:///run/redis", "redis://h:1/db"] {
            assert_eq!(Address::try_from(wrong).map(|address| address.to_string()), Err(BadAddress), "{wrong}");
        }
        assert!(Address::try_from("rediss://h:1").expect("a URL").is_tls());
    }
}

//! Where a Redis is, and the credentials that go with it. A password is in no text that is made of it.

use super::slots::Node;
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _};
use std::fmt;

/// What stands in the place of a password.
const MASK: &str = "********";

/// One of
/// - `redis://[user:password@]host:port[/database]`;
/// - `redis+sentinel://[user:password@]host:port[,host:port …]/master[/database]`, which names Sentinels and what they
///   call the master; user and password are the master's;
/// - `redis+cluster://[user:password@]host:port[,host:port …]`, which names some nodes of a Redis Cluster.
///
/// `rediss` in place of `redis`: with TLS.
#[derive(Clone)]
pub struct Address {
    /// With the credentials. Of Sentinels and clusters: host and port are to be found out.
    info: ConnectionInfo,
    kind: Kind,
    /// As given, without the password.
    shown: String,
}

#[derive(Clone)]
enum Kind {
    Server,
    Sentinels(Sentinels),
    Cluster(Vec<Node>),
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
pub enum BadAddress {
    /// Something else altogether.
    #[error("expected redis://host:port or rediss://host:port, with user, password and database where they are needed")]
    Form,
    /// Databases have numbers on a single server only.
    #[error("a Redis Cluster has no numbered databases: expected redis+cluster://host:port[,host:port] without a path")]
    Database,
}

impl TryFrom<&str> for Address {
    type Error = BadAddress;

    fn try_from(text: &str) -> Result<Self, BadAddress> {
        let (scheme, rest) = text.split_once("://").ok_or(BadAddress::Form)?;
        let (scheme, kind) = scheme.split_once('+').map_or((scheme, None), |(scheme, kind)| (scheme, Some(kind)));
        if !matches!(scheme, "redis" | "rediss") {
            return Err(BadAddress::Form);
        }
        let (user, place) = rest.rsplit_once('@').map_or(("", rest), |(user, place)| (&rest[..=user.len()], place));
        let parsed = |text: &str| text.into_connection_info().map_err(|_| BadAddress::Form);
        let each = |hosts: &str| hosts.split(',').map(|host| parsed(&format!("{scheme}://{host}"))).collect::<Result<Vec<_>, _>>();
        let (info, kind) = match kind {
            None => (parsed(text)?, Kind::Server),
            Some("sentinel") => {
                let (hosts, path) = place.split_once('/').ok_or(BadAddress::Form)?;
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let each = each(hosts)?;
                let first = hosts.split(',').next().unwrap_or_default();
                let info = parsed(&format!("{scheme}://{user}{first}/{database}"))?;
                if master.is_empty() {
                    return Err(BadAddress::Form);
                }
                (info, Kind::Sentinels(Sentinels { each, master: master.to_owned() }))
            }
            Some("cluster") => {
                let hosts = place.strip_suffix('/').unwrap_or(place);
                if hosts.contains('/') {
                    return Err(BadAddress::Database);
                }
                let nodes = each(hosts)?.iter().map(|info| node(info.addr())).collect::<Option<_>>().ok_or(BadAddress::Form)?;
                let first = hosts.split(',').next().unwrap_or_default();
                (parsed(&format!("{scheme}://{user}{first}"))?, Kind::Cluster(nodes))
            }
            Some(_) => return Err(BadAddress::Form),
        };
        Ok(Self { info, kind, shown: masked(text) })
    }
}

fn node(addr: &ConnectionAddr) -> Option<Node> {
    match addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => Some(Node { host: host.clone(), port: *port }),
        _ => None,
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
        matches!(self.kind, Kind::Sentinels(_))
    }

    /// Whether it is a Redis Cluster's.
    #[must_use]
    pub const fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster(_))
    }

    pub(super) const fn sentinels(&self) -> Option<&Sentinels> {
        if let Kind::Sentinels(sentinels) = &self.kind { Some(sentinels) } else { None }
    }

    /// Nodes of a cluster.
    pub(super) const fn nodes(&self) -> Option<&Vec<Node>> {
        if let Kind::Cluster(nodes) = &self.kind { Some(nodes) } else { None }
    }

    /// What follows `redis` or `rediss` in it.
    pub(super) const fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Server => "",
            Kind::Sentinels(_) => "+sentinel",
            Kind::Cluster(_) => "+cluster",
        }
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        self.info.clone()
    }

    /// What people call it.
    pub(super) fn server(&self) -> String {
        match &self.kind {
            Kind::Server => self.info.addr().to_string(),
            Kind::Sentinels(sentinels) => {
                let each: Vec<String> = sentinels.each.iter().map(|sentinel| sentinel.addr().to_string()).collect();
                format!("{} (master {:?} of these Sentinels)", each.join(","), sentinels.master)
            }
            Kind::Cluster(nodes) => {
                let each: Vec<String> = nodes.iter().map(Node::to_string).collect();
                format!("{} (a Redis Cluster)", each.join(","))
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
            assert_eq!(Address::try_from(wrong).map(|address| address.to_string()), Err(BadAddress::Form), "{wrong}");
        }
    }

    #[test]
    fn nodes_of_a_cluster_are_named() {
        let address = Address::try_from("redis+cluster://ann:horse@h:1,i:2").expect("a URL");
        assert_eq!(address.to_string(), "redis+cluster://ann:********@h:1,i:2");
        assert_eq!(address.server(), "h:1,i:2 (a Redis Cluster)");
        let settings = address.info.redis_settings();
        assert_eq!((settings.username(), settings.password(), settings.db()), (Some("ann"), Some("horse"), 0));
        assert!(address.is_cluster() && !address.is_sentinel() && !address.is_tls());
        assert!(Address::try_from("rediss+cluster://h:1/").expect("a URL").is_tls());
        for (wrong, why) in [
            ("redis+cluster://h:1/0", BadAddress::Database),
            ("redis+cluster://h:1,i:2/3", BadAddress::Database),
            ("redis+cluster://", BadAddress::Form),
            ("redis+cluster://h:1,", BadAddress::Form),
            ("redis+cluster://h:x", BadAddress::Form),
            ("redis+clusters://h:1", BadAddress::Form),
        ] {
            assert_eq!(Address::try_from(wrong).map(|address| address.to_string()), Err(why), "{wrong}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_redis_is_refused() {
        for wrong in ["", "127.0.0.1:6379", "http://h:1", "redis://", "redis://h:port", "unix:///run/redis", "redis://h:1/db"] {
            assert_eq!(Address::try_from(wrong).map(|address| address.to_string()), Err(BadAddress::Form), "{wrong}");
        }
        assert!(Address::try_from("rediss://h:1").expect("a URL").is_tls());
    }
}

//! What a Redis must be so that what it acknowledges is kept. Judges plain facts; asks nothing itself.

use std::collections::HashMap;

/// Scripts with flags came with it.
const OLDEST: (u32, u32) = (7, 0);

/// What is promised of an acknowledged append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// It survives a crash of Redis and of its machine. A server that can't promise that is refused.
    #[default]
    Strict,
    /// It survives what the server's settings let it survive; what they don't is said at the start.
    Relaxed,
}

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// `INFO`, its lines.
    pub(super) info: HashMap<String, String>,
    /// Whether its address is that of a cluster.
    pub(super) in_cluster: bool,
    /// `CONFIG GET`; none where that is not allowed.
    pub(super) config: Result<HashMap<String, String>, String>,
}

impl Facts {
    fn is_cluster_node(&self) -> bool {
        self.info.get("redis_mode").is_some_and(|mode| mode == "cluster")
    }

    pub(super) fn info_lines(text: &str) -> HashMap<String, String> {
        text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// What makes the server useless, whatever is promised. A line each.
    pub(super) fn impossible(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let version = self.info.get("redis_version").map_or("unknown", String::as_str);
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        if (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < OLDEST {
            lines.push(format!("redis_version is {version}, at least {}.{} is needed", OLDEST.0, OLDEST.1));
        }
        if self.is_cluster_node() && !self.in_cluster {
            lines.push("it is a node of a Redis Cluster: use redis+cluster:// in place of redis://".into());
        }
        match self.info.get("role").map(String::as_str) {
            Some("master") => {}
            Some("slave") => lines.push("role is replica: only a master takes writes".into()),
            other => lines.push(format!("role is {}, it must be master", other.unwrap_or("unknown"))),
        }
        if self.info.get("loading").is_some_and(|loading| loading == "1") {
            lines.push("it is still loading its data".into());
        }
        lines
    }

    /// What can lose acknowledged appends. A line each.
    pub(super) fn risks(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.in_cluster {
            lines.push("it is a cluster, which may promote a replica that lacks acknowledged appends".into());
        }
        let config = match &self.config {
            Ok(config) => config,
            Err(reason) => {
                lines.push(format!("CONFIG GET is refused ({reason}): nobody can tell what is kept"));
                return lines;
            }
        };
        for (name, wanted, because) in [
            ("appendonly", "yes", "without it a restart begins with nothing"),
            ("appendfsync", "always", "otherwise up to about a second of acknowledged appends is lost with the machine"),
            ("no-appendfsync-on-rewrite", "no", "otherwise nothing is synced while the file is rewritten"),
            ("maxmemory-policy", "noeviction", "any other may forget keys when memory is short"),
        ] {
            let found = config.get(name).map_or("unknown", String::as_str);
            if found != wanted {
                lines.push(format!("{name} is {found}, it must be {wanted}: {because}"));
            }
        }
        lines
    }
}

impl Durability {
    /// Refuses (a line each), or lets in with warnings (a line each).
    pub(super) fn judge(self, facts: &Facts) -> Result<Vec<String>, Vec<String>> {
        let (impossible, risks) = (facts.impossible(), facts.risks());
        match self {
            Self::Strict if impossible.is_empty() && risks.is_empty() => Ok(risks),
            Self::Strict => Err([impossible, risks].concat()),
            Self::Relaxed if impossible.is_empty() => Ok(risks),
            Self::Relaxed => Err(impossible),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(change: impl FnOnce(&mut HashMap<String, String>, &mut HashMap<String, String>)) -> Facts {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut info: HashMap<String, String> = owned(&[("redis_version", "7.0.15"), ("redis_mode", "standalone"), ("role", "master")]);
        let mut config = owned(&[
            ("appendonly", "yes"),
            ("appendfsync", "always"),
            ("no-appendfsync-on-rewrite", "no"),
            ("maxmemory-policy", "noeviction"),
        ]);
        change(&mut info, &mut config);
        Facts { info, in_cluster: false, config: Ok(config) }
    }

    #[test]
    fn a_durable_server_is_let_in_without_a_word() {
        assert_eq!(Durability::Strict.judge(&facts(|_, _| {})), Ok(vec![]));
        let newer = facts(|info, _| drop(info.insert("redis_version".into(), "10.2.0".into())));
        assert_eq!(Durability::Strict.judge(&newer), Ok(vec![]));
    }

    #[test]
    fn each_weakness_has_its_line() {
        for (name, value, line) in [
            ("appendonly", "no", "appendonly is no, it must be yes"),
            ("appendfsync", "everysec", "appendfsync is everysec, it must be always"),
            ("no-appendfsync-on-rewrite", "yes", "no-appendfsync-on-rewrite is yes, it must be no"),
            ("maxmemory-policy", "allkeys-lru", "maxmemory-policy is allkeys-lru, it must be noeviction"),
        ] {
            let weak = facts(|_, config| drop(config.insert(name.into(), value.into())));
            let refused = Durability::Strict.judge(&weak).expect_err(name);
            assert!(refused.len() == 1 && refused[0].starts_with(line), "{refused:?}");
            assert_eq!(Durability::Relaxed.judge(&weak), Ok(refused));
        }
        let cluster = Facts { in_cluster: true, ..facts(|info, _| drop(info.insert("redis_mode".into(), "cluster".into()))) };
        let refused = Durability::Strict.judge(&cluster).expect_err("refused");
        assert!(refused.len() == 1 && refused[0].starts_with("it is a cluster, which may promote"), "{refused:?}");
        assert_eq!(Durability::Relaxed.judge(&cluster), Ok(refused));
        let silent = Facts { config: Err("NOPERM".into()), ..facts(|_, _| {}) };
        assert!(Durability::Strict.judge(&silent).expect_err("refused")[0].contains("NOPERM"));
        assert_eq!(Durability::Relaxed.judge(&silent).expect("let in").len(), 1);
    }

    #[test]
    fn what_can_not_work_is_refused_either_way() {
        for (name, value, line) in [
            ("redis_version", "6.2.14", "redis_version is 6.2.14, at least 7.0 is needed"),
            ("role", "slave", "role is replica: only a master takes writes"),
            ("loading", "1", "it is still loading its data"),
            ("redis_mode", "cluster", "it is a node of a Redis Cluster: use redis+cluster:// in place of redis://"),
        ] {
            let useless = facts(|info, _| drop(info.insert(name.into(), value.into())));
            for durability in [Durability::Strict, Durability::Relaxed] {
                assert_eq!(durability.judge(&useless), Err(vec![line.to_owned()]));
            }
        }
    }

    #[test]
    fn info_is_read_line_by_line() {
        let lines = Facts::info_lines("# Server\r\nredis_version:7.0.15\r\nrole:master\r\n\r\nos:Linux 6: x\r\n");
        assert_eq!(lines.len(), 3);
        assert_eq!((lines["role"].as_str(), lines["os"].as_str()), ("master", "Linux 6: x"));
    }
}

//! What a configuration's author would notice: which value wins, and what is said about a wrong one.

use super::*;
use std::fs;

fn env(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<Vec<_>>().into_iter()
}

fn load(file: Option<&str>, pairs: &[(&str, &str)], overrides: &Overrides) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("g.toml");
    if let Some(text) = file {
        fs::write(&path, text).unwrap();
    }
    Settings::load(file.map(|_| path.as_path()), env(pairs), overrides)
        .map_err(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
}

#[track_caller]
fn refused_file(text: &str, expected: &[&str]) {
    let error = load(Some(text), &[], &Overrides::default()).expect_err(text);
    assert!(!error.contains('\n'), "one line: {error}");
    for part in expected {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
}

#[track_caller]
fn refused_env(name: &str, value: &str, expected: &[&str]) {
    let error = load(None, &[(name, value)], &Overrides::default()).expect_err(name);
    assert!(!error.contains('\n'), "one line: {error}");
    for part in expected.iter().chain(&[name]) {
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
}

#[test]
fn the_annotated_file_is_the_default() {
    let settings = Settings::default();
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(settings.engine.shards, 64);
    assert_eq!(settings.journal.max_bytes, 4 << 30);
    assert_eq!(settings.limits.requests_per_second.map(std::num::NonZeroU32::get), Some(200));
    assert_eq!(settings.limits.ping_interval, Some(std::time::Duration::from_secs(25)));
    assert_eq!(settings.limits.sockets, None);
    assert_eq!(settings.access.anonymous, Anonymous::None);
    assert_eq!(settings.auth.token_ttl.to_string(), "12h");
    assert_eq!(settings.key_file(), Path::new("./data/jwt.key"));
    let currencies: Vec<_> = settings.currencies.iter().map(|c| (c.code.as_str(), c.scale)).collect();
    assert_eq!(currencies, [("DKP", 0), ("USD", 2), ("EUR", 2)]);
    assert!(settings.server.worker_count() > 0 && settings.engine.arbiter_count() > 0);
}

#[test]
fn a_wrong_file_is_told_by_line_key_and_reason() {
    refused_file("[limits]\n\nfoo = 1\n", &["g.toml:3:1", "`foo = 1`", "limits.foo: unknown key `foo`", "shard_queue"]);
    refused_file("[limitz]\nfoo = 1\n", &["g.toml:1:2", "`[limitz]`", "limitz: unknown key `limitz`"]);
    refused_file(
        "[limits]\n  frame_bytes = \"64k\"\n",
        &["g.toml:2:17", "`frame_bytes = \"64k\"`", "limits.frame_bytes: invalid type: string \"64k\", expected an integer from 0 to"],
    );
    refused_file("# ä\n[engine]\nshards = 0", &["g.toml:3:10", "engine.shards", "`0`, expected an integer from 1 to 4096"]);
    refused_file("engine.shards = -1", &["g.toml:1:17", "engine.shards", "`-1`, expected an integer from 1 to 4096"]);
    refused_file("[engine]\nshards = 99999999999999999999", &["g.toml:2:10", "engine.shards"]);
    refused_file("[server]\nlisten = \"here\"", &["g.toml:2:10", "server.listen: expected an IP address and a port", "\"here\""]);
    refused_file("[server]\nlisten = ", &["g.toml:2:", "`listen =`"]);
    refused_file("[server]\nlisten = \"a\"\nlisten = \"b\"", &["g.toml:3:1", "duplicate key"]);
    refused_file("limits = 3", &["g.toml:1:10", "limits: invalid type: integer `3`, expected a section of keys"]);
    refused_file("[access]\nanonymous = \"admin\"", &["g.toml:2:13", "access.anonymous: unknown variant `admin`"]);
    refused_file("[access]\nallowed_origins = [\"https://a.b/\"]", &["g.toml:2:19", "access.allowed_origins", "https://a.b/"]);
    refused_file(
        "[[currencies]]\ncode = \"DKP\"\nscale = 0\n[[currencies]]\ncode = \"usd\"\nscale = 2",
        &["g.toml:5:8", "currencies.1.code: expected 1 to 16 of A-Z"],
    );
    refused_file("[[currencies]]\ncode = \"DKP\"", &["g.toml:1:", "currencies.0: missing key `scale`"]);
    refused_file("currencies = [{code=\"A\",scale=0},{code=\"A\",scale=1}]", &["g.toml:1:14", "currencies: A stands twice"]);
    refused_file("currencies = []", &["g.toml:1:14", "at least one"]);
    refused_file("[lots]\ndefault_increments = [{from=0,step=1},\n{from=0,step=2}]", &["g.toml:2:22", "0 after 0"]);
    refused_file("[lots]\ndefault_increments = [{from=0,\nstep=0}]", &["g.toml:3:6", "lots.default_increments.0.step", "`0`"]);
    let rows: Vec<_> = (0..101).map(|from| format!("{{from={from},step=1}}")).collect();
    let many = format!("[lots]\ndefault_increments = [{}]", rows.join(","));
    refused_file(&many, &["g.toml:2:22", "lots.default_increments: at most 100 rows"]);
    refused_file("[server]\nworkers = 65", &["g.toml:2:11", "server.workers", "`65`, expected an integer from 0 to 64"]);
    refused_file("[limits]\nframe_bytes = 16777217", &["g.toml:2:15", "limits.frame_bytes", "from 0 to 16777216"]);
    refused_file("[log]\nfilter = \"a=b=c\"", &["g.toml:2:10", "log.filter: not a log filter"]);
    refused_file("[auth]\ntoken_ttl = \"12\"", &["g.toml:2:13", "auth.token_ttl", "12h"]);
    refused_file("[auth]\nleeway_ms = 1500", &["g.toml:2:13", "auth.leeway_ms: expected whole seconds"]);
    refused_file("[auth]\nalgorithm = \"none\"", &["g.toml:2:13", "auth.algorithm: unknown variant `none`"]);
    refused_file("[auth]\nalgorithm = \"EdDSA\"", &["g.toml:2:13", "auth.algorithm: EdDSA needs auth.key_file"]);
}

#[test]
fn a_wrong_variable_is_told_by_its_name() {
    refused_env("GAVEL__LIMITS__FOO", "1", &["no key `limits.foo`"]);
    refused_env("GAVEL__LIMITS", "1", &["is a section"]);
    refused_env("GAVEL__", "1", &["no key"]);
    refused_env("GAVEL__LIMITS__REQUESTS_PER_SECOND__X", "1", &["no key"]);
    refused_env(
        "GAVEL__LIMITS__REQUESTS_PER_SECOND",
        "many",
        &["limits.requests_per_second: invalid type: string \"many\", expected an integer from 0 to 1000000"],
    );
    refused_env("GAVEL__LIMITS__REQUESTS_PER_SECOND", "", &["expected an integer"]);
    refused_env("GAVEL__LIMITS__REQUESTS_PER_SECOND", "1\nrequest_burst = 3", &["expected an integer"]);
    refused_env("GAVEL__METRICS__ENABLED", "yes", &["metrics.enabled", "expected a boolean"]);
    refused_env("GAVEL__CURRENCIES", "[{code=\"A\",scale=77}]", &["currencies.0.scale", "`77`, expected an integer from 0 to 9"]);
    refused_env("GAVEL__ACCESS__ALLOWED_ORIGINS", "https://a.b, c", &["access.allowed_origins", "got \"c\""]);
}

#[test]
fn a_missing_file_is_named() {
    let error = Settings::load(Some(Path::new("no/such.toml")), env(&[]), &Overrides::default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot read configuration file no/such.toml: No such file"), "{error}");
}

#[test]
fn later_layers_win_key_by_key() {
    let file = "[server]\nlisten = \"1.1.1.1:1\"\ndata_dir = \"/file\"\n[limits]\nframe_bytes = 1\nrequest_burst = 2";
    let pairs = [
        ("GAVEL__SERVER__LISTEN", "2.2.2.2:2"),
        ("GAVEL__LIMITS__REQUEST_BURST", "3"),
        ("GAVEL__CURRENCIES", "[{code=\"GLD\",scale=4}]"),
        ("GAVEL__ACCESS__ALLOWED_ORIGINS", "https://a.b, http://c:81"),
        ("GAVEL__SERVER__DATA_DIR", "12"),
        ("GAVEL_OTHER", "is not ours"),
    ];
    let check = |overrides: &Overrides, listen: &str, data_dir: &str, anonymous: Anonymous| {
        let settings = load(Some(file), &pairs, overrides).unwrap();
        assert_eq!(settings.server.listen.to_string(), listen);
        assert_eq!(settings.server.data_dir, Path::new(data_dir));
        assert_eq!(settings.access.anonymous, anonymous);
        assert_eq!(settings.limits.frame_bytes.map(std::num::NonZeroUsize::get), Some(1));
        assert_eq!(settings.limits.request_burst.get(), 3);
        assert_eq!(settings.limits.lots_per_socket.map(std::num::NonZeroUsize::get), Some(128));
        assert_eq!(settings.currencies, [Currency { code: "GLD".into(), scale: 4 }]);
        assert_eq!(settings.access.allowed_origins, ["https://a.b", "http://c:81"]);
    };
    check(&Overrides::default(), "2.2.2.2:2", "12", Anonymous::None);
    let flags = Overrides { data_dir: Some("/flag".into()), listen: "3.3.3.3:3".parse().ok(), demo: true };
    check(&flags, "3.3.3.3:3", "/flag", Anonymous::Viewer);
}

#[test]
fn zero_switches_off() {
    let settings = load(Some("limits.requests_per_second = 0\nlimits.pong_timeout_ms = 0"), &[], &Overrides::default());
    let settings = settings.unwrap();
    assert_eq!((settings.limits.requests_per_second, settings.limits.pong_timeout), (None, None));
    let settings = load(Some("limits.frame_bytes = 0"), &[], &Overrides::default()).unwrap();
    assert_eq!(settings.limits.frame_limit(), 16 << 20, "no switch: a frame is held in memory until it is whole");
}

#[test]
fn secrets_are_never_shown() {
    let secret = "0123456789abcdef0123456789abcdef";
    let settings = load(None, &[("GAVEL__AUTH__SECRET", secret)], &Overrides::default()).unwrap();
    assert!(settings.show().contains("secret = \"********\""), "{}", settings.show());
    assert!(!settings.show().contains(secret) && !format!("{settings:?}").contains(secret));
    for wrong in [
        "[auth]\nsecret = 123456789",
        "[auth]\nsecret = \"123456789\"",
        "[auth]\nsecret = '123456789",
        "\nauth = { secret = \"123456789\" }",
        "auth.secret = \"\"\"\n123456789\\z\"\"\"",
    ] {
        let error = load(Some(wrong), &[], &Overrides::default()).unwrap_err();
        assert!(error.contains("g.toml:2:") && error.contains("********") && !error.contains("123456789"), "{error}");
    }
    let pem = "-----BEGIN PUBLIC KEY-----MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=-----END PUBLIC KEY-----";
    let error = load(None, &[("GAVEL__AUTH__SECRET", pem)], &Overrides::default()).unwrap_err();
    assert!(error.contains("PEM") && !error.contains("MCow"), "{error}");
    let error = load(None, &[("GAVEL__AUTH__SECRET", "123456789")], &Overrides::default()).unwrap_err();
    assert!(error.contains("GAVEL__AUTH__SECRET") && error.contains("32 bytes") && !error.contains("1234"), "{error}");
}

#[test]
fn a_redis_is_told_wrong_by_line_key_and_reason() {
    refused_file("[journal]\nstore = \"files\"", &["g.toml:2:9", "journal.store: unknown variant `files`", "`sqlite` or `redis`"]);
    refused_file("[redis]\nurl = \"localhost:6379\"", &["g.toml:2:7", "redis.url: expected redis://host:port", "\"localhost:6379\""]);
    refused_file("[redis]\nurl = 6379", &["g.toml:2:7", "redis.url: expected a text"]);
    refused_file("[redis]\nkey_prefix = \"a:b\"", &["g.toml:2:14", "redis.key_prefix: a prefix of keys has 1 to 64 letters", "\"a:b\""]);
    refused_file("[redis]\ndurability = \"lax\"", &["g.toml:2:14", "redis.durability: unknown variant `lax`", "`strict` or `relaxed`"]);
    for key in ["connect_timeout_ms", "request_timeout_ms", "bulk_timeout_ms"] {
        refused_file(&format!("[redis]\n{key} = 0"), &["g.toml:2:", &format!("redis.{key}"), "from 1 to 86400000"]);
    }
    refused_file("[redis]\nca_file = \"ca.pem\"", &["g.toml:2:11", "redis.ca_file: goes with", "rediss"]);
    let sentinel = "[redis]\nurl = \"redis+sentinel://h:1,i:2/main\"";
    refused_file(sentinel, &["g.toml:2:7", "redis.url: Sentinels promote replicas", "\"relaxed\""]);
    let cluster = "[redis]\nurl = \"redis+cluster://h:1,i:2\"";
    refused_file(cluster, &["g.toml:2:7", "redis.url: a Redis Cluster promotes replicas", "\"relaxed\""]);
    let numbered = "[redis]\nurl = \"redis+cluster://h:1,i:2/3\"";
    refused_file(numbered, &["g.toml:2:7", "redis.url: a Redis Cluster has no numbered databases", "\"redis+cluster://h:1,i:2/3\""]);
    load(Some(&format!("{sentinel}\ndurability = \"relaxed\"")), &[], &Overrides::default()).unwrap();
    refused_env("GAVEL__REDIS__URL", "redis://h:port", &["redis.url", "\"redis://h:port\""]);
    let settings = load(Some("journal.store = \"redis\"\nredis.url = \"rediss://h:1/2\""), &[], &Overrides::default()).unwrap();
    assert_eq!((settings.journal.store, settings.redis.address().is_tls()), (JournalStore::Redis, true));
}

#[test]
fn tables_in_postgresql_are_told_wrong_by_line_key_and_reason() {
    refused_file("[tables]\nstore = \"mysql\"", &["g.toml:2:9", "tables.store: unknown variant `mysql`", "`sqlite` or `postgres`"]);
    refused_file("[tables]\nstore = \"postgres\"", &["g.toml:2:9", "tables.store: \"postgres\" goes with journal.store = \"redis\""]);
    refused_file("[postgres]\nurl = \"h:5432\"", &["g.toml:2:7", "postgres.url: expected postgres://user@host:port/database"]);
    refused_file("[postgres]\nmigrate_url = \"redis://h\"", &["g.toml:2:15", "postgres.migrate_url: expected postgres://"]);
    refused_file("[postgres]\nreaders = 0", &["g.toml:2:11", "postgres.readers", "from 1 to 1000"]);
    for key in ["connect_timeout_ms", "read_timeout_ms", "write_timeout_ms"] {
        refused_file(&format!("[postgres]\n{key} = 0"), &["g.toml:2:", &format!("postgres.{key}"), "from 1 to 86400000"]);
    }
    let both = "[postgres]\nurl = \"postgres://ann:horse@h/gavel\"\npassword = \"horse\"";
    let error = load(Some(both), &[], &Overrides::default()).unwrap_err();
    assert!(error.contains("postgres.password") && error.contains("give one of them") && !error.contains("horse"), "{error}");
    let whole = "journal.store = \"redis\"\ntables.store = \"postgres\"\npostgres.url = \"postgres://ann:horse@h/gavel\"";
    let settings = load(Some(whole), &[], &Overrides::default()).unwrap();
    assert_eq!(settings.tables.store, TablesStore::Postgres);
    assert!(settings.show().contains("url = \"postgres://ann:********@h/gavel\""), "{}", settings.show());
    assert!(!settings.show().contains("horse") && !format!("{settings:?}").contains("horse"));
    let settings = load(None, &[("GAVEL__POSTGRES__PASSWORD", "horse")], &Overrides::default()).unwrap();
    assert!(settings.show().contains("password = \"********\"") && !format!("{settings:?}").contains("horse"));
}

#[test]
fn a_password_of_redis_is_never_shown() {
    let settings = load(Some("[redis]\nurl = \"redis://ann:horse@h:1\""), &[], &Overrides::default()).unwrap();
    assert!(settings.show().contains("url = \"redis://ann:********@h:1\""), "{}", settings.show());
    assert!(!settings.show().contains("horse") && !format!("{settings:?}").contains("horse"));
    let settings = load(None, &[("GAVEL__REDIS__PASSWORD", "horse")], &Overrides::default()).unwrap();
    assert!(settings.show().contains("password = \"********\"") && settings.redis.address().has_password(), "{}", settings.show());
    assert!(!settings.show().contains("horse") && !format!("{settings:?} {:?}", settings.redis.address()).contains("horse"));
    for wrong in [
        "[redis]\nurl = \"redis://:horse@h:port\"",
        "[redis]\nurl = 'redis://:horse@h:1",
        "[redis]\nurl = \"redis:/:horse@h:1\"",
        "[redis]\npassword = [\"horse\"]",
        "\nredis = { password = [\"horse\"] }",
        "redis.url = \"redis://:mule@h:1\"\nredis.password = \"horse\"",
    ] {
        let error = load(Some(wrong), &[], &Overrides::default()).unwrap_err();
        assert!(error.contains("g.toml:2:") && error.contains("********") && !error.contains("horse"), "{error}");
    }
    // What only sounds like it is shown.
    refused_file("[auth]\npassword_threads = 999", &["`password_threads = 999`"]);
}

#[test]
fn what_is_shown_loads_to_the_same() {
    let pairs = [("GAVEL__SERVER__WORKERS", "3"), ("GAVEL__LIMITS__SOCKETS", "7")];
    let shown = load(None, &pairs, &Overrides::default()).unwrap().show();
    assert_eq!(load(Some(&shown), &[], &Overrides::default()).unwrap().show(), shown);
}

#[test]
fn every_key_has_a_commented_variable() {
    fn keys(prefix: &str, value: &toml::Value, into: &mut Vec<String>) {
        match value {
            toml::Value::Table(table) => table.iter().for_each(|(key, value)| keys(&format!("{prefix}.{key}"), value, into)),
            _ => into.push(prefix.trim_start_matches('.').to_owned()),
        }
    }
    let mut expected = Vec::new();
    keys("", &toml::Value::Table(DEFAULT_TOML.parse().unwrap()), &mut expected);
    let names = env_names();
    let mut listed: Vec<_> = names.iter().map(|name| name.key.clone()).collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
    for name in &names {
        assert!(!name.comment.is_empty(), "{} has no comment", name.key);
        // The default given back as a variable is taken: texts plain, the rest as TOML.
        let value = if name.kind == "text" { name.default.trim_matches('"') } else { &name.default };
        load(None, &[(&name.name, value)], &Overrides::default()).unwrap();
    }
    let rate = names.iter().find(|name| name.name == "GAVEL__LIMITS__REQUESTS_PER_SECOND").unwrap();
    assert_eq!((rate.kind, rate.default.as_str()), ("integer", "200"));
}

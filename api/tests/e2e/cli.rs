//! The command line: exit statuses, what goes to standard output and what to standard error.

use crate::kit::{Finished, Server, Setup, gavel, lot};
use serde_json::Value;
use std::path::Path;

fn status(arguments: &[&str]) -> (Option<i32>, String, String) {
    let finished = Finished::run(arguments);
    (finished.status.code(), finished.stdout, finished.stderr)
}

#[test]
fn version_and_help_are_answers() {
    let (code, out, err) = status(&["--version"]);
    assert_eq!((code, out.as_str(), err.as_str()), (Some(0), concat!("gavel ", env!("CARGO_PKG_VERSION"), "\n"), ""));
    let (code, out, err) = status(&["--help"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for command in ["serve", "token", "user", "replay", "config"] {
        assert!(out.contains(command), "{command} is not in the help:\n{out}");
        let (code, out, _) = status(&[command, "--help"]);
        assert!(code == Some(0) && out.contains("Usage"), "{command} --help: {out}");
    }
}

#[test]
fn a_mistake_is_status_2_and_said_on_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.toml");
    let missing = missing.to_str().unwrap();
    for arguments in [
        &["fly"][..],
        &[],
        &["serve", "--port", "1"],
        &["serve", "--listen", "nowhere"],
        &["serve", "--config", missing],
        &["token", "--sub", "alice"],
        &["token", "--sub", "a/b", "--role", "bidder"],
        &["token", "--sub", "alice", "--role", "king"],
        &["token", "--sub", "alice", "--role", "bidder", "--ttl", "soon"],
        &["config", "check", "--config", missing],
        &["config", "fly"],
        &["replay", missing],
        &["replay"],
    ] {
        let (code, out, err) = status(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
        assert!(out.is_empty() && !err.trim().is_empty(), "{arguments:?}: {out:?} {err:?}");
        assert!(!err.contains("panicked"), "{arguments:?}: {err}");
    }
}

#[test]
fn a_token_is_alone_on_standard_output_and_its_key_is_private() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let token = |role| status(&["token", "--sub", "alice", "--role", role, "--data-dir", data.to_str().unwrap()]);
    let (code, out, err) = token("bidder");
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let text = out.strip_suffix('\n').unwrap();
    assert_eq!(text.split('.').count(), 3, "{out:?}");
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)), "{out:?}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(data.join("jwt.key")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // A server that starts there later takes it.
    let server = Setup::on(&data).start();
    server.rest_with(text).get("/v1/lots").expect(200);
}

#[test]
fn a_token_can_be_made_while_a_server_runs() {
    let server = Server::start();
    let token = server.token_for("bob", "bidder", "30m");
    let made = server.house().create(&lot());
    let bid = serde_json::json!({"bid_id": crate::kit::uuid(), "amount": 100});
    server.rest_with(&token).bid(made["id"].as_str().unwrap(), &bid).expect(201);
}

#[test]
fn a_wrong_line_of_the_configuration_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gavel.toml");
    let path = file.to_str().unwrap();
    for (text, line, word) in [
        ("[server]\nlisten = \"127.0.0.1:0\"\n[limits]\nrequests_per_second = -1\n", "4", "requests_per_second"),
        ("[server]\n\nprot = 1\n", "3", "prot"),
        ("[server\n", "1", ""),
        ("[lots]\ndefault_increments = [{ from = 0, step = 0 }]\n", "2", "default_increments"),
    ] {
        std::fs::write(&file, text).unwrap();
        for arguments in [&["config", "check", "--config", path][..], &["serve", "--config", path, "--listen", "127.0.0.1:0"]] {
            let (code, _, err) = status(arguments);
            assert_eq!(code, Some(2), "{text:?}: {err}");
            assert!(err.contains(line) && err.contains(word), "{text:?}: {err}");
        }
    }
    std::fs::write(&file, "[limits]\nrequests_per_second = 7\n").unwrap();
    let (code, out, err) = status(&["config", "check", "--config", path]);
    assert_eq!((code, err.as_str(), out.contains("valid")), (Some(0), "", true), "{out}");
}

#[test]
fn flags_come_before_the_environment_and_that_before_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gavel.toml");
    std::fs::write(&file, "[limits]\nrequests_per_second = 7\nlots_per_socket = 3\n").unwrap();
    let mut command = gavel(&["config", "show", "--config", file.to_str().unwrap()]);
    command.env("GAVEL__LIMITS__REQUESTS_PER_SECOND", "50").env("GAVEL__AUTH__SECRET", "a-secret-that-must-not-be-shown-0123");
    let shown = Finished::run_with(command);
    assert!(shown.status.success(), "{}", shown.stderr);
    assert!(shown.stdout.contains("requests_per_second = 50"), "{}", shown.stdout);
    assert!(shown.stdout.contains("lots_per_socket = 3"), "{}", shown.stdout);
    assert!(!shown.stdout.contains("must-not-be-shown"), "the secret shows");
    // `--listen 127.0.0.1:0` of the kit against a variable.
    let server = Setup::new().env("GAVEL__SERVER__LISTEN", "127.0.0.1:1").start();
    assert!(!server.address().ends_with(":1"));
}

#[test]
fn a_variable_that_nobody_knows_is_a_mistake() {
    let ended = Setup::new().env("GAVEL__LIMITS__TYPO", 1).refused();
    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("GAVEL__LIMITS__TYPO"), "{}", ended.stderr);
    let (code, out, _) = status(&["config", "env"]);
    assert!(code == Some(0) && out.contains("GAVEL__LIMITS__REQUESTS_PER_SECOND"), "{out}");
}

#[test]
fn a_port_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let (code, out, err) = status(&["serve", "--listen", &address, "--data-dir", dir.path().to_str().unwrap()]);
    assert!(matches!(code, Some(1 | 2)), "{code:?} {err}");
    assert!(err.contains(&address) && !err.contains("panicked"), "{err}");
    assert!(!out.contains("http://"), "{out}");
}

#[test]
fn the_log_tells_no_secret() {
    let server = Setup::new().env("GAVEL__LOG__FILTER", "debug").start();
    let token = server.token("alice", "bidder");
    let made = server.house().create(&lot());
    let bid = serde_json::json!({"bid_id": crate::kit::uuid(), "amount": 100, "max": 987_654});
    server.rest("alice", "bidder").bid(made["id"].as_str().unwrap(), &bid).expect(201);
    server.log_line("bid accepted");
    let key = std::fs::read_to_string(server.dir().join("jwt.key")).unwrap();
    let log = server.err.text();
    for secret in [token.as_str(), key.trim(), "987654"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn the_demo_shows_an_auction_to_anybody_and_links_for_three() {
    let server = Setup::new().flag("--demo").start();
    let bids = || server.nobody().all("/v1/lots", 500).iter().filter_map(|lot| lot["bid_count"].as_u64()).sum::<u64>();
    crate::kit::until("simulated bidders to bid", || (bids() > 0).then_some(()));
    let links = crate::kit::until("three links", || {
        let out = server.out.text();
        let links: Vec<String> = out.split_whitespace().filter(|word| word.contains("/#token=")).map(str::to_owned).collect();
        (links.len() >= 3).then_some(links)
    });
    let mut roles = Vec::new();
    for link in links {
        let (url, token) = link.split_once("/#token=").unwrap();
        assert_eq!(url, server.url());
        let rest = server.rest_with(token);
        rest.get("/v1/lots").expect(200);
        roles.push(if rest.get("/v1/cluster").status == 200 { "admin" } else { "bidder" });
    }
    roles.sort_unstable();
    assert_eq!(roles, ["admin", "bidder", "bidder"]);
}

#[test]
fn a_bid_list_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bids.csv");
    // Two sales that close as published: the second bid's maximum is 50, the winner pays one step above it. A third can't.
    let rows = "auctionid,bid,bidtime,bidder,bidderrate,openbid,price,item,auction_type\n\
                1,20,0.1,a,0,10,51,Thing,3 day auction\n\
                1,50,0.2,b,0,10,51,Thing,3 day auction\n\
                1,60,0.3,c,0,10,51,Thing,3 day auction\n\
                2,10,0.5,a,0,10,10,Thing,3 day auction\n";
    std::fs::write(&file, rows).unwrap();
    let totals = totals(&file);
    assert_eq!((&totals["auctions"], &totals["bids"]), (&Value::from(2), &Value::from(4)), "{totals}");
    let sum: u64 = ["exact", "reserve", "unexplained"].iter().map(|name| totals[*name].as_u64().unwrap()).sum();
    assert_eq!(sum, 2, "{totals}");
    assert!(totals["exact"].as_u64() >= Some(1), "{totals}");
    std::fs::write(&file, "nonsense\n1,2,3\n").unwrap();
    let (code, _, err) = status(&["replay", file.to_str().unwrap(), "--json"]);
    assert_eq!(code, Some(2), "{err}");
}

fn totals(file: &Path) -> Value {
    let (code, out, err) = status(&["replay", file.to_str().unwrap(), "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let totals: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"));
    let mut names: Vec<_> = totals.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["auctions", "bids", "exact", "refused", "reserve", "unexplained"]);
    let (code, text, _) = status(&["replay", file.to_str().unwrap()]);
    assert!(code == Some(0) && !text.trim().is_empty());
    totals
}

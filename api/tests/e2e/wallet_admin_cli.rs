//! `gavel wallet` against a running server: what it does, prints, and ends with.

use crate::{
    kit::{Finished, Server, Setup, gavel},
    wallet_admin::{balance, grant, purses},
};
use std::path::Path;

/// A call with the server's own key.
fn wallet(server: &Server, arguments: &[&str]) -> Finished {
    let url = server.url();
    let place = ["--url", &url, "--data-dir", server.dir().to_str().unwrap()];
    Finished::run_with(gavel(&[&["wallet"], arguments, &place].concat()))
}

/// What a call printed that went well.
#[track_caller]
fn printed(finished: &Finished) -> &str {
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    &finished.stdout
}

/// What a call said that did not.
#[track_caller]
fn failed(finished: &Finished, status: i32) -> &str {
    assert_eq!(finished.status.code(), Some(status), "{}", finished.stderr);
    assert!(finished.stdout.is_empty() && !finished.stderr.contains("panicked"), "{}{}", finished.stdout, finished.stderr);
    &finished.stderr
}

fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_community_is_administered_from_the_command_line() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let csv = file(dir.path(), "season.csv", "bidder,currency,amount\nalice,DKP,1000\nbob,DKP,99\nbob,USD,5\n");
    let import = |more: &[&str]| wallet(&server, &[&["import", &csv, "--reason", "season"], more].concat());
    let tried = import(&["--dry-run"]);
    assert!(printed(&tried).contains("3 rows for 2 wallets can be imported"), "{}", tried.stdout);
    assert!(purses(&server).is_empty());
    let first = import(&[]);
    assert_eq!(printed(&first), "3 rows for 2 wallets imported: granted 1099 DKP, 5 USD, deducted nothing\n");
    assert!(first.stderr.contains("key import-20"), "{}", first.stderr);
    // The same file again: by its own key of today nothing happens. (Unless it is tomorrow by now.)
    let again = import(&[]);
    printed(&again);
    let imports = if again.stderr == first.stderr { 1 } else { 2 };
    assert_eq!(balance(&server, "bob", "DKP"), imports * 99);
    printed(&import(&["--key", "once-more"]));
    let bob = (imports + 1) * 99;
    assert_eq!(balance(&server, "bob", "DKP"), bob);

    let decay = ["decay", "--currency", "DKP", "--percent", "2.5", "--reason", "weekly", "--key", "w"];
    for _ in 0..2 {
        let (alice, taken) = (1000 * (imports + 1), bob * 25 / 1000);
        let total = alice * 25 / 1000 + taken;
        assert_eq!(printed(&wallet(&server, &decay)), format!("2 of 2 wallets changed, -{total} DKP in all\n"));
        assert_eq!(balance(&server, "bob", "DKP"), bob - taken);
    }
    printed(&wallet(&server, &["decay", "--currency", "DKP", "--amount", "1", "--reason", "weekly"]));
    let cap = wallet(&server, &["cap", "--currency", "DKP", "--amount", "100", "--reason", "season"]);
    assert!(printed(&cap).starts_with("2 of 2 wallets changed"), "{}", cap.stdout);
    assert_eq!(balance(&server, "alice", "DKP"), 100);
    let granted = wallet(&server, &["grant", "alice", "7", "--currency", "DKP", "--reason", "raid", "--as", "officer"]);
    assert_eq!(printed(&granted), "granted 7 DKP, balance 107\n");
    let ledger = server.rest("root", "admin").get("/v1/wallets/alice/ledger?format=csv").text;
    assert!(ledger.trim_end().ends_with(",grant,7,107,,,raid,officer"), "{ledger}");
    let shown = wallet(&server, &["show", "alice"]);
    let line = printed(&shown).lines().find(|line| line.starts_with("DKP")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["DKP", "107", "0", "107"]);
}

#[test]
fn what_is_exported_can_be_imported_elsewhere() {
    let server = Server::start();
    for (n, bidder) in [(5, "alice"), (70, "bob"), (900, "carol")] {
        grant(&server, bidder, n);
    }
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("all.csv");
    printed(&wallet(&server, &["export", "--out", out.to_str().unwrap()]));
    let text = std::fs::read_to_string(&out).unwrap();
    assert_eq!(text, printed(&wallet(&server, &["export"])));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left");
    assert_eq!(printed(&wallet(&server, &["export", "--currency", "USD"])), "bidder,currency,balance,held,available\n");
    // As docs/wallets.md has it: the first three columns, under an import's names.
    let table: String = text.lines().map(|line| line.split(',').take(3).collect::<Vec<_>>().join(",") + "\n").collect();
    let table = file(dir.path(), "in.csv", &table.replace("bidder,currency,balance", "bidder,currency,amount"));
    let other = Server::start();
    printed(&wallet(&other, &["import", &table, "--reason", "moved here"]));
    assert_eq!(purses(&other), purses(&server));
}

#[test]
fn mistakes_name_their_lines_and_end_with_2() {
    let server = Setup::new().start();
    let dir = tempfile::tempdir().unwrap();
    let wrong = file(dir.path(), "wrong.csv", "bidder,currency,amount\nalice,DKP,5\nalice,XYZ,5\nalice,DKP,-6\n");
    for more in [&[][..], &["--dry-run"]] {
        let finished = wallet(&server, &[&["import", &wrong, "--reason", "x"], more].concat());
        let said = failed(&finished, 2);
        assert!(said.contains("line 3: currency") && said.contains("line 4: not enough") && said.contains("nothing was applied"), "{said}");
    }
    assert!(purses(&server).is_empty());
    let missing = dir.path().join("missing.csv");
    assert!(failed(&wallet(&server, &["import", missing.to_str().unwrap()]), 2).contains("missing.csv"));
    for arguments in [
        &["decay", "--currency", "DKP", "--reason", "x"][..],
        &["decay", "--currency", "DKP", "--percent", "10", "--amount", "1", "--reason", "x"],
        &["decay", "--currency", "DKP", "--percent", "0", "--reason", "x"],
        &["decay", "--currency", "DKP", "--percent", "10"],
        &["decay", "--currency", "XYZ", "--percent", "10", "--reason", "x"],
        &["cap", "--currency", "DKP", "--reason", "x"],
        &["grant", "alice", "0", "--currency", "DKP", "--reason", "x"],
        &["grant", "alice", "-5", "--currency", "DKP", "--reason", "x"],
        &["grant", "a/b", "5", "--currency", "DKP", "--reason", "x"],
        &["show"],
        &["fly"],
    ] {
        failed(&wallet(&server, arguments), 2);
    }
    assert!(purses(&server).is_empty());
}

#[test]
fn a_server_that_can_not_be_reached_or_does_not_know_the_key_is_said() {
    let server = Server::start();
    let (url, dir) = (server.url(), tempfile::tempdir().unwrap());
    let empty = dir.path().to_str().unwrap();
    let show = |more: &[&str]| Finished::run_with(gavel(&[&["wallet", "show", "alice"], more].concat()));
    assert!(failed(&show(&["--url", &url]), 2).contains("--data-dir"));
    assert!(failed(&show(&["--url", &url, "--data-dir", empty]), 2).contains("no key"));
    assert!(!dir.path().join("jwt.key").exists(), "none is made");
    failed(&show(&["--url", &url, "--token", "nonsense"]), 2);
    assert!(failed(&show(&["--url", &url, "--token", &server.token("eve", "viewer")]), 2).contains("administrators"));
    failed(&show(&["--url", "https://127.0.0.1:1", "--token", "x"]), 2);
    // A port that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let gone = show(&["--url", &format!("http://{free}"), "--token", "x"]);
    assert!(failed(&gone, 1).contains(&free), "{}", gone.stderr);
    let mut with_environment = gavel(&["wallet", "show", "alice", "--url", &url]);
    with_environment.env("GAVEL_TOKEN", server.token("root", "admin"));
    assert!(printed(&Finished::run_with(with_environment)).contains("DKP"));
}

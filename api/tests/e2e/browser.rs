//! The pages in real browsers, and the page's own client in node: what those scripts check is in `tests/browser`.

use crate::kit::{
    Server, Setup,
    accounts::{CHEAP, add_user, password_of},
    skipped,
};
use std::{path::Path, process::Command};

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser"))
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Runs a command in the folder of the scripts; its output is the test's.
#[track_caller]
fn run(command: &mut Command) {
    let output = command.current_dir(folder()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
}

#[test]
fn two_browsers_bid_against_each_other() {
    const TEST: &str = "two_browsers_bid_against_each_other";
    if !runs("node") || !runs("npm") {
        return skipped(TEST, "node and npm are not installed");
    }
    if !["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"].iter().any(|name| runs(name)) {
        return skipped(TEST, "chromium is not installed");
    }
    if !folder().join("node_modules/playwright-core").exists() {
        run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]));
    }
    let setup = CHEAP.iter().fold(Setup::new(), |setup, (name, value)| setup.env(name, value));
    let server: Server = setup.start();
    for name in ["amy", "dan"] {
        add_user(server.dir(), name, "bidder");
    }
    run(Command::new("node")
        .arg("two-browsers.mjs")
        .env("GAVEL_URL", server.url())
        .env("ALICE_TOKEN", server.token("alice", "bidder"))
        .env("BOB_TOKEN", server.token("bob", "bidder"))
        .env("ADMIN_TOKEN", server.token("root", "admin"))
        .env("AMY_PASSWORD", password_of("amy"))
        .env("DAN_PASSWORD", password_of("dan")));
}

#[test]
fn the_pages_own_client_passes_its_tests() {
    if !runs("node") {
        return skipped("the_pages_own_client_passes_its_tests", "node is not installed");
    }
    run(Command::new("node").args(["--test", "client.test.mjs"]));
}

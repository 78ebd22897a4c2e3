//! The load client against the server: what it measures and checks over the protocol holds of the real one.

use crate::kit::Setup;
use serde_json::Value;
use std::{path::Path, process::Command};

#[test]
fn a_burst_finds_every_promise_kept() {
    // Another package's binary: a test run of the workspace builds it beside the server.
    let client = Path::new(env!("CARGO_BIN_EXE_gavel")).with_file_name("gavel-loadtest");
    assert!(client.is_file(), "{} is missing: run the tests of the whole workspace (`cargo test --workspace`)", client.display());
    let server = Setup::new().env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0).start();
    for flags in ["--proxy --lots 2", "", "--funding wallet --proxy --lots 3"] {
        let results = server.dir().with_file_name("results.json");
        let output = Command::new(&client)
            .args(["burst", "--bidders", "8", "--seconds", "1", "--warmup", "0", "--watchers", "2", "--verify-history"])
            .args(flags.split_whitespace())
            .args(["--url", &server.url(), "--data-dir"])
            .arg(server.dir())
            .arg("--json")
            .arg(&results)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{flags}: {said}\n{}", String::from_utf8_lossy(&output.stdout));
        let results: Value = serde_json::from_slice(&std::fs::read(results).unwrap()).unwrap();
        assert_eq!((&results["violation"], &results["error"], &results["unanswered"]), (&Value::Null, &Value::Null, &0.into()));
        let checked = results["checked"].as_u64().unwrap();
        assert!(checked > 0, "{results}");
        assert_eq!(results["history_checked"], checked, "{results}");
        // What the clock of the measured time leaves out: answers that came after it.
        assert!(results["accepted"].as_u64().unwrap() <= checked, "{results}");
        assert!(results["deliveries"].as_u64().unwrap() > 0, "{results}");
        // Afterwards every wallet holds what its bidder leads with.
        let wallets = if flags.contains("wallet") { 8 } else { 0 };
        assert_eq!(results["wallets_checked"].as_u64().unwrap_or(0), wallets, "{results}");
    }
}

//! The `burst` scenario end to end: the built binary against a stand-in server that keeps the protocol, and against
//! ones that break it in one place. No test depends on how fast anything is.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod stub;

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use stub::Flaw;
use tempfile::TempDir;

/// A run's directory, with the key in it.
struct Room(TempDir);

impl Room {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("jwt.key"), format!("\n{}\n", stub::KEY)).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a burst of a moment against `url`.
    fn burst(&self, url: &str, flags: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_gavel-loadtest"))
            .args(["burst", "--url", url, "--warmup", "0", "--data-dir"])
            .arg(self.0.path())
            .arg("--json")
            .arg(self.path("results.json"))
            .args(flags.split_whitespace())
            .args(if flags.contains("--seconds") { &[][..] } else { &["--seconds", "0.3"] })
            .output()
            .unwrap()
    }

    fn results(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("results.json")).unwrap()).unwrap()
    }
}

/// Runs against a fresh stub.
fn run(flaw: Flaw, flags: &str) -> (Room, Output) {
    let room = Room::new();
    let address = stub::start(flaw);
    let output = room.burst(&format!("http://{address}"), flags);
    (room, output)
}

/// What went to standard error last, where progress lines go too.
fn last_line(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// A run that must be good: its results.
fn good(flaw: Flaw, flags: &str) -> Value {
    let (room, output) = run(flaw, flags);
    assert_eq!(output.status.code(), Some(0), "{flags}: {}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("all as promised"), "{table}");
    let results = room.results();
    assert!(results["accepted"].as_u64().unwrap() > 0, "{results}");
    assert_eq!(results["violation"], Value::Null);
    results
}

/// A run that must end with 1 and this in its message.
fn bad(flaw: Flaw, flags: &str, message: &str) {
    let (_, output) = run(flaw, flags);
    assert_eq!(output.status.code(), Some(1), "{flaw:?}: {}", last_line(&output));
    assert!(last_line(&output).contains(message), "{flaw:?}: {}", last_line(&output));
}

#[test]
fn with_proxy_every_bid_is_accounted_for() {
    let results = good(Flaw::None, "--proxy --bidders 8 --in-flight 4 --watchers 3 --verify-history");
    let accepted = results["checked"].as_u64().unwrap();
    assert_eq!(results["history_checked"].as_u64(), Some(accepted));
    assert!(results["deliveries"].as_u64().unwrap() > 0);
    assert!(results["receipt_ms"]["p50"].as_f64().unwrap() > 0.0);
    assert!(results["delivery_ms"]["p99"].as_f64().unwrap() > 0.0);
    assert_eq!(results["conflations"], 0);
    // Of what a server says in its usual form nothing needs the slow way but the joins.
    assert_eq!(results["slow_messages"], 3);
}

#[test]
fn without_proxy_nobody_bids_against_himself() {
    let results = good(Flaw::None, "--bidders 4 --in-flight 4 --lots 3 --watchers 1 --verify-history");
    assert!(results["refused_share"].as_f64().unwrap() < 0.9, "{results}");
    good(Flaw::None, "--bidders 2 --verify-history");
}

#[test]
fn more_lots_than_bidders() {
    good(Flaw::None, "--proxy --bidders 2 --lots 5 --watchers 1 --verify-history");
}

#[test]
fn a_rate_is_kept_to() {
    let results = good(Flaw::None, "--proxy --bidders 4 --rate 200 --watchers 1");
    let accepted = results["accepted"].as_u64().unwrap();
    assert!((1..=61).contains(&accepted), "{accepted} in 0.3 s at 200/s");
    assert_eq!(results["target_rate"], 200.0);
}

#[test]
fn at_a_rate_latency_counts_from_when_a_bid_was_due() {
    // The one place is taken for long; what is due meanwhile waits for it: a fifth of all for half of that time.
    let flags = "--proxy --bidders 1 --in-flight 1 --rate 100 --watchers 1 --seconds 1.5";
    let results = good(Flaw::Unavailable(5), flags);
    for of in ["receipt_ms", "delivery_ms"] {
        assert!(results[of]["p90"].as_f64().unwrap() >= stub::LATER_MS as f64 / 2.0, "{results}");
    }
}

#[test]
fn what_is_never_answered_or_sent_counts_with_its_age() {
    let flags = "--proxy --bidders 1 --in-flight 1 --rate 100 --drain 1";
    let (room, output) = run(Flaw::Silence(5), flags);
    assert_eq!(output.status.code(), Some(1));
    let results = room.results();
    assert_eq!((&results["accepted"], &results["unanswered"]), (&4.into(), &1.into()));
    assert!(results["overdue"].as_u64().unwrap() >= 24, "{results}");
    assert!(results["receipt_ms"]["p50"].as_f64().unwrap() >= 50.0, "{results}");
    assert!(results["receipt_ms"]["max"].as_f64().unwrap() >= 1000.0, "{results}");
}

#[test]
fn with_wallets_what_is_held_is_what_the_leaders_may_pay() {
    let flags = "--proxy --bidders 4 --lots 2 --funding wallet";
    assert_eq!(good(Flaw::None, flags)["wallets_checked"], 4);
    assert_eq!(good(Flaw::NoWallets, "--proxy --bidders 4")["wallets_checked"], Value::Null);
    bad(Flaw::NoWallets, flags, "this server has no wallets");
    bad(Flaw::HoldTooMuch, &format!("{flags} --drain 0.2"), "says held");
    bad(Flaw::HoldUncovered, flags, "at most the balance");
}

#[test]
fn a_run_without_a_bid_has_checked_nothing() {
    bad(Flaw::None, "--proxy --bidders 4 --seconds 0", "no bid was accepted");
}

#[test]
fn what_the_protocol_allows_is_no_violation() {
    good(Flaw::Reorder, "--proxy --bidders 4 --watchers 1");
    let begun = std::time::Instant::now();
    let results = good(Flaw::Unavailable(5), "--proxy --bidders 4 --watchers 1 --verify-history");
    assert_eq!(results["errors"]["unavailable"], 1);
    // It is told when the measured time is over, and counts from when it was first sent.
    let max = |of: &str| results[of]["max"].as_f64().unwrap();
    assert!(max("receipt_ms") >= stub::LATER_MS as f64, "{results}");
    assert!(max("delivery_ms") <= begun.elapsed().as_secs_f64() * 1e3, "{results}");
    assert!(results["accepted"].as_u64() < results["checked"].as_u64(), "{results}");
    assert_eq!(results["unanswered"], 0);
    let results = good(Flaw::Conflate(5), "--proxy --bidders 4 --watchers 2");
    assert_eq!((&results["conflations"], &results["conflated_events"]), (&2.into(), &2.into()));
}

#[test]
fn broken_promises_are_told() {
    let watched = "--proxy --bidders 4 --in-flight 2 --watchers 2 --drain 1";
    for (flaw, message) in [
        (Flaw::SkipSeq(20), "read seq 22 where seq 21 was next"),
        (Flaw::DropDelivery(20), "read seq 22 where seq 21 was next"),
        (Flaw::MispricePush(20), "seq 21: the push says price"),
        (Flaw::MisnamePush(20), "seq 21: the push says bidder"),
        (Flaw::MisquotePush(20), "seq 21: the push says amount"),
        (Flaw::MisleadPush(20), "seq 21: the push says leader"),
        (Flaw::MiscountPush(20), "seq 21: the push says bid_count 21, the rules give 20"),
        (Flaw::ConflateWrongly(20, "price"), "as shown at seq 21: price"),
        (Flaw::ConflateWrongly(20, "bid_count"), "as shown at seq 21: bid_count 21, the accepted bids give 20"),
        (Flaw::Misprice(20), "the rules give"),
        (Flaw::AnswerTwice(20), "was answered twice or never made"),
        (Flaw::RepeatSeq(20), "seq 20"),
        (Flaw::Silence(20), "1 bids were not answered within 1 s"),
        (Flaw::Miscount(20), "read seq 21 where seq 22 was next"),
        (Flaw::RefuseWrongly(20), "bid_too_low for"),
        (Flaw::Hangup(20), "the server ended the connection"),
    ] {
        bad(flaw, watched, message);
    }
    let alone = "--proxy --bidders 4 --in-flight 2 --verify-history";
    for (flaw, message) in [
        (Flaw::RepeatSeq(20), "two receipts with seq 20"),
        (Flaw::Misprice(20), "seq 21: the receipt says price"),
        (Flaw::SkipSeq(20), "nobody has a receipt for seq 21"),
        (Flaw::RefuseAs(20, "max_not_raised"), "was refused with max_not_raised, which the rules give at no moment"),
        (Flaw::RefuseAs(20, "already_leading"), "was refused with already_leading, which the rules give at no moment"),
        (Flaw::RefuseAs(1, "bid_too_low"), "was refused with bid_too_low and a minimum of"),
        (Flaw::Miscount(20), "GET /v1/lots/{id} says bid_count"),
        (Flaw::Forget(20), "the history has seq 22"),
    ] {
        bad(flaw, alone, message);
    }
}

#[test]
fn a_violation_is_in_the_results_too() {
    let (room, output) = run(Flaw::Miscount(3), "--proxy --bidders 4");
    assert!(String::from_utf8_lossy(&output.stdout).contains("VIOLATED: lot"));
    assert!(room.results()["violation"].as_str().unwrap().contains("bid_count"));
    // Also if it ends the run before its time; what was counted until then is told with it.
    let (room, output) = run(Flaw::DropDelivery(20), "--proxy --bidders 4 --watchers 1");
    assert!(String::from_utf8_lossy(&output.stdout).contains("VIOLATED: lot"));
    let results = room.results();
    assert!(results["violation"].as_str().unwrap().contains("was next"), "{results}");
    assert!(results["checked"].as_u64().unwrap() > 0 && results["receipt_ms"]["max"].as_f64().unwrap() > 0.0, "{results}");
    let (room, _) = run(Flaw::Hangup(20), "--proxy --bidders 4");
    assert!(room.results()["error"].as_str().unwrap().contains("ended the connection"));
}

#[test]
fn mistakes_of_the_caller_end_with_2() {
    let room = Room::new();
    for (url, flags, message) in [
        ("http://127.0.0.1:1", "--bidders 0", "--bidders"),
        ("http://127.0.0.1:1", "--rate fast", "--rate"),
        ("http://127.0.0.1:1", "--nonsense", "--nonsense"),
        ("http://127.0.0.1:1", "--bidders 1", "--bidders 1 without --proxy"),
        ("https://127.0.0.1:1", "", "--url https://127.0.0.1:1"),
    ] {
        let output = room.burst(url, flags);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{flags}: {errors}");
        assert!(errors.contains(message), "{flags}: {errors}");
    }
    let missing = room.path("no.key");
    let with_key = |key: &PathBuf| {
        let command = &mut Command::new(env!("CARGO_BIN_EXE_gavel-loadtest"));
        command.args(["burst", "--url", "http://127.0.0.1:1", "--token-key"]).arg(key).output().unwrap()
    };
    let output = with_key(&missing);
    assert_eq!(output.status.code(), Some(2));
    assert!(last_line(&output).contains("cannot read the token key"));
    std::fs::write(&missing, " \n").unwrap();
    assert!(last_line(&with_key(&missing)).contains("is empty"));
}

#[test]
fn a_server_that_is_not_there_or_does_not_know_the_key_ends_with_1() {
    // A port that was free a moment ago and that nobody listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let room = Room::new();
    let output = room.burst(&format!("http://{port}"), "");
    assert_eq!(output.status.code(), Some(1));
    assert!(last_line(&output).contains("unreachable"), "{}", last_line(&output));
    std::fs::write(room.path("jwt.key"), "another key, which the server does not know").unwrap();
    let output = room.burst(&format!("http://{}", stub::start(Flaw::None)), "");
    assert_eq!(output.status.code(), Some(1));
    assert!(last_line(&output).contains("401"), "{}", last_line(&output));
}

//! Imports: what a table may say, that it is all or nothing, and that a key makes it happen once.

use crate::{
    kit::{Answer, Server, Setup, uuid},
    wallet_admin::{balance, grant, ledger, purses, root},
};
use serde_json::{Value, json};

pub(crate) fn import(server: &Server, key: &str, csv: &str) -> Answer {
    let headers = [("content-type", "text/csv; charset=utf-8"), ("idempotency-key", key)];
    root(server).send("POST", "/v1/wallets/import?reason=season", &headers, csv)
}

fn try_out(server: &Server, csv: &str) -> Answer {
    root(server).send("POST", "/v1/wallets/import?reason=season&dry_run=true", &[("content-type", "text/csv")], csv)
}

/// The lines that are wrong, and a word of each.
#[track_caller]
fn wrong_lines(problem: &Value, expected: &[(u64, &str)]) {
    let errors = problem["errors"].as_array().unwrap();
    let lines: Vec<u64> = errors.iter().map(|error| error["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, expected.iter().map(|(line, _)| *line).collect::<Vec<_>>(), "{problem}");
    for (error, (_, word)) in errors.iter().zip(expected) {
        assert!(error["detail"].as_str().unwrap().contains(word), "{error}: {word}");
    }
    assert_eq!(problem["error_count"], errors.len());
}

#[test]
fn a_table_is_tried_out_imported_once_and_never_twice() {
    let mut server = Server::start();
    grant(&server, "alice", 100);
    let csv = "amount,bidder,reason,currency\n-30,alice,\"fine, late\",DKP\n50,bob,,DKP\n7,bob,,USD\n-20,alice,,DKP\n500,alice,,DKP\n";
    let answer = |dry: bool| json!({"rows": 5, "wallets": 2, "granted": {"DKP": 550, "USD": 7}, "deducted": {"DKP": 50}, "dry_run": dry});
    assert_eq!(try_out(&server, csv).expect(200), answer(true));
    assert_eq!(purses(&server).len(), 1, "nothing has happened");
    assert_eq!(import(&server, "monday", csv).expect(200), answer(false));
    let holds = |server: &Server| {
        let now = [balance(server, "alice", "DKP"), balance(server, "bob", "DKP"), balance(server, "bob", "USD")];
        assert_eq!(now, [550, 50, 7]);
    };
    holds(&server);
    let lines = ledger(&server, "alice");
    let told: Vec<(i64, &str)> = lines.iter().map(|line| (line["amount"].as_i64().unwrap(), line["reason"].as_str().unwrap())).collect();
    assert_eq!(told[0], (100, "raid"));
    assert!(told.contains(&(-30, "fine, late")) && told.contains(&(-20, "season")) && told.contains(&(500, "season")), "{told:?}");
    assert_eq!(import(&server, "monday", csv).expect(200), answer(false), "the same key");
    import(&server, "monday", &csv.replace("50,bob", "51,bob")).problem(422, "idempotency_key_reused");
    holds(&server);
    server.kill();
    server.restart();
    assert_eq!(import(&server, "monday", csv).expect(200), answer(false), "after a crash");
    import(&server, "monday", &csv.replace("50,bob", "51,bob")).problem(422, "idempotency_key_reused");
    holds(&server);
    import(&server, "tuesday", csv).expect(200);
    assert_eq!(balance(&server, "bob", "DKP"), 100, "another key, another import");
}

#[test]
fn every_wrong_line_is_named_and_nothing_is_applied() {
    let server = Setup::new().env("GAVEL__WALLETS__CAPS", "[{ currency = \"EUR\", most = 1000 }]").start();
    grant(&server, "alice", 100);
    let before = purses(&server);
    let rows = [
        "alice,DKP,-60",            // 2
        "alice,DKP,-40",            // 3
        "alice,DKP,-1",             // 4: nothing is left
        "bob,DKP,-1",               // 5: nothing was there
        "bob,XYZ,1",                // 6
        "b b,DKP,1",                // 7
        "bob,DKP,0",                // 8
        "bob,DKP,1.5",              // 9
        "bob,DKP,9007199254740992", // 10
        "bob,DKP,9007199254740991", // 11
        "bob,DKP,1",                // 12: beyond 2^53 - 1
        "bob,EUR,1001",             // 13: beyond the cap
        "bob,EUR,1000,too,many",    // 14
        "bob,EUR,1000",             // 15
    ];
    let csv = format!("bidder,currency,amount\n{}\n", rows.join("\n"));
    let expected = [
        (4, "0 DKP available, 1 needed"),
        (5, "not enough"),
        (6, "XYZ"),
        (7, "bidder"),
        (8, "zero"),
        (9, "integer"),
        (10, "2^53"),
        (12, "2^53"),
        (13, "cap"),
        (14, "fields"),
    ];
    wrong_lines(&try_out(&server, &csv).problem(422, "invalid"), &expected);
    wrong_lines(&import(&server, "x", &csv).problem(422, "invalid"), &expected);
    assert_eq!(purses(&server), before);
    for (csv, word) in [("", "header"), ("bidder,currency,amount,note\n", "note"), ("bidder,amount\nalice,1\n", "currency")] {
        let problem = import(&server, &uuid(), csv).problem(422, "invalid");
        wrong_lines(&problem, &[(1, word)]);
    }
    // Grants don't pay for deductions.
    wrong_lines(&import(&server, "y", "bidder,currency,amount\nbob,DKP,5\nbob,DKP,-5\n").problem(422, "invalid"), &[(3, "not enough")]);
}

#[test]
fn the_request_around_a_table_is_checked_too() {
    let server = Setup::new().env("GAVEL__LIMITS__BODY_BYTES", 1024).start();
    let csv = "bidder,currency,amount\nalice,DKP,5\n";
    let send = |query: &str, headers: &[(&str, &str)], body: &str| {
        root(&server).send("POST", &format!("/v1/wallets/import{query}"), headers, body)
    };
    let (kind, key) = (("content-type", "text/csv"), ("idempotency-key", "k"));
    send("?reason=x", &[kind], csv).problem(400, "idempotency_key_missing");
    send("?reason=x&dry_run=false", &[kind], csv).problem(400, "idempotency_key_missing");
    for query in ["?dry_run=maybe", "?more=1", "?reason=a%09b"] {
        send(query, &[kind, key], csv).problem(422, "invalid");
    }
    wrong_lines(&send("", &[kind, key], csv).problem(422, "invalid"), &[(2, "reason")]);
    for other in ["application/json", "text/csv; charset=latin1", "text/plain"] {
        send("?reason=x", &[("content-type", other), key], csv).problem(415, "invalid");
    }
    send("?reason=x", &[("content-type", "Text/CSV; charset=\"UTF-8\"; header=present"), key], csv).expect(200);
    // Larger than an ordinary body, smaller than a table may be.
    let many = format!("bidder,currency,amount\n{}", "alice,DKP,1\n".repeat(200_000));
    assert_eq!(send("?reason=x&dry_run=true", &[kind], &many).expect(200)["granted"], json!({"DKP": 200_000}));
    send("?reason=x&dry_run=true", &[kind], &format!("{many}alice,DKP,1\n")).problem(413, "too_large");
    assert_eq!(balance(&server, "alice", "DKP"), 5);
}

#[test]
fn an_error_in_the_last_of_a_hundred_thousand_lines_applies_nothing() {
    let server = Server::start();
    let rows: String = (0..99_999).map(|n| format!("bidder-{},DKP,{}\n", n % 20_000, n + 1)).collect();
    let csv = format!("bidder,currency,amount\n{rows}bidder-1,DKP,-1\n");
    wrong_lines(&import(&server, "x", &csv).problem(422, "invalid"), &[(100_001, "not enough")]);
    assert_eq!(purses(&server).len(), 0);
    let all_wrong = format!("bidder,currency,amount\n{}", "bidder-1,DKP,x\n".repeat(1000));
    let problem = import(&server, "y", &all_wrong).problem(422, "invalid");
    assert_eq!((problem["errors"].as_array().unwrap().len(), &problem["error_count"]), (100, &json!(1000)));
}

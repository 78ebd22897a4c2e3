//! Runs and imports that are cut off in the middle, by `kill -9` or by somebody who takes what they count on.

use crate::{
    kit::{Server, Setup, until},
    wallet_admin::{adjust, balance, ledger, purses, root, run},
    wallet_admin_import::import,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, thread::JoinHandle};

/// Wallets: many more than are asked at once.
const WALLETS: usize = 1500;

fn name(n: usize) -> String {
    format!("bidder-{n:04}")
}

/// The last wallet that an import or a run comes to.
fn last() -> String {
    name(WALLETS - 1)
}

fn rows(amount: i64) -> String {
    (0..WALLETS).map(|n| format!("{},DKP,{amount}\n", name(n))).collect()
}

/// Deductions of 10 and grants of 3.
fn table() -> String {
    format!("bidder,currency,amount\n{}{}", rows(3), rows(-10))
}

/// Every wallet has 100. After so many more decisions they take their time.
fn server(more: usize, slow: &str) -> Server {
    let failpoints = format!("wallet-before-decide={}*off->{slow}", WALLETS + more);
    let server = Setup::new().env("GAVEL__ENGINE__ARBITERS", 1).env("FAILPOINTS", failpoints).start();
    import(&server, "start", &format!("bidder,currency,amount\n{}", rows(100))).expect(200);
    server
}

/// Asks without waiting for the answer; whether one came.
fn begin(server: &Server, path: &'static str, kind: &'static str, body: String) -> JoinHandle<Option<u16>> {
    let rest = root(server);
    let headers = [("idempotency-key", "k"), ("content-type", kind)];
    std::thread::spawn(move || rest.try_send("POST", path, &headers, &body).ok().map(|answer| answer.status))
}

fn begin_import(server: &Server) -> JoinHandle<Option<u16>> {
    begin(server, "/v1/wallets/import?reason=season", "text/csv", table())
}

/// Waits until the first wallet has so much; the last comes much later.
fn until_the_first_has(server: &Server, balance: i64) {
    let first = format!("/v1/wallets/{}", name(0));
    let seen = || root(server).get(&first).expect(200)["items"][0]["balance"] == balance;
    until("the first wallet to change", || seen().then_some(()));
}

/// Kills a server over a request, and starts it again.
fn cut_off(mut server: Server, request: JoinHandle<Option<u16>>, slow: &str) -> Server {
    server.kill();
    assert_eq!(request.join().unwrap(), None, "it was answered");
    server.setup().env("FAILPOINTS", slow).start()
}

/// How many wallets have which balance.
fn balances(server: &Server) -> BTreeMap<i64, usize> {
    let mut counts = BTreeMap::new();
    for (balance, ..) in purses(server).into_values() {
        *counts.entry(balance).or_default() += 1;
    }
    counts
}

fn is_mixed(balances: &BTreeMap<i64, usize>) {
    assert!(balances.len() > 1, "not cut off in the middle: {balances:?}");
}

fn spend(server: &Server, key: &str) {
    adjust(server, &last(), key, &json!({"currency": "DKP", "amount": -95, "reason": "spent"})).expect(201);
}

/// All is as if the import had never been, but that the last wallet has spent.
fn nothing_is_left(server: &Server, problem: &Value) {
    assert!(problem["detail"].as_str().unwrap().contains(&format!("line {}: not enough", 2 * WALLETS + 1)), "{problem}");
    let undone = BTreeMap::from([(5, 1), (100, WALLETS - 1)]);
    assert_eq!(balances(server), undone);
    let amounts: Vec<Value> = ledger(server, &name(0)).iter().map(|line| line["amount"].clone()).collect();
    assert_eq!(amounts, [100, -10, 10]);
    stays_undone(server);
}

fn stays_undone(server: &Server) {
    let before = balances(server);
    let again = import(server, "k", &table()).problem(409, "conflict");
    assert!(again["detail"].as_str().unwrap().contains("undone"), "{again}");
    assert_eq!(balances(server), before);
}

#[test]
fn a_run_that_a_kill_cuts_off_is_finished_by_its_repetition() {
    // Before it begins it looks up every wallet.
    let server = server(WALLETS, "sleep(4)");
    let decay = json!({"kind": "decay", "currency": "DKP", "basis_points": 1000, "reason": "weekly"});
    let running = begin(&server, "/v1/wallets/runs", "application/json", decay.to_string());
    until_the_first_has(&server, 90);
    let server = cut_off(server, running, "");
    is_mixed(&balances(&server));
    let answer = run(&server, "k", &decay).expect(200);
    assert_eq!((&answer["changed"], &answer["total"]), (&json!(WALLETS), &json!(-10 * WALLETS as i64)));
    assert_eq!(balances(&server), BTreeMap::from([(90, WALLETS)]));
    assert_eq!(run(&server, "k", &decay).expect(200), answer);
    assert_eq!(balances(&server), BTreeMap::from([(90, WALLETS)]));
}

#[test]
fn an_import_that_a_kill_cuts_off_is_finished_by_its_repetition() {
    // It looks up every row.
    let server = server(2 * WALLETS, "sleep(4)");
    let importing = begin_import(&server);
    until_the_first_has(&server, 90);
    let server = cut_off(server, importing, "");
    is_mixed(&balances(&server));
    let sums = json!({"DKP": 10 * WALLETS});
    assert_eq!(import(&server, "k", &table()).expect(200)["deducted"], sums);
    assert_eq!(balances(&server), BTreeMap::from([(93, WALLETS)]));
    assert_eq!(import(&server, "k", &table()).expect(200)["deducted"], sums);
    assert_eq!(balances(&server), BTreeMap::from([(93, WALLETS)]));
}

#[test]
fn an_import_is_undone_where_somebody_takes_what_it_counts_on() {
    let server = server(2 * WALLETS, &format!("{WALLETS}*sleep(4)->off"));
    let importing = begin_import(&server);
    until_the_first_has(&server, 90);
    spend(&server, "meanwhile");
    assert_eq!(importing.join().unwrap(), Some(409));
    assert_eq!(balances(&server), BTreeMap::from([(5, 1), (100, WALLETS - 1)]));
    stays_undone(&server);
}

#[test]
fn an_import_that_can_not_be_finished_after_a_kill_is_undone() {
    let server = server(2 * WALLETS, "sleep(4)");
    let importing = begin_import(&server);
    until_the_first_has(&server, 90);
    let server = cut_off(server, importing, "");
    is_mixed(&balances(&server));
    spend(&server, "between");
    nothing_is_left(&server, &import(&server, "k", &table()).problem(409, "conflict"));
}

#[test]
fn undoing_that_a_kill_cuts_off_is_finished_by_a_repetition() {
    let server = server(2 * WALLETS, "sleep(4)");
    let importing = begin_import(&server);
    until_the_first_has(&server, 90);
    let server = cut_off(server, importing, "wallet-before-decide=sleep(1)");
    spend(&server, "between");
    let undoing = begin_import(&server);
    until_the_first_has(&server, 100);
    let server = cut_off(server, undoing, "");
    let cut_off = balances(&server);
    assert!(cut_off.get(&90).is_some_and(|count| *count > 0), "not cut off in the middle: {cut_off:?}");
    import(&server, "k", &table()).problem(409, "conflict");
    assert_eq!(balances(&server), BTreeMap::from([(5, 1), (100, WALLETS - 1)]));
    assert_eq!(balance(&server, &last(), "DKP"), 5);
    stays_undone(&server);
}

//! The audit trail from outside: who sees it, what is in it, that `kill -9` leaves each acknowledged action in it exactly
//! once, and that `gavel audit check` notices who was at the file.

use crate::{
    kit::{Finished, Rest, Server, Setup, lot, lot_with, until, uuid},
    wallet_admin::{adjust, grant, root},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

fn id(lot: &Value) -> String {
    lot["id"].as_str().unwrap().to_owned()
}

/// All of it, newest first.
fn trail(server: &Server) -> Vec<Value> {
    root(server).all("/v1/audit", 7)
}

/// Waits until the tables have so many rows; the trail as it is then.
#[track_caller]
fn trail_of(server: &Server, rows: usize) -> Vec<Value> {
    let found = until("the audit trail to have all rows", || Some(trail(server)).filter(|found| found.len() >= rows));
    assert_eq!(found.len(), rows, "{found:#?}");
    found
}

fn check(dir: &Path) -> Finished {
    Finished::run(&["audit", "check", "--data-dir", dir.to_str().unwrap()])
}

/// Nobody was at it, says the check, where the tables are files.
#[track_caller]
fn whole(dir: &Path, rows: impl std::ops::RangeBounds<usize>) {
    if dir.join("tables.db").exists() {
        let checked = check(dir);
        assert_eq!(checked.status.code(), Some(0), "{}", checked.stderr);
        let told = checked.stdout.strip_prefix("the audit trail is whole: ").and_then(|rest| rest.strip_suffix(" rows\n"));
        assert!(told.is_some_and(|told| rows.contains(&told.parse::<usize>().unwrap())), "{}", checked.stdout);
    }
}

/// Action, who, and the rest.
fn told(row: &Value) -> (&str, &str, &Value) {
    (row["action"].as_str().unwrap(), row["by"].as_str().unwrap(), &row["details"])
}

#[test]
fn everything_that_is_done_is_told_with_who_did_it() {
    let server = Server::start();
    let house = server.house();
    let spec = lot_with(json!({"draft": true, "access": {"registration": "lot"}, "title": "Ashkandi"}));
    let lot = id(&house.post_with("/v1/lots", &[("idempotency-key", "new")], &spec).expect(201));
    // Neither a retry nor a refusal is one more action.
    house.post_with("/v1/lots", &[("idempotency-key", "new")], &spec).expect(201);
    house.act(&lot, "pause").problem(409, "conflict");
    house.patch(&format!("/v1/lots/{lot}"), Some("*"), &json!({"title": "Corrupted Ashkandi", "opens_at": null})).expect(200);
    house.patch(&format!("/v1/lots/{lot}"), Some("*"), &json!({"title": "Corrupted Ashkandi"})).expect(200);
    root(&server).act(&lot, "open").expect(200);
    house.post(&format!("/v1/lots/{lot}/registrations"), &json!({"bidders": ["ben", "ann"]})).expect(200);
    house.post(&format!("/v1/lots/{lot}/registrations"), &json!({"bidders": ["ben"]})).expect(200);
    for _ in 0..2 {
        assert_eq!(house.send("DELETE", &format!("/v1/lots/{lot}/registrations/ben"), &[], "").status, 204);
    }
    let bid = json!({"bid_id": uuid(), "amount": 100});
    server.rest("ann", "bidder").bid(&lot, &bid).expect(201);
    house.post(&format!("/v1/lots/{lot}/pause"), &json!({"reason": "a fire drill"})).expect(200);
    house.act(&lot, "resume").expect(200);
    house.post(&format!("/v1/lots/{lot}/extend"), &json!({"by_ms": 5000})).expect(200);
    house.act(&lot, "close").expect(200);
    let cancelled = id(&house.create(&lot_with(json!({"title": "Another"}))));
    house.post(&format!("/v1/lots/{cancelled}/cancel"), &json!({"reason": "broken"})).expect(200);
    grant(&server, "ann", 50);
    adjust(&server, "ann", "take", &json!({"currency": "DKP", "amount": -20, "reason": "late"})).expect(201);
    adjust(&server, "ann", "take", &json!({"currency": "DKP", "amount": -20, "reason": "late"})).expect(201);
    let permit = json!({"registered": true, "spend_limit": 300, "reason": "new"});
    root(&server).send("PUT", "/v1/wallets/ann/permits/DKP", &[("content-type", "application/json")], &permit.to_string()).expect(200);

    let rows = trail_of(&server, 14);
    let times: Vec<&str> = rows.iter().map(|row| row["at"].as_str().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[0] >= pair[1]), "newest first: {times:?}");
    let mut own = server.rest("root", "admin").all(&format!("/v1/audit?lot={lot}"), 2);
    assert!(own.iter().all(|row| row["lot"] == json!(lot) && row.get("wallet").is_none()));
    own.reverse();
    let closes_at = own[7]["details"]["closes_at"].clone();
    let actions: Vec<_> = own.iter().map(told).collect();
    let asked = own[0]["details"].clone();
    assert_eq!((&asked["title"], &asked["rules"], &asked["draft"]), (&spec["title"], &spec["rules"], &json!(true)));
    assert_eq!(asked["access"], json!({"registration": "lot", "aliases": false}));
    let wanted = [
        ("create", "house", asked),
        ("change", "house", json!({"title": "Corrupted Ashkandi"})),
        ("open", "root", json!({})),
        ("register", "house", json!({"bidders": ["ann", "ben"]})),
        ("unregister", "house", json!({"bidders": ["ben"]})),
        ("pause", "house", json!({"reason": "a fire drill"})),
        ("resume", "house", json!({})),
        ("extend", "house", json!({"by_ms": 5000, "closes_at": closes_at})),
        ("close", "house", json!({})),
    ];
    assert_eq!(actions, wanted.iter().map(|(action, by, details)| (*action, *by, details)).collect::<Vec<_>>());
    let other: Vec<_> = rows.iter().filter(|row| row["lot"] == json!(cancelled)).map(told).collect();
    assert_eq!((other.len(), other[0]), (2, ("cancel", "house", &json!({"reason": "broken"}))));
    assert_eq!((other[1].0, other[1].1, &other[1].2["title"]), ("create", "house", &json!("Another")));
    let ann: Vec<_> = rows.iter().rev().filter(|row| row["wallet"] == "ann" && row.get("lot").is_none()).collect();
    let money: Vec<_> = ann.iter().map(|row| (told(row).0, told(row).1, &row["details"]["amount"], &row["details"]["balance"])).collect();
    assert_eq!(money[..2], [("grant", "root", &json!(50), &json!(50)), ("deduction", "root", &json!(-20), &json!(30))]);
    let allowed = json!({"currency": "DKP", "registered": true, "spend_limit": 300, "lead_limit": null, "reason": "new"});
    assert_eq!(told(ann[2]), ("allow", "root", &allowed));
    chains_hold(&rows);
    whole(server.dir(), 14..=14);
}

/// Each row names the one before it in its shard, from the first on.
fn chains_hold(rows: &[Value]) {
    let mut ends: BTreeMap<i64, (i64, Value)> = BTreeMap::new();
    let mut rows: Vec<&Value> = rows.iter().collect();
    rows.sort_by_key(|row| (row["shard"].as_i64(), row["number"].as_i64()));
    for row in rows {
        let end = ends.entry(row["shard"].as_i64().unwrap()).or_insert((0, json!("0".repeat(64))));
        assert_eq!((row["number"].as_i64().unwrap(), &row["previous"]), (end.0 + 1, &end.1), "{row}");
        *end = (end.0 + 1, row["hash"].clone());
    }
}

#[test]
fn only_administrators_see_it_and_nobody_changes_it() {
    let server = Setup::new().env("GAVEL__ACCESS__ANONYMOUS", "viewer").start();
    server.nobody().get("/v1/audit").problem(401, "unauthenticated");
    for role in ["viewer", "bidder", "auctioneer"] {
        server.rest("somebody", role).get("/v1/audit").problem(403, "forbidden");
    }
    let root = root(&server);
    assert_eq!(root.get("/v1/audit").expect(200), json!({"items": [], "next": null}));
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        root.send(method, "/v1/audit", &[("content-type", "application/json")], "{}").problem(405, "invalid");
        root.send(method, "/v1/audit/0/1", &[("content-type", "application/json")], "{}").problem(404, "not_found");
    }
    // "x", "1.2", and a number that no chain reaches.
    for (query, names) in [
        ("cursor=eA", "cursor"),
        ("cursor=MS4y", "cursor"),
        ("cursor=!", "cursor"),
        ("cursor=MS4yLjkyMjMzNzIwMzY4NTQ3NzU4MDg", "cursor"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=x", "limit"),
        ("lot=x", "lot"),
        ("lot=", "lot"),
        ("by=house", "by"),
        ("limit=1&limit=2", "limit"),
    ] {
        let problem = root.get(&format!("/v1/audit?{query}")).problem(422, "invalid");
        assert!(problem["detail"].as_str().unwrap().starts_with(names), "{query}: {problem}");
    }
    assert_eq!(root.get(&format!("/v1/audit?lot={}", uuid())).expect(200)["items"], json!([]));
}

/// A lot or a wallet, and what was done to it.
type Action = (String, String);

/// What was acknowledged until the server was gone, and what was cut off.
struct Busy {
    done: Vec<Action>,
    cut_off: Option<Action>,
}

fn act_until_cut_off(rest: &Rest, by: &str, round: usize) -> Busy {
    let mut busy = Busy { done: Vec::new(), cut_off: None };
    for n in 0.. {
        let keyed = format!("{by}-{round}-{n}");
        let headers = [("content-type", "application/json"), ("idempotency-key", keyed.as_str())];
        let Ok(answer) = rest.try_send("POST", "/v1/lots", &headers, &lot_with(json!({"title": keyed})).to_string()) else {
            busy.cut_off = Some((keyed, "create".to_owned()));
            break;
        };
        let lot = id(&answer.expect(201));
        busy.done.push((lot.clone(), "create".to_owned()));
        for (action, body) in [("pause", json!({"reason": keyed})), ("resume", json!({})), ("cancel", json!({}))] {
            match rest.try_send("POST", &format!("/v1/lots/{lot}/{action}"), &headers[..1], &body.to_string()) {
                Ok(answer) => _ = answer.expect(200),
                Err(_) => {
                    busy.cut_off = Some((lot, action.to_owned()));
                    return busy;
                }
            }
            busy.done.push((lot.clone(), action.to_owned()));
        }
    }
    busy
}

#[test]
fn kills_leave_each_acknowledged_action_in_it_once() {
    let mut server = Setup::new().env("GAVEL__LIMITS__REQUESTS_PER_SECOND", 0).start();
    let (mut done, mut cut_off): (Vec<Action>, Vec<Action>) = (Vec::new(), Vec::new());
    let mut granted = 0;
    for round in 0..6 {
        let busy: Vec<_> = (0..4)
            .map(|n| {
                let by = format!("house-{n}");
                let rest = server.rest(&by, "auctioneer");
                std::thread::spawn(move || act_until_cut_off(&rest, &by, round))
            })
            .collect();
        // Something was done by the time of the kill.
        adjust(&server, "ann", &format!("grant-{round}"), &json!({"currency": "DKP", "amount": 1, "reason": "raid"})).expect(201);
        granted += 1;
        let made = || {
            Some(()).filter(|()| server.house().get("/v1/lots?limit=500").expect(200)["items"].as_array().unwrap().len() > 20 * (round + 1))
        };
        until("some lots", made);
        server.kill();
        for busy in busy {
            let busy = busy.join().unwrap();
            done.extend(busy.done);
            cut_off.extend(busy.cut_off);
        }
        server.restart();
    }
    // What was cut off happened or did not; then it is there once too.
    let sure = done.len() + granted;
    let mut counts: BTreeMap<Action, usize> = BTreeMap::new();
    let acknowledged = |counts: &BTreeMap<Action, usize>| done.iter().all(|action| counts.contains_key(action));
    let rows = until("every acknowledged action", || {
        let rows = trail(&server);
        counts.clear();
        for row in &rows {
            let what = row["lot"].as_str().or(row["wallet"].as_str()).unwrap().to_owned();
            *counts.entry((what, told(row).0.to_owned())).or_default() += 1;
        }
        let grants = counts.get(&("ann".to_owned(), "grant".to_owned())).copied();
        (acknowledged(&counts) && grants == Some(granted)).then_some(rows)
    });
    for ((what, action), count) in &counts {
        assert!(*count == 1 || what == "ann", "{action} on {what}: {count} times");
    }
    let more = rows.len() - sure;
    assert!(more <= cut_off.len(), "{more} rows of nothing that was asked, {} were cut off", cut_off.len());
    chains_hold(&rows);
    // Every action left its mark on the lot, and its row names that event.
    for row in rows.iter().filter(|row| row["action"] == "pause").take(20) {
        let events = root(&server).all(&format!("/v1/lots/{}/events", row["lot"].as_str().unwrap()), 100);
        let paused = events.iter().find(|event| event["seq"] == row["seq"]).unwrap();
        assert_eq!((&paused["paused"]["reason"], &paused["at"]), (&row["details"]["reason"], &row["at"]));
    }
    println!("{} acknowledged, {} cut off of which {more} took effect", sure, cut_off.len());
    assert!(server.terminate().status.success());
    // What was cut off may have come later.
    whole(server.dir(), rows.len()..);
}

#[cfg(feature = "failpoints")]
#[test]
fn a_panic_and_a_failed_append_leave_no_act_without_its_effect() {
    let failpoints = "lot-before-stage=1*off->1*panic(boom)->off;append-fails=9*off->1*return(torn)->off";
    let server = Setup::new().env("GAVEL__ENGINE__SHARDS", 1).env("FAILPOINTS", failpoints).start();
    let house = server.house();
    let made = id(&house.create(&lot()));
    let mut statuses = BTreeMap::new();
    for n in 0..20 {
        let action = if n % 2 == 0 { "pause" } else { "resume" };
        // As a client would: again, until it is done or was done all the time.
        let done = || {
            let status = house.act(&made, action).status;
            *statuses.entry(status).or_insert(0) += 1;
            [200, 409].contains(&status).then_some(())
        };
        until("the action to be done", done);
    }
    assert_eq!(statuses.get(&500), Some(&1), "the panic: {statuses:?}");
    assert!(statuses.get(&503).is_some_and(|count| *count > 0), "the failed append: {statuses:?}");
    let events = house.all(&format!("/v1/lots/{made}/events"), 100);
    // The lot opened by its creation, which is one action.
    let creation = json!({"seq": 0});
    let by_hand = events.iter().filter(|event| crate::kit::event_name(event) != "opened");
    let happened: Vec<&Value> = std::iter::once(&creation).chain(by_hand).map(|event| &event["seq"]).collect();
    let rows = trail_of(&server, happened.len());
    assert_eq!(rows.iter().rev().map(|row| &row["seq"]).collect::<Vec<_>>(), happened);
    chains_hold(&rows);
}

#[test]
fn the_check_says_where_somebody_was_at_it() {
    let mut server = Setup::new().in_files().start();
    let house = server.house();
    let made = id(&house.create(&lot()));
    for action in ["pause", "resume", "pause"] {
        house.act(&made, action).expect(200);
    }
    let rows = trail_of(&server, 4);
    assert!(server.terminate().status.success());
    let dir = server.dir();
    whole(dir, 4..=4);

    // A name is kept as it is: the same number of other letters, in the file.
    let tables = dir.join("tables.db");
    let bytes = std::fs::read(&tables).unwrap();
    let forged: Vec<u8> =
        replaced(&bytes, b"pausehouse", b"pausemouse").or_else(|| replaced(&bytes, b"housepause", b"mousepause")).unwrap();
    std::fs::write(&tables, forged).unwrap();
    let broken = check(dir);
    assert_eq!((broken.status.code(), broken.stdout.as_str()), (Some(1), ""), "{}", broken.stderr);
    let first = rows.iter().map(|row| row["shard"].as_u64().unwrap()).next().unwrap();
    assert!(broken.stderr.starts_with(&format!("gavel: the audit trail of shard {first}, row ")), "{}", broken.stderr);
    assert!(broken.stderr.ends_with("it was changed\n"), "{}", broken.stderr);

    let nowhere = tempfile::tempdir().unwrap();
    let nothing = check(&nowhere.path().join("typo"));
    assert_eq!(nothing.status.code(), Some(2), "{}", nothing.stderr);
    assert!(nothing.stderr.contains("there are no tables here") && !nowhere.path().join("typo").exists(), "{}", nothing.stderr);
}

/// One text for another of the same length, where it is.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let place = bytes.windows(from.len()).position(|window| window == from)?;
    let mut bytes = bytes.to_vec();
    bytes[place..place + to.len()].copy_from_slice(to);
    Some(bytes)
}

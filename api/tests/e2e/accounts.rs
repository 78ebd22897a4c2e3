//! Logins and their sessions, over REST and sockets.

use crate::kit::{
    Claims, Server, Setup, Socket,
    accounts::{CHEAP, Login, add_user, password_of},
    forge, parse_ms, until, uuid,
};
use serde_json::{Value, json};

fn setup() -> Setup {
    CHEAP.iter().fold(Setup::new(), |setup, (name, value)| setup.env(name, value))
}

/// A server with these users.
fn with_users(users: &[(&str, &str)]) -> Server {
    let server = setup().start();
    for (name, role) in users {
        add_user(server.dir(), name, role);
    }
    server
}

#[test]
fn a_login_gives_tokens_for_the_users_role() {
    let server = with_users(&[("alice", "bidder"), ("house", "auctioneer")]);
    let answer = server.try_login("alice", &password_of("alice"));
    let (body, login) = (answer.json(), Login::of(&answer));
    assert_eq!((body["expires_in"].as_u64(), body["role"].as_str()), (Some(900), Some("bidder")), "{body}");
    let house = server.rest_with(&server.login("house").access);
    let lot = house.create(&crate::kit::lot());
    let bid = json!({"bid_id": uuid(), "amount": 100});
    server.rest_with(&login.access).bid(lot["id"].as_str().unwrap(), &bid).expect(201);
    server.rest_with(&login.access).post("/v1/lots", &crate::kit::lot()).problem(403, "forbidden");
    house.bid(lot["id"].as_str().unwrap(), &bid).problem(403, "forbidden");
}

#[test]
fn a_refresh_token_is_good_once_and_a_copy_of_it_ends_the_session() {
    let server = with_users(&[("alice", "bidder")]);
    let (first, other) = (server.login("alice"), server.login("alice"));
    let second = Login::of(&server.refresh(&first.refresh));
    assert!(second.access != first.access && second.refresh != first.refresh && second.session == first.session);
    assert!(server.lets_in(&first.access) && server.lets_in(&second.access));
    let third = Login::of(&server.refresh(&second.refresh));
    server.refresh(&first.refresh).problem(401, "unauthenticated");
    server.refresh(&third.refresh).problem(401, "unauthenticated");
    for access in [&first.access, &second.access, &third.access] {
        assert!(!server.lets_in(access), "its session has ended");
    }
    assert!(server.lets_in(&other.access), "the other session has not");
    Login::of(&server.refresh(&other.refresh));
}

#[test]
fn a_logout_ends_the_session_however_often() {
    let server = with_users(&[("alice", "viewer")]);
    let (login, other) = (server.login("alice"), server.login("alice"));
    let logout = |token: &str| server.nobody().post("/v1/auth/logout", &json!({"refresh_token": token})).status;
    assert_eq!((logout(&login.refresh), logout(&login.refresh), logout("nonsense")), (204, 204, 204));
    assert!(!server.lets_in(&login.access) && server.lets_in(&other.access));
    server.refresh(&login.refresh).problem(401, "unauthenticated");
    server.refresh("nonsense").problem(401, "unauthenticated");
}

#[test]
fn an_unknown_user_is_told_the_same_as_a_wrong_password() {
    let server = with_users(&[("alice", "viewer")]);
    let told: Vec<Value> = [("alice", "not the password"), ("nobody", "not the password"), ("not a name", "short")]
        .map(|(name, password)| server.try_login(name, password).problem(401, "unauthenticated"))
        .into();
    assert!(told.iter().all(|problem| *problem == told[0]), "{told:?}");
}

#[test]
fn what_is_no_login_is_told_without_its_secrets() {
    let server = with_users(&[("alice", "viewer")]);
    let post = |path: &str, body: &str| server.nobody().post_text(path, &[], body);
    for body in [
        "",
        "hunter22",
        "[\"alice\",\"hunter22\"]",
        "{\"user\":\"alice\"}",
        "{\"user\":\"alice\",\"password\":[\"hunter22\"]}",
        "{\"user\":\"alice\",\"password\":\"hunter22\",\"hunter22\":1}",
        "{\"user\":\"alice\",\"password\":\"hunter22\"} hunter22",
        "{\"refresh_token\":\"hunter22\",\"user\":\"x\"}",
    ] {
        for path in ["/v1/auth/login", "/v1/auth/refresh", "/v1/auth/logout"] {
            let told = post(path, body).problem(422, "invalid");
            let detail = told["detail"].as_str().unwrap().replace("hunter22: ", "");
            assert!(!detail.contains("hunter22"), "{body}: {told}");
        }
    }
    for path in ["/v1/auth/login", "/v1/auth/refresh", "/v1/auth/logout"] {
        server.nobody().get(path).problem(405, "invalid");
    }
}

#[test]
fn passwords_that_are_too_long_are_refused_unhashed() {
    let server = with_users(&[("alice", "viewer")]);
    server.try_login("alice", &"x".repeat(1024)).problem(401, "unauthenticated");
    server.try_login("alice", &"x".repeat(1025)).problem(422, "invalid");
    server.try_login("alice", &"x".repeat(1 << 20)).problem(413, "too_large");
    server.login("alice");
}

#[test]
fn sessions_are_listed_and_ended_by_their_owner_or_an_admin() {
    let server = with_users(&[("alice", "bidder"), ("bob", "bidder"), ("root", "admin")]);
    let (here, there, bob) = (server.login("alice"), server.login("alice"), server.login("bob"));
    let list = server.sessions(&here.access, "");
    let ids: Vec<_> = list.iter().map(|session| session["id"].as_str().unwrap()).collect();
    assert!(ids.len() == 2 && ids.contains(&here.session.as_str()) && ids.contains(&there.session.as_str()), "{list:?}");
    for session in &list {
        assert_eq!(session["current"], session["id"] == here.session, "{session}");
        assert_eq!(session["address"], "127.0.0.1");
        assert!(session["user_agent"].as_str().is_some_and(|name| name.contains("ureq")), "{session}");
        let time = |name: &str| parse_ms(&session[name]);
        assert_eq!(time("expires_at") - time("last_used_at"), 30 * 24 * 3_600_000);
        assert!(time("created_at") <= time("last_used_at"));
    }
    let end = |access: &str, id: &str| server.rest_with(access).send("DELETE", &format!("/v1/auth/sessions/{id}"), &[], "");
    end(&bob.access, &here.session).problem(404, "not_found");
    end(&bob.access, "nonsense").problem(404, "not_found");
    server.rest_with(&bob.access).get("/v1/auth/sessions?user=alice").problem(403, "forbidden");
    server.nobody().get("/v1/auth/sessions").problem(401, "unauthenticated");
    assert_eq!(server.sessions(&bob.access, "?user=bob").len(), 1, "one's own may be named");

    assert_eq!(end(&here.access, &there.session).status, 204);
    end(&here.access, &there.session).problem(404, "not_found");
    assert!(!server.lets_in(&there.access) && server.lets_in(&here.access));
    server.refresh(&there.refresh).problem(401, "unauthenticated");

    let root = server.login("root");
    assert_eq!(server.sessions(&root.access, "?user=alice").len(), 1);
    assert_eq!(end(&root.access, &here.session).status, 204);
    assert!(!server.lets_in(&here.access));
    // A token of `gavel token` has no session, and an admin's rights all the same.
    let admin = server.token("operator", "admin");
    assert_eq!(server.sessions(&admin, "").len(), 0);
    assert_eq!(end(&admin, &bob.session).status, 204);
    assert!(!server.lets_in(&bob.access));
}

#[tokio::test]
async fn sockets_of_an_ended_session_are_closed() {
    let server = with_users(&[("alice", "bidder")]);
    let (here, there) = (server.login("alice"), server.login("alice"));
    let mut ended = Socket::open(&server.address(), &here.access).await;
    let mut kept = Socket::open(&server.address(), &there.access).await;
    // One that came in anonymously and named itself later.
    let mut later = crate::kit::Handshake::default().open(&server.address()).await.unwrap();
    later.ok(json!({"auth": {"token": here.access}})).await;
    assert_eq!(server.nobody().post("/v1/auth/logout", &json!({"refresh_token": here.refresh})).status, 204);
    assert_eq!((ended.closed().await, later.closed().await), (4503, 4503));
    kept.ok(json!({"time": {}})).await;
    assert!(!server.lets_in(&here.access));
    let refused = crate::kit::Handshake::default().bearer(&here.access).open(&server.address()).await.err().unwrap();
    assert_eq!(refused.0, 401);
    let mut late = crate::kit::Handshake::default().open(&server.address()).await.unwrap();
    late.error(json!({"auth": {"token": here.access}}), "unauthenticated").await;
}

#[test]
fn a_restart_keeps_sessions_and_their_ends() {
    let mut server = with_users(&[("alice", "bidder")]);
    let (kept, ended) = (server.login("alice"), server.login("alice"));
    assert_eq!(server.nobody().post("/v1/auth/logout", &json!({"refresh_token": ended.refresh})).status, 204);
    server.restart();
    assert!(server.lets_in(&kept.access) && !server.lets_in(&ended.access));
    server.refresh(&ended.refresh).problem(401, "unauthenticated");
    let next = Login::of(&server.refresh(&kept.refresh));
    assert_eq!(next.session, kept.session);
}

#[test]
fn a_session_in_a_token_is_no_more_than_a_claim() {
    let server = with_users(&[("alice", "bidder")]);
    let login = server.login("alice");
    let good = || Claims::good().with("sub", json!("alice")).with("sid", json!(login.session));
    let forged = |claims: &Claims| forge(claims, Ok(server.dir()));
    assert!(server.lets_in(&forged(&good())));
    for claims in [good().with("aud", json!("another")), good().with("role", json!("king")), good().with("sid", json!("mine"))] {
        assert!(!server.lets_in(&forged(&claims)), "{}", claims.0);
    }
    assert!(!server.lets_in(&forge(&good(), Err(b"another secret of thirty-two bytes"))));
}

#[test]
fn the_longest_unused_session_makes_room() {
    let server = setup().env("GAVEL__AUTH__SESSIONS_PER_USER", 2).start();
    add_user(server.dir(), "alice", "viewer");
    let [first, second, third] = [(); 3].map(|()| server.login("alice"));
    assert!(!server.lets_in(&first.access));
    assert!(server.lets_in(&second.access) && server.lets_in(&third.access));
    assert_eq!(server.sessions(&third.access, "").len(), 2);
}

#[test]
fn logins_are_counted_and_nothing_of_them_is_logged() {
    let server = setup().env("GAVEL__LOG__FILTER", "trace").start();
    add_user(server.dir(), "alice", "viewer");
    let login = server.login("alice");
    server.try_login("alice", "not the password").problem(401, "unauthenticated");
    let next = Login::of(&server.refresh(&login.refresh));
    until("the gauge of sessions", || server.nobody().get("/metrics").text.contains("\ngavel_sessions 1\n").then_some(()));
    let page = server.nobody().get("/metrics").text;
    for line in ["gavel_logins_total{outcome=\"accepted\"} 1", "gavel_logins_total{outcome=\"refused\"} 1"] {
        assert!(page.lines().any(|have| have == line), "{line}: {page}");
    }
    let log = server.err.text();
    assert!(log.contains("/v1/auth/login"));
    for secret in [&password_of("alice"), "not the password", &login.access, &login.refresh, &next.access, &next.refresh, "$argon2id$"] {
        assert!(!log.contains(secret) && !page.contains(secret), "{secret}");
    }
    assert!(!page.contains("alice"));
}

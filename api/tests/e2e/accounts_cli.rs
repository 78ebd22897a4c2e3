//! `gavel user`, alone and beside a running server.

use crate::kit::{
    Server, Setup, Socket,
    accounts::{CHEAP, add_user, password_of, user, user_done},
    until,
};
use serde_json::json;

fn start() -> Server {
    CHEAP.iter().fold(Setup::new(), |setup, (name, value)| setup.env(name, value)).start()
}

#[test]
fn users_are_added_listed_and_changed_before_any_server_runs() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert_eq!(user_done(&data, &["list"], ""), "");
    assert!(!data.exists(), "asking makes nothing");
    add_user(&data, "bob", "bidder");
    add_user(&data, "alice", "viewer");
    user_done(&data, &["role", "alice", "admin"], "");
    user_done(&data, &["disable", "bob"], "");
    assert_eq!(user_done(&data, &["list"], ""), "alice  admin       enabled\nbob    bidder      disabled\n");
    user_done(&data, &["enable", "bob"], "");
    let server = CHEAP.iter().fold(Setup::on(&data), |setup, (name, value)| setup.env(name, value)).start();
    server.login("bob");
}

#[test]
fn mistakes_are_status_2() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path();
    add_user(data, "alice", "viewer");
    for (arguments, input, said) in [
        (&["add", "alice", "--role", "viewer", "--password-stdin"][..], "long enough", "already"),
        (&["add", "bob", "--role", "king", "--password-stdin"], "long enough", "role"),
        (&["add", "b/b", "--role", "viewer", "--password-stdin"], "long enough", "name"),
        (&["add", "bob", "--password-stdin"], "long enough", "--role"),
        (&["add", "bob", "--role", "viewer", "--password-stdin"], "seven b", "8 to 1024"),
        (&["add", "bob", "--role", "viewer", "--password-stdin"], "seven b\r\n", "8 to 1024"),
        (&["add", "bob", "--role", "viewer", "--password-stdin"], &"x".repeat(1025), "8 to 1024"),
        (&["add", "bob", "--role", "viewer", "--password-stdin"], &"x".repeat(1 << 20), "8 to 1024"),
        (&["add", "bob", "--role", "viewer", "--password-stdin"], "two lines\nof text", "one line"),
        (&["role", "bob", "viewer"], "", "no user"),
        (&["role", "alice", "king"], "", "role"),
        (&["password", "bob", "--password-stdin"], "long enough", "no user"),
        (&["password", "alice", "--password-stdin"], "", "8 to 1024"),
        (&["disable", "bob"], "", "no user"),
        (&["enable", "bob"], "", "no user"),
        (&["remove", "alice"], "", ""),
        (&[], "", ""),
    ] {
        let finished = user(data, arguments, input);
        assert_eq!(finished.status.code(), Some(2), "{arguments:?}: {}", finished.stderr);
        assert!(finished.stdout.is_empty() && finished.stderr.contains(said), "{arguments:?}: {}", finished.stderr);
        assert!(!finished.stderr.contains("panicked") && !finished.stderr.contains("long enough"), "{}", finished.stderr);
    }
    assert_eq!(user_done(data, &["list"], ""), "alice  viewer      enabled\n");
    std::fs::write(data.join("accounts.db"), "x".repeat(4096)).unwrap();
    assert_eq!(user(data, &["list"], "").status.code(), Some(2));
}

#[test]
fn a_password_ends_where_its_line_does() {
    let server = start();
    for (name, input) in [("a", "a good password\n"), ("b", "a good password\r\n"), ("c", "a good password")] {
        user_done(server.dir(), &["add", name, "--role", "viewer", "--password-stdin"], input);
        server.try_login(name, "a good password").expect(200);
    }
}

#[tokio::test]
async fn a_running_server_turns_a_disabled_user_away() {
    let server = start();
    add_user(server.dir(), "alice", "bidder");
    add_user(server.dir(), "bob", "bidder");
    let (login, bob) = (server.login("alice"), server.login("bob"));
    let made = server.token("alice", "bidder");
    let mut sockets = [Socket::open(&server.address(), &login.access).await, Socket::open(&server.address(), &made).await];
    let mut bobs = Socket::open(&server.address(), &bob.access).await;
    user_done(server.dir(), &["disable", "alice"], "");
    for socket in &mut sockets {
        assert_eq!(socket.closed().await, 4503);
    }
    assert!(!server.lets_in(&login.access) && !server.lets_in(&made), "whatever the token is from");
    server.try_login("alice", &password_of("alice")).problem(401, "unauthenticated");
    server.refresh(&login.refresh).problem(401, "unauthenticated");
    assert!(server.lets_in(&bob.access));
    bobs.ok(json!({"time": {}})).await;

    user_done(server.dir(), &["enable", "alice"], "");
    until("alice to be let in", || server.lets_in(&made).then_some(()));
    server.login("alice");
    assert!(!server.lets_in(&login.access), "the session does not come back");
}

#[test]
fn a_disabled_user_stays_out_across_a_restart() {
    let mut server = start();
    add_user(server.dir(), "alice", "bidder");
    let made = server.token("alice", "bidder");
    user_done(server.dir(), &["disable", "alice"], "");
    server.restart();
    assert!(!server.lets_in(&made));
}

#[tokio::test]
async fn another_role_or_password_ends_sessions() {
    let server = start();
    add_user(server.dir(), "alice", "bidder");
    let login = server.login("alice");
    let mut socket = Socket::open(&server.address(), &login.access).await;
    user_done(server.dir(), &["role", "alice", "auctioneer"], "");
    assert_eq!(socket.closed().await, 4503);
    assert!(!server.lets_in(&login.access));
    let again = server.login("alice");
    server.rest_with(&again.access).create(&crate::kit::lot());

    let mut socket = Socket::open(&server.address(), &again.access).await;
    user_done(server.dir(), &["password", "alice", "--password-stdin"], "another password");
    assert_eq!(socket.closed().await, 4503);
    server.refresh(&again.refresh).problem(401, "unauthenticated");
    server.try_login("alice", &password_of("alice")).problem(401, "unauthenticated");
    server.try_login("alice", "another password").expect(200);
}

//! Wrong passwords, again and again.

use crate::kit::{
    Server, Setup,
    accounts::{CHEAP, add_user, password_of, user_done},
    until,
};

/// A server whose first lock-out lasts this long.
fn with_alice(first_ms: u32) -> Server {
    let setup = CHEAP.iter().fold(Setup::new(), |setup, (name, value)| setup.env(name, value));
    let server = setup.env("GAVEL__AUTH__LOCKOUT_FIRST_MS", first_ms).start();
    add_user(server.dir(), "alice", "viewer");
    server
}

#[track_caller]
fn fail(server: &Server, name: &str, times: usize) {
    for _ in 0..times {
        server.try_login(name, "not the password").problem(401, "unauthenticated");
    }
}

/// Asserts that it is locked, for at most so long.
#[track_caller]
fn is_locked(server: &Server, name: &str, seconds: std::ops::RangeInclusive<u64>) {
    let answer = server.try_login(name, &password_of(name));
    answer.problem(429, "rate_limited");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(seconds.contains(&wait), "{wait} s");
}

#[test]
fn five_wrong_passwords_lock_the_right_one_out_too_across_a_restart() {
    let mut server = with_alice(600_000);
    fail(&server, "alice", 5);
    is_locked(&server, "alice", 1..=600);
    server.restart();
    is_locked(&server, "alice", 1..=600);
    // Addresses are not remembered; another user comes in from here.
    add_user(server.dir(), "bob", "viewer");
    server.login("bob");
    // A new password is a new start.
    user_done(server.dir(), &["password", "alice", "--password-stdin"], &password_of("alice"));
    server.login("alice");
}

#[test]
fn a_lock_out_ends_and_the_next_is_twice_as_long() {
    let server = with_alice(100);
    fail(&server, "alice", 5);
    until("the end of the lock-out", || (server.try_login("alice", &password_of("alice")).status == 200).then_some(()));
    // The right password was a new start.
    fail(&server, "alice", 4);
    server.login("alice");
}

#[test]
fn names_of_nobody_are_locked_out_like_others() {
    let mut server = with_alice(600_000);
    fail(&server, "nobody", 5);
    // A restart forgets the address, which is locked out too.
    server.restart();
    is_locked(&server, "nobody", 1..=600);
    server.login("alice");
}

#[test]
fn an_address_is_locked_out_whoever_it_tries() {
    let server = with_alice(600_000);
    for name in ["a", "b", "c", "d", "not a name"] {
        fail(&server, name, 1);
    }
    is_locked(&server, "alice", 1..=600);
}

#[test]
fn guesses_sent_at_once_are_counted_one_by_one() {
    let server = with_alice(600_000);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..20).map(|_| scope.spawn(|| server.try_login("alice", "not the password").status)).collect();
        guesses.into_iter().map(|guess| guess.join().unwrap()).collect()
    });
    let judged = statuses.iter().filter(|status| **status == 401).count();
    assert_eq!((judged, statuses.iter().filter(|status| **status == 429).count()), (5, 15), "{statuses:?}");
}

#[test]
fn right_passwords_sent_at_once_all_get_in() {
    let server = with_alice(600_000);
    std::thread::scope(|scope| {
        let logins: Vec<_> = (0..20).map(|_| scope.spawn(|| server.try_login("alice", &password_of("alice")).status)).collect();
        assert!(logins.into_iter().all(|login| login.join().unwrap() == 200));
    });
}

#[test]
fn too_many_at_once_are_told_to_come_again() {
    let setup = CHEAP.iter().fold(Setup::new(), |setup, (name, value)| setup.env(name, value));
    let server = setup.env("GAVEL__AUTH__LOGINS_WAITING", 1).env("GAVEL__AUTH__LOCKOUT_AFTER", 0).start();
    add_user(server.dir(), "alice", "viewer");
    // Until two have met.
    until("an overload", || {
        std::thread::scope(|scope| {
            let logins: Vec<_> = (0..8).map(|_| scope.spawn(|| server.try_login("alice", &password_of("alice")))).collect();
            let answers: Vec<_> = logins.into_iter().map(|login| login.join().unwrap()).collect();
            assert!(answers.iter().all(|answer| [200, 503].contains(&answer.status)));
            let refused = answers.iter().find(|answer| answer.status == 503)?;
            refused.problem(503, "overloaded");
            refused.header("retry-after").map(|_| ())
        })
    });
    server.login("alice");
}

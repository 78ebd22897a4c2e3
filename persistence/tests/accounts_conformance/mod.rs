//! What every backend of accounts and sessions must do, written once.
//!
//! A backend implements [`Backend`] and writes `accounts_conformance!(ItsName);`; each rule then runs as a test of its own.

use gavel_domain::time::{Millis, Timestamp};
use gavel_persistence::accounts::{
    Account, Accounts, AddError, Backoff, Change, ChangeError, NewSession, Opening, PasswordHash, Rotated, Rotation, Serial, Session,
    SessionId, Sessions, TokenDigest,
};
use uuid::Uuid;

/// A backend under test.
pub trait Backend: Sized {
    /// Both ports.
    type Ports: Accounts + Sessions;
    /// With nothing in it.
    fn fresh() -> impl Future<Output = Self>;
    /// Its ports.
    fn ports(&self) -> &Self::Ports;
    /// The same accounts as another process has them.
    fn another(&self) -> impl Future<Output = Self>;
    /// The same after a stop and a start.
    fn restarted(self) -> impl Future<Output = Self>;
}

/// Makes a test of every rule, for one backend.
#[macro_export]
macro_rules! accounts_conformance {
    ($backend:ident) => {
        $crate::accounts_conformance!($backend: users_are_kept, a_name_is_taken_once, only_users_change, failures_lock_longer_and_longer,
            unknown_names_are_locked_out_too, old_failures_count_no_more, a_session_begins, a_session_needs_the_user_as_it_was_checked,
            a_right_password_ends_the_lock_out, a_user_has_so_many_sessions, a_refresh_token_is_good_once,
            a_replaced_refresh_token_ends_its_session, refresh_tokens_expire, a_session_is_closed_by_its_family,
            a_session_is_revoked_by_its_owner, role_and_password_end_sessions, disabling_ends_sessions_and_is_told,
            a_user_added_as_disabled_is_told, changes_are_told_once, expired_revocations_may_be_left_out,
            ended_sessions_are_forgotten, others_see_changes, a_restart_keeps_everything);
    };
    ($backend:ident: $($rule:ident),+ $(,)?) => {
        $(
            #[tokio::test]
            async fn $rule() {
                $crate::accounts_conformance::$rule::<$backend>().await;
            }
        )+
    };
}

const BACKOFF: Backoff = Backoff { after: 3, first: Millis(1000), longest: Millis(5000) };

pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub fn account(name: &str) -> Account {
    let password = PasswordHash(format!("hash of {name}'s"));
    Account { name: name.to_owned(), role: "bidder".to_owned(), password, disabled: false, created_at: at(5) }
}

fn digest(number: u8) -> TokenDigest {
    TokenDigest([number; 32])
}

/// A session of `user`, with family and secret of this number, begun at 100.
pub fn session(user: &str, number: u8) -> NewSession {
    NewSession {
        session: Session {
            id: SessionId(Uuid::from_u128(u128::from(number))),
            user: user.to_owned(),
            created_at: at(100),
            last_used_at: at(100),
            expires_at: at(1000),
            address: Some("192.0.2.1".to_owned()),
            user_agent: Some("a browser".to_owned()),
        },
        access_until: at(200),
        family: digest(number),
        secret: digest(number),
        verified: account(user).password,
        rehashed: None,
        most: 10,
    }
}

fn rotation(family: u8, secret: u8, next: u8, now: i64) -> Rotation {
    Rotation {
        family: digest(family),
        secret: digest(secret),
        next: digest(next),
        at: at(now),
        expires_at: at(now + 900),
        access_until: at(now + 100),
    }
}

async fn with_users<B: Backend>(names: &[&str]) -> B {
    let backend = B::fresh().await;
    for name in names {
        backend.ports().add(account(name)).await.expect("added");
    }
    backend
}

async fn open(ports: &impl Sessions, new: NewSession) {
    let opened = ports.open(new).await.expect("answers");
    assert_eq!(opened, Opening::Opened { role: "bidder".to_owned() });
}

async fn revoked(ports: &impl Sessions) -> Vec<u128> {
    let changes = ports.changes(Serial::default(), at(0)).await.expect("answers");
    let mut ids: Vec<u128> = changes.revoked.iter().map(|(id, _)| id.0.as_u128()).collect();
    ids.sort_unstable();
    ids
}

pub async fn users_are_kept<B: Backend>() {
    let backend = with_users::<B>(&["bob", "alice"]).await;
    let ports = backend.ports();
    assert_eq!(ports.list().await.expect("answers"), [account("alice"), account("bob")]);
    let standing = ports.standing("bob".to_owned()).await.expect("answers");
    assert_eq!((standing.account, standing.failures, standing.locked_until), (Some(account("bob")), 0, at(0)));
    assert_eq!(ports.standing("carol".to_owned()).await.expect("answers").account, None);
    assert_eq!(ports.standing("Bob".to_owned()).await.expect("answers").account, None, "names are what they are");
    assert!(!format!("{:?}", account("bob")).contains("hash of"), "hashes are not for logs");
}

pub async fn a_name_is_taken_once<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let again = Account { role: "admin".to_owned(), ..account("alice") };
    assert!(matches!(backend.ports().add(again).await, Err(AddError::Exists)));
    assert_eq!(backend.ports().list().await.expect("answers"), [account("alice")]);
}

pub async fn only_users_change<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let ports = backend.ports();
    for change in [Change::Role("admin".to_owned()), Change::Password(PasswordHash("x".to_owned())), Change::Disabled(true)] {
        assert!(matches!(ports.change("bob".to_owned(), change).await, Err(ChangeError::NoSuchUser)));
    }
    let changes = ports.changes(Serial::default(), at(0)).await.expect("answers");
    assert!(changes.disabled.is_empty() && changes.revoked.is_empty());
    ports.change("alice".to_owned(), Change::Role("admin".to_owned())).await.expect("changed");
    ports.change("alice".to_owned(), Change::Password(PasswordHash("new".to_owned()))).await.expect("changed");
    ports.change("alice".to_owned(), Change::Disabled(true)).await.expect("changed");
    let expected = Account { role: "admin".to_owned(), password: PasswordHash("new".to_owned()), disabled: true, ..account("alice") };
    assert_eq!(ports.list().await.expect("answers"), [expected]);
}

pub async fn failures_lock_longer_and_longer<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    for (failures, locked) in [(1, 0), (2, 0), (3, 1000), (4, 2000), (5, 4000), (6, 5000), (7, 5000)] {
        let until = backend.ports().failed("alice".to_owned(), at(10_000), BACKOFF).await.expect("answers");
        assert_eq!(until, at(10_000 + locked), "{failures}");
        let standing = backend.ports().standing("alice".to_owned()).await.expect("answers");
        assert_eq!((standing.failures, standing.locked_until), (failures, until));
    }
    let new = Change::Password(PasswordHash("new".to_owned()));
    backend.ports().change("alice".to_owned(), new).await.expect("changed");
    assert_eq!(backend.ports().standing("alice".to_owned()).await.expect("answers").failures, 0, "a new password is a new start");
}

pub async fn unknown_names_are_locked_out_too<B: Backend>() {
    let backend = B::fresh().await;
    for _ in 0..3 {
        backend.ports().failed("nobody".to_owned(), at(10_000), BACKOFF).await.expect("answers");
    }
    let standing = backend.ports().standing("nobody".to_owned()).await.expect("answers");
    assert_eq!((standing.account, standing.locked_until), (None, at(11_000)));
}

pub async fn old_failures_count_no_more<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let day = 24 * 3_600_000;
    for now in [1, 2] {
        backend.ports().failed("alice".to_owned(), at(now), BACKOFF).await.expect("answers");
    }
    let until = backend.ports().failed("alice".to_owned(), at(day + 2), BACKOFF).await.expect("answers");
    assert_eq!(until, at(day + 2));
    assert_eq!(backend.ports().standing("alice".to_owned()).await.expect("answers").failures, 1);
}

pub async fn a_session_begins<B: Backend>() {
    let backend = with_users::<B>(&["alice", "bob"]).await;
    let ports = backend.ports();
    open(ports, session("alice", 1)).await;
    open(ports, NewSession { session: Session { address: None, user_agent: None, ..session("bob", 2).session }, ..session("bob", 2) })
        .await;
    assert_eq!(ports.of("alice".to_owned(), at(150)).await.expect("answers"), [session("alice", 1).session]);
    assert_eq!(ports.of("bob".to_owned(), at(150)).await.expect("answers")[0].address, None);
    assert_eq!(ports.of("alice".to_owned(), at(1000)).await.expect("answers"), [], "expired");
    assert_eq!((ports.count(at(999)).await.expect("answers"), ports.count(at(1000)).await.expect("answers")), (2, 0));
}

pub async fn a_session_needs_the_user_as_it_was_checked<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let ports = backend.ports();
    let other = NewSession { verified: PasswordHash("an older one".to_owned()), ..session("alice", 1) };
    assert_eq!(ports.open(other).await.expect("answers"), Opening::Refused);
    assert_eq!(ports.open(session("nobody", 1)).await.expect("answers"), Opening::Refused);
    ports.change("alice".to_owned(), Change::Disabled(true)).await.expect("changed");
    assert_eq!(ports.open(session("alice", 1)).await.expect("answers"), Opening::Refused);
    assert_eq!(ports.count(at(150)).await.expect("answers"), 0);
    ports.change("alice".to_owned(), Change::Disabled(false)).await.expect("changed");
    ports.change("alice".to_owned(), Change::Role("admin".to_owned())).await.expect("changed");
    assert_eq!(ports.open(session("alice", 1)).await.expect("answers"), Opening::Opened { role: "admin".to_owned() });
}

pub async fn a_right_password_ends_the_lock_out<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let ports = backend.ports();
    ports.failed("alice".to_owned(), at(1), BACKOFF).await.expect("answers");
    let rehashed = Some(PasswordHash("at a new cost".to_owned()));
    open(ports, NewSession { rehashed: rehashed.clone(), ..session("alice", 1) }).await;
    let standing = ports.standing("alice".to_owned()).await.expect("answers");
    assert_eq!((standing.failures, standing.account.map(|account| account.password)), (0, rehashed));
}

pub async fn a_user_has_so_many_sessions<B: Backend>() {
    let backend = with_users::<B>(&["alice", "bob"]).await;
    let ports = backend.ports();
    open(ports, session("bob", 9)).await;
    for number in 1..=3 {
        open(ports, session("alice", number)).await;
    }
    assert!(matches!(ports.rotate(rotation(1, 1, 11, 150), None).await.expect("answers"), Rotated::Done { .. }));
    open(ports, NewSession { most: 2, session: Session { last_used_at: at(160), ..session("alice", 4).session }, ..session("alice", 4) })
        .await;
    let left: Vec<u128> =
        ports.of("alice".to_owned(), at(170)).await.expect("answers").iter().map(|session| session.id.0.as_u128()).collect();
    assert_eq!(left, [4, 1], "the last used stay");
    assert_eq!(revoked(ports).await, [2, 3]);
}

pub async fn a_refresh_token_is_good_once<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let ports = backend.ports();
    open(ports, session("alice", 1)).await;
    let rotated = ports.rotate(rotation(1, 1, 2, 150), Some("192.0.2.9".to_owned())).await.expect("answers");
    let id = session("alice", 1).session.id;
    assert_eq!(rotated, Rotated::Done { session: id, user: "alice".to_owned(), role: "bidder".to_owned() });
    let shown = &ports.of("alice".to_owned(), at(150)).await.expect("answers")[0];
    assert_eq!((shown.created_at, shown.last_used_at, shown.expires_at), (at(100), at(150), at(1050)));
    assert_eq!((shown.address.as_deref(), shown.user_agent.as_deref()), (Some("192.0.2.9"), Some("a browser")));
    assert!(matches!(ports.rotate(rotation(1, 2, 3, 160), None).await.expect("answers"), Rotated::Done { .. }));
    assert_eq!(ports.rotate(rotation(7, 3, 4, 160), None).await.expect("answers"), Rotated::Unknown, "of no family");
}

pub async fn a_replaced_refresh_token_ends_its_session<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let ports = backend.ports();
    open(ports, session("alice", 1)).await;
    open(ports, session("alice", 5)).await;
    assert!(matches!(ports.rotate(rotation(1, 1, 2, 150), None).await.expect("answers"), Rotated::Done { .. }));
    assert!(matches!(ports.rotate(rotation(1, 2, 3, 160), None).await.expect("answers"), Rotated::Done { .. }));
    // The very first, long replaced.
    assert_eq!(ports.rotate(rotation(1, 1, 4, 170), None).await.expect("answers"), Rotated::Reused);
    assert_eq!(ports.rotate(rotation(1, 3, 4, 170), None).await.expect("answers"), Rotated::Unknown, "the good one went with it");
    let changes = ports.changes(Serial::default(), at(0)).await.expect("answers");
    assert_eq!(changes.revoked, [(session("alice", 1).session.id, at(260))], "until its last access token expires");
    assert_eq!(ports.of("alice".to_owned(), at(170)).await.expect("answers").len(), 1);
}

pub async fn refresh_tokens_expire<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let ports = backend.ports();
    open(ports, session("alice", 1)).await;
    assert_eq!(ports.rotate(rotation(1, 1, 2, 1000), None).await.expect("answers"), Rotated::Unknown);
    assert!(matches!(ports.rotate(rotation(1, 1, 2, 999), None).await.expect("answers"), Rotated::Done { .. }));
}

pub async fn a_session_is_closed_by_its_family<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let ports = backend.ports();
    open(ports, session("alice", 1)).await;
    open(ports, session("alice", 2)).await;
    ports.close(digest(1)).await.expect("closed");
    let serial = ports.serial().await.expect("answers");
    ports.close(digest(1)).await.expect("again");
    ports.close(digest(99)).await.expect("of nothing");
    assert_eq!(ports.serial().await.expect("answers"), serial, "nothing has changed");
    assert_eq!(revoked(ports).await, [1]);
    assert_eq!(ports.rotate(rotation(1, 1, 3, 150), None).await.expect("answers"), Rotated::Unknown);
}

pub async fn a_session_is_revoked_by_its_owner<B: Backend>() {
    let backend = with_users::<B>(&["alice", "bob"]).await;
    let ports = backend.ports();
    open(ports, session("alice", 1)).await;
    open(ports, session("alice", 2)).await;
    let id = |number| session("alice", number).session.id;
    let revoke = async |number, user: Option<&str>, now| ports.revoke(id(number), user.map(str::to_owned), at(now)).await.expect("answers");
    assert!(!revoke(1, Some("bob"), 150).await, "not bob's");
    assert!(!revoke(7, None, 150).await, "no such");
    assert!(!revoke(1, None, 1000).await, "expired");
    assert!(revoke(1, Some("alice"), 150).await);
    assert!(!revoke(1, Some("alice"), 150).await, "it is no more");
    assert!(revoke(2, None, 150).await, "for who may end everybody's");
    assert_eq!(revoked(ports).await, [1, 2]);
}

pub async fn role_and_password_end_sessions<B: Backend>() {
    let backend = with_users::<B>(&["alice", "bob", "carol"]).await;
    let ports = backend.ports();
    for (user, number) in [("alice", 1), ("alice", 2), ("bob", 3), ("carol", 4)] {
        open(ports, session(user, number)).await;
    }
    ports.change("alice".to_owned(), Change::Role("viewer".to_owned())).await.expect("changed");
    assert_eq!(revoked(ports).await, [1, 2]);
    ports.change("bob".to_owned(), Change::Password(PasswordHash("new".to_owned()))).await.expect("changed");
    assert_eq!(revoked(ports).await, [1, 2, 3]);
    assert_eq!(ports.count(at(150)).await.expect("answers"), 1);
}

pub async fn disabling_ends_sessions_and_is_told<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let ports = backend.ports();
    open(ports, session("alice", 1)).await;
    ports.change("alice".to_owned(), Change::Disabled(true)).await.expect("changed");
    let first = ports.changes(Serial::default(), at(0)).await.expect("answers");
    assert_eq!((first.revoked.len(), first.disabled.as_slice()), (1, &[("alice".to_owned(), true)][..]));
    ports.change("alice".to_owned(), Change::Disabled(false)).await.expect("changed");
    let second = ports.changes(first.serial, at(0)).await.expect("answers");
    assert_eq!((second.revoked.len(), second.disabled.as_slice()), (0, &[("alice".to_owned(), false)][..]));
    assert_eq!(ports.rotate(rotation(1, 1, 2, 150), None).await.expect("answers"), Rotated::Unknown, "it does not come back");
}

pub async fn a_user_added_as_disabled_is_told<B: Backend>() {
    let backend = B::fresh().await;
    backend.ports().add(Account { disabled: true, ..account("alice") }).await.expect("added");
    let changes = backend.ports().changes(Serial::default(), at(0)).await.expect("answers");
    assert_eq!(changes.disabled, [("alice".to_owned(), true)]);
}

pub async fn changes_are_told_once<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let ports = backend.ports();
    let start = ports.serial().await.expect("answers");
    open(ports, session("alice", 1)).await;
    open(ports, session("alice", 2)).await;
    assert_eq!(ports.serial().await.expect("answers"), start, "a login ends nothing");
    ports.close(digest(1)).await.expect("closed");
    let first = ports.changes(start, at(0)).await.expect("answers");
    assert!(first.serial > start && first.revoked.len() == 1);
    let none = ports.changes(first.serial, at(0)).await.expect("answers");
    assert!(none.serial == first.serial && none.revoked.is_empty() && none.disabled.is_empty());
    ports.close(digest(2)).await.expect("closed");
    let second = ports.changes(first.serial, at(0)).await.expect("answers");
    assert_eq!(second.revoked, [(session("alice", 2).session.id, at(200))]);
}

pub async fn expired_revocations_may_be_left_out<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let ports = backend.ports();
    open(ports, session("alice", 1)).await;
    ports.close(digest(1)).await.expect("closed");
    let known = ports.changes(Serial::default(), at(200)).await.expect("answers");
    assert_eq!(known.revoked.len(), 1, "its access token may still be good");
}

pub async fn ended_sessions_are_forgotten<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let ports = backend.ports();
    for number in 1..=2 {
        open(ports, session("alice", number)).await;
    }
    ports.failed("nobody".to_owned(), at(1), BACKOFF).await.expect("counted");
    ports.close(digest(1)).await.expect("closed");
    ports.purge(at(200)).await.expect("purged");
    assert_eq!(revoked(ports).await, [1], "its access token may still be good");
    ports.purge(at(201)).await.expect("purged");
    assert_eq!(revoked(ports).await, [0_u128; 0]);
    assert_eq!(ports.of("alice".to_owned(), at(150)).await.expect("answers").len(), 1, "the other is good");
    ports.purge(at(1001)).await.expect("purged");
    assert_eq!(ports.of("alice".to_owned(), at(150)).await.expect("answers").len(), 0);
    assert_eq!(ports.standing("nobody".to_owned()).await.expect("answers").failures, 1, "not a day old");
    ports.purge(at(2 + 24 * 3_600_000)).await.expect("purged");
    assert_eq!(ports.standing("nobody".to_owned()).await.expect("answers").failures, 0);
}

pub async fn others_see_changes<B: Backend>() {
    let backend = with_users::<B>(&["alice"]).await;
    let other = backend.another().await;
    open(backend.ports(), session("alice", 1)).await;
    let before = backend.ports().serial().await.expect("answers");
    other.ports().change("alice".to_owned(), Change::Disabled(true)).await.expect("changed");
    assert!(backend.ports().serial().await.expect("answers") > before);
    let changes = backend.ports().changes(before, at(0)).await.expect("answers");
    assert_eq!((changes.revoked.len(), changes.disabled.len()), (1, 1));
}

pub async fn a_restart_keeps_everything<B: Backend>() {
    let backend = with_users::<B>(&["alice", "bob"]).await;
    open(backend.ports(), session("alice", 1)).await;
    open(backend.ports(), session("alice", 2)).await;
    backend.ports().close(digest(2)).await.expect("closed");
    backend.ports().change("bob".to_owned(), Change::Disabled(true)).await.expect("changed");
    let until = backend.ports().failed("bob".to_owned(), at(7), BACKOFF).await.expect("counted");
    let before = backend.ports().changes(Serial::default(), at(0)).await.expect("answers");
    let backend = backend.restarted().await;
    let ports = backend.ports();
    assert_eq!(ports.changes(Serial::default(), at(0)).await.expect("answers"), before);
    let standing = ports.standing("bob".to_owned()).await.expect("answers");
    assert!(standing.failures == 1 && standing.locked_until == until && standing.account.is_some_and(|account| account.disabled));
    assert!(matches!(ports.rotate(rotation(1, 1, 3, 150), None).await.expect("answers"), Rotated::Done { .. }));
}

//! Accounts and sessions: the ports, as plain data, and their embedded backend.
//!
//! What a password is worth, how long a session lasts and what a role may do is decided by the caller; a backend keeps what it
//! is told, and keeps each operation whole. The two ports belong together: what changes a user ends its sessions in the same step.

mod backoff;
pub mod sqlite;

pub use backoff::{Backoff, FORGOTTEN_AFTER};

use gavel_domain::time::Timestamp;
use gavel_engine::ports::{PortFuture, StorageError};
use std::fmt;
use uuid::Uuid;

/// Names tried in vain that are remembered, beside those of users; beyond, the oldest are forgotten.
pub const MOST_UNKNOWN_NAMES: u32 = 100_000;

/// A session, from its login to its end: the token's `sid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub Uuid);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The digest of a part of a refresh token. The token itself never gets here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest(pub [u8; 32]);

/// Never shows it.
impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(…)")
    }
}

/// A hashed password in PHC form, with its salt and parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

/// Never shows it.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Counts the changes that end what a token allows: grows by one with each, for all processes alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial(pub i64);

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The token's `sub`.
    pub name: String,
    /// As in a token.
    pub role: String,
    /// What the password is checked against.
    pub password: PasswordHash,
    /// Not let in, for now.
    pub disabled: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

/// What a login is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// None: there is no such user.
    pub account: Option<Account>,
    /// No password is tried before this time; in the past: no lock-out.
    pub locked_until: Timestamp,
    /// Wrong passwords in a row.
    pub failures: u32,
}

/// What can change of a user.
#[derive(Clone, Debug)]
pub enum Change {
    /// Ends its sessions.
    Role(String),
    /// Ends its sessions, and the lock-out.
    Password(PasswordHash),
    /// Disabling ends its sessions.
    Disabled(bool),
}

/// Why a user was not added.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AddError {
    /// The name is taken.
    #[error("there is a user of this name already")]
    Exists,
    /// The backend is away.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a user was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// None of that name.
    #[error("there is no user of this name")]
    NoSuchUser,
    /// The backend is away.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A session as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Whose.
    pub user: String,
    /// The login.
    pub created_at: Timestamp,
    /// The login, or the last refresh.
    pub last_used_at: Timestamp,
    /// When its refresh token stops being good.
    pub expires_at: Timestamp,
    /// Where it was used last.
    pub address: Option<String>,
    /// What its client called itself at the login.
    pub user_agent: Option<String>,
}

/// A session to begin.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The session; `last_used_at` is `created_at`.
    pub session: Session,
    /// When the access token given with it expires.
    pub access_until: Timestamp,
    /// What all its refresh tokens share.
    pub family: TokenDigest,
    /// What the first of them has.
    pub secret: TokenDigest,
    /// The hash that the password was checked against.
    pub verified: PasswordHash,
    /// What to keep in its place.
    pub rehashed: Option<PasswordHash>,
    /// Sessions that the user may have with this one, at least 1; the longest unused are revoked.
    pub most: u32,
}

/// Whether a session began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It did; the user's role as it is.
    Opened {
        /// As in a token.
        role: String,
    },
    /// The user is gone, disabled, or has another password by now.
    Refused,
}

/// A refresh token that asks for the next one.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// Of the token given.
    pub family: TokenDigest,
    /// Of the token given.
    pub secret: TokenDigest,
    /// Of the token to come.
    pub next: TokenDigest,
    /// Now.
    pub at: Timestamp,
    /// Until when the token to come is good.
    pub expires_at: Timestamp,
    /// When the access token given with it expires.
    pub access_until: Timestamp,
}

/// What became of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotated {
    /// The next one is good in its place.
    Done {
        /// The session.
        session: SessionId,
        /// Whose.
        user: String,
        /// The user's role as it is.
        role: String,
    },
    /// It was replaced before: somebody has a copy. The session has been revoked.
    Reused,
    /// Of no session that is good.
    Unknown,
}

/// What a token must not allow any more, since some [`Serial`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The newest of them.
    pub serial: Serial,
    /// Revoked sessions, each with the time when its last access token expires.
    pub revoked: Vec<(SessionId, Timestamp)>,
    /// Users that were disabled (true) or enabled again.
    pub disabled: Vec<(String, bool)>,
}

/// Users and their passwords.
pub trait Accounts: Send + Sync + 'static {
    /// Adds a user.
    fn add(&self, account: Account) -> PortFuture<(), AddError>;

    /// Changes one; what it says of the user's sessions happens in the same step.
    fn change(&self, name: String, change: Change) -> PortFuture<(), ChangeError>;

    /// All of them, by name.
    fn list(&self) -> PortFuture<Vec<Account>, StorageError>;

    /// What a login under this name is judged by.
    fn standing(&self, name: String) -> PortFuture<Standing, StorageError>;

    /// A wrong password: counted, durably, whether there is such a user or not. Until when the name is locked out.
    fn failed(&self, name: String, at: Timestamp, backoff: Backoff) -> PortFuture<Timestamp, StorageError>;
}

/// Who is logged in.
pub trait Sessions: Send + Sync + 'static {
    /// Begins a session, and ends the user's lock-out.
    fn open(&self, new: NewSession) -> PortFuture<Opening, StorageError>;

    /// Takes a refresh token for the next one, from this address.
    fn rotate(&self, rotation: Rotation, address: Option<String>) -> PortFuture<Rotated, StorageError>;

    /// Revokes the session of this family of refresh tokens; none: nothing happens.
    fn close(&self, family: TokenDigest) -> PortFuture<(), StorageError>;

    /// Revokes a session, of this user if one is given. Whether there was one that was good.
    fn revoke(&self, session: SessionId, user: Option<String>, at: Timestamp) -> PortFuture<bool, StorageError>;

    /// A user's sessions that are good, the last used first.
    fn of(&self, user: String, at: Timestamp) -> PortFuture<Vec<Session>, StorageError>;

    /// How many are good.
    fn count(&self, at: Timestamp) -> PortFuture<u64, StorageError>;

    /// The newest change. Cheap: to be asked several times a second.
    fn serial(&self) -> PortFuture<Serial, StorageError>;

    /// What has changed after `since`; from [`Serial::default`] on: everything. A session whose access tokens have all expired
    /// by `at` may be left out.
    fn changes(&self, since: Serial, at: Timestamp) -> PortFuture<Changes, StorageError>;

    /// Forgets sessions that ended, with all their tokens, before this time, and old failures.
    fn purge(&self, before: Timestamp) -> PortFuture<(), StorageError>;
}

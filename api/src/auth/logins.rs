//! Logins and their sessions: who gets tokens, and who gets no more of them. Knows no HTTP; what is kept is kept by the ports.

use super::{
    Block, IssueError, PasswordError, Passwords, RefreshToken, Revocations, Role, Subject, TokenKeys, Ttl, lockout::Addresses,
    password::MAX_PASSWORD_BYTES,
};
use crate::telemetry::metrics::{LOGINS, SESSIONS};
use gavel_domain::time::{Millis, Timestamp};
use gavel_engine::ports::StorageError;
use gavel_persistence::accounts::{Accounts, Backoff, NewSession, Opening, Rotated, Rotation, Session, SessionId, Sessions, Standing};
use secrecy::SecretString;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// How often it is looked whether another process changed something.
const LOOK: Duration = Duration::from_millis(250);
/// Looks between counts of sessions, and between purges.
const LOOKS_A_COUNT: u32 = 8;
const LOOKS_A_PURGE: u32 = 14_400;
/// Characters of a client's name that are kept.
const USER_AGENT_CHARS: usize = 200;

/// Bounds of logins.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Life of an access token.
    pub access: Ttl,
    /// Life of a refresh token.
    pub refresh: Ttl,
    /// How long after its `exp` an access token is still taken.
    pub leeway: Duration,
    /// Sessions of one user, at least 1.
    pub sessions_per_user: u32,
    /// Logins that may wait for their turn.
    pub waiting: usize,
    /// What wrong passwords lead to.
    pub backoff: Backoff,
}

/// Where a request comes from.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// None where the connection has none.
    pub address: Option<IpAddr>,
    /// As the client calls itself.
    pub user_agent: Option<String>,
}

/// What a login or a refresh gives.
#[derive(Debug)]
pub struct Granted {
    /// For every request.
    pub access_token: SecretString,
    /// How long it is good.
    pub expires_in: Ttl,
    /// For the next of these, once.
    pub refresh_token: SecretString,
    /// Its name.
    pub session: SessionId,
    /// As in the access token.
    pub role: Role,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No such user, another password, disabled: it is not told which.
    #[error("the user or the password is wrong")]
    WrongPassword,
    /// Not a refresh token, or no longer.
    #[error("the refresh token is not valid: log in again")]
    BadRefreshToken,
    /// Too many wrong passwords; it may be asked again after this time.
    #[error("too many wrong passwords: wait before the next")]
    Locked(Duration),
    /// Longer than a password can be.
    #[error("password: at most {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    /// Too many are waiting for their turn.
    #[error("too many logins are waiting: nothing was done")]
    Overloaded,
    /// This server makes no tokens.
    #[error("this server only verifies tokens: log in where they are made")]
    VerifyOnly,
    /// Accounts can't be read or written now.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A bug, or a broken system.
    #[error("{0}")]
    Internal(String),
}

impl LoginError {
    /// For the metric: how a login ended.
    fn outcome(&self) -> &'static str {
        match self {
            Self::WrongPassword | Self::BadRefreshToken => "refused",
            Self::Locked(_) => "locked",
            Self::TooLong => "invalid",
            Self::Overloaded => "overloaded",
            Self::VerifyOnly | Self::Storage(_) | Self::Internal(_) => "failed",
        }
    }
}

impl From<PasswordError> for LoginError {
    fn from(error: PasswordError) -> Self {
        Self::Internal(error.to_string())
    }
}

impl From<IssueError> for LoginError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::VerifyOnly => Self::VerifyOnly,
            other => Self::Internal(other.to_string()),
        }
    }
}

impl From<super::NoRandomness> for LoginError {
    fn from(error: super::NoRandomness) -> Self {
        Self::Internal(error.to_string())
    }
}

/// Everything a server needs for logins. One for the process.
pub struct Logins {
    accounts: Arc<dyn Accounts>,
    sessions: Arc<dyn Sessions>,
    keys: TokenKeys,
    policy: Policy,
    passwords: Passwords,
    addresses: Addresses,
    revocations: Arc<Revocations>,
    names: Names,
    waiting: Semaphore,
}

impl Logins {
    /// Over a backend of both ports; knows what was revoked before.
    ///
    /// # Errors
    /// The backend can't be read.
    pub async fn start<B: Accounts + Sessions>(
        backend: Arc<B>,
        keys: TokenKeys,
        passwords: Passwords,
        policy: Policy,
    ) -> Result<Arc<Self>, StorageError> {
        let logins = Self {
            accounts: Arc::clone(&backend) as _,
            sessions: backend,
            keys,
            policy,
            passwords,
            addresses: Addresses::new(policy.backoff),
            revocations: Arc::default(),
            names: Names::default(),
            waiting: Semaphore::new(policy.waiting),
        };
        logins.catch_up().await?;
        Ok(Arc::new(logins))
    }

    /// Whose tokens are good no longer.
    #[must_use]
    pub fn revocations(&self) -> Arc<Revocations> {
        Arc::clone(&self.revocations)
    }

    /// Tokens for a user and its password.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn login(self: &Arc<Self>, user: String, password: SecretString, origin: Origin) -> Result<Granted, LoginError> {
        let this = Arc::clone(self);
        // On a task of its own: who hangs up before the answer has had its guess all the same.
        let judged = tokio::spawn(async move { this.judge(&user, password, origin).await }).await;
        let outcome = judged.unwrap_or_else(|error| Err(LoginError::Internal(error.to_string())));
        let label = outcome.as_ref().map_or_else(LoginError::outcome, |_| "accepted");
        metrics::counter!(LOGINS, "outcome" => label).increment(1);
        outcome
    }

    async fn judge(&self, user: &str, password: SecretString, origin: Origin) -> Result<Granted, LoginError> {
        use secrecy::ExposeSecret as _;
        if password.expose_secret().len() > MAX_PASSWORD_BYTES {
            return Err(LoginError::TooLong);
        }
        if !self.keys.can_issue() {
            return Err(LoginError::VerifyOnly);
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| LoginError::Overloaded)?;
        let from = origin.address.map(Block::from);
        self.check_address(from)?;
        // Text that can be nobody's name goes the same way, but is not worth remembering.
        let name = user.parse::<Subject>().ok();
        // One at a time for a name, so that guesses sent at once are counted like guesses sent one by one.
        let lock = self.names.lock_of(name.as_ref());
        let _alone = lock.lock().await;
        let standing = match &name {
            Some(name) => self.accounts.standing(name.to_string()).await?,
            None => Standing { account: None, locked_until: Timestamp::from_millis(0), failures: 0 },
        };
        check_lock(standing.locked_until)?;
        let turn = self.passwords.turn().await?;
        self.check_address(from)?; // others may have failed from there in the meantime
        let hash = standing.account.as_ref().map(|account| account.password.clone());
        let checked = turn.check(password, hash).await?;
        let at = now();
        if let Some(account) = standing.account.filter(|account| checked.right && !account.disabled) {
            let first = RefreshToken::first()?;
            let session = Session {
                id: SessionId(Uuid::now_v7()),
                user: account.name.clone(),
                created_at: at,
                last_used_at: at,
                expires_at: at.plus(millis(self.policy.refresh)),
                address: origin.address.map(|address| address.to_canonical().to_string()),
                user_agent: origin.user_agent.as_deref().map(shortened),
            };
            let id = session.id;
            let opening = self.sessions.open(NewSession {
                session,
                access_until: self.access_until(at),
                family: first.family(),
                secret: first.secret(),
                verified: account.password,
                rehashed: checked.rehashed,
                most: self.policy.sessions_per_user,
            });
            if let Opening::Opened { role } = opening.await? {
                self.catch_up().await?; // an older session may have made room
                if let Some(from) = from {
                    self.addresses.succeeded(from, standing.failures);
                }
                return self.grant(&account.name, &role, id, &first);
            }
        }
        if let Some(name) = name {
            self.accounts.failed(name.to_string(), at, self.policy.backoff).await?;
        }
        if let Some(from) = from {
            self.addresses.failed(from, at);
        }
        Err(LoginError::WrongPassword)
    }

    fn check_address(&self, from: Option<Block>) -> Result<(), LoginError> {
        from.map_or(Ok(()), |from| check_lock(self.addresses.locked_until(from)))
    }

    /// The next tokens for a refresh token, once.
    ///
    /// # Errors
    /// See [`LoginError`].
    pub async fn refresh(&self, token: &str, origin: &Origin) -> Result<Granted, LoginError> {
        let given = RefreshToken::parse(token).ok_or(LoginError::BadRefreshToken)?;
        let (next, at) = (given.next()?, now());
        let rotation = Rotation {
            family: given.family(),
            secret: given.secret(),
            next: next.secret(),
            at,
            expires_at: at.plus(millis(self.policy.refresh)),
            access_until: self.access_until(at),
        };
        let address = origin.address.map(|address| address.to_canonical().to_string());
        match self.sessions.rotate(rotation, address).await? {
            Rotated::Done { session, user, role } => self.grant(&user, &role, session, &next),
            Rotated::Reused => {
                tracing::warn!("a refresh token came back after it was replaced: its session is revoked");
                self.catch_up().await?;
                Err(LoginError::BadRefreshToken)
            }
            Rotated::Unknown => Err(LoginError::BadRefreshToken),
        }
    }

    /// Ends the session of a refresh token; of one that is none any more, nothing.
    ///
    /// # Errors
    /// The backend.
    pub async fn logout(&self, token: &str) -> Result<(), StorageError> {
        let Some(token) = RefreshToken::parse(token) else { return Ok(()) };
        self.sessions.close(token.family()).await?;
        self.catch_up().await
    }

    /// A user's sessions, the last used first.
    ///
    /// # Errors
    /// The backend.
    pub async fn sessions(&self, user: &Subject) -> Result<Vec<Session>, StorageError> {
        self.sessions.of(user.to_string(), now()).await
    }

    /// Ends a session, of `user` alone if one is given. Whether there was one.
    ///
    /// # Errors
    /// The backend.
    pub async fn revoke(&self, session: SessionId, user: Option<&Subject>) -> Result<bool, StorageError> {
        let ended = self.sessions.revoke(session, user.map(ToString::to_string), now()).await?;
        self.catch_up().await?;
        Ok(ended)
    }

    /// Follows what other processes change, for ever.
    pub async fn follow(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut away = false;
        for number in (0_u32..).cycle() {
            looks.tick().await;
            match self.look(number).await {
                Ok(()) => away = false,
                Err(error) if !away => {
                    away = true;
                    tracing::error!(%error, "accounts can't be read: revocations made elsewhere are not noticed");
                }
                Err(_) => {}
            }
        }
    }

    async fn look(&self, number: u32) -> Result<(), StorageError> {
        if self.sessions.serial().await? > self.revocations.serial() {
            self.catch_up().await?;
        }
        if number.is_multiple_of(LOOKS_A_COUNT) {
            let count = self.sessions.count(now()).await?;
            #[expect(clippy::cast_precision_loss, reason = "a gauge")]
            metrics::gauge!(SESSIONS).set(count as f64);
        }
        if number.is_multiple_of(LOOKS_A_PURGE) {
            self.sessions.purge(self.expired(now())).await?;
        }
        Ok(())
    }

    /// Learns what is revoked and who is disabled, since the last time.
    async fn catch_up(&self) -> Result<(), StorageError> {
        let expired = self.expired(now());
        let changes = self.sessions.changes(self.revocations.serial(), expired).await?;
        self.revocations.learn(changes, expired);
        Ok(())
    }

    fn grant(&self, user: &str, role: &str, session: SessionId, refresh: &RefreshToken) -> Result<Granted, LoginError> {
        let unreadable = |error: String| LoginError::Internal(format!("an account can't be read: {error}"));
        let sub: Subject = user.parse().map_err(|error: super::SubjectError| unreadable(error.to_string()))?;
        let role: Role = role.parse().map_err(|error: super::RoleError| unreadable(error.to_string()))?;
        let access_token = self.keys.issue_for(&sub, role, self.policy.access, session)?;
        Ok(Granted { access_token: access_token.into(), expires_in: self.policy.access, refresh_token: refresh.text(), session, role })
    }

    /// When a token made at `at` is good no longer anywhere: a second more, since tokens count in whole ones.
    fn access_until(&self, at: Timestamp) -> Timestamp {
        at.plus(Millis(millis(self.policy.access).0 + 1000))
    }

    /// Tokens that expired before this time are taken nowhere.
    fn expired(&self, at: Timestamp) -> Timestamp {
        let leeway = i64::try_from(self.policy.leeway.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(at.as_millis().saturating_sub(leeway).saturating_sub(1000))
    }
}

/// Which names are being logged in under, each with a lock of its own.
#[derive(Default)]
struct Names(Mutex<HashMap<Option<Subject>, Weak<tokio::sync::Mutex<()>>>>);

impl Names {
    fn lock_of(&self, name: Option<&Subject>) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(&name.cloned()).and_then(Weak::upgrade) {
            return lock;
        }
        // No more of them are in use than logins may wait.
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        locks.insert(name.cloned(), Arc::downgrade(&lock));
        lock
    }
}

fn check_lock(until: Timestamp) -> Result<(), LoginError> {
    match until.since(now()) {
        Millis(0) => Ok(()),
        Millis(left) => Err(LoginError::Locked(Duration::from_millis(left))),
    }
}

/// Sessions and lock-outs outlive processes: they go by the wall clock.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn millis(ttl: Ttl) -> Millis {
    Millis(ttl.as_secs().saturating_mul(1000))
}

fn shortened(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(USER_AGENT_CHARS).collect()
}

//! Passwords: hashed with Argon2id, checked on threads of their own. Who may log in is decided elsewhere.
//!
//! Hashing is meant to be dear. So there are few threads for it, at a lower priority than what bids need, and whoever comes
//! waits for a turn. An unknown user costs what a known one does: its password is checked against a hash of nobody's.

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _},
};
use gavel_persistence::accounts::PasswordHash;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Bytes of the shortest password that can be set.
pub const MIN_PASSWORD_BYTES: usize = 8;
/// Bytes of the longest; a longer one is never hashed.
pub const MAX_PASSWORD_BYTES: usize = 1024;

/// The "nice" value of the hashing threads: they are on no bid's path.
#[cfg(target_os = "linux")]
const BEHIND: i32 = 10;

/// What one hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashCost {
    /// KiB of memory.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

/// A password was not hashed or checked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short or too long to be one.
    #[error("a password has {MIN_PASSWORD_BYTES} to {MAX_PASSWORD_BYTES} bytes, this one has {0}")]
    Length(usize),
    /// Argon2 refuses its parameters, or the system has no random bytes.
    #[error("hashing a password: {0}")]
    Hashing(String),
}

/// What a check found.
#[derive(Debug)]
pub struct Checked {
    /// Whether it was the password.
    pub right: bool,
    /// The same password at the cost configured now, if it was hashed at another.
    pub rehashed: Option<PasswordHash>,
}

/// Argon2id at one cost.
pub struct Hasher {
    argon2: Argon2<'static>,
}

impl Hasher {
    /// At this cost.
    ///
    /// # Errors
    /// Argon2 has bounds of its own: at least 8 KiB a lane.
    pub fn new(cost: HashCost) -> Result<Self, PasswordError> {
        let params = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, None);
        let params = params.map_err(|error| PasswordError::Hashing(error.to_string()))?;
        Ok(Self { argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params) })
    }

    /// A new user's or a new password's hash.
    ///
    /// # Errors
    /// The length.
    pub fn hash(&self, password: &SecretString) -> Result<PasswordHash, PasswordError> {
        let bytes = password.expose_secret().as_bytes();
        if !(MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES).contains(&bytes.len()) {
            return Err(PasswordError::Length(bytes.len()));
        }
        self.hash_any(bytes)
    }

    fn hash_any(&self, bytes: &[u8]) -> Result<PasswordHash, PasswordError> {
        let hash = self.argon2.hash_password(bytes).map_err(|error| PasswordError::Hashing(error.to_string()))?;
        Ok(PasswordHash(hash.to_string()))
    }

    /// Checks at the hash's own cost.
    fn check(&self, password: &SecretString, hash: &PasswordHash) -> Checked {
        let bytes = password.expose_secret().as_bytes();
        let right = self.argon2.verify_password(bytes, hash.0.as_str()).is_ok();
        let rehashed = if right && !self.is_current(hash) { self.hash_any(bytes).ok() } else { None };
        Checked { right, rehashed }
    }

    fn is_current(&self, hash: &PasswordHash) -> bool {
        let params = self.argon2.params();
        let cost = format!("$argon2id$v=19$m={},t={},p={}$", params.m_cost(), params.t_cost(), params.p_cost());
        hash.0.starts_with(&cost)
    }
}

type Job = Box<dyn FnOnce(&Hasher) + Send>;

/// The threads.
pub struct Passwords {
    jobs: mpsc::SyncSender<Job>,
    turns: Arc<Semaphore>,
    /// What an unknown user's password is checked against.
    nobodys: PasswordHash,
}

/// The right to hash once.
pub struct Turn<'a> {
    passwords: &'a Passwords,
    _permit: OwnedSemaphorePermit,
}

impl Passwords {
    /// Starts `threads` (at least one). They end with the value.
    ///
    /// # Errors
    /// As [`Hasher::new`], or a thread can't be started.
    pub fn start(cost: HashCost, threads: usize) -> Result<Self, PasswordError> {
        let hasher = Arc::new(Hasher::new(cost)?);
        let nobodys = hasher.hash_any(uuid::Uuid::new_v4().as_bytes())?;
        let threads = threads.max(1);
        let (jobs, queue) = mpsc::sync_channel::<Job>(threads);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let (queue, hasher) = (Arc::clone(&queue), Arc::clone(&hasher));
            let thread = std::thread::Builder::new().name("passwords".to_owned()).spawn(move || work(&queue, &hasher));
            thread.map_err(|error| PasswordError::Hashing(error.to_string()))?;
        }
        Ok(Self { jobs, turns: Arc::new(Semaphore::new(threads)), nobodys })
    }

    /// Waits for a thread. Who waits is bounded by who calls.
    ///
    /// # Errors
    /// The process is ending.
    pub async fn turn(&self) -> Result<Turn<'_>, PasswordError> {
        let permit = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| ended())?;
        Ok(Turn { passwords: self, _permit: permit })
    }
}

impl Turn<'_> {
    /// Whether it is the password; of nobody: never, after the same work.
    ///
    /// # Errors
    /// The thread failed.
    pub async fn check(self, password: SecretString, hash: Option<PasswordHash>) -> Result<Checked, PasswordError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.passwords.nobodys.clone());
        let (tell, told) = oneshot::channel();
        let job: Job = Box::new(move |hasher| {
            let _ = tell.send(hasher.check(&password, &hash)); // who asked may have gone
        });
        // As many turns as places: there is always one.
        self.passwords.jobs.try_send(job).map_err(|_| ended())?;
        let checked = told.await.map_err(|_| ended())?;
        Ok(Checked { right: checked.right && known, ..checked })
    }
}

fn ended() -> PasswordError {
    PasswordError::Hashing("the hashing thread has ended".to_owned())
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>, hasher: &Hasher) {
    // Where that is refused, it runs like the others.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), BEHIND);
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if catch_unwind(AssertUnwindSafe(|| job(hasher))).is_err() {
            tracing::error!("hashing a password failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far below what is configured: these tests are about other things.
    const CHEAP: HashCost = HashCost { memory_kib: 64, iterations: 1, parallelism: 1 };

    #[test]
    fn only_lengths_that_can_be_passwords_are_hashed() {
        let hasher = Hasher::new(CHEAP).unwrap();
        for (length, fits) in [(0, false), (7, false), (8, true), (1024, true), (1025, false), (1 << 20, false)] {
            let outcome = hasher.hash(&"x".repeat(length).into());
            assert_eq!(outcome.is_ok(), fits, "{length}");
            if let Ok(hash) = outcome {
                assert!(hash.0.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{}", hash.0);
            }
        }
        assert!(Hasher::new(HashCost { parallelism: 16, ..CHEAP }).is_err());
    }

    #[tokio::test]
    async fn the_password_and_no_other_is_right() {
        let hasher = Hasher::new(CHEAP).unwrap();
        let hash = hasher.hash(&"correct horse".into()).unwrap();
        assert_ne!(hash, hasher.hash(&"correct horse".into()).unwrap(), "each has a salt of its own");
        let passwords = Passwords::start(CHEAP, 1).unwrap();
        for (tried, against, right) in [
            ("correct horse", Some(hash.clone()), true),
            ("correct horsf", Some(hash.clone()), false),
            ("", Some(hash.clone()), false),
            ("correct horse", None, false),
            ("correct horse", Some(PasswordHash("plain".into())), false),
        ] {
            let checked = passwords.turn().await.unwrap().check(tried.into(), against).await.unwrap();
            assert_eq!(checked.right, right, "{tried:?}");
            assert!(checked.rehashed.is_none());
        }
    }

    #[tokio::test]
    async fn a_hash_at_another_cost_is_replaced() {
        let old = Hasher::new(HashCost { iterations: 2, ..CHEAP }).unwrap().hash(&"correct horse".into()).unwrap();
        let passwords = Passwords::start(CHEAP, 1).unwrap();
        let wrong = passwords.turn().await.unwrap().check("something else".into(), Some(old.clone())).await.unwrap();
        assert!(!wrong.right && wrong.rehashed.is_none());
        let checked = passwords.turn().await.unwrap().check("correct horse".into(), Some(old)).await.unwrap();
        let new = checked.rehashed.unwrap();
        assert!(checked.right && new.0.starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        assert!(passwords.turn().await.unwrap().check("correct horse".into(), Some(new)).await.unwrap().right);
    }

    #[tokio::test]
    async fn no_more_are_hashed_at_once_than_there_are_threads() {
        let passwords = Passwords::start(CHEAP, 2).unwrap();
        let (first, _second) = (passwords.turn().await.unwrap(), passwords.turn().await.unwrap());
        assert_eq!(passwords.turns.available_permits(), 0);
        first.check("whatever".into(), None).await.unwrap();
        assert_eq!(passwords.turns.available_permits(), 1);
    }
}

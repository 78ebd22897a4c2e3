//! Tokens of another issuer: verified with its published keys, which are read from a file or fetched, and now and then again.
//!
//! Which key a token names decides who judges it: one of the issuer's by the issuer's, without a word from the server's own key.

use super::{
    AUDIENCE, AuthError, Principal,
    jwks::{KeySet, KeySetError},
    token::{claim, principal},
};
use serde_json::Value;
use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::sync::{Notify, watch};

/// How often keys are read again without a reason.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// How often at most, with a reason.
const AT_MOST_EVERY: Duration = Duration::from_secs(60);
/// How long a request waits for keys that were asked for because of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a set, at most.
const MOST_BYTES: u64 = 1 << 20;

/// Where the keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// On this machine.
    File(PathBuf),
    /// `http://` or `https://`.
    Url(String),
}

/// The keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// The file can't be read.
    #[error("auth.jwks_file {path}: {source}", path = path.display())]
    File {
        /// As configured.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Nothing, or an error, came from there.
    #[error("auth.jwks_url {url}: {reason}")]
    Fetch {
        /// As configured.
        url: String,
        /// The client's words.
        reason: String,
    },
    /// What is there is not what was expected.
    #[error("{place}: {source}")]
    Keys {
        /// The key of the configuration, and its value.
        place: String,
        /// What is wrong.
        source: KeySetError,
    },
}

/// One issuer. Shared by the gate and by the task that keeps its keys.
#[derive(Debug)]
pub struct Issuer {
    source: Source,
    name: String,
    role_claim: String,
    leeway: Duration,
    keys: RwLock<Arc<KeySet>>,
    asked: Mutex<Asked>,
    wanted: Notify,
    /// Counts answers, good or bad.
    answered: watch::Sender<u64>,
}

/// Keys asked for because a token named an unknown one.
#[derive(Debug, Default)]
struct Asked {
    last: Option<Instant>,
    under_way: bool,
}

impl Issuer {
    /// With no keys yet.
    #[must_use]
    pub fn new(source: Source, name: String, role_claim: String, leeway: Duration) -> Self {
        let (keys, asked) = (RwLock::default(), Mutex::default());
        Self { source, name, role_claim, leeway, keys, asked, wanted: Notify::new(), answered: watch::Sender::new(0) }
    }

    /// Judges a token that names a key; none: one that names none, which is not this issuer's to judge.
    #[must_use]
    pub fn verify(&self, token: &str) -> Option<Result<Principal, AuthError>> {
        let kid = jsonwebtoken::decode_header(token).ok()?.kid?;
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        Some(self.judge(&keys, &kid, token))
    }

    fn judge(&self, keys: &KeySet, kid: &str, token: &str) -> Result<Principal, AuthError> {
        let claims = keys.claims(kid, token)?;
        if claim(&claims, "iss")?.as_str() != Some(&self.name) {
            return Err(AuthError::BadClaim("iss", "not the issuer this server takes tokens of"));
        }
        // RFC 7519, section 4.1.3: the token is for us if we are among those it is for.
        let for_us = match claim(&claims, "aud")? {
            Value::Array(list) => list.iter().any(|audience| audience.as_str() == Some(AUDIENCE)),
            one => one.as_str() == Some(AUDIENCE),
        };
        if !for_us {
            return Err(AuthError::BadClaim("aud", "expected `gavel` among them"));
        }
        // Another issuer's `sid` is none of our sessions.
        principal(&claims, &self.role_claim, None, self.leeway.as_secs())
    }

    /// Has the keys read again for a token that names an unknown one, unless that was done a moment ago.
    pub fn ask(&self) {
        self.wanted.notify_one();
    }

    /// Waits for what [`Issuer::ask`] led to, a little, and not at all where there is an answer already or nothing was asked. What
    /// is known afterwards only the token tells.
    pub async fn refreshed(&self) {
        let mut answers = self.answered.subscribe();
        {
            let asked = self.asked();
            if !asked.under_way && !asked.may_ask() {
                return;
            }
        }
        self.ask();
        let _ = tokio::time::timeout(PATIENCE, answers.changed()).await;
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the keys. Those known before stay if that fails.
    ///
    /// # Errors
    /// See [`IssuerError`].
    pub async fn refresh(&self) -> Result<(), IssuerError> {
        let (source, leeway) = (self.source.clone(), self.leeway);
        let read = tokio::task::spawn_blocking(move || read(&source, leeway)).await;
        let outcome = match read {
            Ok(Ok(keys)) => {
                tracing::info!(keys = keys.len(), left_out = ?keys.left_out, "an issuer's keys were read");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
                Ok(())
            }
            Ok(Err(error)) => Err(error),
            Err(error) => Err(IssuerError::Fetch { url: String::new(), reason: error.to_string() }),
        };
        self.asked().under_way = false;
        self.answered.send_modify(|count| *count += 1);
        outcome
    }

    /// Keeps the keys up to date, for ever.
    pub async fn follow(self: Arc<Self>) {
        loop {
            let none_yet = self.keys.read().unwrap_or_else(PoisonError::into_inner).len() == 0;
            let every = if none_yet { AT_MOST_EVERY } else { EVERY };
            if tokio::time::timeout(every, self.wanted.notified()).await.is_ok() && !self.asked().begin() {
                continue; // a moment ago
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "an issuer's keys can't be read: those known before stay");
            }
        }
    }
}

impl Asked {
    fn may_ask(&self) -> bool {
        self.last.is_none_or(|at| at.elapsed() >= AT_MOST_EVERY)
    }

    fn begin(&mut self) -> bool {
        let may = self.may_ask();
        if may {
            *self = Self { last: Some(Instant::now()), under_way: true };
        }
        may
    }
}

fn read(source: &Source, leeway: Duration) -> Result<KeySet, IssuerError> {
    let (text, place) = match source {
        Source::File(path) => {
            let failed = |source| IssuerError::File { path: path.clone(), source };
            let file = std::fs::File::open(path).map_err(failed)?;
            let mut text = Vec::new();
            io::Read::read_to_end(&mut io::Read::take(file, MOST_BYTES), &mut text).map_err(failed)?;
            (text, format!("auth.jwks_file {}", path.display()))
        }
        Source::Url(url) => {
            let text = super::fetch::fetch(url, MOST_BYTES).map_err(|reason| IssuerError::Fetch { url: url.clone(), reason })?;
            (text, format!("auth.jwks_url {url}"))
        }
    };
    KeySet::parse(&text, leeway).map_err(|source| IssuerError::Keys { place, source })
}

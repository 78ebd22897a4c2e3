//! Whose tokens are good no longer, though they have not expired: revoked sessions and disabled users, in memory, asked with
//! every token. Where that is kept, and how news of it comes, is not known here.

use super::{AuthError, Principal};
use gavel_domain::time::Timestamp;
use gavel_persistence::accounts::{Changes, Serial, SessionId};
use std::{
    collections::{HashMap, HashSet},
    sync::{PoisonError, RwLock},
};
use tokio::sync::watch;

/// Shared by everything in the process that verifies tokens.
#[derive(Debug)]
pub struct Revocations {
    known: RwLock<Known>,
    changed: watch::Sender<Serial>,
}

#[derive(Debug, Default)]
struct Known {
    serial: Serial,
    /// With the time when the last access token of each expires.
    sessions: HashMap<SessionId, Timestamp>,
    users: HashSet<String>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self { known: RwLock::default(), changed: watch::Sender::new(Serial::default()) }
    }
}

impl Revocations {
    /// Whether the holder of a valid token is still let in.
    ///
    /// # Errors
    /// The session was revoked, or the user is disabled.
    pub fn check(&self, principal: &Principal) -> Result<(), AuthError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if principal.session.is_some_and(|session| known.sessions.contains_key(&session)) {
            return Err(AuthError::Revoked);
        }
        if !known.users.is_empty() && known.users.contains(principal.sub.as_str()) {
            return Err(AuthError::Disabled);
        }
        Ok(())
    }

    /// The newest change known here.
    #[must_use]
    pub fn serial(&self) -> Serial {
        self.known.read().unwrap_or_else(PoisonError::into_inner).serial
    }

    /// Takes news in, and forgets sessions whose tokens have all expired before `expired`.
    pub fn learn(&self, changes: Changes, expired: Timestamp) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Two may have asked at the same time, and be here in the other order.
        if changes.serial < known.serial {
            return;
        }
        known.sessions.extend(changes.revoked);
        known.sessions.retain(|_, until| *until >= expired);
        for (user, disabled) in changes.disabled {
            if disabled {
                known.users.insert(user);
            } else {
                known.users.remove(&user);
            }
        }
        known.serial = changes.serial;
        drop(known);
        self.changed.send_if_modified(|serial| std::mem::replace(serial, changes.serial) != changes.serial);
    }

    /// Wakes whoever has let somebody in before: they must ask again.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Serial> {
        self.changed.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Role;
    use uuid::Uuid;

    fn principal(sub: &str, session: Option<SessionId>) -> Principal {
        Principal { sub: sub.parse().unwrap(), role: Role::Bidder, expires_at: u64::MAX, session }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn what_was_learnt_is_asked() {
        let revocations = Revocations::default();
        let mut news = revocations.subscribe();
        let (out, still_in) = (SessionId(Uuid::new_v4()), SessionId(Uuid::new_v4()));
        let changes = |serial, disabled: &[(&str, bool)]| Changes {
            serial: Serial(serial),
            revoked: vec![(out, at(900))],
            disabled: disabled.iter().map(|(user, disabled)| ((*user).to_owned(), *disabled)).collect(),
        };
        revocations.learn(changes(3, &[("mallory", true)]), at(0));
        assert!(news.has_changed().unwrap());
        news.mark_unchanged();
        assert_eq!(revocations.check(&principal("alice", Some(out))), Err(AuthError::Revoked));
        assert_eq!(revocations.check(&principal("alice", Some(still_in))), Ok(()));
        assert_eq!(revocations.check(&principal("alice", None)), Ok(()));
        assert_eq!(revocations.check(&principal("mallory", None)), Err(AuthError::Disabled));
        revocations.learn(changes(3, &[]), at(0));
        assert!(!news.has_changed().unwrap(), "no news");
        revocations.learn(changes(4, &[("mallory", false)]), at(901));
        revocations.learn(changes(2, &[("mallory", true)]), at(901));
        assert_eq!(revocations.check(&principal("mallory", None)), Ok(()), "what is older changes nothing");
        assert_eq!(revocations.check(&principal("alice", Some(out))), Ok(()), "its tokens have all expired");
        assert_eq!(revocations.serial(), Serial(4));
    }
}

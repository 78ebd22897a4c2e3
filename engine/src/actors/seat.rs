//! The place of an entity in its actor: it is there, or it is being rebuilt and mail waits for it.

use crate::limits;
use std::collections::VecDeque;

/// An entity `E`, and mail `M` for it.
pub(super) enum Seat<E, M> {
    /// It is there.
    Live(Box<E>),
    /// Mail waits until it is back.
    Rebuilding(VecDeque<M>),
}

impl<E, M> Seat<E, M> {
    pub(super) const fn vacant() -> Self {
        Self::Rebuilding(VecDeque::new())
    }

    pub(super) fn live(&self) -> Option<&E> {
        match self {
            Self::Live(entity) => Some(entity),
            Self::Rebuilding(_) => None,
        }
    }

    /// Lets mail through where the entity is there, keeps it where it has to wait.
    pub(super) fn let_in(&mut self, mail: M) -> Served<M> {
        match self {
            Self::Live(_) => Served::Now(mail),
            Self::Rebuilding(waiting) if waiting.len() < limits::REBUILD_QUEUE => {
                waiting.push_back(mail);
                Served::Later
            }
            Self::Rebuilding(_) => Served::Never(mail),
        }
    }

    /// It is back: the mail that waited.
    pub(super) fn restore(&mut self, entity: Box<E>) -> VecDeque<M> {
        match std::mem::replace(self, Self::Live(entity)) {
            Self::Live(_) => VecDeque::new(),
            Self::Rebuilding(waiting) => waiting,
        }
    }
}

/// What becomes of a piece of mail.
pub(super) enum Served<M> {
    /// The entity is there for it.
    Now(M),
    /// It is kept.
    Later,
    /// No more can wait.
    Never(M),
}

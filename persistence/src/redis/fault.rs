//! What Redis's errors mean for us: refused for certain, or nobody knows. No commands here.

use gavel_engine::ports::{StorageError, journal::AppendError};
use redis::{RedisError, ServerError, ServerErrorKind};

/// Why a write was not acknowledged.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// Nothing was written: the server said no, or the command never left.
    Refused(String),
    /// It left, and no answer came.
    Unknown(String),
}

impl Fault {
    /// The server's own no. Our scripts check before they write and can't fail afterwards, so whatever
    /// the reason (OOM, READONLY, MISCONF, LOADING, NOSCRIPT, MOVED), nothing was written.
    pub(super) fn of_server(error: &ServerError) -> Self {
        Self::Refused(words(error))
    }

    /// No answer to what was sent.
    pub(super) fn of_silence(error: &RedisError) -> Self {
        Self::Unknown(if error.is_timeout() { "no answer within the response timeout".into() } else { error.to_string() })
    }

    /// The same, with the node that it is of.
    pub(super) fn at(self, node: &impl std::fmt::Display) -> Self {
        match self {
            Self::Refused(reason) => Self::Refused(format!("{node}: {reason}")),
            Self::Unknown(reason) => Self::Unknown(format!("{node}: {reason}")),
        }
    }

    pub(super) fn append(self, operation: String) -> AppendError {
        match self {
            Self::Refused(reason) => AppendError::Refused(StorageError { operation, reason }),
            Self::Unknown(reason) => AppendError::Unknown(StorageError { operation, reason }),
        }
    }

    pub(super) fn storage(self, operation: String) -> StorageError {
        match self {
            Self::Refused(reason) => StorageError { operation, reason },
            Self::Unknown(reason) => StorageError { operation, reason: format!("fate unknown: {reason}") },
        }
    }
}

/// As Redis puts it: its code and its sentence.
pub(super) fn words(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// Whether the server does not have the script (any more): it can be given, and the command repeated.
pub(super) fn lacks_script(error: &ServerError) -> bool {
    error.kind() == Some(ServerErrorKind::NoScript)
}

/// What the engine is told.
pub(super) fn failed(operation: impl Into<String>, reason: impl std::fmt::Display) -> StorageError {
    StorageError { operation: operation.into(), reason: reason.to_string() }
}

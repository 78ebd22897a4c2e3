//! What PostgreSQL's errors mean for us, by their SQLSTATE
//! (<https://www.postgresql.org/docs/current/errcodes-appendix.html>). No SQL here.

use sqlx::{Error, error::DatabaseError};

/// An error's kind, as far as anyone here decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Two transactions met, and this one gave way: the same again may succeed.
    Again,
    /// No space.
    Full,
    /// A standby, or set to read only.
    ReadOnly,
    /// The user or the password.
    Credentials,
    /// There is no such database.
    NoDatabase,
    /// The user may not do that.
    Privileges,
    /// No more connections.
    Busy,
    /// A table or a column is not there.
    NotOurs,
    /// Nobody behind PgBouncer, or a server that starts or stops.
    Away,
    /// The server's word on this statement alone: its transaction is rolled back.
    Refused,
    /// Anything else, silence included; what was under way may or may not have happened.
    Other,
}

impl Fault {
    pub(super) fn of(error: &Error) -> Self {
        code(error).map_or(Self::Other, |code| Self::of_code(&code))
    }

    fn of_code(code: &str) -> Self {
        match code {
            "40001" | "40P01" => Self::Again,
            "53100" => Self::Full,
            "25006" => Self::ReadOnly,
            "28000" | "28P01" => Self::Credentials,
            "3D000" => Self::NoDatabase,
            "42501" => Self::Privileges,
            "53300" => Self::Busy,
            "42P01" | "42703" => Self::NotOurs,
            "57P01" | "57P02" | "57P03" => Self::Away,
            _ if code.starts_with("08") => Self::Away,
            // The operator's hand, the system, a bug of the server, and "statement completion unknown".
            _ if ["57", "58", "XX"].iter().any(|class| code.starts_with(class)) || code == "40003" => Self::Other,
            _ => Self::Refused,
        }
    }

    /// Whether a transaction that met it has certainly left nothing behind.
    pub(super) const fn certainly_nothing_written(self) -> bool {
        !matches!(self, Self::Away | Self::Other)
    }
}

fn code(error: &Error) -> Option<String> {
    error.as_database_error().and_then(DatabaseError::code).map(|code| code.into_owned())
}

/// The server's sentence with its code, or what else happened, in one line. Never holds a password:
/// neither the server nor the driver repeats it.
pub(super) fn words(error: &Error) -> String {
    let text = match error {
        Error::Database(database) => match database.code() {
            Some(code) => format!("{} (SQLSTATE {code})", database.message()),
            None => database.message().to_owned(),
        },
        Error::PoolTimedOut => "no connection within the time set for it: all are busy, or the server is away".to_owned(),
        Error::Io(e) => e.to_string(),
        Error::Tls(e) => format!("TLS: {e}"),
        other => other.to_string(),
    };
    text.replace(['\n', '\r'], " ")
}

/// Silence for longer than was set.
pub(super) fn silence(what: &str) -> Error {
    Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, format!("no answer within the time set for {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_open_what_was_written_is_told_apart() {
        for (code, fault) in [
            ("40001", Fault::Again),
            ("40P01", Fault::Again),
            ("40003", Fault::Other),
            ("57P01", Fault::Away),
            ("08006", Fault::Away),
            ("57014", Fault::Other),
            ("XX000", Fault::Other),
            ("23505", Fault::Refused),
            ("53100", Fault::Full),
            ("25006", Fault::ReadOnly),
        ] {
            assert_eq!(Fault::of_code(code), fault, "{code}");
        }
        assert!(!Fault::of(&silence("a test")).certainly_nothing_written() && !Fault::Away.certainly_nothing_written());
        assert!(Fault::Again.certainly_nothing_written());
    }
}

//! What SQLite's errors mean for us: refused for certain, or nobody knows. No SQL here.

/// The primary result codes (<https://www.sqlite.org/rescode.html>) that tell something.
mod code {
    pub(super) const BUSY: i32 = 5;
    pub(super) const LOCKED: i32 = 6;
    pub(super) const READONLY: i32 = 8;
    pub(super) const CORRUPT: i32 = 11;
    pub(super) const FULL: i32 = 13;
    pub(super) const CANTOPEN: i32 = 14;
    pub(super) const TOOBIG: i32 = 18;
    pub(super) const CONSTRAINT: i32 = 19;
    pub(super) const NOTADB: i32 = 26;
}

/// An error's kind, as far as anyone here decides by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No space, or the file may not grow.
    Full,
    /// The file or its directory can't be written.
    ReadOnly,
    /// Somebody else holds the file.
    Busy,
    /// The file is no SQLite database.
    NotADatabase,
    /// The file is a database with broken pages.
    Corrupt,
    /// The row itself was refused.
    Row,
    /// The file can't be opened.
    CannotOpen,
    /// Reading or writing failed in some other way; what was under way may or may not have happened.
    Other,
}

impl Fault {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        let Some(code) = primary_code(error) else { return Self::Other };
        match code {
            code::FULL => Self::Full,
            code::READONLY => Self::ReadOnly,
            code::BUSY | code::LOCKED => Self::Busy,
            code::NOTADB => Self::NotADatabase,
            code::CORRUPT => Self::Corrupt,
            code::TOOBIG | code::CONSTRAINT => Self::Row,
            code::CANTOPEN => Self::CannotOpen,
            _ => Self::Other,
        }
    }

    /// Whether a write that met it has certainly left nothing behind. A full disk has: the frame
    /// that commits is written last, and one that is not whole does not count.
    pub(super) const fn certainly_nothing_written(self) -> bool {
        matches!(self, Self::Full | Self::ReadOnly | Self::Busy | Self::Row | Self::CannotOpen | Self::NotADatabase)
    }
}

/// Without the extended part in the upper bits.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let sqlx::Error::Database(database) = error else { return None };
    database.code()?.parse::<i32>().ok().map(|code| code & 0xff)
}

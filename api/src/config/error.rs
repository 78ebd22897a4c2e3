//! What can be wrong with a configuration, and where. One error is one line of text; values of secret keys never appear in it.

use std::fmt;
use std::path::PathBuf;

/// Why a configuration was refused. Its text is one line that says where, which key and why.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file given can't be read, or is not UTF-8.
    #[error("cannot read configuration file {path}: {source}", path = path.display())]
    Read {
        /// The file as it was given.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A variable that starts with `GAVEL__` but names no key.
    #[error("environment variable {name}: {reason}; `gavel config env` lists the names")]
    UnknownVariable {
        /// The whole name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Text that is not TOML, a key that does not exist, a value that can't be.
    #[error("{place}: {}{reason}", key_prefix(key.as_deref()))]
    Wrong {
        /// Where it stands.
        place: Place,
        /// The dotted key; none where the text doesn't parse.
        key: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
}

/// What no value says alone: the path of the key to point at, and the reason.
pub(super) type Conflict = (&'static [&'static str], String);

fn key_prefix(key: Option<&str>) -> String {
    key.map(|key| format!("{key}: ")).unwrap_or_default()
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, or of the built-in default.
    Line {
        /// The file as it was given.
        file: String,
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// The line itself, without the value if its key is secret.
        text: String,
    },
    /// An environment variable, by its whole name.
    Variable(String),
    /// A flag of the command line.
    Flag(&'static str),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line, column, text } => write!(f, "{file}:{line}:{column} (`{text}`)"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "{name}"),
        }
    }
}

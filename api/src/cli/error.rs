//! Exit statuses: 0 done, 2 the caller's mistake, 1 anything else. One line on standard error says what it was.

use crate::auth::{IssueError, KeyError};
use crate::config::ConfigError;
use clap::error::ErrorKind;
use std::process::ExitCode;

/// Why a command ended without having done its work. The text is one line.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The caller's mistake: a bad flag, a bad configuration, an unreadable file.
    #[error("{0}")]
    Mistake(String),
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl CliError {
    /// The process' exit status.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Mistake(_) => 2,
            Self::Failed(_) => 1,
        }
    }

    /// Says it on standard error.
    pub(super) fn report(&self) -> ExitCode {
        let line = self.to_string();
        eprintln!("gavel: {}", line.lines().map(str::trim).collect::<Vec<_>>().join(" "));
        ExitCode::from(self.status())
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        Self::Mistake(error.to_string())
    }
}

impl From<KeyError> for CliError {
    fn from(error: KeyError) -> Self {
        Self::Mistake(error.to_string())
    }
}

impl From<IssueError> for CliError {
    fn from(error: IssueError) -> Self {
        match error {
            IssueError::VerifyOnly => Self::Mistake(error.to_string()),
            IssueError::Signing(_) => Self::Failed(error.to_string()),
        }
    }
}

/// Help and version are answers, not errors; of an error its first paragraph says what is wrong.
pub(super) fn usage(error: &clap::Error) -> Result<(), CliError> {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => super::output::print(&text),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::MissingSubcommand => {
            Err(CliError::Mistake("a command is missing; `gavel --help` lists them".into()))
        }
        _ => {
            let first = text.split("\n\n").next().unwrap_or_default();
            let words: Vec<_> = first.trim_start_matches("error: ").split_whitespace().collect();
            Err(CliError::Mistake(words.join(" ")))
        }
    }
}

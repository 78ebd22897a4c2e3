//! Standard output of commands. A reader that has seen enough (`gavel config show | head`) is no failure.

use super::CliError;
use std::io::{self, Write as _};

/// Writes `text`, with a line end if it has none.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{}", text.trim_end_matches('\n')).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

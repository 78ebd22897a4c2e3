//! A password from a person or a pipe. It is never echoed, and never an argument: those everybody can see.

use super::CliError;
use crate::auth::MAX_PASSWORD_BYTES;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
};

/// What Ctrl-C sends.
const INTERRUPT: u8 = 3;

/// Bytes read at most: a longer text is no password, wherever it ends.
const MOST: usize = MAX_PASSWORD_BYTES + 3;

/// Standard input, without its line end.
pub(super) fn from_stdin() -> Result<SecretString, CliError> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(MOST as u64).read_to_end(&mut bytes);
    read.map_err(|error| CliError::Mistake(format!("cannot read the password: {error}")))?;
    let password = text(bytes)?;
    if password.expose_secret().contains(['\n', '\r']) {
        return Err(CliError::Mistake("the password must be one line".into()));
    }
    Ok(password)
}

/// Asks for it on the terminal, twice.
pub(super) fn asked_for() -> Result<SecretString, CliError> {
    let no_terminal = |_| CliError::Mistake("there is no terminal to ask for the password: give it with --password-stdin".into());
    let terminal = File::options().read(true).write(true).open("/dev/tty").map_err(no_terminal)?;
    let silence = Silence::over(&terminal).map_err(|error| no_terminal(error.into()))?;
    let ask = |prompt: &str| {
        let line = (&terminal).write_all(prompt.as_bytes()).and_then(|()| read_line(&terminal));
        let _ = (&terminal).write_all(b"\n"); // for the eye alone
        let line = line.map_err(|error| CliError::Mistake(format!("cannot read the password: {error}")))?;
        line.map_or_else(|| Err(CliError::Failed("interrupted".into())), text)
    };
    let first = ask("Password: ")?;
    if first.expose_secret().is_empty() {
        return Err(CliError::Mistake("no password was given".into()));
    }
    let second = ask("Again: ")?;
    drop(silence);
    if first.expose_secret() == second.expose_secret() {
        Ok(first)
    } else {
        Err(CliError::Mistake("these were two different passwords".into()))
    }
}

/// A line, with its end if it has one; none: Ctrl-C. A terminal gives one line at a time.
fn read_line(mut terminal: &File) -> io::Result<Option<Vec<u8>>> {
    let mut line = vec![0; MOST];
    let length = terminal.read(&mut line)?;
    line.truncate(length);
    Ok(Some(line).filter(|line| line.last() != Some(&INTERRUPT)))
}

fn text(mut bytes: Vec<u8>) -> Result<SecretString, CliError> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| CliError::Mistake("the password must be UTF-8".into()))?;
    Ok(text.into())
}

/// A terminal that does not show what is typed, until this is dropped. Ctrl-C is read like text, and ends a line: as a signal it
/// would leave the terminal silent.
struct Silence<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Silence<'a> {
    fn over(terminal: &'a File) -> Result<Self, rustix::io::Errno> {
        let before = tcgetattr(terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(terminal, OptionalActions::Flush, &silent)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before); // the terminal may have gone
    }
}

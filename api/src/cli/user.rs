//! `gavel user`: the users that log in with a password. Works beside a running server, which notices.

use super::{CliError, DataArgs, PasswordArgs, UserCommand, output, password, settings};
use crate::{
    auth::{Hasher, PasswordError, Subject},
    config::{Overrides, Settings},
};
use gavel_domain::time::Timestamp;
use gavel_persistence::accounts::{
    Account, Accounts as _, AddError, Change, ChangeError, PasswordHash,
    sqlite::{FILE_NAME, OpenError, SqliteAccounts},
};
use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

pub(super) fn run(command: UserCommand) -> Result<(), CliError> {
    match command {
        UserCommand::Add { name, role, password, data } => add(&name, role.as_str(), password, &data),
        UserCommand::Role { name, role, data } => change(&name, &data, |_| Ok(Change::Role(role.as_str().to_owned()))),
        UserCommand::Password { name, password, data } => change(&name, &data, |settings| Ok(Change::Password(hash(settings, password)?))),
        UserCommand::Disable { name, data } => change(&name, &data, |_| Ok(Change::Disabled(true))),
        UserCommand::Enable { name, data } => change(&name, &data, |_| Ok(Change::Disabled(false))),
        UserCommand::List { data } => list(&data),
    }
}

fn add(name: &Subject, role: &str, password: PasswordArgs, data: &DataArgs) -> Result<(), CliError> {
    let settings = of(data)?;
    // Before anybody is asked for a password; the directory is made for a first user only after it.
    if exists(&settings) && all(&settings)?.iter().any(|account| account.name == name.as_str()) {
        return Err(AddError::Exists.into());
    }
    let account =
        Account { name: name.to_string(), role: role.to_owned(), password: hash(&settings, password)?, disabled: false, created_at: now() };
    with_accounts(&settings, async |accounts| Ok(accounts.add(account).await?))
}

fn change(name: &Subject, data: &DataArgs, what: impl FnOnce(&Settings) -> Result<Change, CliError>) -> Result<(), CliError> {
    let settings = of(data)?;
    if !exists(&settings) || !all(&settings)?.iter().any(|account| account.name == name.as_str()) {
        return Err(ChangeError::NoSuchUser.into());
    }
    let change = what(&settings)?;
    with_accounts(&settings, async |accounts| Ok(accounts.change(name.to_string(), change).await?))
}

fn list(data: &DataArgs) -> Result<(), CliError> {
    let settings = of(data)?;
    let accounts = if exists(&settings) { all(&settings)? } else { Vec::new() };
    let width = accounts.iter().map(|account| account.name.len()).max().unwrap_or(0);
    let text = accounts.iter().fold(String::new(), |mut text, account| {
        let state = if account.disabled { "disabled" } else { "enabled" };
        let _ = writeln!(text, "{:width$}  {:10}  {state}", account.name, account.role);
        text
    });
    if text.is_empty() { Ok(()) } else { output::print(&text) }
}

fn of(data: &DataArgs) -> Result<Settings, CliError> {
    let overrides = Overrides { data_dir: data.data_dir.clone(), ..Overrides::default() };
    Ok(settings(data.config.as_deref(), &overrides)?)
}

/// A mistyped directory is not made by asking about it.
fn exists(settings: &Settings) -> bool {
    settings.server.data_dir.join(FILE_NAME).exists()
}

fn all(settings: &Settings) -> Result<Vec<Account>, CliError> {
    with_accounts(settings, async |accounts| accounts.list().await.map_err(|error| CliError::Failed(error.to_string())))
}

fn hash(settings: &Settings, args: PasswordArgs) -> Result<PasswordHash, CliError> {
    let password = if args.password_stdin { password::from_stdin()? } else { password::asked_for()? };
    Ok(Hasher::new(settings.auth.hash_cost())?.hash(&password)?)
}

fn with_accounts<T>(settings: &Settings, work: impl AsyncFnOnce(&SqliteAccounts) -> Result<T, CliError>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Failed(error.to_string()))?;
    runtime.block_on(async {
        let accounts = SqliteAccounts::open(&settings.server.data_dir).await?;
        let outcome = work(&accounts).await;
        accounts.close().await;
        outcome
    })
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> Self {
        Self::Mistake(error.to_string())
    }
}

impl From<AddError> for CliError {
    fn from(error: AddError) -> Self {
        match error {
            AddError::Exists => Self::Mistake(error.to_string()),
            AddError::Storage(error) => Self::Failed(error.to_string()),
        }
    }
}

impl From<ChangeError> for CliError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NoSuchUser => Self::Mistake(error.to_string()),
            ChangeError::Storage(error) => Self::Failed(error.to_string()),
        }
    }
}

impl From<PasswordError> for CliError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Length(_) => Self::Mistake(error.to_string()),
            PasswordError::Hashing(_) => Self::Failed(error.to_string()),
        }
    }
}

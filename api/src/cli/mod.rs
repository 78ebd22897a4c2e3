//! The command line: what can be called, and what status each failure ends with. A file a command; none of them does its
//! work here, they parse, call, and print.

mod audit;
mod config;
mod error;
mod migrate;
mod output;
mod password;
mod replay;
mod serve;
mod token;
mod user;
mod wallet;

pub use error::CliError;

use crate::auth::{Role, Subject, Ttl};
use crate::config::{ConfigError, Overrides, Settings};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Real-time auctions.
#[derive(Debug, Parser)]
#[command(name = "gavel", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Print an access token made with a data directory's key
    Token(TokenArgs),
    /// Add and change the users that may log in with a password
    #[command(subcommand)]
    User(UserCommand),
    /// Run the auctions of a bid list through the engine's own rules
    Replay(ReplayArgs),
    /// Administer the wallets of a running server
    #[command(subcommand)]
    Wallet(wallet::WalletCommand),
    /// Make the tables in PostgreSQL, or bring them up to date
    Migrate(ConfigArgs),
    /// Look after the audit trail
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Check, show or explain the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

/// `gavel serve`
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Configuration file (TOML); without it the built-in default applies
    #[arg(long, value_name = "F")]
    pub config: Option<PathBuf>,
    /// Directory of journal, tables and key
    #[arg(long, value_name = "D")]
    pub data_dir: Option<PathBuf>,
    /// IP address and port to listen on
    #[arg(long, value_name = "A:P")]
    pub listen: Option<SocketAddr>,
    /// Add sample lots, simulated bidders and anonymous viewing; print links to try it
    #[arg(long)]
    pub demo: bool,
}

/// `gavel token`
#[derive(Clone, Debug, Args)]
pub struct TokenArgs {
    /// Whom the token is for: the bidder's name
    #[arg(long, value_name = "NAME")]
    pub sub: Subject,
    /// admin, auctioneer, bidder or viewer
    #[arg(long)]
    pub role: Role,
    /// How long it lasts: 90s, 15m, 12h, 30d; default: auth.token_ttl
    #[arg(long, value_name = "TIME")]
    pub ttl: Option<Ttl>,
    /// Data directory whose key signs
    #[arg(long, value_name = "D")]
    pub data_dir: Option<PathBuf>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "F")]
    pub config: Option<PathBuf>,
}

/// `gavel user`: what is done is noticed by a server that runs on the same data
#[derive(Clone, Debug, Subcommand)]
#[expect(missing_docs, reason = "flattened arguments are described where they are")]
pub enum UserCommand {
    /// Add a user; the password is asked for
    Add {
        /// The user's name: the token's `sub`
        name: Subject,
        /// admin, auctioneer, bidder or viewer
        #[arg(long)]
        role: Role,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Change a user's role; ends the user's sessions
    Role {
        /// Whose
        name: Subject,
        /// admin, auctioneer, bidder or viewer
        role: Role,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Change a user's password; ends the user's sessions and lock-out
    Password {
        /// Whose
        name: Subject,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Let a user in no longer, with any token; ends the user's sessions
    Disable {
        /// Whom
        name: Subject,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Let a disabled user in again
    Enable {
        /// Whom
        name: Subject,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Print all users: name, role, and whether they are disabled
    List {
        #[command(flatten)]
        data: DataArgs,
    },
}

/// How a password is told.
#[derive(Clone, Copy, Debug, Args)]
pub struct PasswordArgs {
    /// Read the password from standard input, one line, instead of asking for it
    #[arg(long)]
    pub password_stdin: bool,
}

/// Which data.
#[derive(Clone, Debug, Args)]
pub struct DataArgs {
    /// Data directory
    #[arg(long, value_name = "D")]
    pub data_dir: Option<PathBuf>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "F")]
    pub config: Option<PathBuf>,
}

/// `gavel replay`
#[derive(Clone, Debug, Args)]
pub struct ReplayArgs {
    /// Bid list (CSV)
    #[arg(value_name = "FILE.csv")]
    pub file: PathBuf,
    /// Print the totals as one JSON object
    #[arg(long)]
    pub json: bool,
}

/// `gavel audit`
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// Say whether the audit trail is as it was written, or where it is broken first
    Check(DataArgs),
}

/// `gavel config`
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say whether the configuration is valid, or which line is wrong and why
    Check(ConfigArgs),
    /// Print the effective configuration, secrets masked
    Show(ConfigArgs),
    /// List the environment's names
    Env(ConfigArgs),
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "F")]
    pub config: Option<PathBuf>,
}

impl ServeArgs {
    /// The effective settings of this call: file, this process' environment, flags.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let overrides = Overrides { data_dir: self.data_dir.clone(), listen: self.listen, demo: self.demo };
        settings(self.config.as_deref(), &overrides)
    }
}

/// Runs what the arguments ask for; the first is the program's name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli.command),
        Err(error) => error::usage(&error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

fn dispatch(command: Command) -> Result<(), CliError> {
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Token(args) => token::run(&args),
        Command::User(command) => user::run(command),
        Command::Wallet(command) => wallet::run(&command),
        Command::Migrate(args) => migrate::run(&args),
        Command::Audit(command) => audit::run(&command),
        Command::Config(command) => config::run(&command),
    }
}

/// File, this process' environment, flags.
fn settings(file: Option<&Path>, overrides: &Overrides) -> Result<Settings, ConfigError> {
    // Variables that are not UTF-8 can't be ours to read; those that pose as ours are refused with what is left of them.
    let env = std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    Settings::load(file, env, overrides)
}

#[cfg(test)]
mod tests;

//! The configuration: what can be set, where a value came from, and why one is wrong.
//!
//! Precedence: the repository's annotated `config.toml`, which the binary carries < the file given < the environment < flags.
//! All layers are merged into one tree whose every value remembers its layer and place, then read once into [`Settings`]:
//! so any complaint, also about two keys together, names its file, line and column, its variable or its flag.
//! Nothing here reads the process' environment or arguments by itself, or knows what the values are used for.

mod auth;
mod error;
mod layers;
mod names;
mod postgres;
mod redis;
mod settings;
mod value;

pub use auth::{Auth, TokenAlgorithm};
pub use error::{ConfigError, Place};
pub use names::{EnvName, env_names};
pub use postgres::{Postgres, Tables, TablesStore};
pub use redis::Redis;
pub use settings::{
    Access, Anonymous, Currency, Engine, IncrementRow, Journal, JournalStore, Limits, Log, LogFormat, Lots, Metrics, Server, Settings,
};

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The annotated default configuration, byte for byte the repository's `config.toml`.
pub const DEFAULT_TOML: &str = include_str!("../../../config.toml");

/// What the command line says about settings; it wins over every other layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--data-dir D`: `server.data_dir`.
    pub data_dir: Option<PathBuf>,
    /// `--listen A:P`: `server.listen`.
    pub listen: Option<SocketAddr>,
    /// `--demo`: turns `access.anonymous` to `viewer`.
    pub demo: bool,
}

impl Settings {
    /// Merges default, `file`, those of `env` that start with `GAVEL__`, and `overrides`.
    ///
    /// # Errors
    /// The first thing wrong: a file that can't be read, TOML that doesn't parse, a key or variable nobody knows, a value of
    /// the wrong type or out of its bounds, two keys that exclude each other. All are the caller's mistake.
    pub fn load(file: Option<&Path>, env: impl Iterator<Item = (String, String)>, overrides: &Overrides) -> Result<Self, ConfigError> {
        layers::load(file, env, overrides)
    }

    /// The effective configuration as TOML, secrets masked.
    #[must_use]
    pub fn show(&self) -> String {
        toml::to_string_pretty(self).expect("settings hold only what TOML can express")
    }
}

impl Default for Settings {
    /// The built-in default alone.
    fn default() -> Self {
        Self::load(None, std::iter::empty(), &Overrides::default()).expect("a test holds config.toml to be valid")
    }
}

#[cfg(test)]
mod tests;

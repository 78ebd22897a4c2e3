//! `gavel migrate`: makes the tables in PostgreSQL, or brings them up to date.

use super::{CliError, ConfigArgs, output, settings};
use crate::config::{Overrides, TablesStore};
use gavel_persistence::postgres::{Migrated, migrate};
use secrecy::ExposeSecret as _;

pub(super) fn run(args: &ConfigArgs) -> Result<(), CliError> {
    let settings = settings(args.config.as_deref(), &Overrides::default())?;
    if settings.tables.store != TablesStore::Postgres {
        return Err(CliError::Mistake(
            "tables.store is \"sqlite\": a data directory's tables are brought up to date as it is opened".into(),
        ));
    }
    let postgres = &settings.postgres;
    let url = postgres.migrated_at();
    let password = postgres.password.as_ref().map(|password| password.expose_secret());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| CliError::Failed(error.to_string()))?;
    let done = runtime.block_on(migrate(url.as_given(), password)).map_err(|error| CliError::Failed(error.to_string()))?;
    output::print(&match done {
        Migrated { from: 0, to } => format!("{url}: tables of schema {to} are made"),
        Migrated { from, to } if from == to => format!("{url}: tables are of schema {to} already"),
        Migrated { from, to } => format!("{url}: tables of schema {from} are now of schema {to}"),
    })
}

//! `gavel audit`: whether the audit trail is as it was written. Works beside a running server; changes nothing.

use super::{AuditCommand, CliError, DataArgs, output, settings};
use crate::{
    config::{Overrides, Settings, TablesStore},
    server::postgres_options,
};
use gavel_engine::ports::{audit::AuditError, tables::Tables as _};
use gavel_persistence::{
    postgres::{OpenError as PostgresError, PostgresOptions, PostgresTables},
    sqlite::{CheckError, OpenError, check_audit},
};

pub(super) fn run(command: &AuditCommand) -> Result<(), CliError> {
    match command {
        AuditCommand::Check(data) => check(data),
    }
}

fn check(data: &DataArgs) -> Result<(), CliError> {
    let overrides = Overrides { data_dir: data.data_dir.clone(), ..Overrides::default() };
    let settings = settings(data.config.as_deref(), &overrides)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::Failed(error.to_string()))?;
    let rows = match settings.tables.store {
        TablesStore::Sqlite => runtime.block_on(check_audit(&settings.server.data_dir))?,
        TablesStore::Postgres => runtime.block_on(check_in_postgres(&settings))?,
    };
    output::print(&format!("the audit trail is whole: {rows} {}", if rows == 1 { "row" } else { "rows" }))
}

/// With the data's own number of shards, whatever is configured.
async fn check_in_postgres(settings: &Settings) -> Result<u64, CliError> {
    let failed = |error: PostgresError| CliError::Failed(error.to_string());
    let options = PostgresOptions { migrate: false, ..postgres_options(settings, 1, tokio::runtime::Handle::current()) };
    let (server, owner) = PostgresTables::look(&options).await.map_err(failed)?;
    let (id, shards) = owner.ok_or_else(|| CliError::Mistake(format!("PostgreSQL at {server}: its tables hold no data yet")))?;
    let opened = PostgresTables::open(PostgresOptions { shards, data_id: Some(id), ..options }).await.map_err(failed)?;
    opened.tables.check_audit().await.map_err(|error| CliError::Failed(error.to_string()))
}

impl From<CheckError> for CliError {
    fn from(error: CheckError) -> Self {
        let text = error.to_string();
        match error {
            CheckError::Audit(AuditError::Broken { .. } | AuditError::Storage(_)) => Self::Failed(text),
            CheckError::Open(OpenError::Damaged { .. } | OpenError::Other { .. } | OpenError::Full(_)) => Self::Failed(text),
            CheckError::Open(_) | CheckError::Missing(_) | CheckError::Older(_) => Self::Mistake(text),
        }
    }
}

//! `gavel audit`: whether the audit trail is as it was written. Works beside a running server; changes nothing.

use super::{AuditCommand, CliError, DataArgs, output, settings};
use crate::config::Overrides;
use gavel_engine::ports::audit::AuditError;
use gavel_persistence::sqlite::{CheckError, OpenError, check_audit};

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
    let rows = runtime.block_on(check_audit(&settings.server.data_dir))?;
    output::print(&format!("the audit trail is whole: {rows} {}", if rows == 1 { "row" } else { "rows" }))
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

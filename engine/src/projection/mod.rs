//! Write-behind: committed batches become rows, behind the journal and never ahead of it.

pub mod backlog;
pub mod history;
pub(crate) mod projector;

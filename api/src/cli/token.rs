//! `gavel token`: an access token, alone on standard output. Works beside a running server: it needs only the key.

use super::{CliError, TokenArgs, output, settings};
use crate::auth::TokenKeys;
use crate::config::Overrides;

pub(super) fn run(args: &TokenArgs) -> Result<(), CliError> {
    output::print(&issue(args)?)
}

pub(super) fn issue(args: &TokenArgs) -> Result<String, CliError> {
    let overrides = Overrides { data_dir: args.data_dir.clone(), ..Overrides::default() };
    let settings = settings(args.config.as_deref(), &overrides)?;
    let keys = TokenKeys::load(&settings)?;
    Ok(keys.issue(&args.sub, args.role, args.ttl.unwrap_or(settings.auth.token_ttl))?)
}

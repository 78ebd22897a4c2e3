//! `gavel config`: is it valid, what is in effect, what can the environment set.

use super::{CliError, ConfigCommand, output, settings};
use crate::config::{Overrides, env_names};
use std::fmt::Write as _;

pub(super) fn run(command: &ConfigCommand) -> Result<(), CliError> {
    let (ConfigCommand::Check(args) | ConfigCommand::Show(args) | ConfigCommand::Env(args)) = command;
    let load = || settings(args.config.as_deref(), &Overrides::default());
    match command {
        ConfigCommand::Check(_) => {
            load()?;
            let file = args.config.as_deref().map_or("built-in default".into(), |path| path.display().to_string());
            output::print(&format!("{file}: the configuration is valid"))
        }
        ConfigCommand::Show(_) => output::print(&load()?.show()),
        ConfigCommand::Env(_) => {
            // A wrong file is a mistake here too, though the names don't depend on it. A wrong variable is not: this list
            // is where its right name is looked for.
            if args.config.is_some() {
                crate::config::Settings::load(args.config.as_deref(), std::iter::empty(), &Overrides::default())?;
            }
            output::print(&names())
        }
    }
}

fn names() -> String {
    env_names().iter().fold(String::new(), |mut text, name| {
        let _ = writeln!(text, "{}\n    {}, default {}\n    {}", name.name, name.kind, name.default, name.comment);
        text
    })
}

//! `gavel-loadtest`: drives a running server over the protocol alone, measures it and checks what it promises.
//! This file maps a scenario's end to an exit status; each scenario is a module of its own.

mod audit;
mod burst;
mod cli;
mod clock;
mod net;
mod progress;
mod rest;
mod tokens;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Scenario};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let end = match &cli.scenario {
        Scenario::Burst(args) => burst::run(args).map_err(|error| (error.is_callers(), anyhow::Error::new(error))),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err((callers, error)) => {
            let line = error.to_string().replace(['\r', '\n'], " ");
            eprintln!("gavel-loadtest: {}", line.trim_end());
            ExitCode::from(if callers { 2 } else { 1 })
        }
    }
}

//! `gavel wallet`: administers the wallets of a running server, over its REST. All that counts happens there; here calls are
//! made of arguments, and answers are put in words.

mod args;
mod client;
mod import;

use super::{CliError, output};
pub(in crate::cli) use args::WalletCommand;
use args::{ExportArgs, GrantArgs, Percent, RunArgs, ShowArgs};
use client::{Client, Progress, digest_key};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

pub(super) fn run(command: &WalletCommand) -> Result<(), CliError> {
    match command {
        WalletCommand::Import(args) => import::run(args),
        WalletCommand::Export(args) => export(args),
        WalletCommand::Decay(args) => {
            let mut body = json!({ "kind": "decay", "currency": args.currency, "reason": args.run.reason });
            if let Some(Percent(points)) = args.percent {
                body["basis_points"] = points.into();
            }
            if let Some(amount) = args.amount {
                body["amount"] = amount.into();
            }
            run_over_all(&args.run, &body)
        }
        WalletCommand::Cap(args) => {
            let body = json!({ "kind": "cap", "currency": args.currency, "amount": args.amount, "reason": args.run.reason });
            run_over_all(&args.run, &body)
        }
        WalletCommand::Grant(args) => grant(args),
        WalletCommand::Show(args) => show(args),
    }
}

fn run_over_all(args: &RunArgs, body: &Value) -> Result<(), CliError> {
    let client = Client::new(&args.server)?;
    let name = body["kind"].as_str().unwrap_or_default();
    let key = args.key.clone().unwrap_or_else(|| digest_key(name, &[body.to_string().as_bytes()]));
    eprintln!("gavel: key {key}");
    let answer = Progress::around(&format!("{name} of every wallet"), || client.post("/v1/wallets/runs", &key, body))?;
    let (wallets, changed, total, currency) = (&answer["wallets"], &answer["changed"], &answer["total"], &body["currency"]);
    output::print(&format!("{changed} of {wallets} wallets changed, {total} {} in all", text(currency)))
}

fn grant(args: &GrantArgs) -> Result<(), CliError> {
    let client = Client::new(&args.server)?;
    let key = args.key.clone().unwrap_or_else(|| format!("grant-{}", uuid::Uuid::new_v4()));
    eprintln!("gavel: key {key}");
    let body = json!({ "currency": args.currency, "amount": args.amount, "reason": args.reason });
    let line = client.post(&format!("/v1/wallets/{}/adjustments", client::part(&args.bidder)), &key, &body)?;
    output::print(&format!("granted {} {}, balance {}", line["amount"], args.currency, line["balance"]))
}

fn show(args: &ShowArgs) -> Result<(), CliError> {
    let wallet = Client::new(&args.server)?.get(&format!("/v1/wallets/{}", client::part(&args.bidder)))?;
    let mut table = format!("{:<16} {:>20} {:>20} {:>20}\n", "currency", "balance", "held", "available");
    for item in wallet["items"].as_array().into_iter().flatten() {
        let cell = |name: &str| item[name].to_string();
        let _ = writeln!(table, "{:<16} {:>20} {:>20} {:>20}", text(&item["currency"]), cell("balance"), cell("held"), cell("available"));
    }
    output::print(&table)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn export(args: &ExportArgs) -> Result<(), CliError> {
    let currency = args.currency.as_deref().map(|code| format!("&currency={}", client::part(code))).unwrap_or_default();
    let mut csv = Client::new(&args.server)?.stream(&format!("/v1/wallets?format=csv{currency}"))?;
    let Some(file) = &args.out else {
        return match io::copy(&mut csv, &mut io::stdout().lock()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::Failed(format!("the export broke off: {error}"))),
            _ => Ok(()),
        };
    };
    // Under its name only once it is whole.
    let mut draft = file.clone().into_os_string();
    draft.push(".part");
    let draft = PathBuf::from(draft);
    let written = write(&mut csv, &draft, file);
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}

fn write(csv: &mut impl io::Read, draft: &Path, file: &Path) -> Result<(), CliError> {
    let unwritable = |error: io::Error| CliError::Mistake(format!("{}: cannot be written: {error}", file.display()));
    let mut out = io::BufWriter::new(std::fs::File::create(draft).map_err(unwritable)?);
    io::copy(csv, &mut out).map_err(|error| CliError::Failed(format!("the export broke off: {error}")))?;
    out.flush().map_err(unwritable)?;
    std::fs::rename(draft, file).map_err(unwritable)
}

//! `gavel wallet import`.

use super::{
    args::ImportArgs,
    client::{Client, Progress, digest_key, part},
};
use crate::cli::{CliError, output};
use serde_json::Value;
use std::io::Read as _;

/// Bytes that a server takes.
const MOST: u64 = 16 << 20;

pub(super) fn run(args: &ImportArgs) -> Result<(), CliError> {
    let csv = read(args)?;
    let client = Client::new(&args.server)?;
    let reason = args.reason.as_deref().unwrap_or_default();
    let key = (!args.dry_run).then(|| args.key.clone().unwrap_or_else(|| digest_key("import", &[&csv, reason.as_bytes()])));
    if let Some(key) = &key {
        eprintln!("gavel: key {key}");
    }
    let path = format!("/v1/wallets/import?dry_run={}&reason={}", args.dry_run, part(reason));
    let what = format!("importing {} bytes", csv.len());
    let answer = Progress::around(&what, || client.post_csv(&path, key.as_deref(), &csv))?;
    let done = if args.dry_run { "can be imported (nothing was changed)" } else { "imported" };
    let (rows, wallets) = (&answer["rows"], &answer["wallets"]);
    let (granted, deducted) = (sums(&answer["granted"]), sums(&answer["deducted"]));
    output::print(&format!("{rows} rows for {wallets} wallets {done}: granted {granted}, deducted {deducted}"))
}

fn read(args: &ImportArgs) -> Result<Vec<u8>, CliError> {
    let mistake = |reason: String| CliError::Mistake(format!("{}: {reason}", args.file.display()));
    let file = std::fs::File::open(&args.file).map_err(|error| mistake(format!("cannot be read: {error}")))?;
    let mut csv = Vec::new();
    file.take(MOST + 1).read_to_end(&mut csv).map_err(|error| mistake(format!("cannot be read: {error}")))?;
    if csv.len() as u64 > MOST {
        return Err(mistake(format!("more than {MOST} bytes; split it")));
    }
    Ok(csv)
}

/// `50 DKP, 7 USD`.
fn sums(by_currency: &Value) -> String {
    let sums = by_currency.as_object().into_iter().flatten().map(|(currency, sum)| format!("{sum} {currency}"));
    let sums: Vec<String> = sums.collect();
    if sums.is_empty() { "nothing".to_owned() } else { sums.join(", ") }
}

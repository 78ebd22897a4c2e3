//! What `gavel wallet` is called with.

use super::client::ServerArgs;
use clap::{ArgGroup, Args, Subcommand};
use std::{path::PathBuf, str::FromStr};

/// The largest amount: 2^53 − 1.
const MOST: u64 = (1 << 53) - 1;

/// `gavel wallet`
#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli) enum WalletCommand {
    /// Grant and deduct by a CSV file (bidder,currency,amount,reason): all of it or nothing
    Import(ImportArgs),
    /// Write every wallet as CSV (bidder,currency,balance,held,available)
    Export(ExportArgs),
    /// Take a share, or a fixed amount, from every wallet
    Decay(DecayArgs),
    /// Cut every wallet to a most
    Cap(CapArgs),
    /// Give to one wallet
    Grant(GrantArgs),
    /// Show one wallet
    Show(ShowArgs),
}

/// `gavel wallet import`
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ImportArgs {
    /// The table (CSV)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Check everything, change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Of rows that give none
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Names the import: with the same key it happens once. Default: made of the file, the reason and today's date (UTC)
    #[arg(long)]
    pub key: Option<String>,
    /// Where, and as whom
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `gavel wallet export`
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    /// One currency only
    #[arg(long, value_name = "CODE")]
    pub currency: Option<String>,
    /// A file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Where, and as whom
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `gavel wallet decay`
#[derive(Clone, Debug, Args)]
#[command(group = ArgGroup::new("rule").args(["percent", "amount"]).required(true))]
pub(in crate::cli) struct DecayArgs {
    /// From everybody in this currency
    #[arg(long, value_name = "CODE")]
    pub currency: String,
    /// Of the balance, 0.01 to 100; what is taken is rounded down
    #[arg(long, value_name = "P")]
    pub percent: Option<Percent>,
    /// In minor units, as far as it is there
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST))]
    pub amount: Option<u64>,
    /// Which run, for what
    #[command(flatten)]
    pub run: RunArgs,
}

/// `gavel wallet cap`
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct CapArgs {
    /// Everybody's in this currency
    #[arg(long, value_name = "CODE")]
    pub currency: String,
    /// The most, in minor units
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=MOST))]
    pub amount: u64,
    /// Which run, for what
    #[command(flatten)]
    pub run: RunArgs,
}

/// What every run has.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct RunArgs {
    /// For the ledgers
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Names the run: with the same key it happens once. Default: made of the arguments and today's date (UTC)
    #[arg(long)]
    pub key: Option<String>,
    /// Where, and as whom
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `gavel wallet grant`
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct GrantArgs {
    /// To whom
    #[arg(value_name = "BIDDER")]
    pub bidder: String,
    /// In minor units
    #[arg(value_name = "AMOUNT", value_parser = clap::value_parser!(u64).range(1..=MOST))]
    pub amount: u64,
    /// In which currency
    #[arg(long, value_name = "CODE")]
    pub currency: String,
    /// For the ledger
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Names the grant: with the same key it happens once. Default: a new one
    #[arg(long)]
    pub key: Option<String>,
    /// Where, and as whom
    #[command(flatten)]
    pub server: ServerArgs,
}

/// `gavel wallet show`
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// Whose
    #[arg(value_name = "BIDDER")]
    pub bidder: String,
    /// Where, and as whom
    #[command(flatten)]
    pub server: ServerArgs,
}

/// Hundredths of a percent, written as a percentage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Percent(pub(super) u16);

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, hundredths) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let points = (is_number(whole) && is_number(hundredths) && hundredths.len() <= 2).then(|| {
            let parsed = |digits: &str| digits.parse::<u16>().unwrap_or_default();
            100 * parsed(whole) + parsed(hundredths) * if hundredths.len() == 1 { 10 } else { 1 }
        });
        points.filter(|points| (1..=10_000).contains(points)).map(Self).ok_or("a percentage from 0.01 to 100 with at most two decimals")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_are_exact() {
        for (text, points) in [("10", 1000), ("2.5", 250), ("0.01", 1), ("100", 10_000), ("100.00", 10_000), ("12.34", 1234), ("07", 700)] {
            assert_eq!(text.parse(), Ok(Percent(points)), "{text}");
        }
        for text in ["", "0", "0.00", "100.01", "101", "-1", "1.234", "1,5", ".5", "5.", "1e1", "99999"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}

//! The command line: what may be said, its bounds and defaults. What a scenario does with it is elsewhere.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};

/// Drives a running Gavel server over its protocol alone, checks what it answers and measures it.
#[derive(Debug, Parser)]
#[command(name = "gavel-loadtest", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

/// What to do to the server.
#[derive(Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Many bidders bid on few lots as fast as they can, or at a given rate.
    Burst(BurstArgs),
}

/// What every scenario needs to know.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// The server, as http://HOST:PORT
    #[arg(long, value_name = "U")]
    pub(crate) url: String,
    /// The server's data directory; its jwt.key signs the tokens
    #[arg(long, value_name = "D", default_value = "./data")]
    pub(crate) data_dir: PathBuf,
    /// A file with the HS256 key, instead of a data directory
    #[arg(long, value_name = "F", conflicts_with = "data_dir")]
    pub(crate) token_key: Option<PathBuf>,
    /// Also writes the results to this file, as JSON
    #[arg(long, value_name = "F")]
    pub(crate) json: Option<PathBuf>,
}

impl ServerArgs {
    /// The file that holds the key of the tokens.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.token_key.clone().unwrap_or_else(|| self.data_dir.join("jwt.key"))
    }
}

/// The burst scenario's flags.
#[derive(Args, Debug)]
pub(crate) struct BurstArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Sockets that bid, each as a bidder of its own
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(1..=50_000))]
    pub(crate) bidders: u32,
    /// Bids each of them keeps unanswered at once; without --proxy one a lot, for a leader may not bid again
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(1..=4096))]
    pub(crate) in_flight: u32,
    /// Sockets that join every lot and only read
    #[arg(long, default_value_t = 0, value_parser = value_parser!(u32).range(0..=50_000))]
    pub(crate) watchers: u32,
    /// Lots that are bid on
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) lots: u32,
    /// How long is measured, in seconds
    #[arg(long, default_value = "30", value_parser = seconds)]
    pub(crate) seconds: f64,
    /// How long before that is not counted, in seconds
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub(crate) warmup: f64,
    /// How long answers and pushes may still take after the last bid, in seconds
    #[arg(long, default_value = "10", value_parser = seconds)]
    pub(crate) drain: f64,
    /// Accepted bids a second in all; latency then counts from when a bid was due. Without it: as fast as answers come
    #[arg(long, value_name = "R", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Lots with proxy bidding, where a leader may raise its own maximum
    #[arg(long)]
    pub(crate) proxy: bool,
    /// Whether bids need money: with `wallet` each bidder is granted enough first, and the held sums are checked
    #[arg(long, value_enum, default_value_t = Funding::Open)]
    pub(crate) funding: Funding,
    /// Afterwards looks for every receipt in the lots' histories over REST
    #[arg(long)]
    pub(crate) verify_history: bool,
}

/// How bids on the lots are covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Funding {
    /// No balance needed.
    Open,
    /// The bidder's wallet must cover the maximum.
    Wallet,
}

impl Funding {
    /// As the protocol spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Wallet => "wallet",
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    within(text, 0.0..=86_400.0)
}

fn rate(text: &str) -> Result<f64, String> {
    within(text, 0.001..=10_000_000.0)
}

fn within(text: &str, range: std::ops::RangeInclusive<f64>) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let told = || format!("not in {}..={}", range.start(), range.end());
    range.contains(&value).then_some(value).ok_or_else(told)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}

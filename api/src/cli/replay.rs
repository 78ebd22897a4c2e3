//! `gavel replay`: does a list of real auctions come to its published prices under the engine's own rules?
//!
//! Reads the list ([`bid_list`]), runs each auction ([`simulation`]), and reports. No rule of auctions is here.

mod bid_list;
mod simulation;

use super::{CliError, ReplayArgs, output};
use bid_list::Auction;
use gavel_domain::money::Amount;
use serde::Serialize;
use simulation::{Ending, simulate};
use std::fmt::Write as _;

/// What became of all auctions of a list; with `--json` exactly this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Totals {
    auctions: usize,
    /// Close at the published price.
    exact: usize,
    /// Close at it with a hidden reserve of that price.
    reserve: usize,
    /// Neither.
    unexplained: usize,
    bids: usize,
    /// By the rules, in the run that counts.
    refused: usize,
}

/// How an auction's published price comes about.
enum Verdict {
    Exact,
    Reserve,
    Unexplained,
}

/// An auction whose published price the rules don't lead to.
#[derive(Debug, PartialEq, Eq)]
struct Unexplained {
    auction: String,
    published: Amount,
    /// Where it closes; none: nobody gets it.
    closes_at: Option<Amount>,
}

pub(super) fn run(args: &ReplayArgs) -> Result<(), CliError> {
    let mistake = |reason: String| CliError::Mistake(format!("{}: {reason}", args.file.display()));
    let file = std::fs::File::open(&args.file).map_err(|error| mistake(format!("cannot be read: {error}")))?;
    let auctions = bid_list::read(std::io::BufReader::new(file)).map_err(|error| mistake(error.to_string()))?;
    let (totals, unexplained) = replay(&auctions);
    if args.json {
        let line = serde_json::to_string(&totals).map_err(|error| CliError::Failed(error.to_string()))?;
        return output::print(&line);
    }
    output::print(&report(&totals, &unexplained))
}

fn replay(auctions: &[Auction]) -> (Totals, Vec<Unexplained>) {
    let mut totals = Totals { auctions: auctions.len(), ..Totals::default() };
    let mut unexplained = Vec::new();
    for auction in auctions {
        let (verdict, ending) = judge(auction);
        totals.bids += auction.bids.len();
        totals.refused += ending.refused;
        match verdict {
            Verdict::Exact => totals.exact += 1,
            Verdict::Reserve => totals.reserve += 1,
            Verdict::Unexplained => {
                totals.unexplained += 1;
                let (auction, published) = (auction.id.clone(), auction.published);
                unexplained.push(Unexplained { auction, published, closes_at: ending.sold_at });
            }
        }
    }
    (totals, unexplained)
}

/// The simplest assumption that explains the published price, with the run under it.
fn judge(auction: &Auction) -> (Verdict, Ending) {
    let plain = simulate(auction, None);
    if plain.sold_at == Some(auction.published) {
        return (Verdict::Exact, plain);
    }
    // A reserve is never below the start price.
    if auction.published >= auction.start_price {
        let reserved = simulate(auction, Some(auction.published));
        if reserved.sold_at == Some(auction.published) {
            return (Verdict::Reserve, reserved);
        }
    }
    (Verdict::Unexplained, plain)
}

fn report(totals: &Totals, unexplained: &[Unexplained]) -> String {
    let Totals { auctions, exact, reserve, unexplained: neither, bids, refused } = totals;
    let mut text = format!(
        "{auctions} auctions, {bids} bids, {refused} of them refused by the rules\n\
         {exact:>8} close at exactly the published price\n\
         {reserve:>8} close at it with a hidden reserve of that price\n\
         {neither:>8} are unexplained\n"
    );
    for Unexplained { auction, published, closes_at } in unexplained {
        let closes_at = closes_at.map_or("without a sale".to_owned(), |price| format!("at {}", dollars(price)));
        let _ = writeln!(text, "{:>8} {auction}: published {}, closes {closes_at}", "", dollars(*published));
    }
    text
}

fn dollars(cents: Amount) -> String {
    format!("{}.{:02}", cents.get() / 100, cents.get() % 100)
}

#[cfg(test)]
mod tests;

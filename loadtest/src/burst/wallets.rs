//! The bidders' wallets: filled before a burst, and afterwards held to the lots. What a lot holds of whom comes from
//! the receipts; nothing is bid here.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::verify::Expected;
use super::{BurstError, Names};
use crate::audit::Violation;
use crate::cli::BurstArgs;
use crate::rest::{Rest, RestError};

/// What each bidder gets for each lot: no amount of a run is higher.
const GRANT: u64 = u32::MAX as u64;
/// Between two looks at a wallet that may still hold what is about to be freed.
const LOOK: Duration = Duration::from_millis(50);

/// Fails early where the server has none.
pub(super) fn exist(rest: &Rest, names: &Names) -> Result<(), BurstError> {
    rest.wallet(&names.bidder(0)).map(drop).map_err(missing)
}

/// Gives each bidder enough for every bid of the run.
pub(super) fn fill(rest: &Rest, names: &Names, args: &BurstArgs, currency: &str) -> Result<(), BurstError> {
    for number in 0..args.bidders {
        rest.adjust(&names.bidder(number), currency, GRANT * u64::from(args.lots)).map_err(missing)?;
    }
    Ok(())
}

fn missing(error: RestError) -> BurstError {
    match error {
        RestError::Refused { status: 404, .. } => BurstError::NoWallets,
        error => error.into(),
    }
}

/// Each bidder's held sum must come to be the maxima it leads with, which is all that is held once every bid is
/// answered; and at no moment more than the balance. Answers how many wallets there are.
pub(super) fn compare(rest: &Rest, names: &Names, args: &BurstArgs, currency: &str, lots: &[Expected]) -> Result<u64, BurstError> {
    let mut maxima: HashMap<&str, u64> = HashMap::new();
    for (leader, max) in lots.iter().filter_map(Expected::held) {
        *maxima.entry(leader).or_default() += max;
    }
    let limit = Instant::now() + Duration::from_secs_f64(args.drain);
    for number in 0..args.bidders {
        let bidder = names.bidder(number);
        let want = maxima.get(bidder.as_str()).copied().unwrap_or_default();
        while let Some(violation) = look(rest, &bidder, currency, want)? {
            // What was outbid is freed a moment after it was.
            if Instant::now() >= limit {
                return Err(violation.into());
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(args.bidders.into())
}

/// What a wallet does not (yet) say as it must.
fn look(rest: &Rest, bidder: &str, currency: &str, want: u64) -> Result<Option<Violation>, BurstError> {
    let differs = |field, got: String, want: String| Violation::Wallet { bidder: bidder.to_owned(), field, got, want };
    let wallet = rest.wallet(bidder)?;
    let Some(item) = wallet.items.iter().find(|item| item.currency == currency) else {
        return Err(differs("no currency", currency.into(), want.to_string()).into());
    };
    let (held, balance) = (i128::from(item.held), i128::from(item.balance));
    if held > balance {
        return Err(differs("held", item.held.to_string(), format!("at most the balance of {balance}")).into());
    }
    if i128::from(item.available) != balance - held {
        return Err(differs("available", item.available.to_string(), (balance - held).to_string()).into());
    }
    Ok((item.held != want).then(|| differs("held", item.held.to_string(), want.to_string())))
}

//! The English rules of the protocol ("How a bid is judged") for the lots this client makes: steps of one, no
//! reserve, no buy-now, no close. Written from the protocol, apart from the server's own rules, on purpose.

/// The step of every lot this client makes.
const STEP: u64 = 1;

/// An English lot as far as its accepted bids tell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct English {
    proxy: bool,
    start: u64,
    price: Option<u64>,
    leader: Option<Leader>,
}

#[derive(Clone, Copy, Debug)]
struct Leader {
    bidder: u32,
    max: u64,
}

/// What an accepted bid leads to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) price: u64,
    /// Whether the one who bid leads now.
    pub(crate) leading: bool,
}

impl English {
    pub(crate) fn new(proxy: bool, start: u64) -> Self {
        Self { proxy, start, price: None, leader: None }
    }

    pub(crate) fn price(&self) -> Option<u64> {
        self.price
    }

    pub(crate) fn leader(&self) -> Option<u32> {
        self.leader.map(|leader| leader.bidder)
    }

    /// The leader's maximum.
    pub(crate) fn max(&self) -> Option<u64> {
        self.leader.map(|leader| leader.max)
    }

    /// The least a challenger must bid.
    pub(crate) fn minimum(&self) -> u64 {
        self.price.map_or(self.start, |price| price + STEP)
    }

    /// The same lot with another price and leader.
    pub(crate) fn at(self, price: u64, bidder: u32, max: u64) -> Self {
        Self { price: Some(price), leader: Some(Leader { bidder, max }), ..self }
    }

    /// Judges a bid whose maximum is its amount; the error is the protocol's code.
    pub(crate) fn judge(&mut self, bidder: u32, amount: u64) -> Result<Judged, &'static str> {
        let max = amount;
        let (Some(price), Some(leader)) = (self.price, self.leader) else {
            if amount < self.start {
                return Err("bid_too_low");
            }
            return Ok(self.lead(bidder, max, amount));
        };
        if leader.bidder == bidder {
            return match (self.proxy, max > leader.max) {
                (false, _) => Err("already_leading"),
                (true, false) => Err("max_not_raised"),
                (true, true) => Ok(self.lead(bidder, max, price)),
            };
        }
        if amount < self.minimum() {
            return Err("bid_too_low");
        }
        if !self.proxy {
            return Ok(self.lead(bidder, max, amount));
        }
        if max > leader.max {
            return Ok(self.lead(bidder, max, amount.max(max.min(leader.max + STEP))));
        }
        let price = leader.max.min(max + STEP);
        self.price = Some(price);
        Ok(Judged { price, leading: false })
    }

    fn lead(&mut self, bidder: u32, max: u64, price: u64) -> Judged {
        self.leader = Some(Leader { bidder, max });
        self.price = Some(price);
        Judged { price, leading: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bids as `bidder amount`, and what each gives: `price+` leading, `price-` not, or the code.
    fn check(proxy: bool, bids: &[(u32, u64, &str)]) {
        let mut lot = English::new(proxy, 1);
        for (row, (bidder, amount, want)) in bids.iter().enumerate() {
            let got = match lot.judge(*bidder, *amount) {
                Ok(judged) => format!("{}{}", judged.price, if judged.leading { '+' } else { '-' }),
                Err(code) => code.to_owned(),
            };
            assert_eq!(&got, want, "row {row}");
        }
    }

    #[test]
    fn with_proxy() {
        check(
            true,
            &[
                (1, 0, "bid_too_low"),
                (1, 1, "1+"),
                (1, 1, "max_not_raised"),
                (1, 20, "1+"), // raises the maximum, leaves the price
                (2, 1, "bid_too_low"),
                (2, 5, "6-"),   // below the leader's maximum: one step above the challenger's
                (3, 20, "20-"), // equal: the earlier leads
                (2, 20, "bid_too_low"),
                (2, 30, "30+"), // a bid opens at no less than its amount
                (3, 31, "31+"),
            ],
        );
    }

    #[test]
    fn without_proxy() {
        check(false, &[(1, 3, "3+"), (1, 4, "already_leading"), (2, 3, "bid_too_low"), (2, 4, "4+"), (1, 9, "9+")]);
    }
}

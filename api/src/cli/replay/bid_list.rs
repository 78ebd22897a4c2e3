//! Reads a bid list: one row a bid, columns by name. What the rows mean for a lot is not known here.

use gavel_domain::{
    money::Amount,
    time::{Millis, Timestamp},
};
use std::{
    collections::{BTreeMap, HashMap},
    io::Read,
};

/// The columns that are needed; others are passed over. The order is that of [`Column`].
const COLUMNS: [&str; 7] = ["auctionid", "bid", "bidtime", "bidder", "openbid", "price", "auction_type"];

const DAY_MS: u64 = 86_400_000;

/// The longest auction taken, in days.
const MOST_DAYS: u64 = 100;

/// An index into [`COLUMNS`].
#[derive(Clone, Copy)]
enum Column {
    Auction,
    Bid,
    BidTime,
    Bidder,
    OpenBid,
    Price,
    Type,
}

/// One auction of the list. Amounts are cents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Auction {
    pub(super) id: String,
    pub(super) start_price: Amount,
    /// The closing price as published.
    pub(super) published: Amount,
    pub(super) lasts: Millis,
    /// By time; those of the same time as listed.
    pub(super) bids: Vec<Bid>,
}

/// One bid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bid {
    /// Since the auction's opening.
    pub(super) at: Timestamp,
    /// Which of the auction's bidders, from 0.
    pub(super) bidder: usize,
    pub(super) max: Amount,
}

/// Why a list can't be read. Lines count from 1, the header included.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListError {
    #[error("cannot be read: {0}")]
    Io(std::io::Error),
    #[error("line {line}: not UTF-8")]
    NotText { line: u64 },
    #[error("line {line}: {len} fields, where the header has {expected}")]
    Fields { line: u64, len: u64, expected: u64 },
    #[error("line 1: the column `{0}` is missing; a bid list has {list}", list = COLUMNS.join(", "))]
    MissingColumn(&'static str),
    #[error("line 1: the column `{0}` stands twice")]
    ColumnTwice(&'static str),
    #[error("line {line}: {column} {text:?}: {expected}")]
    Value { line: u64, column: &'static str, text: String, expected: &'static str },
    #[error("line {line}: {column} {text:?} differs from that of line {first}, which is of the same auction")]
    Differs { line: u64, column: &'static str, text: String, first: u64 },
    #[error("not CSV: {0}")]
    Other(String),
}

impl From<csv::Error> for ListError {
    fn from(error: csv::Error) -> Self {
        let line = error.position().map_or(1, csv::Position::line);
        match error.into_kind() {
            csv::ErrorKind::Io(error) => Self::Io(error),
            csv::ErrorKind::Utf8 { .. } => Self::NotText { line },
            csv::ErrorKind::UnequalLengths { len, expected_len, .. } => Self::Fields { line, len, expected: expected_len },
            other => Self::Other(format!("{other:?}")),
        }
    }
}

/// Reads a list; auctions in the order of their first rows.
pub(super) fn read(list: impl Read) -> Result<Vec<Auction>, ListError> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(list);
    let places = places(reader.headers()?)?;
    let mut drafts: Vec<Draft> = Vec::new();
    let mut by_id: HashMap<String, usize> = HashMap::new();
    for record in reader.records() {
        let record = record?;
        let row = Row { line: record.position().map_or(0, csv::Position::line), record: &record, places: &places };
        let id = row.text(Column::Auction);
        let at = match by_id.get(id) {
            Some(at) => *at,
            None => {
                drafts.push(Draft::new(&row)?);
                by_id.insert(id.to_owned(), drafts.len() - 1);
                drafts.len() - 1
            }
        };
        drafts[at].add(&row)?;
    }
    Ok(drafts.into_iter().map(Draft::finish).collect())
}

fn places(header: &csv::StringRecord) -> Result<[usize; COLUMNS.len()], ListError> {
    let mut places = [0; COLUMNS.len()];
    for (place, name) in places.iter_mut().zip(COLUMNS) {
        let mut found = header.iter().enumerate().filter(|(_, title)| *title == name).map(|(at, _)| at);
        *place = found.next().ok_or(ListError::MissingColumn(name))?;
        if found.next().is_some() {
            return Err(ListError::ColumnTwice(name));
        }
    }
    Ok(places)
}

/// One row, read by column.
struct Row<'a> {
    line: u64,
    record: &'a csv::StringRecord,
    places: &'a [usize; COLUMNS.len()],
}

impl Row<'_> {
    fn text(&self, column: Column) -> &str {
        self.record.get(self.places[column as usize]).unwrap_or_default()
    }

    fn wrong(&self, column: Column, expected: &'static str) -> ListError {
        ListError::Value { line: self.line, column: COLUMNS[column as usize], text: self.text(column).to_owned(), expected }
    }

    fn cents(&self, column: Column) -> Result<Amount, ListError> {
        cents(self.text(column)).ok_or_else(|| self.wrong(column, "expected dollars such as 12 or 12.34"))
    }

    /// Days since the opening, with a fraction.
    fn bid_time(&self) -> Result<f64, ListError> {
        let days = self.text(Column::BidTime).parse::<f64>().ok().filter(|days| (0.0..=1000.0).contains(days));
        days.ok_or_else(|| self.wrong(Column::BidTime, "expected days since the opening, such as 1.5"))
    }

    fn lasts(&self) -> Result<Millis, ListError> {
        let days = self.text(Column::Type).strip_suffix(" day auction").and_then(|days| days.parse::<u64>().ok());
        let days = days.filter(|days| (1..=MOST_DAYS).contains(days));
        days.map(|days| Millis(days * DAY_MS)).ok_or_else(|| self.wrong(Column::Type, "expected such as `7 day auction`"))
    }
}

/// An auction on its way.
struct Draft {
    auction: Auction,
    first_line: u64,
    bidders: BTreeMap<String, usize>,
    /// The times of the bids, in days, as listed.
    times: Vec<f64>,
}

impl Draft {
    /// The start price is that of the first row: the published data has a row with another one.
    fn new(row: &Row<'_>) -> Result<Self, ListError> {
        let id = row.text(Column::Auction);
        if id.is_empty() {
            return Err(row.wrong(Column::Auction, "expected the auction's id"));
        }
        let auction = Auction {
            id: id.to_owned(),
            start_price: row.cents(Column::OpenBid)?,
            published: row.cents(Column::Price)?,
            lasts: row.lasts()?,
            bids: Vec::new(),
        };
        Ok(Self { auction, first_line: row.line, bidders: BTreeMap::new(), times: Vec::new() })
    }

    fn add(&mut self, row: &Row<'_>) -> Result<(), ListError> {
        row.cents(Column::OpenBid)?;
        for (column, same) in
            [(Column::Price, row.cents(Column::Price)? == self.auction.published), (Column::Type, row.lasts()? == self.auction.lasts)]
        {
            if !same {
                let (column, text) = (COLUMNS[column as usize], row.text(column).to_owned());
                return Err(ListError::Differs { line: row.line, column, text, first: self.first_line });
            }
        }
        let name = row.text(Column::Bidder);
        if name.is_empty() {
            return Err(row.wrong(Column::Bidder, "expected who bids"));
        }
        let next = self.bidders.len();
        let bidder = *self.bidders.entry(name.to_owned()).or_insert(next);
        let days = row.bid_time()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "at most 1000 days, in milliseconds")]
        let at = Timestamp::from_millis((days * DAY_MS as f64) as i64);
        self.times.push(days);
        self.auction.bids.push(Bid { at, bidder, max: row.cents(Column::Bid)? });
        Ok(())
    }

    /// The list is not in the order of time.
    fn finish(self) -> Auction {
        let mut timed: Vec<(f64, Bid)> = self.times.into_iter().zip(self.auction.bids).collect();
        timed.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Auction { bids: timed.into_iter().map(|(_, bid)| bid).collect(), ..self.auction }
    }
}

/// Dollars with up to two decimals, exactly: no floating point touches money.
fn cents(text: &str) -> Option<Amount> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction = format!("{:0<2}", fraction.trim_end_matches('0'));
    if fraction.len() > 2 {
        return None;
    }
    let cents = whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(fraction.parse().ok()?)?;
    Amount::new(cents).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly() {
        for (text, expected) in [
            ("0.01", Some(1)),
            ("29.75", Some(2975)),
            ("50", Some(5000)),
            ("50.0", Some(5000)),
            ("50.5", Some(5050)),
            ("50.500", Some(5050)),
            ("0.29", Some(29)), // 28.999… in binary
            ("90071992547409.91", Some((1 << 53) - 1)),
            ("90071992547409.92", None),
            ("1.005", None),
            ("-1", None),
            ("+1", None),
            ("1e2", None),
            ("1,000", None),
            (".5", None),
            ("5.", None),
            ("", None),
            ("NaN", None),
        ] {
            assert_eq!(cents(text).map(Amount::get), expected, "{text:?}");
        }
    }
}

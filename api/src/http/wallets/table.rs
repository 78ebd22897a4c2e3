//! The table that an import reads: CSV with the columns `bidder`, `currency`, `amount` and, if wanted, `reason`.
//!
//! What a row says by itself is checked here; what the wallets say to it in [`super::checks`].

use super::reason;
use csv::{ByteRecord, ReaderBuilder};
use gavel_domain::{currency::Currency, ids::BidderId, money::SignedAmount};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// Rows that a table may have.
pub(super) const ROWS: usize = 200_000;
/// Bytes that a row may have.
const ROW_BYTES: usize = 4096;
const COLUMNS: [&str; 4] = ["bidder", "currency", "amount", "reason"];

/// A row that could be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Of the file; the first is 1.
    pub(super) line: u32,
    pub(super) bidder: BidderId,
    pub(super) currency: Arc<str>,
    /// Not zero.
    pub(super) amount: SignedAmount,
    pub(super) reason: Arc<str>,
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct RowError {
    /// Of the file; the first is 1.
    pub(super) line: u32,
    pub(super) detail: String,
}

/// A table with more rows than are taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Reads a table; rows without a reason get the default.
pub(super) fn read(csv: &[u8], currencies: &[Currency], default: &str) -> Result<(Vec<Row>, Vec<RowError>), TooLong> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(csv);
    let (mut lines, mut record) = (Lines { csv, at: 0, line: 1 }, ByteRecord::new());
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    let mut columns: Option<Columns> = None;
    let mut texts = Texts::default();
    let mut read = 0;
    // Reading bytes from memory can't fail.
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        let line = lines.number(record.position().map_or(0, csv::Position::byte));
        let Some(columns) = &columns else {
            match Columns::of(&record) {
                Ok(found) => columns = Some(found),
                Err(detail) => return Ok((rows, vec![RowError { line, detail }])),
            }
            continue;
        };
        read += 1;
        if read > ROWS {
            return Err(TooLong);
        }
        match columns.row(&record, currencies, default, &mut texts) {
            Ok((bidder, currency, amount, reason)) => rows.push(Row { line, bidder, currency, amount, reason }),
            Err(detail) => errors.push(RowError { line, detail }),
        }
    }
    if columns.is_none() {
        errors.push(RowError { line: 1, detail: "the header is missing: bidder,currency,amount,reason".to_owned() });
    }
    Ok((rows, errors))
}

/// Numbers lines by where rows begin. (A reader's own numbers count the empty lines before a row as the row's.)
struct Lines<'a> {
    csv: &'a [u8],
    at: usize,
    line: u32,
}

impl Lines<'_> {
    /// The line of the row that begins here, or after some empty lines.
    fn number(&mut self, byte: u64) -> u32 {
        let from = usize::try_from(byte).unwrap_or(usize::MAX).min(self.csv.len());
        let empty = self.csv[from..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let begin = (from + empty).max(self.at);
        let passed = self.csv[self.at..begin].iter().filter(|byte| **byte == b'\n').count();
        self.at = begin;
        self.line = self.line.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
        self.line
    }
}

/// Texts that come again and again are kept once.
#[derive(Default)]
struct Texts(BTreeMap<Box<str>, Arc<str>>);

impl Texts {
    fn reason(&mut self, text: &str) -> Result<Arc<str>, String> {
        if let Some(known) = self.0.get(text) {
            return Ok(Arc::clone(known));
        }
        let checked = reason(text).map_err(|problem| problem.detail.into_owned())?;
        self.0.insert(text.into(), Arc::clone(&checked));
        Ok(checked)
    }
}

/// Where each column stands.
struct Columns {
    count: usize,
    bidder: usize,
    currency: usize,
    amount: usize,
    reason: Option<usize>,
}

type Fields = (BidderId, Arc<str>, SignedAmount, Arc<str>);

impl Columns {
    fn of(header: &ByteRecord) -> Result<Self, String> {
        if let Some(unknown) = header.iter().find(|name| !COLUMNS.iter().any(|known| known.as_bytes() == *name)) {
            let known = COLUMNS.join(", ");
            return Err(format!("header: {:?} is no column; there are {known}", shown(&String::from_utf8_lossy(unknown))));
        }
        let place = |column: &str| {
            let mut places = header.iter().enumerate().filter(|(_, name)| *name == column.as_bytes()).map(|(place, _)| place);
            match (places.next(), places.next()) {
                (_, Some(_)) => Err(format!("header: {column} stands twice")),
                (place, None) => Ok(place),
            }
        };
        let needed = |column: &str| place(column)?.ok_or_else(|| format!("header: {column} is missing"));
        Ok(Self {
            count: header.len(),
            bidder: needed("bidder")?,
            currency: needed("currency")?,
            amount: needed("amount")?,
            reason: place("reason")?,
        })
    }

    fn row(&self, record: &ByteRecord, currencies: &[Currency], default: &str, texts: &mut Texts) -> Result<Fields, String> {
        if record.as_slice().len() > ROW_BYTES {
            return Err(format!("more than {ROW_BYTES} bytes (is a quote left open?)"));
        }
        if record.len() != self.count {
            return Err(format!("{} fields where the header has {}", record.len(), self.count));
        }
        let text = |place: usize| std::str::from_utf8(&record[place]);
        let (Ok(bidder), Ok(code), Ok(amount), Ok(reason)) =
            (text(self.bidder), text(self.currency), text(self.amount), self.reason.map_or(Ok(""), text))
        else {
            return Err("not UTF-8".to_owned());
        };
        let bidder = BidderId::try_from(bidder).map_err(|error| format!("bidder: {:?}: {error}", shown(bidder)))?;
        let currency = currencies.iter().find(|known| known.code.as_ref() == code);
        let currency = currency.ok_or_else(|| format!("currency: {:?} is not configured", shown(code)))?;
        let reason = if reason.is_empty() { default } else { reason };
        if reason.is_empty() {
            return Err("reason: neither here nor as a default".to_owned());
        }
        Ok((bidder, Arc::clone(&currency.code), amount_of(amount)?, texts.reason(reason)?))
    }
}

fn amount_of(text: &str) -> Result<SignedAmount, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("amount: {:?} is not an integer (in minor units)", shown(text)));
    }
    let amount = text.parse().ok().and_then(|minor| SignedAmount::new(minor).ok());
    match amount {
        None => Err(format!("amount: {} is beyond 2^53 - 1", shown(text))),
        Some(SignedAmount::ZERO) => Err("amount: must not be zero".to_owned()),
        Some(amount) => Ok(amount),
    }
}

/// The beginning of a text, for a message.
fn shown(text: &str) -> String {
    if text.chars().count() > 40 { text.chars().take(40).chain(['…']).collect() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn currencies() -> Vec<Currency> {
        vec![Currency { code: "DKP".into(), scale: 0 }, Currency { code: "USD".into(), scale: 2 }]
    }

    fn rows(csv: &[u8]) -> Vec<(u32, String)> {
        let (rows, errors) = read(csv, &currencies(), "raid").unwrap();
        assert_eq!(errors, []);
        let texts = rows.iter().map(|row| format!("{} {} {} {}", row.bidder, row.currency, row.amount, row.reason));
        rows.iter().map(|row| row.line).zip(texts).collect()
    }

    fn errors(csv: &[u8], default: &str) -> Vec<(u32, String)> {
        read(csv, &currencies(), default).unwrap().1.into_iter().map(|error| (error.line, error.detail)).collect()
    }

    #[test]
    fn columns_come_in_any_order_and_lines_are_counted_as_an_editor_does() {
        let csv = b"\n\namount,reason,bidder,currency\r\n5,,alice,DKP\r\n\r\n\r\n-7,\"two\nlines\",bob,DKP\r\n+9,x,bob,USD";
        let (read_rows, read_errors) = read(csv, &currencies(), "raid").unwrap();
        assert_eq!(read_rows.iter().map(|row| row.line).collect::<Vec<_>>(), [4, 9]);
        assert_eq!(read_errors.iter().map(|error| error.line).collect::<Vec<_>>(), [7], "a reason has no line breaks");
        assert_eq!(rows(b"\xef\xbb\xbfbidder,currency,amount\nalice,DKP,5\n"), [(2, "alice DKP 5 raid".to_owned())]);
        assert_eq!(
            rows("reason,bidder,currency,amount\n\"a, \"\"b\"\" ä\",alice,DKP,007\n".as_bytes()),
            [(2, "alice DKP 7 a, \"b\" ä".to_owned())]
        );
        assert_eq!(rows(b"bidder,currency,amount\n"), []);
    }

    #[test]
    fn headers_that_are_wrong() {
        for (header, word) in [
            ("", "header is missing"),
            ("bidder,currency\nalice,DKP", "amount is missing"),
            ("bidder,currency,amount,note\n", "\"note\" is no column"),
            ("bidder,currency,amount,amount\n", "amount stands twice"),
            ("Bidder,currency,amount\n", "\"Bidder\" is no column"),
            ("alice,DKP,5\n", "\"alice\" is no column"),
        ] {
            let errors = errors(header.as_bytes(), "raid");
            assert!(errors.len() == 1 && errors[0].0 == 1 && errors[0].1.contains(word), "{header:?}: {errors:?}");
        }
    }

    #[test]
    fn rows_that_are_wrong() {
        for (row, word) in [
            ("alice,DKP", "2 fields where the header has 3"),
            ("alice,DKP,5,raid", "4 fields"),
            ("a/b,DKP,5", "a bidder is 1 to 64"),
            (",DKP,5", "bidder"),
            ("alice,dkp,5", "\"dkp\" is not configured"),
            ("alice,DKP,0", "zero"),
            ("alice,DKP,-0", "zero"),
            ("alice,DKP,", "not an integer"),
            ("alice,DKP,1.5", "not an integer"),
            ("alice,DKP,1e3", "not an integer"),
            ("alice,DKP, 5", "not an integer"),
            ("alice,DKP,--5", "not an integer"),
            ("alice,DKP,9007199254740992", "beyond 2^53"),
            ("alice,DKP,-9007199254740992", "beyond 2^53"),
            ("alice,DKP,99999999999999999999999", "beyond 2^53"),
        ] {
            let errors = errors(format!("bidder,currency,amount\nbob,DKP,1\n{row}\nbob,DKP,2\n").as_bytes(), "raid");
            assert!(errors.len() == 1 && errors[0].0 == 3 && errors[0].1.contains(word), "{row:?}: {errors:?}");
        }
        let good = "alice,DKP,9007199254740991";
        assert_eq!(rows(format!("bidder,currency,amount\n{good}\n").as_bytes()).len(), 1);
    }

    #[test]
    fn bytes_that_are_no_text_long_rows_and_missing_reasons() {
        assert_eq!(errors(b"bidder,currency,amount\nalic\xff,DKP,5\n", "raid"), [(2, "not UTF-8".to_owned())]);
        let open_quote = [b"bidder,currency,amount,reason\nalice,DKP,5,\"".as_slice(), &[b'x'; ROW_BYTES]].concat();
        assert!(errors(&open_quote, "raid")[0].1.contains("more than 4096 bytes"));
        let long = format!("bidder,currency,amount,reason\nalice,DKP,5,{}\n", "x".repeat(201));
        assert!(errors(long.as_bytes(), "raid")[0].1.contains("1 to 200 characters"));
        assert!(errors(b"bidder,currency,amount,reason\nalice,DKP,5,\n", "")[0].1.contains("neither"));
        assert_eq!(errors(b"bidder,currency,amount,reason\nalice,DKP,5,raid\n", ""), []);
        assert!(errors(b"bidder,currency,amount\nalice,DKP,5\n", "a\tb")[0].1.contains("control"));
    }

    #[test]
    fn a_table_has_a_most() {
        let mut csv = b"bidder,currency,amount\n".to_vec();
        csv.extend(b"a,DKP,1\n".repeat(ROWS));
        assert_eq!(read(&csv, &currencies(), "x").unwrap().0.len(), ROWS);
        csv.extend(b"a,DKP,1\n");
        assert_eq!(read(&csv, &currencies(), "x"), Err(TooLong));
    }
}

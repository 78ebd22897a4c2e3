//! The ledger and the balances.

use super::{insert::text, link::query, rows::ReadError, writer::ProjectFault};
use crate::columns::{LedgerRow, to_i64};
use gavel_domain::{
    ids::BidderId,
    wallet::event::{LedgerEntry, WalletRecorded},
};
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use std::{borrow::Cow, collections::BTreeMap};
use uuid::Uuid;

/// Lines, and the balances after them.
#[derive(Default)]
pub(super) struct LedgerColumns<'r> {
    bidder: Vec<&'r str>,
    seq: Vec<i64>,
    epoch: Vec<i64>,
    at: Vec<i64>,
    currency: Vec<Cow<'r, str>>,
    kind: Vec<&'static str>,
    amount: Vec<i64>,
    balance: Vec<i64>,
    lot: Vec<Option<Uuid>>,
    bid_id: Vec<Option<Uuid>>,
    reason: Vec<Cow<'r, str>>,
    actor: Vec<Cow<'r, str>>,
    operation: Vec<&'r [u8]>,
    digest: Vec<&'r [u8]>,
    balances: BalanceColumns<'r>,
}

/// The last line of each wallet and currency.
#[derive(Default)]
struct BalanceColumns<'r> {
    bidder: Vec<&'r str>,
    currency: Vec<Cow<'r, str>>,
    balance: Vec<i64>,
    seq: Vec<i64>,
}

impl<'r> LedgerColumns<'r> {
    pub(super) fn of(events: impl Iterator<Item = &'r WalletRecorded>) -> Result<Self, ProjectFault> {
        let mut columns = Self::default();
        // In the same order everywhere, so that two nodes don't wait for each other.
        let mut last: BTreeMap<(&str, &str), (i64, i64)> = BTreeMap::new();
        for (recorded, entry) in events.filter_map(|recorded| Some((recorded, recorded.event.ledger()?))) {
            let seq = columns.push(recorded, entry)?;
            let balance = last.entry((recorded.bidder.as_str(), &entry.currency)).or_insert((seq, entry.balance.get()));
            *balance = (*balance).max((seq, entry.balance.get()));
        }
        for ((bidder, currency), (seq, balance)) in last {
            columns.balances.bidder.push(bidder);
            columns.balances.currency.push(text(currency));
            columns.balances.balance.push(balance);
            columns.balances.seq.push(seq);
        }
        Ok(columns)
    }

    fn push(&mut self, recorded: &'r WalletRecorded, entry: &'r LedgerEntry) -> Result<i64, ProjectFault> {
        let seq = to_i64("seq", recorded.seq.0)?;
        self.bidder.push(recorded.bidder.as_str());
        self.seq.push(seq);
        self.epoch.push(to_i64("epoch", recorded.epoch.0)?);
        self.at.push(recorded.at.as_millis());
        self.currency.push(text(&entry.currency));
        self.kind.push(entry.kind.as_str());
        self.amount.push(entry.amount.get());
        self.balance.push(entry.balance.get());
        self.lot.push(entry.lot.map(|lot| lot.0));
        self.bid_id.push(entry.bid.map(|bid| bid.0));
        self.reason.push(text(&entry.reason));
        self.actor.push(text(&entry.by));
        self.operation.push(&entry.operation.0);
        self.digest.push(&entry.digest);
        Ok(seq)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.seq.is_empty()
    }

    pub(super) async fn write(&self, conn: &mut PgConnection) -> Result<(), ProjectFault> {
        if self.is_empty() {
            return Ok(());
        }
        query(
            "INSERT INTO gavel.ledger (bidder, seq, epoch, at, currency, kind, amount, balance, lot, bid_id, reason, actor, operation, digest)
             SELECT * FROM unnest($1::text[], $2::int8[], $3::int8[], $4::int8[], $5::text[], $6::text[], $7::int8[], $8::int8[], $9::uuid[],
                 $10::uuid[], $11::text[], $12::text[], $13::bytea[], $14::bytea[])",
        )
        .bind(&self.bidder)
        .bind(&self.seq)
        .bind(&self.epoch)
        .bind(&self.at)
        .bind(&self.currency)
        .bind(&self.kind)
        .bind(&self.amount)
        .bind(&self.balance)
        .bind(&self.lot)
        .bind(&self.bid_id)
        .bind(&self.reason)
        .bind(&self.actor)
        .bind(&self.operation)
        .bind(&self.digest)
        .execute(&mut *conn)
        .await?;
        let balances = &self.balances;
        query(
            "INSERT INTO gavel.wallets (bidder, currency, balance, seq) SELECT * FROM unnest($1::text[], $2::text[], $3::int8[], $4::int8[])
             ON CONFLICT (bidder, currency) DO UPDATE SET balance = excluded.balance, seq = excluded.seq WHERE excluded.seq > wallets.seq",
        )
        .bind(&balances.bidder)
        .bind(&balances.currency)
        .bind(&balances.balance)
        .bind(&balances.seq)
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// What [`read_line`] reads, of a bidder, after an event, in one currency or in all, so many.
pub(super) const LINES: &str =
    "SELECT seq, epoch, at, currency, kind, amount, balance, lot, bid_id, reason, actor, operation, digest FROM gavel.ledger
     WHERE bidder = $1 AND seq > $2 AND ($3::text IS NULL OR currency = $3) ORDER BY seq LIMIT $4";

pub(super) fn read_line(row: &PgRow, bidder: &BidderId) -> Result<WalletRecorded, ReadError> {
    let line = LedgerRow {
        seq: row.try_get(0)?,
        epoch: row.try_get(1)?,
        at: row.try_get(2)?,
        currency: row.try_get(3)?,
        kind: row.try_get(4)?,
        amount: row.try_get(5)?,
        balance: row.try_get(6)?,
        lot: row.try_get(7)?,
        bid_id: row.try_get(8)?,
        reason: row.try_get(9)?,
        actor: row.try_get(10)?,
        operation: row.try_get(11)?,
        digest: row.try_get(12)?,
    };
    Ok(line.recorded(bidder)?)
}

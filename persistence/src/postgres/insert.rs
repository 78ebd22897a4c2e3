//! Many rows at once: each column is one array, which `unnest` makes rows of. About twice as fast as a
//! list of values, and one statement for any number of rows.

use super::{link::query, rows::shard_number, writer::ProjectFault};
use crate::{
    columns::{Misfit, amount_number, event_text, id_numbers, other_leader, status_text, to_i64},
    record::RecordFormat,
};
use gavel_domain::{
    event::{BidPlaced, Recorded},
    ids::{BidderId, LotId, ShardId},
    lot::view::LotView,
};
use gavel_engine::ports::{
    format::{Format as _, Sealed},
    tables::Projection,
};
use sqlx::{PgConnection, Row as _};
use std::{borrow::Cow, collections::HashSet, sync::Arc};
use uuid::Uuid;

/// PostgreSQL's text holds everything but U+0000, which no rule lets in today. If one did, a shard must
/// not stand still for it.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

/// The lot's first four bytes, then 32 bits of FNV-1a over lot and bidder: in the table, so it stays as
/// it is. Two bidders may share one.
pub(super) fn finger(lot: LotId, bidder: &BidderId) -> i64 {
    let lot = lot.0.as_bytes();
    let bytes = lot.iter().copied().chain(bidder.as_str().bytes());
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)).to_be_bytes();
    i64::from_be_bytes([lot[0], lot[1], lot[2], lot[3], hash[0], hash[1], hash[2], hash[3]])
}

/// The cursors, and where they must stand.
#[derive(Default)]
pub(super) struct Moves<'r> {
    all: Vec<ShardId>,
    shard: Vec<i32>,
    epoch: Vec<i64>,
    number: Vec<i64>,
    hash: Vec<&'r [u8]>,
    from_epoch: Vec<Option<i64>>,
    from_number: Vec<Option<i64>>,
    from_hash: Vec<Option<&'r [u8]>>,
}

impl<'r> Moves<'r> {
    pub(super) fn push(&mut self, projection: &'r Projection) -> Result<(), ProjectFault> {
        let Some(last) = projection.batches.last() else { return Ok(()) };
        let (epoch, number) = id_numbers(last.id)?;
        let from = projection.from.as_ref();
        let (from_epoch, from_number) = from.map(|from| id_numbers(from.id)).transpose()?.unzip();
        self.all.push(projection.shard);
        self.shard.push(shard_number(projection.shard));
        self.epoch.push(epoch);
        self.number.push(number);
        self.hash.push(&last.hash.0);
        self.from_epoch.push(from_epoch);
        self.from_number.push(from_number);
        self.from_hash.push(from.map(|from| from.hash.0.as_slice()));
        Ok(())
    }

    /// Compare-and-set. Where a cursor is not where the writer believes, another owner projects.
    pub(super) async fn write(&self, conn: &mut PgConnection) -> Result<(), ProjectFault> {
        let rows = query(
            "WITH moves AS (SELECT * FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::bytea[], $5::int8[], $6::int8[], $7::bytea[])
                 AS m (shard, epoch, number, hash, from_epoch, from_number, from_hash)),
             moved AS (UPDATE gavel.cursors c SET epoch = m.epoch, number = m.number, hash = m.hash FROM moves m
                 WHERE (c.shard, c.epoch, c.number, c.hash) = (m.shard, m.from_epoch, m.from_number, m.from_hash) RETURNING c.shard),
             begun AS (INSERT INTO gavel.cursors (shard, epoch, number, hash)
                 SELECT shard, epoch, number, hash FROM moves WHERE from_epoch IS NULL ON CONFLICT DO NOTHING RETURNING shard)
             SELECT shard FROM moved UNION ALL SELECT shard FROM begun",
        )
        .bind(&self.shard)
        .bind(&self.epoch)
        .bind(&self.number)
        .bind(&self.hash)
        .bind(&self.from_epoch)
        .bind(&self.from_number)
        .bind(&self.from_hash)
        .fetch_all(conn)
        .await?;
        let moved = rows.iter().map(|row| row.try_get::<i32, _>(0)).collect::<Result<HashSet<_>, _>>()?;
        match self.all.iter().find(|shard| !moved.contains(&shard_number(**shard))) {
            None => Ok(()),
            Some(shard) => Err(ProjectFault::CursorMoved(*shard)),
        }
    }
}

/// Lots, as they are now.
#[derive(Default)]
pub(super) struct LotColumns<'r> {
    id: Vec<Uuid>,
    shard: Vec<i32>,
    created_at: Vec<i64>,
    status: Vec<&'static str>,
    title: Vec<Cow<'r, str>>,
    currency: Vec<Cow<'r, str>>,
    epoch: Vec<i64>,
    seq: Vec<i64>,
    price: Vec<Option<i64>>,
    leader: Vec<Option<&'r str>>,
    bid_count: Vec<i64>,
    minimum_bid: Vec<i64>,
    closes_at: Vec<Option<i64>>,
    first_at: Vec<Option<i64>>,
    last_at: Vec<Option<i64>>,
    view: Vec<Vec<u8>>,
}

/// A lot, its shard, and between which times the events lie that it now gets.
pub(super) type Touched<'r> = (ShardId, &'r LotView, Option<(i64, i64)>);

impl<'r> LotColumns<'r> {
    pub(super) fn of(format: &RecordFormat, lots: &[Touched<'r>]) -> Result<Self, ProjectFault> {
        let mut columns = Self::default();
        for (shard, lot, span) in lots {
            columns.id.push(lot.id.0);
            columns.shard.push(shard_number(*shard));
            columns.created_at.push(lot.created_at.as_millis());
            columns.status.push(status_text(lot.status));
            columns.title.push(text(&lot.spec.title));
            columns.currency.push(text(&lot.spec.currency.code));
            columns.epoch.push(to_i64("epoch", lot.position.epoch.0)?);
            columns.seq.push(to_i64("seq", lot.position.seq.0)?);
            columns.price.push(lot.price.map(amount_number));
            columns.leader.push(lot.leader.as_ref().map(BidderId::as_str));
            columns.bid_count.push(to_i64("bid_count", lot.bid_count)?);
            columns.minimum_bid.push(amount_number(lot.minimum_bid));
            columns.closes_at.push(lot.closes_at.map(|at| at.as_millis()));
            columns.first_at.push(span.map(|(first, _)| first));
            columns.last_at.push(span.map(|(_, last)| last));
            columns.view.push(format.encode_view(lot));
        }
        Ok(columns)
    }

    pub(super) async fn write(&self, conn: &mut PgConnection) -> Result<(), ProjectFault> {
        if self.id.is_empty() {
            return Ok(());
        }
        query(
            "INSERT INTO gavel.lots (id, shard, created_at, status, title, currency, epoch, seq, price, leader, bid_count, minimum_bid,
                 closes_at, first_at, last_at, view)
             SELECT * FROM unnest($1::uuid[], $2::int4[], $3::int8[], $4::text[], $5::text[], $6::text[], $7::int8[], $8::int8[], $9::int8[],
                 $10::text[], $11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[], $16::bytea[])
             ON CONFLICT (id) DO UPDATE SET status = excluded.status, title = excluded.title, currency = excluded.currency,
                 epoch = excluded.epoch, seq = excluded.seq, price = excluded.price, leader = excluded.leader,
                 bid_count = excluded.bid_count, minimum_bid = excluded.minimum_bid, closes_at = excluded.closes_at,
                 first_at = least(lots.first_at, excluded.first_at), last_at = greatest(lots.last_at, excluded.last_at), view = excluded.view",
        )
        .bind(&self.id)
        .bind(&self.shard)
        .bind(&self.created_at)
        .bind(&self.status)
        .bind(&self.title)
        .bind(&self.currency)
        .bind(&self.epoch)
        .bind(&self.seq)
        .bind(&self.price)
        .bind(&self.leader)
        .bind(&self.bid_count)
        .bind(&self.minimum_bid)
        .bind(&self.closes_at)
        .bind(&self.first_at)
        .bind(&self.last_at)
        .bind(&self.view)
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// Accepted bids.
#[derive(Default)]
pub(super) struct BidColumns<'r> {
    lot: Vec<Uuid>,
    seq: Vec<i32>,
    epoch: Vec<i64>,
    at: Vec<i64>,
    bidder: Vec<&'r str>,
    finger: Vec<i64>,
    bid_id: Vec<Uuid>,
    amount: Vec<i64>,
    max: Vec<i64>,
    price: Vec<i64>,
    leader: Vec<Option<&'r str>>,
    bid_count: Vec<i64>,
    minimum_bid: Vec<i64>,
    reserve_met: Vec<Option<bool>>,
    deadline: Vec<Option<i64>>,
    closes_at: Vec<Option<i64>>,
}

impl<'r> BidColumns<'r> {
    pub(super) fn of(bids: &[(&'r Recorded, &'r BidPlaced)]) -> Result<Self, ProjectFault> {
        let mut columns = Self::default();
        for (recorded, bid) in bids {
            let (lot, seq) = (recorded.lot, recorded.seq.0);
            columns.lot.push(lot.0);
            columns.seq.push(i32::try_from(seq).map_err(|_| Misfit(format!("event {seq} of lot {lot} is beyond what these tables hold")))?);
            columns.epoch.push(to_i64("epoch", recorded.epoch.0)?);
            columns.at.push(recorded.at.as_millis());
            columns.bidder.push(bid.bidder.as_str());
            columns.finger.push(finger(lot, &bid.bidder));
            columns.bid_id.push(bid.bid_id.0);
            columns.amount.push(amount_number(bid.amount));
            columns.max.push(amount_number(bid.max));
            columns.price.push(amount_number(bid.price));
            columns.leader.push(other_leader(bid));
            columns.bid_count.push(to_i64("bid_count", bid.bid_count)?);
            columns.minimum_bid.push(amount_number(bid.minimum_bid));
            columns.reserve_met.push(bid.reserve_met);
            columns.deadline.push(bid.deadline.map(|at| at.as_millis()));
            columns.closes_at.push(bid.closes_at.map(|at| at.as_millis()));
        }
        Ok(columns)
    }

    pub(super) async fn write(&self, conn: &mut PgConnection) -> Result<(), ProjectFault> {
        if self.lot.is_empty() {
            return Ok(());
        }
        query(
            "INSERT INTO gavel.bids (lot, seq, epoch, at, bidder, finger, bid_id, amount, max, price, leader, bid_count, minimum_bid,
                 reserve_met, deadline, closes_at)
             SELECT * FROM unnest($1::uuid[], $2::int4[], $3::int8[], $4::int8[], $5::text[], $6::int8[], $7::uuid[], $8::int8[], $9::int8[],
                 $10::int8[], $11::text[], $12::int8[], $13::int8[], $14::bool[], $15::int8[], $16::int8[])",
        )
        .bind(&self.lot)
        .bind(&self.seq)
        .bind(&self.epoch)
        .bind(&self.at)
        .bind(&self.bidder)
        .bind(&self.finger)
        .bind(&self.bid_id)
        .bind(&self.amount)
        .bind(&self.max)
        .bind(&self.price)
        .bind(&self.leader)
        .bind(&self.bid_count)
        .bind(&self.minimum_bid)
        .bind(&self.reserve_met)
        .bind(&self.deadline)
        .bind(&self.closes_at)
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// All other events of lots.
#[derive(Default)]
pub(super) struct EventColumns {
    lot: Vec<Uuid>,
    seq: Vec<i64>,
    epoch: Vec<i64>,
    at: Vec<i64>,
    kind: Vec<&'static str>,
    record: Vec<Vec<u8>>,
}

impl EventColumns {
    pub(super) fn of(format: &RecordFormat, events: &[&Recorded]) -> Result<Self, ProjectFault> {
        let mut columns = Self::default();
        for recorded in events {
            columns.lot.push(recorded.lot.0);
            columns.seq.push(to_i64("seq", recorded.seq.0)?);
            columns.epoch.push(to_i64("epoch", recorded.epoch.0)?);
            columns.at.push(recorded.at.as_millis());
            columns.kind.push(event_text(&recorded.event));
            columns.record.push(format.encode_event(recorded));
        }
        Ok(columns)
    }

    pub(super) async fn write(&self, conn: &mut PgConnection) -> Result<(), ProjectFault> {
        if self.lot.is_empty() {
            return Ok(());
        }
        query(
            "INSERT INTO gavel.events (lot, seq, epoch, at, kind, record)
             SELECT * FROM unnest($1::uuid[], $2::int8[], $3::int8[], $4::int8[], $5::text[], $6::bytea[])",
        )
        .bind(&self.lot)
        .bind(&self.seq)
        .bind(&self.epoch)
        .bind(&self.at)
        .bind(&self.kind)
        .bind(&self.record)
        .execute(conn)
        .await?;
        Ok(())
    }
}

/// Batches, as they were journaled.
#[derive(Default)]
pub(super) struct ArchiveColumns<'r> {
    shard: Vec<i32>,
    epoch: Vec<i64>,
    number: Vec<i64>,
    previous: Vec<&'r [u8]>,
    hash: Vec<&'r [u8]>,
    bytes: Vec<&'r [u8]>,
}

impl<'r> ArchiveColumns<'r> {
    pub(super) fn of(batches: impl Iterator<Item = &'r Arc<Sealed>>) -> Result<Self, ProjectFault> {
        let mut columns = Self::default();
        for batch in batches {
            let (epoch, number) = id_numbers(batch.id)?;
            columns.shard.push(shard_number(batch.shard));
            columns.epoch.push(epoch);
            columns.number.push(number);
            columns.previous.push(&batch.previous.0);
            columns.hash.push(&batch.hash.0);
            columns.bytes.push(&batch.bytes);
        }
        Ok(columns)
    }

    pub(super) async fn write(&self, conn: &mut PgConnection) -> Result<(), ProjectFault> {
        query(
            "INSERT INTO gavel.archive (shard, epoch, number, previous, hash, bytes)
             SELECT * FROM unnest($1::int4[], $2::int8[], $3::int8[], $4::bytea[], $5::bytea[], $6::bytea[])",
        )
        .bind(&self.shard)
        .bind(&self.epoch)
        .bind(&self.number)
        .bind(&self.previous)
        .bind(&self.hash)
        .bind(&self.bytes)
        .execute(conn)
        .await?;
        Ok(())
    }
}

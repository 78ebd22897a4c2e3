//! The tables in `tables.db`, write side: one projection of many shards is one transaction.

use super::{
    audit,
    connect::Place,
    fault::Fault,
    insert::{Insert, ProjectFault},
    ledger,
    rows::{Bound, bind_sealed, read_mark},
    tables::{MOST_SEQ, SEQ_BITS, Writing, finger, lot_id},
};
use crate::{
    columns::{Misfit, amount_number, event_text, follow, id_numbers, not_projected, other_leader, status_text, to_i64, uuid},
    record::RecordFormat,
};
use gavel_domain::{
    event::{BidPlaced, LotEvent, Recorded},
    ids::{LotId, ShardId},
    lot::view::LotView,
    wallet::event::WalletRecorded,
};
use gavel_engine::ports::{
    format::{Format as _, Sealed},
    tables::{ProjectError, Projection},
};
use sqlx::{Connection as _, Row as _, SqliteConnection, sqlite::SqliteRow};
use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

static LOTS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "INSERT INTO lots (id, shard, created_at, status, title, currency, epoch, seq, price, leader, bid_count, minimum_bid, closes_at, view)",
        14,
        "ON CONFLICT (id) DO UPDATE SET status = excluded.status, title = excluded.title, currency = excluded.currency,
         epoch = excluded.epoch, seq = excluded.seq, price = excluded.price, leader = excluded.leader,
         bid_count = excluded.bid_count, minimum_bid = excluded.minimum_bid, closes_at = excluded.closes_at, view = excluded.view
         RETURNING id, key",
    )
});
static BIDS: LazyLock<Insert> = LazyLock::new(|| {
    Insert::new(
        "INSERT INTO bids (place, epoch, at, bidder, finger, bid_id, amount, max, price, leader, bid_count, minimum_bid, reserve_met, deadline, closes_at)",
        15,
        "",
    )
});
static EVENTS: LazyLock<Insert> = LazyLock::new(|| Insert::new("INSERT INTO events (place, epoch, at, kind, record)", 5, ""));
static ARCHIVE: LazyLock<Insert> =
    LazyLock::new(|| Insert::new("INSERT INTO archive (shard, epoch, number, previous, hash, bytes)", 6, ""));

/// Writes projections, all or nothing.
pub(super) async fn project(
    writing: &mut Writing,
    place: &Place,
    format: &RecordFormat,
    projections: &[Projection],
) -> Result<(), ProjectError> {
    if projections.is_empty() {
        return Ok(());
    }
    let outcome = match writing.conn(place).await {
        Ok(conn) => write(conn, format, projections).await,
        Err(e) => Err(e.into()),
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(ProjectFault::CursorMoved(shard)) => Err(ProjectError::CursorMoved(shard)),
        Err(fault) => {
            if let ProjectFault::Sqlx(e) = &fault
                && !matches!(writing, Writing::Closed)
            {
                // Also where nothing was written: SQLite may have rolled back by itself, and sqlx
                // would go on counting that transaction as open.
                *writing = Writing::Lost;
                if !Fault::of(e).certainly_nothing_written() && settle(writing, place, projections).await {
                    return Ok(());
                }
            }
            Err(ProjectError::Storage(not_projected(projections, &fault)))
        }
    }
}

/// After an error that leaves open what was written: settles what counts by a write of its own, on
/// a new connection, and looks. Whether all is there.
async fn settle(writing: &mut Writing, place: &Place, projections: &[Projection]) -> bool {
    let settled = async {
        let conn = writing.conn(place).await?;
        sqlx::query("UPDATE meta SET writes = writes + 1").execute(&mut *conn).await?;
        for projection in projections {
            let row = sqlx::query("SELECT epoch, number, hash FROM cursors WHERE shard = ?")
                .bind(i64::from(projection.shard.0))
                .fetch_optional(&mut *conn)
                .await?;
            let stands = row.map(|row| read_mark(&row, 0)).transpose()?;
            if stands.is_none() || stands != projection.batches.last().map(|batch| batch.mark()) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    settled.await.unwrap_or_else(|e: ProjectFault| {
        tracing::error!(error = %e, "the tables can't be written");
        false
    })
}

async fn write(conn: &mut SqliteConnection, format: &RecordFormat, projections: &[Projection]) -> Result<(), ProjectFault> {
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
    for projection in projections {
        move_cursor(&mut transaction, projection).await?;
    }
    let lots: Vec<(ShardId, &LotView)> =
        projections.iter().flat_map(|projection| projection.lots.iter().map(|lot| (projection.shard, lot))).collect();
    let rows = LOTS.run(&mut transaction, &lots, |query, (shard, lot)| bind_lot(query, format, *shard, lot)).await?;
    let keys = read_keys(&rows)?;

    let (mut bids, mut others) = (Vec::new(), Vec::new());
    for recorded in projections.iter().flat_map(|projection| &projection.events) {
        let place = place_of(&keys, recorded)?;
        match &recorded.event {
            LotEvent::BidPlaced(bid) => bids.push((place, recorded.as_ref(), bid)),
            _ => others.push((place, recorded.as_ref())),
        }
    }
    // Lots in turn: a page is then changed once for all of its rows.
    bids.sort_unstable_by_key(|(place, _, _)| *place);
    BIDS.run(&mut transaction, &bids, |query, (place, recorded, bid)| bind_bid(query, *place, recorded, bid)).await?;
    EVENTS.run(&mut transaction, &others, |query, (place, recorded)| bind_event(query, format, *place, recorded)).await?;

    let money: Vec<&WalletRecorded> = projections.iter().flat_map(|projection| &projection.ledger).map(AsRef::as_ref).collect();
    ledger::write(&mut transaction, &money).await?;
    audit::write(&mut transaction, projections).await?;

    let batches: Vec<&Arc<Sealed>> = projections.iter().flat_map(|projection| &projection.batches).collect();
    ARCHIVE.run(&mut transaction, &batches, |query, batch| Ok(bind_sealed(query, batch)?)).await?;
    transaction.commit().await?;
    Ok(())
}

/// Compare-and-set. Where the cursor is not where the writer believes, another owner projects.
async fn move_cursor(conn: &mut SqliteConnection, projection: &Projection) -> Result<(), ProjectFault> {
    let to = follow(projection)?;
    let shard = i64::from(projection.shard.0);
    let (epoch, number) = id_numbers(to.id)?;
    let query = match projection.from {
        None => sqlx::query("INSERT OR IGNORE INTO cursors (epoch, number, hash, shard) VALUES (?, ?, ?, ?)"),
        Some(_) => {
            sqlx::query("UPDATE cursors SET epoch = ?, number = ?, hash = ? WHERE shard = ? AND epoch = ? AND number = ? AND hash = ?")
        }
    };
    let query = query.bind(epoch).bind(number).bind(to.hash.0.to_vec()).bind(shard);
    let query = match projection.from {
        None => query,
        Some(from) => {
            let (epoch, number) = id_numbers(from.id)?;
            query.bind(epoch).bind(number).bind(from.hash.0.to_vec())
        }
    };
    if query.execute(conn).await?.rows_affected() != 1 {
        return Err(ProjectFault::CursorMoved(projection.shard));
    }
    Ok(())
}

fn read_keys(rows: &[SqliteRow]) -> Result<HashMap<LotId, i64>, ProjectFault> {
    let mut keys = HashMap::with_capacity(rows.len());
    for row in rows {
        let id = uuid(row.try_get(0)?).map_err(|e| Misfit(e.to_string()))?;
        keys.insert(LotId(id), row.try_get(1)?);
    }
    Ok(keys)
}

/// The row's place: the lot's key above, the event's number below.
fn place_of(keys: &HashMap<LotId, i64>, recorded: &Recorded) -> Result<i64, ProjectFault> {
    let (lot, seq) = (recorded.lot, recorded.seq);
    let key = *keys.get(&lot).ok_or_else(|| Misfit(format!("an event of lot {lot}, which is not among the lots")))?;
    let number = to_i64("seq", seq.0)?;
    if number > MOST_SEQ || key > i64::from(i32::MAX) {
        return Err(Misfit(format!("event {number} of lot {lot} (row {key}) is beyond what these tables hold")).into());
    }
    Ok((key << SEQ_BITS) | number)
}

fn bind_lot<'q>(query: Bound<'q>, format: &RecordFormat, shard: ShardId, lot: &LotView) -> Result<Bound<'q>, ProjectFault> {
    Ok(query
        .bind(lot_id(lot.id))
        .bind(i64::from(shard.0))
        .bind(lot.created_at.as_millis())
        .bind(status_text(lot.status))
        .bind(Arc::clone(&lot.spec.title))
        .bind(Arc::clone(&lot.spec.currency.code))
        .bind(to_i64("epoch", lot.position.epoch.0)?)
        .bind(to_i64("seq", lot.position.seq.0)?)
        .bind(lot.price.map(amount_number))
        .bind(lot.leader.as_ref().map(|leader| Arc::<str>::from(leader.as_str())))
        .bind(to_i64("bid_count", lot.bid_count)?)
        .bind(amount_number(lot.minimum_bid))
        .bind(lot.closes_at.map(|at| at.as_millis()))
        .bind(format.encode_view(lot)))
}

fn bind_bid<'q>(query: Bound<'q>, place: i64, recorded: &Recorded, bid: &BidPlaced) -> Result<Bound<'q>, ProjectFault> {
    let leader = other_leader(bid).map(Arc::<str>::from);
    Ok(query
        .bind(place)
        .bind(to_i64("epoch", recorded.epoch.0)?)
        .bind(recorded.at.as_millis())
        .bind(Arc::<str>::from(bid.bidder.as_str()))
        .bind(finger(&bid.bidder))
        .bind(bid.bid_id.0.as_bytes().to_vec())
        .bind(amount_number(bid.amount))
        .bind(amount_number(bid.max))
        .bind(amount_number(bid.price))
        .bind(leader)
        .bind(to_i64("bid_count", bid.bid_count)?)
        .bind(amount_number(bid.minimum_bid))
        .bind(bid.reserve_met)
        .bind(bid.deadline.map(|at| at.as_millis()))
        .bind(bid.closes_at.map(|at| at.as_millis())))
}

fn bind_event<'q>(query: Bound<'q>, format: &RecordFormat, place: i64, recorded: &Recorded) -> Result<Bound<'q>, ProjectFault> {
    Ok(query
        .bind(place)
        .bind(to_i64("epoch", recorded.epoch.0)?)
        .bind(recorded.at.as_millis())
        .bind(event_text(&recorded.event))
        .bind(format.encode_event(recorded)))
}

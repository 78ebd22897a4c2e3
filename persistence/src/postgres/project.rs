//! What a projection of many shards writes: its rows, as columns, and their one transaction.

use super::{
    audit,
    insert::{ArchiveColumns, BidColumns, EventColumns, LotColumns, Moves},
    ledger::LedgerColumns,
    link::{Dialler, Isolation},
    months::Months,
    writer::ProjectFault,
};
use crate::{
    columns::{Misfit, follow},
    record::RecordFormat,
};
use gavel_domain::event::{LotEvent, Recorded};
use gavel_engine::ports::tables::Projection;
use sqlx::PgConnection;
use std::collections::HashMap;

/// All that one transaction writes. Made once; a repetition writes the same.
pub(super) struct Rows<'r> {
    moves: Moves<'r>,
    lots: LotColumns<'r>,
    bids: BidColumns<'r>,
    events: EventColumns,
    ledger: LedgerColumns<'r>,
    /// Whose facts the audit trail gets.
    audited: &'r [Projection],
    archive: ArchiveColumns<'r>,
    /// When what goes into partitions happened.
    moments: Vec<i64>,
}

impl<'r> Rows<'r> {
    pub(super) fn of(format: &RecordFormat, projections: &'r [Projection]) -> Result<Self, ProjectFault> {
        let mut moves = Moves::default();
        let mut by_shard: Vec<&Projection> = projections.iter().collect();
        // In the same order everywhere, so that two nodes don't wait for each other.
        by_shard.sort_by_key(|projection| projection.shard);
        for pair in by_shard.windows(2) {
            if pair[0].shard == pair[1].shard {
                return Err(Misfit(format!("shard {} twice in one projection", pair[0].shard)).into());
            }
        }
        for projection in by_shard {
            follow(projection)?;
            moves.push(projection)?;
        }

        // By lot; the times of its events that go into partitions.
        let mut lots = HashMap::new();
        for projection in projections {
            lots.extend(projection.lots.iter().map(|view| (view.id, (projection.shard, view, None))));
        }
        let (mut bids, mut others) = (Vec::new(), Vec::new());
        for recorded in projections.iter().flat_map(|projection| &projection.events) {
            let (lot, at) = (recorded.lot, recorded.at.as_millis());
            let Some((_, _, span)) = lots.get_mut(&lot) else {
                return Err(Misfit(format!("an event of lot {lot}, which is not among the lots")).into());
            };
            match &recorded.event {
                LotEvent::BidPlaced(bid) => bids.push((recorded.as_ref(), bid)),
                _ => {
                    let (first, last) = span.unwrap_or((at, at));
                    *span = Some((at.min(first), at.max(last)));
                    others.push(recorded.as_ref());
                }
            }
        }
        // Lots in turn: a page of the index is then changed once for all of its rows.
        bids.sort_unstable_by_key(|(recorded, _)| (recorded.lot, recorded.seq));
        let mut lots: Vec<_> = lots.into_values().collect();
        lots.sort_unstable_by_key(|(_, view, _)| view.id);

        let mut moments: Vec<i64> = others.iter().map(|recorded: &&Recorded| recorded.at.as_millis()).collect();
        moments.extend(crate::audit::moments(projections));
        moments.sort_unstable();
        moments.dedup();
        Ok(Self {
            moves,
            lots: LotColumns::of(format, &lots)?,
            bids: BidColumns::of(&bids)?,
            events: EventColumns::of(format, &others)?,
            ledger: LedgerColumns::of(projections.iter().flat_map(|projection| &projection.ledger).map(AsRef::as_ref))?,
            audited: projections,
            archive: ArchiveColumns::of(projections.iter().flat_map(|projection| &projection.batches))?,
            moments,
        })
    }

    /// Writes all of it in one transaction.
    pub(super) async fn write(&self, dialler: &Dialler, conn: &mut PgConnection, months: &mut Months) -> Result<(), ProjectFault> {
        months.make(dialler, conn, &self.moments).await.map_err(ProjectFault::NotBegun)?;
        let isolation = if self.ledger.is_empty() { Isolation::ReadCommitted } else { Isolation::Serializable };
        let mut transaction = dialler.begin_writing(conn, isolation).await.map_err(ProjectFault::NotBegun)?;
        self.moves.write(&mut transaction).await?;
        self.lots.write(&mut transaction).await?;
        self.bids.write(&mut transaction).await?;
        self.events.write(&mut transaction).await?;
        self.ledger.write(&mut transaction).await?;
        audit::write(&mut transaction, self.audited).await?;
        self.archive.write(&mut transaction).await?;
        transaction.commit().await?;
        Ok(())
    }
}

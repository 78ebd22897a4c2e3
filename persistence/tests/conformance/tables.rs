//! The tables' rules.

use super::{Backend, Story, Stream, amount, bid_id, bidder, lot_id, plain};
use gavel_domain::{
    event::{LotEvent, Outcome, Recorded, Unsold},
    ids::{Epoch, LotId, OperationId, Seq, ShardId},
    lot::{Status, view::Own},
    money::SignedAmount,
    shard::batch::Entry,
    time::Timestamp,
    wallet::event::{LedgerEntry, LedgerKind, WalletEvent, WalletRecorded},
};
use gavel_engine::ports::{
    Storage,
    format::Mark,
    tables::{LotsPage, ProjectError, Projection},
};
use std::sync::Arc;

/// All of these lots, new, as one batch of the stream.
fn projection(stream: &mut Stream, from: Option<Mark>, stories: &[&Story]) -> Projection {
    let entries: Vec<Entry> = stories.iter().flat_map(|story| story.entries()).collect();
    Projection {
        shard: stream.shard,
        from,
        batches: vec![stream.seal(&entries)],
        events: stories.iter().flat_map(|story| story.events.clone()).collect(),
        lots: stories.iter().map(|story| story.view.clone()).collect(),
        ledger: vec![],
        audited: vec![],
    }
}

/// The same with what happened since `events` only.
fn later(stream: &mut Stream, from: Mark, story: &Story, events: Vec<Arc<Recorded>>) -> Projection {
    let entries: Vec<Entry> = events.iter().map(|event| Entry::Lot(Arc::clone(event))).collect();
    Projection {
        shard: stream.shard,
        from: Some(from),
        batches: vec![stream.seal(&entries)],
        events,
        lots: vec![story.view.clone()],
        ledger: vec![],
        audited: vec![],
    }
}

async fn project(storage: &Storage, projections: Vec<Projection>) {
    storage.tables.project(projections).await.expect("projected");
}

fn moved(outcome: Result<(), ProjectError>, shard: u16) {
    assert!(matches!(outcome, Err(ProjectError::CursorMoved(ShardId(s))) if s == shard), "{outcome:?}");
}

pub async fn a_projection_is_seen_everywhere<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 4);
    let mut story = Story::new(lot_id(1), 1000);
    story.bid("ann", 1, 10);
    let first = projection(&mut stream, None, &[&story]);
    project(&storage, vec![first.clone()]).await;
    assert_eq!(storage.tables.lot(lot_id(1)).await.expect("readable"), Some(story.view.clone()));
    assert_eq!(storage.tables.cursors().await.expect("readable"), [(ShardId(4), stream.mark())]);
    assert_eq!(storage.tables.archived(ShardId(4), None, 10).await.expect("readable"), plain(&first.batches));

    let from = stream.mark();
    let events = vec![story.bid("ben", 2, 20), story.happens(LotEvent::Closed(Outcome::Sold { winner: bidder("ben"), price: amount(20) }))];
    project(&storage, vec![later(&mut stream, from, &story, events)]).await;
    let lot = storage.tables.lot(lot_id(1)).await.expect("readable").expect("projected");
    assert_eq!((lot.status, lot.bid_count, lot), (Status::Closed, 2, story.view));
    assert_eq!(storage.tables.lot(lot_id(2)).await.expect("readable"), None);
}

pub async fn a_moved_cursor_refuses_all_of_it<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let (mut one, mut two) = (Stream::new(&storage, 1), Stream::new(&storage, 2));
    project(&storage, vec![projection(&mut two, None, &[&Story::new(lot_id(2), 1)])]).await;
    // The second believes that its shard was never projected: nothing of the first may stay.
    let good = projection(&mut one, None, &[&Story::new(lot_id(1), 1)]);
    let stale = projection(&mut Stream::new(&storage, 2), None, &[&Story::new(lot_id(3), 1)]);
    moved(storage.tables.project(vec![good.clone(), stale]).await, 2);
    assert_eq!(storage.tables.lot(lot_id(1)).await.expect("readable"), None);
    assert!(storage.tables.archived(ShardId(1), None, 10).await.expect("readable").is_empty());
    assert_eq!(storage.tables.cursors().await.expect("readable").len(), 1);
    project(&storage, vec![good]).await;
}

pub async fn the_same_projection_takes_effect_once<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let mut story = Story::new(lot_id(1), 1);
    let first = projection(&mut stream, None, &[&story]);
    project(&storage, vec![first.clone()]).await;
    moved(storage.tables.project(vec![first]).await, 0);
    let from = stream.mark();
    let events = vec![story.bid("ann", 1, 10)];
    let second = later(&mut stream, from, &story, events);
    project(&storage, vec![second.clone()]).await;
    moved(storage.tables.project(vec![second]).await, 0);
    assert_eq!(storage.tables.bids(lot_id(1), Seq(0), 10).await.expect("readable").len(), 1);
    // Another owner with the same number but another history is refused as well.
    let other = Mark { hash: from.hash, ..stream.mark() };
    stream.end = other.hash;
    let events = vec![story.bid("ann", 2, 20)];
    moved(storage.tables.project(vec![later(&mut stream, other, &story, events)]).await, 0);
}

pub async fn batches_must_follow_the_cursor<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let _left_out = stream.batch();
    let gap = projection(&mut stream, None, &[&Story::new(lot_id(1), 1)]);
    let outcome = storage.tables.project(vec![gap]).await;
    assert!(matches!(outcome, Err(ProjectError::Storage(_))), "{outcome:?}");
    assert!(storage.tables.cursors().await.expect("readable").is_empty());
}

async fn listed(storage: &Storage, page: LotsPage) -> Vec<LotId> {
    storage.tables.lots(page).await.expect("readable").iter().map(|lot| lot.id).collect()
}

pub async fn lots_are_listed_in_order<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    // Created at the same time: the id decides.
    let stories = [Story::new(lot_id(5), 200), Story::new(lot_id(2), 100), Story::new(lot_id(9), 100), Story::new(lot_id(1), 300)];
    let stories: Vec<_> = stories.iter().collect();
    project(&storage, vec![projection(&mut Stream::new(&storage, 0), None, &stories)]).await;
    let page = |after, limit| LotsPage { status: None, after, limit };
    let all = [lot_id(2), lot_id(9), lot_id(5), lot_id(1)];
    assert_eq!(listed(&storage, page(None, 10)).await, all);
    assert_eq!(listed(&storage, page(None, 2)).await, all[..2]);
    let after = |at, n| Some((Timestamp::from_millis(at), lot_id(n)));
    assert_eq!(listed(&storage, page(after(100, 2), 2)).await, all[1..3]);
    assert_eq!(listed(&storage, page(after(200, 6), 10)).await, all[3..]);
    assert!(listed(&storage, page(after(300, 1), 10)).await.is_empty());
}

pub async fn a_status_filters_the_list<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stories: Vec<_> = (1..=4).map(|n| Story::new(lot_id(n), 100)).collect();
    stories[1].happens(LotEvent::Closed(Outcome::Unsold { reason: Unsold::NoBids }));
    stories[3].happens(LotEvent::Cancelled { reason: None });
    let stories: Vec<_> = stories.iter().collect();
    project(&storage, vec![projection(&mut Stream::new(&storage, 0), None, &stories)]).await;
    let page = |status, after| LotsPage { status: Some(status), after, limit: 10 };
    assert_eq!(listed(&storage, page(Status::Open, None)).await, [lot_id(1), lot_id(3)]);
    assert_eq!(listed(&storage, page(Status::Open, Some((Timestamp::from_millis(100), lot_id(1))))).await, [lot_id(3)]);
    assert_eq!(listed(&storage, page(Status::Closed, None)).await, [lot_id(2)]);
    assert_eq!(listed(&storage, page(Status::Cancelled, None)).await, [lot_id(4)]);
    assert!(listed(&storage, page(Status::Paused, None)).await.is_empty());
}

pub async fn events_and_bids_come_in_pages<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut story = Story::new(lot_id(1), 1);
    for n in 0..700_u64 {
        story.bid(if n % 2 == 0 { "ann" } else { "ben" }, n.into(), 10 + n);
        if n % 100 == 50 {
            story.happens(LotEvent::Extended { closes_at: Timestamp::from_millis(9000), extensions: 1 });
        }
    }
    let other = Story::new(lot_id(2), 1);
    project(&storage, vec![projection(&mut Stream::new(&storage, 0), None, &[&other, &story])]).await;

    let events: Vec<Recorded> = story.events.iter().skip(1).map(|event| Recorded::clone(event)).collect();
    let bids: Vec<Recorded> = events.iter().filter(|event| matches!(event.event, LotEvent::BidPlaced(_))).cloned().collect();
    let read_events = async |after, limit| storage.tables.events(lot_id(1), Seq(after), limit).await.expect("readable");
    let read_bids = async |after, limit| storage.tables.bids(lot_id(1), Seq(after), limit).await.expect("readable");
    assert_eq!(read_events(0, 10_000).await, events);
    assert_eq!(read_events(0, 60).await, events[..60]);
    assert_eq!(read_events(45, 20).await, events[45..65]);
    assert_eq!(read_bids(0, 10_000).await, bids);
    assert_eq!(read_bids(bids[59].seq.0, 5).await, bids[60..65]);
    assert!(read_events(events.len() as u64, 5).await.is_empty());
    assert!(storage.tables.events(lot_id(7), Seq(0), 5).await.expect("readable").is_empty());
    assert!(storage.tables.bids(lot_id(2), Seq(0), 5).await.expect("readable").is_empty());
}

pub async fn bids_are_found_by_name<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let (mut story, mut other) = (Story::new(lot_id(1), 1), Story::new(lot_id(2), 1));
    let anns = story.bid("ann", 1, 10);
    let bens = story.bid("ben", 1, 20);
    story.bid("ann", 2, 30);
    let elsewhere = other.bid("ann", 1, 40);
    project(&storage, vec![projection(&mut Stream::new(&storage, 0), None, &[&story, &other])]).await;
    let find = async |lot, who, id| storage.tables.bid(lot_id(lot), bidder(who), bid_id(id)).await.expect("readable");
    assert_eq!(find(1, "ann", 1).await, anns.receipt());
    assert_eq!(find(1, "ben", 1).await, bens.receipt());
    assert_eq!(find(2, "ann", 1).await, elsewhere.receipt());
    assert_eq!(find(1, "ben", 2).await, None);
    assert_eq!(find(1, "carl", 1).await, None);
    assert_eq!(find(3, "ann", 1).await, None);
}

pub async fn a_bidders_standing_is_the_highest_maximum<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut story = Story::new(lot_id(1), 1);
    story.bid("ann", 1, 10);
    story.bid("ann", 2, 40);
    story.bid("ann", 3, 30);
    story.bid("ben", 4, 50);
    project(&storage, vec![projection(&mut Stream::new(&storage, 0), None, &[&story])]).await;
    let own = async |who| storage.tables.own(lot_id(1), bidder(who)).await.expect("readable");
    assert_eq!(own("ann").await, Some(Own { leading: false, max: amount(43) }));
    assert_eq!(own("ben").await, Some(Own { leading: true, max: amount(53) }));
    assert_eq!(own("carl").await, None);
    assert_eq!(storage.tables.own(lot_id(2), bidder("ann")).await.expect("readable"), None);
}

pub async fn the_archive_gives_batches_back<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let batches = stream.batches(100);
    project(
        &storage,
        vec![Projection {
            shard: ShardId(0),
            from: None,
            batches: batches.clone(),
            events: vec![],
            lots: vec![],
            ledger: vec![],
            audited: vec![],
        }],
    )
    .await;
    let batches = plain(&batches);
    let read = async |after: Option<usize>, limit| {
        storage.tables.archived(ShardId(0), after.map(|n| batches[n].id), limit).await.expect("readable")
    };
    assert_eq!(read(None, 1000).await, batches);
    assert_eq!(read(Some(9), 20).await, batches[10..30]);
    assert!(read(Some(99), 20).await.is_empty());
    let one = |n: usize| storage.tables.archived_batch(ShardId(0), batches[n].id);
    assert_eq!(one(42).await.expect("readable").as_ref(), Some(&batches[42]));
    assert_eq!(storage.tables.archived_batch(ShardId(1), batches[42].id).await.expect("readable"), None);
    for batch in &batches {
        storage.format.open(batch).expect("intact");
    }
}

pub async fn the_ledger_comes_in_order<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 0);
    let line = |who: &str, seq: u64, currency: &str, minor: i64| {
        let lot = (minor < 0).then(|| lot_id(1));
        let entry = Box::new(LedgerEntry {
            currency: currency.into(),
            kind: if lot.is_some() { LedgerKind::Capture } else { LedgerKind::Grant },
            amount: SignedAmount::new(minor).expect("in range"),
            balance: SignedAmount::new(minor * 2).expect("in range"),
            lot,
            bid: lot.map(|_| bid_id(7)),
            reason: "raid".into(),
            by: "gm".into(),
            operation: OperationId([9; 16]),
            digest: [3; 32],
        });
        let event = if lot.is_some() { WalletEvent::Captured(entry) } else { WalletEvent::Posted(entry) };
        Arc::new(WalletRecorded { bidder: bidder(who), epoch: Epoch(1), seq: Seq(seq), at: Timestamp::from_millis(5), event })
    };
    let lines = [line("ann", 1, "DKP", 50), line("ann", 4, "EUR", 70), line("ben", 1, "DKP", 8), line("ann", 5, "DKP", -20)];
    for (n, page) in lines.chunks(2).enumerate() {
        let from = (n > 0).then(|| stream.mark());
        let batches = vec![stream.seal(&page.iter().map(|line| Entry::Wallet(Arc::clone(line))).collect::<Vec<_>>())];
        project(
            &storage,
            vec![Projection { shard: ShardId(0), from, batches, events: vec![], lots: vec![], ledger: page.to_vec(), audited: vec![] }],
        )
        .await;
    }
    let read = async |who, currency: Option<&str>, after, limit| {
        storage.tables.ledger(bidder(who), currency.map(Into::into), Seq(after), limit).await.expect("readable")
    };
    let plain = |of: &[usize]| of.iter().map(|n| WalletRecorded::clone(&lines[*n])).collect::<Vec<_>>();
    assert_eq!(read("ann", None, 0, 9).await, plain(&[0, 1, 3]));
    assert_eq!(read("ann", Some("DKP"), 0, 9).await, plain(&[0, 3]));
    assert_eq!(read("ann", None, 1, 1).await, plain(&[1]));
    assert_eq!(read("ben", None, 0, 9).await, plain(&[2]));
    assert!(read("carl", None, 0, 9).await.is_empty());
}

pub async fn an_event_needs_its_lot<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut without = projection(&mut Stream::new(&storage, 0), None, &[&Story::new(lot_id(1), 1)]);
    without.lots.clear();
    let outcome = storage.tables.project(vec![without]).await;
    assert!(matches!(outcome, Err(ProjectError::Storage(_))), "{outcome:?}");
    assert!(storage.tables.cursors().await.expect("readable").is_empty());
}

pub async fn many_shards_go_in_one<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut streams: Vec<_> = (0..64).map(|shard| Stream::new(&storage, shard)).collect();
    for lap in 0..3_u64 {
        let all = streams.iter_mut().map(|stream| {
            let from = (lap > 0).then(|| stream.mark());
            let mut story = Story::new(lot_id(u128::from(stream.shard.0) * 10 + u128::from(lap)), 1);
            story.bid("ann", 1, 10);
            projection(stream, from, &[&story])
        });
        project(&storage, all.collect()).await;
    }
    let mut cursors = storage.tables.cursors().await.expect("readable");
    cursors.sort_by_key(|(shard, _)| *shard);
    assert_eq!(cursors, streams.iter().map(|stream| (stream.shard, stream.mark())).collect::<Vec<_>>());
    assert_eq!(listed(&storage, LotsPage { status: None, after: None, limit: 1000 }).await.len(), 192);
}

pub async fn tables_answer_a_ping<B: Backend>() {
    let backend = B::fresh().await;
    backend.ports().tables.ping().await.expect("writable");
}

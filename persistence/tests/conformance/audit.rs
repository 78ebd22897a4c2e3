//! The audit trail's rules.

use super::{Backend, Story, Stream, bidder, lot_id};
use gavel_domain::{
    act::{Act, Deed},
    event::Change,
    ids::{Epoch, LotId, OperationId, Seq, ShardId},
    money::SignedAmount,
    shard::batch::Entry,
    time::{Millis, Timestamp},
    wallet::{
        event::{LedgerEntry, LedgerKind, WalletEvent, WalletRecorded},
        permit::Terms,
    },
};
use gavel_engine::ports::{
    Storage,
    audit::{AuditPage, AuditRow, Audited},
    format::{Digest, Mark},
    tables::{ProjectError, Projection},
};
use std::sync::Arc;

/// Something that was done to a lot.
fn act(lot: u128, seq: u64, at: i64, deed: Deed) -> Entry {
    let at = Timestamp::from_millis(at);
    Entry::Act(Arc::new(Act { by: "house".into(), at, lot: lot_id(lot), epoch: Epoch(7), seq: Seq(seq), deed }))
}

fn wallet(seq: u64, at: i64, event: WalletEvent) -> Entry {
    let at = Timestamp::from_millis(at);
    Entry::Wallet(Arc::new(WalletRecorded { bidder: bidder("ann"), epoch: Epoch(7), seq: Seq(seq), at, event }))
}

/// Ten points, or a payment of as many.
fn line(seq: u64, at: i64, kind: LedgerKind) -> Entry {
    let entry = Box::new(LedgerEntry {
        currency: "DKP".into(),
        kind,
        amount: SignedAmount::new(10).expect("in range"),
        balance: SignedAmount::new(20).expect("in range"),
        lot: None,
        bid: None,
        reason: "raid".into(),
        by: "gm".into(),
        operation: OperationId([9; 16]),
        digest: [3; 32],
    });
    wallet(seq, at, if kind == LedgerKind::Capture { WalletEvent::Captured(entry) } else { WalletEvent::Posted(entry) })
}

/// One batch with these entries, as the projector would hand it over.
fn projection(stream: &mut Stream, entries: &[Entry]) -> Projection {
    let from: Option<Mark> = (stream.next.number > 0).then(|| stream.mark());
    let ledger = entries.iter().filter_map(|entry| match entry {
        Entry::Wallet(recorded) if recorded.event.ledger().is_some() => Some(Arc::clone(recorded)),
        _ => None,
    });
    Projection {
        shard: stream.shard,
        from,
        ledger: ledger.collect(),
        audited: Audited::of(entries).collect(),
        batches: vec![stream.seal(entries)],
        events: vec![],
        lots: vec![],
    }
}

async fn project(storage: &Storage, projections: Vec<Projection>) {
    storage.tables.project(projections).await.expect("projected");
}

async fn page(storage: &Storage, page: AuditPage) -> Vec<AuditRow> {
    storage.tables.audit(page).await.expect("readable")
}

async fn all(storage: &Storage, lot: Option<LotId>) -> Vec<AuditRow> {
    page(storage, AuditPage { lot, before: None, limit: 1000 }).await
}

async fn whole(storage: &Storage) -> u64 {
    storage.tables.check_audit().await.expect("whole")
}

pub async fn what_was_done_is_listed_newest_first<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    assert_eq!((whole(&storage).await, all(&storage, None).await), (0, vec![]));
    let (mut here, mut there) = (Stream::new(&storage, 3), Stream::new(&storage, 60));
    let change = Change { title: Some("New \u{2694}".into()), closes_at: Some(None), ..Change::default() };
    let allowed = WalletEvent::Allowed {
        currency: "DKP".into(),
        terms: Terms { registered: true, spend_limit: None, lead_limit: Some(2) },
        reason: Some("new here".into()),
        by: "gm".into(),
    };
    project(
        &storage,
        vec![
            projection(
                &mut here,
                &[
                    Story::new(lot_id(1), 10).entries()[0].clone(),
                    act(1, 0, 10, Deed::Create { title: "Lot".into() }),
                    act(1, 2, 30, Deed::Pause { reason: Some("fire \"drill\"\n".into()) }),
                ],
            ),
            projection(
                &mut there,
                &[line(1, 20, LedgerKind::Grant), line(2, 21, LedgerKind::Capture), wallet(3, 30, allowed), line(4, 31, LedgerKind::Decay)],
            ),
        ],
    )
    .await;
    project(
        &storage,
        vec![projection(
            &mut here,
            &[
                act(1, 3, 30, Deed::Change(Box::new(change))),
                act(2, 9, 25, Deed::Extend { by: Millis(5), closes_at: Timestamp::from_millis(0) }),
                act(1, 4, 99, Deed::Register(vec![bidder("ben"), bidder("ann")])),
            ],
        )],
    )
    .await;
    let rows = all(&storage, None).await;
    let told: Vec<_> = rows.iter().map(|row| (row.at.as_millis(), row.shard.0, row.number, &*row.action, row.seq.0)).collect();
    assert_eq!(
        told,
        [
            (99, 3, 5, "register", 4),
            (31, 60, 3, "decay", 4),
            (30, 60, 2, "allow", 3),
            (30, 3, 3, "change", 3),
            (30, 3, 2, "pause", 2),
            (25, 3, 4, "extend", 9),
            (20, 60, 1, "grant", 1),
            (10, 3, 1, "create", 0),
        ],
        "a payment is nobody's deed"
    );
    let details: Vec<_> = rows.iter().map(|row| &*row.details).collect();
    let wants = [
        r#"{"bidders":["ben","ann"]}"#,
        r#"{"amount":10,"balance":20,"currency":"DKP","operation":"09090909090909090909090909090909","reason":"raid"}"#,
        r#"{"currency":"DKP","lead_limit":2,"reason":"new here","registered":true,"spend_limit":null}"#,
        "{\"closes_at\":null,\"title\":\"New \u{2694}\"}",
        r#"{"reason":"fire \"drill\"\n"}"#,
        r#"{"by_ms":5,"closes_at":"1970-01-01T00:00:00.000Z"}"#,
        r#"{"amount":10,"balance":20,"currency":"DKP","operation":"09090909090909090909090909090909","reason":"raid"}"#,
    ];
    assert_eq!(details[..7], wants);
    for part in [r#""draft":true"#, r#""start_price":10"#, r#""format":"english""#, r#""access":{"aliases":false,"registration":"none"}"#] {
        assert!(details[7].contains(part), "the creation has what was asked for: {}", details[7]);
    }
    for row in &rows {
        let (by, lot, wallet) = (&*row.by, row.lot, row.wallet.clone());
        match row.shard {
            ShardId(3) => assert_eq!((by, lot.is_some(), wallet), ("house", true, None)),
            _ => assert_eq!((by, lot, wallet), ("gm", None, Some(bidder("ann")))),
        }
        // Each names the one before it in its chain.
        let before = rows.iter().find(|other| (other.shard, other.number + 1) == (row.shard, row.number));
        assert_eq!(row.previous, before.map_or(Digest::default(), |before| before.hash));
    }
    assert_eq!(whole(&storage).await, 8);
}

pub async fn pages_and_a_lots_own_rows<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut streams = [Stream::new(&storage, 0), Stream::new(&storage, 1), Stream::new(&storage, 2)];
    for round in 0..4_i64 {
        // Many at the same moment, in several months.
        let at = round / 2 * 3_000_000_000;
        let seq = u64::try_from(round).expect("small");
        let all = streams.iter_mut().map(|stream| {
            let lot = u128::from(stream.shard.0);
            projection(stream, &[act(lot, 2 * seq, at, Deed::Open), act(lot + 10, 2 * seq + 1, at, Deed::Close)])
        });
        project(&storage, all.collect()).await;
    }
    let rows = all(&storage, None).await;
    assert_eq!(rows.len(), 24);
    assert!(rows.windows(2).all(|pair| pair[0].place() > pair[1].place()));
    let own: Vec<_> = rows.iter().filter(|row| row.lot == Some(lot_id(11))).cloned().collect();
    assert_eq!((all(&storage, Some(lot_id(11))).await, own.len()), (own, 4));
    assert!(all(&storage, Some(lot_id(77))).await.is_empty());
    for lot in [None, Some(lot_id(11))] {
        for limit in [1, 3, 24, 25] {
            let (mut found, mut before) = (Vec::new(), None);
            loop {
                let rows = page(&storage, AuditPage { lot, before, limit }).await;
                assert!(rows.len() <= limit);
                let Some(last) = rows.last() else { break };
                before = Some(last.place());
                found.extend(rows);
            }
            assert_eq!(found, all(&storage, lot).await, "{limit} at a time");
        }
    }
    assert_eq!(whole(&storage).await, 24);
}

pub async fn a_repetition_is_audited_once<B: Backend>() {
    let backend = B::fresh().await;
    let (storage, other) = (backend.ports(), backend.another().await);
    let mut stream = Stream::new(&storage, 5);
    let first = projection(&mut stream, &[act(1, 0, 1, Deed::Open), line(1, 2, LedgerKind::Grant)]);
    let second = projection(&mut stream, &[act(1, 1, 3, Deed::Close)]);
    project(&storage, vec![first.clone()]).await;
    let before = all(&storage, None).await;
    for storage in [&storage, &other.ports()] {
        let outcome = storage.tables.project(vec![first.clone()]).await;
        assert!(matches!(outcome, Err(ProjectError::CursorMoved(ShardId(5)))), "{outcome:?}");
        assert_eq!(all(storage, None).await, before);
    }
    project(&other.ports(), vec![second.clone()]).await;
    storage.tables.project(vec![second]).await.expect_err("somebody else has written it");
    assert_eq!((all(&storage, None).await.len(), whole(&storage).await), (3, 3));
}

pub async fn chains_hold_over_restarts<B: Backend>() {
    let mut backend = B::fresh().await;
    let mut stream = Stream::new(&backend.ports(), 5);
    for round in 1..=3_u64 {
        let at = i64::try_from(round).expect("small");
        let many: Vec<Entry> = (0..700).map(|n| act(1, round * 1000 + n, at, Deed::Open)).collect();
        project(&backend.ports(), vec![projection(&mut stream, &many)]).await;
        backend = backend.restarted().await;
        assert_eq!(whole(&backend.ports()).await, round * 700);
    }
}

pub async fn nothing_done_is_no_row<B: Backend>() {
    let backend = B::fresh().await;
    let storage = backend.ports();
    let mut stream = Stream::new(&storage, 5);
    project(&storage, vec![projection(&mut stream, &[line(1, 1, LedgerKind::Capture)])]).await;
    stream.batch();
    assert_eq!((whole(&storage).await, all(&storage, None).await), (0, vec![]));
}

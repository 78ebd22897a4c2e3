//! The four steps of a backed bid, cut off by `kill -9` in between (`--features failpoints`: one side stands still meanwhile).
//! Both sides start over from their journals alone.

use super::wallet_saga_panic::{Stage, resend};
use crate::kit::{captures, until};
use serde_json::json;

#[tokio::test]
async fn between_the_hold_and_the_bid() {
    // The lot stands still where it would place the bid.
    let stage = Stage::new("lot-before-stage=1*sleep(20000)->off");
    let mut alice = stage.bidder(&stage.far).await;
    let bid = stage.bid(100, 300);
    alice.send(json!({"bid": bid})).await;
    until("the hold", || (stage.admin.purse(&stage.far).held == 300).then_some(()));
    let stage = stage.dies();
    assert_eq!(stage.seen()["bid_count"], 0);
    stage.admin.comes_to(&stage.far, 500, 0);
    let mut alice = stage.bidder(&stage.far).await;
    assert_eq!(resend(&mut alice, &bid).await["leading"], true);
    assert_eq!(stage.admin.purse(&stage.far).sums(), (500, 300));
}

#[tokio::test]
async fn between_the_bid_and_the_release() {
    // Two holds; then the wallet stands still where it would hear that it was outbid.
    let stage = Stage::new("wallet-before-decide=2*off->1*sleep(20000)->off");
    let (mut alice, mut bob) = (stage.bidder(&stage.far).await, stage.bidder(&stage.near).await);
    let bid = stage.bid(100, 300);
    let first = resend(&mut alice, &bid).await;
    let outbidding = stage.bid(310, 400);
    let second = resend(&mut bob, &outbidding).await;
    let stage = stage.dies();
    assert_eq!(stage.seen()["leader"], stage.near);
    stage.admin.comes_to(&stage.far, 500, 0);
    assert_eq!(stage.admin.purse(&stage.near).sums(), (500, 400));
    // Both have their receipts, and hold nothing more for asking.
    let (mut alice, mut bob) = (stage.bidder(&stage.far).await, stage.bidder(&stage.near).await);
    assert_eq!((resend(&mut alice, &bid).await, resend(&mut bob, &outbidding).await), (first, second));
    assert_eq!(stage.admin.purse(&stage.far).sums(), (500, 0));
    assert_eq!(stage.admin.purse(&stage.near).sums(), (500, 400));
}

#[tokio::test]
async fn between_the_close_and_the_capture() {
    let stage = Stage::new("wallet-before-decide=1*off->1*sleep(20000)->off");
    stage.bidder(&stage.far).await.bid_max(&stage.lot, 100, 300).await;
    stage.server.house().act(&stage.lot, "close").expect(200);
    is_paid_once(&stage.dies());
}

#[tokio::test]
async fn between_the_capture_and_the_settlement() {
    // Bid and close; then the lot stands still where it would note that it was paid.
    let stage = Stage::new("lot-before-stage=2*off->1*sleep(20000)->off");
    stage.bidder(&stage.far).await.bid_max(&stage.lot, 100, 300).await;
    stage.server.house().act(&stage.lot, "close").expect(200);
    until("the capture", || (stage.admin.purse(&stage.far).sums() == (400, 0)).then_some(()));
    is_paid_once(&stage.dies());
}

#[track_caller]
fn is_paid_once(Stage { admin, lot, far, .. }: &Stage) {
    assert_eq!(admin.settled(lot)["outcome"], json!({"sold": {"winner": far, "price": 100}}));
    assert_eq!(admin.purse(far).sums(), (400, 0));
    assert_eq!(captures(&admin.ledger(far)).collect::<Vec<_>>(), [(lot.as_str(), 100)]);
}

//! What a caller of `gavel replay` sees: figures, the report, and which line of a list is wrong.

use super::*;

const HEADER: &str = "auctionid,bid,bidtime,bidder,bidderrate,openbid,price,item,auction_type\n";

fn list(rows: &str) -> Result<Vec<Auction>, String> {
    bid_list::read(format!("{HEADER}{}", rows.trim()).as_bytes()).map_err(|error| error.to_string())
}

/// One auction of each kind; their rows are mixed and not in the order of time.
const EVERY_KIND: &str = "
1,20,0.5,ann,0,9.99,15.50,xbox,3 day auction
2,20,0.1,ann,0,1,18,xbox,5 day auction
1,15,0.7,bob,,9.99,15.50,xbox,3 day auction
2,30,4.9,ben,,1,18,xbox,5 day auction
2,10,4.8,cat,3,1,18,xbox,5 day auction
3,10,0.2,ann,3,1,25,xbox,7 day auction
3,12,0.1,bob,3,1,25,xbox,7 day auction
4,150,0.5,ann,,1,140,xbox,7 day auction
4,100,0.6,bob,,1,140,xbox,7 day auction
";

#[test]
fn every_kind_of_auction_is_found() {
    let (totals, unexplained) = replay(&list(EVERY_KIND).unwrap());
    // 1: 15 and a step. 4: 102.50 by the bids alone; where 140 is the reserve, 150 reaches it and 100 is then refused.
    // 2: ben's 30 beats 20 at one step more, not at the published 18. 3: nobody bids as much as is published.
    let expected = Totals { auctions: 4, exact: 1, reserve: 1, unexplained: 2, bids: 9, refused: 1 };
    assert_eq!(totals, expected);
    let cents = |cents| Amount::new(cents).unwrap();
    let row = |auction: &str, published, closes_at| Unexplained {
        auction: auction.to_owned(),
        published: cents(published),
        closes_at: Some(cents(closes_at)),
    };
    assert_eq!(unexplained, [row("2", 1800, 2050), row("3", 2500, 1050)]);
    assert_eq!(serde_json::to_string(&totals).unwrap(), r#"{"auctions":4,"exact":1,"reserve":1,"unexplained":2,"bids":9,"refused":1}"#);
    let text = report(&totals, &unexplained);
    assert!(text.contains("4 auctions, 9 bids, 1 of them refused"), "{text}");
    assert!(text.contains("3: published 25.00, closes at 10.50"), "{text}");
}

#[test]
fn what_a_live_server_would_refuse_is_counted() {
    let rows = "
        1,10,0.1,ann,,1,10.50,x,3 day auction
        1,9,0.2,ann,,1,10.50,x,3 day auction
        1,10,0.3,bob,,1,10.50,x,3 day auction
        1,10.4,0.4,bob,,1,10.50,x,3 day auction
        1,99,3,cat,,1,10.50,x,3 day auction
    ";
    let (totals, unexplained) = replay(&list(rows).unwrap());
    // Not raised; equal, taken (the first leads); below 10.00 and a step; after the close.
    assert_eq!((totals.bids, totals.refused), (5, 3));
    assert_eq!(unexplained[0].closes_at.map(Amount::get), Some(1000));
}

#[test]
fn an_auction_without_an_accepted_bid_is_not_sold() {
    let (totals, unexplained) = replay(&list("1,0.5,0.1,ann,,1,1,x,3 day auction").unwrap());
    assert_eq!((totals.unexplained, totals.refused), (1, 1));
    assert!(report(&totals, &unexplained).contains("1: published 1.00, closes without a sale"));
    assert_eq!(replay(&list("").unwrap()).0, Totals::default());
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let good = "1,10,0.1,ann,,1,10,x,3 day auction\n";
    for (rows, expected) in [
        ("1,ten,0.1,ann,,1,10,x,3 day auction", "line 2: bid \"ten\": expected dollars"),
        ("1,-1,0.1,ann,,1,10,x,3 day auction", "line 2: bid \"-1\""),
        ("1,10,noon,ann,,1,10,x,3 day auction", "line 2: bidtime \"noon\": expected days"),
        ("1,10,-1,ann,,1,10,x,3 day auction", "line 2: bidtime \"-1\""),
        ("1,10,NaN,ann,,1,10,x,3 day auction", "line 2: bidtime \"NaN\""),
        ("1,10,0.1,,,1,10,x,3 day auction", "line 2: bidder \"\": expected who bids"),
        (",10,0.1,ann,,1,10,x,3 day auction", "line 2: auctionid \"\""),
        ("1,10,0.1,ann,,1,10,x,soon", "line 2: auction_type \"soon\": expected such as `7 day auction`"),
        ("1,10,0.1,ann,,1,10,x", "line 2: 8 fields, where the header has 9"),
        (&format!("{good}1,10,0.1,ann,,x,10,x,3 day auction"), "line 3: openbid \"x\""),
        (&format!("{good}1,10,0.1,ann,,1,11,x,3 day auction"), "line 3: price \"11\" differs from that of line 2"),
        (&format!("{good}1,10,0.1,ann,,1,10,x,5 day auction"), "line 3: auction_type \"5 day auction\" differs"),
    ] {
        let error = list(rows).expect_err(expected);
        assert!(error.starts_with(expected), "{error}");
    }
    let header = |header: &str| bid_list::read(header.as_bytes()).unwrap_err().to_string();
    assert!(header("").starts_with("line 1: the column `auctionid` is missing; a bid list has auctionid, bid,"));
    assert!(header("auctionid,bid,bid\n").starts_with("line 1: the column `bid` stands twice"));
    assert_eq!(
        bid_list::read([HEADER.as_bytes(), b"1,1,0,\xff,,1,1,x,y\n"].concat().as_slice()).unwrap_err().to_string(),
        "line 2: not UTF-8"
    );
}

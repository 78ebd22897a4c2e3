//! How requests are spelled: joins, and bids straight into a socket's buffer.
//! Which bid to make, and when, is the scenario's.

use uuid::Uuid;

use super::frame::{self, Opcode};

/// The longest text of a UUID, in bytes.
const UUID: usize = 36;

/// Where the ids of all bids of a run come from: any of them can be made again from its number, so none is kept.
#[derive(Clone, Copy)]
pub(crate) struct BidIds {
    seed: u64,
}

impl BidIds {
    /// Ids nobody has used before.
    pub(crate) fn fresh() -> Self {
        Self { seed: Uuid::new_v4().as_u64_pair().0 }
    }

    /// The id of the run's bid number `bid`: a version 4 UUID whose bits come from SplitMix64.
    pub(crate) fn id(self, bid: u32) -> Uuid {
        let high = split_mix(self.seed.wrapping_add(u64::from(bid) * 2));
        let low = split_mix(self.seed.wrapping_add(u64::from(bid) * 2 + 1));
        let bits = (u128::from(high) << 64) | u128::from(low);
        uuid::Builder::from_random_bytes(bits.to_be_bytes()).into_uuid()
    }
}

/// One bid as it goes out.
pub(crate) struct Bid {
    pub(crate) request: u64,
    pub(crate) lot: Uuid,
    pub(crate) bid_id: Uuid,
    pub(crate) amount: u64,
    /// Whether it may have been decided before.
    pub(crate) retry: bool,
}

/// Appends a bid as one text frame.
pub(crate) fn bid(out: &mut Vec<u8>, bid: &Bid) {
    let (mut request, mut amount) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (mut lot, mut bid_id) = ([0; UUID], [0; UUID]);
    let parts = [
        r#"{"id":"#,
        request.format(bid.request),
        r#","bid":{"lot":""#,
        bid.lot.hyphenated().encode_lower(&mut lot),
        r#"","bid_id":""#,
        bid.bid_id.hyphenated().encode_lower(&mut bid_id),
        r#"","amount":"#,
        amount.format(bid.amount),
        if bid.retry { r#","retry":true}}"# } else { "}}" },
    ];
    frame::head(out, Opcode::Text, parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends a join from nowhere as one text frame.
pub(crate) fn join(out: &mut Vec<u8>, request: u64, lot: Uuid) {
    let text = format!(r#"{{"id":{request},"join":{{"lot":"{lot}"}}}}"#);
    frame::encode(out, Opcode::Text, text.as_bytes());
}

/// SplitMix64's output function (Steele, Lea, Flood 2014) at a state.
fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn a_bid_is_one_frame_of_the_protocols_json() {
        let ids = BidIds { seed: 7 };
        for (retry, amount) in [(false, 1), (true, 9_007_199_254_740_991)] {
            let mut out = vec![];
            let one = Bid { request: 42, lot: ids.id(1), bid_id: ids.id(2), amount, retry };
            bid(&mut out, &one);
            let text = &out[out.iter().position(|byte| *byte == b'{').unwrap()..];
            let mut framed = vec![];
            frame::encode(&mut framed, Opcode::Text, text);
            assert_eq!(out, framed);
            let json: serde_json::Value = serde_json::from_slice(text).unwrap();
            assert_eq!(json["id"], 42);
            assert_eq!(json["bid"]["lot"], ids.id(1).to_string());
            assert_eq!(json["bid"]["bid_id"], ids.id(2).to_string());
            assert_eq!(json["bid"]["amount"], amount);
            assert_eq!(json["bid"].get("retry").is_some(), retry);
        }
    }

    #[test]
    fn ids_are_distinct_repeatable_version_4() {
        let ids = BidIds::fresh();
        let mut all: Vec<_> = (0..10_000).map(|n| ids.id(n)).collect();
        assert!(all.iter().all(|id| id.get_version_num() == 4));
        assert_eq!(all[77], ids.id(77));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 10_000);
    }
}

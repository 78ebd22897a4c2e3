//! The audit trail, for every SQL backend: how a fact of the journal becomes a row, what is hashed, how
//! rows are chained, and how a chain is checked. No SQL here.
//!
//! Each shard has one writer and so one chain: a chain over all shards would make their owners wait for
//! one another.

use crate::columns::{self, BadColumn, OutOfRange, from_i64, to_i64};
use gavel_domain::{
    act::{Act, Deed},
    event::{Change, Recorded},
    ids::{BidderId, Epoch, LotId, Seq, ShardId},
    lot::{
        access::AccessRules,
        spec::{LotSpec, Rules},
    },
    time::Timestamp,
    wallet::event::{WalletEvent, WalletRecorded},
};
use gavel_engine::ports::{
    audit::{AuditError, AuditFault, AuditRow, Audited},
    format::Digest,
    tables::Projection,
};
use serde_json::{Map, Value, json};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// Begins what is hashed: another layout gets another number.
const LAYOUT: &[u8] = b"gavel audit 1";

/// Rows that a check reads at once.
pub(crate) const PAGE: i64 = 1000;

/// Where a chain ends: its last row's number and hash.
pub(crate) type End = (i64, Digest);

/// A row, without its hashes; columns as they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link<'r> {
    pub(crate) shard: ShardId,
    pub(crate) number: i64,
    pub(crate) at: i64,
    pub(crate) actor: Cow<'r, str>,
    pub(crate) action: Cow<'r, str>,
    /// Sixteen bytes; none where it is about a wallet.
    pub(crate) lot: Option<Vec<u8>>,
    /// None where it is about a lot.
    pub(crate) bidder: Option<Cow<'r, str>>,
    pub(crate) epoch: i64,
    pub(crate) seq: i64,
    pub(crate) details: Cow<'r, str>,
}

/// A row, ready to be written.
pub(crate) struct Chained<'r> {
    pub(crate) link: Link<'r>,
    pub(crate) previous: Digest,
    pub(crate) hash: Digest,
}

/// When each fact that gets a row took effect.
pub(crate) fn moments(projections: &[Projection]) -> impl Iterator<Item = i64> {
    projections.iter().flat_map(|projection| &projection.audited).map(|audited| match audited {
        Audited::Act { act, .. } => act.at.as_millis(),
        Audited::Wallet(recorded) => recorded.at.as_millis(),
    })
}

/// The shards that get rows, each once.
pub(crate) fn shards(projections: &[Projection]) -> Vec<ShardId> {
    let mut shards: Vec<_> =
        projections.iter().filter(|projection| !projection.audited.is_empty()).map(|projection| projection.shard).collect();
    shards.sort_unstable();
    shards.dedup();
    shards
}

/// Adds what is new to the chains, whose ends move.
pub(crate) fn chain<'r>(projections: &'r [Projection], ends: &mut BTreeMap<ShardId, End>) -> Result<Vec<Chained<'r>>, OutOfRange> {
    let mut chained = Vec::new();
    for projection in projections {
        for audited in &projection.audited {
            let end = ends.entry(projection.shard).or_insert((0, Digest::default()));
            let (link, previous) = (Link::of(projection.shard, audited, end.0 + 1)?, end.1);
            let hash = link.hash(previous);
            *end = (link.number, hash);
            chained.push(Chained { link, previous, hash });
        }
    }
    Ok(chained)
}

impl<'r> Link<'r> {
    fn of(shard: ShardId, audited: &'r Audited, number: i64) -> Result<Self, OutOfRange> {
        match audited {
            Audited::Act { act, effect } => Self::of_act(shard, (act, effect.as_deref()), number),
            Audited::Wallet(recorded) => Self::of_wallet(shard, recorded, number),
        }
    }

    fn of_act(shard: ShardId, (act, effect): (&'r Act, Option<&Recorded>), number: i64) -> Result<Self, OutOfRange> {
        Ok(Self {
            shard,
            number,
            at: act.at.as_millis(),
            actor: text(&act.by),
            action: act.deed.as_str().into(),
            lot: Some(act.lot.0.as_bytes().to_vec()),
            bidder: None,
            epoch: to_i64("epoch", act.epoch.0)?,
            seq: to_i64("seq", act.seq.0)?,
            details: of_deed(&act.deed, effect).to_string().into(),
        })
    }

    fn of_wallet(shard: ShardId, recorded: &'r WalletRecorded, number: i64) -> Result<Self, OutOfRange> {
        let (by, action, details): (&str, _, _) = match &recorded.event {
            WalletEvent::Allowed { currency, terms, reason, by } => {
                let mut details = json!({
                    "currency": currency, "registered": terms.registered,
                    "spend_limit": terms.spend_limit, "lead_limit": terms.lead_limit,
                });
                if let Some(reason) = reason {
                    details["reason"] = json!(reason);
                }
                (by, "allow", details)
            }
            event => match event.ledger() {
                Some(line) => {
                    let operation = line.operation.0.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
                    let details = json!({
                        "currency": line.currency, "amount": line.amount, "balance": line.balance, "reason": line.reason,
                        "operation": operation,
                    });
                    (&line.by, line.kind.as_str(), details)
                }
                // Nothing else is ever audited; a row that says so is better than a shard that stands still.
                None => ("", "unknown", json!({})),
            },
        };
        Ok(Self {
            shard,
            number,
            at: recorded.at.as_millis(),
            actor: text(by),
            action: action.into(),
            lot: None,
            bidder: Some(recorded.bidder.as_str().into()),
            epoch: to_i64("epoch", recorded.epoch.0)?,
            seq: to_i64("seq", recorded.seq.0)?,
            details: details.to_string().into(),
        })
    }

    /// Over the layout's name, the hash before, and each column behind its length, integers as eight
    /// bytes, the least first; a column without a value is empty.
    pub(crate) fn hash(&self, previous: Digest) -> Digest {
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        add(LAYOUT);
        add(&previous.0);
        add(&i64::from(self.shard.0).to_le_bytes());
        add(&self.number.to_le_bytes());
        add(&self.at.to_le_bytes());
        add(self.actor.as_bytes());
        add(self.action.as_bytes());
        add(self.lot.as_deref().unwrap_or_default());
        add(self.bidder.as_deref().unwrap_or_default().as_bytes());
        add(&self.epoch.to_le_bytes());
        add(&self.seq.to_le_bytes());
        add(self.details.as_bytes());
        Digest(*hasher.finalize().as_bytes())
    }

    /// For people, with the hashes that stand beside it.
    pub(crate) fn row(self, previous: &[u8], hash: &[u8]) -> Result<AuditRow, BadColumn> {
        let wallet = self.bidder.as_deref().map(BidderId::try_from).transpose();
        Ok(AuditRow {
            shard: self.shard,
            number: from_i64("number", self.number)?,
            at: Timestamp::from_millis(self.at),
            by: self.actor.into(),
            action: self.action.into(),
            lot: self.lot.as_deref().map(columns::uuid).transpose()?.map(LotId),
            wallet: wallet.map_err(|error| BadColumn::Value(error.to_string()))?,
            epoch: Epoch(from_i64("epoch", self.epoch)?),
            seq: Seq(from_i64("seq", self.seq)?),
            details: self.details.into(),
            previous: columns::digest(previous)?,
            hash: columns::digest(hash)?,
        })
    }
}

/// Not every database's text holds U+0000, which no rule lets in today. If one did, a shard must not
/// stand still for it, and every backend has the same hashes. (JSON escapes it.)
fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

fn of_deed(deed: &Deed, effect: Option<&Recorded>) -> Value {
    match deed {
        Deed::Create { title } => match effect.and_then(|effect| effect.event.creation()) {
            Some((spec, access)) => of_spec(spec, access),
            None => json!({ "title": title }),
        },
        Deed::Open | Deed::Resume | Deed::Close => json!({}),
        Deed::Pause { reason } | Deed::Cancel { reason } => because(reason.as_ref()),
        Deed::Extend { by, closes_at } => json!({ "by_ms": by, "closes_at": closes_at }),
        Deed::Change(change) => of_change(change),
        Deed::Register(bidders) | Deed::Unregister(bidders) => json!({ "bidders": bidders }),
    }
}

/// As it was asked for, without the key of aliases: that is nobody's.
fn of_spec(spec: &LotSpec, access: AccessRules) -> Value {
    json!({
        "title": spec.title,
        "description": spec.description,
        "currency": spec.currency,
        "funding": spec.funding,
        "rules": of_rules(&spec.rules),
        "draft": spec.draft,
        "opens_at": spec.opens_at,
        "closes_at": spec.closes_at,
        "soft_close": spec.soft_close,
        "access": { "registration": access.registration, "aliases": access.aliases.is_some() },
    })
}

fn of_rules(Rules::English(english): &Rules) -> Value {
    let mut rules = json!(english);
    rules["format"] = json!("english");
    rules
}

fn because(reason: Option<&Arc<str>>) -> Value {
    reason.map_or_else(|| json!({}), |reason| json!({ "reason": reason }))
}

/// The new values of what was changed; null where there is none any more.
fn of_change(change: &Change) -> Value {
    let mut values = Map::new();
    let mut add = |name: &str, value: Option<Value>| values.extend(value.map(|value| (name.to_owned(), value)));
    add("title", change.title.as_ref().map(|title| json!(title)));
    add("description", change.description.as_ref().map(|text| json!(text)));
    add("currency", change.currency.as_ref().map(|currency| json!(currency)));
    add("rules", change.rules.as_ref().map(of_rules));
    add("opens_at", change.opens_at.map(|at| json!(at)));
    add("closes_at", change.closes_at.map(|at| json!(at)));
    add("soft_close", change.soft_close.map(|soft| json!(soft)));
    Value::Object(values)
}

/// Goes along one chain.
pub(crate) struct Walk {
    shard: ShardId,
    end: End,
}

impl Walk {
    /// Before its first row.
    pub(crate) fn new(shard: ShardId) -> Self {
        Self { shard, end: (0, Digest::default()) }
    }

    /// The number of the last row that was seen.
    pub(crate) const fn number(&self) -> i64 {
        self.end.0
    }

    fn broken(&self, number: i64, fault: AuditFault) -> AuditError {
        AuditError::Broken { shard: self.shard, number, fault }
    }

    /// The next row in the order of numbers.
    pub(crate) fn step(&mut self, link: &Link<'_>, previous: &[u8], hash: &[u8]) -> Result<(), AuditError> {
        if link.number != self.end.0 + 1 {
            return Err(self.broken(self.end.0 + 1, AuditFault::Missing));
        }
        if previous != self.end.1.0 {
            return Err(self.broken(link.number, AuditFault::Unchained));
        }
        let own = link.hash(self.end.1);
        if hash != own.0 {
            return Err(self.broken(link.number, AuditFault::Changed));
        }
        self.end = (link.number, own);
        Ok(())
    }

    /// No more rows: the chain should end here. Gives their number.
    pub(crate) fn ends(&self, last: i64, hash: &[u8]) -> Result<u64, AuditError> {
        match self.end.0.cmp(&last) {
            std::cmp::Ordering::Less => Err(self.broken(self.end.0 + 1, AuditFault::Missing)),
            // Rows behind the end were added by somebody else, and so was another last one.
            std::cmp::Ordering::Greater => Err(self.broken(last + 1, AuditFault::Unchained)),
            std::cmp::Ordering::Equal if last > 0 && hash != self.end.1.0 => Err(self.broken(last, AuditFault::Changed)),
            std::cmp::Ordering::Equal => Ok(self.end.0.unsigned_abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gavel_domain::{
        lot::{
            increments::{Increment, Increments},
            spec::English,
        },
        money::Amount,
        time::Millis,
    };

    fn link() -> Link<'static> {
        Link {
            shard: ShardId(5),
            number: 1,
            at: 1_790_000_000_000,
            actor: "gm".into(),
            action: "grant".into(),
            lot: None,
            bidder: Some("ann".into()),
            epoch: 7,
            seq: 3,
            details: r#"{"amount":-10}"#.into(),
        }
    }

    /// The layout of what is hashed is in the tables of whoever uses this: it stays as it is.
    #[test]
    fn a_hash_stays_as_it_is() {
        let hash = link().hash(Digest([1; 32]));
        let text: String = hash.0.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "f9142b744ee32a099cbd419890298449318d9af4b0e47147fc6fe88aa1e9db02");
    }

    #[test]
    fn every_column_is_hashed() {
        let first = link().hash(Digest([1; 32]));
        assert_ne!(first, link().hash(Digest([2; 32])));
        for other in [
            Link { shard: ShardId(6), ..link() },
            Link { number: 2, ..link() },
            Link { at: 0, ..link() },
            Link { actor: "".into(), ..link() },
            Link { action: "g".into(), ..link() },
            Link { lot: Some(vec![0; 16]), ..link() },
            Link { bidder: None, ..link() },
            Link { epoch: 8, ..link() },
            Link { seq: 4, ..link() },
            Link { details: "{}".into(), ..link() },
        ] {
            assert_ne!(first, other.hash(Digest([1; 32])), "{other:?}");
        }
    }

    #[test]
    fn details_say_what_was_changed_and_to_what() {
        let increments = Increments::new(vec![Increment { from: Amount::ZERO, step: Amount::MAX }]).expect("a table");
        let english = English { start_price: Amount::ZERO, reserve_price: None, buy_now_price: None, proxy: true, increments };
        let change = Change {
            title: Some("New".into()),
            rules: Some(Rules::English(english)),
            opens_at: Some(None),
            closes_at: Some(Some(Timestamp::from_millis(0))),
            ..Change::default()
        };
        let details = of_deed(&Deed::Change(Box::new(change)), None);
        assert_eq!(details["title"], "New");
        assert_eq!((&details["rules"]["format"], &details["rules"]["start_price"]), (&json!("english"), &json!(0)));
        assert_eq!((details.get("opens_at"), &details["closes_at"]), (Some(&Value::Null), &json!("1970-01-01T00:00:00.000Z")));
        assert_eq!((details.get("description"), details.get("soft_close")), (None, None));
        let extended = Deed::Extend { by: Millis(5), closes_at: Timestamp::from_millis(0) };
        assert_eq!(of_deed(&extended, None).to_string(), r#"{"by_ms":5,"closes_at":"1970-01-01T00:00:00.000Z"}"#);
        assert_eq!(of_deed(&Deed::Pause { reason: None }, None).to_string(), "{}");
    }
}

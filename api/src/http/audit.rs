//! The audit trail: `GET /v1/audit`, for administrators. Nothing here, or anywhere, changes it.

use super::{Api, asking::unreadable, listing::Paging, problem::Problem};
use crate::auth::{Caller, Role};
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use gavel_domain::{
    ids::{LotId, ShardId},
    time::Timestamp,
};
use gavel_engine::ports::{
    audit::{AuditPage, AuditPlace, AuditRow},
    format::Digest,
};
use serde_json::{Value, json};

/// `GET /v1/audit`: newest first, from the tables, which may lag behind what was answered (by about a tenth of a second
/// while they keep up).
pub(super) async fn list(request: HttpRequest, caller: Caller, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    caller.require_known(Role::Admin)?;
    let paging = Paging::of(&request, &["lot"])?;
    let lot = paging.others.get("lot").map(|lot| lot.parse::<LotId>().map_err(|_| Problem::invalid("lot: not the id of a lot")));
    let page = AuditPage { lot: lot.transpose()?, before: paging.cursor.as_deref().map(place).transpose()?, limit: paging.limit + 1 };
    let mut rows = api.engine.history().tables().audit(page).await.map_err(unreadable)?;
    let more = rows.len() > paging.limit;
    rows.truncate(paging.limit);
    let next = rows.last().filter(|_| more).map(|last| Paging::encode(&cursor(last.place())));
    let items: Vec<Value> = rows.iter().map(item).collect();
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "private, no-cache")).json(json!({ "items": items, "next": next })))
}

fn cursor(place: AuditPlace) -> String {
    format!("{}.{}.{}", place.at.as_millis(), place.shard, place.number)
}

fn place(cursor: &str) -> Result<AuditPlace, Problem> {
    let mut parts = cursor.split('.');
    let parsed = (|| {
        let at = Timestamp::from_millis(parts.next()?.parse().ok()?);
        let shard = ShardId(parts.next()?.parse().ok()?);
        // As large as columns can be.
        let number = parts.next()?.parse().ok().filter(|number| i64::try_from(*number).is_ok())?;
        parts.next().is_none().then_some(AuditPlace { at, shard, number })
    })();
    parsed.ok_or_else(|| Problem::invalid("cursor: not one of this list"))
}

fn item(row: &AuditRow) -> Value {
    // What somebody made of the column is shown as it is: only the check judges.
    let details = serde_json::from_str(&row.details).unwrap_or_else(|_| json!(row.details));
    let mut item = json!({
        "shard": row.shard,
        "number": row.number,
        "at": row.at,
        "by": row.by,
        "action": row.action,
        "epoch": row.epoch,
        "seq": row.seq,
        "details": details,
        "previous": hex(row.previous),
        "hash": hex(row.hash),
    });
    if let Some(lot) = row.lot {
        item["lot"] = json!(lot);
    }
    if let Some(wallet) = &row.wallet {
        item["wallet"] = json!(wallet);
    }
    item
}

fn hex(digest: Digest) -> String {
    digest.0.iter().fold(String::with_capacity(64), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let there = AuditPlace { at: Timestamp::from_millis(-5), shard: ShardId(63), number: 7 };
        assert_eq!(cursor(there), "-5.63.7");
        assert_eq!(place("-5.63.7").ok(), Some(there));
        for bad in ["", "1", "1.2", "1.2.3.4", "1.2.x", "1.-2.3", "1.70000.3", "1.2.9223372036854775808", "1.2.-3"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}

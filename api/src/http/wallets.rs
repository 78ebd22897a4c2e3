//! One wallet over REST: `GET /v1/wallets/{bidder}`, its ledger, and an administrator's adjustments. All wallets at once are
//! in the rooms below.

mod asks;
mod checks;
pub(super) mod export;
pub(super) mod import;
pub(super) mod runs;
mod table;

use super::{
    Api,
    asking::{refused, unreadable},
    body::{Body, parse},
    idempotency::required,
    listing::Paging,
    problem::{Code, Problem},
};
use crate::{
    auth::{Caller, Principal, Role},
    wire::wallet::{LedgerBody, WalletBody},
};
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use gavel_domain::{
    currency::Currency,
    ids::{BidderId, Seq},
    money::{Amount, SignedAmount},
    wallet::{
        command::{Adjustment, Change},
        permit::Terms,
    },
};
use gavel_engine::request::{Reply, WalletAsk};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Characters in a reason.
const REASON_CHARS: std::ops::RangeInclusive<usize> = 1..=200;

fn bidder_of(text: &str) -> Result<BidderId, Problem> {
    BidderId::try_from(text).map_err(|_| Problem::not_found("no such wallet"))
}

/// The wallet's owner, or an administrator.
fn may_see(caller: &Caller, bidder: &BidderId) -> Result<(), Problem> {
    let who = caller.require_known(Role::Viewer)?;
    let is_own = who.role == Role::Bidder && who.sub.as_str() == bidder.as_str();
    if is_own || who.role.allows(Role::Admin) {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "a wallet is seen by its owner and administrators"))
}

/// `GET /v1/wallets/{bidder}`.
pub(super) async fn read(caller: Caller, bidder: web::Path<String>, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let bidder = bidder_of(&bidder)?;
    may_see(&caller, &bidder)?;
    match api.engine.ask_wallet(bidder, WalletAsk::View).await {
        Reply::Wallet(view) => {
            Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "private, no-cache")).json(WalletBody::new(&view, &api.currencies)))
        }
        other => Err(refused(other)),
    }
}

/// `GET /v1/wallets/{bidder}/ledger`: oldest first.
pub(super) async fn ledger(
    request: HttpRequest,
    caller: Caller,
    bidder: web::Path<String>,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    let bidder = bidder_of(&bidder)?;
    may_see(&caller, &bidder)?;
    let paging = Paging::of(&request, &["currency", "format"])?;
    let currency: Option<Arc<str>> = paging.others.get("currency").map(|code| code.as_str().into());
    if export::is_csv(&paging)? {
        return Ok(export::ledger(&api, bidder, currency));
    }
    let after = match &paging.cursor {
        Some(cursor) => Seq(cursor.parse().map_err(|_| Problem::invalid("cursor: unknown"))?),
        None => Seq(0),
    };
    let lines = api.engine.history().ledger(&bidder, currency.as_ref(), after, paging.limit + 1).await.map_err(unreadable)?;
    let page = &lines[..lines.len().min(paging.limit)];
    let next = page.last().filter(|_| lines.len() > paging.limit).map(|last| Paging::encode(&last.seq.0.to_string()));
    let items: Vec<LedgerBody> = page.iter().filter_map(|line| LedgerBody::new(line)).collect();
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "private, no-cache")).json(json!({ "items": items, "next": next })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdjustmentBody {
    currency: CurrencyBody,
    amount: SignedAmount,
    reason: String,
    #[serde(default)]
    force: bool,
}

/// A currency by its code, or as lots name it; then its scale must fit.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a currency's code, or an object of code and scale")]
pub(super) enum CurrencyBody {
    Code(String),
    Whole(Currency),
}

impl CurrencyBody {
    /// The configured currency.
    pub(super) fn find<'a>(&self, api: &'a Api) -> Result<&'a Currency, Problem> {
        let (code, scale) = match self {
            Self::Code(code) => (code.as_str(), None),
            Self::Whole(currency) => (currency.code.as_ref(), Some(currency.scale)),
        };
        let known = api.currencies.iter().find(|known| known.code.as_ref() == code);
        let known = known.ok_or_else(|| Problem::invalid(format!("currency: {code:?} is not configured")))?;
        match scale {
            Some(scale) if scale != known.scale => {
                Err(Problem::invalid(format!("currency.scale: {code} has {}, not {scale}", known.scale)))
            }
            _ => Ok(known),
        }
    }
}

/// A reason that people will read.
pub(super) fn reason(text: &str) -> Result<Arc<str>, Problem> {
    let fits = REASON_CHARS.contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits { Ok(text.into()) } else { Err(Problem::invalid("reason: 1 to 200 characters without control characters")) }
}

/// `POST /v1/wallets/{bidder}/adjustments`.
pub(super) async fn adjust(
    request: HttpRequest,
    caller: Caller,
    bidder: web::Path<String>,
    body: Body,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    let who = caller.require_known(Role::Admin)?;
    let bidder = bidder_of(&bidder)?;
    let keyed = required(api.in_flight.begin(&request, who, &body)?)?;
    let asked: AdjustmentBody = parse(&body).map_err(Problem::invalid)?;
    let currency = asked.currency.find(&api)?;
    let change = change(&asked, api.settings.cap_of(&currency.code))?;
    let adjustment = Adjustment {
        operation: keyed.operation(bidder.as_str()),
        digest: keyed.body(),
        currency: Arc::clone(&currency.code),
        change,
        reason: reason(&asked.reason)?,
        by: by(who),
    };
    match api.engine.ask_wallet(bidder, WalletAsk::Adjust(Box::new(adjustment))).await {
        Reply::Posted(recorded) => Ok(HttpResponse::Created().json(LedgerBody::new(&recorded))),
        other => Err(refused(other)),
    }
}

fn change(asked: &AdjustmentBody, cap: Option<Amount>) -> Result<Change, Problem> {
    match asked.amount.get() {
        0 => Err(Problem::invalid("amount: must not be zero")),
        1.. if asked.force => Err(Problem::invalid("force: is for deductions (a negative amount) only")),
        1.. => Ok(Change::Grant { amount: asked.amount.positive(), cap }),
        _ => Ok(Change::Deduct { amount: asked.amount.negated().positive(), force: asked.force }),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PermitBody {
    #[serde(default)]
    registered: bool,
    #[serde(default)]
    spend_limit: Option<Amount>,
    #[serde(default)]
    lead_limit: Option<u32>,
    #[serde(default)]
    reason: Option<String>,
}

/// `PUT /v1/wallets/{bidder}/permits/{currency}`: what the bidder may do in a currency, in place of what was said before; the
/// wallet as it is then.
pub(super) async fn allow(
    caller: Caller,
    path: web::Path<(String, String)>,
    body: Body,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    let who = caller.require_known(Role::Admin)?;
    let (bidder, currency) = path.into_inner();
    let bidder = bidder_of(&bidder)?;
    let currency = Arc::clone(&CurrencyBody::Code(currency).find(&api)?.code);
    let PermitBody { registered, spend_limit, lead_limit, reason: why } = parse(&body).map_err(Problem::invalid)?;
    let reason = why.as_deref().map(reason).transpose()?;
    let ask = WalletAsk::Allow { currency, terms: Terms { registered, spend_limit, lead_limit }, reason, by: by(who) };
    match api.engine.ask_wallet(bidder, ask).await {
        Reply::Wallet(view) => Ok(HttpResponse::Ok().json(WalletBody::new(&view, &api.currencies))),
        other => Err(refused(other)),
    }
}

/// Who did it, as the ledger says.
pub(super) fn by(who: &Principal) -> Arc<str> {
    who.sub.as_str().into()
}

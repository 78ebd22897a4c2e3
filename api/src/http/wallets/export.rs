//! Lists of wallets, and CSV for people's spreadsheets: `GET /v1/wallets`, and a ledger as CSV. CSV is sent as it is read;
//! an answer that breaks off in the middle is not terminated, so that nobody takes it for whole.

use super::asks::{self, AT_ONCE};
use crate::{
    auth::{Caller, Role},
    http::{Api, asking::unreadable, listing::Paging, problem::Problem},
    wire::wallet::{LedgerBody, WalletBody},
};
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _, stream};
use gavel_domain::{
    ids::{BidderId, Seq},
    wallet::view::WalletView,
};
use serde_json::json;
use std::{iter::Peekable, sync::Arc, vec};

/// Ledger lines that are read at once.
const LINES_AT_ONCE: usize = 500;

/// Which form was asked for.
pub(super) fn is_csv(paging: &Paging) -> Result<bool, Problem> {
    match paging.others.get("format").map(String::as_str) {
        None | Some("json") => Ok(false),
        Some("csv") => Ok(true),
        Some(_) => Err(Problem::invalid("format: csv or json")),
    }
}

/// `GET /v1/wallets`, in the order of names.
pub(in crate::http) async fn list(request: HttpRequest, caller: Caller, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    caller.require_known(Role::Admin)?;
    let paging = Paging::of(&request, &["currency", "format"])?;
    let currency = paging.others.get("currency").map(|code| Arc::<str>::from(code.as_str()));
    let mut wallets = api.known_wallets()?;
    if is_csv(&paging)? {
        return Ok(all(&api, wallets, currency));
    }
    if let Some(cursor) = &paging.cursor {
        let after = BidderId::try_from(cursor.as_str()).map_err(|_| Problem::invalid("cursor: not one of this list"))?;
        wallets.drain(..wallets.partition_point(|bidder| *bidder <= after));
    }
    let more = wallets.len() > paging.limit;
    wallets.truncate(paging.limit);
    let next = wallets.last().filter(|_| more).map(|bidder| Paging::encode(bidder.as_str()));
    let views = views(&api, wallets).await?;
    let body = |view: &Arc<WalletView>| {
        let mut body = WalletBody::new(view, &api.currencies);
        body.items.retain(|item| currency.as_ref().is_none_or(|wanted| item.currency == *wanted));
        body
    };
    let items: Vec<WalletBody> = views.iter().map(body).collect();
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "private, no-cache")).json(json!({ "items": items, "next": next })))
}

async fn views(api: &Api, wallets: Vec<BidderId>) -> Result<Vec<Arc<WalletView>>, Problem> {
    let view = |bidder: BidderId| async move { asks::view(&api.engine, &bidder).await };
    asks::each(wallets, view).try_collect().await
}

/// Every wallet and currency that something ever happened in.
fn all(api: &web::Data<Api>, wallets: Vec<BidderId>, currency: Option<Arc<str>>) -> HttpResponse {
    let header = ["bidder", "currency", "balance", "held", "available"];
    let parts = stream::try_unfold(wallets.into_iter().peekable(), {
        let api = web::Data::clone(api);
        move |left| page_of_wallets(web::Data::clone(&api), left, currency.clone())
    });
    attachment("wallets.csv", &header, parts)
}

type Left = Peekable<vec::IntoIter<BidderId>>;

async fn page_of_wallets(api: web::Data<Api>, mut left: Left, currency: Option<Arc<str>>) -> Result<Option<(Bytes, Left)>, Problem> {
    if left.peek().is_none() {
        return Ok(None);
    }
    let page = left.by_ref().take(AT_ONCE).collect();
    let mut lines = Lines::default();
    for view in views(&api, page).await? {
        for item in view.items.iter().filter(|item| currency.as_ref().is_none_or(|wanted| item.currency == *wanted)) {
            let (balance, held, available) = (item.balance.to_string(), item.held.to_string(), item.available.to_string());
            lines.write(&[view.bidder.as_str(), &item.currency, &balance, &held, &available]);
        }
    }
    Ok(Some((lines.finish(), left)))
}

/// A whole ledger, oldest first.
pub(super) fn ledger(api: &web::Data<Api>, bidder: BidderId, currency: Option<Arc<str>>) -> HttpResponse {
    let header = ["seq", "at", "currency", "kind", "amount", "balance", "lot", "bid_id", "reason", "by"];
    let parts = stream::try_unfold(Some(Seq(0)), {
        let api = web::Data::clone(api);
        move |after| page_of_ledger(web::Data::clone(&api), bidder.clone(), currency.clone(), after)
    });
    attachment("ledger.csv", &header, parts)
}

/// The lines after one; none: that was the last.
async fn page_of_ledger(
    api: web::Data<Api>,
    bidder: BidderId,
    currency: Option<Arc<str>>,
    after: Option<Seq>,
) -> Result<Option<(Bytes, Option<Seq>)>, Problem> {
    let Some(after) = after else { return Ok(None) };
    let found = api.engine.history().ledger(&bidder, currency.as_ref(), after, LINES_AT_ONCE).await.map_err(unreadable)?;
    let next = found.last().filter(|_| found.len() == LINES_AT_ONCE).map(|last| last.seq);
    let mut lines = Lines::default();
    for line in found.iter().filter_map(|recorded| LedgerBody::new(recorded)) {
        let id = |id: Option<String>| id.unwrap_or_default();
        lines.write(&[
            &line.seq.0.to_string(),
            &line.at.to_string(),
            &line.currency,
            line.kind.as_str(),
            &line.amount.to_string(),
            &line.balance.to_string(),
            &id(line.lot.map(|lot| lot.to_string())),
            &id(line.bid_id.map(|bid| bid.0.to_string())),
            &line.reason,
            &line.by,
        ]);
    }
    Ok(Some((lines.finish(), next)))
}

/// Lines of CSV.
struct Lines(csv::Writer<Vec<u8>>);

impl Default for Lines {
    fn default() -> Self {
        Self(csv::Writer::from_writer(Vec::new()))
    }
}

impl Lines {
    fn write(&mut self, fields: &[&str]) {
        self.0.write_record(fields).expect("lines of a kind have the same number of fields, and memory takes all");
    }

    fn finish(self) -> Bytes {
        self.0.into_inner().expect("memory takes all").into()
    }
}

fn attachment(name: &str, header: &[&str], parts: impl Stream<Item = Result<Bytes, Problem>> + 'static) -> HttpResponse {
    let mut first = Lines::default();
    first.write(header);
    let first = stream::iter([Ok(first.finish())]);
    // An empty part would end the answer.
    let parts = parts.try_filter(|part| std::future::ready(!part.is_empty()));
    let parts = futures_util::StreamExt::chain(first, parts).inspect_err(|problem| tracing::warn!(%problem, "an export breaks off"));
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present"))
        .insert_header((header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((header::CACHE_CONTROL, "private, no-cache"))
        .streaming(parts)
}

//! Many grants and deductions at once, as CSV: `POST /v1/wallets/import`. All of it or nothing.
//!
//! Everything is checked before anything is applied. Deductions go first, for only they can be refused then, where a bid came
//! between: what was deducted until then is given back. Grants can't be refused. Every row is an operation of its wallet,
//! named by the request's key and the row's line, and so is giving it back: an import that a crash cut off is finished, or
//! undone, by its repetition. What exactly a repetition finds is asked of the wallets ([`Before`]).

use super::{
    asks, by,
    checks::check,
    runs::unfinished,
    table::{self, ROWS, Row, RowError},
};
use crate::{
    auth::{Caller, Role},
    http::{
        Api,
        asking::refused,
        idempotency::{Keyed, required},
        problem::{Code, Problem},
    },
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{self, BytesMut},
};
use futures_util::{StreamExt as _, TryStreamExt as _};
use gavel_domain::{
    ids::BidderId,
    money::{Amount, SignedAmount},
    wallet::{
        command::{Adjustment, Change, WalletReject},
        view::WalletView,
    },
};
use gavel_engine::request::Reply;
use serde_json::{Value, json};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Bytes that a table may have.
const BYTES: usize = 16 << 20;
/// Errors that are shown.
const SHOWN: usize = 100;

/// `POST /v1/wallets/import`.
pub(in crate::http) async fn import(
    request: HttpRequest,
    caller: Caller,
    payload: web::Payload,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    let who = caller.require_known(Role::Admin)?;
    let Options { dry_run, reason } = Options::of(&request)?;
    if !dry_run && !request.headers().contains_key("Idempotency-Key") {
        required(None)?;
    }
    check_media_type(&request)?;
    let csv = collect(payload).await?;
    let keyed = if dry_run {
        None
    } else {
        let named = [blake3::hash(&csv).as_bytes(), reason.as_bytes()].concat();
        Some(required(api.in_flight.begin(&request, who, &named)?)?)
    };
    if let Some(keyed) = &keyed
        && let Some(answer) = api.answers.find(keyed)?
    {
        return Ok(HttpResponse::Ok().json(answer));
    }
    let by = by(who);
    // Goes on if the caller hangs up.
    let running = actix_web::rt::spawn(async move {
        let currencies = Arc::clone(&api.currencies);
        let read = web::block(move || table::read(&csv, &currencies, &reason)).await.map_err(|_| Problem::internal())?;
        let (rows, errors) = read.map_err(|_| Problem::new(Code::TooLarge, format!("the table has more than {ROWS} rows")))?;
        let import = Import { api, rows, by };
        let Some(keyed) = keyed else { return import.try_out(errors).await };
        let answer = import.apply(&keyed, errors).await?;
        tracing::info!(by = %import.by, %answer, "an import");
        import.api.answers.keep(&keyed, answer.clone());
        Ok(answer)
    });
    let answer: Result<Value, Problem> = running.await.map_err(|_| Problem::internal())?;
    Ok(HttpResponse::Ok().json(answer?))
}

/// What the query says.
struct Options {
    dry_run: bool,
    /// Of rows without one; may be empty.
    reason: String,
}

impl Options {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
            .map_err(|_| Problem::invalid("the query can't be read"))?;
        let mut options = Self { dry_run: false, reason: String::new() };
        for (name, value) in query.into_inner() {
            match (name.as_str(), value.as_str()) {
                ("dry_run", "true" | "false") => options.dry_run = value == "true",
                ("dry_run", _) => return Err(Problem::invalid("dry_run: true or false")),
                ("reason", "") => {}
                ("reason", text) => {
                    super::reason(text)?;
                    options.reason = value;
                }
                _ => return Err(Problem::invalid(format!("{name}: no such parameter"))),
            }
        }
        Ok(options)
    }
}

/// `text/csv`, in UTF-8 if it says in what.
fn check_media_type(request: &HttpRequest) -> Result<(), Problem> {
    let given = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = given.split(';').map(str::trim);
    let is_csv = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("text/csv"));
    let charset = |part: &str| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    };
    if is_csv && parts.filter_map(charset).all(|charset| charset == "utf-8") {
        return Ok(());
    }
    Err(Problem::invalid("the body must be text/csv; charset=utf-8").under(StatusCode::UNSUPPORTED_MEDIA_TYPE, []))
}

async fn collect(mut payload: web::Payload) -> Result<BytesMut, Problem> {
    let mut body = BytesMut::new();
    while let Some(part) = payload.next().await {
        let part = part.map_err(Problem::from)?;
        if body.len() + part.len() > BYTES {
            return Err(Problem::new(Code::TooLarge, format!("the table has more than {BYTES} bytes")));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

/// A table on its way into the wallets.
struct Import {
    api: web::Data<Api>,
    rows: Vec<Row>,
    by: Arc<str>,
}

/// What is left of an earlier request with this key, which a crash or a failure cut off.
enum Before {
    /// Nothing: this is the first.
    Nothing,
    /// Rows that were applied.
    Applied,
    /// Rows that were given back.
    Undone,
}

/// Why rows were not applied, or not all.
enum Stopped {
    /// A wallet refused.
    Refused(RowError),
    /// Not every wallet could be reached.
    Failed(Problem),
}

/// What was given and taken, by currency.
#[derive(Default)]
struct Sums {
    granted: BTreeMap<Arc<str>, i64>,
    deducted: BTreeMap<Arc<str>, i64>,
}

impl Sums {
    fn add(&mut self, currency: &Arc<str>, amount: SignedAmount) {
        let sums = if amount < SignedAmount::ZERO { &mut self.deducted } else { &mut self.granted };
        let sum = sums.entry(Arc::clone(currency)).or_default();
        *sum = sum.saturating_add(amount.get().abs());
    }
}

impl Import {
    /// Checks only.
    async fn try_out(&self, errors: Vec<RowError>) -> Result<Value, Problem> {
        let views = self.views().await?;
        self.check(errors, &views)?;
        let mut sums = Sums::default();
        self.rows.iter().for_each(|row| sums.add(&row.currency, row.amount));
        Ok(self.answer(&sums, true))
    }

    async fn apply(&self, keyed: &Keyed, errors: Vec<RowError>) -> Result<Value, Problem> {
        let views = self.views().await?;
        if !errors.is_empty() {
            self.check(errors, &views)?;
        }
        match self.before(keyed, &views).await? {
            Before::Nothing => self.check(Vec::new(), &views)?,
            // What was checked then holds for the rest, or its wallet says no.
            Before::Applied => {}
            Before::Undone => {
                self.undo(keyed).await?;
                return Err(Problem::new(Code::Conflict, "this import was undone: for another try it needs another Idempotency-Key"));
            }
        }
        let (deductions, grants): (Vec<&Row>, Vec<&Row>) = self.rows.iter().partition(|row| row.amount < SignedAmount::ZERO);
        let mut sums = Sums::default();
        for rows in [deductions, grants] {
            match self.post(keyed, &rows, &mut sums).await {
                Ok(()) => {}
                Err(Stopped::Refused(error)) => {
                    self.undo(keyed).await?;
                    let detail = format!("line {}: {}, meanwhile: everything was given back", error.line, error.detail);
                    return Err(Problem::new(Code::Conflict, detail).with("errors", json!([error])).with("error_count", 1));
                }
                Err(Stopped::Failed(problem)) => return Err(unfinished(problem)),
            }
        }
        Ok(self.answer(&sums, false))
    }

    fn answer(&self, sums: &Sums, dry_run: bool) -> Value {
        let (rows, wallets) = (self.rows.len(), self.bidders().len());
        json!({ "rows": rows, "wallets": wallets, "granted": sums.granted, "deducted": sums.deducted, "dry_run": dry_run })
    }

    fn bidders(&self) -> BTreeSet<&BidderId> {
        self.rows.iter().map(|row| &row.bidder).collect()
    }

    /// The wallets as they are.
    async fn views(&self) -> Result<HashMap<BidderId, Arc<WalletView>>, Problem> {
        let view = |bidder: &BidderId| {
            let bidder = bidder.clone();
            async move { asks::view(&self.api.engine, &bidder).await.map(|view| (bidder, view)) }
        };
        asks::each(self.bidders(), view).try_collect().await
    }

    /// All that is wrong, with what is known already.
    fn check(&self, mut errors: Vec<RowError>, views: &HashMap<BidderId, Arc<WalletView>>) -> Result<(), Problem> {
        errors.extend(check(&self.rows, views, |currency| self.api.settings.cap_of(currency)));
        if errors.is_empty() {
            return Ok(());
        }
        errors.sort_unstable();
        let (count, first) = (errors.len(), &errors[0]);
        let more = if count > 1 { format!(" (and {} more)", count - 1) } else { String::new() };
        let detail = format!("line {}: {}{more}: nothing was applied", first.line, first.detail);
        errors.truncate(SHOWN);
        Err(Problem::invalid(detail).with("errors", json!(errors)).with("error_count", count))
    }

    /// Rows that were given back tell that an import was undone, also where a crash cut the undoing off.
    async fn before(&self, keyed: &Keyed, views: &HashMap<BidderId, Arc<WalletView>>) -> Result<Before, Problem> {
        let is_known = |row: &&Row| views.get(&row.bidder).is_some_and(|view| view.position.seq.0 > 0);
        let look = |row: &Row| {
            let (applied, returned, is_deduction) = (self.row(keyed, row), self.back(keyed, row), row.amount < SignedAmount::ZERO);
            let (bidder, engine) = (row.bidder.clone(), &self.api.engine);
            async move {
                if asks::look_up(engine, &bidder, applied).await?.is_none() {
                    return Ok(Before::Nothing);
                }
                let is_undone = is_deduction && asks::look_up(engine, &bidder, returned).await?.is_some();
                Ok::<_, Problem>(if is_undone { Before::Undone } else { Before::Applied })
            }
        };
        let sum = |known, row| async move {
            Ok(match (known, row) {
                (Before::Undone, _) | (_, Before::Undone) => Before::Undone,
                (Before::Applied, _) | (_, Before::Applied) => Before::Applied,
                (Before::Nothing, Before::Nothing) => Before::Nothing,
            })
        };
        asks::each(self.rows.iter().filter(is_known), look).try_fold(Before::Nothing, sum).await
    }

    /// Applies rows, those that were applied before too: that changes nothing. Once it returns, nothing is under way.
    async fn post(&self, keyed: &Keyed, rows: &[&Row], sums: &mut Sums) -> Result<(), Stopped> {
        let stop = Cell::new(false);
        let one = |row: &Row| {
            let (adjustment, bidder, line) = (self.row(keyed, row), row.bidder.clone(), row.line);
            let (stop, engine) = (&stop, &self.api.engine);
            async move {
                let outcome = match asks::adjust(engine, &bidder, adjustment).await {
                    Reply::Posted(recorded) => Ok(recorded),
                    Reply::WalletRefused(reject) if reject != WalletReject::OperationReused => {
                        Err(Stopped::Refused(RowError { line, detail: reject.to_string() }))
                    }
                    other => Err(Stopped::Failed(refused(other))),
                };
                stop.set(stop.get() || outcome.is_err());
                outcome
            }
        };
        let outcomes: Vec<_> = asks::each(rows.iter().copied().take_while(|_| !stop.get()), one).collect().await;
        let mut refused = None;
        for outcome in outcomes {
            match outcome {
                Ok(recorded) => recorded.event.ledger().into_iter().for_each(|line| sums.add(&line.currency, line.amount)),
                Err(Stopped::Refused(error)) => refused = refused.or(Some(error)),
                Err(failed) => return Err(failed),
            }
        }
        refused.map_or(Ok(()), |error| Err(Stopped::Refused(error)))
    }

    /// Gives back what was deducted, each row once.
    async fn undo(&self, keyed: &Keyed) -> Result<(), Problem> {
        let one = |row: &Row| {
            let (applied, returned) = (self.row(keyed, row), self.back(keyed, row));
            let (bidder, engine) = (row.bidder.clone(), &self.api.engine);
            async move {
                if asks::look_up(engine, &bidder, applied).await?.is_none() {
                    return Ok(());
                }
                match asks::adjust(engine, &bidder, returned).await {
                    Reply::Posted(_) => Ok(()),
                    other => Err(refused(other)),
                }
            }
        };
        let deductions = self.rows.iter().filter(|row| row.amount < SignedAmount::ZERO);
        asks::each(deductions, one).try_collect().await.map_err(unfinished)
    }

    fn row(&self, keyed: &Keyed, row: &Row) -> Adjustment {
        let change = if row.amount < SignedAmount::ZERO {
            Change::Deduct { amount: row.amount.negated().positive(), force: false }
        } else {
            // As any grant: what would pass the cap by now is left out.
            Change::Grant { amount: row.amount.positive(), cap: Some(self.api.settings.cap_of(&row.currency).unwrap_or(Amount::MAX)) }
        };
        self.adjustment(keyed, &format!("{} {}", row.line, row.bidder), row, change, Arc::clone(&row.reason))
    }

    /// What gives a deduction back. It was there: no cap applies.
    fn back(&self, keyed: &Keyed, row: &Row) -> Adjustment {
        let change = Change::Grant { amount: row.amount.negated().positive(), cap: None };
        self.adjustment(keyed, &format!("back {} {}", row.line, row.bidder), row, change, "import undone".into())
    }

    fn adjustment(&self, keyed: &Keyed, name: &str, row: &Row, change: Change, reason: Arc<str>) -> Adjustment {
        let (operation, digest) = (keyed.operation(name), keyed.body());
        Adjustment { operation, digest, currency: Arc::clone(&row.currency), change, reason, by: Arc::clone(&self.by) }
    }
}

//! A rule for every wallet at once: `POST /v1/wallets/runs`.
//!
//! Each wallet does its part once for a run's key: a run that a crash cut off is finished by its repetition.

use super::{CurrencyBody, asks, by, reason};
use crate::{
    auth::{Caller, Role},
    http::{
        Api,
        asking::refused,
        body::{Body, parse},
        idempotency::{Keyed, required},
        problem::Problem,
    },
};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::TryStreamExt as _;
use gavel_domain::{
    ids::BidderId,
    money::{Amount, SignedAmount},
    wallet::{
        command::{Adjustment, Change},
        decay::Decay,
    },
};
use gavel_engine::{Engine, request::Reply};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{sync::Arc, time::Duration};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunBody {
    kind: Kind,
    currency: CurrencyBody,
    basis_points: Option<u16>,
    amount: Option<Amount>,
    reason: String,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Decay,
    Cap,
}

impl RunBody {
    fn change(&self) -> Result<Change, Problem> {
        match (self.kind, self.basis_points, self.amount) {
            (Kind::Decay, Some(points @ 1..=10_000), None) => Ok(Change::Decay(Decay::BasisPoints(points))),
            (Kind::Decay, Some(_), None) => Err(Problem::invalid("basis_points: from 1 to 10000 (hundredths of a percent)")),
            (Kind::Decay, None, Some(Amount::ZERO)) => Err(Problem::invalid("amount: must not be zero")),
            (Kind::Decay, None, Some(amount)) => Ok(Change::Decay(Decay::Fixed(amount))),
            (Kind::Decay, _, _) => Err(Problem::invalid("a decay has either basis_points or amount")),
            (Kind::Cap, None, Some(amount)) => Ok(Change::CutTo(amount)),
            (Kind::Cap, _, _) => Err(Problem::invalid("a cap has an amount and no basis_points")),
        }
    }
}

/// `POST /v1/wallets/runs`.
pub(in crate::http) async fn run(request: HttpRequest, caller: Caller, body: Body, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let who = caller.require_known(Role::Admin)?;
    let keyed = required(api.in_flight.begin(&request, who, &body)?)?;
    if let Some(answer) = api.answers.find(&keyed)? {
        return Ok(HttpResponse::Ok().json(answer));
    }
    let asked: RunBody = parse(&body).map_err(Problem::invalid)?;
    let rule = Rule {
        currency: Arc::clone(&asked.currency.find(&api)?.code),
        change: asked.change()?,
        reason: reason(&asked.reason)?,
        by: by(who),
    };
    let kind = asked.kind;
    // Goes on if the caller hangs up.
    let running = actix_web::rt::spawn(async move {
        let wallets = api.known_wallets()?;
        let count = wallets.len();
        let sum = rule.apply(&api.engine, &keyed, wallets).await.map_err(unfinished)?;
        let answer = json!({ "kind": kind, "currency": rule.currency, "wallets": count, "changed": sum.changed, "total": sum.total });
        tracing::info!(by = %rule.by, %answer, "a run over all wallets");
        api.answers.keep(&keyed, answer.clone());
        Ok(answer)
    });
    let answer: Result<_, Problem> = running.await.map_err(|_| Problem::internal())?;
    Ok(HttpResponse::Ok().json(answer?))
}

/// What is done to every wallet.
struct Rule {
    currency: Arc<str>,
    change: Change,
    reason: Arc<str>,
    by: Arc<str>,
}

/// What it came to.
#[derive(Default)]
struct Sum {
    changed: usize,
    total: i64,
}

impl Rule {
    /// Nothing changes where the key was used for something else.
    async fn apply(&self, engine: &Engine, keyed: &Keyed, wallets: Vec<BidderId>) -> Result<Sum, Problem> {
        let look = |bidder: &BidderId| {
            let (bidder, part) = (bidder.clone(), self.for_wallet(keyed, bidder));
            async move { asks::look_up(engine, &bidder, part).await }
        };
        asks::each(&wallets, look).try_for_each(|_| async { Ok(()) }).await?;
        let one = |bidder: BidderId| async move {
            match asks::adjust(engine, &bidder, self.for_wallet(keyed, &bidder)).await {
                Reply::Posted(recorded) => Ok(recorded.event.ledger().map(|line| line.amount)),
                Reply::Done => Ok(None),
                other => Err(refused(other)),
            }
        };
        let add = |sum: Sum, amount: Option<SignedAmount>| async move {
            let total = sum.total.saturating_add(amount.unwrap_or_default().get());
            Ok(Sum { changed: sum.changed + usize::from(amount.is_some()), total })
        };
        asks::each(wallets, one).try_fold(Sum::default(), add).await
    }

    fn for_wallet(&self, keyed: &Keyed, bidder: &BidderId) -> Adjustment {
        Adjustment {
            operation: keyed.operation(bidder.as_str()),
            digest: keyed.body(),
            currency: Arc::clone(&self.currency),
            change: self.change.clone(),
            reason: Arc::clone(&self.reason),
            by: Arc::clone(&self.by),
        }
    }
}

/// Some wallets are done, some are not.
pub(super) fn unfinished(problem: Problem) -> Problem {
    if !problem.code().temporary() {
        return problem;
    }
    let detail = "not every wallet could be reached: ask again with the same Idempotency-Key, which does what is left";
    Problem::new(problem.code(), detail).retry_after(Duration::from_secs(1))
}

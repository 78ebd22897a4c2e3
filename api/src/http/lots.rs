//! One lot: `POST /v1/lots`, `GET` and `PATCH /v1/lots/{id}`.

use super::{
    Api,
    asking::{Expected, as_bidder, audience, is_known, lot_headers, lot_id, lot_response, refused, tag, unreadable},
    body::Body,
    idempotency::Keyed,
    problem::{Code, Problem},
    wallets::by,
};
use crate::{
    auth::{Caller, Role},
    wire::{lot::Viewer, spec::LotSpecBody},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use gavel_domain::{
    command::Command,
    ids::LotId,
    lot::{access::AccessRules, spec::LotSpec},
    reject::{Conflict, Reject},
};
use gavel_engine::{
    Engine,
    request::{Ask, LotAnswer, Reply},
};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

/// How often a change with `If-Match: *` is merged anew because a bid came between.
const TRIES: usize = 16;

/// `POST /v1/lots`.
pub(super) async fn create(request: HttpRequest, caller: Caller, body: Body, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let who = caller.require_known(Role::Auctioneer)?;
    let keyed = api.in_flight.begin(&request, who, &body)?;
    let asked = LotSpecBody::parse(&body).map_err(Problem::invalid)?;
    let access = asked.access.rules();
    let spec = asked.into_spec(&api.settings).map_err(Problem::invalid)?;
    let answer = match &keyed {
        None => {
            check(&spec, &api.engine)?;
            let ask = Ask::Create { spec: Box::new(spec), access, by: Some(by(who)), key: None, archived: false };
            created(api.engine.ask(LotId(Uuid::now_v7()), ask).await)?
        }
        Some(keyed) => create_keyed(&api.engine, &spec, access, &by(who), keyed).await?,
    };
    let mut response = lot_response(StatusCode::CREATED, &answer, Viewer::HOUSE);
    let location = header::HeaderValue::from_str(&format!("/v1/lots/{}", answer.view.id)).map_err(|_| Problem::internal())?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// How often a key can be used again, each time after its day. (Each time is a look into the tables for all that follow.)
const GENERATIONS: u32 = 4096;

/// A lot that its key names: the same for every retry, also after a crash. Once the key is forgotten, its lot is somebody's
/// all the same, and the next use of the key makes the next lot.
async fn create_keyed(
    engine: &Engine,
    spec: &LotSpec,
    access: AccessRules,
    by: &Arc<str>,
    keyed: &Keyed,
) -> Result<Box<LotAnswer>, Problem> {
    for generation in 0..GENERATIONS {
        let lot = keyed.lot(generation);
        // Asked of the tables also if it lives now: it may be let go before the request arrives.
        let archived = engine.history().lot(lot, None).await.map_err(unreadable)?.is_some();
        // A retry is answered as it was, even if the closing time has passed by now.
        if !archived && !engine.directory().holds(lot) {
            check(spec, engine)?;
        }
        let ask = Ask::Create { spec: Box::new(spec.clone()), access, by: Some(Arc::clone(by)), key: Some(keyed.request()), archived };
        match engine.ask(lot, ask).await {
            Reply::Refused(Reject::Conflict(Conflict::LotExists)) => {}
            answered => return created(answered),
        }
    }
    Err(Problem::new(Code::Conflict, "this Idempotency-Key was used too often"))
}

fn created(reply: Reply) -> Result<Box<LotAnswer>, Problem> {
    match reply {
        Reply::Lot(answer) => Ok(answer),
        other => Err(refused(other)),
    }
}

fn check(spec: &LotSpec, engine: &Engine) -> Result<(), Problem> {
    spec.check(engine.clock().now()).map_err(|error| Problem::invalid(error.to_string()))
}

/// `GET /v1/lots/{id}`.
pub(super) async fn read(
    request: HttpRequest,
    caller: Caller,
    lot: web::Path<String>,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    caller.require(Role::Viewer)?;
    let found = api.find(lot_id(&lot)?, &caller).await?;
    let audience = audience(&caller);
    let tag = tag(found.view.position, found.own, audience);
    if is_known(&request, &tag) {
        return Ok(lot_headers(&mut HttpResponse::NotModified(), &tag).finish());
    }
    let bidder = as_bidder(&caller);
    let viewer = Viewer { audience, bidder: bidder.as_ref() };
    Ok(lot_response(StatusCode::OK, &LotAnswer { view: found.view, own: found.own }, viewer))
}

/// `PATCH /v1/lots/{id}`: a JSON merge patch.
pub(super) async fn change(
    request: HttpRequest,
    caller: Caller,
    lot: web::Path<String>,
    body: Body,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    let by = by(caller.require_known(Role::Auctioneer)?);
    let lot = lot_id(&lot)?;
    let expected = Expected::of(&request)?;
    merged_anew(&expected, async || change_once(&api, &caller, &by, lot, (&expected, &body)).await).await
}

/// With `*` any state will do: a bid that came between is no reason to fail, unless one always does.
async fn merged_anew<T>(expected: &Expected, mut once: impl AsyncFnMut() -> Result<T, Problem>) -> Result<T, Problem> {
    for _ in 0..TRIES {
        match once().await {
            Err(problem) if problem.code() == Code::PreconditionFailed && matches!(expected, Expected::Any) => {}
            answered => return answered,
        }
    }
    Err(Problem::new(Code::Overloaded, "bids came between again and again: nothing was changed").retry_after(Duration::from_secs(1)))
}

/// `by` is who the caller is; what is asked is a patch, and which state it is for.
async fn change_once(
    api: &Api,
    caller: &Caller,
    by: &Arc<str>,
    lot: LotId,
    (expected, body): (&Expected, &[u8]),
) -> Result<HttpResponse, Problem> {
    let found = api.find(lot, caller).await?;
    if !expected.holds(found.view.position) {
        return Err(refused(Reply::PreconditionFailed));
    }
    let spec = LotSpecBody::patched(&found.view, body)
        .and_then(|body| body.into_changed_spec(&found.view.spec, &api.settings))
        .map_err(Problem::invalid)?;
    check_change(&spec, &found.view, api)?;
    if !found.live {
        return Err(Problem::new(Code::Conflict, "the lot is over and archived"));
    }
    // The patch was merged into this very state: nothing may have come between.
    let ask =
        Ask::Command { command: Command::Change(Box::new(spec)), by: Some(Arc::clone(by)), expected: Some(found.view.position), key: None };
    match api.engine.ask(lot, ask).await {
        Reply::Lot(answer) => Ok(lot_response(StatusCode::OK, &answer, Viewer::HOUSE)),
        other => Err(refused(other)),
    }
}

/// A closing time must lie ahead if it is new; one that stands may be close or past.
fn check_change(spec: &LotSpec, before: &gavel_domain::lot::view::LotView, api: &Api) -> Result<(), Problem> {
    let same_times = (spec.opens_at, spec.closes_at, spec.soft_close) == (before.spec.opens_at, before.closes_at, before.spec.soft_close);
    let checked = if same_times {
        // Times that stand were checked when they came; a pause may have moved the close past its hard end.
        LotSpec { opens_at: None, closes_at: None, soft_close: None, ..spec.clone() }.check_timeless()
    } else if spec.closes_at == before.closes_at {
        spec.check_timeless()
    } else {
        spec.check(api.engine.clock().now())
    };
    checked.map_err(|error| Problem::invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{auth::Principal, config::Settings, http::small_engine};
    use actix_web::test::TestRequest;

    #[actix_web::test]
    async fn a_change_is_merged_anew_some_times_and_no_more() {
        let tried = std::cell::Cell::new(0);
        let bids_until = |last: usize| {
            let tried = &tried;
            tried.set(0);
            async move || {
                tried.set(tried.get() + 1);
                if tried.get() < last { Err(Problem::new(Code::PreconditionFailed, "")) } else { Ok(tried.get()) }
            }
        };
        let code = |answer: Result<usize, Problem>| answer.map_err(|problem| problem.code());
        assert_eq!(code(merged_anew(&Expected::Any, bids_until(TRIES)).await), Ok(TRIES));
        assert_eq!(code(merged_anew(&Expected::Any, bids_until(usize::MAX)).await), Err(Code::Overloaded));
        assert_eq!(tried.get(), TRIES);
        assert_eq!(code(merged_anew(&Expected::One(vec![]), bids_until(2)).await), Err(Code::PreconditionFailed));
        assert_eq!(tried.get(), 1);
    }

    /// A lot under a key's first name that the key says nothing of: as it is after the key's day.
    #[actix_web::test]
    async fn a_key_whose_day_is_over_makes_the_next_lot_and_retries_find_it() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, storage) = small_engine::start(dir.path(), |tables| tables).await;
        let who = Principal { sub: "house".parse().unwrap(), role: Role::Auctioneer, expires_at: u64::MAX, session: None };
        let request = TestRequest::post().uri("/v1/lots").insert_header(("Idempotency-Key", "monday")).to_http_request();
        let spec = LotSpecBody::parse(br#"{"title":"A","rules":{"format":"english","start_price":1},"closes_at":null}"#);
        let spec = spec.unwrap().into_spec(&Settings::default()).unwrap();
        let in_flight = crate::http::idempotency::InFlight::default();
        let keyed = |body: &[u8]| in_flight.begin(&request, &who, body).unwrap().unwrap();

        let first = keyed(b"a").lot(0);
        let old = Ask::Create { spec: Box::new(spec.clone()), access: AccessRules::default(), by: None, key: None, archived: false };
        assert!(matches!(engine.ask(first, old).await, Reply::Lot(_)));
        let made = create_keyed(&engine, &spec, AccessRules::default(), &"house".into(), &keyed(b"a")).await.unwrap().view;
        assert_eq!(made.id, keyed(b"a").lot(1));
        assert_eq!(
            create_keyed(&engine, &spec, AccessRules::default(), &"house".into(), &keyed(b"a")).await.unwrap().view,
            made,
            "a retry"
        );
        let reused = create_keyed(&engine, &spec, AccessRules::default(), &"house".into(), &keyed(b"b")).await.unwrap_err();
        assert_eq!(reused.code(), Code::IdempotencyKeyReused);
        assert_eq!(engine.directory().len(), 2);
        engine.shut_down().await;
        storage.close().await.unwrap();
    }
}

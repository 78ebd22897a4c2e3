//! One lot: `POST /v1/lots`, `GET` and `PATCH /v1/lots/{id}`.

use super::{
    Api,
    asking::{Expected, audience, is_known, lot_headers, lot_id, lot_response, refused, tag, unreadable},
    body::Body,
    problem::{Code, Problem},
};
use crate::{
    auth::{Caller, Role},
    wire::{lot::Audience, spec::LotSpecBody},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use gavel_domain::{command::Command, ids::LotId, lot::spec::LotSpec};
use gavel_engine::request::{Ask, LotAnswer, Reply};
use uuid::Uuid;

/// `POST /v1/lots`.
pub(super) async fn create(request: HttpRequest, caller: Caller, body: Body, api: web::Data<Api>) -> Result<HttpResponse, Problem> {
    let who = caller.require_known(Role::Auctioneer)?;
    let keyed = api.in_flight.begin(&request, who, &body)?;
    let spec = LotSpecBody::parse(&body).and_then(|body| body.into_spec(&api.settings)).map_err(Problem::invalid)?;
    let (lot, archived) = match &keyed {
        Some(keyed) => (keyed.lot(), is_archived(&api, keyed.lot()).await?),
        None => (LotId(Uuid::now_v7()), false),
    };
    // A retry is answered as it was, even if the closing time has passed by now.
    if keyed.is_none() || !is_live(&api, lot) && !archived {
        spec.check(api.engine.clock().now()).map_err(|error| Problem::invalid(error.to_string()))?;
    }
    let key = keyed.as_ref().map(super::idempotency::Keyed::request);
    match api.engine.ask(lot, Ask::Create { spec: Box::new(spec), key, archived }).await {
        Reply::Lot(answer) => {
            let mut response = lot_response(StatusCode::CREATED, &answer, Audience::House);
            let location = header::HeaderValue::from_str(&format!("/v1/lots/{lot}")).map_err(|_| Problem::internal())?;
            response.headers_mut().insert(header::LOCATION, location);
            Ok(response)
        }
        other => Err(refused(other)),
    }
}

fn is_live(api: &Api, lot: LotId) -> bool {
    api.engine.directory().holds(lot)
}

async fn is_archived(api: &Api, lot: LotId) -> Result<bool, Problem> {
    Ok(!is_live(api, lot) && api.engine.history().lot(lot, None).await.map_err(unreadable)?.is_some())
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
    Ok(lot_response(StatusCode::OK, &LotAnswer { view: found.view, own: found.own }, audience))
}

/// `PATCH /v1/lots/{id}`: a JSON merge patch.
pub(super) async fn change(
    request: HttpRequest,
    caller: Caller,
    lot: web::Path<String>,
    body: Body,
    api: web::Data<Api>,
) -> Result<HttpResponse, Problem> {
    caller.require_known(Role::Auctioneer)?;
    let lot = lot_id(&lot)?;
    let expected = Expected::of(&request)?;
    loop {
        match change_once(&api, &caller, lot, &expected, &body).await {
            // With `*` any state will do: a bid that came between is no reason to fail.
            Err(problem) if problem.code() == Code::PreconditionFailed && matches!(expected, Expected::Any) => {}
            answered => return answered,
        }
    }
}

async fn change_once(api: &Api, caller: &Caller, lot: LotId, expected: &Expected, body: &[u8]) -> Result<HttpResponse, Problem> {
    let found = api.find(lot, caller).await?;
    if !expected.holds(found.view.position) {
        return Err(refused(Reply::PreconditionFailed));
    }
    let spec = LotSpecBody::patched(&found.view, body).and_then(|body| body.into_spec(&api.settings)).map_err(Problem::invalid)?;
    check_change(&spec, &found.view, api)?;
    if !found.live {
        return Err(Problem::new(Code::Conflict, "the lot is over and archived"));
    }
    // The patch was merged into this very state: nothing may have come between.
    let ask = Ask::Command { command: Command::Change(Box::new(spec)), expected: Some(found.view.position), key: None };
    match api.engine.ask(lot, ask).await {
        Reply::Lot(answer) => Ok(lot_response(StatusCode::OK, &answer, Audience::House)),
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

//! What a client gets: statuses, bodies and headers of refusals, through a real actix application.

use super::*;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use serde::Deserialize;

#[test]
fn codes_are_as_in_the_protocol() {
    let lines = "400 idempotency_key_missing · 401 unauthenticated · 403 forbidden not_registered · 404 not_found · \
        409 conflict lot_not_open lot_paused lot_closed already_leading bid_id_conflict · 412 precondition_failed · \
        413 too_large · 422 invalid bid_too_low max_not_raised insufficient_funds limit_exceeded idempotency_key_reused · \
        428 precondition_required · 429 rate_limited · 500 internal · 503 unavailable overloaded";
    let expected: Vec<(u16, &str)> = lines
        .split(" · ")
        .flat_map(|group| {
            let (status, names) = group.trim().split_once(' ').unwrap();
            names.split(' ').map(move |name| (status.parse().unwrap(), name))
        })
        .collect();
    let actual: Vec<_> = Code::ALL.iter().map(|code| (code.status().as_u16(), code.as_str())).collect();
    assert_eq!(actual, expected);
    let temporary: Vec<_> = Code::ALL.iter().filter(|code| code.temporary()).map(|code| code.as_str()).collect();
    assert_eq!(temporary, ["rate_limited", "unavailable", "overloaded"]);
}

#[test]
fn bodies_follow_rfc_9457() {
    let low = Problem::new(Code::BidTooLow, "150 is below 160").for_bid(Some(160));
    let expected = json!({"type": "/problems/bid_too_low", "title": "The bid is below the minimum", "status": 422,
        "detail": "150 is below 160", "code": "bid_too_low", "minimum": 160, "temporary": false});
    assert_eq!(low.body(), expected);
    let plain = Problem::not_found("no lot").body();
    assert_eq!((plain.get("minimum"), plain.get("temporary")), (None, None));
    assert_eq!(Problem::new(Code::Overloaded, "full").for_bid(None).body()["temporary"], true);
    // A member can't pose as a standard one.
    assert_eq!(Problem::not_found("x").with("status", 200).body()["status"], 404);
}

#[test]
fn headers_go_with_their_statuses() {
    let check = |problem: Problem, name: header::HeaderName, expected: Option<&str>| {
        let response = problem.error_response();
        assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
        assert_eq!(response.headers().get(name).map(|value| value.to_str().unwrap()), expected, "{problem}");
    };
    check(AuthError::Missing.into(), header::WWW_AUTHENTICATE, Some("Bearer"));
    check(Problem::new(Code::Unavailable, ""), header::RETRY_AFTER, Some("1"));
    check(Problem::new(Code::Overloaded, "").retry_after(Duration::from_millis(2001)), header::RETRY_AFTER, Some("3"));
    check(Problem::new(Code::RateLimited, "").retry_after(Duration::ZERO), header::RETRY_AFTER, Some("1"));
    check(Problem::internal(), header::RETRY_AFTER, None);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    #[serde(rename = "a")]
    _a: u64,
}

#[actix_web::test]
async fn errors_of_the_framework_are_problems() {
    let app = init_service(
        App::new()
            .app_data(json_config(64))
            .app_data(path_config())
            .app_data(query_config())
            .service(
                web::resource("/json").route(web::post().to(async |_: web::Json<Input>| "ok")).default_service(method_not_allowed("POST")),
            )
            .service(web::resource("/lots/{id}").route(web::get().to(async |_: web::Path<uuid::Uuid>| "ok")))
            .service(web::resource("/list").route(web::get().to(async |_: web::Query<Input>| "ok")))
            .default_service(web::to(no_such_route)),
    )
    .await;
    let json =
        |body: &str| TestRequest::post().uri("/json").insert_header(("content-type", "application/json")).set_payload(body.to_owned());
    let get = |path: &str| TestRequest::get().uri(path);
    for (request, status, code, detail) in [
        (json("{"), 422, "invalid", "the body is not valid: EOF"),
        (json("{\"a\":1.5}"), 422, "invalid", "floating point"),
        (json("{\"a\":1,\"b\":2}"), 422, "invalid", "unknown field `b`"),
        (json(&" ".repeat(65)), 413, "too_large", "at most 64 bytes"),
        (TestRequest::post().uri("/json").set_payload("{\"a\":1}"), 422, "invalid", "application/json"),
        (get("/json"), 405, "invalid", "/json does not take GET"),
        (get("/lots/seven"), 404, "not_found", "nothing can be at this path"),
        (get("/list?a=x"), 422, "invalid", "the query is not valid"),
        (get("/list?a=1&b=2"), 422, "invalid", "unknown field `b`"),
        (get("/nowhere"), 404, "not_found", "/nowhere"),
    ] {
        let response = call_service(&app, request.to_request()).await;
        assert_eq!(response.status().as_u16(), status, "{detail}");
        assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
        let allow = response.headers().get("allow").cloned();
        assert_eq!(allow.is_some_and(|allow| allow == "POST"), status == 405);
        let body: Value = serde_json::from_slice(&read_body(response).await).unwrap();
        assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)));
        assert!(body["detail"].as_str().unwrap().contains(detail), "{body}");
    }
}

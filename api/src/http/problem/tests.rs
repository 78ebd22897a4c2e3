//! What a client gets: statuses, bodies and headers of refusals, through a real actix application.

use super::*;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};

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
    let odd = Problem::not_found("no lot").of_bid().body();
    assert_eq!((odd.get("minimum"), odd.get("temporary")), (Some(&Value::Null), Some(&json!(false))));
    assert_eq!(Problem::new(Code::BidTooLow, "").for_bid(Some(1)).of_bid().body()["minimum"], 1);
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

#[actix_web::test]
async fn errors_of_the_framework_are_problems() {
    let app = init_service(
        App::new()
            .app_data(path_config())
            .service(web::resource("/list").route(reading().to(async || "ok")).default_service(method_not_allowed("GET, HEAD")))
            .service(web::resource("/lots/{id}").route(reading().to(async |_: web::Path<uuid::Uuid>| "ok")))
            .default_service(web::to(no_such_route)),
    )
    .await;
    let get = |path: &str| TestRequest::get().uri(path);
    for (request, status, code, detail) in [
        (TestRequest::post().uri("/list"), 405, "invalid", "/list does not take POST"),
        (get("/lots/seven"), 404, "not_found", "nothing can be at this path"),
        (get("/nowhere"), 404, "not_found", "/nowhere"),
    ] {
        let response = call_service(&app, request.to_request()).await;
        assert_eq!(response.status().as_u16(), status, "{detail}");
        assert_eq!(response.headers().get("content-type").unwrap(), "application/problem+json");
        let allow = response.headers().get("allow").cloned();
        assert_eq!(allow.is_some_and(|allow| allow == "GET, HEAD"), status == 405);
        let body: Value = serde_json::from_slice(&read_body(response).await).unwrap();
        assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)));
        assert!(body["detail"].as_str().unwrap().contains(detail), "{body}");
    }
    let head = call_service(&app, TestRequest::with_uri("/list").method(actix_web::http::Method::HEAD).to_request()).await;
    assert_eq!(head.status().as_u16(), 200);
}

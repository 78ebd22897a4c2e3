//! Every way to say no over HTTP: the protocol's codes, their statuses, and RFC 9457 problems that carry them.
//!
//! Also turns actix' own errors (bodies, paths, queries, unknown routes) into such problems. Knows no rules of auctions.

use crate::auth::{AccessError, AuthError};
use actix_web::body::BoxBody;
use actix_web::error::{PathError, PayloadError};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, Responder, ResponseError, guard, web};
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// What a client can tell refusals apart by, the same over REST and WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the protocol's list, under its own names; `title` says what each means")]
pub enum Code {
    IdempotencyKeyMissing,
    Unauthenticated,
    Forbidden,
    NotRegistered,
    NotFound,
    Conflict,
    LotNotOpen,
    LotPaused,
    LotClosed,
    AlreadyLeading,
    BidIdConflict,
    PreconditionFailed,
    TooLarge,
    Invalid,
    BidTooLow,
    MaxNotRaised,
    InsufficientFunds,
    LimitExceeded,
    IdempotencyKeyReused,
    PreconditionRequired,
    RateLimited,
    Internal,
    Unavailable,
    Overloaded,
}

impl Code {
    /// All of them, by status.
    pub const ALL: [Self; 24] = [
        Self::IdempotencyKeyMissing,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotRegistered,
        Self::NotFound,
        Self::Conflict,
        Self::LotNotOpen,
        Self::LotPaused,
        Self::LotClosed,
        Self::AlreadyLeading,
        Self::BidIdConflict,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::Invalid,
        Self::BidTooLow,
        Self::MaxNotRaised,
        Self::InsufficientFunds,
        Self::LimitExceeded,
        Self::IdempotencyKeyReused,
        Self::PreconditionRequired,
        Self::RateLimited,
        Self::Internal,
        Self::Unavailable,
        Self::Overloaded,
    ];

    /// Status, name on the wire, and what it means in general.
    fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::IdempotencyKeyMissing => (400, "idempotency_key_missing", "An Idempotency-Key is required"),
            Self::Unauthenticated => (401, "unauthenticated", "A valid token is required"),
            Self::Forbidden => (403, "forbidden", "Not allowed"),
            Self::NotRegistered => (403, "not_registered", "Not registered for this auction"),
            Self::NotFound => (404, "not_found", "Not found"),
            Self::Conflict => (409, "conflict", "The current state does not allow this"),
            Self::LotNotOpen => (409, "lot_not_open", "The lot is not open yet"),
            Self::LotPaused => (409, "lot_paused", "The lot is paused"),
            Self::LotClosed => (409, "lot_closed", "The lot is closed"),
            Self::AlreadyLeading => (409, "already_leading", "The bidder leads already"),
            Self::BidIdConflict => (409, "bid_id_conflict", "This bid_id was used for another bid"),
            Self::PreconditionFailed => (412, "precondition_failed", "Changed in the meantime"),
            Self::TooLarge => (413, "too_large", "Too large"),
            Self::Invalid => (422, "invalid", "Not valid"),
            Self::BidTooLow => (422, "bid_too_low", "The bid is below the minimum"),
            Self::MaxNotRaised => (422, "max_not_raised", "The leader's maximum must be raised"),
            Self::InsufficientFunds => (422, "insufficient_funds", "Insufficient funds"),
            Self::LimitExceeded => (422, "limit_exceeded", "A limit is exceeded"),
            Self::IdempotencyKeyReused => (422, "idempotency_key_reused", "This Idempotency-Key was used for another request"),
            Self::PreconditionRequired => (428, "precondition_required", "If-Match is required"),
            Self::RateLimited => (429, "rate_limited", "Too many requests"),
            Self::Internal => (500, "internal", "An error of the server"),
            Self::Unavailable => (503, "unavailable", "Not available for the moment"),
            Self::Overloaded => (503, "overloaded", "Overloaded for the moment"),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.row().0).expect("the table holds valid statuses")
    }

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// What it means in general; the same for every occurrence (RFC 9457, section 3.1.3).
    #[must_use]
    pub fn title(self) -> &'static str {
        self.row().2
    }

    /// Whether the same request may succeed later, unchanged. After `unavailable` the outcome may be unknown.
    #[must_use]
    pub fn temporary(self) -> bool {
        matches!(self, Self::RateLimited | Self::Unavailable | Self::Overloaded)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// One refusal, answered as `application/problem+json`. `Retry-After` (one second unless told otherwise) goes with 429 and
/// 503, `WWW-Authenticate` with 401.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What kind of refusal.
    pub code: Code,
    /// What was wrong this time; for people.
    pub detail: Cow<'static, str>,
    /// A status that has no code of its own, with the headers that go with it.
    instead: Option<(StatusCode, Vec<(header::HeaderName, &'static str)>)>,
    retry_after: Option<Duration>,
    members: Map<String, Value>,
}

impl Problem {
    /// A refusal with what was wrong this time.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into(), instead: None, retry_after: None, members: Map::new() }
    }

    /// `invalid`, the commonest.
    #[must_use]
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Invalid, detail)
    }

    /// `not_found`.
    #[must_use]
    pub fn not_found(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// `internal`. What happened goes to the log; the client learns only that it did.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(Code::Internal, "the server failed; its log says why")
    }

    /// Under a status for which the protocol has no code; it carries the nearest.
    #[must_use]
    pub fn under(mut self, status: StatusCode, headers: impl IntoIterator<Item = (header::HeaderName, &'static str)>) -> Self {
        self.instead = Some((status, headers.into_iter().collect()));
        self
    }

    /// The code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// A refused bid: adds `temporary`, and `minimum` (minor units), null where none applies.
    #[must_use]
    pub fn for_bid(self, minimum: Option<u64>) -> Self {
        let temporary = self.code.temporary();
        self.with("minimum", minimum).with("temporary", temporary)
    }

    /// Anything else that went wrong with a bid: as [`Problem::for_bid`], unless that was said already.
    #[must_use]
    pub fn of_bid(self) -> Self {
        if self.members.contains_key("temporary") { self } else { self.for_bid(None) }
    }

    /// A member beyond the standard ones.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// When to come again; `Retry-After` has it in whole seconds, rounded up, at least 1.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    fn status(&self) -> StatusCode {
        self.instead.as_ref().map_or_else(|| self.code.status(), |(status, _)| *status)
    }

    /// The body (RFC 9457).
    #[must_use]
    pub fn body(&self) -> Value {
        let status = self.status();
        let mut body = self.members.clone();
        // RFC 9457, section 4.2.1: what the status says entirely is `about:blank`, titled as the status.
        let (kind, title) = match self.instead {
            Some(_) => ("about:blank".to_owned(), status.canonical_reason().unwrap_or_default()),
            None => (format!("/problems/{}", self.code), self.code.title()),
        };
        body.insert("type".into(), json!(kind));
        body.insert("title".into(), json!(title));
        body.insert("status".into(), json!(status.as_u16()));
        body.insert("detail".into(), json!(self.detail));
        body.insert("code".into(), json!(self.code));
        Value::Object(body)
    }

    fn response(&self) -> HttpResponse {
        let mut builder = HttpResponseBuilder::new(self.status());
        builder.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        builder.insert_header((header::CACHE_CONTROL, "no-store"));
        match self.status() {
            StatusCode::UNAUTHORIZED => {
                builder.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let wait = self.retry_after.unwrap_or(Duration::from_secs(1));
                let seconds = wait.as_millis().div_ceil(1000).max(1);
                builder.insert_header((header::RETRY_AFTER, seconds.to_string()));
            }
            _ => {}
        }
        for (name, value) in self.instead.iter().flat_map(|(_, headers)| headers) {
            builder.insert_header((name, *value));
        }
        builder.body(self.body().to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.response()
    }
}

impl Responder for Problem {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        self.response()
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        Self::new(Code::Unauthenticated, error.to_string())
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Unauthenticated(error) => error.into(),
            forbidden @ AccessError::Forbidden { .. } => Self::new(Code::Forbidden, forbidden.to_string()),
        }
    }
}

impl From<PayloadError> for Problem {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Overflow => Self::new(Code::TooLarge, "the body is larger than this server takes"),
            other => Self::invalid(format!("the body cannot be read: {other}")),
        }
    }
}

/// A path with a part that can't be what it stands for (a lot id that is no UUID) leads nowhere: 404.
#[must_use]
pub fn path_config() -> web::PathConfig {
    web::PathConfig::default()
        .error_handler(|error: PathError, _| Problem::not_found(format!("nothing can be at this path: {error}")).into())
}

/// The application's `default_service`: no such route.
pub async fn no_such_route(request: HttpRequest) -> Problem {
    Problem::not_found(format!("there is nothing at {}", request.path()))
}

/// A resource's `default_service`: it exists, but not with this method. 405 with `Allow`; the protocol has no code for it, so
/// it carries `invalid`.
pub fn method_not_allowed(allow: &'static str) -> actix_web::Route {
    web::route().to(move |request: HttpRequest| async move {
        let problem = Problem::invalid(format!("{} does not take {}", request.path(), request.method()));
        problem.under(StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allow)])
    })
}

/// GET, and HEAD as RFC 9110, section 9.3.2 wants it: the same without the body, which actix leaves out.
pub fn reading() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

#[cfg(test)]
mod tests;

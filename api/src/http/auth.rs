//! `/v1/auth/…`: logins of users with a password, and their sessions.
//!
//! Bodies here hold secrets: what is wrong with one is told by the name of the field, never by what stands in it.

use super::{
    body::Body,
    problem::{Code, Problem, method_not_allowed},
};
use crate::auth::{Caller, Granted, LoginError, Logins, Origin, Role, Subject};
use actix_web::{HttpRequest, HttpResponse, http::header, web};
use gavel_engine::ports::StorageError;
use gavel_persistence::accounts::{Session, SessionId};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use std::time::Duration;

/// When to come again after a 503.
const COME_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn routes(routes: &mut web::ServiceConfig) {
    routes
        .service(web::resource("/v1/auth/login").route(web::post().to(login)).default_service(method_not_allowed("POST")))
        .service(web::resource("/v1/auth/refresh").route(web::post().to(refresh)).default_service(method_not_allowed("POST")))
        .service(web::resource("/v1/auth/logout").route(web::post().to(logout)).default_service(method_not_allowed("POST")))
        .service(web::resource("/v1/auth/sessions").route(web::get().to(list)).default_service(method_not_allowed("GET")))
        .service(web::resource("/v1/auth/sessions/{id}").route(web::delete().to(revoke)).default_service(method_not_allowed("DELETE")));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginBody {
    user: String,
    password: SecretString,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshBody {
    refresh_token: SecretString,
}

#[derive(Serialize)]
struct GrantedBody<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    refresh_token: &'a str,
    session: String,
    role: Role,
}

#[derive(Serialize)]
struct SessionBody {
    id: String,
    created_at: String,
    last_used_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    current: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    user: Option<String>,
}

async fn login(request: HttpRequest, body: Body, logins: web::Data<Logins>) -> Result<HttpResponse, Problem> {
    let LoginBody { user, password } = parse(&body)?;
    let granted = logins.into_inner().login(user, password, origin(&request)).await.map_err(refused)?;
    Ok(answer(&granted))
}

async fn refresh(request: HttpRequest, body: Body, logins: web::Data<Logins>) -> Result<HttpResponse, Problem> {
    let RefreshBody { refresh_token } = parse(&body)?;
    let granted = logins.refresh(refresh_token.expose_secret(), &origin(&request)).await.map_err(refused)?;
    Ok(answer(&granted))
}

async fn logout(body: Body, logins: web::Data<Logins>) -> Result<HttpResponse, Problem> {
    let RefreshBody { refresh_token } = parse(&body)?;
    logins.logout(refresh_token.expose_secret()).await.map_err(away)?;
    Ok(HttpResponse::NoContent().finish())
}

async fn list(caller: Caller, query: web::Query<ListQuery>, logins: web::Data<Logins>) -> Result<HttpResponse, Problem> {
    let who = caller.require_known(Role::Viewer)?;
    let user = match &query.user {
        None => who.sub.clone(),
        Some(user) => user.parse::<Subject>().map_err(|error| Problem::invalid(format!("user: {error}")))?,
    };
    if user != who.sub {
        caller.require_known(Role::Admin)?;
    }
    let sessions = logins.sessions(&user).await.map_err(away)?;
    let items: Vec<_> = sessions.into_iter().map(|session| SessionBody::new(session, who.session)).collect();
    Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(json!({ "items": items, "next": null })))
}

async fn revoke(caller: Caller, path: web::Path<String>, logins: web::Data<Logins>) -> Result<HttpResponse, Problem> {
    let who = caller.require_known(Role::Viewer)?;
    // Other people's sessions are not there, for who may not end them.
    let user = (!who.role.allows(Role::Admin)).then_some(&who.sub);
    let found = match path.parse() {
        Ok(id) => logins.revoke(SessionId(id), user).await.map_err(away)?,
        Err(_) => false,
    };
    if found { Ok(HttpResponse::NoContent().finish()) } else { Err(Problem::not_found("no such session")) }
}

impl SessionBody {
    fn new(session: Session, current: Option<SessionId>) -> Self {
        Self {
            current: current == Some(session.id),
            id: session.id.to_string(),
            created_at: session.created_at.to_string(),
            last_used_at: session.last_used_at.to_string(),
            expires_at: session.expires_at.to_string(),
            address: session.address,
            user_agent: session.user_agent,
        }
    }
}

/// RFC 6749, section 5.1: what holds tokens is kept by nobody on the way.
fn answer(granted: &Granted) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(GrantedBody {
        access_token: granted.access_token.expose_secret(),
        token_type: "Bearer",
        expires_in: granted.expires_in.as_secs(),
        refresh_token: granted.refresh_token.expose_secret(),
        session: granted.session.to_string(),
        role: granted.role,
    })
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let wrong = |path: String| match path.as_str() {
        "." | "" | "?" => Problem::invalid("the body is not an object of exactly the texts that are asked for"),
        _ => Problem::invalid(format!("{path}: not one of the texts that are asked for")),
    };
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| wrong(error.path().to_string()))?;
    reader.end().map_err(|_| wrong(String::new()))?;
    // serde takes a list for an object's fields in order.
    if body.trim_ascii_start().starts_with(b"{") { Ok(value) } else { Err(wrong(String::new())) }
}

fn origin(request: &HttpRequest) -> Origin {
    let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Origin { address: request.peer_addr().map(|address| address.ip()), user_agent }
}

fn refused(error: LoginError) -> Problem {
    let text = error.to_string();
    match error {
        LoginError::WrongPassword | LoginError::BadRefreshToken => Problem::new(Code::Unauthenticated, text),
        LoginError::Locked(wait) => Problem::new(Code::RateLimited, text).with("temporary", true).retry_after(wait),
        LoginError::TooLong => Problem::invalid(text),
        LoginError::Overloaded => Problem::new(Code::Overloaded, text).with("temporary", true).retry_after(COME_AGAIN),
        LoginError::VerifyOnly => Problem::not_found(text),
        LoginError::Storage(error) => away(error),
        LoginError::Internal(error) => {
            tracing::error!(%error, "a login failed");
            Problem::internal()
        }
    }
}

fn away(error: StorageError) -> Problem {
    tracing::warn!(%error, "accounts can't be used");
    Problem::new(Code::Unavailable, "accounts can't be read or written now").with("temporary", true).retry_after(COME_AGAIN)
}

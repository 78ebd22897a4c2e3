//! The pages for watchers and bidders: `api/static`, carried in the binary. What they show they read over REST and a socket
//! like any other client; nothing is made here.

use crate::http::problem::{Problem, method_not_allowed, reading};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::header::{self, ContentType, EntityTag, Header as _, IfNoneMatch},
    web,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rust_embed::{EmbeddedFile, RustEmbed};
use uuid::Uuid;

/// What pages may load and where they may connect to: their own server alone, sockets included. No inline script or style.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The one page; its script shows what the address names.
const PAGE: &str = "index.html";

#[derive(RustEmbed)]
#[folder = "static/"]
struct Files;

/// `/`, `/lots/{uuid}`, `/wallet`, `/sign-in` and `/assets/…`.
pub fn routes(routes: &mut web::ServiceConfig) {
    let resource = |paths: &[&str], route: fn() -> actix_web::Route| {
        web::resource(paths.to_vec()).route(route()).default_service(method_not_allowed("GET, HEAD"))
    };
    routes
        .service(resource(&["/", "/wallet", "/wallet/", "/sign-in", "/sign-in/"], || reading().to(plain_page)))
        .service(resource(&["/lots/{lot}", "/lots/{lot}/"], || reading().to(lot_page)))
        .service(resource(&["/assets/{path:.+}"], || reading().to(asset)));
}

async fn plain_page(request: HttpRequest) -> Result<HttpResponse, Problem> {
    serve(&request, PAGE)
}

/// Whether there is such a lot the page finds out itself.
async fn lot_page(request: HttpRequest, _: web::Path<Uuid>) -> Result<HttpResponse, Problem> {
    serve(&request, PAGE)
}

async fn asset(request: HttpRequest, path: web::Path<String>) -> Result<HttpResponse, Problem> {
    serve(&request, &format!("assets/{path}"))
}

fn serve(request: &HttpRequest, name: &str) -> Result<HttpResponse, Problem> {
    let file = Files::get(name).ok_or_else(|| Problem::not_found(format!("there is nothing at {}", request.path())))?;
    let tag = EntityTag::new_strong(URL_SAFE_NO_PAD.encode(&file.metadata.sha256_hash()[..16]));
    if has_it(request, &tag) {
        return Ok(headers(&mut HttpResponse::NotModified(), tag).finish());
    }
    let kind = content_type(&file);
    Ok(headers(&mut HttpResponse::Ok(), tag).insert_header((header::CONTENT_TYPE, kind)).body(file.data.into_owned()))
}

fn has_it(request: &HttpRequest, tag: &EntityTag) -> bool {
    match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Any) => true,
        Ok(IfNoneMatch::Items(items)) => items.iter().any(|item| item.weak_eq(tag)),
        Err(_) => false,
    }
}

/// Files keep their names when they change, so a browser asks each time whether they did.
fn headers(response: &mut HttpResponseBuilder, tag: EntityTag) -> &mut HttpResponseBuilder {
    response
        .insert_header(header::ETag(tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
}

fn content_type(file: &EmbeddedFile) -> String {
    match file.metadata.mimetype() {
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        "" => ContentType::octet_stream().to_string(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::problem::{no_such_route, path_config};
    use actix_web::{
        App,
        body::to_bytes,
        dev::ServiceResponse,
        http::{Method, StatusCode},
        test::{TestRequest, call_service, init_service},
    };

    async fn ask(method: Method, path: &str, tag: Option<&str>) -> ServiceResponse {
        let app = init_service(App::new().app_data(path_config()).configure(routes).default_service(web::to(no_such_route))).await;
        let mut request = TestRequest::with_uri(path).method(method);
        if let Some(tag) = tag {
            request = request.insert_header((header::IF_NONE_MATCH, tag));
        }
        call_service(&app, request.to_request()).await
    }

    fn header_of(response: &ServiceResponse, name: header::HeaderName) -> String {
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    #[actix_web::test]
    async fn pages_and_assets_are_where_the_page_looks_for_them() {
        let lot = "/lots/0192aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee";
        for (path, kind) in [
            ("/", "text/html; charset=utf-8"),
            (lot, "text/html; charset=utf-8"),
            (&format!("{lot}/"), "text/html; charset=utf-8"),
            ("/wallet", "text/html; charset=utf-8"),
            ("/sign-in", "text/html; charset=utf-8"),
            ("/sign-in?to=%2Fwallet", "text/html; charset=utf-8"),
            ("/assets/app.js", "text/javascript; charset=utf-8"),
            ("/assets/style.css", "text/css; charset=utf-8"),
            ("/assets/favicon.svg", "image/svg+xml"),
        ] {
            let response = ask(Method::GET, path, None).await;
            assert_eq!((response.status(), header_of(&response, header::CONTENT_TYPE).as_str()), (StatusCode::OK, kind), "{path}");
            assert_eq!(header_of(&response, header::CONTENT_SECURITY_POLICY), CONTENT_SECURITY_POLICY);
            assert_eq!(header_of(&response, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
            assert_eq!(header_of(&response, header::REFERRER_POLICY), "no-referrer");
            assert_eq!(ask(Method::HEAD, path, None).await.status(), StatusCode::OK, "HEAD {path}");
            assert_eq!(ask(Method::POST, path, None).await.status(), StatusCode::METHOD_NOT_ALLOWED, "POST {path}");
        }
    }

    #[actix_web::test]
    async fn everything_that_the_page_names_is_carried_and_nothing_is_inline() {
        let body = to_bytes(ask(Method::GET, "/", None).await.into_body()).await.unwrap();
        let page = std::str::from_utf8(&body).unwrap();
        let mut named = page.split('"').filter(|text| text.starts_with("/assets/")).peekable();
        assert!(named.peek().is_some());
        for path in named {
            assert_eq!(ask(Method::GET, path, None).await.status(), StatusCode::OK, "{path}");
        }
        for inline in ["<style", " style=", "<script>", " onclick="] {
            assert!(!page.contains(inline), "{inline} would be refused by the content security policy");
        }
    }

    #[actix_web::test]
    async fn what_a_browser_has_is_not_sent_again() {
        let first = ask(Method::GET, "/assets/app.js", None).await;
        let tag = header_of(&first, header::ETAG);
        for (known, status) in [(tag.as_str(), 304), (&format!("\"x\", W/{tag}"), 304), ("*", 304), ("\"x\"", 200)] {
            let again = ask(Method::GET, "/assets/app.js", Some(known)).await;
            assert_eq!((again.status().as_u16(), header_of(&again, header::ETAG)), (status, tag.clone()), "{known}");
        }
        assert_ne!(tag, header_of(&ask(Method::GET, "/", None).await, header::ETAG));
    }

    #[actix_web::test]
    async fn nothing_else_is_there() {
        for path in ["/lots/seven", "/assets/", "/assets/none.js", "/assets/../index.html", "/assets/%2e%2e/index.html", "/index.html"] {
            let response = ask(Method::GET, path, None).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(header_of(&response, header::CONTENT_TYPE), "application/problem+json", "{path}");
        }
    }
}

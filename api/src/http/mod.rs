//! The HTTP side: a file a resource. Sockets are in [`crate::ws`].

mod actions;
mod asking;
mod auth;
mod bids;
pub(crate) mod body;
mod cluster;
pub(crate) mod cors;
mod health;
mod idempotency;
mod listing;
mod lots;
pub mod problem;
pub mod reject;
pub(crate) mod request_log;

use crate::{config::Settings, pages, telemetry::Metrics};
use actix_web::web;
use gavel_engine::Engine;
use idempotency::InFlight;
use tokio_util::sync::CancellationToken;

/// What the handlers work with.
pub struct Api {
    /// The auctions.
    pub engine: Engine,
    /// As configured.
    pub settings: Settings,
    /// For `/metrics`.
    pub metrics: Metrics,
    /// Cancelled once the server is going away.
    pub draining: CancellationToken,
    in_flight: InFlight,
}

impl Api {
    /// All of it.
    #[must_use]
    pub fn new(engine: Engine, settings: Settings, metrics: Metrics, draining: CancellationToken) -> Self {
        Self { engine, settings, metrics, draining, in_flight: InFlight::default() }
    }
}

/// Every route but the sockets'.
pub fn routes(routes: &mut web::ServiceConfig, api: &web::Data<Api>) {
    let limit = api.settings.limits.body_bytes;
    routes
        .app_data(problem::json_config(limit))
        .app_data(problem::payload_config(limit))
        .app_data(problem::path_config())
        .app_data(problem::query_config())
        .service(
            web::resource("/v1/lots")
                .route(web::get().to(listing::list))
                .route(web::post().to(lots::create))
                .default_service(problem::method_not_allowed("GET, POST")),
        )
        .service(
            web::resource("/v1/lots/{lot}")
                .route(web::get().to(lots::read))
                .route(web::patch().to(lots::change))
                .default_service(problem::method_not_allowed("GET, PATCH")),
        )
        .service(
            web::resource("/v1/lots/{lot}/bids")
                .route(web::get().to(bids::history))
                .route(web::post().to(bids::place))
                .default_service(problem::method_not_allowed("GET, POST")),
        )
        .service(
            web::resource("/v1/lots/{lot}/events").route(web::get().to(bids::events)).default_service(problem::method_not_allowed("GET")),
        )
        .service(
            web::resource("/v1/lots/{lot}/{action:open|pause|resume|cancel|close|extend}")
                .route(web::post().to(actions::act))
                .default_service(problem::method_not_allowed("POST")),
        )
        .configure(auth::routes)
        .service(web::resource("/v1/cluster").route(web::get().to(cluster::cluster)).default_service(problem::method_not_allowed("GET")))
        .service(web::resource("/health/live").route(web::get().to(health::live)).route(web::head().to(health::live)))
        .service(web::resource("/health/ready").route(web::get().to(health::ready)).route(web::head().to(health::ready)))
        .service(web::resource("/metrics").route(web::get().to(health::metrics)))
        .configure(pages::routes)
        .default_service(web::to(problem::no_such_route));
}

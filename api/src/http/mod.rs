//! The HTTP side: a file a resource. Sockets are in [`crate::ws`].

mod actions;
mod answers;
pub(crate) mod archived;
mod asking;
mod audit;
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
mod registrations;
pub mod reject;
pub(crate) mod request_log;
#[cfg(test)]
mod small_engine;
mod wallets;

use crate::{config::Settings, pages, telemetry::Metrics};
use actix_web::{guard, web};
use answers::Answers;
use gavel_domain::currency::Currency;
use gavel_engine::{Engine, ports::journal::Journal};
use health::Readiness;
use idempotency::InFlight;
use std::sync::Arc;
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
    /// As configured, in the domain's words.
    currencies: Arc<[Currency]>,
    in_flight: InFlight,
    answers: Answers,
    readiness: Readiness,
}

impl Api {
    /// All of it.
    #[must_use]
    pub fn new(engine: Engine, journal: Arc<dyn Journal>, settings: Settings, metrics: Metrics, draining: CancellationToken) -> Self {
        let readiness = Readiness::new(&engine, journal, &settings);
        let currencies = settings.known_currencies();
        Self { currencies, engine, settings, metrics, draining, in_flight: InFlight::default(), answers: Answers::default(), readiness }
    }
}

/// Every route but the sockets'.
pub fn routes(routes: &mut web::ServiceConfig) {
    use problem::{method_not_allowed, reading};
    let reads =
        |path: &str, route: actix_web::Route| web::resource(path.to_owned()).route(route).default_service(method_not_allowed("GET, HEAD"));
    routes
        .app_data(problem::path_config())
        .service(
            web::resource("/v1/lots")
                .route(reading().to(listing::list))
                .route(web::post().to(lots::create))
                .default_service(method_not_allowed("GET, HEAD, POST")),
        )
        .service(
            web::resource("/v1/lots/{lot}")
                .route(reading().to(lots::read))
                .route(web::patch().to(lots::change))
                .default_service(method_not_allowed("GET, HEAD, PATCH")),
        )
        .service(
            web::resource("/v1/lots/{lot}/bids")
                .route(reading().to(bids::history))
                .route(web::post().to(bids::place))
                .default_service(method_not_allowed("GET, HEAD, POST")),
        )
        .service(reads("/v1/lots/{lot}/events", reading().to(bids::events)))
        .service(
            web::resource("/v1/lots/{lot}/registrations")
                .route(reading().to(registrations::list))
                .route(web::post().to(registrations::add))
                .default_service(method_not_allowed("GET, HEAD, POST")),
        )
        .service(
            web::resource("/v1/lots/{lot}/registrations/{bidder}")
                .route(web::delete().to(registrations::remove))
                .default_service(method_not_allowed("DELETE")),
        )
        .service(
            web::resource("/v1/lots/{lot}/{action:open|pause|resume|cancel|close|extend}")
                .route(web::post().to(actions::act))
                .default_service(method_not_allowed("POST")),
        )
        .configure(auth::routes)
        .service(reads("/v1/wallets", reading().to(wallets::export::list)))
        // To read, these are wallets like any other: somebody may be called so.
        .service(web::resource("/v1/wallets/runs").guard(guard::Post()).route(web::post().to(wallets::runs::run)))
        .service(web::resource("/v1/wallets/import").guard(guard::Post()).route(web::post().to(wallets::import::import)))
        .service(reads("/v1/wallets/{bidder}", reading().to(wallets::read)))
        .service(reads("/v1/wallets/{bidder}/ledger", reading().to(wallets::ledger)))
        .service(
            web::resource("/v1/wallets/{bidder}/adjustments")
                .route(web::post().to(wallets::adjust))
                .default_service(method_not_allowed("POST")),
        )
        .service(
            web::resource("/v1/wallets/{bidder}/permits/{currency}")
                .route(web::put().to(wallets::allow))
                .default_service(method_not_allowed("PUT")),
        )
        .service(reads("/v1/audit", reading().to(audit::list)))
        .service(reads("/v1/cluster", reading().to(cluster::cluster)))
        .service(reads("/health/live", reading().to(health::live)))
        .service(reads("/health/ready", reading().to(health::ready)))
        .service(reads("/metrics", reading().to(health::metrics)))
        .configure(pages::routes)
        .default_service(web::to(problem::no_such_route));
}

//! `gavel serve`.

use super::{CliError, ServeArgs, output};
use crate::{
    auth::{Role, Subject, TokenKeys},
    demo,
    server::{self, ServerError},
    telemetry::{Metrics, init_logging},
};
use std::net::SocketAddr;

pub(super) fn run(args: &ServeArgs) -> Result<(), CliError> {
    let settings = args.settings()?;
    init_logging(&settings.log).map_err(|error| CliError::Failed(error.to_string()))?;
    let metrics = Metrics::install().map_err(|error| CliError::Failed(error.to_string()))?;
    let demo = args.demo;
    let ttl = settings.auth.token_ttl;
    actix_web::rt::System::new().block_on(async move {
        let server = server::start(settings, metrics).await?;
        let link = |sub: &str, role| link(server.address, &server.keys, sub, role, ttl);
        output::print(&format!("Gavel listens on http://{}\n", server.address))?;
        output::print(&format!("administrator: {}\n", link("admin", Role::Admin)))?;
        if demo {
            for name in demo::GUESTS {
                output::print(&format!("bidder {name}: {}\n", link(name, Role::Bidder)))?;
            }
            actix_web::rt::spawn(demo::run(server.engine.clone()));
        }
        server.run_until_told().await.map_err(CliError::from)
    })
}

/// A link that opens the page as somebody. The token is in the fragment, which no server ever sees.
fn link(address: SocketAddr, keys: &TokenKeys, sub: &str, role: Role, ttl: crate::auth::Ttl) -> String {
    let token = sub
        .parse::<Subject>()
        .map_err(|error| error.to_string())
        .and_then(|sub| keys.issue(&sub, role, ttl).map_err(|error| error.to_string()));
    match token {
        Ok(token) => format!("http://{address}/#token={token}"),
        Err(reason) => format!("http://{address}/ (no token: {reason})"),
    }
}

impl From<ServerError> for CliError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Key(error) => Self::from(error),
            ServerError::Issuer(error) => Self::Mistake(error.to_string()),
            error @ ServerError::Certificates { .. } => Self::Mistake(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

//! One small document over HTTP, blocking, trusting whom the system trusts. For an issuer's keys.

use std::{sync::Arc, time::Duration};
use ureq::{
    Agent,
    tls::{RootCerts, TlsConfig, TlsProvider},
};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Redirects followed; from `https` to `https` only.
const REDIRECTS: u32 = 3;

/// The body of a 200, of at most `most_bytes`.
pub(super) fn fetch(url: &str, most_bytes: u64) -> Result<Vec<u8>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::PlatformVerifier)
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let agent: Agent = Agent::config_builder()
        .https_only(url.starts_with("https:"))
        .max_redirects(REDIRECTS)
        .timeout_global(Some(PATIENCE))
        .tls_config(tls)
        .build()
        .into();
    let mut answer =
        agent.get(url).header("accept", "application/jwk-set+json, application/json").call().map_err(|error| error.to_string())?;
    answer.body_mut().with_config().limit(most_bytes).read_to_vec().map_err(|error| error.to_string())
}

//! `[auth]`: how tokens are signed, what logins may do, whose tokens are good beside our own.

use super::{
    error::Conflict,
    value::{DAY, integer, millis, optional_path, show_millis, show_optional_path},
};
use crate::auth::{HashCost, MIN_SECRET_BYTES, Policy, Source, Ttl};
use actix_web::http::Uri;
use gavel_domain::time::Millis;
use gavel_persistence::accounts::Backoff;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::path::PathBuf;
use std::time::Duration;

/// How tokens are signed and whom they are given to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Auth {
    /// The only algorithm taken.
    pub algorithm: TokenAlgorithm,
    /// The key file as configured; see [`super::Settings::key_file`].
    #[serde(deserialize_with = "optional_path", serialize_with = "show_optional_path")]
    pub key_file: Option<PathBuf>,
    /// The HS256 secret itself, 32 bytes or more, instead of a file.
    #[serde(deserialize_with = "secret", serialize_with = "show_masked")]
    pub secret: Option<SecretString>,
    /// Life of a token made without another one asked for.
    pub token_ttl: Ttl,
    /// Tolerance after `exp`; whole seconds, at most five minutes.
    #[serde(rename = "leeway_ms", deserialize_with = "millis::<0, 300_000, _>", serialize_with = "show_millis")]
    pub leeway: Duration,
    /// Life of an access token that a login gives.
    pub access_ttl: Ttl,
    /// Life of a refresh token.
    pub refresh_ttl: Ttl,
    /// Sessions of one user, 1–10,000.
    #[serde(deserialize_with = "integer::<1, 10_000, _, _>")]
    pub sessions_per_user: u32,
    /// Argon2id: KiB of memory, 1 MiB to 4 GiB.
    #[serde(deserialize_with = "integer::<1024, 4_194_304, _, _>")]
    pub password_memory_kib: u32,
    /// Argon2id: passes, 1–100.
    #[serde(deserialize_with = "integer::<1, 100, _, _>")]
    pub password_iterations: u32,
    /// Argon2id: lanes, 1–16.
    #[serde(deserialize_with = "integer::<1, 16, _, _>")]
    pub password_parallelism: u32,
    /// Passwords hashed at once; 0 = half of the available parallelism (see [`Auth::password_thread_count`]).
    #[serde(deserialize_with = "integer::<0, 256, _, _>")]
    pub password_threads: usize,
    /// Logins waiting for their turn, at least 1.
    #[serde(deserialize_with = "integer::<1, 65_536, _, _>")]
    pub logins_waiting: usize,
    /// Wrong passwords in a row that lock out for the first time; 0: none does.
    #[serde(deserialize_with = "integer::<0, 1000, _, _>")]
    pub lockout_after: u32,
    /// The first lock-out.
    #[serde(rename = "lockout_first_ms", deserialize_with = "millis::<1, DAY, _>", serialize_with = "show_millis")]
    pub lockout_first: Duration,
    /// The longest.
    #[serde(rename = "lockout_longest_ms", deserialize_with = "millis::<1, DAY, _>", serialize_with = "show_millis")]
    pub lockout_longest: Duration,
    /// Another issuer's keys.
    #[serde(deserialize_with = "optional_path", serialize_with = "show_optional_path")]
    pub jwks_file: Option<PathBuf>,
    /// Where they are fetched from.
    #[serde(deserialize_with = "url")]
    pub jwks_url: String,
    /// What `iss` must be in that issuer's tokens; empty where there is none.
    pub issuer: String,
    /// The claim that holds the role in them.
    #[serde(deserialize_with = "claim_name")]
    pub role_claim: String,
}

/// Signature algorithms (RFC 7518, RFC 8037).
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256.
    HS256,
    /// Ed25519.
    EdDSA,
    /// RSA PKCS#1 v1.5 with SHA-256.
    RS256,
}

impl Auth {
    /// Where another issuer's keys are; none: only our own tokens are taken.
    #[must_use]
    pub fn jwks(&self) -> Option<Source> {
        match (&self.jwks_file, self.jwks_url.as_str()) {
            (Some(path), _) => Some(Source::File(path.clone())),
            (None, "") => None,
            (None, url) => Some(Source::Url(url.to_owned())),
        }
    }

    /// What a password's hash costs.
    #[must_use]
    pub fn hash_cost(&self) -> HashCost {
        HashCost { memory_kib: self.password_memory_kib, iterations: self.password_iterations, parallelism: self.password_parallelism }
    }

    /// Threads to start: as configured, or one for every two processors available.
    #[must_use]
    pub fn password_thread_count(&self) -> usize {
        match self.password_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).div_ceil(2),
            count => count,
        }
    }

    /// Bounds of logins.
    #[must_use]
    pub fn policy(&self) -> Policy {
        let millis = |duration: Duration| Millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
        Policy {
            access: self.access_ttl,
            refresh: self.refresh_ttl,
            leeway: self.leeway,
            sessions_per_user: self.sessions_per_user,
            waiting: self.logins_waiting,
            backoff: Backoff { after: self.lockout_after, first: millis(self.lockout_first), longest: millis(self.lockout_longest) },
        }
    }

    /// What no value says alone.
    pub(super) fn check(&self) -> Result<(), Conflict> {
        if self.algorithm != TokenAlgorithm::HS256 {
            if self.secret.is_some() {
                return Err((&["auth", "secret"], "goes with auth.algorithm = \"HS256\" only".into()));
            }
            if self.key_file.is_none() {
                let reason = format!("{:?} needs auth.key_file: only an HS256 key is made by itself", self.algorithm);
                return Err((&["auth", "algorithm"], reason));
            }
        }
        if self.secret.is_some() && self.key_file.is_some() {
            return Err((&["auth", "secret"], "auth.key_file is set too: give one of them".into()));
        }
        if self.leeway.subsec_millis() != 0 {
            return Err((&["auth", "leeway_ms"], "expected whole seconds, a multiple of 1000".into()));
        }
        if self.access_ttl > self.refresh_ttl {
            return Err((&["auth", "access_ttl"], format!("longer than auth.refresh_ttl, {}", self.refresh_ttl)));
        }
        if self.lockout_first > self.lockout_longest {
            let reason = format!("more than auth.lockout_longest_ms, {}", self.lockout_longest.as_millis());
            return Err((&["auth", "lockout_first_ms"], reason));
        }
        if self.password_memory_kib < 8 * self.password_parallelism {
            return Err((&["auth", "password_parallelism"], "auth.password_memory_kib must be at least 8 for each".into()));
        }
        match (self.jwks_file.is_some(), !self.jwks_url.is_empty(), !self.issuer.is_empty()) {
            (true, true, _) => Err((&["auth", "jwks_url"], "auth.jwks_file is set too: give one of them".into())),
            (true, _, false) => Err((&["auth", "jwks_file"], "needs auth.issuer: whose tokens these keys are good for".into())),
            (_, true, false) => Err((&["auth", "jwks_url"], "needs auth.issuer: whose tokens these keys are good for".into())),
            (false, false, true) => Err((&["auth", "issuer"], "needs auth.jwks_file or auth.jwks_url: the issuer's keys".into())),
            _ => Ok(()),
        }
    }
}

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    // Through the untyped value: serde's own complaint would quote what was given.
    let toml::Value::String(text) = toml::Value::deserialize(from)? else {
        return Err(D::Error::custom("expected a text"));
    };
    match text.trim() {
        "" => Ok(None),
        pem if crate::auth::is_pem(pem) => Err(D::Error::custom("holds a key in PEM, which is no HS256 secret")),
        short if short.len() < MIN_SECRET_BYTES => {
            Err(D::Error::custom(format!("expected {MIN_SECRET_BYTES} bytes or more, got {}", short.len())))
        }
        enough => Ok(Some(enough.to_owned().into())),
    }
}

fn show_masked<S: Serializer>(secret: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    let set = secret.as_ref().is_some_and(|secret| !secret.expose_secret().is_empty());
    (if set { "********" } else { "" }).serialize(to)
}

fn url<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let fits = text.parse::<Uri>().is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some());
    if !fits && !text.is_empty() {
        return Err(D::Error::custom(format!("expected an http:// or https:// URL, got {text:?}")));
    }
    Ok(text)
}

fn claim_name<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Err(D::Error::custom("expected the name of a claim, got an empty text"));
    }
    Ok(text)
}

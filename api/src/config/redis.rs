//! `[redis]`: where the Redis of the journal is, and what is expected of it. A password is shown nowhere.

use super::{
    error::Conflict,
    value::{DAY, millis, optional_path, show_millis, show_optional_path},
};
use gavel_persistence::redis::{Address, Durability, Prefix, masked};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use std::path::PathBuf;
use std::time::Duration;

/// What stands in the place of a password.
const MASK: &str = "********";

/// The Redis that has journal and snapshots.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, expecting = "a section of keys")]
pub struct Redis {
    /// Where it is; see [`Redis::address`].
    #[serde(deserialize_with = "address", serialize_with = "show_address")]
    pub url: Address,
    /// Its password, instead of one in the URL.
    #[serde(deserialize_with = "password", serialize_with = "show_masked")]
    pub password: Option<SecretString>,
    /// Certificates to trust in place of the system's.
    #[serde(deserialize_with = "optional_path", serialize_with = "show_optional_path")]
    pub ca_file: Option<PathBuf>,
    /// Begins the names of all keys.
    #[serde(deserialize_with = "prefix", serialize_with = "show_prefix")]
    pub key_prefix: Prefix,
    /// What is promised of an acknowledged bid.
    #[serde(deserialize_with = "durability", serialize_with = "show_durability")]
    pub durability: Durability,
    /// For making a connection; at least 1 ms.
    #[serde(rename = "connect_timeout_ms", deserialize_with = "millis::<1, DAY, _>", serialize_with = "show_millis")]
    pub connect_timeout: Duration,
    /// For an append; at least 1 ms.
    #[serde(rename = "request_timeout_ms", deserialize_with = "millis::<1, DAY, _>", serialize_with = "show_millis")]
    pub request_timeout: Duration,
    /// For what is large; at least 1 ms.
    #[serde(rename = "bulk_timeout_ms", deserialize_with = "millis::<1, DAY, _>", serialize_with = "show_millis")]
    pub bulk_timeout: Duration,
}

impl Redis {
    /// Where it is, with the password.
    #[must_use]
    pub fn address(&self) -> Address {
        match &self.password {
            Some(password) => self.url.clone().with_password(password.expose_secret()),
            None => self.url.clone(),
        }
    }

    /// What no value says alone.
    pub(super) fn check(&self) -> Result<(), Conflict> {
        if self.password.is_some() && self.url.has_password() {
            return Err((&["redis", "password"], "redis.url has a password too: give one of them".into()));
        }
        if self.url.is_sentinel() && self.durability == Durability::Strict {
            let reason = "Sentinels promote replicas that may lack what was acknowledged: they go with redis.durability = \"relaxed\"";
            return Err((&["redis", "url"], reason.into()));
        }
        if self.url.is_cluster() && self.durability == Durability::Strict {
            let reason =
                "a Redis Cluster promotes replicas that may lack what was acknowledged: it goes with redis.durability = \"relaxed\"";
            return Err((&["redis", "url"], reason.into()));
        }
        if self.ca_file.is_some() && !self.url.is_tls() {
            return Err((&["redis", "ca_file"], "goes with a redis.url that begins with rediss only".into()));
        }
        Ok(())
    }
}

/// A text, whose wrong type is not answered with what was given.
pub(super) fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match toml::Value::deserialize(from)? {
        toml::Value::String(text) => Ok(text),
        _ => Err(D::Error::custom("expected a text")),
    }
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Address, D::Error> {
    let text = text(from)?;
    Address::try_from(text.as_str()).map_err(|wrong| D::Error::custom(format!("{wrong}, got {:?}", masked(&text))))
}

fn show_address<S: Serializer>(address: &Address, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(address)
}

pub(super) fn password<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Some(text(from)?).filter(|text| !text.is_empty()).map(SecretString::from))
}

pub(super) fn show_masked<S: Serializer>(password: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
    (if password.is_some() { MASK } else { "" }).serialize(to)
}

fn prefix<'de, D: Deserializer<'de>>(from: D) -> Result<Prefix, D::Error> {
    let text = String::deserialize(from)?;
    Prefix::try_from(text.as_str()).map_err(|error| D::Error::custom(format!("{error}, got {text:?}")))
}

fn show_prefix<S: Serializer>(prefix: &Prefix, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(prefix)
}

/// As written.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Promise {
    Strict,
    Relaxed,
}

fn durability<'de, D: Deserializer<'de>>(from: D) -> Result<Durability, D::Error> {
    Ok(match Promise::deserialize(from)? {
        Promise::Strict => Durability::Strict,
        Promise::Relaxed => Durability::Relaxed,
    })
}

fn show_durability<S: Serializer>(durability: &Durability, to: S) -> Result<S::Ok, S::Error> {
    match durability {
        Durability::Strict => Promise::Strict,
        Durability::Relaxed => Promise::Relaxed,
    }
    .serialize(to)
}

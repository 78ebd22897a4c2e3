//! Tokens that `gavel token` would not make.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::path::Path;

/// What a forged token claims.
pub(crate) struct Claims(pub(crate) Value);

impl Claims {
    /// What a good token of a bidder claims.
    pub(crate) fn good() -> Self {
        let now = jiff::Timestamp::now().as_second();
        Self(json!({"sub": "mallory", "role": "bidder", "aud": "gavel", "iat": now, "exp": now + 600}))
    }

    /// With another value; null leaves the claim out.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        let claims = self.0.as_object_mut().unwrap();
        match value {
            Value::Null => drop(claims.remove(name)),
            value => drop(claims.insert(name.to_owned(), value)),
        }
        self
    }
}

/// A token signed with a data directory's key, or with another.
pub(crate) fn forge(claims: &Claims, key: Result<&Path, &[u8]>) -> String {
    let secret = match key {
        Ok(dir) => std::fs::read_to_string(dir.join("jwt.key")).unwrap().trim().as_bytes().to_vec(),
        Err(secret) => secret.to_vec(),
    };
    let key = jsonwebtoken::EncodingKey::from_secret(&secret);
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims.0, &key).unwrap()
}

/// A token with `alg: none` and no signature.
pub(crate) fn unsigned(claims: &Claims) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims.0))
}

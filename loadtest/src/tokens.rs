//! Access tokens this client makes for itself with the server's own HS256 key.
//! Where a token is used is not known here.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;
use thiserror::Error;

/// What the bearer may do.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Admin,
    Bidder,
    Viewer,
}

/// Why there is no key or no token.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    #[error("cannot read the token key {}: {error}", .path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("the token key {} is empty", .0.display())]
    Empty(PathBuf),
    #[error("cannot sign a token: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    role: Role,
    aud: &'static str,
    exp: u64,
    iat: u64,
}

/// Signs tokens.
pub(crate) struct TokenMaker {
    key: EncodingKey,
    ttl: u64,
}

impl TokenMaker {
    /// Takes the secret from a file: its bytes without the white space around them. Tokens live `ttl` seconds.
    pub(crate) fn from_file(path: &Path, ttl: u64) -> Result<Self, TokenError> {
        let bytes = std::fs::read(path).map_err(|error| TokenError::Unreadable { path: path.into(), error })?;
        let secret = bytes.trim_ascii();
        if secret.is_empty() {
            return Err(TokenError::Empty(path.into()));
        }
        Ok(Self { key: EncodingKey::from_secret(secret), ttl })
    }

    pub(crate) fn token(&self, sub: &str, role: Role) -> Result<String, TokenError> {
        let iat = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let claims = Claims { sub, role, aud: "gavel", exp: iat + self.ttl, iat };
        Ok(jsonwebtoken::encode(&Header::default(), &claims, &self.key)?)
    }
}

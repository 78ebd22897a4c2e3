//! Tokens: made and verified with one pinned algorithm. Where a request carries its token is not known here.

use super::key_file::{KeyError, is_public, read, read_or_create_secret, read_secret};
use super::{Role, Subject, Ttl};
use crate::config::{Settings, TokenAlgorithm};
use gavel_persistence::accounts::SessionId;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::ExposeSecret;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// The only `aud` taken.
pub const AUDIENCE: &str = "gavel";

/// Who a valid token was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The token's `sub`: the bidder, for a bidder.
    pub sub: Subject,
    /// The token's `role`.
    pub role: Role,
    /// When it is taken no more, in seconds since the Unix epoch: the token's `exp`, and the leeway configured.
    pub expires_at: u64,
    /// The token's `sid`: the login it comes from. None in a token that was made without one.
    pub session: Option<SessionId>,
}

impl Principal {
    /// What is left of the token at `now`; none left is zero.
    #[must_use]
    pub fn remaining(&self, now: SystemTime) -> Duration {
        let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Duration::from_secs(self.expires_at).saturating_sub(since_epoch)
    }
}

/// Why a caller was not taken for who it claims to be. What a token claims is discussed only once its signature holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No token, where one is needed.
    #[error("a bearer token is required")]
    Missing,
    /// Not a JWT, or one whose parts can't be read.
    #[error("the credentials are not a bearer token this server can read")]
    Malformed,
    /// `alg` is not the one configured; `none` never is.
    #[error("the token's algorithm is not the one this server takes")]
    Algorithm,
    /// Its issuer has no key of that name, as far as is known here.
    #[error("no key of the token's `kid` is known")]
    UnknownKey,
    /// Signed with another key, or changed since.
    #[error("the token's signature is not valid for this server")]
    Signature,
    /// Past `exp`.
    #[error("the token has expired")]
    Expired,
    /// Before `nbf`.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// A claim is absent.
    #[error("the token has no claim `{0}`")]
    MissingClaim(&'static str),
    /// A claim is there but can't be taken.
    #[error("the token's claim `{0}` is not valid: {1}")]
    BadClaim(&'static str, &'static str),
    /// The token is good, its session was ended.
    #[error("the session has been revoked")]
    Revoked,
    /// The token is good, its holder is not let in.
    #[error("the user is disabled")]
    Disabled,
}

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The configured key is a public one.
    #[error("the configured key is public: it verifies tokens but cannot make them")]
    VerifyOnly,
    /// The key was refused by the cryptography.
    #[error("cannot sign a token: {0}")]
    Signing(#[source] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    role: Role,
    aud: &'static str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<Uuid>,
    /// Tells two tokens of one session apart, made in the same second.
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<Uuid>,
}

/// The key with its algorithm. Its debug form shows no key.
#[derive(Clone)]
pub struct TokenKeys {
    algorithm: Algorithm,
    signing: Option<EncodingKey>,
    verifying: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKeys").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl TokenKeys {
    /// The key the settings name. Without a secret or key file configured it is that of the data directory, made (mode 0600,
    /// with the directory) if there is none; a configured file must exist, lest a mistyped path quietly make all tokens void.
    ///
    /// # Errors
    /// A file that can't be read or made, that others than its owner may use, or that holds no key of the algorithm.
    pub fn load(settings: &Settings) -> Result<Self, KeyError> {
        let auth = &settings.auth;
        let path = settings.key_file();
        match auth.algorithm {
            TokenAlgorithm::HS256 => {
                let secret = match (&auth.secret, &auth.key_file) {
                    (Some(secret), _) => secret.expose_secret().as_bytes().to_vec(),
                    (None, Some(_)) => read_secret(&path)?,
                    (None, None) => read_or_create_secret(&path)?,
                };
                Ok(Self::from_secret(&secret, auth.leeway))
            }
            algorithm => Self::from_pem(algorithm, &read(&path)?, &path, auth.leeway),
        }
    }

    /// HS256 with this secret; `leeway` counts in whole seconds.
    #[must_use]
    pub fn from_secret(secret: &[u8], leeway: Duration) -> Self {
        let (signing, verifying) = (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Self::assemble(Algorithm::HS256, Some(signing), verifying, leeway)
    }

    fn from_pem(algorithm: TokenAlgorithm, pem: &[u8], path: &Path, leeway: Duration) -> Result<Self, KeyError> {
        let (algorithm, reason) = match algorithm {
            TokenAlgorithm::RS256 => (Algorithm::RS256, "expected an RSA key in PEM (private PKCS#8 or PKCS#1, or public)"),
            _ => (Algorithm::EdDSA, "expected an Ed25519 key in PEM (private PKCS#8 version 1, or public)"),
        };
        let rsa = algorithm == Algorithm::RS256;
        let unusable = |_| KeyError::Unusable { path: path.to_path_buf(), reason };
        if is_public(pem) {
            let verifying = if rsa { DecodingKey::from_rsa_pem(pem) } else { DecodingKey::from_ed_pem(pem) };
            return Ok(Self::assemble(algorithm, None, verifying.map_err(unusable)?, leeway));
        }
        let signing = if rsa { EncodingKey::from_rsa_pem(pem) } else { EncodingKey::from_ed_pem(pem) };
        let signing = signing.map_err(unusable)?;
        let verifying = Jwk::from_encoding_key(&signing, algorithm).and_then(|jwk| DecodingKey::from_jwk(&jwk));
        Ok(Self::assemble(algorithm, Some(signing), verifying.map_err(unusable)?, leeway))
    }

    fn assemble(algorithm: Algorithm, signing: Option<EncodingKey>, verifying: DecodingKey, leeway: Duration) -> Self {
        Self { algorithm, signing, verifying, validation: validation(algorithm, leeway) }
    }

    /// Whether there is a key to make tokens with.
    #[must_use]
    pub fn can_issue(&self) -> bool {
        self.signing.is_some()
    }

    /// A token for `sub` as `role` from now on.
    ///
    /// # Errors
    /// The key is public only, or can't sign.
    pub fn issue(&self, sub: &Subject, role: Role, ttl: Ttl) -> Result<String, IssueError> {
        self.sign(sub, role, ttl, None)
    }

    /// As [`TokenKeys::issue`], of a session: it ends with that, if not before.
    ///
    /// # Errors
    /// As [`TokenKeys::issue`].
    pub fn issue_for(&self, sub: &Subject, role: Role, ttl: Ttl, session: SessionId) -> Result<String, IssueError> {
        self.sign(sub, role, ttl, Some(session.0))
    }

    fn sign(&self, sub: &Subject, role: Role, ttl: Ttl, sid: Option<Uuid>) -> Result<String, IssueError> {
        let signing = self.signing.as_ref().ok_or(IssueError::VerifyOnly)?;
        let iat = jsonwebtoken::get_current_timestamp();
        let (exp, jti) = (iat + ttl.as_secs(), sid.map(|_| Uuid::new_v4()));
        let claims = Claims { sub: sub.as_str(), role, aud: AUDIENCE, iat, exp, sid, jti };
        jsonwebtoken::encode(&Header::new(self.algorithm), &claims, signing).map_err(IssueError::Signing)
    }

    /// Who the token was made for.
    ///
    /// # Errors
    /// The algorithm is not the configured one, the signature does not hold, `exp` is absent or past, `nbf` is still to come,
    /// `aud` is not exactly `gavel`, `sub` or `role` is absent or not one, `sid` is there and not one.
    pub fn verify(&self, token: &str) -> Result<Principal, AuthError> {
        let claims = claims(token, &self.verifying, &self.validation)?;
        // RFC 7519, section 4.1.3: one audience may also stand in a list of one.
        let audience = match claim(&claims, "aud")? {
            Value::Array(list) if list.len() == 1 => &list[0],
            other => other,
        };
        if audience.as_str() != Some(AUDIENCE) {
            return Err(AuthError::BadClaim("aud", "expected exactly `gavel`"));
        }
        let session = match claims.get("sid").filter(|sid| !sid.is_null()) {
            None => None,
            Some(sid) => {
                let sid = sid.as_str().and_then(|sid| sid.parse().ok());
                Some(SessionId(sid.ok_or(AuthError::BadClaim("sid", "expected a UUID"))?))
            }
        };
        principal(&claims, "role", session, self.validation.leeway)
    }
}

/// What the library checks: signature, algorithm, `exp` and `nbf` where they are.
pub(super) fn validation(algorithm: Algorithm, leeway: Duration) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = leeway.as_secs();
    validation.validate_nbf = true;
    // The library is content if `aud` has gavel among others, and calls an unreadable `exp` missing: that is asked for here,
    // and it is said which it was.
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    validation
}

/// The claims of a token whose signature holds.
pub(super) fn claims(token: &str, key: &DecodingKey, validation: &Validation) -> Result<Map<String, Value>, AuthError> {
    let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, key, validation);
    decoded.map(|data| data.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => AuthError::Algorithm,
        ErrorKind::InvalidSignature => AuthError::Signature,
        ErrorKind::ExpiredSignature => AuthError::Expired,
        ErrorKind::ImmatureSignature => AuthError::NotYetValid,
        ErrorKind::InvalidClaimFormat(claim) if claim == "nbf" => AuthError::BadClaim("nbf", NOT_A_TIME),
        ErrorKind::InvalidClaimFormat(_) => AuthError::BadClaim("exp", NOT_A_TIME),
        _ if names_foreign_algorithm(token) => AuthError::Algorithm,
        _ => AuthError::Malformed,
    })
}

const NOT_A_TIME: &str = "expected seconds since the Unix epoch";

/// The library can't read a header with an algorithm it doesn't know, `none` among them. Such a token is whole all the same,
/// and its maker deserves to know what is wrong with it.
fn names_foreign_algorithm(token: &str) -> bool {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap_or_default();
    let Ok(bytes) = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header) else { return false };
    let header: Map<String, Value> = serde_json::from_slice(&bytes).unwrap_or_default();
    header.get("alg").and_then(Value::as_str).is_some_and(|name| name.parse::<Algorithm>().is_err())
}

pub(super) fn claim<'a>(claims: &'a Map<String, Value>, name: &'static str) -> Result<&'a Value, AuthError> {
    claims.get(name).filter(|value| !value.is_null()).ok_or(AuthError::MissingClaim(name))
}

fn text<'a>(name: &'static str, value: &'a Value) -> Result<&'a str, AuthError> {
    value.as_str().ok_or(AuthError::BadClaim(name, "expected a text"))
}

/// Who the claims name; `role_claim` is where the role stands, `leeway` in seconds.
pub(super) fn principal(
    claims: &Map<String, Value>,
    role_claim: &str,
    session: Option<SessionId>,
    leeway: u64,
) -> Result<Principal, AuthError> {
    let exp = claim(claims, "exp")?;
    // A NumericDate may have a fraction; a conversion from float saturates.
    let expires_at = exp.as_u64().or_else(|| exp.as_f64().map(|seconds| seconds as u64));
    let role = claims.get(role_claim).filter(|role| !role.is_null()).ok_or(AuthError::MissingClaim("role"))?;
    let principal = Principal {
        sub: text("sub", claim(claims, "sub")?)?
            .parse()
            .map_err(|_| AuthError::BadClaim("sub", "expected 1 to 64 of A-Z a-z 0-9 . _ -, first a letter or digit"))?,
        role: text("role", role)?.parse().map_err(|_| AuthError::BadClaim("role", "expected admin, auctioneer, bidder or viewer"))?,
        expires_at: expires_at.ok_or(AuthError::BadClaim("exp", NOT_A_TIME))?.saturating_add(leeway),
        session,
    };
    // RFC 7519, section 4.1.4: not "on or after" that second; the library still takes the second itself.
    if principal.expires_at <= jsonwebtoken::get_current_timestamp() {
        return Err(AuthError::Expired);
    }
    Ok(principal)
}

#[cfg(test)]
mod tests;

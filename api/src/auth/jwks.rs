//! Another issuer's public keys: a JWK set (RFC 7517), each key with the one algorithm it is good for.

use super::{
    AuthError,
    token::{claims, validation},
};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde_json::{Map, Value};
use std::{collections::HashMap, time::Duration};

/// Keys of a set, at most.
const MOST_KEYS: usize = 100;

/// A text that is no set of keys, or has none that could be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// RFC 7517, section 5: an object with an array `keys`.
    #[error("not a JWK set: {0}")]
    NotASet(String),
    /// Nothing in it can verify a token.
    #[error("no key in it can be used: {}", if .0.is_empty() { "it has none".to_owned() } else { .0.join("; ") })]
    NoKey(Vec<String>),
}

/// A key and the one algorithm it is used with, whatever a token says.
struct Key {
    verifying: DecodingKey,
    validation: Validation,
}

/// Keys by `kid`.
#[derive(Default)]
pub(super) struct KeySet {
    keys: HashMap<String, Key>,
    /// What was left out, and why.
    pub(super) left_out: Vec<String>,
}

impl KeySet {
    /// From a JSON text. What can't be used is left out: an issuer may have keys for other things too.
    ///
    /// # Errors
    /// See [`KeySetError`].
    pub(super) fn parse(text: &[u8], leeway: Duration) -> Result<Self, KeySetError> {
        let set: Value = serde_json::from_slice(text).map_err(|error| KeySetError::NotASet(error.to_string()))?;
        let list = set.get("keys").and_then(Value::as_array);
        let list = list.ok_or_else(|| KeySetError::NotASet("expected an object with a list `keys`".to_owned()))?;
        if list.len() > MOST_KEYS {
            return Err(KeySetError::NotASet(format!("{} keys, at most {MOST_KEYS} are taken", list.len())));
        }
        let mut found = Self::default();
        for (number, key) in list.iter().enumerate() {
            match read(key, leeway) {
                // Which of two keys of one name is meant nobody could say.
                Ok((kid, _)) if found.keys.contains_key(&kid) => found.left_out.push(format!("keys[{number}]: its kid was used before")),
                Ok((kid, key)) => drop(found.keys.insert(kid, key)),
                Err(reason) => found.left_out.push(format!("keys[{number}]: {reason}")),
            }
        }
        if found.keys.is_empty() { Err(KeySetError::NoKey(found.left_out)) } else { Ok(found) }
    }

    /// How many.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The claims of a token, if its signature holds by the key of this name.
    ///
    /// # Errors
    /// No such key, another algorithm than the key's, a signature that does not hold, a time that is over or to come.
    pub(super) fn claims(&self, kid: &str, token: &str) -> Result<Map<String, Value>, AuthError> {
        let key = self.keys.get(kid).ok_or(AuthError::UnknownKey)?;
        claims(token, &key.verifying, &key.validation)
    }
}

fn read(key: &Value, leeway: Duration) -> Result<(String, Key), &'static str> {
    if ["d", "k", "p"].iter().any(|secret| key.get(secret).is_some()) {
        return Err("it is not a public key");
    }
    let jwk: Jwk = serde_json::from_value(key.clone()).map_err(|_| "not a JWK")?;
    let kid = jwk.common.key_id.clone().filter(|kid| !kid.is_empty()).ok_or("it has no kid")?;
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return Err("it is not for signatures");
    }
    if jwk.common.key_operations.as_ref().is_some_and(|operations| !operations.contains(&KeyOperations::Verify)) {
        return Err("it is not for verifying");
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => (Algorithm::ES256, KeyAlgorithm::ES256),
        AlgorithmParameters::OctetKeyPair(point) if point.curve == EllipticCurve::Ed25519 => (Algorithm::EdDSA, KeyAlgorithm::EdDSA),
        _ => return Err("expected RSA, EC on P-256 or Ed25519"),
    };
    if jwk.common.key_algorithm.is_some_and(|declared| declared != name) {
        return Err("expected alg RS256 with RSA, ES256 with P-256, EdDSA with Ed25519");
    }
    let verifying = DecodingKey::from_jwk(&jwk).map_err(|_| "its numbers can't be read")?;
    Ok((kid, Key { verifying, validation: validation(algorithm, leeway) }))
}

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.keys.len()).field("left_out", &self.left_out).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(keys: &Value) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes(), Duration::ZERO)
    }

    /// RFC 8037, appendix A.2, with changes; null takes a member away.
    fn ed25519(changes: &Value) -> Value {
        let mut key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "a"});
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(key.as_object_mut().unwrap().remove(name)),
                value => drop(key.as_object_mut().unwrap().insert(name.clone(), value.clone())),
            }
        }
        key
    }

    #[test]
    fn what_can_verify_is_taken_and_the_rest_left_out() {
        for (changes, reason) in [
            (json!({}), ""),
            (json!({"alg": "EdDSA", "use": "sig", "key_ops": ["verify"], "x5t": "whatever"}), ""),
            (json!({"kid": null}), "no kid"),
            (json!({"kid": ""}), "no kid"),
            (json!({"use": "enc"}), "not for signatures"),
            (json!({"key_ops": ["sign"]}), "not for verifying"),
            (json!({"alg": "HS256"}), "expected alg"),
            (json!({"alg": "RS256"}), "expected alg"),
            (json!({"crv": "P-521", "kty": "EC", "y": "AA"}), "expected RSA"),
            (json!({"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}), "not a public key"),
            (json!({"kty": "oct", "k": "c2VjcmV0"}), "not a public key"),
            (json!({"kty": "fancy"}), "expected RSA"),
            (json!({"x": 7}), "expected RSA"),
            (json!({"kty": null}), "expected RSA"),
            (json!({"kid": 7}), "not a JWK"),
        ] {
            let outcome = parse(&json!([ed25519(&changes)]));
            match outcome {
                Ok(set) => assert!(reason.is_empty() && set.len() == 1, "{changes}"),
                Err(KeySetError::NoKey(why)) => assert!(!reason.is_empty() && why[0].contains(reason), "{changes}: {why:?}"),
                Err(other) => panic!("{changes}: {other}"),
            }
        }
        let set = parse(&json!([ed25519(&json!({"use": "enc"})), ed25519(&json!({})), ed25519(&json!({}))])).unwrap();
        assert_eq!((set.len(), set.left_out.len()), (1, 2));
        assert!(matches!(set.claims("b", "x.y.z"), Err(AuthError::UnknownKey)));
    }

    #[test]
    fn what_is_no_set_is_told_so() {
        for text in ["", "{", "[]", "{}", "{\"keys\":{}}", "null"] {
            let error = KeySet::parse(text.as_bytes(), Duration::ZERO).unwrap_err();
            assert!(matches!(error, KeySetError::NotASet(_)), "{text}: {error}");
        }
        assert_eq!(parse(&json!([])).unwrap_err().to_string(), "no key in it can be used: it has none");
        let many: Vec<Value> = (0..=MOST_KEYS).map(|number| ed25519(&json!({"kid": number.to_string()}))).collect();
        assert!(matches!(parse(&many.into()), Err(KeySetError::NotASet(_))));
    }
}

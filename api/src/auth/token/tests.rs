//! Tokens that must pass, and those that must not, each with what is said about it.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn now() -> u64 {
    jsonwebtoken::get_current_timestamp()
}

fn keys() -> TokenKeys {
    TokenKeys::from_secret(SECRET, Duration::ZERO)
}

fn signed(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET)).unwrap()
}

/// A good token's claims with some replaced; null takes one away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({"sub": "alice", "role": "bidder", "aud": "gavel", "exp": now() + 60});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

#[test]
fn an_issued_token_names_its_holder() {
    let (sub, ttl): (Subject, Ttl) = ("al.ice-1".parse().unwrap(), "90s".parse().unwrap());
    for role in [Role::Viewer, Role::Bidder, Role::Auctioneer, Role::Admin] {
        let before = now();
        let principal = keys().verify(&keys().issue(&sub, role, ttl).unwrap()).unwrap();
        assert_eq!((&principal.sub, principal.role), (&sub, role));
        assert!((before + 90..=now() + 90).contains(&principal.expires_at));
        let left = principal.remaining(UNIX_EPOCH + Duration::from_secs(principal.expires_at - 30));
        assert_eq!(left, Duration::from_secs(30));
        assert_eq!(principal.remaining(SystemTime::now() + Duration::from_secs(1000)), Duration::ZERO);
    }
}

#[test]
fn claims_are_judged_one_by_one() {
    use AuthError::{BadClaim, Expired, MissingClaim, NotYetValid};
    let name = "expected 1 to 64 of A-Z a-z 0-9 . _ -, first a letter or digit";
    let role = "expected admin, auctioneer, bidder or viewer";
    let aud = "expected exactly `gavel`";
    for (changes, expected) in [
        (json!({}), Ok(())),
        (json!({"aud": ["gavel"]}), Ok(())),
        (json!({"iss": "anyone", "extra": [1], "nbf": now() - 5}), Ok(())),
        (json!({"exp": (now() + 60) as f64 + 0.5}), Ok(())),
        (json!({"exp": null}), Err(MissingClaim("exp"))),
        (json!({"exp": "soon"}), Err(BadClaim("exp", NOT_A_TIME))),
        (json!({"exp": -1}), Err(BadClaim("exp", NOT_A_TIME))),
        (json!({"exp": now() - 1}), Err(Expired)),
        (json!({"exp": now()}), Err(Expired)),
        (json!({"exp": 0}), Err(Expired)),
        (json!({"nbf": now() + 50}), Err(NotYetValid)),
        (json!({"nbf": "later"}), Err(BadClaim("nbf", NOT_A_TIME))),
        (json!({"aud": null}), Err(MissingClaim("aud"))),
        (json!({"aud": "Gavel"}), Err(BadClaim("aud", aud))),
        (json!({"aud": "other"}), Err(BadClaim("aud", aud))),
        (json!({"aud": ["gavel", "other"]}), Err(BadClaim("aud", aud))),
        (json!({"aud": []}), Err(BadClaim("aud", aud))),
        (json!({"sub": null}), Err(MissingClaim("sub"))),
        (json!({"sub": 7}), Err(BadClaim("sub", "expected a text"))),
        (json!({"sub": ""}), Err(BadClaim("sub", name))),
        (json!({"sub": "-alice"}), Err(BadClaim("sub", name))),
        (json!({"sub": "a/../b"}), Err(BadClaim("sub", name))),
        (json!({"sub": "x".repeat(65)}), Err(BadClaim("sub", name))),
        (json!({"role": null}), Err(MissingClaim("role"))),
        (json!({"role": "root"}), Err(BadClaim("role", role))),
        (json!({"role": ["admin"]}), Err(BadClaim("role", "expected a text"))),
    ] {
        assert_eq!(keys().verify(&signed(&claims(&changes))).map(|_| ()), expected, "{changes}");
    }
}

#[test]
fn leeway_reaches_past_the_end() {
    let lenient = TokenKeys::from_secret(SECRET, Duration::from_secs(30));
    assert!(lenient.verify(&signed(&claims(&json!({"exp": now() - 5})))).is_ok());
    assert_eq!(lenient.verify(&signed(&claims(&json!({"exp": now() - 60})))), Err(AuthError::Expired));
    // Also for what outlives the check, as a socket does.
    let left = lenient.verify(&signed(&claims(&json!({"exp": now() - 5})))).unwrap().remaining(SystemTime::now());
    assert!((20..=25).contains(&left.as_secs()), "{left:?}");
}

#[test]
fn only_the_configured_algorithm_and_key_count() {
    let good = claims(&json!({}));
    let token = signed(&good);
    let (head, signature) = token.rsplit_once('.').unwrap();
    let with = |algorithm, secret: &[u8]| jsonwebtoken::encode(&Header::new(algorithm), &good, &EncodingKey::from_secret(secret)).unwrap();
    let admin = claims(&json!({"role": "admin"}));
    for (what, token, expected) in [
        ("none", unsigned(&json!({"alg": "none", "typ": "JWT"}), &good, ""), AuthError::Algorithm),
        ("NONE", unsigned(&json!({"alg": "NONE"}), &good, signature), AuthError::Algorithm),
        ("no alg", unsigned(&json!({"typ": "JWT"}), &good, signature), AuthError::Malformed),
        ("HS512 with the key", with(Algorithm::HS512, SECRET), AuthError::Algorithm),
        ("RS256 in the header", unsigned(&json!({"alg": "RS256"}), &good, signature), AuthError::Algorithm),
        ("foreign key", with(Algorithm::HS256, b"another key"), AuthError::Signature),
        ("no signature", format!("{head}."), AuthError::Signature),
        ("other claims", unsigned(&json!({"alg": "HS256", "typ": "JWT"}), &admin, signature), AuthError::Signature),
        // The signature is judged before what is claimed: nothing is learned about claims without the key.
        ("foreign and bad", unsigned(&json!({"alg": "HS256"}), &json!({}), signature), AuthError::Signature),
        ("empty", String::new(), AuthError::Malformed),
        ("two parts", head.to_owned(), AuthError::Malformed),
        ("no base64", "!.!.!".to_owned(), AuthError::Malformed),
        ("four parts", format!("{token}.x"), AuthError::Malformed),
    ] {
        let error = keys().verify(&token).expect_err(what);
        assert_eq!(error, expected, "{what}");
        assert!(token.is_empty() || !error.to_string().contains(&token), "{what}");
    }
    assert!(!format!("{:?}", keys()).contains("0123456789"));
}

fn settings(dir: &Path, env: &[(&str, &str)]) -> Settings {
    let overrides = crate::config::Overrides { data_dir: Some(dir.into()), ..Default::default() };
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::load(None, env, &overrides).unwrap()
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn the_data_directory_keeps_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let settings_here = settings(dir.path(), &[]);
    let first = TokenKeys::load(&settings_here).unwrap();
    let token = first.issue(&"a".parse().unwrap(), Role::Admin, "1m".parse().unwrap()).unwrap();
    assert!(TokenKeys::load(&settings_here).unwrap().verify(&token).is_ok());
    // Anyone with the file signs: its text is the secret.
    let text = fs::read_to_string(dir.path().join("jwt.key")).unwrap();
    assert!(TokenKeys::from_secret(text.trim().as_bytes(), Duration::ZERO).verify(&token).is_ok());
    fs::set_permissions(dir.path().join("jwt.key"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(TokenKeys::load(&settings_here), Err(KeyError::Exposed { mode: 0o644, .. })));
}

#[test]
fn a_configured_key_comes_from_where_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    let file = path.to_str().unwrap();
    let missing = settings(dir.path(), &[("GAVEL__AUTH__KEY_FILE", file)]);
    assert!(matches!(TokenKeys::load(&missing), Err(KeyError::Read { .. })) && !path.exists());
    private(&path, &format!(" {}\n", String::from_utf8_lossy(SECRET)));
    assert!(TokenKeys::load(&missing).unwrap().verify(&signed(&claims(&json!({})))).is_ok());
    let text = String::from_utf8_lossy(SECRET);
    let inline = settings(dir.path(), &[("GAVEL__AUTH__SECRET", text.as_ref())]);
    assert!(TokenKeys::load(&inline).unwrap().verify(&signed(&claims(&json!({})))).is_ok());
    assert!(!dir.path().join("jwt.key").exists());
}

#[test]
fn key_pairs_sign_and_verify() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    for (algorithm, private_pem, public_pem) in [("EdDSA", ED_PRIVATE, ED_PUBLIC), ("RS256", RSA_PRIVATE, RSA_PUBLIC)] {
        let file = path.to_str().unwrap();
        let configured = settings(dir.path(), &[("GAVEL__AUTH__ALGORITHM", algorithm), ("GAVEL__AUTH__KEY_FILE", file)]);
        private(&path, private_pem);
        let issuer = TokenKeys::load(&configured).unwrap();
        let (sub, ttl): (Subject, Ttl) = ("a".parse().unwrap(), "1m".parse().unwrap());
        let token = issuer.issue(&sub, Role::Admin, ttl).unwrap();
        assert!(issuer.verify(&token).is_ok());
        // The classic: a token signed by HMAC with the public key's text.
        let forged = EncodingKey::from_secret(public_pem.as_bytes());
        let forged = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(&json!({})), &forged).unwrap();
        fs::write(&path, public_pem).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let verifier = TokenKeys::load(&configured).unwrap();
        assert!(verifier.verify(&token).is_ok());
        assert_eq!(verifier.verify(&forged), Err(AuthError::Algorithm));
        assert_eq!(verifier.verify(&signed(&claims(&json!({})))), Err(AuthError::Algorithm));
        assert!(matches!(verifier.issue(&sub, Role::Admin, ttl), Err(IssueError::VerifyOnly)));
        private(&path, "nothing like a key");
        let error = TokenKeys::load(&configured).unwrap_err().to_string();
        assert!(error.contains("in PEM") && error.contains(file), "{error}");
        private(&path, if algorithm == "EdDSA" { RSA_PRIVATE } else { ED_PRIVATE });
        let wrong_kind = TokenKeys::load(&configured);
        assert!(wrong_kind.is_err(), "{algorithm} takes the other's key");
    }
}

// Made for these tests alone.
const ED_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIPXWTz5dy99v17G+IjiBuJ1E2TVp+5G2Xw6v1pzdqtVZ
-----END PRIVATE KEY-----
";
const ED_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEANCMNctjdTD7eIyMWCCjpRgEvs3Vq3TGwXyf9EQESH5Y=
-----END PUBLIC KEY-----
";
const RSA_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDT8AXxLmKCWKGM
8A1/SJTeFBBQJS8ip3QSmlf6BYrechF2PkKIPQCmiRM4Y9ulcwGmHmtxldKRKokj
j0Vjtv9gF996dgAtolPmzhAjO4eZMVKjotStIjTaFE698VIByb7NARo6V4m8vHl+
mlEmiTSdTLV3FGpzt07376sqLzLwzLgZJot+jrfbvNaxbIKLR3WH5WGG2F4Ft4dg
ZiStk4ihroAF4jZ9CPzjcI3wxwR3nU6htkgoXqTn6fOmRxGYSeYYlSYL2b/NycmF
9GCbtUkb/8uBWoA7etQa4g+VuM6zdRDI1DWbq8V2eSfwPIzG7Gzub8HwbOmf24BE
rAk7/+b7AgMBAAECggEAPKZC5Q57lUaM0Jq/mg2owFaohm7lqrqV3l75zyw33clx
0s8lVfxzC7VNYUU+TX34WlP5NlOEIxOzlBADcPIk6ZhbVR2glm6OKQ4OEy8Nclrp
hbdqujMAQeou0G9XIvjbV6o5mbmESpT7Ba5ei7MW8e7KPU4D2qJ6ADy/VD6Wis7d
gW2+XmGSpisiaHxUZX+iqTwfdjATwbTTUd9EiVb10NAAODzoE5eU4Ej8zyaeYypG
QuvAz4HWk4WFa3G/UMjC5eWp4ZChzeJAN7LhsBIer0lzNzvetKFkxafvddmvNTKl
P7ZCuHKWzOm16VheKb85IIHwnkL33ep35FHZ3AfaZQKBgQDvMZkyNcOhw+/alm7w
stcwbNiXh9SFsZD/R0QzS/9708izbdCxU99Z7+u6zD6cs/1qwDoppZGP/Yi6/WN8
hqRG8yje5vdJzCNHTilmX8jpHdOE0pQFO7Kx8DeLhuzJDcaJyHiPahDDm86flSN7
xSrIHl1pyepvLbWGfX/6dr7cvQKBgQDi1CpoukmZ+D6nk2h3BMRFLPm13Wo1I26t
vEpgKCAR95SisSDTDEwk8Uu2LqYEw2PrbTak4OjNx7pPKY1Z8XrDy19or5wmu8gn
mIzKE8t30ECYHBA2SqTnbEdxMIR3uOqrlCPlfjnSgIjfviVPd8v+BQMyqGVHcaw/
QnvASMh6FwKBgQCVP9CEePG59WWrciSFQkJtr+0yGAou5c5Ay3otu+UNoedgtkv6
6ge6ua7QXvNOmiytOIbSR8JdI2j2rHcwU18b+kvtUhbJUHxO2OGSRIA7nWXHQhIk
dcyZpPczs5v6FANnI9S+QAN32reB8fAzIaMBPZkyElCa0N2srpB1ezS6zQKBgAjt
FnomkoznkvefOmYsntimC3GXs/1BVrKpjTe5fIGYf5XjaIpFmp19jWAu98OKON1j
39mfLCok6PUCiph2g0E/OJLzDi8MBrVgMHInU0N0w4X43L52M4UT4r/Wi+/2K+3y
l3MJg5cADeLYJbm52iI16klNDSdBluiqYhpQAuujAoGAedhkEVCzHaJhsw06QU2v
vDEF3Dh82ReTrpL6oHEVmdugVUxdXwc8mkVByl16omjtiM8foGL+ukswD7wnfA15
vof4qSkw4KIfRfv/QI3XW5/mDfHgyOl3AP4MHBPss/jRqgbOBjp2zU3FpxlWG/L8
VGVUfoDWEJnltu7LnB2vvXo=
-----END PRIVATE KEY-----
";
const RSA_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA0/AF8S5iglihjPANf0iU
3hQQUCUvIqd0EppX+gWK3nIRdj5CiD0ApokTOGPbpXMBph5rcZXSkSqJI49FY7b/
YBffenYALaJT5s4QIzuHmTFSo6LUrSI02hROvfFSAcm+zQEaOleJvLx5fppRJok0
nUy1dxRqc7dO9++rKi8y8My4GSaLfo6327zWsWyCi0d1h+VhhtheBbeHYGYkrZOI
oa6ABeI2fQj843CN8McEd51OobZIKF6k5+nzpkcRmEnmGJUmC9m/zcnJhfRgm7VJ
G//LgVqAO3rUGuIPlbjOs3UQyNQ1m6vFdnkn8DyMxuxs7m/B8Gzpn9uARKwJO//m
+wIDAQAB
-----END PUBLIC KEY-----
";

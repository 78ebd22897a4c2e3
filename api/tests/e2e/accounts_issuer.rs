//! Tokens of another issuer, by its published keys.

use crate::kit::{Claims, Finished, Server, Setup, Socket, forge};
use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex},
};

const ISSUER: &str = "https://id.example.org";

/// A key pair of the issuer.
struct Key {
    kid: &'static str,
    algorithm: Algorithm,
    private: EncodingKey,
    /// Its public half as anybody may have it.
    public: Vec<u8>,
}

impl Key {
    fn ed25519(kid: &'static str) -> Self {
        let pair = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let public = Ed25519KeyPair::from_pkcs8(pair.as_ref()).unwrap().public_key().as_ref().to_vec();
        Self { kid, algorithm: Algorithm::EdDSA, private: EncodingKey::from_ed_der(pair.as_ref()), public }
    }

    fn p256(kid: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pair.as_ref()).unwrap();
        let private = EncodingKey::from_ec_der(pair.as_ref());
        Self { kid, algorithm: Algorithm::ES256, private, public: key.public_key().as_ref().to_vec() }
    }

    fn rsa(kid: &'static str) -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = pair.public_key().as_ref().to_vec();
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", base64(pkcs8.as_ref()));
        Self { kid, algorithm: Algorithm::RS256, private: EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(), public }
    }

    /// As it stands in a JWK set.
    fn published(&self) -> Value {
        let mut key = serde_json::to_value(Jwk::from_encoding_key(&self.private, self.algorithm).unwrap()).unwrap();
        key["kid"] = json!(self.kid);
        key["use"] = json!("sig");
        key
    }

    fn sign(&self, claims: &Claims) -> String {
        sign(self.algorithm, Some(self.kid), &self.private, claims)
    }
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

fn sign(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Claims) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, &claims.0, key).unwrap()
}

fn set(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.published()).collect::<Vec<_>>() }).to_string()
}

fn claims() -> Claims {
    Claims::good().with("iss", json!(ISSUER))
}

fn with_file(file: &Path) -> Setup {
    Setup::new().env("GAVEL__AUTH__JWKS_FILE", file.to_str().unwrap()).env("GAVEL__AUTH__ISSUER", ISSUER)
}

#[tokio::test]
async fn keys_of_each_kind_let_in_and_no_other_signature_does() {
    let (ed, ec, rsa) = (Key::ed25519("ed"), Key::p256("ec"), Key::rsa("rsa"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    std::fs::write(&file, set(&[&ed, &ec, &rsa])).unwrap();
    let server = with_file(&file).start();
    for key in [&ed, &ec, &rsa] {
        assert!(server.lets_in(&key.sign(&claims())), "{}", key.kid);
        Socket::open(&server.address(), &key.sign(&claims())).await.ok(json!({"time": {}})).await;
        // The public key as a secret: who believes the token's `alg` takes it.
        for secret in [key.public.clone(), key.published().to_string().into_bytes(), base64(&key.public).into_bytes()] {
            let secret = EncodingKey::from_secret(&secret);
            assert!(!server.lets_in(&sign(Algorithm::HS256, Some(key.kid), &secret, &claims())), "{}", key.kid);
            assert!(!server.lets_in(&sign(Algorithm::HS256, None, &secret, &claims())), "{}", key.kid);
        }
        // Another key of the same kind under this name.
        let twin = match key.kid {
            "ed" => Key::ed25519("ed"),
            "ec" => Key::p256("ec"),
            _ => Key::rsa("rsa"),
        };
        assert!(!server.lets_in(&twin.sign(&claims())), "{}", key.kid);
    }
    assert!(!server.lets_in(&sign(ed.algorithm, Some("ec"), &ed.private, &claims())), "one key under the name of another");
    assert!(!server.lets_in(&sign(ed.algorithm, Some("unknown"), &ed.private, &claims())), "a name nobody has");
    assert!(!server.lets_in(&sign(ed.algorithm, None, &ed.private, &claims())), "no name at all");
    // Our own tokens go on.
    assert!(server.lets_in(&server.token("alice", "bidder")) && server.lets_in(&forge(&Claims::good(), Ok(server.dir()))));
    assert!(!server.lets_in(&sign(Algorithm::HS256, Some("ed"), &own_key(&server), &claims())), "under the issuer's name");
}

fn own_key(server: &Server) -> EncodingKey {
    EncodingKey::from_secret(std::fs::read_to_string(server.dir().join("jwt.key")).unwrap().trim().as_bytes())
}

#[test]
fn what_the_issuer_claims_is_judged() {
    let key = Key::ed25519("a");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    std::fs::write(&file, set(&[&key])).unwrap();
    let server = with_file(&file).env("GAVEL__AUTH__ROLE_CLAIM", "https://example.org/role").start();
    let good = || claims().with("role", Value::Null).with("https://example.org/role", json!("auctioneer"));
    server.rest_with(&key.sign(&good())).create(&crate::kit::lot());
    let past = jiff::Timestamp::now().as_second() - 1;
    for (claim, value, taken) in [
        ("aud", json!(["account", "gavel"]), true),
        ("sid", json!("the issuer's own"), true),
        ("aud", json!("account"), false),
        ("aud", json!(["account"]), false),
        ("aud", Value::Null, false),
        ("iss", json!("https://id.example.com"), false),
        ("iss", json!([ISSUER]), false),
        ("iss", Value::Null, false),
        ("exp", json!(past), false),
        ("exp", Value::Null, false),
        ("nbf", json!(past + 1000), false),
        ("sub", json!("auth0|123"), false),
        ("https://example.org/role", json!("king"), false),
        ("https://example.org/role", Value::Null, false),
        ("https://example.org/role", json!(["bidder"]), false),
    ] {
        assert_eq!(server.lets_in(&key.sign(&good().with(claim, value.clone()))), taken, "{claim} {value}");
    }
    assert!(!server.lets_in(&key.sign(&claims())), "the role is looked for in one place");
}

#[test]
fn a_new_key_is_noticed_when_a_token_names_it_but_not_at_every_such_token() {
    let (first, second, third) = (Key::ed25519("1"), Key::ed25519("2"), Key::ed25519("3"));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    std::fs::write(&file, set(&[&first])).unwrap();
    let server = with_file(&file).start();
    std::fs::write(&file, set(&[&second])).unwrap();
    assert!(server.lets_in(&first.sign(&claims())));
    assert!(server.lets_in(&second.sign(&claims())), "asked for, and waited for");
    assert!(!server.lets_in(&first.sign(&claims())), "it is no longer published");
    std::fs::write(&file, set(&[&third])).unwrap();
    assert!(!server.lets_in(&third.sign(&claims())), "not twice in a minute");
    assert!(server.lets_in(&second.sign(&claims())));
}

#[test]
fn keys_can_be_fetched() {
    let key = Key::p256("a");
    let published = Arc::new(Mutex::new(None));
    let (address, asked) = serve(Arc::clone(&published));
    // Not there yet: the server starts all the same.
    let server = Setup::new().env("GAVEL__AUTH__JWKS_URL", format!("http://{address}/jwks")).env("GAVEL__AUTH__ISSUER", ISSUER).start();
    server.log_line("an issuer's keys can't be had yet");
    *published.lock().unwrap() = Some(set(&[&key]));
    assert!(server.lets_in(&key.sign(&claims())));
    assert_eq!(*asked.lock().unwrap(), ["/jwks", "/jwks"]);
}

/// A web server with one document, for each connection one answer; and the paths that were asked for.
fn serve(document: Arc<Mutex<Option<String>>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, asked) = (listener.local_addr().unwrap().to_string(), Arc::new(Mutex::new(Vec::new())));
    let paths = Arc::clone(&asked);
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte).is_ok_and(|bytes| bytes > 0) {
                head.push(byte[0]);
            }
            let path = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
            paths.lock().unwrap().push(path);
            let (status, body) = match document.lock().unwrap().clone() {
                Some(body) => ("200 OK", body),
                None => ("503 Service Unavailable", String::new()),
            };
            let length = body.len();
            let _ = write!(connection, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
        }
    });
    (address, asked)
}

#[test]
fn a_configuration_that_can_not_work_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let (file, missing) = (dir.path().join("gavel.toml"), dir.path().join("jwks.json"));
    let check = |text: &str| {
        std::fs::write(&file, format!("[auth]\n{text}\n")).unwrap();
        Finished::run(&["config", "check", "--config", file.to_str().unwrap()])
    };
    for (text, said) in [
        ("jwks_file = \"keys.json\"", "auth.jwks_file: needs auth.issuer"),
        ("jwks_url = \"https://id.example.org/keys\"", "auth.jwks_url: needs auth.issuer"),
        ("issuer = \"x\"", "auth.issuer: needs auth.jwks_file or auth.jwks_url"),
        ("issuer = \"x\"\njwks_file = \"a\"\njwks_url = \"http://b/\"", "auth.jwks_url: auth.jwks_file is set too"),
        ("jwks_url = \"id.example.org/keys\"", "auth.jwks_url: expected an http:// or https:// URL"),
        ("jwks_url = \"file:///keys\"", "auth.jwks_url: expected an http:// or https:// URL"),
        ("role_claim = \"\"", "auth.role_claim: expected the name of a claim"),
        ("access_ttl = \"31d\"", "auth.access_ttl: longer than auth.refresh_ttl, 30d"),
        ("access_ttl = \"soon\"", "auth.access_ttl: expected a positive whole number and a unit"),
        ("lockout_first_ms = 1000000", "auth.lockout_first_ms: more than auth.lockout_longest_ms, 900000"),
        ("password_memory_kib = 19", "auth.password_memory_kib"),
        ("jwks = \"x\"", "auth.jwks: unknown key `jwks`"),
    ] {
        let finished = check(text);
        assert_eq!(finished.status.code(), Some(2), "{text}: {}", finished.stderr);
        assert!(finished.stderr.contains(said) && finished.stderr.contains("gavel.toml:"), "{text}: {}", finished.stderr);
    }
    let finished = with_file(&missing).refused();
    assert!(finished.status.code() == Some(2) && finished.stderr.contains("auth.jwks_file"), "{}", finished.stderr);
    for text in ["nonsense", "{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\",\"kid\":\"a\"}]}"] {
        std::fs::write(&missing, text).unwrap();
        let finished = with_file(&missing).refused();
        assert!(finished.status.code() == Some(2) && finished.stderr.contains("jwks.json"), "{text}: {}", finished.stderr);
    }
}

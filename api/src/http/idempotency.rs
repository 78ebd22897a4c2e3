//! `Idempotency-Key`: which request it names, and that only one of a kind is under way.
//!
//! What was answered is journaled by the engine with its effect.

use super::problem::{Code, Problem};
use crate::auth::Principal;
use actix_web::HttpRequest;
use gavel_domain::ids::{LotId, OperationId};
use gavel_engine::request::KeyRequest;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};
use uuid::Builder;

/// Requests with a key that have no answer yet, in this process.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Mutex<HashSet<Arc<str>>>>);

/// A request with a key, as long as it is under way.
pub(super) struct Keyed {
    scope: Arc<str>,
    body: [u8; 32],
    in_flight: InFlight,
}

impl InFlight {
    /// The request's key, if it has one.
    ///
    /// # Errors
    /// A key that is none, or that is in use right now.
    pub(super) fn begin(&self, request: &HttpRequest, who: &Principal, body: &[u8]) -> Result<Option<Keyed>, Problem> {
        let Some(key) = request.headers().get("Idempotency-Key") else { return Ok(None) };
        let key = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()));
        let key = key.ok_or_else(|| Problem::invalid("Idempotency-Key: 1 to 255 visible ASCII characters"))?;
        let scope: Arc<str> = format!("{}\n{}\n{}\n{key}", who.sub.as_str(), request.method(), request.path()).into();
        if !self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(&scope)) {
            return Err(Problem::new(Code::Conflict, "a request with this Idempotency-Key is under way"));
        }
        Ok(Some(Keyed { scope, body: *blake3::hash(body).as_bytes(), in_flight: self.clone() }))
    }
}

/// The key of a request that can't do without.
///
/// # Errors
/// There is none.
pub(super) fn required(keyed: Option<Keyed>) -> Result<Keyed, Problem> {
    keyed.ok_or_else(|| Problem::new(Code::IdempotencyKeyMissing, "this request needs an Idempotency-Key"))
}

impl Keyed {
    /// Names what the request does to one wallet: the same for every retry.
    pub(super) fn operation(&self, wallet: &str) -> OperationId {
        let mut name = blake3::Hasher::new();
        name.update(self.scope.as_bytes()).update(b"\n").update(wallet.as_bytes());
        let mut bytes = [0; 16];
        name.finalize_xof().fill(&mut bytes);
        OperationId(bytes)
    }

    /// A digest of the body.
    pub(super) const fn body(&self) -> [u8; 32] {
        self.body
    }

    /// The request's name: who, what, and the key.
    pub(super) const fn scope(&self) -> &Arc<str> {
        &self.scope
    }

    /// For the engine.
    pub(super) fn request(&self) -> KeyRequest {
        KeyRequest { scope: Arc::clone(&self.scope), body: self.body }
    }

    /// The id of the lot that this request creates: the same for every retry, so that a retry finds the same shard after a
    /// crash too. The generation counts the uses of this key that lie more than its day back.
    pub(super) fn lot(&self, generation: u32) -> LotId {
        let mut name = blake3::Hasher::new();
        name.update(self.scope.as_bytes());
        if generation > 0 {
            name.update(b"\n").update(&generation.to_be_bytes());
        }
        let mut bytes = [0; 16];
        name.finalize_xof().fill(&mut bytes);
        LotId(Builder::from_custom_bytes(bytes).into_uuid())
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        self.in_flight.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.scope);
    }
}

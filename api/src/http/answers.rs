//! What requests over many wallets were answered, so that a retry gets the same again.
//!
//! A convenience of this process. What makes a retry harmless, also after a crash, is in each wallet: it does an operation
//! once.

use super::{
    idempotency::Keyed,
    problem::{Code, Problem},
};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long an answer is remembered: a key's day.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// How many; beyond, the oldest go.
const MOST: usize = 1024;

/// Answers by the request's name.
#[derive(Clone, Default)]
pub(super) struct Answers(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    answers: HashMap<Arc<str>, Answer>,
    oldest_first: VecDeque<Arc<str>>,
}

struct Answer {
    body: [u8; 32],
    at: Instant,
    json: Value,
}

impl Answers {
    /// What this request was answered already.
    ///
    /// # Errors
    /// The key came with another body.
    pub(super) fn find(&self, keyed: &Keyed) -> Result<Option<Value>, Problem> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.answers.get(keyed.scope()).filter(|answer| answer.at.elapsed() < REMEMBERED) {
            Some(answer) if answer.body == keyed.body() => Ok(Some(answer.json.clone())),
            Some(_) => Err(Problem::new(Code::IdempotencyKeyReused, "this Idempotency-Key was used with another body")),
            None => Ok(None),
        }
    }

    /// Remembers an answer.
    pub(super) fn keep(&self, keyed: &Keyed, json: Value) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = Answer { body: keyed.body(), at: Instant::now(), json };
        if kept.answers.insert(Arc::clone(keyed.scope()), answer).is_none() {
            kept.oldest_first.push_back(Arc::clone(keyed.scope()));
        }
        while kept.oldest_first.len() > MOST
            && let Some(oldest) = kept.oldest_first.pop_front()
        {
            kept.answers.remove(&oldest);
        }
    }
}

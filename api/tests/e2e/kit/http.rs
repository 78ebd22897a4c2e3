//! REST calls, blocking, and what was answered.

use super::PATIENCE;
use serde_json::Value;
use std::time::Duration;
use ureq::{Agent, http};

/// Calls with one token, or none.
#[derive(Clone)]
pub(crate) struct Rest {
    agent: Agent,
    url: String,
    token: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
    what: String,
}

impl Rest {
    pub(crate) fn new(url: String, token: Option<String>) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_idle_connections(0)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE + Duration::from_secs(10)))
            .build()
            .new_agent();
        Self { agent, url, token }
    }

    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub(crate) fn try_get(&self, path: &str) -> Result<Answer, ureq::Error> {
        self.try_send("GET", path, &[], "")
    }

    #[track_caller]
    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send("GET", path, headers, "")
    }

    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body)
    }

    #[track_caller]
    pub(crate) fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.post_text(path, headers, &body.to_string())
    }

    /// A body that need not be JSON, called JSON all the same.
    #[track_caller]
    pub(crate) fn post_text(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.send("POST", path, &all, body)
    }

    #[track_caller]
    pub(crate) fn patch(&self, path: &str, if_match: Option<&str>, body: &Value) -> Answer {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(if_match.map(|tag| ("if-match", tag)));
        self.send("PATCH", path, &headers, &body.to_string())
    }

    /// Creates a lot; its answer's body.
    #[track_caller]
    pub(crate) fn create(&self, spec: &Value) -> Value {
        self.post("/v1/lots", spec).expect(201)
    }

    /// A lot as it is.
    #[track_caller]
    pub(crate) fn lot(&self, id: &str) -> Value {
        self.get(&format!("/v1/lots/{id}")).expect(200)
    }

    /// An auctioneer's action with an empty body.
    #[track_caller]
    pub(crate) fn act(&self, id: &str, action: &str) -> Answer {
        self.post(&format!("/v1/lots/{id}/{action}"), &serde_json::json!({}))
    }

    #[track_caller]
    pub(crate) fn bid(&self, id: &str, body: &Value) -> Answer {
        self.post(&format!("/v1/lots/{id}/bids"), body)
    }

    /// Every page of a list.
    #[track_caller]
    pub(crate) fn all(&self, path: &str, limit: usize) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let glue = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{glue}limit={limit}{cursor}")).expect(200);
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    #[track_caller]
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        match self.try_send(method, path, headers, body) {
            Ok(answer) => answer,
            Err(error) => panic!("{method} {path}: {error}"),
        }
    }

    /// Fails where there is no answer at all.
    pub(crate) fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer, ureq::Error> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = if body.is_empty() && method == "GET" {
            self.agent.run(request.body(()).unwrap())?
        } else {
            self.agent.run(request.body(body.to_owned()).unwrap())?
        };
        let text = response.body_mut().read_to_string()?;
        let what = format!("{method} {path} {body}").chars().take(300).collect();
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), text, what })
    }
}

impl Answer {
    /// The body.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}: {:?}", self.what, self.text))
    }

    /// The body, where the status is the expected one; null where there is none.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}: {}", self.what, self.text);
        if self.text.is_empty() { Value::Null } else { self.json() }
    }

    /// A refusal: status, media type and the members every problem has.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/problem+json"), "{}: {kind}", self.what);
        assert_eq!(problem["code"], code, "{}: {problem}", self.what);
        assert_eq!(problem["status"], status, "{}: {problem}", self.what);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{}: {member} of {problem}", self.what);
        }
        problem
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The entity tag.
    #[track_caller]
    pub(crate) fn etag(&self) -> String {
        self.header("etag").unwrap_or_else(|| panic!("{}: no ETag", self.what)).to_owned()
    }
}
